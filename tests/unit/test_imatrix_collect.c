/* SPDX-License-Identifier: MIT */
/* What a session collects for an importance matrix, against a plain forward pass in double precision, and against
 * itself: the same bits whatever the batches and threads. */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "engine/quant/quant.h"
#include "tests/support/logits.h"
#include "tests/support/plan_model.h"

enum { N_TOKENS = 150, N_VOCAB_MOST = 200 };

struct collected {
    struct engine *engine;
    struct model *model;
    struct session *session;
    struct imatrix *m;
};

static void open_model(struct test *t, struct collected *c, const char *path, const char *tier, int32_t n_threads,
                       const char *kv_type)
{
    struct err e = { 0 };
    *c = (struct collected){ .m = imatrix_create() };
    const struct engine_options eo = { .n_threads = n_threads, .cpu_tier = tier, .device = "cpu" };
    const struct session_options so = { .n_ctx = N_TOKENS, .n_batch = N_TOKENS, .kv_type_k = kv_type,
                                        .kv_type_v = kv_type, .keep_kv_type = true };
    CHECK_INT(t, engine_create(&c->engine, &eo, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_open(&c->model, c->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&c->session, c->model, &so, &e), ERR_OK, "%s", e.text);
}

static void close_model(struct collected *c)
{
    session_destroy(c->session);
    model_close(c->model);
    engine_destroy(c->engine);
    imatrix_destroy(c->m);
}

/* Evaluates in pieces of n_rows, logits of all. */
static void evaluate(struct test *t, struct collected *c, const int32_t *ids, int32_t n_rows, bool with_head)
{
    struct err e = { 0 };
    float *logits = malloc((size_t)N_TOKENS * N_VOCAB_MOST * sizeof *logits);
    for (int32_t at = 0; at < N_TOKENS; at += n_rows) {
        int32_t n = N_TOKENS - at < n_rows ? N_TOKENS - at : n_rows;
        CHECK_INT(t, session_eval(c->session, 0, ids + at, n, logits, with_head ? n : 0, &e), ERR_OK, "%s", e.text);
    }
    free(logits);
}

static void collect(struct test *t, struct collected *c, const int32_t *ids, int32_t n_rows, bool with_head)
{
    struct err e = { 0 };
    CHECK_INT(t, session_collect(c->session, with_head, &e), ERR_OK, "%s", e.text);
    evaluate(t, c, ids, n_rows, with_head);
    CHECK_INT(t, session_collected(c->session, c->m, &e), ERR_OK, "%s", e.text);
}

static void write_plan(struct test *t, struct plan_model *model, const struct plan *p, uint32_t weight_type,
                       char path[512], int32_t ids[N_TOKENS])
{
    struct plan plan = *p;
    plan.weight_type = weight_type;
    snprintf(path, 512, "%s/%s.gguf", test_folder(t), plan.arch);
    plan_model_write(t, model, &plan, path);
    for (int32_t i = 0; i < N_TOKENS; i++)
        ids[i] = (int32_t)test_below(t, (uint32_t)plan.n_vocab);
}

/* A matrix of a product: one that the plain pass multiplied. */
static bool is_matrix(const struct plan_weight *w)
{
    for (int32_t i = 0; i < w->n_cols; i++)
        if (w->inputs[i] > 0)
            return true;
    return false;
}

static void check_sums(struct test *t, const struct plan_model *model, const struct imatrix *m, bool with_head,
                       double limit)
{
    int32_t n_matrices = 0;
    double worst = 0;
    for (int32_t i = 0; i < model->n_weights; i++) {
        const struct plan_weight *w = &model->weights[i];
        bool is_head = strncmp(w->name, "blk.", 4) != 0;
        if (!is_matrix(w) || (is_head && !with_head))
            continue;
        n_matrices++;
        const struct imatrix_entry *entry = imatrix_find(m, w->name);
        CHECK(t, entry, "%s: no entry", w->name);
        CHECK(t, entry->n_cols == w->n_cols && entry->n_mat == 1 && entry->counts[0] == N_TOKENS, "%s", w->name);
        double scale = 0;
        for (int32_t c = 0; c < w->n_cols; c++)
            scale += w->inputs[c] / w->n_cols;
        for (int32_t c = 0; c < w->n_cols; c++) {
            double error = fabs(entry->sums[c] - w->inputs[c]) / (w->inputs[c] + scale);
            worst = fmax(worst, error);
            CHECK(t, error <= limit, "%s column %d: %.9g, %.9g wanted", w->name, c, entry->sums[c], w->inputs[c]);
        }
    }
    CHECK_INT(t, m->n_entries, n_matrices, "no entry but those of products");
    printf("%-7s %d matrices, worst column %.2e off\n", model->plan.arch, n_matrices, worst);
}

static void check_plans(struct test *t, uint32_t weight_type, const char *tier, const char *kv_type, bool with_head,
                        double limit)
{
    for (size_t i = 0; i < PLAN_N_ALL; i++) {
        struct plan_model model;
        struct collected c;
        char path[512];
        int32_t ids[N_TOKENS];
        write_plan(t, &model, &plan_all[i], weight_type, path, ids);
        free(plan_model_logits(t, &model, ids, N_TOKENS));
        open_model(t, &c, path, tier, 2, kv_type);
        collect(t, &c, ids, 64, with_head);
        check_sums(t, &model, c.m, with_head, limit);
        close_model(&c);
        plan_model_finish(&model);
    }
}

TEST(imatrix_collect_sums_what_the_formulas_have)
{
    check_plans(t, QUANT_F32, "exact", "f32", true, 5e-6);
}

TEST(imatrix_collect_leaves_the_head_out_unless_asked)
{
    check_plans(t, QUANT_F32, "exact", "f32", false, 5e-6);
}

TEST(imatrix_collect_on_the_best_tier)
{
    check_plans(t, QUANT_Q8_0, NULL, "f16", true, 0.05);
}

static void check_same(struct test *t, const struct imatrix *a, const struct imatrix *b, const char *what)
{
    CHECK_INT(t, a->n_entries, b->n_entries);
    for (int32_t i = 0; i < a->n_entries; i++) {
        CHECK_INT(t, a->entries[i].counts[0], b->entries[i].counts[0]);
        CHECK(t, memcmp(a->entries[i].sums, b->entries[i].sums,
                        (size_t)a->entries[i].n_cols * sizeof(double)) == 0, "%s: %s", what, a->entries[i].name);
    }
}

TEST(imatrix_collect_gives_the_same_bits_whatever_the_batches_and_threads)
{
    static const int32_t rows[] = { 1, 4, 5, 64 }, threads[] = { 1, 2, 2, 3 };
    static const char *const tiers[] = { "exact", "scalar", NULL };
    struct plan_model model;
    char path[512];
    int32_t ids[N_TOKENS];
    write_plan(t, &model, &plan_all[4], QUANT_Q8_0, path, ids);
    for (size_t tier = 0; tier < 3; tier++) {
        struct collected want;
        open_model(t, &want, path, tiers[tier], 1, NULL);
        collect(t, &want, ids, N_TOKENS, true);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct collected got;
            char what[64];
            open_model(t, &got, path, tiers[tier], threads[i], NULL);
            collect(t, &got, ids, rows[i], true);
            snprintf(what, sizeof what, "tier %zu, %d rows, %d threads", tier, rows[i], threads[i]);
            check_same(t, got.m, want.m, what);
            close_model(&got);
        }
        close_model(&want);
    }
    plan_model_finish(&model);
}

/* Logits do not change, and what was collected before is forgotten. */
TEST(imatrix_collect_changes_nothing_and_begins_from_zero)
{
    struct plan_model model;
    struct collected c;
    struct err e = { 0 };
    char path[512];
    int32_t ids[N_TOKENS];
    float before[N_VOCAB_MOST], after[N_VOCAB_MOST];
    write_plan(t, &model, &plan_all[0], QUANT_Q8_0, path, ids);
    open_model(t, &c, path, NULL, 2, NULL);
    CHECK_INT(t, session_collected(c.session, c.m, &e), ERR_OK);
    CHECK_INT(t, c.m->n_entries, 0, "nothing was collected");
    CHECK_INT(t, session_eval(c.session, 0, ids, 100, before, 1, &e), ERR_OK);
    session_truncate(c.session, 0, 0);
    collect(t, &c, ids, 64, true);
    session_truncate(c.session, 0, 0);
    CHECK_INT(t, session_eval(c.session, 0, ids, 100, after, 1, &e), ERR_OK);
    CHECK_BYTES(t, after, before, (size_t)plan_all[0].n_vocab * sizeof *after);

    struct imatrix *again = imatrix_create();
    session_truncate(c.session, 0, 0);
    struct imatrix *first = c.m;
    c.m = again;
    collect(t, &c, ids, 64, true);
    check_same(t, again, first, "from zero");
    imatrix_destroy(first);
    close_model(&c);
    plan_model_finish(&model);
}

/* Cancels what is being evaluated, sooner or later. */
struct canceller {
    struct session *session;
    atomic_int n_begun;        /* evaluations that may be cancelled */
    atomic_int n_seen;
    atomic_bool over;
};

static void *cancel_some(void *arg)
{
    struct canceller *c = arg;
    for (unsigned n = 0; !atomic_load(&c->over);) {
        if (atomic_load(&c->n_begun) == atomic_load(&c->n_seen)) {
            sched_yield();
            continue;
        }
        for (volatile unsigned i = 0; i < 4099 * (n % 100); i++)
            ;
        n += 7;
        session_cancel(c->session);
        atomic_fetch_add(&c->n_seen, 1);
    }
    return NULL;
}

/* A cancelled evaluation leaves nothing of its rows, whatever layer it came to. */
TEST(imatrix_collect_does_not_count_what_was_cancelled)
{
    enum { TIMES = 40, ROWS = 50 };
    struct plan_model model;
    struct collected c, want;
    struct err e = { 0 };
    char path[512];
    int32_t ids[N_TOKENS], n_cancelled = 0;
    write_plan(t, &model, &plan_all[0], QUANT_Q8_0, path, ids);
    open_model(t, &want, path, NULL, 1, NULL);
    CHECK_INT(t, session_collect(want.session, false, &e), ERR_OK);
    for (int i = 0; i < TIMES; i++, session_truncate(want.session, 0, 0))
        CHECK_INT(t, session_eval(want.session, 0, ids, ROWS, NULL, 0, &e), ERR_OK);
    CHECK_INT(t, session_collected(want.session, want.m, &e), ERR_OK);

    open_model(t, &c, path, NULL, 2, NULL);
    CHECK_INT(t, session_collect(c.session, false, &e), ERR_OK);
    struct canceller canceller = { .session = c.session };
    pthread_t thread;
    CHECK_INT(t, pthread_create(&thread, NULL, cancel_some, &canceller), 0);
    for (int i = 0; i < TIMES; i++, session_truncate(c.session, 0, 0)) {
        enum err_code rc = ERR_CANCELLED;
        for (int attempt = 0; rc == ERR_CANCELLED; attempt++) {
            if (attempt < 3)
                atomic_fetch_add(&canceller.n_begun, 1);
            rc = session_eval(c.session, 0, ids, ROWS, NULL, 0, &e);
            while (atomic_load(&canceller.n_seen) != atomic_load(&canceller.n_begun))
                sched_yield();
            CHECK(t, rc == ERR_OK || rc == ERR_CANCELLED, "%s", e.text);
            n_cancelled += rc == ERR_CANCELLED;
        }
    }
    atomic_store(&canceller.over, true);
    pthread_join(thread, NULL);
    printf("%d evaluations, %d cancelled\n", TIMES, n_cancelled);
    CHECK_INT(t, session_collected(c.session, c.m, &e), ERR_OK);
    check_same(t, c.m, want.m, "with cancelled ones between");
    close_model(&c);
    close_model(&want);
    plan_model_finish(&model);
}

TEST(imatrix_collect_is_refused_on_a_device)
{
    struct plan_model model;
    struct logits_rig rig;
    struct err e = { 0 };
    char path[512];
    int32_t ids[N_TOKENS];
    write_plan(t, &model, &plan_all[0], QUANT_Q8_0, path, ids);
    plan_model_finish(&model);
    logits_rig_open_on(t, &rig, path, "llvmpipe", NULL, 0, &(struct session_options){ .n_ctx = N_TOKENS });
    CHECK_INT(t, session_collect(rig.session, false, &e), ERR_UNSUPPORTED);
    CHECK(t, strstr(e.text, "is on a device"), "%s", e.text);
    logits_rig_close(&rig);
}
