/* SPDX-License-Identifier: MIT */
/* Greedy answers on a device that runs ahead are those on one that waits, whatever comes between. */
#include "tests/support/session_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/quant/quant.h"
#include "engine/session/session_impl.h"
#include "engine/vulkan/vulkan_placed.h"

enum { N_CTX = 320, N_PROMPT = 90, N_ANSWER = 110 };

/* Layers with windows and without. */
static const struct plan plan = {
    .arch = "gemma3", .n_layers = 4, .n_embd = 64, .n_ff = 96, .n_head = 4, .n_kv_head = 2, .d_head = 32,
    .n_vocab = 100, .n_rot = 32, .rope_base = 100000, .rope_base_local = 500, .embed_scale = 8, .halves = true,
    .qk_norm = true, .post_norm = true, .gelu = true, .tied = true, .window = 70, .period = 3, .weight_type = QUANT_Q8_0
};

static void open_rig(struct test *t, struct session_rig *rig, const char *type, int32_t n_seqs, int32_t run_ahead)
{
    struct session_options o = { .n_ctx = N_CTX, .n_seqs = n_seqs, .n_batch = 64, .kv_type_k = type, .kv_type_v = type,
                                 .keep_kv_type = true, .cache_ram_bytes = 4 << 20 };
    struct engine_info info;
    struct err e;
    char path[512];
    *rig = (struct session_rig){ 0 };
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    const struct engine_options eo = { .n_threads = 1, .device = "llvmpipe", .run_ahead = run_ahead };
    CHECK_INT(t, engine_create(&rig->engine, &eo, &e), ERR_OK, "%s", e.text);
    engine_info(rig->engine, &info);
    if (!info.device[0]) {
        engine_destroy(rig->engine);
        SKIP(t, "no llvmpipe");
    }
    CHECK_INT(t, model_open(&rig->model, rig->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&rig->session, rig->model, &o, &e), ERR_OK, "%s", e.text);
}

static void write_model(struct test *t)
{
    char path[512];
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    session_rig_write(t, &plan, path);
}

static int32_t n_taken(const struct session_rig *rig)
{
    return rig->model->placed->ahead.n_taken;
}

static struct session_story ask(struct test *t, struct session_rig *rig, const int32_t *ids, int32_t n, int32_t spec)
{
    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    o.spec = spec;
    return session_rig_ask(t, rig, 0, ids, n, &o);
}

/* So that likely drafts pay, and others do not. */
static void make_rows_cheap(struct session_rig *rig)
{
    double ms[SPEC_POINTS];
    for (int32_t i = 0; i < SPEC_POINTS; i++)
        ms[i] = 1000 + 4000 * spec_costs_rows(i);
    rig->model->caches->costs = (struct spec_costs){ 0 };
    spec_costs_set(&rig->model->caches->costs, 0, ms);
}

TEST(vulkan_ahead_changes_no_token)
{
    static const char *const types[] = { "f16", "kv4" };
    write_model(t);
    for (int k = 0; k < 2; k++) {
        struct session_rig rig[2];
        int32_t ids[N_PROMPT];
        for (int i = 0; i < 2; i++)
            open_rig(t, &rig[i], types[k], 1, i == 0 ? -1 : 1);
        for (int i = 0; i < 2; i++)
            CHECK_INT(t, rig[i].model->backend->ops->runs_ahead(rig[i].model->placed), i);
        for (int round = 0; round < 2; round++) {
            session_rig_ids(t, &rig[0], ids, N_PROMPT);
            struct session_story want = ask(t, &rig[0], ids, N_PROMPT, SPEC_OFF);
            struct session_story got = ask(t, &rig[1], ids, N_PROMPT, SPEC_OFF);
            CHECK_BYTES(t, got.ids, want.ids, sizeof got.ids, "%s", types[k]);
            CHECK_INT(t, got.done.timings.n_passes, N_ANSWER - 1);
        }
        CHECK_INT(t, n_taken(&rig[1]), 2 * (N_ANSWER - 2), "all but the first row of each answer");
        for (int i = 0; i < 2; i++)
            session_rig_close(&rig[i]);
    }
}

/* Drafts go first, but for the one token that is on its way already. */
TEST(vulkan_ahead_and_drafts_change_no_token)
{
    struct session_rig rig[2];
    int32_t ids[N_PROMPT], n_accepted = 0;
    write_model(t);
    for (int i = 0; i < 2; i++)
        open_rig(t, &rig[i], "kv4", 1, i == 0 ? -1 : 1);
    for (int round = 0; round < 3; round++) {
        for (int32_t i = 0; i < N_PROMPT; i++)
            ids[i] = round == 0 && i >= 20 ? ids[i - 20] : 1 + (int32_t)test_below(t, 99);
        struct session_story want = ask(t, &rig[0], ids, N_PROMPT, SPEC_OFF);
        make_rows_cheap(&rig[1]);
        struct session_story got = ask(t, &rig[1], ids, N_PROMPT, round == 0 ? 3 : SPEC_AUTO);
        CHECK_BYTES(t, got.ids, want.ids, sizeof got.ids, "round %d", round);
        n_accepted += got.done.timings.n_accepted;
    }
    printf("%d taken ahead, %d drafts accepted\n", n_taken(&rig[1]), n_accepted);
    CHECK(t, n_taken(&rig[1]) > 10 && n_accepted > 10);
    for (int i = 0; i < 2; i++)
        session_rig_close(&rig[i]);
}

static void step_events(struct test *t, struct session_rig *rig, struct session_story *stories)
{
    struct eng_event events[64];
    struct err e;
    int32_t n;
    CHECK_INT(t, session_step(rig->session, events, 64, &n, &e), ERR_OK, "%s", e.text);
    for (int32_t i = 0; i < n; i++) {
        struct session_story *s = &stories[events[i].seq];
        if (events[i].kind == EVENT_TOKEN && events[i].token >= 0)
            s->ids[s->n_ids++] = events[i].token;
        s->ended |= events[i].kind == EVENT_DONE;
    }
}

/* In mid-answer: cancelled and asked something that parts from it early, another answer beside it, what it said evaluated
 * again. */
TEST(vulkan_ahead_and_what_comes_between_change_no_token)
{
    struct session_rig rig[2];
    int32_t ids[2][N_PROMPT];
    write_model(t);
    for (int i = 0; i < 2; i++)
        open_rig(t, &rig[i], "q8_0", 2, i == 0 ? -1 : 1);
    session_rig_ids(t, &rig[0], ids[0], N_PROMPT);
    memcpy(ids[1], ids[0], sizeof ids[1]);
    session_rig_ids(t, &rig[0], ids[1] + 70, N_PROMPT - 70);
    struct session_story want[2] = { ask(t, &rig[0], ids[0], N_PROMPT, SPEC_OFF), ask(t, &rig[0], ids[1], N_PROMPT, SPEC_OFF) };

    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    o.spec = SPEC_OFF;
    for (int round = 0; round < 6; round++) {
        struct session_story *got = calloc(SESSION_RIG_SEQS, sizeof *got);
        CHECK(t, got != NULL);
        int32_t before = n_taken(&rig[1]), n_first = 20 + (int32_t)test_below(t, 60);
        session_rig_start(t, &rig[1], 0, ids[0], N_PROMPT, &o);
        while (got[0].n_ids < n_first)
            step_events(t, &rig[1], got);
        CHECK(t, n_taken(&rig[1]) > before);
        if (round % 2 == 0) {
            session_cancel(rig[1].session);
            while (!got[0].ended)
                step_events(t, &rig[1], got);
            CHECK_BYTES(t, got[0].ids, want[0].ids, (size_t)n_first * sizeof *got[0].ids);
            struct session_story again = ask(t, &rig[1], ids[1], N_PROMPT, SPEC_OFF);
            CHECK_BYTES(t, again.ids, want[1].ids, sizeof again.ids, "after a cancel, round %d", round);
        } else {
            session_rig_start(t, &rig[1], 1, ids[1], N_PROMPT, &o);
            while (!got[0].ended || !got[1].ended)
                step_events(t, &rig[1], got);
            for (int i = 0; i < 2; i++)
                CHECK_BYTES(t, got[i].ids, want[i].ids, sizeof got[i].ids, "side by side, round %d, answer %d", round, i);
        }
        free(got);
    }
    for (int i = 0; i < 2; i++)
        session_rig_close(&rig[i]);
}

/* Each finds on its way what the other one wants. */
TEST(vulkan_ahead_of_two_sessions_of_a_model_changes_no_token)
{
    const struct session_options o = { .n_ctx = N_CTX, .n_seqs = 1, .n_batch = 64, .kv_type_k = "q8_0",
                                       .kv_type_v = "kv4", .keep_kv_type = true };
    struct generate_options greedy = session_rig_greedy(40, 0);
    struct session_rig rig[2];
    int32_t ids[N_PROMPT];
    struct err e;
    write_model(t);
    open_rig(t, &rig[0], "f16", 1, 1);
    rig[1] = rig[0];
    CHECK_INT(t, session_create(&rig[1].session, rig[0].model, &o, &e), ERR_OK, "%s", e.text);
    session_rig_ids(t, &rig[0], ids, N_PROMPT);
    greedy.spec = SPEC_OFF;
    struct session_story want[2], *got[2];
    for (int i = 0; i < 2; i++) {
        want[i] = session_rig_ask(t, &rig[i], 0, ids, N_PROMPT, &greedy);
        got[i] = calloc(SESSION_RIG_SEQS, sizeof *got[i]);
        CHECK(t, got[i] != NULL);
        session_rig_start(t, &rig[i], 0, ids, N_PROMPT, &greedy);
    }
    int32_t n_alone = n_taken(&rig[0]);
    while (!got[0]->ended || !got[1]->ended)
        for (int i = 0; i < 2; i++)
            for (uint32_t n = 1 + test_below(t, 3); n > 0 && !got[i]->ended; n--)
                step_events(t, &rig[i], got[i]);
    CHECK(t, n_taken(&rig[0]) > n_alone + 10, "%d and %d", n_alone, n_taken(&rig[0]) - n_alone);
    for (int i = 0; i < 2; i++) {
        CHECK_BYTES(t, got[i]->ids, want[i].ids, sizeof want[i].ids, "session %d", i);
        free(got[i]);
    }
    session_destroy(rig[1].session);
    session_rig_close(&rig[0]);
}

TEST(vulkan_ahead_is_for_answers_that_take_the_best)
{
    struct session_rig rig;
    int32_t ids[N_PROMPT];
    write_model(t);
    open_rig(t, &rig, "f16", 1, 1);
    session_rig_ids(t, &rig, ids, N_PROMPT);
    for (int i = 0; i < 3; i++) {
        struct generate_options o = session_rig_greedy(i == 2 ? 2 : 20, 0);
        o.spec = SPEC_OFF;
        if (i == 0)
            o.sampling.temperature = 0.8f;
        if (i == 1)
            o.sampling.repeat_penalty = 1.1f;
        session_rig_ask(t, &rig, 0, ids, N_PROMPT, &o);
        CHECK_INT(t, n_taken(&rig), 0, "%d", i);
    }
    session_rig_close(&rig);
}
