/* SPDX-License-Identifier: MIT */
/* The steps of a program on one thread of the pool. After each of them cpu_run_thread() has a barrier, behind
 * which its outputs are complete for everybody; a step that needs more has its own inside.
 *
 * Cancelling. Every thread looks at the flag before each piece of work that may take some ten milliseconds and
 * leaves it out when the flag is up. The flag never goes down during a batch, so who left something out also
 * says so at the end of the step, and all give up there: no later step sees half a result. */
#include "engine/cpu/cpu_run.h"

#include <math.h>
#include <string.h>

static bool is_float(uint32_t type)
{
    return type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16;
}

static struct cpu_weight *weight_of(const struct cpu_run *run, const struct tensor *t)
{
    return &run->placed->weights[t->index];
}

/* Each thread has some of the columns, and walks all rows in their order. */
static void sum_inputs(double *sums, const struct cpu_acts *acts, int32_t thread, int32_t n_threads)
{
    int32_t col0, col1;
    pool_share(acts->n_cols, 16, thread, n_threads, &col0, &col1);
    for (int32_t r = 0; r < acts->n_rows; r++) {
        const float *x = acts->x + (int64_t)r * acts->n_cols;
        for (int32_t c = col0; c < col1; c++)
            sums[c] += (double)x[c] * (double)x[c];
    }
}

/* Inputs of a product: src [n_rows][n_cols], normalised when there is a gain, quantised when a matrix of the
 * step wants it. Few rows: every thread for itself, no barrier. */
static const struct cpu_acts *prepare(struct cpu_run *run, const struct step *s, const float *src,
                                      int32_t n_rows, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct cpu_backend *b = p->b;
    struct cpu_thread *th = &p->threads[thread];
    int32_t n_cols = s->w[0]->n_cols;
    bool quantised = false, few = n_rows <= CPU_FEW_ROWS;
    for (int i = 0; i < 3 && s->w[i]; i++)
        quantised |= b->tier != CPU_TIER_EXACT && !is_float(s->w[i]->type);

    struct cpu_acts *acts = few ? &th->acts : &p->acts;
    float *in = few ? th->in : p->in;
    int32_t row0 = 0, row1 = n_rows;
    if (!few)
        pool_share(n_rows, 1, thread, n_threads, &row0, &row1);
    if (few || thread == 0) {
        acts->n_rows = acts->n_planes = n_rows;
        acts->n_cols = n_cols;
        acts->x = s->norm ? in : src;
    }
    if (s->norm)
        for (int32_t r = row0; r < row1; r++)
            b->vec.rmsnorm(in + (int64_t)r * n_cols, src + (int64_t)r * n_cols, s->norm, n_cols, s->eps);
    if (!few)
        pool_barrier(b->pool);
    double *sums = run->batch->input_sums ? run->batch->input_sums[s->w[0]->index] : NULL;
    if (sums)
        sum_inputs(sums, acts, thread, n_threads);
    if (!quantised)
        return acts;

    cpu_acts_rows(&b->kern, acts, row0, row1);
    if (few) {
        cpu_acts_seconds(acts);
        cpu_acts_second_rows(&b->kern, acts, 0, n_rows, th->residual);
    } else {
        pool_barrier(b->pool);
        if (thread == 0)
            cpu_acts_seconds(acts);
        pool_barrier(b->pool);
        cpu_acts_second_rows(&b->kern, acts, row0, row1, th->residual);
        pool_barrier(b->pool);
    }
    return acts;
}

/* Weight rows between two looks at the cancel flag: a multiple of align, of 10 to 30 ms on one core. A product
 * of few rows reads 5e9 weights a second from memory, one of many multiplies more; the scalar tier comes to 1e9.
 * The exact one expands 1e9 weights a second, and meanwhile could have multiplied each with 16 rows. */
static int32_t rows_at_a_time(const struct cpu_backend *b, const struct tensor *w, int32_t n_rows, int32_t align)
{
    int64_t products = b->tier == CPU_TIER_EXACT || b->tier == CPU_TIER_SCALAR ? 1 << 24 : 1 << 27;
    if (b->tier == CPU_TIER_EXACT)
        n_rows = 1 + n_rows / 16;
    int64_t units = products / ((int64_t)w->n_cols * n_rows * align);
    return units > w->n_rows / align ? w->n_rows + align : (int32_t)(units > 1 ? units : 1) * align;
}

/* y[r][row] for weight rows [row0, row1), in pieces between which it looks whether to go on. */
static void product(struct cpu_run *run, float *y, const struct tensor *w, const struct cpu_acts *acts,
                    int32_t row0, int32_t row1, int32_t align, int32_t thread)
{
    struct cpu_thread *th = &run->placed->threads[thread];
    const struct cpu_backend *b = run->placed->b;
    const struct cpu_weight *weight = weight_of(run, w);
    int32_t step = rows_at_a_time(b, w, acts->n_rows, align);
    for (int32_t begin = row0; begin < row1 && !cpu_cancelled(run); begin += step) {
        int32_t end = step < row1 - begin ? begin + step : row1;
        if (b->tier == CPU_TIER_EXACT)
            cpu_exact_matmul(b->exact, y, w->n_rows, weight, begin, end, acts->x, acts->n_rows, th->rows);
        else
            cpu_matmul(&b->kern, y, w->n_rows, weight, begin, end, acts, th->matmul);
    }
}

/* This thread's rows of a product, with the bias. */
static void product_share(struct cpu_run *run, float *y, const struct tensor *w, const float *bias,
                          const struct cpu_acts *acts, int32_t thread, int32_t n_threads, int32_t *row0,
                          int32_t *row1)
{
    const struct cpu_backend *b = run->placed->b;
    int32_t align = b->kern.row_align;
    pool_share(w->n_rows, align, thread, n_threads, row0, row1);
    product(run, y, w, acts, *row0, *row1, align, thread);
    if (bias)
        for (int32_t r = 0; r < acts->n_rows; r++)
            b->vec.add(y + (int64_t)r * w->n_rows + *row0, bias + *row0, *row1 - *row0);
}

static void embed(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct tensor *t = s->w[0];
    int32_t row0, row1, n_embd = t->n_cols;
    pool_share(run->batch->n_rows, 1, thread, n_threads, &row0, &row1);
    for (int32_t r = row0; r < row1; r++) {
        float *x = p->x + (int64_t)r * n_embd;
        int32_t token = run->batch->rows[r].token;
        quant_format(t->type)->to_f32(x, (const char *)t->data + (uint64_t)token * t->row_bytes, n_embd);
        if (s->scale != 1.0f)
            p->b->vec.scale(x, s->scale, n_embd);
    }
}

/* Sines and cosines of the whole batch, once for each kind of RoPE the program has. */
static void angles(struct cpu_run *run, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    int32_t row0, row1;
    pool_share(run->batch->n_rows, 1, thread, n_threads, &row0, &row1);
    for (int32_t i = 0; i < p->program->n_ropes; i++) {
        const struct rope *rope = &p->program->ropes[i];
        for (int32_t r = row0; r < row1; r++) {
            float *cs = p->cos_sin + ((int64_t)i * p->max_rows + r) * p->max_rot;
            for (int32_t pair = 0; pair < rope->n_rot / 2; pair++) {
                double angle = run->batch->rows[r].pos * rope->freq[pair];
                cs[2 * pair] = (float)(cos(angle) * (double)rope->magnitude);
                cs[2 * pair + 1] = (float)(sin(angle) * (double)rope->magnitude);
            }
        }
    }
}

/* Norm per head, RoPE and scale of one query head of a row. */
static void finish_q(struct cpu_run *run, const struct step *s, int32_t row, int32_t head)
{
    struct placed *p = run->placed;
    const struct cpu_vec *vec = &p->b->vec;
    float *q = p->q + ((int64_t)row * s->n_head + head) * s->d_head;
    if (s->q_norm)
        vec->rmsnorm(q, q, s->q_norm, s->d_head, s->eps);
    if (s->rope >= 0) {
        const struct rope *rope = &p->program->ropes[s->rope];
        vec->rope(q, p->cos_sin + ((int64_t)s->rope * p->max_rows + row) * p->max_rot, 1, s->d_head,
                  rope->n_rot, rope->halves);
    }
    vec->scale(q, s->scale, s->d_head);

    /* For sealed pages, where the row can meet some. */
    const struct kv_layer *l = &run->batch->kv[s->layer];
    if (!kv_layer_seals(l) || run->batch->rows[row].pos < 2 * KV_PAGE)
        return;
    int32_t n_blocks = cpu_kv_blocks(s->d_head);
    int64_t at = (int64_t)row * s->n_head + head;
    p->b->kv.prepare(&p->queries[at], p->q_rotated + at * s->d_head, p->q_codes + at * n_blocks * KV_BLOCK,
                     p->q_scale + at * n_blocks, p->q_sum + at * n_blocks, q,
                     &(struct cpu_kv_shape){ l->k, l->v, s->d_head });
}

/* The same for a KV head; key and value go to their page. */
static void finish_kv(struct cpu_run *run, const struct step *s, int32_t row, int32_t head)
{
    struct placed *p = run->placed;
    const struct cpu_vec *vec = &p->b->vec;
    const struct batch_row *br = &run->batch->rows[row];
    int32_t d = s->d_head, slot = br->pos % KV_PAGE;
    float *k = p->k + ((int64_t)row * s->n_kv_head + head) * d;
    const float *v = p->v + ((int64_t)row * s->n_kv_head + head) * d;
    if (s->k_norm)
        vec->rmsnorm(k, k, s->k_norm, d, s->eps);
    if (s->rope >= 0) {
        const struct rope *rope = &p->program->ropes[s->rope];
        vec->rope(k, p->cos_sin + ((int64_t)s->rope * p->max_rows + row) * p->max_rot, 1, d, rope->n_rot,
                  rope->halves);
    }
    void *page = br->pages[(int64_t)s->layer * run->batch->table_stride + br->pos / KV_PAGE].open;
    size_t key_at = (size_t)head * (size_t)d * KV_PAGE + (size_t)slot;
    size_t value_at = ((size_t)(s->n_kv_head + head) * KV_PAGE + (size_t)slot) * (size_t)d;
    if (run->batch->kv[s->layer].k != KV_F32) {
        vec->store_f16_column((uint16_t *)page + key_at, k, d);
        vec->store_f16((uint16_t *)page + value_at, v, d);
    } else {
        for (int32_t c = 0; c < d; c++)
            ((float *)page)[key_at + (size_t)c * KV_PAGE] = k[c];
        memcpy((float *)page + value_at, v, (size_t)d * sizeof *v);
    }
}

static bool completes_page(const struct cpu_run *run, const struct step *s, int32_t row)
{
    const struct batch_row *br = &run->batch->rows[row];
    return br->pos % KV_PAGE == KV_PAGE - 1 &&
           br->pages[(int64_t)s->layer * run->batch->table_stride + br->pos / KV_PAGE].sealed;
}

/* Seals the pages whose last token is in the batch; all their rows are written when every thread is here. */
static void seal_pages(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    const struct placed *p = run->placed;
    const struct batch *batch = run->batch;
    const struct kv_layer *l = &batch->kv[s->layer];
    const struct cpu_kv_shape shape = { l->k, l->v, s->d_head };
    int32_t n_pages = 0, begin, end, item = 0;
    if (!kv_layer_seals(l))
        return;
    for (int32_t row = 0; row < batch->n_rows; row++)
        n_pages += completes_page(run, s, row);
    if (n_pages == 0)
        return;
    pool_barrier(p->b->pool);
    size_t head_bytes = (size_t)s->d_head * KV_PAGE * 2, n_head = (size_t)s->n_kv_head;
    size_t key_bytes = kv_sealed_key_bytes(l->k, s->d_head), value_bytes = kv_sealed_value_bytes(l->v, s->d_head);
    pool_share(n_pages * s->n_kv_head, 1, thread, n_threads, &begin, &end);
    for (int32_t row = 0; row < batch->n_rows && item < end; row++) {
        if (!completes_page(run, s, row))
            continue;
        const struct batch_row *br = &batch->rows[row];
        const struct kv_page *page = &br->pages[(int64_t)s->layer * batch->table_stride + br->pos / KV_PAGE];
        for (size_t head = 0; head < n_head; head++, item++)
            if (item >= begin && item < end)
                p->b->kv.seal((char *)page->sealed + head * key_bytes,
                              (char *)page->sealed + n_head * key_bytes + head * value_bytes,
                              (const uint16_t *)((const char *)page->open + head * head_bytes),
                              (const uint16_t *)((const char *)page->open + (n_head + head) * head_bytes), &shape,
                              p->threads[thread].seal);
    }
}

static void attn_in(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    int32_t n_rows = run->batch->n_rows, row0, row1;
    const struct cpu_acts *acts = prepare(run, s, p->x, n_rows, thread, n_threads);
    product_share(run, p->q, s->w[0], s->bias[0], acts, thread, n_threads, &row0, &row1);
    product_share(run, p->k, s->w[1], s->bias[1], acts, thread, n_threads, &row0, &row1);
    product_share(run, p->v, s->w[2], s->bias[2], acts, thread, n_threads, &row0, &row1);
    pool_barrier(p->b->pool);

    int32_t heads = s->n_head + s->n_kv_head, begin, end;
    pool_share(n_rows * heads, 1, thread, n_threads, &begin, &end);
    for (int32_t item = begin; item < end; item++) {
        int32_t row = item / heads, head = item % heads;
        if (head < s->n_head)
            finish_q(run, s, row, head);
        else
            finish_kv(run, s, row, head - s->n_head);
    }
    seal_pages(run, s, thread, n_threads);
}

/* W src onto the residual stream, with an optional norm on the branch. */
static void onto_residual(struct cpu_run *run, const struct step *s, const float *src, int32_t thread,
                          int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct cpu_vec *vec = &p->b->vec;
    int32_t n_rows = run->batch->n_rows, n_embd = s->w[0]->n_rows, row0, row1;
    const struct cpu_acts *acts = prepare(run, s, src, n_rows, thread, n_threads);
    product_share(run, p->branch, s->w[0], s->bias[0], acts, thread, n_threads, &row0, &row1);
    int32_t col0 = row0, n_cols = row1 - row0;    /* without a norm each thread adds what it computed */
    row0 = 0, row1 = n_rows;
    if (s->post_norm) {
        pool_barrier(p->b->pool);
        pool_share(n_rows, 1, thread, n_threads, &row0, &row1);
        col0 = 0, n_cols = n_embd;
    }
    for (int32_t r = row0; r < row1; r++) {
        float *branch = p->branch + (int64_t)r * n_embd, *x = p->x + (int64_t)r * n_embd;
        if (s->post_norm)
            vec->rmsnorm(branch, branch, s->post_norm, n_embd, s->eps);
        if (s->scale != 1.0f)
            vec->scale(branch + col0, s->scale, n_cols);
        vec->add(x + col0, branch + col0, n_cols);
    }
}

static void ffn_in(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct cpu_vec *vec = &p->b->vec;
    int32_t n_rows = run->batch->n_rows, n_ff = s->w[0]->n_rows, row0, row1;
    const struct cpu_acts *acts = prepare(run, s, p->x, n_rows, thread, n_threads);
    product_share(run, p->gate, s->w[0], s->bias[0], acts, thread, n_threads, &row0, &row1);
    product_share(run, p->up, s->w[1], s->bias[1], acts, thread, n_threads, &row0, &row1);
    for (int32_t r = 0; r < n_rows; r++) {
        int64_t at = (int64_t)r * n_ff + row0;
        if (s->act == STEP_SILU)
            vec->silu_mul(p->gate + at, p->up + at, row1 - row0);
        else
            vec->gelu_mul(p->gate + at, p->up + at, row1 - row0);
    }
}

static void head(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct batch *batch = run->batch;
    const struct cpu_vec *vec = &p->b->vec;
    int32_t n_embd = s->w[0]->n_cols, n_vocab = s->w[0]->n_rows, n = batch->n_logits, row0, row1;
    if (n == 0)
        return;
    if (thread == 0)    /* the wanted rows, adjacent, in the order of the output */
        for (int32_t r = 0; r < batch->n_rows; r++)
            if (batch->rows[r].logits >= 0)
                memcpy(p->branch + (int64_t)batch->rows[r].logits * n_embd, p->x + (int64_t)r * n_embd,
                       (size_t)n_embd * sizeof(float));
    pool_barrier(p->b->pool);
    const struct cpu_acts *acts = prepare(run, s, p->branch, n, thread, n_threads);
    product_share(run, batch->logits, s->w[0], s->bias[0], acts, thread, n_threads, &row0, &row1);
    for (int32_t r = 0; r < n; r++) {
        float *logits = batch->logits + (int64_t)r * n_vocab + row0;
        if (s->scale != 1.0f)
            vec->scale(logits, s->scale, row1 - row0);
        if (s->cap > 0)
            vec->softcap(logits, s->cap, row1 - row0);
    }
}

void cpu_run_thread(void *arg, int32_t thread, int32_t n_threads)
{
    struct cpu_run *run = arg;
    const struct program *program = run->placed->program;
    angles(run, thread, n_threads);
    if (run->batch->x_in)    /* no EMBED step comes before they are used */
        pool_barrier(run->placed->b->pool);
    for (int32_t i = 0; i < program->n_steps; i++) {
        const struct step *s = &program->steps[i];
        switch (s->kind) {
        case STEP_EMBED: embed(run, s, thread, n_threads); break;
        case STEP_ATTN_IN: attn_in(run, s, thread, n_threads); break;
        case STEP_ATTN: cpu_attend(run, s, thread, n_threads); break;
        case STEP_ATTN_OUT: onto_residual(run, s, run->placed->attn, thread, n_threads); break;
        case STEP_FFN_IN: ffn_in(run, s, thread, n_threads); break;
        case STEP_FFN_OUT: onto_residual(run, s, run->placed->gate, thread, n_threads); break;
        case STEP_HEAD: head(run, s, thread, n_threads); break;
        }
        if (cpu_cancelled(run))
            atomic_store(&run->stop[i % 2], true);
        pool_barrier(run->placed->b->pool);
        if (atomic_load(&run->stop[i % 2]))
            return;
    }
}
