/* SPDX-License-Identifier: MIT */
/* Attention over the page table.
 *
 * What a row reads falls in two parts, by positions alone (kv_page.h):
 *
 *   page   0      1 2 3 4 5 6 ...       J-2   J-1   J          J = page of the row
 *          near   far: sealed pages           near: open pages
 *
 * The far part is walked in chunks of CPU_CHUNK_PAGES pages, counted from page 0; each chunk gives a partial
 * result (one softmax over its sealed pages), merged in the order of the chunks. The near part is one partial
 * result more, and the far one is merged into it last, turned back first when the values are rotated. All
 * orders follow from positions, so a row has the same bits whether its chunks are spread over threads (few
 * rows, long context) or walked by one (many rows), and whatever rows ride along. Where a layer does not seal,
 * far pages are open ones; a page before the row's whose open form is gone counts as far.
 *
 * All query heads of a KV head go together: a key is read and unpacked once for the group. */
#include "engine/cpu/cpu_run.h"

#include <math.h>
#include <string.h>

/* One layer's attention in one batch, for one KV head and the rows [row0, row1) of one sequence. */
struct span {
    const struct cpu_run *run;
    const struct step *s;
    struct cpu_thread *th;
    const struct kv_page *table;    /* of the layer */
    struct cpu_kv_shape shape;
    int32_t kv_head, row0, row1, group;
    bool in_turn;                   /* after a chunk comes the same of the next head, not the head's next */
};

static struct span span_of(const struct cpu_run *run, const struct step *s, struct cpu_thread *th, int32_t kv_head,
                           int32_t row0, int32_t row1)
{
    const struct batch *batch = run->batch;
    const struct kv_layer *l = &batch->kv[s->layer];
    return (struct span){ .run = run, .s = s, .th = th,
                          .table = batch->rows[row0].pages + (int64_t)s->layer * batch->table_stride,
                          .shape = { l->k, l->v, s->d_head }, .kv_head = kv_head, .row0 = row0, .row1 = row1,
                          .group = s->n_head / s->n_kv_head };
}

static int32_t first_key(const struct step *s, int32_t pos)
{
    return s->window > 0 && pos >= s->window ? pos - s->window + 1 : 0;
}

/* Far pages of a row: [far_begin, far_end), without those before its window. */
static int32_t far_end(const struct kv_page *table, int32_t pos)
{
    int32_t page = pos / KV_PAGE;
    return page > 1 && !table[page - 1].open ? page : page - 1;
}

static int32_t far_begin(const struct step *s, int32_t pos)
{
    int32_t page = first_key(s, pos) / KV_PAGE;
    return page > 1 ? page : 1;
}

static int32_t row_pos(const struct span *sp, int32_t row)
{
    return sp->run->batch->rows[row].pos;
}

/* Empty states of the span's rows and query heads, adjacent, outputs in o; and the queries of the thread that
 * go with them. */
static void start_states(const struct span *sp, struct cpu_attn *a, float *o)
{
    const struct placed *p = sp->run->placed;
    int32_t d = sp->s->d_head, n = 0;
    for (int32_t row = sp->row0; row < sp->row1; row++)
        for (int32_t g = 0; g < sp->group; g++, n++) {
            int64_t head = (int64_t)row * sp->s->n_head + sp->kv_head * sp->group + g;
            a[n] = (struct cpu_attn){ .q = p->q + head * d, .o = o + (int64_t)n * d, .m = -INFINITY };
            sp->th->queries[n] = p->queries[head];
        }
    memset(o, 0, (size_t)n * (size_t)d * sizeof *o);
}

static size_t open_side_bytes(const struct span *sp)
{
    return (size_t)sp->s->d_head * KV_PAGE * (sp->shape.k == KV_F32 ? 4 : 2);
}

static const void *keys_of(const struct span *sp, int32_t kv_head, int32_t page, bool sealed)
{
    const char *bytes = sealed ? sp->table[page].sealed : sp->table[page].open;
    size_t key_bytes = sealed ? kv_sealed_key_bytes(sp->shape.k, sp->s->d_head) : open_side_bytes(sp);
    return bytes ? bytes + (size_t)kv_head * key_bytes : NULL;
}

/* Of the span's head. */
static const void *values_of(const struct span *sp, int32_t page, bool sealed)
{
    const char *bytes = sealed ? sp->table[page].sealed : sp->table[page].open;
    size_t n_head = (size_t)sp->s->n_kv_head, head = (size_t)sp->kv_head;
    int32_t d = sp->s->d_head;
    if (!sealed)
        return bytes + (n_head + head) * open_side_bytes(sp);
    return bytes + n_head * kv_sealed_key_bytes(sp->shape.k, d) + head * kv_sealed_value_bytes(sp->shape.v, d);
}

/* The i-th keys that are read when the pages before `page` are done, as the row at pos reads them, or NULL. */
static const void *keys_after(const struct span *sp, int32_t page, int32_t i, int32_t pos)
{
    int32_t kv_head = sp->kv_head;
    if (sp->in_turn && page % CPU_CHUNK_PAGES == 0) {
        kv_head = (kv_head + 1) % sp->s->n_kv_head;
        if (kv_head > 0)
            page = page > CPU_CHUNK_PAGES ? page - CPU_CHUNK_PAGES : 1;
    }
    page += i;
    if (page > pos / KV_PAGE)
        return NULL;
    return keys_of(sp, kv_head, page, page < far_end(sp->table, pos) && sp->table[page].sealed);
}

/* Sets the ranges of rows [from, to) over n_pages from page on; returns their states. */
static struct cpu_attn *set_ranges(const struct span *sp, struct cpu_attn *a, int32_t from, int32_t to, int32_t page,
                                   int32_t n_pages)
{
    struct cpu_attn *first = a + (from - sp->row0) * sp->group;
    for (int32_t i = 0; i < (to - from) * sp->group; i++) {
        int32_t pos = row_pos(sp, from + i / sp->group), n_keys = n_pages * KV_PAGE;
        int32_t key0 = first_key(sp->s, pos) - page * KV_PAGE, key1 = pos + 1 - page * KV_PAGE;
        first[i].key0 = key0 > 0 ? key0 : 0;
        first[i].key1 = key1 < n_keys ? key1 : n_keys;
    }
    return first;
}

/* One open page for rows [from, to), but for those that do not see it. */
static void visit_open(const struct span *sp, struct cpu_attn *a, int32_t from, int32_t to, int32_t page)
{
    const struct step *s = sp->s;
    const struct cpu_vec *vec = &sp->run->placed->b->vec;
    int32_t d = s->d_head;
    while (from < to && row_pos(sp, from) < page * KV_PAGE)    /* positions rise with the row */
        from++;
    while (from < to && first_key(s, row_pos(sp, to - 1)) >= (page + 1) * KV_PAGE)
        to--;
    if (from == to)
        return;
    struct cpu_attn *first = set_ranges(sp, a, from, to, page, 1);
    int32_t n_q = (to - from) * sp->group;
    first[0].ahead = keys_after(sp, page + 1, 0, row_pos(sp, to - 1));
    const void *keys = keys_of(sp, sp->kv_head, page, false), *values = values_of(sp, page, false);
    if (sp->shape.k == KV_F32)
        vec->attn_page_f32(first, n_q, keys, values, d, d, s->cap);
    else
        vec->attn_page_f16(first, n_q, keys, values, d, d, s->cap);
}

/* Far pages [page, end) of one chunk, all of which rows [from, to) see: sealed ones in a row are one call. */
static void visit_far(const struct span *sp, struct cpu_attn *a, int32_t from, int32_t to, int32_t page, int32_t end)
{
    const struct cpu_kv_kern *kv = &sp->run->placed->b->kv;
    while (page < end) {
        struct cpu_kv_pages run = { 0 };
        for (; page + run.n < end && sp->table[page + run.n].sealed; run.n++) {
            run.keys[run.n] = keys_of(sp, sp->kv_head, page + run.n, true);
            run.values[run.n] = values_of(sp, page + run.n, true);
        }
        if (run.n == 0) {
            visit_open(sp, a, from, to, page++);
            continue;
        }
        for (int i = 0; i < 2; i++)
            run.next[i] = keys_after(sp, page + run.n, i, row_pos(sp, to - 1));
        struct cpu_attn *first = set_ranges(sp, a, from, to, page, run.n);
        kv->attend(first, sp->th->queries + (from - sp->row0) * sp->group, (to - from) * sp->group, &run, &sp->shape,
                   sp->s->cap);
        page += run.n;
    }
}

/* Pages of a chunk that the row reads as far ones; none: *begin >= *end. */
static void far_of_chunk(const struct span *sp, int32_t row, int32_t chunk, int32_t *begin, int32_t *end)
{
    int32_t first = chunk * CPU_CHUNK_PAGES, last = first + CPU_CHUNK_PAGES;
    *begin = far_begin(sp->s, row_pos(sp, row));
    *begin = *begin > first ? *begin : first;
    *end = far_end(sp->table, row_pos(sp, row));
    *end = *end < last ? *end : last;
}

/* Rows that see the same pages of the chunk go together, so that what a row computes follows from its position
 * alone. */
static void visit_chunk(const struct span *sp, struct cpu_attn *a, int32_t chunk)
{
    for (int32_t from = sp->row0, to; from < sp->row1; from = to) {
        int32_t begin, end, other_begin = 0, other_end = 0;
        far_of_chunk(sp, from, chunk, &begin, &end);
        for (to = from + 1; to < sp->row1; to++) {
            far_of_chunk(sp, to, chunk, &other_begin, &other_end);
            if (other_begin != begin || other_end != end)
                break;
        }
        visit_far(sp, a, from, to, begin, end);
    }
}

static void visit_near(const struct span *sp, struct cpu_attn *a)
{
    visit_open(sp, a, sp->row0, sp->row1, 0);
    int32_t first = far_end(sp->table, row_pos(sp, sp->row0)), last = row_pos(sp, sp->row1 - 1) / KV_PAGE;
    for (int32_t page = first > 1 ? first : 1; page <= last; page++) {
        int32_t to = sp->row1;
        while (to > sp->row0 && far_end(sp->table, row_pos(sp, to - 1)) > page)
            to--;
        visit_open(sp, a, sp->row0, to, page);
    }
}

/* Joins what a query found far and near, and writes its result. */
static void finish_state(const struct span *sp, int32_t row, int32_t head, struct cpu_attn *near,
                         struct cpu_attn *far)
{
    const struct placed *p = sp->run->placed;
    int32_t d = sp->s->d_head;
    if (far->l > 0) {
        if (kv_type_rotated(sp->shape.v))
            p->b->kv.unrotate(far->o, d);
        p->b->vec.attn_merge(near, far, d);
    }
    float *out = p->attn + ((int64_t)row * sp->s->n_head + head) * d;
    float r = 1.0f / near->l;
    for (int32_t c = 0; c < d; c++)
        out[c] = near->o[c] * r;
}

/* Few rows: an item is a row, a chunk of its far pages or, the first, its near ones, and a KV head. The heads of a
 * chunk follow each other, so that what is read of a page is one stretch of memory. */
static void attend_few(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct batch *batch = run->batch;
    struct cpu_thread *th = &p->threads[thread];
    int32_t group = s->n_head / s->n_kv_head, d = s->d_head;
    int64_t part_floats = (int64_t)group * (d + 2);
    int32_t base[CPU_FEW_ROWS + 1] = { 0 }, n_parts[CPU_FEW_ROWS], chunk0[CPU_FEW_ROWS];
    for (int32_t row = 0; row < batch->n_rows; row++) {
        struct span sp = span_of(run, s, th, 0, row, row + 1);
        int32_t pos = row_pos(&sp, row), begin = far_begin(s, pos), end = far_end(sp.table, pos);
        chunk0[row] = begin / CPU_CHUNK_PAGES;
        n_parts[row] = 1 + (begin < end ? (end - 1) / CPU_CHUNK_PAGES - chunk0[row] + 1 : 0);
        base[row + 1] = base[row] + n_parts[row] * s->n_kv_head;
    }
    int32_t begin, end, row = 0;
    pool_share(base[batch->n_rows], 1, thread, n_threads, &begin, &end);
    for (int32_t item = begin; item < end && !cpu_cancelled(run); item++) {
        while (item >= base[row + 1])
            row++;
        struct span sp = span_of(run, s, th, (item - base[row]) % s->n_kv_head, row, row + 1);
        int32_t i = (item - base[row]) / s->n_kv_head;
        sp.in_turn = true;
        float *part = p->parts + item * part_floats;
        struct cpu_attn *a = th->attn[0];
        start_states(&sp, a, part + 2 * group);
        if (i == 0)
            visit_near(&sp, a);
        else
            visit_chunk(&sp, a, chunk0[row] + i - 1);
        for (int32_t g = 0; g < group; g++) {
            part[2 * g] = a[g].m;
            part[2 * g + 1] = a[g].l;
        }
    }
    pool_barrier(p->b->pool);

    pool_share(batch->n_rows * s->n_kv_head, 1, thread, n_threads, &begin, &end);
    for (int32_t item = begin; item < end; item++) {
        int32_t r = item / s->n_kv_head, kv_head = item % s->n_kv_head;
        struct span sp = span_of(run, s, th, kv_head, r, r + 1);
        float *parts = p->parts + (base[r] + kv_head) * part_floats;
        struct cpu_attn *far = th->attn[0];
        start_states(&sp, far, th->attn_o);
        for (int32_t g = 0; g < group; g++) {
            struct cpu_attn near = { 0 };
            for (int32_t i = 0; i < n_parts[r]; i++) {
                float *part = parts + i * s->n_kv_head * part_floats;
                struct cpu_attn b = { .o = part + 2 * group + (int64_t)g * d, .m = part[2 * g], .l = part[2 * g + 1] };
                if (i == 0)
                    near = b;
                else
                    p->b->vec.attn_merge(&far[g], &b, d);
            }
            finish_state(&sp, r, kv_head * group + g, &near, &far[g]);
        }
    }
}

/* Many rows: an item is a block of rows of one sequence and a KV head. Items are dealt out in turn, since
 * later rows see more keys. */
static void attend_block(const struct span *sp)
{
    struct cpu_thread *th = sp->th;
    const struct placed *p = sp->run->placed;
    int32_t d = sp->s->d_head, n_q = (sp->row1 - sp->row0) * sp->group;
    int64_t floats = (int64_t)CPU_ATTN_QUERIES * d;
    struct cpu_attn *near = th->attn[0], *far = th->attn[1], *part = th->attn[2];
    start_states(sp, far, th->attn_o + floats);
    int32_t last = row_pos(sp, sp->row1 - 1);
    int32_t begin = far_begin(sp->s, row_pos(sp, sp->row0)), end = far_end(sp->table, last);
    for (int32_t chunk = begin / CPU_CHUNK_PAGES; chunk * CPU_CHUNK_PAGES < end && begin < end; chunk++) {
        if (cpu_cancelled(sp->run))
            return;
        start_states(sp, part, th->attn_o + 2 * floats);
        visit_chunk(sp, part, chunk);
        for (int32_t i = 0; i < n_q; i++)
            if (part[i].l > 0)    /* a row that saw no key of the chunk has no partial result */
                p->b->vec.attn_merge(&far[i], &part[i], d);
    }
    start_states(sp, near, th->attn_o);
    visit_near(sp, near);
    for (int32_t i = 0; i < n_q; i++)
        finish_state(sp, sp->row0 + i / sp->group, sp->kv_head * sp->group + i % sp->group, &near[i], &far[i]);
}

static void attend_many(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    const struct batch *batch = run->batch;
    int32_t group = s->n_head / s->n_kv_head, item = 0;
    int32_t block = CPU_ATTN_QUERIES / group > 0 ? CPU_ATTN_QUERIES / group : 1;
    for (int32_t row0 = 0, row1; row0 < batch->n_rows; row0 = row1) {
        row1 = row0 + 1;
        while (row1 < batch->n_rows && row1 - row0 < block && batch->rows[row1].pages == batch->rows[row0].pages)
            row1++;
        for (int32_t kv_head = 0; kv_head < s->n_kv_head; kv_head++)
            if (item++ % n_threads == thread && !cpu_cancelled(run)) {
                struct span sp = span_of(run, s, &p->threads[thread], kv_head, row0, row1);
                attend_block(&sp);
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
