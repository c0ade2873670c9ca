/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_CPU_RUN_H
#define QUIP_ENGINE_CPU_CPU_RUN_H

#include "engine/backend/backend.h"
#include "engine/base/arena.h"
#include "engine/base/pool.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/cpu_exact.h"
#include "engine/cpu/cpu_kern.h"
#include "engine/cpu/cpu_kv.h"
#include "engine/cpu/cpu_vec.h"

/* Inside of the CPU backend. A batch is one pool_run(): every thread walks the steps and meets the others
 * at barriers. Rows of a product are cut among the threads; what is cheap is done by each thread for itself
 * when the rows are few, because a barrier costs more. */
enum {
    CPU_FEW_ROWS = 4,       /* up to so many rows every thread prepares its own inputs, */
    CPU_PARTS_ROWS = 16,    /* and up to so many attention is cut in parts */
    CPU_CHUNK_PAGES = CPU_KV_PAGES,    /* pages of one partial attention; part of the arithmetic: merges follow it */
    CPU_ATTN_QUERIES = 64   /* queries of one attention kernel call at most */
};

struct cpu_backend {
    struct backend base;
    struct cpu_kern kern;
    struct cpu_vec vec;
    struct cpu_kv_kern kv;
    cpu_exact_fn exact;
    struct pool *pool;
    enum cpu_tier tier;
};

/* What a thread has for itself. */
struct cpu_thread {
    float *in;                   /* [CPU_FEW_ROWS][max_cols] */
    struct cpu_acts acts;        /* for CPU_FEW_ROWS rows */
    float *residual;             /* [max_cols] */
    void *matmul;                /* scratch of the kernels */
    float *attn_o;               /* [3][CPU_ATTN_QUERIES][max d_head] */
    struct cpu_attn attn[3][CPU_ATTN_QUERIES];
    struct cpu_kv_query queries[CPU_ATTN_QUERIES];
    float *seal;                 /* cpu_kv_seal_floats(max d_head) */
    float *rows;                 /* [CPU_EXACT_GROUP][max_cols]: weight rows; exact tier alone */
};

struct placed {
    struct cpu_backend *b;
    const struct program *program;
    struct cpu_weight *weights;  /* [n_tensors] */
    void *interleaved;           /* one block, all interleaved weights; NULL when there are none */
    uint64_t interleaved_bytes;

    /* Scratch for batches of these sizes: cpu_scratch.c. */
    struct arena scratch;
    int32_t max_rows, max_logits, n_ctx;
    float *x, *in, *q, *k, *v, *attn, *gate, *up, *branch;
    struct cpu_kv_query *queries;    /* [max_rows][n_head]: q made ready for sealed pages, in the arrays below */
    float *q_rotated, *q_scale;
    int8_t *q_codes;
    int32_t *q_sum;
    float *cos_sin;              /* [n_ropes][max_rows][max n_rot] */
    int32_t max_rot;
    struct cpu_acts acts;
    float *parts;                /* partial attention of CPU_PARTS_ROWS: struct partial in cpu_attend.c */
    struct cpu_thread *threads;
};

/* One batch under way. */
struct cpu_run {
    struct placed *placed;
    const struct batch *batch;
    /* Give up after this step: one for even steps, one for odd, because somebody may still be reading it behind
     * the step's barrier when others, a step ahead, set the next. */
    atomic_bool stop[2];
};

static inline bool cpu_cancelled(const struct cpu_run *run)
{
    return run->batch->cancel && atomic_load_explicit(run->batch->cancel, memory_order_relaxed);
}

/* cpu_scratch.c: the backend's reserve and scratch_bytes. */
enum err_code cpu_scratch_reserve(struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                                  struct err *e);
uint64_t cpu_scratch_bytes(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx);

/* cpu_attend.c: one STEP_ATTN; the result in placed->attn, complete after the next barrier. */
void cpu_attend(struct cpu_run *run, const struct step *step, int32_t thread, int32_t n_threads);

/* cpu_steps.c: the body of a batch on one thread. */
void cpu_run_thread(void *run, int32_t thread, int32_t n_threads);

#endif
