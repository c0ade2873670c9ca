/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/utf8.h"
#include "engine/engine.h"
#include "tests/support/plan_model.h"
#include "tests/support/tiny_model.h"

enum { MAX_EVENTS = 128, MAX_IDS = 512 };

struct rig {
    struct engine *engine;
    struct model *model;
    struct session *session;
};

static void open_rig(struct test *t, struct rig *r, const struct tiny_model *tiny, const struct session_options *o)
{
    char path[512];
    struct err e;
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    CHECK_INT(t, tiny_model_write(tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&r->engine, &(struct engine_options){ .n_threads = 2 }, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_open(&r->model, r->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&r->session, r->model, o, &e), ERR_OK, "%s", e.text);
}

static void close_rig(struct rig *r)
{
    session_destroy(r->session);
    model_close(r->model);
    engine_destroy(r->engine);
}

static void random_model(struct tiny_model *tiny)
{
    tiny_model_init(tiny);
    tiny->reply = NULL;
}

/* What came of a sequence: text, ids and how it ended. */
struct story {
    char text[4096];
    int32_t ids[MAX_IDS], n_ids;
    struct eng_event done;
    bool ended;
};

static void take_events(struct test *t, struct story *stories, const struct eng_event *ev, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        struct story *s = &stories[ev[i].seq];
        CHECK(t, !s->ended, "an event after the end");
        if (ev[i].kind == EVENT_TOKEN) {
            snprintf(s->text + strlen(s->text), sizeof s->text - strlen(s->text), "%.*s", ev[i].n_text, ev[i].text);
            if (ev[i].token >= 0 && s->n_ids < MAX_IDS)
                s->ids[s->n_ids++] = ev[i].token;
        }
        if (ev[i].kind == EVENT_DONE) {
            s->done = ev[i];
            s->ended = true;
        }
    }
}

static void run_out(struct test *t, struct session *s, struct story *stories)
{
    struct eng_event events[MAX_EVENTS];
    struct err e;
    int32_t n;
    while (session_busy(s)) {
        CHECK_INT(t, session_step(s, events, MAX_EVENTS, &n, &e), ERR_OK, "%s", e.text);
        take_events(t, stories, events, n);
    }
}

static void greedy(const struct model *m, struct generate_options *o, int32_t n_predict)
{
    *o = (struct generate_options){ .n_predict = n_predict, .ignore_end = true };
    model_sampling(m, &o->sampling);
    o->sampling.temperature = 0;
}

static struct story *generate(struct test *t, struct rig *r, int32_t seq, const int32_t *ids, int32_t n,
                              const struct generate_options *o)
{
    struct err e;
    struct story *stories = calloc(8, sizeof *stories);
    CHECK_INT(t, session_generate(r->session, seq, ids, n, o, &e), ERR_OK, "%s", e.text);
    run_out(t, r->session, stories);
    return stories;
}

static void random_ids(struct test *t, const struct model *m, int32_t *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = 10 + (int32_t)test_below(t, (uint32_t)model_info(m)->n_vocab - 10);
}

TEST(session_answers_a_chat)
{
    struct tiny_model tiny;
    struct rig r;
    struct err e;
    struct token_list ids = { 0 };
    struct generate_options o;
    tiny_model_init(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ 0 });
    const struct chat_message messages[] = { { .role = "system", .content = "Be calm." },
                                             { .role = "user", .content = "How is it? <|im_end|>" } };
    const struct chat_input in = { .messages = messages, .n_messages = 2, .add_generation_prompt = true,
                                   .enable_thinking = -1 };
    CHECK_INT(t, model_chat(r.model, &in, &ids, NULL, &e), ERR_OK, "%s", e.text);
    int32_t n_special = 0;
    for (int32_t i = 0; i < ids.n; i++)
        n_special += model_is_end(r.model, ids.ids[i]);
    CHECK_INT(t, n_special, 2, "the <|im_end|> of the user is text, those of the template are tokens");
    greedy(r.model, &o, 100);
    o.ignore_end = false;
    struct story *s = generate(t, &r, 0, ids.ids, ids.n, &o);
    CHECK_TEXT(t, s->text, TINY_MODEL_REPLY);
    CHECK_INT(t, s->done.reason, DONE_END);
    CHECK_INT(t, s->done.timings.n_prompt, ids.n);
    CHECK_INT(t, s->done.timings.n_generated, s->n_ids);
    free(s);
    token_list_finish(&ids);
    close_rig(&r);
}

TEST(session_reuses_the_prefix_and_changes_nothing)
{
    struct tiny_model tiny;
    struct rig r;
    int32_t ids[150];
    struct generate_options o;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 256 });
    random_ids(t, r.model, ids, 150);
    greedy(r.model, &o, 20);
    struct story *fresh = generate(t, &r, 0, ids, 150, &o);
    CHECK_INT(t, fresh->done.timings.n_reused, 0);
    struct story *again = generate(t, &r, 0, ids, 150, &o);
    CHECK_INT(t, again->done.timings.n_reused, 149, "the last token's logits are needed");
    CHECK_BYTES(t, again->ids, fresh->ids, 20 * sizeof(int32_t));
    int32_t kept = ids[100];
    ids[100] = kept == 11 ? 12 : 11;
    free(generate(t, &r, 0, ids, 150, &o));
    ids[100] = kept;
    struct story *edited = generate(t, &r, 0, ids, 150, &o);
    CHECK_INT(t, edited->done.timings.n_reused, 100);
    CHECK_BYTES(t, edited->ids, fresh->ids, 20 * sizeof(int32_t));
    free(fresh);
    free(again);
    free(edited);
    close_rig(&r);
}

TEST(session_sequences_together_say_what_they_say_alone)
{
    struct tiny_model tiny;
    struct rig r;
    enum { N_SEQS = 4, N_PREDICT = 40 };
    int32_t ids[N_SEQS][120], lengths[N_SEQS] = { 120, 3, 77, 64 };
    struct generate_options o[N_SEQS];
    struct story *alone[N_SEQS], *together = calloc(8, sizeof *together);
    struct err e;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 256, .n_seqs = N_SEQS, .n_batch = 32 });
    for (int32_t i = 0; i < N_SEQS; i++) {
        random_ids(t, r.model, ids[i], lengths[i]);
        greedy(r.model, &o[i], N_PREDICT);
        o[i].sampling.temperature = i % 2 ? 0.9f : 0;
        o[i].sampling.seed = 7 + (uint64_t)i;
        alone[i] = generate(t, &r, 0, ids[i], lengths[i], &o[i]);
        session_truncate(r.session, 0, 0);
    }
    for (int32_t i = 0; i < N_SEQS; i++)
        CHECK_INT(t, session_generate(r.session, i, ids[i], lengths[i], &o[i], &e), ERR_OK, "%s", e.text);
    run_out(t, r.session, together);
    for (int32_t i = 0; i < N_SEQS; i++) {
        CHECK_INT(t, together[i].n_ids, N_PREDICT);
        CHECK_BYTES(t, together[i].ids, alone[i]->ids, sizeof(int32_t) * N_PREDICT, "sequence %d", i);
        CHECK_INT(t, together[i].done.reason, DONE_LENGTH);
        free(alone[i]);
    }
    free(together);
    close_rig(&r);
}

TEST(session_says_when_the_context_is_full)
{
    struct tiny_model tiny;
    struct rig r;
    struct err e;
    int32_t ids[64];
    struct generate_options o;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 64 });
    random_ids(t, r.model, ids, 64);
    greedy(r.model, &o, -1);
    CHECK_INT(t, session_generate(r.session, 0, ids, 64, &o, &e), ERR_UNSUPPORTED);
    CHECK_TEXT(t, e.text, "prompt: 64 tokens, the context holds 64 and one must be free");
    struct story *s = generate(t, &r, 0, ids, 60, &o);
    CHECK_INT(t, s->done.reason, DONE_CONTEXT);
    CHECK_INT(t, s->n_ids, 4);
    free(s);
    close_rig(&r);
}

TEST(session_refuses_what_cannot_be)
{
    struct tiny_model tiny;
    struct rig r;
    struct err e;
    struct generate_options o;
    struct session *none;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 64 });
    greedy(r.model, &o, 1);
    const int32_t bad = model_info(r.model)->n_vocab, good = 5;
    CHECK_INT(t, session_generate(r.session, 0, &bad, 1, &o, &e), ERR_FORMAT);
    CHECK(t, strstr(e.text, "token 0 is") != NULL, "%s", e.text);
    CHECK_INT(t, session_generate(r.session, 1, &good, 1, &o, &e), ERR_FORMAT);
    CHECK_INT(t, session_generate(r.session, 0, &good, 0, &o, &e), ERR_FORMAT);
    o.sampling.top_p = 3;
    CHECK_INT(t, session_generate(r.session, 0, &good, 1, &o, &e), ERR_FORMAT);
    CHECK_INT(t, session_create(&none, r.model, &(struct session_options){ .n_ctx = 1 }, &e), ERR_FORMAT);
    CHECK_INT(t, session_create(&none, r.model, &(struct session_options){ .kv_type_k = "q3" }, &e), ERR_UNSUPPORTED);
    CHECK_INT(t, session_create(&none, r.model, &(struct session_options){ .n_seqs = -1 }, &e), ERR_FORMAT);
    close_rig(&r);
}

static void *cancel_thread(void *session)
{
    session_cancel(session);
    return NULL;
}

TEST(session_cancelled_from_another_thread_can_go_on)
{
    struct tiny_model tiny;
    struct rig r;
    int32_t ids[400];
    struct generate_options o;
    struct err e;
    pthread_t thread;
    struct story *story = calloc(8, sizeof *story);
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 512, .n_batch = 8 });
    random_ids(t, r.model, ids, 400);
    greedy(r.model, &o, 10);
    struct story *want = generate(t, &r, 0, ids, 400, &o);
    session_truncate(r.session, 0, 0);
    CHECK_INT(t, session_generate(r.session, 0, ids, 400, &o, &e), ERR_OK);
    struct eng_event events[MAX_EVENTS];
    int32_t n;
    CHECK_INT(t, session_step(r.session, events, MAX_EVENTS, &n, &e), ERR_OK);
    CHECK_INT(t, pthread_create(&thread, NULL, cancel_thread, r.session), 0);
    pthread_join(thread, NULL);
    run_out(t, r.session, story);
    CHECK_INT(t, story->done.reason, DONE_CANCELLED);
    CHECK_INT(t, session_held(r.session, 0, ids, 400), 8, "what was evaluated stays");
    struct story *again = generate(t, &r, 0, ids, 400, &o);
    CHECK_INT(t, again->done.timings.n_reused, 8);
    CHECK_BYTES(t, again->ids, want->ids, 10 * sizeof(int32_t));
    free(story);
    free(want);
    free(again);
    close_rig(&r);
}

struct late_cancel {
    struct session *session;
    double at_ms;
};

static double clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static void *cancel_late(void *arg)
{
    const struct late_cancel *c = arg;
    while (clock_ms() < c->at_ms)
        sched_yield();
    session_cancel(c->session);
    return NULL;
}

/* Cancels spread over the time the one batch of a prompt takes: whatever was left out must not be believed. */
TEST(session_cancel_reaches_into_a_batch)
{
    struct tiny_model tiny;
    struct rig r;
    enum { N_IDS = 400, N_TRIES = 20 };
    int32_t ids[N_IDS];
    struct generate_options o;
    struct err e;
    pthread_t thread;
    struct story *story = calloc(8, sizeof *story);
    random_model(&tiny);
    tiny.n_embd = tiny.n_ff = 512;
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 512, .n_batch = N_IDS });
    random_ids(t, r.model, ids, N_IDS);
    greedy(r.model, &o, 3);
    struct story *want = generate(t, &r, 0, ids, N_IDS, &o);
    for (int32_t i = 0; i < N_TRIES; i++) {
        session_truncate(r.session, 0, i);
        int32_t before = session_held(r.session, 0, ids, N_IDS);
        *story = (struct story){ 0 };
        CHECK_INT(t, session_generate(r.session, 0, ids, N_IDS, &o, &e), ERR_OK);
        struct late_cancel late = { r.session, clock_ms() + want->done.timings.prompt_ms * i / N_TRIES };
        CHECK_INT(t, pthread_create(&thread, NULL, cancel_late, &late), 0);
        run_out(t, r.session, story);
        pthread_join(thread, NULL);
        CHECK_INT(t, session_held(r.session, 0, ids, N_IDS), story->n_ids > 0 ? N_IDS : before, "try %d", i);
        CHECK_BYTES(t, story->ids, want->ids, (size_t)story->n_ids * sizeof(int32_t));
    }
    struct story *again = generate(t, &r, 0, ids, N_IDS, &o);
    CHECK_BYTES(t, again->ids, want->ids, 3 * sizeof(int32_t));
    free(story);
    free(want);
    free(again);
    close_rig(&r);
}

TEST(session_cancel_before_the_first_step_is_not_lost)
{
    struct tiny_model tiny;
    struct rig r;
    int32_t ids[20];
    struct generate_options o;
    struct err e;
    struct story *stories = calloc(8, sizeof *stories);
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 64, .n_seqs = 2 });
    random_ids(t, r.model, ids, 20);
    greedy(r.model, &o, 5);
    session_cancel(r.session);
    free(generate(t, &r, 0, ids, 20, &o));
    session_truncate(r.session, 0, 0);
    CHECK_INT(t, session_generate(r.session, 0, ids, 20, &o, &e), ERR_OK);
    session_cancel(r.session);
    CHECK_INT(t, session_generate(r.session, 1, ids, 20, &o, &e), ERR_OK, "the cancel stays");
    run_out(t, r.session, stories);
    for (int32_t seq = 0; seq < 2; seq++) {
        CHECK_INT(t, stories[seq].done.reason, DONE_CANCELLED);
        CHECK_INT(t, session_held(r.session, seq, ids, 20), 0);
    }
    float *logits = malloc((size_t)model_info(r.model)->n_vocab * sizeof *logits);
    CHECK_INT(t, session_eval(r.session, 0, ids, 1, logits, 1, &e), ERR_OK, "a cancel has its effect once");
    struct story *after = generate(t, &r, 1, ids, 20, &o);
    CHECK_INT(t, after[1].done.reason, DONE_LENGTH);
    session_truncate(r.session, 1, 0);    /* else the other finds it there */
    session_truncate(r.session, 0, 0);
    session_cancel(r.session);
    CHECK_INT(t, session_eval(r.session, 0, ids, 1, logits, 1, &e), ERR_CANCELLED);
    CHECK_INT(t, session_held(r.session, 0, ids, 20), 0);
    CHECK_INT(t, session_eval(r.session, 0, ids, 1, logits, 1, &e), ERR_OK, "%s", e.text);
    free(logits);
    free(after);
    free(stories);
    close_rig(&r);
}

TEST(session_busy_sequence_is_left_alone)
{
    struct tiny_model tiny;
    struct rig r;
    int32_t ids[20];
    struct generate_options o;
    struct err e;
    struct story *story = calloc(8, sizeof *story);
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 64 });
    random_ids(t, r.model, ids, 20);
    greedy(r.model, &o, 5);
    struct story *want = generate(t, &r, 0, ids, 20, &o);
    CHECK_INT(t, session_generate(r.session, 0, ids, 20, &o, &e), ERR_OK);
    CHECK_INT(t, session_generate(r.session, 0, ids, 10, &o, &e), ERR_FORMAT);
    CHECK_TEXT(t, e.text, "sequence 0: busy, an idle one wanted");
    CHECK_INT(t, session_eval(r.session, 0, ids, 1, NULL, 0, &e), ERR_FORMAT);
    run_out(t, r.session, story);
    CHECK_BYTES(t, story->ids, want->ids, 5 * sizeof(int32_t));
    free(story);
    free(want);
    close_rig(&r);
}

TEST(session_predicting_nothing_evaluates_the_prompt)
{
    struct tiny_model tiny;
    struct rig r;
    int32_t ids[20];
    struct generate_options o;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 64 });
    random_ids(t, r.model, ids, 20);
    greedy(r.model, &o, 0);
    struct story *s = generate(t, &r, 0, ids, 20, &o);
    CHECK_INT(t, s->done.reason, DONE_LENGTH);
    CHECK_INT(t, s->n_ids, 0);
    CHECK_INT(t, session_held(r.session, 0, ids, 20), 20);
    CHECK(t, s->done.timings.prompt_ms > 0);
    free(s);
    close_rig(&r);
}

/* The same tokens with the same seed; other ones with another; penalties look at the prompt too. */
TEST(session_seed_and_prompt_decide_the_tokens)
{
    struct tiny_model tiny;
    struct rig r;
    int32_t ids[64];
    struct generate_options o;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 128 });
    random_ids(t, r.model, ids, 64);
    greedy(r.model, &o, 30);
    o.sampling.temperature = 1.5f;
    struct story *s[3];
    for (int i = 0; i < 3; i++) {
        o.sampling.seed = i == 2 ? 6 : 5;
        s[i] = generate(t, &r, 0, ids, 64, &o);
    }
    CHECK_BYTES(t, s[1]->ids, s[0]->ids, 30 * sizeof(int32_t));
    CHECK(t, memcmp(s[2]->ids, s[0]->ids, 30 * sizeof(int32_t)) != 0, "another seed, the same tokens");
    for (int i = 0; i < 3; i++)
        free(s[i]);
    greedy(r.model, &o, 1);
    struct story *plain = generate(t, &r, 0, ids, 64, &o);
    ids[3] = plain->ids[0];    /* now the prompt has what it would say; alone that changes the logits little */
    struct story *repeated = generate(t, &r, 0, ids, 64, &o);
    o.sampling.repeat_penalty = 100;
    o.sampling.repeat_last_n = -1;
    ids[3] = repeated->ids[0];
    struct story *penalised = generate(t, &r, 0, ids, 64, &o);
    CHECK(t, penalised->ids[0] != repeated->ids[0], "a token of the prompt in spite of the penalty");
    free(penalised);
    o.n_predict = 30;
    penalised = generate(t, &r, 0, ids, 1, &o);
    for (int32_t i = 0; i < 30; i++)
        for (int32_t j = 0; j < i; j++)
            CHECK(t, penalised->ids[i] != penalised->ids[j], "its own token %d again as token %d", j, i);
    free(plain);
    free(repeated);
    free(penalised);
    close_rig(&r);
}

TEST(session_notices_that_the_model_file_was_cut)
{
    struct tiny_model tiny;
    struct rig r;
    struct err e;
    int32_t ids[20];
    char path[512];
    struct generate_options o;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 64 });
    random_ids(t, r.model, ids, 20);
    greedy(r.model, &o, 5);
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    CHECK_INT(t, truncate(path, 4096), 0);
    struct story *s = generate(t, &r, 0, ids, 20, &o);
    CHECK_INT(t, s->done.reason, DONE_ERROR);
    CHECK(t, strstr(s->done.text, "cut from") != NULL, "%s", s->done.text);
    CHECK_INT(t, session_eval(r.session, 0, ids, 1, NULL, 0, &e), ERR_IO);
    free(s);
    close_rig(&r);
}

TEST(session_scratch_may_grow_under_another_session)
{
    struct tiny_model tiny;
    struct rig r;
    struct err e;
    int32_t ids[20];
    struct session *second;
    struct generate_options o;
    random_model(&tiny);
    open_rig(t, &r, &tiny, &(struct session_options){ .n_ctx = 64 });
    random_ids(t, r.model, ids, 20);
    greedy(r.model, &o, 5);
    struct story *want = generate(t, &r, 0, ids, 20, &o);
    /* The scratch belongs to the model: a second session with more rows replaces it. */
    const struct session_options more = { .n_ctx = 256, .n_batch = 512 };
    CHECK_INT(t, session_create(&second, r.model, &more, &e), ERR_OK, "%s", e.text);
    session_destroy(second);
    session_truncate(r.session, 0, 0);
    struct story *again = generate(t, &r, 0, ids, 20, &o);
    CHECK_BYTES(t, again->ids, want->ids, 5 * sizeof(int32_t));
    free(want);
    free(again);
    close_rig(&r);
}

/* n_chars two-byte characters behind one byte, so that no border of an event falls between characters by
 * itself; at the end the beginning of a character. */
static char *long_token(int32_t n_chars)
{
    char *text = malloc((size_t)n_chars * 2 + 4), *at = text;
    *at++ = 'x';
    for (int32_t i = 0; i < n_chars; i++, at += 2)
        memcpy(at, "\xc3\xa9", 2);
    memcpy(at, "\xe2\x82", 3);
    return text;
}

/* Generates at random until the long token comes as the last; its text, with what the end flushes, in *out. */
static void say_long_token(struct test *t, int32_t n_chars, struct buf *out)
{
    struct rig r;
    struct err e;
    struct plan_model model;
    char *text = long_token(n_chars), path[512];
    const struct plan plan = { .arch = "llama", .n_layers = 1, .n_embd = 32, .n_ff = 32, .n_head = 1, .n_kv_head = 1,
                               .d_head = 32, .n_vocab = 8, .n_rot = 32, .rope_base = 10000, .embed_scale = 1,
                               .long_text = text };
    snprintf(path, sizeof path, "%s/long.gguf", test_folder(t));
    plan_model_write(t, &model, &plan, path);
    CHECK_INT(t, engine_create(&r.engine, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK);
    CHECK_INT(t, model_open(&r.model, r.engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&r.session, r.model, &(struct session_options){ .n_ctx = 64 }, &e), ERR_OK);
    struct generate_options o;
    struct eng_event events[16];
    int32_t n, last = -1, prompt = 1;
    greedy(r.model, &o, 1);
    o.sampling.temperature = 100;    /* all tokens alike */
    o.sampling.top_k = 0;
    o.sampling.top_p = 1;
    o.sampling.min_p = 0;
    for (o.sampling.seed = 1; last != plan.n_vocab - 1; o.sampling.seed++) {
        CHECK(t, o.sampling.seed < 1000);
        CHECK_INT(t, session_generate(r.session, 0, &prompt, 1, &o, &e), ERR_OK, "%s", e.text);
        buf_clear(out);
        while (session_busy(r.session)) {
            CHECK_INT(t, session_step(r.session, events, 16, &n, &e), ERR_OK);
            for (int32_t i = 0; i < n; i++) {
                if (events[i].kind != EVENT_TOKEN)
                    continue;
                last = events[i].token >= 0 ? events[i].token : last;
                bool flushed = events[i].token < 0 && events[i].n_text == 2;
                CHECK(t, flushed || utf8_valid(events[i].text, (size_t)events[i].n_text), "event %d of %d", i, n);
                buf_add(out, events[i].text, (size_t)events[i].n_text);
            }
        }
    }
    close_rig(&r);
    plan_model_finish(&model);
    free(text);
}

TEST(session_text_of_a_long_token_comes_in_whole_characters)
{
    struct buf got = { 0 };
    char *want = long_token(300);
    say_long_token(t, 300, &got);
    CHECK_TEXT(t, buf_text(&got), want);
    free(want);
    buf_finish(&got);
}

TEST(session_text_of_an_endless_token_is_cut)
{
    struct buf got = { 0 };
    char *want = long_token(5000);
    say_long_token(t, 5000, &got);
    CHECK(t, got.n_bytes > 1200 && got.n_bytes <= 1282, "%zu bytes", got.n_bytes);
    CHECK_BYTES(t, buf_text(&got), want, got.n_bytes - 2);
    free(want);
    buf_finish(&got);
}
