/* SPDX-License-Identifier: MIT */
/* An answer is the same to the token whatever is drafted: for all samplers and all types of the cache, alone and with
 * other answers in the same passes, with drafts that pay, drafts that do not, and drafts that end where the answer or
 * the context does. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session_impl.h"
#include "tests/support/session_rig.h"

enum { N_VOCAB = 120, N_CTX = 512, N_PROMPTS = 200, N_PROMPT = 320, N_ANSWER = 40, N_SEQS = 4 };

/* Two pages are open at the least, so prompts of some 300 tokens read sealed ones. */
static const struct plan plan = {
    .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 64, .n_head = 2, .n_kv_head = 1, .d_head = 64,
    .n_vocab = N_VOCAB, .n_rot = 64, .rope_base = 10000, .embed_scale = 1, .letters = true
};

static const char *const types[] = { "f16", "q8_0", "kv4", "kv3", "q4_0" };

/* ---- samplers ------------------------------------------------------------------------------------- */

struct taste {
    const char *name, *settings[4][2];
};

static const struct taste tastes[] = {
    { "greedy", { { "temp", "0" } } },
    { "seeded", { { "temp", "0.8" }, { "top-k", "40" }, { "top-p", "0.95" }, { "min-p", "0.05" } } },
    { "hot", { { "temp", "1.5" }, { "top-k", "0" }, { "top-p", "1" }, { "min-p", "0" } } },
    { "penalties", { { "temp", "0.7" }, { "repeat-penalty", "1.3" }, { "frequency-penalty", "0.2" },
                     { "presence-penalty", "0.3" } } },
    { "greedy with penalties", { { "temp", "0" }, { "repeat-penalty", "1.2" }, { "repeat-last-n", "-1" } } },
    { "dry", { { "temp", "0.6" }, { "dry-multiplier", "0.8" }, { "dry-allowed-length", "2" } } },
    { "xtc", { { "temp", "0.9" }, { "xtc-probability", "0.5" }, { "xtc-threshold", "0.1" } } },
    { "typical", { { "temp", "0.8" }, { "typical", "0.7" }, { "top-nsigma", "2" } } },
    { "dynamic", { { "temp", "0.8" }, { "dynatemp-range", "0.4" } } },
    { "mirostat", { { "temp", "0.9" }, { "mirostat", "2" } } },
};
enum { N_TASTES = sizeof tastes / sizeof *tastes };

static struct generate_options options(struct test *t, const struct taste *taste, int32_t n_predict, int32_t spec)
{
    struct generate_options o = session_rig_greedy(n_predict, 0);
    struct err e;
    o.spec = spec;
    o.sampling.seed = 4711;
    for (int32_t i = 0; i < 4 && taste->settings[i][0]; i++)
        CHECK_INT(t, sampler_params_set(&o.sampling, taste->settings[i][0], taste->settings[i][1], &e), ERR_OK, "%s",
                  e.text);
    return o;
}

/* ---- prompts -------------------------------------------------------------------------------------- */

/* Text that repeats itself here and there, so that there is something to draft. */
static int32_t make_prompt(struct test *t, int32_t *ids)
{
    int32_t n = N_PROMPT - (int32_t)test_below(t, 40), i = 0;
    while (i < n) {
        int32_t from = i > 20 && test_below(t, 3) ? (int32_t)test_below(t, (uint32_t)i - 10) : -1;
        int32_t n_more = 5 + (int32_t)test_below(t, 30);
        for (; n_more > 0 && i < n; n_more--, i++)
            ids[i] = from >= 0 ? ids[from++] : 1 + (int32_t)test_below(t, N_VOCAB - 1);
    }
    return n;
}

static void open_rig(struct test *t, struct session_rig *rig, const char *type, int32_t n_seqs)
{
    char path[512];
    struct session_options o = { .n_ctx = N_CTX, .n_seqs = n_seqs, .n_batch = 64, .kv_type_k = type, .kv_type_v = type,
                                 .keep_kv_type = true, .cache_ram_bytes = 8 << 20 };
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    session_rig_write(t, &plan, path);
    session_rig_open(t, rig, path, &o);
}

/* Rows cost next to nothing, so everything likely is drafted. Taken back before each answer: time as it really is
 * is learnt from each pass. */
static void make_rows_cheap(struct session_rig *rig)
{
    double ms[SPEC_POINTS];
    for (int32_t i = 0; i < SPEC_POINTS; i++)
        ms[i] = 1000 + spec_costs_rows(i);
    rig->model->caches->costs = (struct spec_costs){ 0 };
    spec_costs_set(&rig->model->caches->costs, 0, ms);
}

static struct eng_timings compare(struct test *t, struct session_rig *rig, const struct taste *taste, const int32_t *ids,
                                  int32_t n, int32_t spec)
{
    struct generate_options off = options(t, taste, N_ANSWER, SPEC_OFF), on = options(t, taste, N_ANSWER, spec);
    struct session_story want = session_rig_ask(t, rig, 0, ids, n, &off);
    make_rows_cheap(rig);
    struct session_story got = session_rig_ask(t, rig, 0, ids, n, &on);
    CHECK_INT(t, got.n_ids, want.n_ids, "%s, drafts %d", taste->name, spec);
    CHECK_BYTES(t, got.ids, want.ids, sizeof got.ids, "%s, drafts %d", taste->name, spec);
    CHECK_INT(t, want.done.timings.n_drafted, 0);
    CHECK_INT(t, want.done.timings.n_passes, N_ANSWER - 1);
    CHECK_INT(t, got.done.timings.n_passes + got.done.timings.n_accepted, N_ANSWER - 1);
    return got.done.timings;
}

TEST(spec_bits_are_those_without_drafts)
{
    for (size_t k = 0; k < 3; k++) {
        struct session_rig rig;
        int32_t ids[N_PROMPT], n_drafted = 0, n_accepted = 0;
        open_rig(t, &rig, types[k], 1);
        for (int32_t i = 0; i < N_PROMPTS; i++) {
            int32_t n = make_prompt(t, ids);
            for (int32_t taste = 0; taste < 2; taste++) {
                struct eng_timings got = compare(t, &rig, &tastes[taste], ids, n, SPEC_AUTO);
                n_drafted += got.n_drafted;
                n_accepted += got.n_accepted;
            }
        }
        CHECK(t, n_accepted > 10 && n_drafted > 100, "%s: %d of %d", types[k], n_accepted, n_drafted);
        session_rig_close(&rig);
    }
}

TEST(spec_bits_are_those_without_drafts_for_all_samplers_and_lengths)
{
    static const int32_t lengths[] = { 1, 2, 3, 7, SPEC_MOST, SPEC_AUTO };
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        struct session_rig rig;
        int32_t ids[N_PROMPT];
        open_rig(t, &rig, types[k], 1);
        for (int32_t taste = 0; taste < N_TASTES; taste++)
            for (int32_t i = 0; i < 6; i++) {
                int32_t n = make_prompt(t, ids);
                struct eng_timings got = compare(t, &rig, &tastes[taste], ids, n, lengths[i]);
                CHECK(t, got.n_drafted > 0 || lengths[i] == SPEC_AUTO, "%s: %d", tastes[taste].name, lengths[i]);
            }
        session_rig_close(&rig);
    }
}

TEST(spec_bits_are_those_without_drafts_with_four_answers_at_once)
{
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        struct session_rig rig;
        struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
        int32_t n_shared_passes = 0;
        CHECK(t, stories != NULL);
        open_rig(t, &rig, types[k], N_SEQS);
        for (int32_t round = 0; round < N_PROMPTS / N_SEQS; round++) {
            int32_t ids[N_SEQS][N_PROMPT], n[N_SEQS];
            struct session_story want[N_SEQS];
            struct generate_options o[N_SEQS];
            for (int32_t i = 0; i < N_SEQS; i++) {
                if (i == 0 || test_below(t, 2))
                    n[i] = make_prompt(t, ids[i]);
                else
                    memcpy(ids[i], ids[0], sizeof ids[0]), n[i] = n[0];    /* twins share their pages */
                o[i] = options(t, &tastes[test_below(t, N_TASTES)], N_ANSWER, SPEC_OFF);
                want[i] = session_rig_ask(t, &rig, 0, ids[i], n[i], &o[i]);
            }
            memset(stories, 0, SESSION_RIG_SEQS * sizeof *stories);
            make_rows_cheap(&rig);
            for (int32_t i = 0; i < N_SEQS; i++) {
                o[i].spec = (int32_t[]){ SPEC_AUTO, SPEC_AUTO, 5, SPEC_OFF }[(i + round) % 4];
                session_rig_start(t, &rig, i, ids[i], n[i], &o[i]);
            }
            session_rig_run(t, &rig, stories);
            for (int32_t i = 0; i < N_SEQS; i++) {
                CHECK_BYTES(t, stories[i].ids, want[i].ids, sizeof want[i].ids, "%s, sequence %d", types[k], i);
                n_shared_passes += stories[i].done.timings.n_accepted;
            }
        }
        CHECK(t, n_shared_passes > 0);
        free(stories);
        session_rig_close(&rig);
    }
}

TEST(spec_drafts_end_where_the_answer_and_the_context_end)
{
    struct session_rig rig;
    int32_t ids[N_CTX];
    open_rig(t, &rig, "kv4", 1);
    for (int32_t i = 0; i < N_CTX; i++)
        ids[i] = 1 + i % 5;    /* there is always something to draft */
    for (int32_t n_predict = 1; n_predict < 20; n_predict++) {
        struct generate_options off = options(t, &tastes[0], n_predict, SPEC_OFF), on = off;
        on.spec = SPEC_MOST;
        struct session_story want = session_rig_ask(t, &rig, 0, ids, 300, &off);
        struct session_story got = session_rig_ask(t, &rig, 0, ids, 300, &on);
        CHECK_INT(t, got.n_ids, n_predict);
        CHECK_BYTES(t, got.ids, want.ids, sizeof got.ids);
        struct session_stats stats;
        session_stats(rig.session, &stats);
        CHECK_INT(t, stats.n_held, 300 + n_predict - 1);
    }
    for (int32_t n_prompt = N_CTX - 40; n_prompt < N_CTX; n_prompt += 3) {
        struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
        CHECK(t, stories != NULL);
        for (int32_t k = 0; k < 2; k++) {
            struct generate_options o = options(t, &tastes[0], -1, k == 0 ? SPEC_OFF : SPEC_MOST);
            session_rig_start(t, &rig, 0, ids, n_prompt, &o);
            session_rig_run(t, &rig, stories);
            CHECK_INT(t, stories[0].done.reason, DONE_CONTEXT);
            CHECK_INT(t, stories[0].n_ids, N_CTX - n_prompt);
            stories[k + 1] = stories[0];
            stories[0] = (struct session_story){ 0 };
        }
        CHECK_BYTES(t, stories[2].ids, stories[1].ids, sizeof stories[1].ids);
        free(stories);
    }
    session_rig_close(&rig);
}
