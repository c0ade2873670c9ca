/* SPDX-License-Identifier: MIT */
/* Attention over the page table.
 *
 * The keys of a row are walked in chunks of CPU_CHUNK_PAGES pages, counted from position 0. Each chunk gives
 * a partial result (online softmax over its pages), and the partial results are merged in the order of the
 * chunks. Both orders follow from positions alone, so a row has the same bits whether its chunks are spread
 * over threads (few rows, long context) or walked by one (many rows), and whatever rows ride along.
 *
 * All query heads of a KV head go together: a key is read and widened once for the group. */
#include "engine/cpu/cpu_run.h"

#include <math.h>
#include <string.h>

enum { CHUNK_KEYS = CPU_CHUNK_PAGES * KV_PAGE };

static int32_t first_key(const struct step *s, int32_t pos)
{
    return s->window > 0 && pos >= s->window ? pos - s->window + 1 : 0;
}

/* States of rows [row0, row1), query heads of one KV head each, adjacent. */
static void start_states(struct cpu_attn *a, float *o, const struct placed *p, const struct step *s,
                         int32_t row0, int32_t row1, int32_t kv_head)
{
    int32_t group = s->n_head / s->n_kv_head, d = s->d_head;
    for (int32_t row = row0; row < row1; row++)
        for (int32_t g = 0; g < group; g++, a++, o += d) {
            int64_t head = (int64_t)row * s->n_head + kv_head * group + g;
            *a = (struct cpu_attn){ .q = p->q + head * d, .o = o, .m = -INFINITY };
            memset(o, 0, (size_t)d * sizeof *o);
        }
}

/* Runs one chunk for rows of one sequence; a holds their states. */
static void run_chunk(const struct cpu_run *run, const struct step *s, struct cpu_attn *a, int32_t row0,
                      int32_t row1, int32_t kv_head, int32_t chunk)
{
    const struct batch *batch = run->batch;
    const struct batch_row *rows = batch->rows;
    const struct cpu_vec *vec = &run->placed->b->vec;
    int32_t group = s->n_head / s->n_kv_head, d = s->d_head;
    bool half = batch->kv[s->layer].k != KV_F32;
    size_t head_elems = (size_t)d * KV_PAGE, bytes = half ? 2 : 4;
    const struct kv_page *table = rows[row0].pages + (int64_t)s->layer * batch->table_stride;

    for (int32_t page = chunk * CPU_CHUNK_PAGES; page < (chunk + 1) * CPU_CHUNK_PAGES; page++) {
        int32_t begin = page * KV_PAGE, end = begin + KV_PAGE;
        int32_t from = row0, to = row1;    /* rows that see the page: positions rise with the row */
        while (from < to && rows[from].pos < begin)
            from++;
        while (from < to && first_key(s, rows[to - 1].pos) >= end)
            to--;
        if (from == to)
            continue;
        for (int32_t row = from; row < to; row++) {
            int32_t key0 = first_key(s, rows[row].pos) - begin, key1 = rows[row].pos + 1 - begin;
            for (int32_t g = 0; g < group; g++) {
                struct cpu_attn *state = a + (row - row0) * group + g;
                state->key0 = key0 > 0 ? key0 : 0;
                state->key1 = key1 < KV_PAGE ? key1 : KV_PAGE;
            }
        }
        const char *keys = (const char *)table[page].open + (size_t)kv_head * head_elems * bytes;
        const char *values = keys + (size_t)s->n_kv_head * head_elems * bytes;
        struct cpu_attn *states = a + (from - row0) * group;
        int32_t n_q = (to - from) * group;
        if (half)
            vec->attn_page_f16(states, n_q, (const void *)keys, (const void *)values, d, d, s->cap);
        else
            vec->attn_page_f32(states, n_q, (const void *)keys, (const void *)values, d, d, s->cap);
    }
}

static void finish_state(const struct placed *p, const struct step *s, int32_t row, int32_t head,
                         const struct cpu_attn *a)
{
    float *out = p->attn + ((int64_t)row * s->n_head + head) * s->d_head;
    float r = 1.0f / a->l;
    for (int32_t c = 0; c < s->d_head; c++)
        out[c] = a->o[c] * r;
}

/* Few rows: an item is a row, a KV head and a chunk. */
static void attend_few(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct batch *batch = run->batch;
    int32_t group = s->n_head / s->n_kv_head, d = s->d_head;
    int64_t part_floats = (int64_t)group * (d + 2);
    int32_t base[CPU_FEW_ROWS + 1] = { 0 }, chunk0[CPU_FEW_ROWS];
    for (int32_t row = 0; row < batch->n_rows; row++) {
        int32_t pos = batch->rows[row].pos;
        chunk0[row] = first_key(s, pos) / CHUNK_KEYS;
        base[row + 1] = base[row] + (pos / CHUNK_KEYS - chunk0[row] + 1) * s->n_kv_head;
    }
    int32_t begin, end, row = 0;
    pool_share(base[batch->n_rows], 1, thread, n_threads, &begin, &end);
    for (int32_t item = begin; item < end && !cpu_cancelled(run); item++) {
        while (item >= base[row + 1])
            row++;
        int32_t n_chunks = (base[row + 1] - base[row]) / s->n_kv_head;
        int32_t kv_head = (item - base[row]) / n_chunks;
        int32_t chunk = chunk0[row] + (item - base[row]) % n_chunks;
        float *part = p->parts + item * part_floats;
        struct cpu_attn *a = p->threads[thread].attn[0];
        start_states(a, part + 2 * group, p, s, row, row + 1, kv_head);
        run_chunk(run, s, a, row, row + 1, kv_head, chunk);
        for (int32_t g = 0; g < group; g++) {
            part[2 * g] = a[g].m;
            part[2 * g + 1] = a[g].l;
        }
    }
    pool_barrier(p->b->pool);

    pool_share(batch->n_rows * s->n_kv_head, 1, thread, n_threads, &begin, &end);
    for (int32_t item = begin; item < end; item++) {
        int32_t r = item / s->n_kv_head, kv_head = item % s->n_kv_head;
        int32_t n_chunks = (base[r + 1] - base[r]) / s->n_kv_head;
        struct cpu_attn *a = p->threads[thread].attn[0];
        start_states(a, p->threads[thread].attn_o, p, s, r, r + 1, kv_head);
        for (int32_t i = 0; i < n_chunks; i++) {
            float *part = p->parts + (base[r] + kv_head * n_chunks + i) * part_floats;
            for (int32_t g = 0; g < group; g++) {
                struct cpu_attn b = { .o = part + 2 * group + (int64_t)g * d, .m = part[2 * g], .l = part[2 * g + 1] };
                p->b->vec.attn_merge(&a[g], &b, d);
            }
        }
        for (int32_t g = 0; g < group; g++)
            finish_state(p, s, r, kv_head * group + g, &a[g]);
    }
}

/* Many rows: an item is a block of rows of one sequence and a KV head. Items are dealt out in turn, since
 * later rows see more keys. */
static void attend_many(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct batch *batch = run->batch;
    struct cpu_thread *th = &p->threads[thread];
    int32_t group = s->n_head / s->n_kv_head, d = s->d_head;
    int32_t block = CPU_ATTN_QUERIES / group > 0 ? CPU_ATTN_QUERIES / group : 1;
    float *part_o = th->attn_o + (int64_t)CPU_ATTN_QUERIES * d;
    int32_t item = 0;
    for (int32_t row0 = 0, row1; row0 < batch->n_rows; row0 = row1) {
        row1 = row0 + 1;
        while (row1 < batch->n_rows && row1 - row0 < block && batch->rows[row1].pages == batch->rows[row0].pages)
            row1++;
        for (int32_t kv_head = 0; kv_head < s->n_kv_head; kv_head++) {
            if (item++ % n_threads != thread)
                continue;
            int32_t n_q = (row1 - row0) * group;
            start_states(th->attn[0], th->attn_o, p, s, row0, row1, kv_head);
            int32_t chunk0 = first_key(s, batch->rows[row0].pos) / CHUNK_KEYS;
            int32_t chunk1 = batch->rows[row1 - 1].pos / CHUNK_KEYS;
            for (int32_t chunk = chunk0; chunk <= chunk1 && !cpu_cancelled(run); chunk++) {
                start_states(th->attn[1], part_o, p, s, row0, row1, kv_head);
                run_chunk(run, s, th->attn[1], row0, row1, kv_head, chunk);
                for (int32_t i = 0; i < n_q; i++)
                    if (th->attn[1][i].l > 0)    /* a row that saw no key of the chunk has no partial result */
                        p->b->vec.attn_merge(&th->attn[0][i], &th->attn[1][i], d);
            }
            for (int32_t i = 0; i < n_q; i++)
                finish_state(p, s, row0 + i / group, kv_head * group + i % group, &th->attn[0][i]);
        }
    }
}

void cpu_attend(struct cpu_run *run, const struct step *step, int32_t thread, int32_t n_threads)
{
    if (run->batch->n_rows <= CPU_FEW_ROWS)
        attend_few(run, step, thread, n_threads);
    else
        attend_many(run, step, thread, n_threads);
}
