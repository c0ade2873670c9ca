/* SPDX-License-Identifier: MIT */
#include "engine/cpu/cpu_backend.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_run.h"

static const struct {
    const char *name;
    uint32_t features;    /* needed, and used */
} tiers[CPU_N_TIERS] = {
    [CPU_TIER_EXACT] = { "exact", 0 },
    [CPU_TIER_SCALAR] = { "scalar", 0 },
    [CPU_TIER_AVX2] = { "avx2", CPUID_AVX2 },
    [CPU_TIER_AVX512] = { "avx512", CPUID_AVX2 | CPUID_AVX512 },
};

const char *cpu_tier_name(enum cpu_tier tier)
{
    return tiers[tier].name;
}

bool cpu_tier_available(enum cpu_tier tier)
{
    return (cpuid_features() & tiers[tier].features) == tiers[tier].features;
}

enum cpu_tier cpu_tier_best(void)
{
    enum cpu_tier best = CPU_TIER_SCALAR;
    for (enum cpu_tier t = CPU_TIER_SCALAR; t < CPU_N_TIERS; t++)
        if (cpu_tier_available(t))
            best = t;
    return best;
}

/* ---- placing -------------------------------------------------------------------------------------- */

/* Tensors that are the matrix of a product; the embedding alone is only looked up. */
static bool is_matrix(const struct program *p, const struct tensor *t)
{
    for (int32_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind != STEP_EMBED)
            for (int32_t j = 0; j < 3; j++)
                if (p->steps[i].w[j] == t)
                    return true;
    return false;
}

static enum err_code check_matrix(const struct cpu_backend *b, const struct tensor *t, struct err *e)
{
    const struct quant_format *format = quant_format(t->type);
    if (!format || !format->to_f32 || !b->kern.matvec[t->type])
        return err_set(e, ERR_UNSUPPORTED, "tensor '%s': type %s cannot be computed here", t->name,
                       format ? format->name : "unknown");
    if (t->n_cols > CPU_MAX_COLS)
        return err_set(e, ERR_UNSUPPORTED, "tensor '%s': %d columns, at most %d can be computed", t->name,
                       t->n_cols, CPU_MAX_COLS);
    return ERR_OK;
}

struct interleave_job {
    struct placed *placed;
    int32_t n_tensors;
    const atomic_bool *cancel;    /* NULL: never */
};

static bool is_cancelled(const atomic_bool *cancel)
{
    return cancel && atomic_load_explicit(cancel, memory_order_relaxed);
}

static void interleave_thread(void *arg, int32_t thread, int32_t n_threads)
{
    const struct interleave_job *job = arg;
    const struct cpu_kern *k = &job->placed->b->kern;
    for (int32_t i = 0; i < job->n_tensors && !is_cancelled(job->cancel); i++) {
        struct cpu_weight *w = &job->placed->weights[i];
        int32_t row0, row1;
        if (!w->packed)
            continue;
        pool_share(w->n_rows, k->row_align, thread, n_threads, &row0, &row1);
        if (row0 < row1)
            k->interleave(w, row0, row1);
    }
}

/* The mapped bytes are not needed any more: let the system have the memory back. Reading them again is
 * still right, only slower. */
static void forget_mapped(const void *data, uint64_t n_bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)data + n_bytes) & ~(page - 1);
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static struct cpu_weight weight_of(const struct tensor *t)
{
    return (struct cpu_weight){ .type = t->type, .n_rows = t->n_rows, .n_cols = t->n_cols, .data = t->data,
                                .row_bytes = t->row_bytes };
}

/* What a matrix takes beside the mapped file; 0: it stays as it is. */
static uint64_t packed_bytes(const struct cpu_backend *b, const struct cpu_weight *w)
{
    if (b->tier == CPU_TIER_EXACT || !b->kern.interleave)
        return 0;
    return (b->kern.interleave_bytes(w) + 63) & ~63ull;
}

/* pool NULL: by this thread alone. */
static enum err_code interleave_all(struct placed *p, struct pool *pool, const atomic_bool *cancel, struct err *e)
{
    int32_t n = p->program->n_tensors;
    uint64_t total = 0;
    for (int32_t i = 0; i < n; i++)
        if (p->weights[i].data)
            total += packed_bytes(p->b, &p->weights[i]);
    if (total == 0)
        return ERR_OK;
    void *block = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "no memory for %llu bytes of interleaved weights",
                       (unsigned long long)total);
    madvise(block, total, MADV_HUGEPAGE);
    p->interleaved = block;
    p->interleaved_bytes = total;
    char *next = block;
    for (int32_t i = 0; i < n; i++) {
        uint64_t bytes = p->weights[i].data ? packed_bytes(p->b, &p->weights[i]) : 0;
        if (!bytes)
            continue;
        p->weights[i].packed = next;
        next += bytes;
    }
    struct interleave_job job = { p, n, cancel };
    if (pool)
        pool_run(pool, interleave_thread, &job);
    else
        interleave_thread(&job, 0, 1);
    if (is_cancelled(cancel))
        return err_set(e, ERR_CANCELLED, "cancelled");
    for (int32_t i = 0; i < n; i++)
        if (p->weights[i].packed)
            forget_mapped(p->weights[i].data, p->program->tensors[i].n_bytes);
    return ERR_OK;
}

static void cpu_unplace(struct placed *p)
{
    if (!p)
        return;
    arena_finish(&p->scratch);
    if (p->interleaved)
        munmap(p->interleaved, p->interleaved_bytes);
    free(p->weights);
    free(p);
}

static enum err_code place_with(struct cpu_backend *b, const struct program *program, struct pool *pool,
                                const atomic_bool *cancel, struct placed **out, struct err *e)
{
    struct placed *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "no memory to place the model");
    p->b = b;
    p->program = program;
    p->weights = calloc((size_t)program->n_tensors, sizeof *p->weights);
    enum err_code rc = p->weights ? ERR_OK : err_set(e, ERR_NOMEM, "no memory to place the model");
    for (int32_t i = 0; rc == ERR_OK && i < program->n_tensors; i++) {
        const struct tensor *t = &program->tensors[i];
        if (!is_matrix(program, t))
            continue;
        rc = check_matrix(b, t, e);
        p->weights[i] = weight_of(t);
    }
    for (int32_t i = 0; rc == ERR_OK && i < program->n_steps; i++) {
        const struct step *s = &program->steps[i];
        if (s->kind == STEP_ATTN &&
            (s->n_head / s->n_kv_head > CPU_ATTN_QUERIES || s->d_head > CPU_ATTN_MAX_D))
            rc = err_set(e, ERR_UNSUPPORTED,
                         "layer %d: %d query heads a KV head of %d components, at most %d and %d can be computed",
                         s->layer, s->n_head / s->n_kv_head, s->d_head, CPU_ATTN_QUERIES, CPU_ATTN_MAX_D);
    }
    if (rc == ERR_OK)
        rc = interleave_all(p, pool, cancel, e);
    if (rc != ERR_OK) {
        cpu_unplace(p);
        return rc;
    }
    *out = p;
    return ERR_OK;
}

static enum err_code cpu_place(struct backend *backend, const struct program *program, struct placed **out,
                               struct err *e)
{
    struct cpu_backend *b = (struct cpu_backend *)backend;
    return place_with(b, program, b->pool, NULL, out, e);
}

static enum err_code cpu_place_aside(struct backend *backend, const struct program *program, const atomic_bool *cancel,
                                     struct placed **out, struct err *e)
{
    return place_with((struct cpu_backend *)backend, program, NULL, cancel, out, e);
}

/* ---- what it takes -------------------------------------------------------------------------------- */

static bool is_embedding(const struct program *p, const struct tensor *t)
{
    return p->n_steps > 0 && p->steps[0].kind == STEP_EMBED && p->steps[0].w[0] == t;
}

/* Of a program that is a part of one only the matrices it has; vectors are few bytes. */
static uint64_t cpu_weight_bytes(const struct placed *p)
{
    uint64_t bytes = p->interleaved_bytes;
    for (int32_t i = 0; i < p->program->n_tensors; i++) {
        const struct tensor *t = &p->program->tensors[i];
        bool here = p->weights[i].data || t->n_rows == 1 || is_embedding(p->program, t);
        if (here && !p->weights[i].packed)    /* the mapped bytes of the others have been given back */
            bytes += t->n_bytes;
    }
    return bytes;
}

static void cpu_plan(const struct backend *backend, const struct program *g, int32_t max_rows, int32_t max_logits,
                     int32_t n_ctx, struct backend_bytes *out)
{
    struct cpu_backend *b = (struct cpu_backend *)(uintptr_t)backend;
    const struct placed nowhere = { .b = b, .program = g };
    *out = (struct backend_bytes){ .scratch = cpu_scratch_bytes(&nowhere, max_rows, max_logits, n_ctx) };
    for (int32_t i = 0; i < g->n_tensors; i++) {
        const struct tensor *t = &g->tensors[i];
        const struct cpu_weight w = weight_of(t);
        bool matrix = is_matrix(g, t);
        uint64_t packed = matrix ? packed_bytes(b, &w) : 0;
        if (matrix || t->n_rows == 1)
            out->weights += packed ? packed : t->n_bytes;
        if (is_embedding(g, t) && (!matrix || packed))    /* rows of the packed form are not looked up */
            out->lookups = t->n_bytes;
    }
}

/* ---- running -------------------------------------------------------------------------------------- */

static enum err_code cpu_run(struct placed *p, const struct batch *batch, struct err *e)
{
    struct cpu_run run = { .placed = p, .batch = batch };
    assert(batch->n_rows <= p->max_rows && batch->n_logits <= p->max_logits);
    for (int32_t i = 0; i < batch->n_rows; i++)
        assert(batch->rows[i].pos < p->n_ctx);
    size_t stream_bytes = (size_t)batch->n_rows * (size_t)p->program->n_embd * sizeof *p->x;
    if (batch->x_in)
        memcpy(p->x, batch->x_in, stream_bytes);
    pool_run(p->b->pool, cpu_run_thread, &run);
    if (cpu_cancelled(&run))
        return err_set(e, ERR_CANCELLED, "cancelled");
    if (batch->x_out)
        memcpy(batch->x_out, p->x, stream_bytes);
    return ERR_OK;
}

static void cpu_destroy(struct backend *b)
{
    free(b);
}

static const struct backend_ops cpu_ops = {
    .place = cpu_place,
    .place_aside = cpu_place_aside,
    .unplace = cpu_unplace,
    .reserve = cpu_scratch_reserve,
    .scratch_bytes = cpu_scratch_bytes,
    .weight_bytes = cpu_weight_bytes,
    .plan = cpu_plan,
    .run = cpu_run,
    .destroy = cpu_destroy,
};

enum err_code cpu_backend_create(struct backend **out, enum cpu_tier tier, struct pool *pool, struct err *e)
{
    if (!cpu_tier_available(tier))
        return err_set(e, ERR_UNSUPPORTED, "processor tier '%s' is not on this machine, the best here is '%s'",
                       cpu_tier_name(tier), cpu_tier_name(cpu_tier_best()));
    struct cpu_backend *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for the CPU backend");
    b->base = (struct backend){ .ops = &cpu_ops, .name = cpu_tier_name(tier), .sums_inputs = true,
                                .int8 = tier != CPU_TIER_EXACT };
    b->tier = tier;
    b->pool = pool;
    bool exact = tier == CPU_TIER_EXACT;
    /* Features change no bits, so what is exact runs on all there are. */
    uint32_t features = exact ? cpuid_features() : tiers[tier].features;
    cpu_kern_init(&b->kern, tiers[tier].features);
    if (exact)
        b->kern.row_align = CPU_EXACT_ALIGN;
    cpu_vec_init(&b->vec, features);
    b->exact = cpu_exact_product(features);
    cpu_kv_init(&b->kv, features, exact);
    *out = &b->base;
    return ERR_OK;
}
