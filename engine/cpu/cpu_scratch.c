/* SPDX-License-Identifier: MIT */
/* The scratch of the CPU backend. One walk over everything a batch needs either takes it from an arena or only
 * adds up, so that what is announced beforehand is what is taken. */
#include "engine/base/size.h"
#include "engine/cpu/cpu_run.h"

struct taker {
    struct arena *arena;    /* NULL: count only */
    uint64_t bytes;
    bool failed;
};

static void *take(struct taker *t, uint64_t n, uint64_t item_bytes)
{
    uint64_t bytes;
    if (!size_mul(n, item_bytes, &bytes) || !size_round_up(bytes, 64, &bytes) ||
        !size_add(t->bytes, bytes, &t->bytes)) {
        t->failed = true;
        return NULL;
    }
    if (!t->arena)
        return NULL;
    void *at = t->failed ? NULL : arena_alloc(t->arena, n, item_bytes);
    t->failed |= at == NULL;
    return at;
}

static float *take_floats(struct taker *t, uint64_t n, uint64_t width)
{
    return take(t, n, width * sizeof(float));
}

static void take_acts(struct taker *t, struct cpu_acts *acts, uint64_t rows, int32_t max_cols)
{
    uint64_t planes = 2 * rows, cols = ((uint64_t)max_cols + 127) / 128 * 128;
    acts->q = take(t, planes * cols, 1);
    acts->d = take(t, planes * cols / 32, sizeof *acts->d);
    acts->s = take(t, planes * cols / 32, sizeof *acts->s);
    acts->h = take(t, planes * cols / 16, sizeof *acts->h);
    acts->second = take(t, rows, sizeof *acts->second);
}

/* Floats of the partial attentions of CPU_PARTS_ROWS rows: for each query head and chunk of keys, the last one perhaps
 * not full, and for the near pages an output and two figures. */
static uint64_t parts_floats(const struct program *g, int32_t n_ctx)
{
    uint64_t most = 0, chunks = (uint64_t)n_ctx / (CPU_CHUNK_PAGES * KV_PAGE) + 2;
    for (int32_t i = 0; i < g->n_steps; i++) {
        const struct step *s = &g->steps[i];
        uint64_t floats = s->kind == STEP_ATTN ? (uint64_t)s->n_head * ((uint64_t)s->d_head + 2) * chunks : 0;
        most = floats > most ? floats : most;
    }
    return most * CPU_PARTS_ROWS;
}

static void take_thread(struct taker *t, const struct placed *p, struct cpu_thread *th, int32_t rows)
{
    const struct program *g = p->program;
    int32_t widest = 0, d_head = 0;
    for (int32_t i = 0; i < g->n_steps; i++) {
        const struct step *s = &g->steps[i];
        for (int j = 0; s->kind != STEP_EMBED && j < 3 && s->w[j]; j++)
            widest = s->w[j]->n_rows > widest ? s->w[j]->n_rows : widest;
        if (s->kind == STEP_ATTN && s->d_head > d_head)
            d_head = s->d_head;
    }
    th->in = take_floats(t, CPU_FEW_ROWS, (uint64_t)g->max_cols);
    th->residual = take_floats(t, 1, (uint64_t)g->max_cols);
    if (p->b->tier == CPU_TIER_EXACT)
        th->rows = take_floats(t, CPU_EXACT_GROUP, (uint64_t)g->max_cols);
    th->matmul = take(t, cpu_matmul_scratch_bytes(rows, widest), 1);
    th->attn_o = take_floats(t, 3 * CPU_ATTN_QUERIES, (uint64_t)d_head);
    th->seal = take_floats(t, cpu_kv_seal_floats(d_head), 1);
    take_acts(t, &th->acts, CPU_FEW_ROWS, g->max_cols);
}

/* Queries made ready for sealed pages; a head's codes, scales and sums are rounded up to whole blocks. */
static void take_queries(struct taker *t, struct placed *p, uint64_t rows)
{
    const struct program *g = p->program;
    uint64_t heads = 0, blocks = 0;
    for (int32_t i = 0; i < g->n_steps; i++) {
        const struct step *s = &g->steps[i];
        uint64_t n = s->kind == STEP_ATTN ? (uint64_t)s->n_head : 0;
        heads = n > heads ? n : heads;
        n *= (uint64_t)cpu_kv_blocks(s->d_head);
        blocks = n > blocks ? n : blocks;
    }
    p->queries = take(t, rows * heads, sizeof *p->queries);
    p->q_rotated = take_floats(t, rows, (uint64_t)g->max_q);
    p->q_codes = take(t, rows * blocks, KV_BLOCK);
    p->q_scale = take_floats(t, rows * blocks, 1);
    p->q_sum = take(t, rows * blocks, sizeof *p->q_sum);
}

/* Everything, into p (or nowhere). Rows with logits pass through the same buffers as rows of a batch. */
static void take_all(struct taker *t, struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx)
{
    const struct program *g = p->program;
    int32_t n_threads = pool_threads(p->b->pool);
    int32_t most = max_rows > max_logits ? max_rows : max_logits;
    uint64_t rows = (uint64_t)most;
    p->max_rot = 0;
    for (int32_t i = 0; i < g->n_ropes; i++)
        p->max_rot = g->ropes[i].n_rot > p->max_rot ? g->ropes[i].n_rot : p->max_rot;
    p->x = take_floats(t, rows, (uint64_t)g->n_embd);
    p->branch = take_floats(t, rows, (uint64_t)g->n_embd);
    p->in = take_floats(t, rows, (uint64_t)g->max_cols);
    p->q = take_floats(t, rows, (uint64_t)g->max_q);
    p->attn = take_floats(t, rows, (uint64_t)g->max_q);
    take_queries(t, p, rows);
    p->k = take_floats(t, rows, (uint64_t)g->max_kv);
    p->v = take_floats(t, rows, (uint64_t)g->max_kv);
    p->gate = take_floats(t, rows, (uint64_t)g->max_ff);
    p->up = take_floats(t, rows, (uint64_t)g->max_ff);
    p->cos_sin = take_floats(t, rows * (uint64_t)g->n_ropes, (uint64_t)p->max_rot);
    p->parts = take_floats(t, parts_floats(g, n_ctx), 1);
    take_acts(t, &p->acts, rows, g->max_cols);

    struct cpu_thread uncounted;
    p->threads = take(t, (uint64_t)n_threads, sizeof *p->threads);
    for (int32_t i = 0; i < n_threads; i++)
        take_thread(t, p, t->failed || !t->arena ? &uncounted : &p->threads[i], most);
    p->max_rows = max_rows;
    p->max_logits = max_logits;
    p->n_ctx = n_ctx;
}

enum err_code cpu_scratch_reserve(struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                                  struct err *e)
{
    if (max_rows <= p->max_rows && max_logits <= p->max_logits && n_ctx <= p->n_ctx)
        return ERR_OK;
    max_rows = max_rows > p->max_rows ? max_rows : p->max_rows;
    max_logits = max_logits > p->max_logits ? max_logits : p->max_logits;
    n_ctx = n_ctx > p->n_ctx ? n_ctx : p->n_ctx;
    /* Another session may be working with the scratch there is, so it goes only when the new one stands. */
    struct placed grown = *p;
    arena_init(&grown.scratch);
    struct taker t = { .arena = &grown.scratch };
    take_all(&t, &grown, max_rows, max_logits, n_ctx);
    if (t.failed) {
        arena_finish(&grown.scratch);
        return err_set(e, ERR_NOMEM, "no memory for the scratch of %d rows in a context of %d tokens: %llu bytes",
                       max_rows, n_ctx, (unsigned long long)t.bytes);
    }
    arena_finish(&p->scratch);
    *p = grown;
    return ERR_OK;
}

uint64_t cpu_scratch_bytes(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx)
{
    struct placed nowhere = *p;
    struct taker t = { .arena = NULL };
    take_all(&t, &nowhere, max_rows, max_logits, n_ctx);
    return t.bytes;
}
