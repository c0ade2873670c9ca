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
 * All query heads of a KV head go together, and the rows of a sequence: a key is read from memory once for all of
 * them. What a call of the kernels reads is asked for during the call before, as far as both go over as many pages. */
#include "engine/cpu/cpu_run.h"

#include <math.h>
#include <string.h>

/* One layer's attention in one batch, for one KV head and the rows [row0, row1) of one sequence. Parts are chunks
 * from chunk0 on, n_chunks of them, and the near pages, last. */
struct span {
    const struct cpu_run *run;
    const struct step *s;
    struct cpu_thread *th;
    const struct kv_page *table;    /* of the layer */
    struct cpu_kv_shape shape;
    size_t side_bytes[2][2];        /* [sealed][values]: of one head in a page */
    int32_t kv_head, row0, row1, group;
    int32_t far0, far1;             /* pages that any of the rows reads as far ones */
    int32_t chunk0, n_chunks;
    bool in_turn;                   /* after a part comes the same of the next head, not the head's next */
};

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

static int32_t last_pos(const struct span *sp)
{
    return row_pos(sp, sp->row1 - 1);
}

/* The rows from row0 on, up to end, that a kernel takes in one call. */
static struct span span_of(const struct cpu_run *run, const struct step *s, struct cpu_thread *th, int32_t row0,
                           int32_t end)
{
    const struct batch *batch = run->batch;
    const struct kv_layer *l = &batch->kv[s->layer];
    int32_t d = s->d_head, group = s->n_head / s->n_kv_head, row1 = row0 + 1;
    int32_t most = CPU_ATTN_QUERIES / group;    /* at least 1: cpu_place() */
    while (row1 < end && row1 - row0 < most && batch->rows[row1].pages == batch->rows[row0].pages)
        row1++;
    struct span sp = { .run = run, .s = s, .th = th,
                       .table = batch->rows[row0].pages + (int64_t)s->layer * batch->table_stride,
                       .shape = { l->k, l->v, d }, .row0 = row0, .row1 = row1, .group = group };
    sp.side_bytes[0][0] = sp.side_bytes[0][1] = (size_t)d * KV_PAGE * (l->k == KV_F32 ? 4 : 2);
    sp.side_bytes[1][0] = kv_sealed_key_bytes(l->k, d);
    sp.side_bytes[1][1] = kv_sealed_value_bytes(l->v, d);
    sp.far0 = far_begin(s, row_pos(&sp, row0));
    sp.far1 = far_end(sp.table, last_pos(&sp));
    sp.chunk0 = sp.far0 / CPU_CHUNK_PAGES;
    sp.n_chunks = sp.far0 < sp.far1 ? (sp.far1 - 1) / CPU_CHUNK_PAGES - sp.chunk0 + 1 : 0;
    return sp;
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

/* A head's keys or values in a page; at NULL: not there in this form. */
static struct cpu_ahead side_of(const struct span *sp, int32_t kv_head, int32_t page, bool sealed, bool values)
{
    const char *bytes = sealed ? sp->table[page].sealed : sp->table[page].open;
    size_t n_bytes = sp->side_bytes[sealed][values];
    if (!bytes)
        return (struct cpu_ahead){ 0 };
    if (values)
        bytes += (size_t)sp->s->n_kv_head * sp->side_bytes[sealed][0];
    return (struct cpu_ahead){ bytes + (size_t)kv_head * n_bytes, n_bytes };
}

static const void *keys_of(const struct span *sp, int32_t page, bool sealed)
{
    return side_of(sp, sp->kv_head, page, sealed, false).at;
}

static const void *values_of(const struct span *sp, int32_t page, bool sealed)
{
    return side_of(sp, sp->kv_head, page, sealed, true).at;
}

/* For hints: the first page of a part as the last row reads it, and the one after a page; -1: there is none. */
static int32_t first_page(const struct span *sp, int32_t part)
{
    int32_t first = (sp->chunk0 + part) * CPU_CHUNK_PAGES;
    if (part < sp->n_chunks)
        return first > sp->far0 ? first : sp->far0;
    if (part > sp->n_chunks)
        return -1;
    return first_key(sp->s, last_pos(sp)) < KV_PAGE ? 0 : sp->far1;
}

static int32_t page_after(const struct span *sp, int32_t part, int32_t page)
{
    int32_t end = last_pos(sp) / KV_PAGE + 1;
    if (part < sp->n_chunks) {
        int32_t next = (sp->chunk0 + part + 1) * CPU_CHUNK_PAGES;
        end = next < sp->far1 ? next : sp->far1;
    } else if (page == 0 && sp->far1 > 1) {
        page = sp->far1 - 1;
    }
    return page + 1 < end ? page + 1 : -1;
}

/* What is read after a page of a part: keys and values of n pages. */
static void look_ahead(const struct span *sp, struct cpu_ahead *ahead, int32_t part, int32_t page, int32_t n)
{
    int32_t kv_head = sp->kv_head;
    for (int32_t i = 0; i < n; i++) {
        page = page_after(sp, part, page);
        if (page < 0) {
            kv_head = sp->in_turn ? (kv_head + 1) % sp->s->n_kv_head : kv_head;
            part += !sp->in_turn || kv_head == 0;
            page = first_page(sp, part);
        }
        if (page < 0)
            return;
        bool sealed = part < sp->n_chunks && sp->table[page].sealed;
        ahead[2 * i] = side_of(sp, kv_head, page, sealed, false);
        ahead[2 * i + 1] = side_of(sp, kv_head, page, sealed, true);
    }
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
static void visit_open(const struct span *sp, struct cpu_attn *a, int32_t from, int32_t to, int32_t part, int32_t page)
{
    const struct step *s = sp->s;
    const struct cpu_vec *vec = &sp->run->placed->b->vec;
    struct cpu_ahead ahead[2] = { 0 };
    int32_t d = s->d_head;
    while (from < to && row_pos(sp, from) < page * KV_PAGE)    /* positions rise with the row */
        from++;
    while (from < to && first_key(s, row_pos(sp, to - 1)) >= (page + 1) * KV_PAGE)
        to--;
    if (from == to)
        return;
    struct cpu_attn *first = set_ranges(sp, a, from, to, page, 1);
    int32_t n_q = (to - from) * sp->group;
    look_ahead(sp, ahead, part, page, 1);
    const void *keys = keys_of(sp, page, false), *values = values_of(sp, page, false);
    if (sp->shape.k == KV_F32)
        vec->attn_page_f32(first, n_q, keys, values, ahead, d, d, s->cap);
    else
        vec->attn_page_f16(first, n_q, keys, values, ahead, d, d, s->cap);
}

/* Far pages [begin, end) of a part, all of which rows [from, to) see: sealed ones in a row are one call. */
static void visit_far(const struct span *sp, struct cpu_attn *a, int32_t from, int32_t to, int32_t part,
                      int32_t begin, int32_t end)
{
    const struct cpu_kv_kern *kv = &sp->run->placed->b->kv;
    for (int32_t page = begin; page < end;) {
        struct cpu_kv_pages run = { 0 };
        for (; page + run.n < end && sp->table[page + run.n].sealed; run.n++) {
            run.keys[run.n] = keys_of(sp, page + run.n, true);
            run.values[run.n] = values_of(sp, page + run.n, true);
        }
        if (run.n == 0) {
            visit_open(sp, a, from, to, part, page++);
            continue;
        }
        look_ahead(sp, run.ahead, part, page + run.n - 1, run.n);
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
static void visit_chunk(const struct span *sp, struct cpu_attn *a, int32_t part)
{
    int32_t chunk = sp->chunk0 + part;
    for (int32_t from = sp->row0, to; from < sp->row1; from = to) {
        int32_t begin, end, other_begin = 0, other_end = 0;
        far_of_chunk(sp, from, chunk, &begin, &end);
        for (to = from + 1; to < sp->row1; to++) {
            far_of_chunk(sp, to, chunk, &other_begin, &other_end);
            if (other_begin != begin || other_end != end)
                break;
        }
        visit_far(sp, a, from, to, part, begin, end);
    }
}

static void visit_near(const struct span *sp, struct cpu_attn *a)
{
    int32_t first = far_end(sp->table, row_pos(sp, sp->row0)), last = last_pos(sp) / KV_PAGE;
    visit_open(sp, a, sp->row0, sp->row1, sp->n_chunks, 0);
    for (int32_t page = first > 1 ? first : 1; page <= last; page++) {
        int32_t to = sp->row1;
        while (to > sp->row0 && far_end(sp->table, row_pos(sp, to - 1)) > page)
            to--;
        visit_open(sp, a, sp->row0, to, sp->n_chunks, page);
    }
}

static void visit_part(const struct span *sp, struct cpu_attn *a, int32_t part)
{
    if (part < sp->n_chunks)
        visit_chunk(sp, a, part);
    else
        visit_near(sp, a);
}

/* Joins what a query found far and near, and its head's sink, which is one more key found; writes its result. far is
 * used up. */
static void finish_state(const struct span *sp, int32_t row, int32_t head, struct cpu_attn *near,
                         struct cpu_attn *far)
{
    const struct placed *p = sp->run->placed;
    int32_t d = sp->s->d_head;
    if (far->m != -INFINITY) {
        if (kv_type_rotated(sp->shape.v))
            p->b->kv.unrotate(far->o, d);
        p->b->vec.attn_merge(near, far, d);
    }
    if (sp->s->sinks) {
        memset(far->o, 0, (size_t)d * sizeof *far->o);
        far->m = sp->s->sinks[head];
        far->l = 1;
        p->b->vec.attn_merge(near, far, d);
    }
    float *out = p->attn + ((int64_t)row * sp->s->n_head + head) * d;
    float r = 1.0f / near->l;
    for (int32_t c = 0; c < d; c++)
        out[c] = near->o[c] * r;
}

/* What a part costs, about: the bytes it reads. Near are the first page, the row's and the one before. */
static int64_t part_cost(const struct span *sp, int32_t part)
{
    bool sealed = part < sp->n_chunks && sp->table[sp->far0].sealed;
    int32_t n_pages = part < sp->n_chunks ? CPU_CHUNK_PAGES : 3;
    return n_pages * (int64_t)(sp->side_bytes[sealed][0] + sp->side_bytes[sealed][1]);
}

/* The partial results of few rows, in placed->parts: for each part and KV head of each span m and l of the queries
 * [row][group], then their outputs. */
struct partial {
    float *ml, *o;
};

static struct partial partial_of(const struct span *sp, float *parts, int32_t part, int32_t kv_head)
{
    int64_t n_q = (int64_t)(sp->row1 - sp->row0) * sp->group;
    float *at = parts + ((int64_t)part * sp->s->n_kv_head + kv_head) * n_q * (sp->s->d_head + 2);
    return (struct partial){ at, at + 2 * n_q };
}

static int64_t partial_floats(const struct span *sp)
{
    return (int64_t)(sp->n_chunks + 1) * (sp->row1 - sp->row0) * sp->s->n_head * (sp->s->d_head + 2);
}

static void attend_part(struct span *sp, float *parts, int32_t part, int32_t kv_head)
{
    struct partial result = partial_of(sp, parts, part, kv_head);
    struct cpu_attn *a = sp->th->attn[0];
    sp->kv_head = kv_head;
    start_states(sp, a, result.o);
    visit_part(sp, a, part);
    for (int32_t i = 0; i < (sp->row1 - sp->row0) * sp->group; i++) {
        result.ml[2 * i] = a[i].m;
        result.ml[2 * i + 1] = a[i].l;
    }
}

/* Heads [begin, end) of one row. The heads take turns, part by part: one waits for nothing that another computes. */
static void merge_parts(const struct span *sp, float *parts, int32_t row, int32_t begin, int32_t end)
{
    const struct cpu_vec *vec = &sp->run->placed->b->vec;
    struct cpu_attn *far = sp->th->attn[0];
    int32_t d = sp->s->d_head;
    memset(sp->th->attn_o, 0, (size_t)(end - begin) * (size_t)d * sizeof(float));
    for (int32_t head = begin; head < end; head++)
        far[head - begin] = (struct cpu_attn){ .o = sp->th->attn_o + (int64_t)(head - begin) * d, .m = -INFINITY };
    for (int32_t part = 0; part <= sp->n_chunks; part++)
        for (int32_t head = begin; head < end; head++) {
            struct partial result = partial_of(sp, parts, part, head / sp->group);
            int32_t i = (row - sp->row0) * sp->group + head % sp->group;
            struct cpu_attn b = { .o = result.o + (int64_t)i * d, .m = result.ml[2 * i], .l = result.ml[2 * i + 1] };
            if (part == sp->n_chunks)
                finish_state(sp, row, head, &b, &far[head - begin]);
            else
                vec->attn_merge(&far[head - begin], &b, d);
        }
}

/* The parts of a span whose middle lies in [share0, share1) of the cost, of which `before` comes before the span. */
static void attend_share(struct span *sp, float *parts, int64_t before, int64_t share0, int64_t share1)
{
    for (int32_t part = 0; part <= sp->n_chunks; part++) {
        int64_t own = part_cost(sp, part);
        for (int32_t head = 0; head < sp->s->n_kv_head; head++, before += own)
            if (before + own / 2 >= share0 && before + own / 2 < share1 && !cpu_cancelled(sp->run))
                attend_part(sp, parts, part, head);
    }
}

/* Few rows: an item is a part of a sequence's rows and a KV head. Heads of a part follow each other, so that what is
 * read of a page is one stretch of memory. */
static void attend_few(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    struct span spans[CPU_PARTS_ROWS];
    float *parts[CPU_PARTS_ROWS + 1] = { p->parts };
    int64_t before[CPU_PARTS_ROWS + 1] = { 0 };
    int32_t n_spans = 0, n_rows = run->batch->n_rows;
    for (int32_t row = 0; row < n_rows; row = spans[n_spans++].row1) {
        struct span *sp = &spans[n_spans];
        *sp = span_of(run, s, &p->threads[thread], row, n_rows);
        sp->in_turn = true;
        parts[n_spans + 1] = parts[n_spans] + partial_floats(sp);
        before[n_spans + 1] =
            before[n_spans] + s->n_kv_head * (sp->n_chunks * part_cost(sp, 0) + part_cost(sp, sp->n_chunks));
    }
    int64_t share0 = before[n_spans] * thread / n_threads, share1 = before[n_spans] * (thread + 1) / n_threads;
    for (int32_t i = 0; i < n_spans; i++)
        attend_share(&spans[i], parts[i], before[i], share0, share1);
    pool_barrier(p->b->pool);

    int32_t begin, end;
    pool_share(n_rows * s->n_head, 1, thread, n_threads, &begin, &end);
    for (int32_t i = 0, to; begin < end; begin = to) {
        int32_t row = begin / s->n_head, head = begin % s->n_head, n = s->n_head - head;
        while (row >= spans[i].row1)
            i++;
        n = n < CPU_ATTN_QUERIES ? n : CPU_ATTN_QUERIES;
        to = begin + n < end ? begin + n : end;
        merge_parts(&spans[i], parts[i], row, head, head + to - begin);
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
    for (int32_t i = 0; i < sp->n_chunks; i++) {
        if (cpu_cancelled(sp->run))
            return;
        start_states(sp, part, th->attn_o + 2 * floats);
        visit_part(sp, part, i);
        for (int32_t q = 0; q < n_q; q++)
            p->b->vec.attn_merge(&far[q], &part[q], d);
    }
    start_states(sp, near, th->attn_o);
    visit_part(sp, near, sp->n_chunks);
    for (int32_t i = 0; i < n_q; i++)
        finish_state(sp, sp->row0 + i / sp->group, sp->kv_head * sp->group + i % sp->group, &near[i], &far[i]);
}

static void attend_many(struct cpu_run *run, const struct step *s, int32_t thread, int32_t n_threads)
{
    struct placed *p = run->placed;
    int32_t item = 0, n_rows = run->batch->n_rows;
    for (int32_t row = 0; row < n_rows;) {
        struct span sp = span_of(run, s, &p->threads[thread], row, n_rows);
        for (sp.kv_head = 0; sp.kv_head < s->n_kv_head; sp.kv_head++)
            if (item++ % n_threads == thread && !cpu_cancelled(run))
                attend_block(&sp);
        row = sp.row1;
    }
}

void cpu_attend(struct cpu_run *run, const struct step *step, int32_t thread, int32_t n_threads)
{
    if (run->batch->n_rows <= CPU_PARTS_ROWS)
        attend_few(run, step, thread, n_threads);
    else
        attend_many(run, step, thread, n_threads);
}
