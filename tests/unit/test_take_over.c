/* SPDX-License-Identifier: MIT */
/* A model that is opened beside another, takes over what that one is saying, and rests. */
#include "tests/support/session_rig.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/quant/quant.h"

enum { N_CTX = 640, N_PROMPT = 300, N_ANSWER = 100, N_MODELS = 2 };

static const struct plan plan = { .arch = "gemma3", .n_layers = 3, .n_embd = 64, .n_ff = 96, .n_head = 4,
                                  .n_kv_head = 2, .d_head = 32, .n_vocab = 120, .n_rot = 32, .rope_base = 100000,
                                  .rope_base_local = 500, .embed_scale = 8, .halves = true, .qk_norm = true,
                                  .post_norm = true, .gelu = true, .tied = true, .window = 70, .period = 3,
                                  .weight_type = QUANT_Q8_0 };

/* Two files of one model, each opened with a session. */
struct beside {
    struct engine *engine;
    struct model *models[N_MODELS];
    struct session *sessions[N_MODELS];
    char path[N_MODELS][512];
};

static struct session_options options(const char *type)
{
    return (struct session_options){ .n_ctx = N_CTX, .n_batch = 64, .kv_type_k = type, .kv_type_v = type,
                                     .keep_kv_type = true, .cache_ram_bytes = 1 };
}

struct load {
    struct model *m;
    enum err_code rc;
    struct err e;
};

static void *load(void *argument)
{
    struct load *l = argument;
    l->rc = model_load(l->m, NULL, &l->e);
    return NULL;
}

/* In a thread of its own. */
static void load_and_start(struct test *t, struct model *m)
{
    struct load l = { .m = m };
    struct err e;
    pthread_t thread;
    CHECK(t, pthread_create(&thread, NULL, load, &l) == 0);
    pthread_join(thread, NULL);
    CHECK_INT(t, l.rc, ERR_OK, "%s", l.e.text);
    CHECK_INT(t, model_start(m, &e), ERR_OK, "%s", e.text);
}

/* One sequence of random weights for both files, so that they are the same model. */
static void write_models(struct test *t, struct beside *b)
{
    struct plan_model *m = malloc(sizeof *m);
    CHECK(t, m != NULL);
    for (int i = 0; i < N_MODELS; i++)
        snprintf(b->path[i], sizeof b->path[i], "%s/%d.gguf", test_folder(t), i);
    plan_model_write(t, m, &plan, b->path[0]);
    plan_model_finish(m);
    free(m);
    char command[1100];
    snprintf(command, sizeof command, "cp '%s' '%s'", b->path[0], b->path[1]);
    CHECK_INT(t, system(command), 0);
}

static void begin(struct test *t, struct beside *b, const char *device, const char *type)
{
    struct engine_options eo = { .n_threads = 1, .device = device, .run_ahead = 1, .cache_dir = test_folder(t) };
    struct session_options so = options(type);
    struct err e;
    *b = (struct beside){ 0 };
    write_models(t, b);
    CHECK_INT(t, engine_create(&b->engine, &eo, &e), ERR_OK, "%s", e.text);
    for (int i = 0; i < N_MODELS; i++) {
        CHECK_INT(t, model_begin(&b->models[i], b->engine, b->path[i], &e), ERR_OK, "%s", e.text);
        load_and_start(t, b->models[i]);
        CHECK_INT(t, session_create(&b->sessions[i], b->models[i], &so, &e), ERR_OK, "%s", e.text);
    }
    CHECK(t, model_same_tokens(b->models[0], b->models[1]));
    if (strcmp(device, "cpu") != 0 && model_info(b->models[0])->n_device_layers == 0)
        SKIP(t, "no %s", device);
}

static void end(struct beside *b)
{
    for (int i = 0; i < N_MODELS; i++) {
        session_destroy(b->sessions[i]);
        model_close(b->models[i]);
    }
    engine_destroy(b->engine);
}

static void draw_ids(struct test *t, int32_t *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = 1 + (int32_t)test_below(t, (uint32_t)plan.n_vocab - 1);
}

static struct generate_options sampled(uint32_t seed)
{
    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    o.sampling.temperature = 0.9f;
    o.sampling.repeat_penalty = 1.2f;
    o.sampling.seed = seed;
    return o;
}

/* One step of session *at; before some steps the other model takes over, the one that was left resting meanwhile.
 * every 0: never. */
static struct session_story tell_of(struct test *t, struct beside *b, int *at, const int32_t *ids, int32_t n_prompt,
                                    const struct generate_options *o, uint32_t every)
{
    struct session_story story = { .n_ids = 0 };
    struct err e;
    CHECK_INT(t, session_generate(b->sessions[*at], 0, ids, n_prompt, o, &e), ERR_OK, "%s", e.text);
    while (session_busy(b->sessions[*at])) {
        struct eng_event events[SESSION_EVENTS];
        int32_t n;
        if (every > 0 && test_below(t, every) == 0) {
            int to = 1 - *at;
            model_wake(b->models[to]);
            load_and_start(t, b->models[to]);
            CHECK_INT(t, session_take_over(b->sessions[to], b->sessions[*at], &e), ERR_OK, "%s", e.text);
            CHECK(t, !session_busy(b->sessions[*at]) && session_busy(b->sessions[to]));
            model_rest(b->models[*at]);
            *at = to;
        }
        CHECK_INT(t, session_step(b->sessions[*at], events, SESSION_EVENTS, &n, &e), ERR_OK, "%s", e.text);
        for (int32_t i = 0; i < n; i++) {
            if (events[i].kind == EVENT_TOKEN && events[i].token >= 0)
                story.ids[story.n_ids++] = events[i].token;
            if (events[i].kind == EVENT_DONE)
                story.done = events[i];
        }
    }
    return story;
}

static struct session_story tell(struct test *t, struct beside *b, int *at, const int32_t *ids,
                                 const struct generate_options *o, uint32_t every)
{
    return tell_of(t, b, at, ids, N_PROMPT, o, every);
}

static void check_story(struct test *t, const struct session_story *got, const struct session_story *want)
{
    CHECK_INT(t, got->n_ids, want->n_ids);
    CHECK_BYTES(t, got->ids, want->ids, (size_t)want->n_ids * sizeof *want->ids);
    CHECK_INT(t, got->done.reason, want->done.reason);
    CHECK_INT(t, got->done.timings.n_prompt, N_PROMPT);
    CHECK_INT(t, got->done.timings.n_generated, N_ANSWER);
}

static void check_answers_go_on(struct test *t, const char *device)
{
    static const char *const types[] = { "f16", "kv4" };
    for (int k = 0; k < 2; k++) {
        struct beside b;
        int at = 0;
        begin(t, &b, device, types[k]);
        model_rest(b.models[1]);
        for (uint32_t i = 0; i < 3; i++) {
            int32_t ids[N_PROMPT];
            struct generate_options o = i == 2 ? session_rig_greedy(N_ANSWER, 0) : sampled(i);
            draw_ids(t, ids, N_PROMPT);
            struct session_story want = tell(t, &b, &at, ids, &o, 0);
            struct session_story got = tell(t, &b, &at, ids, &o, 12);
            check_story(t, &got, &want);
        }
        end(&b);
    }
}

TEST(take_over_changes_no_token)
{
    check_answers_go_on(t, "cpu");
}

TEST(take_over_changes_no_token_on_a_device)
{
    check_answers_go_on(t, "llvmpipe");
}

/* On the way back nothing is evaluated again but what was said elsewhere. */
static void check_nothing_is_read_again(struct test *t, const char *device)
{
    enum { N_HELD = N_PROMPT + N_ANSWER - 1, N_LONG = N_HELD + 30 };
    struct beside b;
    int at = 0;
    int32_t ids[N_LONG];
    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    begin(t, &b, device, "q8_0");
    draw_ids(t, ids, N_LONG);
    struct session_story first = tell(t, &b, &at, ids, &o, 0);
    memcpy(ids + N_PROMPT, first.ids, (N_ANSWER - 1) * sizeof *ids);
    model_rest(b.models[0]);
    model_rest(b.models[0]);
    CHECK_INT(t, session_held(b.sessions[0], 0, ids, N_LONG), N_HELD);
    at = 1;
    struct session_story want = tell_of(t, &b, &at, ids, N_LONG, &o, 0);
    CHECK_INT(t, want.done.timings.n_reused, 0);
    model_wake(b.models[0]);
    load_and_start(t, b.models[0]);
    at = 0;
    struct session_story got = tell_of(t, &b, &at, ids, N_LONG, &o, 0);
    CHECK_INT(t, got.done.timings.n_reused, N_HELD);
    CHECK_BYTES(t, got.ids, want.ids, sizeof want.ids);
    end(&b);
}

TEST(rest_keeps_what_sessions_hold)
{
    check_nothing_is_read_again(t, "cpu");
}

TEST(rest_keeps_what_sessions_hold_on_a_device)
{
    check_nothing_is_read_again(t, "llvmpipe");
}

/* Elsewhere pages mean nothing: they are evaluated again, and what is said is what that place says. */
TEST(rest_while_the_engine_moves)
{
    struct beside b;
    struct err e;
    int at = 1;
    int32_t ids[N_PROMPT], n_moved;
    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    begin(t, &b, "cpu", "f16");
    struct engine_options there = { .device = "llvmpipe" };
    draw_ids(t, ids, N_PROMPT);
    tell(t, &b, &at, ids, &o, 0);
    model_rest(b.models[1]);
    CHECK_INT(t, engine_move(b.engine, &there, &n_moved, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, n_moved, 1);
    at = 0;
    struct session_story want = tell(t, &b, &at, ids, &o, 0);
    model_wake(b.models[1]);
    load_and_start(t, b.models[1]);
    at = 1;
    struct session_story got = tell(t, &b, &at, ids, &o, 0);
    CHECK_INT(t, got.done.timings.n_reused, 0);
    check_story(t, &got, &want);
    end(&b);
}

TEST(take_over_by_a_context_that_is_too_small_changes_nothing)
{
    struct beside b;
    struct err e;
    struct session_options so = options("f16");
    int at = 0;
    int32_t ids[N_PROMPT];
    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    begin(t, &b, "cpu", "f16");
    draw_ids(t, ids, N_PROMPT);
    struct session_story want = tell(t, &b, &at, ids, &o, 0);
    session_destroy(b.sessions[1]);
    b.sessions[1] = NULL;
    so.n_ctx = N_PROMPT;
    CHECK_INT(t, session_create(&b.sessions[1], b.models[1], &so, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_generate(b.sessions[0], 0, ids, N_PROMPT, &o, &e), ERR_OK);
    CHECK_INT(t, session_take_over(b.sessions[1], b.sessions[0], &e), ERR_UNSUPPORTED);
    CHECK_TEXT(t, e.text, "the answer is at token 300, the context holds 300");
    struct session_rig rig = { b.engine, b.models[0], b.sessions[0] };
    struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
    session_rig_run(t, &rig, stories);
    check_story(t, &stories[0], &want);
    free(stories);
    end(&b);
}

TEST(take_over_carries_a_cancel)
{
    struct beside b;
    struct err e;
    struct eng_event events[SESSION_EVENTS];
    int32_t ids[N_PROMPT], n;
    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    begin(t, &b, "cpu", "f16");
    draw_ids(t, ids, N_PROMPT);
    CHECK_INT(t, session_generate(b.sessions[0], 0, ids, N_PROMPT, &o, &e), ERR_OK);
    session_cancel(b.sessions[0]);
    CHECK_INT(t, session_take_over(b.sessions[1], b.sessions[0], &e), ERR_OK);
    CHECK_INT(t, session_step(b.sessions[1], events, SESSION_EVENTS, &n, &e), ERR_OK);
    CHECK_INT(t, events[n - 1].kind, EVENT_DONE);
    CHECK_INT(t, events[n - 1].reason, DONE_CANCELLED);
    end(&b);
}

TEST(load_that_is_cancelled_or_fails)
{
    struct beside b;
    struct err e;
    struct model *m;
    atomic_bool cancel = true;
    char path[600];
    begin(t, &b, "cpu", "f16");
    CHECK_INT(t, model_begin(&m, b.engine, b.path[0], &e), ERR_OK);
    CHECK_INT(t, model_load(m, &cancel, &e), ERR_CANCELLED);
    model_close(m);
    CHECK_INT(t, model_begin(&m, b.engine, b.path[0], &e), ERR_OK);
    CHECK_INT(t, model_load(m, NULL, &e), ERR_OK);
    model_close(m);    /* loaded, never started */
    CHECK_INT(t, model_begin(&m, b.engine, b.path[0], &e), ERR_OK);
    model_close(m);
    snprintf(path, sizeof path, "%s/none.gguf", test_folder(t));
    CHECK_INT(t, model_begin(&m, b.engine, path, &e), ERR_OK);
    CHECK_INT(t, model_load(m, NULL, &e), ERR_IO);
    CHECK(t, strstr(e.text, "none.gguf") != NULL, "%s", e.text);
    model_close(m);
    end(&b);
}

TEST(models_with_other_tokens_are_told_apart)
{
    struct beside b;
    struct err e;
    struct model *m;
    char path[600];
    begin(t, &b, "cpu", "f16");
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/other.gguf", test_folder(t));
        struct plan it = plan;
        it.n_vocab = i == 0 ? plan.n_vocab + 1 : plan.n_vocab;
        it.letters = i == 1;
        session_rig_write(t, &it, path);
        CHECK_INT(t, model_open(&m, b.engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
        CHECK(t, !model_same_tokens(m, b.models[0]) && !model_same_tokens(b.models[0], m));
        model_close(m);
    }
    end(&b);
}
