/* SPDX-License-Identifier: MIT */
/* The engine's thread with a tiny model: what the chat asks of it, and what it does while nobody asks. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/loop/worker.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"

/* ChatML that shows the thoughts of an answer only while no question follows it. */
static const char forgetful[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['reasoning_content'] and loop.last %}"
    "{{ '<think>\n' + m['reasoning_content'] + '\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

struct rig {
    uv_loop_t loop;
    struct mailbox box;
    struct worker *worker;
    uint64_t last_id;
    int n_measured, n_devices, n_models, n_done, n_stats, n_counts, n_prompts, n_failed;
    int32_t n_prompt, n_reused;
    int32_t most_held;    /* tokens, of all figures that came */
    struct port_counts counts;
    struct port_stats stats;
    struct mail measured;
    char measure_text[1024];
    struct port_model model;
    struct port_devices devices;
    char text[ERR_TEXT_BYTES];
    struct buf answer;
    int n_compare_prompts, n_compared;
    struct mail compared;
    struct buf sides[PORT_SIDES];
};

static void take(struct rig *r, struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_MODEL:
        r->n_models++;
        r->stats = mail->stats;
        r->model = *mail->model;
        free(mail->model);
        break;
    case MAIL_PROMPT:
        r->n_prompts++;
        r->n_prompt = mail->prompt.n_prompt;
        r->n_reused = mail->prompt.n_reused;
        break;
    case MAIL_EVENT:
        if (mail->event.kind == EVENT_TOKEN)
            buf_add(&r->answer, mail->event.text, (size_t)mail->event.n_text);
        r->n_done += mail->event.kind == EVENT_DONE;
        break;
    case MAIL_COUNTS:
        r->n_counts++;
        r->counts = mail->counts;
        break;
    case MAIL_DEVICES:
        r->n_devices++;
        r->devices = *mail->devices;
        free(mail->devices);
        break;
    case MAIL_LEVELS:
        free(mail->levels);
        break;
    case MAIL_MEASURED:
        r->n_measured += mail->measured.is_over;
        if (mail->measured.is_over)
            r->measured = *mail;
        break;
    case MAIL_COMPARE_PROMPT:
        r->n_compare_prompts++;
        break;
    case MAIL_COMPARE_EVENT:
        if (mail->event.kind == EVENT_TOKEN)
            buf_add(&r->sides[mail->side], mail->event.text, (size_t)mail->event.n_text);
        break;
    case MAIL_COMPARED:
    case MAIL_NOT_COMPARED:
        r->compared = *mail;
        r->n_compared++;
        break;
    case MAIL_STATS:
        r->n_stats++;
        r->stats = mail->stats;
        if (mail->stats.n_held > r->most_held)
            r->most_held = mail->stats.n_held;
        break;
    case MAIL_NOT_MEASURED:
    case MAIL_WARNING:
    case MAIL_TOO_LONG:
    case MAIL_MODEL_FAILED:
    case MAIL_FAILED:
        r->n_failed++;
        memcpy(r->text, mail->text, sizeof r->text);
        break;
    }
}

static void on_wake(uv_async_t *wake)
{
    struct rig *r = wake->data;
    struct mail mail;
    while (mailbox_take(&r->box, &mail, 1) == 1)
        take(r, &mail);
}

/* Until this many came, or something failed. */
static void wait_for(struct test *t, struct rig *r, const int *n, int wanted)
{
    while (*n < wanted && r->n_failed == 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    CHECK(t, r->n_failed == 0, "%s", r->text);
}

/* For some chunks of measuring. */
static void write_text(struct test *t, const char *path)
{
    FILE *f = fopen(path, "w");
    CHECK(t, f != NULL);
    for (int i = 0; i < 600; i++)
        fputc('a' + i * i % 23, f);
    fclose(f);
}

/* With a folder what was found out is kept in it. */
static void rig_begin_in(struct test *t, struct rig *r, const struct tiny_model *m, int32_t n_ctx, const char *folder)
{
    struct err e;
    char path[1024];
    struct worker_options options = { .measure_text = r->measure_text, .engine = { .n_threads = 1 },
                                      .session = { .n_ctx = n_ctx, .kv_type_k = "f16", .kv_type_v = "f16" },
                                      .cache_ram_bytes = 64 << 20, .cache_dir = folder,
                                      .cache_disk_bytes = 64 << 20 };
    memset(r, 0, sizeof *r);
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    snprintf(r->measure_text, sizeof r->measure_text, "%s/measure.txt", test_folder(t));
    write_text(t, r->measure_text);
    CHECK(t, tiny_model_write(m, path, &e) == ERR_OK, "%s", e.text);
    CHECK(t, uv_loop_init(&r->loop) == 0 && mailbox_init(&r->box, &r->loop, on_wake, r) == 0);
    CHECK(t, worker_start(&r->worker, &options, &r->box, &e) == ERR_OK, "%s", e.text);
    CHECK(t, worker_open(r->worker, ++r->last_id, path));
    wait_for(t, r, &r->n_models, 1);
}

static void rig_begin(struct test *t, struct rig *r, const struct tiny_model *m, int32_t n_ctx)
{
    rig_begin_in(t, r, m, n_ctx, NULL);
}

static void rig_end(struct rig *r)
{
    mailbox_close(&r->box);
    uv_close((uv_handle_t *)&r->box.wake, NULL);
    worker_stop(r->worker);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    mailbox_finish(&r->box);
    buf_finish(&r->answer);
    for (int i = 0; i < PORT_SIDES; i++)
        buf_finish(&r->sides[i]);
}

static void ask_with(struct test *t, struct rig *r, const struct chat_message *messages, int32_t n, const char *begun,
                     int32_t spec)
{
    struct port_request request = { .id = ++r->last_id, .messages = messages, .n_messages = n,
                                    .enable_thinking = -1, .generate.n_predict = -1, .generate.spec = spec,
                                    .begun = begun };
    sampler_params_default(&request.generate.sampling);
    request.generate.sampling.temperature = 0;
    buf_clear(&r->answer);
    CHECK(t, worker_answer(r->worker, &request));
}

static void ask(struct test *t, struct rig *r, const struct chat_message *messages, int32_t n, const char *begun)
{
    ask_with(t, r, messages, n, begun, SPEC_AUTO);
}

TEST(worker_prepares_the_next_prompt_where_the_template_drops_thoughts)
{
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    m.n_ctx = 2048;
    m.chat_template = forgetful;
    rig_begin(t, &r, &m, 1024);
    struct chat_message chat[] = {
        { .role = "user", .content = "first question" },
        { .role = "assistant", .content = TINY_MODEL_REPLY, .thinking = "a long train of thought to nowhere" },
        { .role = "user", .content = "second" },
    };
    ask(t, &r, chat, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);

    struct port_prompt prompt = { chat, 2 };
    int before = r.n_stats;
    CHECK(t, worker_prepare(r.worker, &prompt, -1));
    wait_for(t, &r, &r.n_stats, before + 1);
    ask(t, &r, chat, 3, NULL);
    wait_for(t, &r, &r.n_prompts, 2);
    /* All but the question itself and the head of the answer; f16 pages end at any token. */
    CHECK(t, r.n_prompt - r.n_reused <= 32, "%d of %d reused", r.n_reused, r.n_prompt);
    wait_for(t, &r, &r.n_done, 2);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);

    before = r.n_stats;    /* what is held already is not evaluated, and not told */
    CHECK(t, worker_prepare(r.worker, &prompt, -1) && worker_want_stats(r.worker));
    wait_for(t, &r, &r.n_stats, before + 1);
    CHECK_INT(t, r.n_stats, before + 1);
    rig_end(&r);
}

TEST(worker_preparation_gives_way_to_an_answer)
{
    enum { TEXT_BYTES = 12000 };
    static char text[TEXT_BYTES + 1];
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    m.n_ctx = 32768;
    memset(text, 'x', TEXT_BYTES);    /* a token each: far more than is evaluated before the answer comes in */
    rig_begin(t, &r, &m, 16384);
    struct chat_message chat[] = { { .role = "user", .content = text }, { .role = "assistant", .content = "yes" } };
    struct chat_message question = { .role = "user", .content = "hello" };
    struct port_prompt prompt = { chat, 2 };
    for (int i = 0; i < 3; i++) {
        CHECK(t, worker_prepare(r.worker, &prompt, -1));
        ask(t, &r, &question, 1, NULL);
        wait_for(t, &r, &r.n_done, i + 1);
        CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    }
    CHECK(t, r.most_held < TEXT_BYTES / 2, "%d tokens were evaluated although an answer waited", r.most_held);
    rig_end(&r);
}

TEST(worker_counts_prompts_and_tells_what_larger_contexts_take)
{
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    m.n_ctx = 1300;
    rig_begin(t, &r, &m, 256);
    struct chat_message chat[] = {
        { .role = "user", .content = "first question" },
        { .role = "assistant", .content = TINY_MODEL_REPLY },
        { .role = "user", .content = "second" },
    };
    struct port_prompt prompts[] = { { chat, 3 }, { chat + 2, 1 } };
    CHECK(t, worker_count(r.worker, ++r.last_id, prompts, 2, -1));
    wait_for(t, &r, &r.n_counts, 1);
    CHECK_INT(t, r.counts.n, 2);
    ask(t, &r, chat + 2, 1, NULL);
    wait_for(t, &r, &r.n_prompts, 1);
    CHECK_INT(t, r.counts.tokens[1], r.n_prompt);
    CHECK(t, r.counts.tokens[0] > r.counts.tokens[1]);
    CHECK_INT(t, r.counts.n_sizes, 3);
    static const int32_t sizes[] = { 512, 1024, 1300 };
    for (int i = 0; i < 3; i++)
        CHECK_INT(t, r.counts.sizes[i].n_ctx, sizes[i]);
    CHECK(t, r.counts.sizes[2].kv_bytes > r.counts.sizes[0].kv_bytes);
    rig_end(&r);
}

TEST(worker_goes_on_with_an_answer_that_was_begun)
{
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    rig_begin(t, &r, &m, 512);
    struct chat_message question = { .role = "user", .content = "hello" };
    ask(t, &r, &question, 1, "All is well here,");
    wait_for(t, &r, &r.n_done, 1);
    CHECK_TEXT(t, buf_text(&r.answer), " said the tiny model quietly.");
    rig_end(&r);
}

TEST(worker_a_session_that_cannot_be_made_leaves_the_old_one)
{
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    rig_begin(t, &r, &m, 512);
    struct port_session wrong = { .n_ctx = 512, .kv_type_k = "kv9", .kv_type_v = "f16" };
    CHECK(t, worker_set_session(r.worker, ++r.last_id, &wrong));
    while (r.n_failed == 0)
        uv_run(&r.loop, UV_RUN_ONCE);
    CHECK(t, strstr(r.text, "kv9") != NULL, "%s", r.text);
    r.n_failed = 0;
    struct port_session larger = { .n_ctx = 1024, .kv_type_k = "q8_0", .kv_type_v = "f16" };
    CHECK(t, worker_set_session(r.worker, ++r.last_id, &larger));
    wait_for(t, &r, &r.n_models, 2);
    CHECK_TEXT(t, r.stats.kv_type_v, "f16");
    struct chat_message question = { .role = "user", .content = "hello" };
    CHECK(t, worker_close_chat(r.worker));
    ask(t, &r, &question, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    rig_end(&r);
}

TEST(worker_a_larger_context_finds_what_was_read_before)
{
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    rig_begin(t, &r, &m, 256);
    struct chat_message question = { .role = "user", .content = "a question of some length, so that it is worth keeping" };
    ask(t, &r, &question, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK_INT(t, r.n_reused, 0);
    struct port_session larger = { .n_ctx = 512, .kv_type_k = "f16", .kv_type_v = "f16" };
    CHECK(t, worker_set_session(r.worker, ++r.last_id, &larger));
    ask(t, &r, &question, 1, NULL);
    wait_for(t, &r, &r.n_done, 2);
    CHECK_INT(t, r.n_reused, r.n_prompt - 1);
    rig_end(&r);
}

static bool has_passes(const char *folder)
{
    bool found = false;
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && !found && (entry = readdir(d));)
        found = strstr(entry->d_name, ".passes") != NULL;
    if (d)
        closedir(d);
    return found;
}

TEST(worker_finds_out_what_passes_cost_while_nobody_asks)
{
    enum { ROUNDS = 20, TRY_MS = 20, TRIES = 1000 };
    struct tiny_model m;
    struct rig r;
    char folder[1024];
    tiny_model_init(&m);
    snprintf(folder, sizeof folder, "%s/kv", test_folder(t));
    rig_begin_in(t, &r, &m, 512, folder);
    uint64_t start_ns = uv_hrtime();
    for (int i = 0; i < ROUNDS; i++) {    /* each round stops it, and it begins anew */
        CHECK(t, worker_want_stats(r.worker));
        wait_for(t, &r, &r.n_stats, i + 1);
    }
    struct chat_message question = { .role = "user", .content = "hello" };
    ask(t, &r, &question, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    worker_cancel(r.worker, r.last_id);    /* came too late for the answer */
    CHECK(t, worker_want_stats(r.worker));
    double waited_ms = (double)(uv_hrtime() - start_ns) / 1e6;
    CHECK(t, waited_ms < ROUNDS * 200, "%d rounds took %.0f ms: half of what is measured each time", ROUNDS, waited_ms);
    for (int i = 0; i < TRIES && !has_passes(folder); i++)
        usleep(TRY_MS * 1000);
    CHECK(t, has_passes(folder), "nothing was measured");
    CHECK(t, worker_want_stats(r.worker));
    wait_for(t, &r, &r.n_stats, r.n_stats + 1);
    rig_end(&r);
}

/* ---- devices ------------------------------------------------------------------------------------------- */

static void wait_for_failure(struct rig *r)
{
    while (r->n_failed == 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    r->n_failed = 0;
}

/* Skips the case where there is no such device. */
static void move(struct test *t, struct rig *r, const char *name, int32_t n_gpu_layers)
{
    struct port_device device = { .n_gpu_layers = n_gpu_layers };
    int n_models = r->n_models;
    snprintf(device.name, sizeof device.name, "%s", name);
    CHECK(t, worker_set_device(r->worker, ++r->last_id, &device));
    while (r->n_models == n_models && r->n_failed == 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    if (r->n_failed > 0) {
        rig_end(r);
        SKIP(t, "%s", r->text);
    }
}

TEST(worker_moves_the_model_and_the_chat_goes_on)
{
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    rig_begin(t, &r, &m, 512);
    struct chat_message chat[] = {
        { .role = "user", .content = "hello" },
        { .role = "assistant", .content = TINY_MODEL_REPLY },
        { .role = "user", .content = "again" },
    };
    ask(t, &r, chat, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK(t, worker_want_stats(r.worker));
    wait_for(t, &r, &r.n_stats, r.n_stats + 1);
    int32_t n_held = r.stats.n_held;
    CHECK(t, n_held > 20 && r.stats.n_device_layers == 0);
    CHECK_INT(t, r.model.n_again, 0);

    move(t, &r, "llvmpipe", 0);
    CHECK_INT(t, r.model.n_again, n_held);
    CHECK_INT(t, r.stats.n_device_layers, 2);
    CHECK(t, strstr(r.model.device, "llvmpipe") && r.stats.device_shares && r.stats.device_bytes > 100000, "%s",
          r.model.device);
    ask(t, &r, chat, 3, NULL);
    wait_for(t, &r, &r.n_done, 2);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    CHECK_INT(t, r.n_reused, 0);

    move(t, &r, "llvmpipe", 1);
    CHECK_INT(t, r.stats.n_device_layers, 1);
    CHECK(t, r.model.n_again > n_held, "%d", r.model.n_again);
    move(t, &r, "llvmpipe", 1);
    CHECK_INT(t, r.model.n_again, -1);
    CHECK(t, worker_list_devices(r.worker));
    wait_for(t, &r, &r.n_devices, 1);
    for (int32_t i = 0; i < r.devices.n; i++)
        CHECK_INT(t, r.devices.rows[i].in_use, strstr(r.devices.rows[i].name, "llvmpipe") != NULL, "%s",
                  r.devices.rows[i].name);
    move(t, &r, "cpu", 0);
    CHECK_INT(t, r.stats.n_device_layers, 0);
    CHECK_TEXT(t, r.model.device, "");
    ask(t, &r, chat, 3, NULL);
    wait_for(t, &r, &r.n_done, 3);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    rig_end(&r);
}

TEST(worker_stays_where_a_device_cannot_be_had)
{
    struct tiny_model m;
    struct rig r;
    tiny_model_init(&m);
    rig_begin(t, &r, &m, 512);
    struct port_device device = { .name = "nonsense" };
    struct chat_message chat = { .role = "user", .content = "hello" };
    ask(t, &r, &chat, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK(t, worker_set_device(r.worker, ++r.last_id, &device));
    wait_for_failure(&r);
    CHECK(t, strstr(r.text, "nonsense") || strstr(r.text, "Vulkan"), "%s", r.text);
    CHECK_INT(t, r.n_models, 1);
    ask(t, &r, &chat, 1, NULL);
    wait_for(t, &r, &r.n_done, 2);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    CHECK_INT(t, r.n_reused, r.n_prompt - 1);
    CHECK(t, worker_list_devices(r.worker));
    wait_for(t, &r, &r.n_devices, 1);
    CHECK(t, r.devices.n >= 1);
    CHECK_TEXT(t, r.devices.rows[0].id, "cpu");
    CHECK(t, r.devices.rows[0].in_use && r.devices.rows[0].n_bytes > 0);
    rig_end(&r);
}

/* ---- levels ---------------------------------------------------------------------------------------- */

static void write_level(struct test *t, struct tiny_model *m, uint32_t weight_type, const char *name, char path[1024])
{
    struct err e;
    m->weight_type = weight_type;
    snprintf(path, 1024, "%s/%s.gguf", test_folder(t), name);
    CHECK(t, tiny_model_write(m, path, &e) == ERR_OK, "%s", e.text);
}

static void wait_for_text(struct test *t, struct rig *r, size_t n_bytes)
{
    while (r->answer.n_bytes < n_bytes && r->n_failed == 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    CHECK(t, r->n_failed == 0, "%s", r->text);
}

/* An answer without end goes through three levels and back to the first; what is said stays one text. */
TEST(worker_goes_on_with_an_answer_at_another_level)
{
    static const uint32_t types[] = { QUANT_Q8_0, QUANT_Q4_1, QUANT_F16 };
    struct tiny_model m;
    struct rig r;
    char path[3][1024];
    tiny_model_init(&m);
    m.n_ctx = 1 << 17;    /* far more than is said while models are opened */
    m.n_layers = 8;
    m.endless = true;
    rig_begin(t, &r, &m, 1 << 17);
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "level%d", i);
        write_level(t, &m, types[i], name, path[i]);
    }
    struct chat_message chat[] = { { .role = "user", .content = "talk" } };
    ask_with(t, &r, chat, 1, NULL, SPEC_OFF);
    size_t said = 0;
    for (int i = 0; i < 6; i++) {
        wait_for_text(t, &r, said + 200);
        said = r.answer.n_bytes;
        CHECK(t, worker_open(r.worker, ++r.last_id, path[i % 3]));
        wait_for(t, &r, &r.n_models, 2 + i);
        CHECK_TEXT(t, r.model.path, path[i % 3]);
        CHECK(t, r.model.in_answer, "round %d, %d done, %zu bytes", i, r.n_done, r.answer.n_bytes);
        CHECK_INT(t, r.model.is_back, i >= 3);
        CHECK_INT(t, r.n_done, 0);
    }
    wait_for_text(t, &r, r.answer.n_bytes + 200);
    worker_cancel(r.worker, r.last_id);
    wait_for(t, &r, &r.n_done, 1);
    const char *reply = TINY_MODEL_REPLY;
    for (size_t i = 0; i < r.answer.n_bytes; i++)
        CHECK(t, buf_text(&r.answer)[i] == reply[i % strlen(reply)], "byte %zu: %.60s", i, buf_text(&r.answer) + i);
    rig_end(&r);
}

/* Between answers; what it knows of the chat it still knows when it comes back, unless its file is another by then. */
TEST(worker_comes_back_to_a_level)
{
    struct tiny_model m;
    struct rig r;
    char path[2][1024];
    tiny_model_init(&m);
    m.n_ctx = 2048;
    rig_begin(t, &r, &m, 1024);
    write_level(t, &m, QUANT_Q8_0, "a", path[0]);
    write_level(t, &m, QUANT_Q4_1, "b", path[1]);
    struct chat_message chat[] = { { .role = "user", .content = "a question that has some words in it" } };
    for (int i = 0; i < 4; i++) {
        int n_prompts = r.n_prompts;
        if (i == 3)
            write_level(t, &m, QUANT_F16, "b", path[1]);
        CHECK(t, worker_open(r.worker, ++r.last_id, path[i % 2]));
        wait_for(t, &r, &r.n_models, 2 + i);
        CHECK(t, !r.model.in_answer);
        CHECK_INT(t, r.model.is_back, i == 2);
        CHECK_INT(t, r.model.n_parked, i < 2 ? i + 1 : 2);
        ask(t, &r, chat, 1, NULL);
        wait_for(t, &r, &r.n_done, 1 + i);
        CHECK_INT(t, r.n_prompts, n_prompts + 1);
        CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
        CHECK_INT(t, r.n_reused, i == 2 ? r.n_prompt - 1 : 0);
    }
    rig_end(&r);
}

/* The one asked for last comes, and nothing is heard of the others. */
TEST(worker_opens_what_was_asked_for_last)
{
    struct tiny_model m;
    struct rig r;
    char path[3][1024];
    tiny_model_init(&m);
    rig_begin(t, &r, &m, 256);
    write_level(t, &m, QUANT_Q8_0, "a", path[0]);
    write_level(t, &m, QUANT_Q4_1, "b", path[1]);
    snprintf(path[2], sizeof path[2], "%s/none.gguf", test_folder(t));
    for (int i = 0; i < 20; i++)
        CHECK(t, worker_open(r.worker, ++r.last_id, path[i % 2]));
    while (strcmp(r.model.path, path[1]) != 0 || r.n_models < 2)
        uv_run(&r.loop, UV_RUN_ONCE);
    CHECK_INT(t, r.n_failed, 0, "%s", r.text);
    CHECK(t, worker_open(r.worker, ++r.last_id, path[2]));
    while (r.n_failed == 0)
        uv_run(&r.loop, UV_RUN_ONCE);
    CHECK(t, strstr(r.text, "none.gguf") != NULL, "%s", r.text);
    r.n_failed = 0;
    struct chat_message chat[] = { { .role = "user", .content = "still there?" } };
    ask(t, &r, chat, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    CHECK(t, worker_open(r.worker, ++r.last_id, path[0]));
    rig_end(&r);    /* while it loads */
}

static void compare(struct test *t, struct rig *r, const char *path, int32_t n_predict, bool other_is_better)
{
    struct port_pair pair = { .base = other_is_better };
    snprintf(pair.paths[0], sizeof pair.paths[0], "%s", r->model.path);
    snprintf(pair.paths[1], sizeof pair.paths[1], "%s", path);

    struct chat_message question = { .role = "user", .content = "how are you?" };
    struct port_request request = { .id = ++r->last_id, .messages = &question, .n_messages = 1, .enable_thinking = -1,
                                    .generate.n_predict = n_predict };
    sampler_params_default(&request.generate.sampling);
    request.generate.sampling.temperature = 0;
    for (int i = 0; i < PORT_SIDES; i++)
        buf_clear(&r->sides[i]);
    CHECK(t, worker_compare(r->worker, &request, &pair));
}

TEST(worker_compares_two_levels)
{
    struct tiny_model m;
    struct rig r;
    char path[2][1024];
    tiny_model_init(&m);
    m.n_ctx = 2048;
    rig_begin(t, &r, &m, 1024);
    write_level(t, &m, QUANT_F16, "best", path[0]);
    compare(t, &r, path[0], 300, true);
    struct chat_message chat[] = { { .role = "user", .content = "meanwhile?" } };
    ask(t, &r, chat, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    wait_for(t, &r, &r.n_compared, 1);
    CHECK_INT(t, r.compared.kind, MAIL_COMPARED, "%s", r.compared.text);
    CHECK_INT(t, r.n_compare_prompts, 1);
    const struct port_compared *got = &r.compared.compared;
    for (int i = 0; i < PORT_SIDES; i++) {
        CHECK_TEXT(t, buf_text(&r.sides[i]), TINY_MODEL_REPLY);
        CHECK(t, got->sides[i].is_whole && got->sides[i].answer_per_s > 0);
    }
    CHECK(t, !got->differ && got->n_same == got->sides[0].n_tokens && got->n_judged == got->sides[1].n_tokens + 1);
    CHECK(t, got->same_top == 1 && got->kl > 0 && got->kl < 0.1, "%g", got->kl);

    /* A prompt without room, and a model with other tokens. */
    compare(t, &r, "/nowhere/none.gguf", 300, true);
    wait_for(t, &r, &r.n_compared, 2);
    CHECK(t, r.compared.kind == MAIL_NOT_COMPARED && strstr(r.compared.text, "none.gguf"), "%s", r.compared.text);
    m.reply = "Other words than those.";
    write_level(t, &m, QUANT_F16, "other", path[1]);
    compare(t, &r, path[1], 300, true);
    wait_for(t, &r, &r.n_compared, 3);
    CHECK(t, r.compared.kind == MAIL_NOT_COMPARED && strstr(r.compared.text, "other tokens"), "%s", r.compared.text);
    rig_end(&r);
}

/* What gives way to jobs is not the comparison. */
TEST(worker_comparisons_outlive_what_is_prepared_meanwhile)
{
    struct tiny_model m;
    struct rig r;
    char path[1024];
    tiny_model_init(&m);
    m.n_ctx = 65536;
    m.endless = true;
    rig_begin(t, &r, &m, 65536);
    write_level(t, &m, QUANT_F16, "best", path);
    compare(t, &r, path, 400, true);
    const struct port_session session = { .n_ctx = 32768, .kv_type_k = "f16", .kv_type_v = "f16" };
    struct chat_message chat[] = { { .role = "user", .content = "hi" }, { .role = "assistant", .content = "ho" } };
    for (int i = 0; i < 8; i++) {
        size_t n_said = r.sides[1].n_bytes;
        CHECK(t, worker_set_session(r.worker, ++r.last_id, &session));    /* what passes cost is measured after it */
        CHECK(t, worker_prepare(r.worker, &(struct port_prompt){ chat, 2 }, -1));
        wait_for(t, &r, &r.n_models, i + 2);
        CHECK(t, worker_want_levels(r.worker));
        while (r.sides[1].n_bytes < n_said + 20 && r.n_compared == 0)
            uv_run(&r.loop, UV_RUN_ONCE);
    }
    wait_for(t, &r, &r.n_compared, 1);
    CHECK_INT(t, r.compared.kind, MAIL_COMPARED, "%s", r.compared.text);
    CHECK_INT(t, r.compared.compared.sides[1].n_tokens, 400);

    /* Another model than the one that was meant is in use by then. */
    struct port_model meant = r.model;
    snprintf(r.model.path, sizeof r.model.path, "%s", path);
    compare(t, &r, path, 40, true);
    r.model = meant;
    wait_for(t, &r, &r.n_compared, 2);
    CHECK_TEXT(t, r.compared.text, "another model answers now");
    rig_end(&r);
}

/* By whoever asked, in all its parts; by another model; and by the end of everything. */
TEST(worker_comparisons_end_when_they_should)
{
    struct tiny_model m;
    struct rig r;
    char path[2][1024];
    tiny_model_init(&m);
    m.n_ctx = 65536;
    m.endless = true;
    rig_begin(t, &r, &m, 65536);
    write_level(t, &m, QUANT_F16, "best", path[0]);
    write_level(t, &m, QUANT_Q4_1, "b", path[1]);
    compare(t, &r, path[0], 60000, true);
    while (r.sides[1].n_bytes < 200)
        uv_run(&r.loop, UV_RUN_ONCE);
    worker_end_answers(r.worker, r.last_id);
    wait_for(t, &r, &r.n_compared, 1);
    CHECK_INT(t, r.compared.kind, MAIL_COMPARED, "%s", r.compared.text);
    CHECK(t, r.compared.compared.n_judged > 10 && !r.compared.compared.sides[0].is_whole);

    compare(t, &r, path[0], 60000, false);
    while (r.sides[1].n_bytes < 200)
        uv_run(&r.loop, UV_RUN_ONCE);
    worker_stop_aside(r.worker, r.last_id);
    wait_for(t, &r, &r.n_compared, 2);
    CHECK_INT(t, r.compared.kind, MAIL_NOT_COMPARED);
    CHECK_TEXT(t, r.compared.text, "");

    compare(t, &r, path[0], 60000, false);
    worker_stop_aside(r.worker, r.last_id);    /* before it has begun */
    wait_for(t, &r, &r.n_compared, 3);
    CHECK_TEXT(t, r.compared.text, "");

    compare(t, &r, path[0], 60000, false);
    while (r.sides[1].n_bytes < 200)
        uv_run(&r.loop, UV_RUN_ONCE);
    CHECK(t, worker_open(r.worker, ++r.last_id, path[1]));
    wait_for(t, &r, &r.n_compared, 4);
    CHECK_TEXT(t, r.compared.text, "another model answers now");

    wait_for(t, &r, &r.n_models, 2);    /* the pair names the model in use */
    compare(t, &r, path[0], 60000, false);
    while (r.sides[1].n_bytes < 200 && r.n_compared == 4)
        uv_run(&r.loop, UV_RUN_ONCE);
    CHECK_INT(t, r.n_compared, 4, "%s", r.compared.text);
    rig_end(&r);
}

/* An answer comes in between; what was asked for is stopped by whoever asked, or by another model. */
TEST(worker_measures_a_level_while_nobody_asks)
{
    struct tiny_model m;
    struct rig r;
    char path[2][1024];
    tiny_model_init(&m);
    m.n_ctx = 2048;
    rig_begin(t, &r, &m, 1024);
    write_level(t, &m, QUANT_F16, "best", path[0]);
    write_level(t, &m, QUANT_Q4_1, "b", path[1]);
    CHECK(t, worker_measure(r.worker, ++r.last_id, path[1], path[0]));
    uint64_t id = r.last_id;
    struct chat_message chat[] = { { .role = "user", .content = "meanwhile?" } };
    ask(t, &r, chat, 1, NULL);
    wait_for(t, &r, &r.n_done, 1);
    CHECK_TEXT(t, buf_text(&r.answer), TINY_MODEL_REPLY);
    wait_for(t, &r, &r.n_measured, 1);
    CHECK(t, r.measured.request == id);
    CHECK(t, r.measured.measured.n_tokens > 60 && r.measured.measured.kl > 0 && r.measured.measured.same_top > 0);
    CHECK(t, r.measured.measured.answer_per_s > 0 && r.measured.measured.prompt_per_s > 0);

    CHECK(t, worker_measure(r.worker, ++r.last_id, path[0], path[0]));
    wait_for(t, &r, &r.n_measured, 2);
    CHECK(t, r.measured.measured.kl == 0, "%g", r.measured.measured.kl);
    CHECK(t, worker_measure(r.worker, ++r.last_id, path[0], NULL));
    wait_for(t, &r, &r.n_measured, 3);
    CHECK_INT(t, r.measured.measured.n_tokens, 0);

    CHECK(t, worker_measure(r.worker, ++r.last_id, path[1], path[0]));
    worker_stop_aside(r.worker, r.last_id);
    while (r.n_failed == 0)
        uv_run(&r.loop, UV_RUN_ONCE);
    CHECK_TEXT(t, r.text, "");
    CHECK_INT(t, r.n_measured, 3);
    CHECK(t, worker_measure(r.worker, ++r.last_id, path[1], path[0]));
    rig_end(&r);    /* in the middle of it */
}
