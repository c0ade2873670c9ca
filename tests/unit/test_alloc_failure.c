/* SPDX-License-Identifier: MIT */
/* Every allocation fails once: opening a model, a chat, a session and an answer either work or say that there
 * was no memory, and leave nothing behind (the sanitizer build looks for leaks). The linker sends the calls of
 * the whole program here. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/measure/beside.h"
#include "app/measure/measure.h"
#include "engine/engine.h"
#include "tests/support/tiny_model.h"

/* Counts down; the allocation that finds 1 fails, and all after it when fail_all is set. 0: none fails. */
static long countdown;
static bool fail_all;
static bool failed;    /* since it was last cleared */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

static bool fails(void)
{
    if (countdown == 0)
        return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    failed = true;
    countdown = fail_all;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return fails() ? NULL : __real_aligned_alloc(align, n);
}

struct story {
    enum err_code code;
    char text[ERR_TEXT_BYTES];
    char answer[256];
};

static void answer(struct session *s, const struct model *m, const struct token_list *ids, int32_t n_shared,
                   struct story *out, struct err *e)
{
    struct generate_options o = { .n_predict = 20, .n_shared = n_shared };
    struct eng_event events[16];
    int32_t n;
    model_sampling(m, &o.sampling);
    o.sampling.temperature = 0;
    out->code = session_generate(s, 0, ids->ids, ids->n, &o, e);
    while (out->code == ERR_OK && session_busy(s)) {
        out->code = session_step(s, events, 16, &n, e);
        for (int32_t i = 0; i < n; i++) {
            if (events[i].kind == EVENT_TOKEN)
                snprintf(out->answer + strlen(out->answer), sizeof out->answer - strlen(out->answer), "%.*s",
                         events[i].n_text, events[i].text);
            if (events[i].kind == EVENT_DONE && events[i].reason == DONE_ERROR)
                out->code = err_set(e, ERR_NOMEM, "%.*s", events[i].n_text, events[i].text);
        }
    }
}

static void tell(struct engine *eng, const char *path, const char *kv_type, struct story *out)
{
    static const struct chat_message messages[] = { { .role = "system", .content = "Be calm." },
                                                    { .role = "user", .content = "Hello there" } };
    const struct chat_input in = { .messages = messages, .n_messages = 2, .add_generation_prompt = true,
                                   .enable_thinking = -1 };
    const struct session_options o = { .n_ctx = 256, .n_batch = 16, .kv_type_k = kv_type, .kv_type_v = kv_type,
                                       .cache_ram_bytes = 1 << 20 };
    struct chat_prompt prompt = { 0 };
    struct model *m = NULL;
    struct session *s = NULL;
    struct token_list ids = { 0 };
    struct err e = { 0 };
    *out = (struct story){ 0 };
    out->code = model_open(&m, eng, path, MODEL_RUN, &e);
    if (out->code == ERR_OK)
        out->code = model_chat(m, &in, &ids, &prompt, &e);
    if (out->code == ERR_OK)
        out->code = session_create(&s, m, &o, &e);
    if (out->code == ERR_OK)
        answer(s, m, &ids, prompt.n_shared, out, &e);
    session_destroy(s);
    model_close(m);
    token_list_finish(&ids);
    snprintf(out->text, sizeof out->text, "%s", e.text);
}

static void check_each(struct test *t, bool all, const char *kv_type)
{
    struct tiny_model tiny;
    struct engine *eng;
    struct err e;
    char path[512];
    struct story story;
    long n_failures = 0;
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    tiny_model_init(&tiny);
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK);
    fail_all = all;
    /* Near the beginning every one, later ever wider apart: a loop allocates many times at one place. */
    for (long at = 1;; at += 1 + at / 64) {
        failed = false;
        countdown = at;
        tell(eng, path, kv_type, &story);
        countdown = 0;
        if (!failed)
            break;
        n_failures++;
        if (story.code == ERR_OK)
            CHECK(t, strcmp(story.answer, TINY_MODEL_REPLY) == 0, "allocation %ld failed unnoticed: '%s'", at,
                  story.answer);
        else
            CHECK(t, story.code == ERR_NOMEM && story.text[0], "allocation %ld: %s: '%s'", at,
                  err_code_name(story.code), story.text);
    }
    CHECK_TEXT(t, story.answer, TINY_MODEL_REPLY);
    printf("%ld allocations failed in turn\n", n_failures);
    CHECK(t, n_failures > 50, "only %ld allocations", n_failures);
    engine_destroy(eng);
}

TEST(alloc_failure_of_one_is_an_error_or_does_no_harm)
{
    check_each(t, false, "f16");
}

/* Types that are tried on a short text first. */
TEST(alloc_failure_of_one_with_quantised_keys_and_values)
{
    check_each(t, false, "kv4");
}

TEST(alloc_failure_of_all_from_some_time_on_is_an_error)
{
    check_each(t, true, "auto");
}

/* The scratch belongs to the model. A second session that does not come about must not take it away. */
TEST(alloc_failure_of_a_second_session_leaves_the_first_alone)
{
    struct tiny_model tiny;
    struct engine *eng;
    struct model *m;
    struct session *first, *second;
    struct token_list ids = { 0 };
    struct err e;
    char path[512];
    long at = 0;
    enum err_code rc;
    fail_all = false;
    static const char chat[] = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    const struct text_part part = { chat, strlen(chat), true };
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    tiny_model_init(&tiny);
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 2 }, &e), ERR_OK);
    CHECK_INT(t, model_open(&m, eng, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_tokenize(m, &part, 1, true, &ids, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&first, m, &(struct session_options){ .n_ctx = 128, .n_batch = 8 }, &e), ERR_OK);
    do {
        struct story story = { 0 };
        countdown = ++at;
        rc = session_create(&second, m, &(struct session_options){ .n_ctx = 256, .n_batch = 64 }, &e);
        countdown = 0;
        if (rc == ERR_OK)
            session_destroy(second);
        session_truncate(first, 0, 0);
        answer(first, m, &ids, 0, &story, &e);
        CHECK_TEXT(t, story.answer, TINY_MODEL_REPLY, "after failure %ld", at);
    } while (rc != ERR_OK);
    CHECK(t, at > 5, "only %ld allocations in a session", at);
    session_destroy(first);
    model_close(m);
    engine_destroy(eng);
    token_list_finish(&ids);
}

/* Measuring to its end, with a file that is written meanwhile. */
static enum err_code measure_all(const struct measure_options *o, struct measure_result *out, struct err *e)
{
    struct measure *m;
    bool done = false;
    enum err_code rc = measure_create(&m, o, e);
    while (rc == ERR_OK && !done)
        rc = measure_step(m, &done, e);
    if (rc == ERR_OK)
        rc = measure_result(m, out, e);
    measure_destroy(m);
    return rc;
}

TEST(alloc_failure_while_measuring_is_an_error_and_leaves_the_session)
{
    struct tiny_model tiny;
    struct engine *eng;
    struct model *m;
    struct session *s;
    struct measure_result plain, got;
    struct err e = { 0 };
    char path[512], saved[512], text[600];
    long at = 0;
    enum err_code rc;
    fail_all = false;
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    snprintf(saved, sizeof saved, "%s/saved.kld", test_folder(t));
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + test_below(t, 26));
    tiny_model_init(&tiny);
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK);
    CHECK_INT(t, model_open(&m, eng, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&s, m, &(struct session_options){ .n_ctx = MEASURE_SESSION_CTX }, &e), ERR_OK);
    struct measure_options o = { .session = s, .model = m, .text = text, .n_text = sizeof text, .budget_ms = 600000,
                                 .save_file = saved, .n_chunks = 2 };
    CHECK_INT(t, measure_all(&o, &plain, &e), ERR_OK, "%s", e.text);
    do {
        e = (struct err){ 0 };
        failed = false;
        countdown = ++at;
        rc = measure_all(&o, &got, &e);
        countdown = 0;
        CHECK(t, rc == ERR_OK || (rc == ERR_NOMEM && e.text[0]), "allocation %ld: %s", at, e.text);
        CHECK(t, rc != ERR_OK || got.scores.nll.mean == plain.scores.nll.mean, "allocation %ld", at);
    } while (failed);
    CHECK(t, at > 15, "only %ld allocations", at);
    session_destroy(s);
    model_close(m);
    engine_destroy(eng);
}

static enum err_code compare_all(const struct beside_options *o, struct beside_result *out, struct err *e)
{
    struct beside *b;
    struct beside_events events;
    bool done = false;
    enum err_code rc = beside_create(&b, o, e);
    while (rc == ERR_OK && !done)
        rc = beside_step(b, &events, &done, e);
    if (rc == ERR_OK)
        rc = beside_result(b, out, e);
    beside_destroy(b);
    return rc;
}

/* A step of an answer that finds no memory ends the answer with a text of its own. */
TEST(alloc_failure_while_comparing_is_an_error)
{
    struct tiny_model tiny;
    struct engine *eng;
    struct model *m;
    struct err e = { 0 };
    char path[512];
    const int32_t prompt[] = { 5, 9, 12, 7 };
    struct beside_result plain = { 0 }, got;
    long at = 0;
    enum err_code rc;
    fail_all = false;
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    tiny_model_init(&tiny);
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK);
    CHECK_INT(t, model_open(&m, eng, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    struct beside_options o = { .n_vocab = model_info(m)->n_vocab, .prompt = prompt, .n_prompt = 4,
                                .generate.n_predict = 6, .generate.ignore_end = true };
    sampler_params_default(&o.generate.sampling);
    do {
        for (int i = 0; i < 2; i++)
            CHECK_INT(t, session_create(&o.sessions[i], m, &(struct session_options){ .n_ctx = 64 }, &e), ERR_OK);
        e = (struct err){ 0 };
        failed = false;
        countdown = at++;    /* the first without any */
        rc = compare_all(&o, &got, &e);
        countdown = 0;
        CHECK(t, rc == ERR_OK || ((rc == ERR_NOMEM || rc == ERR_IO) && e.text[0]), "allocation %ld: %s", at, e.text);
        if (at == 1)
            plain = got;
        CHECK(t, rc != ERR_OK || (got.n_same == plain.n_same && got.kl == 0), "allocation %ld", at);
        for (int i = 0; i < 2; i++)
            session_destroy(o.sessions[i]);
    } while (failed || at == 1);
    CHECK(t, at > 15 && plain.n_same == 6, "only %ld allocations", at);
    model_close(m);
    engine_destroy(eng);
}
