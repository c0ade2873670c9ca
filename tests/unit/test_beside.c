/* SPDX-License-Identifier: MIT */
/* Two tiny models that answer one prompt: their answers are those they give alone, and the figures those of evaluating
 * everything plainly. */
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/measure/beside.h"
#include "app/measure/comparison.h"
#include "engine/quant/quant.h"
#include "tests/support/tiny_model.h"

enum { N_PROMPT = 90, N_PREDICT = 300, N_CTX = 512 };    /* an answer that is judged in two parts */

struct rig {
    struct engine *engine;
    struct model *models[2];    /* 1: finer weights */
    struct session *sessions[2], *alone[2];
    int32_t prompt[N_PROMPT], n_prompt, n_vocab;
};

/* sides: what the two files hold. */
static void rig_open(struct test *t, struct rig *r, const struct tiny_model sides[2], const char *kv_type)
{
    struct err e = { 0 };
    memset(r, 0, sizeof *r);
    CHECK_INT(t, engine_create(&r->engine, &(struct engine_options){ .n_threads = 1, .device = "cpu" }, &e), ERR_OK);
    for (int i = 0; i < 2; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%d.gguf", test_folder(t), i);
        CHECK_INT(t, tiny_model_write(&sides[i], path, &e), ERR_OK, "%s", e.text);
        CHECK_INT(t, model_open(&r->models[i], r->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
        struct session_options o = { .n_ctx = N_CTX, .n_seqs = 1, .n_batch = COMPARISON_BATCH, .kv_type_k = kv_type,
                                     .kv_type_v = kv_type, .keep_kv_type = true };
        CHECK_INT(t, session_create(&r->sessions[i], r->models[i], &o, &e), ERR_OK, "%s", e.text);
        o.n_batch = N_CTX;
        CHECK_INT(t, session_create(&r->alone[i], r->models[i], &o, &e), ERR_OK, "%s", e.text);
    }
    r->n_vocab = model_info(r->models[0])->n_vocab;
}

/* Two levels of a model that says nothing in particular. */
static void open_levels(struct test *t, struct rig *r, const char *kv_type)
{
    struct tiny_model sides[2];
    for (int i = 0; i < 2; i++) {
        tiny_model_init(&sides[i]);
        sides[i].reply = NULL;
        sides[i].weight_type = i ? QUANT_F32 : QUANT_Q4_1;
    }
    rig_open(t, r, sides, kv_type);
    r->n_prompt = N_PROMPT;
    for (int i = 0; i < N_PROMPT; i++)
        r->prompt[i] = 4 + (int32_t)test_below(t, (uint32_t)r->n_vocab - 4);
}

/* A model that ends its answer beside one that goes on for ever. */
static void open_talkers(struct test *t, struct rig *r)
{
    static const char chat[] = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    const struct text_part part = { chat, sizeof chat - 1, true };
    struct token_list ids = { 0 };
    struct tiny_model sides[2];
    struct err e = { 0 };
    for (int i = 0; i < 2; i++) {
        tiny_model_init(&sides[i]);
        sides[i].endless = i == 1;
    }
    rig_open(t, r, sides, "f16");
    CHECK_INT(t, model_tokenize(r->models[0], &part, 1, true, &ids, &e), ERR_OK, "%s", e.text);
    CHECK(t, ids.n > 2 && ids.n <= N_PROMPT);
    memcpy(r->prompt, ids.ids, (size_t)ids.n * sizeof *ids.ids);
    r->n_prompt = ids.n;
    token_list_finish(&ids);
}

static void rig_close(struct rig *r)
{
    for (int i = 0; i < 2; i++) {
        session_destroy(r->sessions[i]);
        session_destroy(r->alone[i]);
        model_close(r->models[i]);
    }
    engine_destroy(r->engine);
}

static struct beside_options options(const struct rig *r)
{
    struct beside_options o = { .sessions = { r->sessions[0], r->sessions[1] }, .n_vocab = r->n_vocab, .base = 1,
                                .prompt = r->prompt, .n_prompt = r->n_prompt, .generate.n_predict = N_PREDICT,
                                .generate.ignore_end = true };
    sampler_params_default(&o.generate.sampling);
    return o;
}

struct said {
    int32_t ids[2][N_PREDICT], n[2];
};

static void take(struct said *s, const struct eng_event *events, int32_t n, int side)
{
    for (int32_t i = 0; i < n; i++)
        if (events[i].kind == EVENT_TOKEN && events[i].token >= 0)
            s->ids[side][s->n[side]++] = events[i].token;
}

static void run(struct test *t, const struct beside_options *o, struct said *said, struct beside_result *out)
{
    struct beside *b;
    struct beside_events events;
    struct err e = { 0 };
    bool done = false;
    memset(said, 0, sizeof *said);
    CHECK_INT(t, beside_create(&b, o, &e), ERR_OK, "%s", e.text);
    while (!done) {
        CHECK_INT(t, beside_step(b, &events, &done, &e), ERR_OK, "%s", e.text);
        take(said, events.events, events.n, events.side);
        CHECK(t, said->n[0] - said->n[1] <= 1 && said->n[1] - said->n[0] <= 1, "%d and %d", said->n[0], said->n[1]);
    }
    CHECK_INT(t, beside_result(b, out, &e), ERR_OK);
    beside_destroy(b);
}

/* KL of 0 from 1 over the answer of 1, all rows in one evaluation. */
static double plain_kl(struct test *t, struct rig *r, const int32_t *answer, int32_t n, double *same_top)
{
    int32_t ids[N_PROMPT + N_PREDICT];
    size_t n_logits = (size_t)r->n_vocab * (size_t)n;
    float *logits = malloc(2 * n_logits * sizeof *logits);
    struct err e;
    double sum = 0;
    memcpy(ids, r->prompt, sizeof r->prompt);
    memcpy(ids + N_PROMPT, answer, (size_t)n * sizeof *ids);
    *same_top = 0;
    CHECK(t, logits != NULL);
    for (int i = 0; i < 2; i++) {
        session_truncate(r->alone[i], 0, 0);
        CHECK_INT(t, session_eval(r->alone[i], 0, ids, N_PROMPT + n - 1, logits + (size_t)i * n_logits, n, &e), ERR_OK, "%s",
                  e.text);
    }
    for (int32_t i = 0; i < n; i++) {
        struct score_row row, base;
        double kl = 0;
        score_row(&row, logits + (size_t)(i * r->n_vocab), r->n_vocab);
        score_row(&base, logits + n_logits + (size_t)(i * r->n_vocab), r->n_vocab);
        for (int32_t k = 0; k < r->n_vocab; k++) {
            double p = base.logits[k] - base.log_z, q = row.logits[k] - row.log_z;
            kl += exp(p) * (p - q);
        }
        sum += kl;
        *same_top += row.top == base.top;
    }
    free(logits);
    *same_top /= n;
    return sum / n;
}

/* The answer that a side gives alone. */
static void plain_answer(struct test *t, struct session *s, const struct beside_options *o, struct said *out, int side)
{
    struct eng_event events[SESSION_EVENTS];
    struct err e;
    int32_t n;
    CHECK_INT(t, session_generate(s, 0, o->prompt, o->n_prompt, &o->generate, &e), ERR_OK, "%s", e.text);
    while (session_busy(s)) {
        CHECK_INT(t, session_step(s, events, SESSION_EVENTS, &n, &e), ERR_OK);
        take(out, events, n, side);
    }
}

TEST(beside_gives_the_answers_and_figures_of_plain_evaluations)
{
    static const char *const types[] = { "f16", "kv4" };    /* kv4 goes back to the beginning of a page */
    for (int k = 0; k < 2; k++) {
        struct rig r;
        struct said said, alone = { 0 };
        struct beside_result got;
        double same_top;
        open_levels(t, &r, types[k]);
        struct beside_options o = options(&r);
        run(t, &o, &said, &got);
        for (int i = 0; i < 2; i++) {
            plain_answer(t, r.alone[i], &o, &alone, i);
            CHECK(t, said.n[i] == N_PREDICT && alone.n[i] == N_PREDICT);
            CHECK(t, memcmp(said.ids[i], alone.ids[i], sizeof said.ids[i]) == 0, "side %d", i);
            CHECK_INT(t, got.sides[i].n_tokens, N_PREDICT);
            CHECK(t, got.sides[i].answer_per_s > 0 && !got.sides[i].is_whole);
        }
        int32_t n = 0;
        while (n < N_PREDICT && said.ids[0][n] == said.ids[1][n])
            n++;
        CHECK(t, got.n_same == n && got.differ == (n < N_PREDICT) && got.differ);
        CHECK_INT(t, got.n_judged, N_PREDICT);
        double kl = plain_kl(t, &r, said.ids[1], N_PREDICT, &same_top), off = k == 0 ? 1e-6 : 0.05;
        CHECK(t, kl > 0 && fabs(got.kl / kl - 1) < off, "%s: %g, %g wanted", types[k], got.kl, kl);
        CHECK(t, k > 0 || fabs(got.same_top - same_top) < 1e-9, "%g, %g wanted", got.same_top, same_top);
        CHECK(t, got.kl_low < got.kl && got.kl < got.kl_high);

        /* The same model on both sides, with a seed. */
        o.sessions[0] = r.alone[1];
        o.generate.sampling.temperature = 1;
        o.generate.sampling.seed = 7;
        run(t, &o, &said, &got);
        CHECK(t, !got.differ && got.n_same == N_PREDICT && got.kl == 0 && got.same_top == 1, "%s: %d, %g", types[k],
              got.n_same, got.kl);
        rig_close(&r);
    }
}

/* It is the base, and judged at its end too, where the other would have gone on. */
TEST(beside_counts_the_end_of_an_answer)
{
    for (int i = 0; i < 2; i++) {    /* to the end, and ended by hand */
        struct rig r;
        struct beside *b;
        struct beside_events events;
        struct beside_result got;
        struct said said = { 0 };
        struct err e = { 0 };
        bool done = false;
        open_talkers(t, &r);
        struct beside_options o = options(&r);
        o.generate.ignore_end = false;
        o.generate.n_predict = i ? 300 : 40;
        o.generate.sampling.temperature = 0;
        o.base = 0;
        o.first = 1;
        CHECK_INT(t, beside_create(&b, &o, &e), ERR_OK);
        while (!done) {
            CHECK_INT(t, beside_step(b, &events, &done, &e), ERR_OK, "%s", e.text);
            if (said.n[0] + said.n[1] == 0 && events.n > 0)
                CHECK_INT(t, events.side, 1);
            take(&said, events.events, events.n, events.side);
            if (i && said.n[1] == 30)
                beside_end_answers(b);
        }
        CHECK_INT(t, beside_result(b, &got, &e), ERR_OK);
        CHECK(t, got.sides[0].is_whole && !got.sides[1].is_whole && got.sides[1].n_tokens == (i ? 30 : 40));
        CHECK(t, got.sides[0].n_tokens < 20 && got.n_same == got.sides[0].n_tokens && got.differ);
        CHECK_INT(t, got.n_judged, got.sides[0].n_tokens + 1);
        CHECK(t, got.kl > 0 && fabs(got.same_top - (double)(got.n_judged - 1) / got.n_judged) < 1e-9, "%g", got.same_top);
        beside_destroy(b);
        rig_close(&r);
    }
}

TEST(beside_can_be_ended_early_and_cancelled)
{
    struct rig r;
    struct beside *b;
    struct beside_events events;
    struct beside_result got;
    struct err e = { 0 };
    bool done = false;
    open_levels(t, &r, "f16");
    struct beside_options o = options(&r);
    CHECK_INT(t, beside_create(&b, &o, &e), ERR_OK);
    struct said said = { 0 };
    while (said.n[0] + said.n[1] < 21) {
        CHECK_INT(t, beside_step(b, &events, &done, &e), ERR_OK);
        take(&said, events.events, events.n, events.side);
    }
    beside_end_answers(b);
    while (!done)
        CHECK_INT(t, beside_step(b, &events, &done, &e), ERR_OK);
    CHECK_INT(t, beside_result(b, &got, &e), ERR_OK);
    CHECK(t, got.n_judged == said.n[1] && got.sides[0].n_tokens == 11 && got.kl > 0);
    beside_destroy(b);

    CHECK_INT(t, beside_create(&b, &o, &e), ERR_OK);
    session_cancel(r.sessions[0]);
    CHECK_INT(t, beside_step(b, &events, &done, &e), ERR_CANCELLED);
    beside_destroy(b);

    o.n_prompt = N_CTX + 1;
    int32_t long_prompt[N_CTX + 1] = { 0 };
    o.prompt = long_prompt;
    session_cancel(r.sessions[1]);
    CHECK(t, beside_create(&b, &o, &e) != ERR_OK && !b && e.text[0]);
    rig_close(&r);
}
