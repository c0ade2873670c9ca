/* SPDX-License-Identifier: MIT */
/* A level measured in steps, with tiny models: the figures are those of evaluating everything plainly. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/measure/measure.h"
#include "engine/quant/quant.h"
#include "tests/support/tiny_model.h"

enum { TEXT_BYTES = 1200, SOON_MS = 1, LONG_MS = 600000 };

struct rig {
    struct engine *engine;
    struct model *model, *base;    /* base: finer weights */
    struct session *session, *base_session;
    char text[TEXT_BYTES + 1], folder[256], file[300];
};

static void open_one(struct test *t, struct rig *r, uint32_t weight_type, int32_t n_ctx, struct model **m,
                     struct session **s)
{
    struct tiny_model tiny;
    struct err e = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/%u.gguf", r->folder, weight_type);
    tiny_model_init(&tiny);
    tiny.weight_type = weight_type;
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_open(m, r->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    struct session_options o = { .n_ctx = n_ctx, .n_seqs = 1, .n_batch = COMPARISON_BATCH };
    CHECK_INT(t, session_create(s, *m, &o, &e), ERR_OK, "%s", e.text);
}

static void rig_open(struct test *t, struct rig *r)
{
    struct err e;
    memset(r, 0, sizeof *r);
    snprintf(r->folder, sizeof r->folder, "%s", test_folder(t));
    snprintf(r->file, sizeof r->file, "%s/base.kld", r->folder);
    CHECK_INT(t, engine_create(&r->engine, &(struct engine_options){ .n_threads = 1, .device = "cpu" }, &e), ERR_OK);
    open_one(t, r, QUANT_Q4_1, MEASURE_SESSION_CTX, &r->model, &r->session);
    open_one(t, r, QUANT_F32, MEASURE_SESSION_CTX, &r->base, &r->base_session);
    for (int i = 0; i < TEXT_BYTES; i++)
        r->text[i] = (char)(i % 7 == 6 ? ' ' : 'a' + test_below(t, 26));
}

static void rig_close(struct rig *r)
{
    session_destroy(r->session);
    session_destroy(r->base_session);
    model_close(r->model);
    model_close(r->base);
    engine_destroy(r->engine);
}

static struct measure_options options(const struct rig *r)
{
    return (struct measure_options){ .session = r->session, .model = r->model, .text = r->text, .n_text = TEXT_BYTES,
                                     .budget_ms = LONG_MS };
}

static int run_to_end(struct test *t, struct measure *m)
{
    struct err e = { 0 };
    struct measure_progress p;
    bool done = false;
    double share = 0;
    int n = 0;
    for (; !done; n++) {
        CHECK_INT(t, measure_step(m, &done, &e), ERR_OK, "%s", e.text);
        measure_progress(m, &p);
        CHECK(t, p.share >= share && p.share <= 1 && n < 1000, "step %d", n);
        share = p.share;
    }
    CHECK(t, p.phase == MEASURE_DONE && share == 1);
    CHECK_INT(t, measure_step(m, &done, &e), ERR_OK);
    CHECK(t, done, "and stays done");
    return n;
}

static void measure(struct test *t, const struct measure_options *o, struct measure_result *out)
{
    struct measure *m;
    struct err e = { 0 };
    CHECK_INT(t, measure_create(&m, o, &e), ERR_OK, "%s", e.text);
    run_to_end(t, m);
    CHECK_INT(t, measure_result(m, out, &e), ERR_OK);
    measure_destroy(m);
}

struct plain {
    double kl, nll;
};

static double mean_of(const struct scores *s, enum score_column column)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        sum += s->columns[column][i];
    return sum / (double)s->n;
}

/* Whole chunks in one evaluation each. */
static struct plain plainly(struct test *t, struct rig *r, int32_t n_chunks)
{
    struct token_list ids = { 0 };
    struct err e;
    int32_t bos, n_vocab = model_info(r->model)->n_vocab;
    size_t n_logits = (size_t)n_vocab * MEASURE_CTX;
    float *logits = malloc(2 * n_logits * sizeof *logits);
    struct scores s = { .per_chunk = 1 };
    CHECK(t, logits && comparison_tokens(r->model, r->text, TEXT_BYTES, &ids, &e) == ERR_OK);
    CHECK_INT(t, comparison_bos(r->model, &bos, &e), ERR_OK);
    for (int32_t c = 0; c < n_chunks; c++) {
        int32_t *chunk = ids.ids + c * MEASURE_CTX;
        if (bos >= 0)
            chunk[0] = bos;
        session_truncate(r->session, 0, 0);
        session_truncate(r->base_session, 0, 0);
        CHECK_INT(t, session_eval(r->session, 0, chunk, MEASURE_CTX, logits, MEASURE_CTX, &e), ERR_OK);
        CHECK_INT(t, session_eval(r->base_session, 0, chunk, MEASURE_CTX, logits + n_logits, MEASURE_CTX, &e), ERR_OK);
        for (int32_t i = MEASURE_CTX / 2; i < MEASURE_CTX - 1; i++) {
            struct score_row row, base;
            score_row(&row, logits + (size_t)(i * n_vocab), n_vocab);
            score_row(&base, logits + n_logits + (size_t)(i * n_vocab), n_vocab);
            CHECK_INT(t, scores_add(&s, &row, &base, -INFINITY, chunk[i + 1], &e), ERR_OK);
        }
    }
    struct plain means = { mean_of(&s, SCORE_KL), mean_of(&s, SCORE_NLL) };
    scores_finish(&s);
    token_list_finish(&ids);
    free(logits);
    return means;
}

TEST(measure_steps_give_the_figures_of_a_plain_evaluation)
{
    struct rig r;
    struct measure_result got;
    rig_open(t, &r);
    struct measure_options o = options(&r);
    o.base = r.base_session;
    o.base_model = r.base;
    measure(t, &o, &got);
    CHECK(t, got.n_wanted >= 4 && got.n_chunks == got.n_wanted && got.has_base);
    CHECK(t, got.prompt_per_s > 0 && got.answer_per_s > 0 && got.n_answer == MEASURE_PREDICT);
    CHECK_INT(t, got.scores.n, got.n_chunks * 63);
    struct plain want = plainly(t, &r, got.n_chunks);
    const struct estimate *kl = &got.scores.kl;
    CHECK(t, want.kl > 0 && fabs(kl->mean / want.kl - 1) < 1e-9, "%.9f, %.9f wanted", kl->mean, want.kl);
    CHECK(t, fabs(got.scores.nll.mean / want.nll - 1) < 1e-9, "%.9f, %.9f wanted", got.scores.nll.mean, want.nll);
    CHECK(t, kl->low < want.kl && kl->high > want.kl);

    /* Each model beside itself, in sessions of its own. */
    struct session *twin;
    struct err e = { 0 };
    struct session_options so = { .n_ctx = MEASURE_CTX, .n_seqs = 1, .n_batch = COMPARISON_BATCH };
    CHECK_INT(t, session_create(&twin, r.model, &so, &e), ERR_OK, "%s", e.text);
    o.base = twin;
    o.base_model = r.model;
    o.n_chunks = 2;
    measure(t, &o, &got);
    CHECK(t, got.n_chunks == 2 && got.scores.kl.mean == 0 && got.scores.same_top.mean == 1);
    session_destroy(twin);
    rig_close(&r);
}

TEST(measure_steps_take_a_base_that_was_saved)
{
    struct rig r;
    struct measure_result live, saved;
    rig_open(t, &r);
    struct measure_options o = options(&r);
    o.base = r.base_session;
    o.base_model = r.base;
    measure(t, &o, &live);

    struct measure_options of_base = options(&r);
    of_base.session = r.base_session;
    of_base.model = r.base;
    of_base.save_file = r.file;
    measure(t, &of_base, &saved);
    CHECK(t, !saved.has_base && saved.scores.n > 0);

    o.base = NULL;
    o.base_model = NULL;
    o.base_file = r.file;
    o.text = NULL;    /* it is in the file */
    o.n_text = 0;
    measure(t, &o, &saved);
    CHECK(t, saved.has_base && saved.n_chunks == live.n_chunks);
    CHECK(t, fabs(saved.scores.kl.mean - live.scores.kl.mean) < 1e-5 + 0.01 * live.scores.kl.mean, "%.7f, %.7f wanted",
          saved.scores.kl.mean, live.scores.kl.mean);
    rig_close(&r);
}

TEST(measure_steps_stop_when_the_time_is_over_and_what_was_saved_counts)
{
    struct rig r;
    struct measure_result got;
    rig_open(t, &r);
    struct measure_options o = options(&r);
    o.budget_ms = SOON_MS;
    o.save_file = r.file;
    measure(t, &o, &got);
    CHECK(t, got.n_chunks == 1 && got.n_wanted > 1 && got.n_answer >= 1 && got.n_answer < MEASURE_PREDICT,
          "%d chunks, %d tokens", got.n_chunks, got.n_answer);
    o.base_file = r.file;
    o.save_file = NULL;
    o.budget_ms = LONG_MS;
    measure(t, &o, &got);
    CHECK(t, got.n_chunks == 1 && got.n_wanted == 1);
    CHECK(t, got.scores.kl.mean < 1e-5 && got.scores.same_top.mean == 1, "%.7f", got.scores.kl.mean);
    rig_close(&r);
}

TEST(measure_steps_can_be_cancelled_and_gone_on_with)
{
    struct rig r;
    struct measure *m;
    struct measure_result plain, got;
    struct err e = { 0 };
    bool done = false;
    rig_open(t, &r);
    struct measure_options o = options(&r);
    o.base = r.base_session;
    o.base_model = r.base;
    measure(t, &o, &plain);
    CHECK_INT(t, measure_create(&m, &o, &e), ERR_OK, "%s", e.text);
    for (int i = 0; !done; i++) {
        session_cancel(i % 3 == 0 ? r.base_session : r.session);
        enum err_code rc = measure_step(m, &done, &e);
        CHECK(t, rc == ERR_OK || rc == ERR_CANCELLED, "%s", e.text);
        if (rc == ERR_CANCELLED)
            CHECK_INT(t, measure_step(m, &done, &e), ERR_OK, "%s", e.text);
    }
    CHECK_INT(t, measure_result(m, &got, &e), ERR_OK);
    CHECK(t, got.scores.kl.mean == plain.scores.kl.mean && got.scores.n == plain.scores.n);
    measure_destroy(m);

    /* Half way: figures of what was done. */
    CHECK_INT(t, measure_create(&m, &o, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, measure_result(m, &got, &e), ERR_OK);
    CHECK(t, got.prompt_per_s == 0 && got.answer_per_s == 0 && got.scores.n == 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(t, measure_step(m, &done, &e), ERR_OK);
    CHECK_INT(t, measure_result(m, &got, &e), ERR_OK);
    CHECK(t, got.prompt_per_s > 0 && got.n_answer > 0 && got.scores.n == 0);
    measure_destroy(m);
    rig_close(&r);
}

TEST(measure_steps_refuse_what_does_not_fit)
{
    struct rig r;
    struct measure *m;
    struct err e = { 0 };
    rig_open(t, &r);
    struct measure_options o = options(&r);
    o.n_text = 60;
    CHECK_INT(t, measure_create(&m, &o, &e), ERR_FORMAT);
    CHECK(t, !m && strstr(e.text, "at least 128 wanted"), "%s", e.text);
    o = options(&r);
    o.base_file = "nowhere.kld";
    CHECK_INT(t, measure_create(&m, &o, &e), ERR_IO);
    o.base_file = r.file;
    int32_t tokens[16] = { 0 };
    struct kl_file k;
    struct score_row row = { 0 };
    CHECK_INT(t, kl_file_create(&k, r.file, 16, model_info(r.model)->n_vocab, 1, tokens, &e), ERR_OK);
    float *zeros = calloc((size_t)k.n_vocab, sizeof *zeros);
    score_row(&row, zeros, k.n_vocab);
    for (int i = 0; i < 7; i++)
        CHECK_INT(t, kl_file_add(&k, &row, &e), ERR_OK);
    CHECK_INT(t, kl_file_close(&k, &e), ERR_OK);
    CHECK_INT(t, measure_create(&m, &o, &e), ERR_FORMAT);
    CHECK(t, strstr(e.text, "chunks of 16 tokens"), "%s", e.text);
    free(zeros);
    rig_close(&r);
}
