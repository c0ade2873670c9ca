/* SPDX-License-Identifier: MIT */
/* An answer is the same, token by token and probability by probability, whether samplers see all logits or the best of
 * them: on a backend that picks them from those of the processor, and on software Vulkan; alone and with other answers in
 * the same passes, with drafts and without. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session_impl.h"
#include "tests/support/session_rig.h"

enum { N_VOCAB = 120, N_CTX = 512, N_PROMPT = 100, N_ANSWER = 40, N_SEQS = 4 };

static const struct plan plan = {
    .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 64, .n_head = 2, .n_kv_head = 1, .d_head = 64,
    .n_vocab = N_VOCAB, .n_rot = 64, .rope_base = 10000, .embed_scale = 1, .letters = true
};

/* ---- a backend that picks --------------------------------------------------------------------------- */

struct placed {
    const struct backend_ops *ops;    /* of the backend that computes */
    struct placed *placed;
    struct test *t;
    int32_t n_vocab, n_best_batches, n_batches;
};

static int compare(const void *a, const void *b)
{
    const struct logit *x = a, *y = b;
    return logit_before(*x, *y) ? -1 : logit_before(*y, *x);
}

static enum err_code run(struct placed *p, const struct batch *batch, struct err *e)
{
    struct batch all = *batch;
    p->n_batches++;
    if (batch->n_best == 0)
        return p->ops->run(p->placed, batch, e);
    p->n_best_batches++;
    CHECK(p->t, batch->logits == NULL && batch->n_best <= BACKEND_MAX_BEST);
    all.n_best = 0;
    all.logits = calloc((size_t)batch->n_logits * (size_t)p->n_vocab + 1, sizeof *all.logits);
    struct logit *sorted = calloc((size_t)p->n_vocab, sizeof *sorted);
    CHECK(p->t, all.logits && sorted);
    enum err_code rc = p->ops->run(p->placed, &all, e);
    for (int32_t row = 0; row < batch->n_logits; row++) {
        for (int32_t i = 0; i < p->n_vocab; i++)
            sorted[i] = (struct logit){ .token = i, .value = all.logits[row * p->n_vocab + i] };
        qsort(sorted, (size_t)p->n_vocab, sizeof *sorted, compare);
        memcpy(batch->best + row * batch->n_best, sorted, (size_t)batch->n_best * sizeof *sorted);
    }
    free(all.logits);
    free(sorted);
    return rc;
}

/* ---- answers ---------------------------------------------------------------------------------------- */

struct taste {
    const char *name;
    bool best;                  /* the best are enough */
    const char *settings[4][2];
};

static const struct taste tastes[] = {
    { "greedy", true, { { "temp", "0" } } },
    { "plain", true, { { "temp", "0.8" }, { "top-k", "40" }, { "top-p", "0.95" }, { "min-p", "0.05" } } },
    { "narrow", true, { { "temp", "1.5" }, { "top-k", "3" }, { "top-p", "1" }, { "min-p", "0" } } },
    { "xtc", true, { { "temp", "0.9" }, { "top-k", "64" }, { "xtc-probability", "0.5" }, { "xtc-threshold", "0.1" } } },
    { "dynamic", true, { { "temp", "0.8" }, { "dynatemp-range", "0.4" }, { "typical", "0.7" } } },
    { "wide", false, { { "temp", "1.5" }, { "top-k", "65" } } },
    { "penalties", false, { { "temp", "0.7" }, { "repeat-penalty", "1.3" } } },
    { "mirostat", false, { { "temp", "0.9" }, { "mirostat", "2" } } },
};
enum { N_TASTES = sizeof tastes / sizeof *tastes };

struct answer {
    int32_t tokens[N_ANSWER];
    float probabilities[N_ANSWER];
    int32_t n;
};

static void start(struct test *t, struct session_rig *rig, int32_t seq, const struct taste *taste, const int32_t *ids,
                  int32_t spec)
{
    struct generate_options o = session_rig_greedy(N_ANSWER, 0);
    struct err e;
    o.spec = spec;
    o.sampling.seed = 4711;
    for (int32_t i = 0; i < 4 && taste->settings[i][0]; i++)
        CHECK_INT(t, sampler_params_set(&o.sampling, taste->settings[i][0], taste->settings[i][1], &e), ERR_OK, "%s",
                  e.text);
    session_rig_start(t, rig, seq, ids, N_PROMPT, &o);
}

static void finish(struct test *t, struct session_rig *rig, struct answer answers[N_SEQS])
{
    struct eng_event events[16 * N_SEQS];
    struct err e;
    int32_t n;
    memset(answers, 0, N_SEQS * sizeof *answers);
    while (session_busy(rig->session)) {
        CHECK_INT(t, session_step(rig->session, events, 16 * N_SEQS, &n, &e), ERR_OK, "%s", e.text);
        for (int32_t i = 0; i < n; i++) {
            struct answer *a = &answers[events[i].seq];
            if (events[i].kind == EVENT_TOKEN && events[i].token >= 0) {
                a->tokens[a->n] = events[i].token;
                a->probabilities[a->n++] = events[i].probability;
            }
            CHECK(t, events[i].kind != EVENT_DONE || events[i].reason == DONE_LENGTH, "%.*s", events[i].n_text,
                  events[i].text);
        }
    }
}

/* Text that repeats itself, so that there is something to draft. */
static void make_prompt(struct test *t, int32_t *ids)
{
    for (int32_t i = 0; i < N_PROMPT; i++)
        ids[i] = i >= 20 && i % 20 < 12 ? ids[i - 20] : 1 + (int32_t)test_below(t, N_VOCAB - 1);
}

static void open_rig(struct test *t, struct session_rig *rig, const char *device)
{
    struct session_options o = { .n_ctx = N_CTX, .n_seqs = N_SEQS, .n_batch = 64 };
    struct engine_info info;
    struct err e;
    char path[512];
    *rig = (struct session_rig){ 0 };
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    session_rig_write(t, &plan, path);
    CHECK_INT(t, engine_create(&rig->engine, &(struct engine_options){ .n_threads = 1, .device = device }, &e), ERR_OK);
    engine_info(rig->engine, &info);
    if (strcmp(device, "cpu") != 0 && !info.device[0]) {
        engine_destroy(rig->engine);
        SKIP(t, "no %s", device);
    }
    CHECK_INT(t, model_open(&rig->model, rig->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&rig->session, rig->model, &o, &e), ERR_OK, "%s", e.text);
}

/* What the sequences say with all logits, and then with the best where those are enough. */
static void compare_answers(struct test *t, struct session_rig *rig, struct backend *all, struct backend *best,
                            struct placed *placed, const int32_t *chosen, int32_t n_seqs, int32_t spec)
{
    struct answer want[N_SEQS], got[N_SEQS];
    int32_t ids[N_SEQS][N_PROMPT];
    struct placed *own = rig->model->placed;
    for (int32_t i = 0; i < n_seqs; i++) {
        make_prompt(t, ids[i]);
        start(t, rig, i, &tastes[chosen[i]], ids[i], spec);
    }
    rig->model->backend = all;
    finish(t, rig, want);
    rig->model->backend = best;
    rig->model->placed = placed ? placed : own;
    for (int32_t i = 0; i < n_seqs; i++)
        start(t, rig, i, &tastes[chosen[i]], ids[i], spec);
    finish(t, rig, got);
    rig->model->backend = all;
    rig->model->placed = own;
    for (int32_t i = 0; i < n_seqs; i++) {
        CHECK_INT(t, got[i].n, N_ANSWER);
        CHECK_BYTES(t, &got[i], &want[i], sizeof got[i], "%s, %d sequences, drafts %d", tastes[chosen[i]].name, n_seqs,
                    spec);
    }
}

TEST(best_bits_are_those_with_all_logits)
{
    static const int32_t specs[] = { SPEC_OFF, 3, SPEC_MOST };
    struct session_rig rig;
    open_rig(t, &rig, "cpu");
    struct backend_ops ops = *rig.model->backend->ops;
    struct backend picking = { .ops = &ops, .name = "picking", .max_best = BACKEND_MAX_BEST };
    struct placed placed = { .ops = rig.model->backend->ops, .placed = rig.model->placed, .t = t, .n_vocab = N_VOCAB };
    struct backend *all = rig.model->backend;
    ops.run = run;
    CHECK_INT(t, all->max_best, 0);
    for (int32_t i = 0; i < N_TASTES; i++)
        for (int32_t k = 0; k < 3; k++) {
            placed.n_batches = placed.n_best_batches = 0;
            compare_answers(t, &rig, all, &picking, &placed, &i, 1, specs[k]);
            CHECK(t, placed.n_batches > 0);
            CHECK_INT(t, placed.n_best_batches, tastes[i].best ? placed.n_batches : 0, "%s", tastes[i].name);
        }
    int32_t n_both = 0, n_none = 0;
    for (int32_t round = 0; round < 30; round++) {
        int32_t chosen[N_SEQS];
        for (int32_t i = 0; i < N_SEQS; i++)
            chosen[i] = (int32_t)test_below(t, round % 2 ? N_TASTES : 5);
        placed.n_batches = placed.n_best_batches = 0;
        compare_answers(t, &rig, all, &picking, &placed, chosen, N_SEQS, specs[round % 3]);
        n_both += placed.n_best_batches > 0;
        n_none += placed.n_best_batches == 0;
    }
    CHECK(t, n_both >= 15 && n_none > 0, "%d and %d", n_both, n_none);
    session_rig_close(&rig);
}

TEST(best_bits_are_those_with_all_logits_on_a_device)
{
    struct session_rig rig;
    open_rig(t, &rig, "llvmpipe");
    struct backend *best = rig.model->backend, all = *best;
    all.max_best = 0;
    CHECK_INT(t, best->max_best, BACKEND_MAX_BEST);
    for (int32_t i = 0; i < 5; i++)
        compare_answers(t, &rig, &all, best, NULL, &i, 1, i % 2 ? SPEC_OFF : 3);
    compare_answers(t, &rig, &all, best, NULL, (const int32_t[]){ 0, 1, 3, 2 }, N_SEQS, 2);
    rig.model->backend = best;
    session_rig_close(&rig);
}
