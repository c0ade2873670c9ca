/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/cpu/cpu_kv.h"
#include "engine/quant/f16.h"
#include "engine/vulkan/vulkan_attend.h"
#include "shaders/include/table.h"
#include "tests/kernel/kv_unpack.h"
#include "tests/support/vulkan_rig.h"

/* Norm, RoPE and storing, then attention over pages, held against plain loops in double over the bytes of the pages. */

enum { MAX_SEQS = 2, MAX_PAGES = 24, MAX_ROWS = 20, LAYER = 1, N_LAYERS = 2, COS_SIN_AT = 6 };

/* A layer, sequences with their pages, and where all of it lies on the device. */
struct world {
    struct vulkan_rig rig;
    struct test *t;
    struct step step;
    struct kv_layer kv;
    struct rope rope;
    double freq[KV_MAX_HEAD / 2];
    float q_norm[KV_MAX_HEAD], k_norm[KV_MAX_HEAD];
    unsigned char *arena;                /* the device's pages, as they were last read */
    size_t page_bytes, open_bytes;       /* of both forms, the open one first */
    struct vulkan_buf pages;
    bool open[MAX_SEQS][MAX_PAGES], sealed[MAX_SEQS][MAX_PAGES];
    int slice_rows;
};

/* Rows of a batch with their products, and what became of them. */
struct rows {
    int n, seq[MAX_ROWS], pos[MAX_ROWS];
    float *q, *k, *v;       /* as they come from the products */
    float *q_done, *out;
};

static unsigned char *page_at(const struct world *w, int seq, int page, bool sealed)
{
    return w->arena + (size_t)(seq * MAX_PAGES + page) * w->page_bytes + (sealed ? w->open_bytes : 0);
}

/* Nothing is there yet; every number of a page is NaN. */
static void world_open(struct world *w, struct test *t, struct kv_layer kv, int ratio)
{
    *w = (struct world){ .t = t, .kv = kv, .slice_rows = MAX_ROWS };
    vulkan_rig_open(&w->rig, t);
    w->step = (struct step){ .layer = LAYER, .eps = 1e-5f, .scale = 1, .n_head = kv.n_head * ratio,
                             .n_kv_head = kv.n_head, .d_head = kv.d_head, .rope = -1, .window = kv.window };
    w->open_bytes = kv_open_bytes(&kv);
    w->page_bytes = w->open_bytes + kv_sealed_bytes(&kv);
    w->arena = kv_need(w->page_bytes * MAX_SEQS * MAX_PAGES);
    memset(w->arena, 0xff, w->page_bytes * MAX_SEQS * MAX_PAGES);
    w->pages = vulkan_rig_buf(&w->rig, w->arena, w->page_bytes * MAX_SEQS * MAX_PAGES);
}

static void world_close(struct world *w)
{
    vulkan_buf_destroy(w->rig.d, &w->pages);
    vulkan_rig_close(&w->rig);
    free(w->arena);
}

static void world_upload(struct world *w)
{
    struct err e;
    CHECK(w->t, vulkan_write(w->rig.d, &w->pages, 0, w->arena, w->page_bytes * MAX_SEQS * MAX_PAGES, &e) == ERR_OK);
}

/* Sets the number of an open page at element i. */
static void open_put(const struct world *w, unsigned char *page, size_t i, float x)
{
    uint16_t half = f16_from_f32(x);
    if (w->kv.k == KV_F32)
        memcpy(page + i * 4, &x, 4);
    else
        memcpy(page + i * 2, &half, 2);
}

static double open_get(const struct world *w, const unsigned char *page, size_t i)
{
    float x;
    if (w->kv.k != KV_F32)
        return kv_f16_at(page, (int)i);
    memcpy(&x, page + i * 4, 4);
    return x;
}

static size_t key_at(const struct world *w, int head, int c, int slot)
{
    return ((size_t)head * (size_t)w->kv.d_head + (size_t)c) * KV_PAGE + (size_t)slot;
}

static size_t value_at(const struct world *w, int head, int c, int slot)
{
    return ((size_t)(w->kv.n_head + head) * KV_PAGE + (size_t)slot) * (size_t)w->kv.d_head + (size_t)c;
}

/* Keys and values of the first n_keys tokens of a sequence, keys with a constant part; room for max_keys. */
static void fill(struct world *w, int seq, int n_keys, int max_keys)
{
    for (int page = 0; page * KV_PAGE < max_keys; page++)
        w->open[seq][page] = true;
    for (int key = 0; key < n_keys; key++)
        for (int head = 0; head < w->kv.n_head; head++)
            for (int c = 0; c < w->kv.d_head; c++) {
                unsigned char *page = page_at(w, seq, key / KV_PAGE, false);
                open_put(w, page, key_at(w, head, c, key % KV_PAGE), test_normal(w->t) + (c % 7 == 3 ? 2 : 0));
                open_put(w, page, value_at(w, head, c, key % KV_PAGE), test_normal(w->t));
            }
}

/* Makes the sealed form of a full page. */
static void seal(struct world *w, int seq, int page)
{
    const struct kv_layer *l = &w->kv;
    const struct cpu_kv_shape shape = { l->k, l->v, l->d_head };
    size_t key_bytes = kv_sealed_key_bytes(l->k, l->d_head), value_bytes = kv_sealed_value_bytes(l->v, l->d_head);
    size_t head_bytes = (size_t)l->d_head * KV_PAGE * 2, n_head = (size_t)l->n_head;
    float *scratch = kv_need(cpu_kv_seal_floats(l->d_head) * sizeof *scratch);
    void *keys = kv_need(key_bytes), *values = kv_need(value_bytes), *open = kv_need(2 * head_bytes);
    unsigned char *from = page_at(w, seq, page, false), *to = page_at(w, seq, page, true);
    struct cpu_kv_kern kern;
    cpu_kv_init(&kern, 0, false);
    for (size_t head = 0; head < n_head; head++) {
        memcpy(open, from + head * head_bytes, head_bytes);
        memcpy((char *)open + head_bytes, from + (n_head + head) * head_bytes, head_bytes);
        kern.seal(keys, values, open, (const uint16_t *)open + head_bytes / 2, &shape, scratch);
        memcpy(to + head * key_bytes, keys, key_bytes);
        memcpy(to + n_head * key_bytes + head * value_bytes, values, value_bytes);
    }
    w->sealed[seq][page] = true;
    free(scratch);
    free(keys);
    free(values);
    free(open);
}

static void drop(struct world *w, int seq, int page, bool sealed)
{
    (sealed ? w->sealed : w->open)[seq][page] = false;
    memset(page_at(w, seq, page, sealed), 0xff, sealed ? w->page_bytes - w->open_bytes : w->open_bytes);
}

static float *random_floats(struct test *t, size_t n, float size)
{
    float *x = kv_need(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = test_normal(t) * size;
    return x;
}

static void rows_init(struct world *w, struct rows *r, int n)
{
    size_t n_q = (size_t)w->step.n_head * (size_t)w->kv.d_head, n_kv = (size_t)w->kv.n_head * (size_t)w->kv.d_head;
    CHECK(w->t, n <= MAX_ROWS);
    *r = (struct rows){ .n = n };
    r->q = random_floats(w->t, n_q * (size_t)n, 2 / sqrtf((float)w->kv.d_head));
    r->k = random_floats(w->t, n_kv * (size_t)n, 1);
    r->v = random_floats(w->t, n_kv * (size_t)n, 1);
    r->q_done = kv_need(n_q * (size_t)n * sizeof(float));
    r->out = kv_need(n_q * (size_t)n * sizeof(float));
}

static void rows_finish(struct rows *r)
{
    free(r->q);
    free(r->k);
    free(r->v);
    free(r->q_done);
    free(r->out);
}

/* ---- on the device -------------------------------------------------------------------------------------- */

static struct vulkan_buf table_buf(struct world *w)
{
    struct table_page table[MAX_SEQS * N_LAYERS * MAX_PAGES];
    memset(table, 0xff, sizeof table);
    for (int seq = 0; seq < MAX_SEQS; seq++)
        for (int page = 0; page < MAX_PAGES; page++) {
            uint64_t at = w->pages.address + (uint64_t)(seq * MAX_PAGES + page) * w->page_bytes;
            uint64_t open = w->open[seq][page] ? at : 0, sealed = w->sealed[seq][page] ? at + w->open_bytes : 0;
            table[(seq * N_LAYERS + LAYER) * MAX_PAGES + page] = (struct table_page){
                { (uint32_t)open, (uint32_t)(open >> 32) }, { (uint32_t)sealed, (uint32_t)(sealed >> 32) } };
        }
    return vulkan_rig_buf(&w->rig, table, sizeof table);
}

static struct vulkan_buf rows_buf(struct world *w, const struct rows *r, int from, int n)
{
    struct table_row rows[MAX_ROWS] = { 0 };
    for (int i = 0; i < n; i++)
        rows[i] = (struct table_row){ .pos = (uint32_t)r->pos[from + i],
                                      .table = (uint32_t)(r->seq[from + i] * N_LAYERS * MAX_PAGES) };
    return vulkan_rig_buf(&w->rig, rows, (size_t)n * sizeof *rows);
}

/* As embed() of cpu_steps.c has them. */
static struct vulkan_buf cos_sin_buf(struct world *w, const struct rows *r, int from, int n)
{
    float cs[COS_SIN_AT + MAX_ROWS * KV_MAX_HEAD] = { 0 };
    for (int i = 0; i < n; i++)
        for (int pair = 0; pair < w->rope.n_rot / 2; pair++) {
            double angle = r->pos[from + i] * w->freq[pair];
            float *at = cs + COS_SIN_AT + i * KV_MAX_HEAD + 2 * pair;
            at[0] = (float)(cos(angle) * (double)w->rope.magnitude);
            at[1] = (float)(sin(angle) * (double)w->rope.magnitude);
        }
    return vulkan_rig_buf(&w->rig, cs, sizeof cs);
}

static void submit(struct world *w, struct vulkan_recording *r)
{
    struct err e = { 0 };
    uint64_t value;
    CHECK(w->t, vulkan_record_end(r, &e) == ERR_OK, "%s", e.text);
    CHECK(w->t, vulkan_submit(w->rig.d, &r->cmd, 1, &value, &e) == ERR_OK, "%s", e.text);
    CHECK(w->t, vulkan_wait(w->rig.d, value, &e) == ERR_OK, "%s", e.text);
    vulkan_recording_destroy(r);
}

/* Rows [from, from + n) in one batch: what lies between the products. */
static void run(struct world *w, struct rows *r, int from, int n)
{
    struct vulkan_rig *rig = &w->rig;
    size_t n_q = (size_t)w->step.n_head * (size_t)w->kv.d_head * sizeof(float);
    size_t n_kv = (size_t)w->kv.n_head * (size_t)w->kv.d_head * sizeof(float);
    int n_parts = 1;
    for (int i = from; i < from + n; i++) {
        int parts = vulkan_attend_parts(r->pos[i], w->kv.window);
        n_parts = parts > n_parts ? parts : n_parts;
    }
    struct vulkan_attention a = { .kv = &w->kv, .rope = w->rope.n_rot > 0 ? &w->rope : NULL, .cos_sin_at = COS_SIN_AT,
                                  .cos_sin_stride = KV_MAX_HEAD, .table_stride = MAX_PAGES, .n_rows = n,
                                  .slice_rows = w->slice_rows, .max_parts = n_parts + 1 };
    float gains[2 * KV_MAX_HEAD];
    memcpy(gains, w->q_norm, (size_t)w->kv.d_head * sizeof *gains);
    memcpy(gains + w->kv.d_head, w->k_norm, (size_t)w->kv.d_head * sizeof *gains);
    uint32_t counts[3];
    vulkan_attend_counts(counts, &w->step, &a, n_parts);
    struct vulkan_buf bufs[] = {
        vulkan_rig_buf(rig, r->q + (size_t)from * n_q / 4, (size_t)n * n_q),
        vulkan_rig_buf(rig, r->k + (size_t)from * n_kv / 4, (size_t)n * n_kv),
        vulkan_rig_buf(rig, r->v + (size_t)from * n_kv / 4, (size_t)n * n_kv),
        vulkan_rig_buf(rig, NULL, (size_t)n * n_q),
        vulkan_rig_buf(rig, NULL, (size_t)n * n_q),
        vulkan_rig_buf(rig, gains, sizeof gains),
        cos_sin_buf(w, r, from, n),
        rows_buf(w, r, from, n),
        table_buf(w),
        vulkan_rig_buf(rig, NULL, vulkan_attend_scratch_bytes(&w->step, w->slice_rows, a.max_parts)),
        vulkan_rig_buf(rig, counts, sizeof counts),
    };
    a.q = vulkan_all(&bufs[0]);
    a.k = vulkan_all(&bufs[1]);
    a.v = vulkan_all(&bufs[2]);
    a.turned = vulkan_all(&bufs[3]);
    a.out = vulkan_all(&bufs[4]);
    a.gains = vulkan_all(&bufs[5]);
    a.cos_sin = vulkan_all(&bufs[6]);
    a.rows = vulkan_all(&bufs[7]);
    a.table = vulkan_all(&bufs[8]);
    a.scratch = vulkan_all(&bufs[9]);
    a.counts = &bufs[10];
    struct vulkan_recording rec;
    struct err e;
    CHECK(w->t, vulkan_record_begin(&rec, rig->d, &e) == ERR_OK, "%s", e.text);
    vulkan_record_attn_in(&rec, &w->step, &a);
    vulkan_record_barrier(&rec);
    vulkan_record_attend(&rec, &w->step, &a);
    submit(w, &rec);
    vulkan_rig_read(rig, r->q_done + (size_t)from * n_q / 4, &bufs[0], (size_t)n * n_q);
    vulkan_rig_read(rig, r->out + (size_t)from * n_q / 4, &bufs[4], (size_t)n * n_q);
    vulkan_rig_read(rig, w->arena, &w->pages, w->page_bytes * MAX_SEQS * MAX_PAGES);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        vulkan_buf_destroy(rig->d, &bufs[i]);
}

/* ---- in double ------------------------------------------------------------------------------------------ */

/* Norm, RoPE and scale of one head. */
static void finish_head(const struct world *w, double *x, const float *from, const float *gain, int pos, double scale)
{
    int d = w->kv.d_head, n_rot = w->rope.n_rot;
    double sum = 0;
    for (int c = 0; c < d; c++)
        sum += (double)from[c] * (double)from[c];
    for (int c = 0; c < d; c++)
        x[c] = gain ? (double)from[c] / sqrt(sum / d + (double)w->step.eps) * (double)gain[c] : (double)from[c];
    for (int i = 0; i < n_rot / 2; i++) {
        int at = w->rope.halves ? i : 2 * i, to = w->rope.halves ? i + n_rot / 2 : 2 * i + 1;
        double angle = pos * w->freq[i], a = x[at], b = x[to];
        x[at] = (a * cos(angle) - b * sin(angle)) * (double)w->rope.magnitude;
        x[to] = (a * sin(angle) + b * cos(angle)) * (double)w->rope.magnitude;
    }
    for (int c = 0; c < d; c++)
        x[c] *= scale;
}

/* The form in which a row reads a page. */
static bool reads_sealed(const struct world *w, int seq, int pos, int page)
{
    bool open = kv_reads_open(pos, page);
    return open ? !w->open[seq][page] : w->sealed[seq][page];
}

struct softmax {
    double m, l, open[KV_MAX_HEAD], sealed[KV_MAX_HEAD];    /* sums of values by form */
};

static void softmax_add(struct softmax *s, double score, const double *value, int d, bool sealed)
{
    double m = fmax(s->m, score), f = exp(s->m - m), p = exp(score - m);
    s->m = m;
    s->l = s->l * f + p;
    for (int c = 0; c < d; c++) {
        s->open[c] = s->open[c] * f + (sealed ? 0 : p * value[c]);
        s->sealed[c] = s->sealed[c] * f + (sealed ? p * value[c] : 0);
    }
}

static void attend_page(const struct world *w, struct softmax *s, const double *q, const double *turned, int seq,
                        int page, int kv_head, int key0, int key1)
{
    static struct kv_plain keys, values;    /* 1 MiB: too much for a stack */
    const struct kv_layer *l = &w->kv;
    int d = l->d_head;
    unsigned char *open = page_at(w, seq, page, false), *at = page_at(w, seq, page, true);
    bool sealed = reads_sealed(w, seq, key1 - 1, page);
    if (sealed) {
        size_t key_bytes = kv_sealed_key_bytes(l->k, d), value_bytes = kv_sealed_value_bytes(l->v, d);
        kv_unpack(&keys, at + (size_t)kv_head * key_bytes, l->k, d, true);
        kv_unpack(&values, at + (size_t)l->n_head * key_bytes + (size_t)kv_head * value_bytes, l->v, d, false);
    }
    for (int key = page * KV_PAGE; key < (page + 1) * KV_PAGE; key++) {
        double score = 0, value[KV_MAX_HEAD];
        int slot = key % KV_PAGE;
        if (key < key0 || key >= key1)
            continue;
        for (int c = 0; c < d; c++) {
            score += sealed ? turned[c] * keys.x[c][slot] : q[c] * open_get(w, open, key_at(w, kv_head, c, slot));
            value[c] = sealed ? values.x[c][slot] : open_get(w, open, value_at(w, kv_head, c, slot));
        }
        if (w->step.cap != 0)
            score = (double)w->step.cap * tanh(score / (double)w->step.cap);
        softmax_add(s, score, value, d, sealed);
    }
}

/* Attention of one head of one row, from the query as the device has it. */
static void attend(const struct world *w, float *out, const float *q_done, int seq, int pos, int kv_head)
{
    int d = w->kv.d_head, key0 = w->kv.window > 0 ? pos - w->kv.window + 1 : 0;
    struct softmax s = { .m = -INFINITY };
    double q[KV_MAX_HEAD], turned[KV_MAX_HEAD], back[KV_MAX_HEAD];
    for (int c = 0; c < d; c++)
        q[c] = turned[c] = q_done[c];
    if (kv_type_rotated(w->kv.k))
        kv_rotate_plain(turned, q, d);
    for (int page = 0; page <= pos / KV_PAGE; page++)
        attend_page(w, &s, q, turned, seq, page, kv_head, key0, pos + 1);
    if (kv_type_rotated(w->kv.v)) {    /* the transform is its own inverse, signs come after it */
        for (int c = 0; c < d; c++)
            s.sealed[c] *= kv_sign(c);
        kv_rotate_plain(back, s.sealed, d);
        for (int c = 0; c < d; c++)
            s.sealed[c] = back[c] * kv_sign(c);
    }
    for (int c = 0; c < d; c++)
        out[c] = (float)((s.open[c] + s.sealed[c]) / s.l);
}

static void check_attention(const struct world *w, const struct rows *r)
{
    int d = w->kv.d_head, ratio = w->step.n_head / w->kv.n_head;
    float *want = kv_need((size_t)d * sizeof *want);
    for (int i = 0; i < r->n; i++)
        for (int head = 0; head < w->step.n_head; head++) {
            size_t at = ((size_t)i * (size_t)w->step.n_head + (size_t)head) * (size_t)d;
            attend(w, want, r->q_done + at, r->seq[i], r->pos[i], head / ratio);
            CHECK_NMSE(w->t, r->out + at, want, (size_t)d, 1e-9,
                       "k %s v %s d %d ratio %d window %d cap %g: row %d at %d, head %d", kv_type_name(w->kv.k),
                       kv_type_name(w->kv.v), d, ratio, w->kv.window, (double)w->step.cap, i, r->pos[i], head);
        }
    free(want);
}

/* n rows of sequence 0 from pos on, and, where there are more than 2, the last two of them of sequence 1. */
static void rows_place(struct world *w, struct rows *r, int n, int pos, int other)
{
    int own = n > 2 ? n - 2 : n;
    rows_init(w, r, n);
    for (int i = 0; i < n; i++) {
        r->seq[i] = i >= own;
        r->pos[i] = i < own ? pos + i : other + i - own;
    }
    fill(w, 0, pos, pos + own);
    if (n > 2)
        fill(w, 1, other, other + 2);
}

struct open_case {
    int d, n_kv, ratio, window, n_rows, pos;
    float cap;
};

static void check_open(struct test *t, const struct open_case *c, enum kv_type type)
{
    struct world w;
    struct rows r;
    world_open(&w, t, (struct kv_layer){ type, type, c->n_kv, c->d, c->window, NULL }, c->ratio);
    w.step.cap = c->cap;
    rows_place(&w, &r, c->n_rows, c->pos, 70);
    world_upload(&w);
    run(&w, &r, 0, r.n);
    check_attention(&w, &r);
    rows_finish(&r);
    world_close(&w);
}

static const struct open_case open_cases[] = {
    { 64, 2, 1, 0, 3, 0, 0 },      { 64, 2, 2, 0, 5, 63, 0 },     { 64, 1, 3, 100, 4, 254, 30 },
    { 80, 2, 6, 0, 3, 128, 0 },    { 96, 1, 7, 20, 4, 299, 0 },   { 128, 2, 4, 0, 4, 255, 0 },
    { 128, 2, 8, 130, 3, 512, 5 }, { 256, 1, 16, 0, 3, 65, 50 },  { 256, 1, 2, 64, 2, 320, 0 },
    { 128, 1, 32, 0, 1, 256, 0 },  { 16, 2, 9, 1, 3, 200, 0 },    { 272, 1, 2, 0, 1, 257, 0 },
    { 512, 1, 8, 300, 3, 640, 0 },
};

TEST(vulkan_attn_open_pages_equal_softmax_in_double)
{
    for (size_t i = 0; i < sizeof open_cases / sizeof *open_cases; i++)
        check_open(t, &open_cases[i], KV_F16);
}

TEST(vulkan_attn_open_pages_of_f32_equal_softmax_in_double)
{
    for (size_t i = 0; i < sizeof open_cases / sizeof *open_cases; i += 3)
        check_open(t, &open_cases[i], KV_F32);
}

/* Every length up to 304 keys, of which each batch writes its own: 19, so that batches end at every slot of four, with
 * NaN behind. */
static void check_lengths(struct test *t, int window)
{
    struct world w;
    world_open(&w, t, (struct kv_layer){ KV_F16, KV_F16, 1, 16, window, NULL }, 2);
    fill(&w, 0, 0, 304);
    for (int pos = 0; pos < 304; pos += 19) {
        struct rows r;
        rows_init(&w, &r, 19);
        for (int i = 0; i < r.n; i++)
            r.pos[i] = pos + i;
        run(&w, &r, 0, r.n);
        check_attention(&w, &r);
        rows_finish(&r);
    }
    world_close(&w);
}

TEST(vulkan_attn_every_length_equals_softmax_in_double)
{
    check_lengths(t, 0);
    check_lengths(t, 65);
}

/* ---- what goes to the pages ----------------------------------------------------------------------------- */

static void set_rope(struct world *w, int n_rot, bool halves)
{
    w->rope = (struct rope){ .n_rot = n_rot, .halves = halves, .magnitude = 1.25f, .freq = w->freq };
    for (int i = 0; i < n_rot / 2; i++)
        w->freq[i] = pow(10000, -2.0 * i / n_rot);
    w->step.rope = n_rot > 0 ? 0 : -1;
}

static void set_norms(struct world *w, bool q, bool k)
{
    for (int c = 0; c < w->kv.d_head; c++) {
        w->q_norm[c] = test_normal(w->t);
        w->k_norm[c] = test_normal(w->t);
    }
    w->step.q_norm = q ? w->q_norm : NULL;
    w->step.k_norm = k ? w->k_norm : NULL;
}

/* A row's key and value stand where they belong: to the bit where nothing was computed. */
static void check_stored(const struct world *w, const struct rows *r, int i)
{
    int d = w->kv.d_head, slot = r->pos[i] % KV_PAGE;
    unsigned char *page = page_at(w, r->seq[i], r->pos[i] / KV_PAGE, false);
    bool plain = !w->step.k_norm && w->step.rope < 0;
    for (int head = 0; head < w->kv.n_head; head++) {
        size_t at = ((size_t)i * (size_t)w->kv.n_head + (size_t)head) * (size_t)d;
        float want[KV_MAX_HEAD], got[KV_MAX_HEAD];
        double key[KV_MAX_HEAD];
        finish_head(w, key, r->k + at, w->step.k_norm, r->pos[i], 1);
        for (int c = 0; c < d; c++) {
            want[c] = w->kv.k == KV_F32 ? (float)key[c] : f16_to_f32(f16_from_f32((float)key[c]));
            got[c] = (float)open_get(w, page, key_at(w, head, c, slot));
            unsigned char bits[2][4] = { { 0 } };    /* key and value as they should be */
            open_put(w, bits[0], 0, r->k[at + (size_t)c]);
            open_put(w, bits[1], 0, r->v[at + (size_t)c]);
            size_t n = w->kv.k == KV_F32 ? 4 : 2;
            if (plain)
                CHECK_BYTES(w->t, page + key_at(w, head, c, slot) * n, bits[0], n, "key, d %d c %d", d, c);
            CHECK_BYTES(w->t, page + value_at(w, head, c, slot) * n, bits[1], n, "value, d %d c %d", d, c);
        }
        if (!plain)    /* of f16 a last bit here and there may fall otherwise; cutting off would give 1e-7 and more */
            CHECK_NMSE(w->t, got, want, (size_t)d, w->kv.k == KV_F32 ? 1e-12 : 1e-8, "key, d %d n_rot %d", d,
                       w->rope.n_rot);
    }
}

static void check_in(struct test *t, struct kv_layer kv, int n_rot, bool halves, bool q_norm, bool k_norm)
{
    static const float hard[] = { 65519, 65520, 65536, -65504, 1e30f, 0x1p-24f, 0x1p-25f, 0x1.000002p-25f, 0x1.8p-24f,
                                  0x1p-14f, 0x1.ffcp-15f, 0x1.ffep-15f, 0x1.002p0f, 0x1.006p0f, -0x1.002002p0f, 1e-40f,
                                  -0.0f, INFINITY, 0x1.8p-23f, 0x1.4p-23f };
    struct world w;
    struct rows r;
    world_open(&w, t, kv, 3);
    set_rope(&w, n_rot, halves);
    set_norms(&w, q_norm, k_norm);
    w.step.scale = 0.125f;
    rows_place(&w, &r, 5, 126, 9);
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        r.v[i] = hard[i];
        r.k[i] = !k_norm && n_rot == 0 ? hard[i] : r.k[i];
    }
    world_upload(&w);
    size_t n_bytes = w.page_bytes * MAX_SEQS * MAX_PAGES, n_changed = 0, unit = kv.k == KV_F32 ? 4 : 2;
    unsigned char *before = kv_need(n_bytes);
    memcpy(before, w.arena, n_bytes);
    run(&w, &r, 0, r.n);
    for (size_t i = 0; i < n_bytes; i += unit)
        n_changed += memcmp(before + i, w.arena + i, unit) != 0;
    CHECK_INT(t, n_changed, r.n * 2 * kv.n_head * kv.d_head, "numbers of the pages");
    for (int i = 0; i < r.n; i++) {
        check_stored(&w, &r, i);
        for (int head = 0; head < w.step.n_head; head++) {
            size_t at = ((size_t)i * (size_t)w.step.n_head + (size_t)head) * (size_t)kv.d_head;
            double q[KV_MAX_HEAD];
            float want[KV_MAX_HEAD];
            finish_head(&w, q, r.q + at, w.step.q_norm, r.pos[i], (double)w.step.scale);
            for (int c = 0; c < kv.d_head; c++)
                want[c] = (float)q[c];
            CHECK_NMSE(t, r.q_done + at, want, (size_t)kv.d_head, 1e-12, "query, d %d n_rot %d", kv.d_head, n_rot);
        }
    }
    free(before);
    rows_finish(&r);
    world_close(&w);
}

TEST(vulkan_attn_in_finishes_queries_and_stores_keys_and_values)
{
    check_in(t, (struct kv_layer){ KV_F16, KV_F16, 2, 64, 0, NULL }, 0, false, false, false);
    check_in(t, (struct kv_layer){ KV_F16, KV_F16, 1, 128, 0, NULL }, 128, true, true, true);
    check_in(t, (struct kv_layer){ KV_F16, KV_F16, 2, 80, 0, NULL }, 32, true, false, false);
    check_in(t, (struct kv_layer){ KV_F16, KV_F16, 1, 96, 0, NULL }, 64, false, false, true);
    check_in(t, (struct kv_layer){ KV_F32, KV_F32, 2, 64, 0, NULL }, 64, false, true, false);
    check_in(t, (struct kv_layer){ KV_F32, KV_F32, 1, 272, 0, NULL }, 0, false, false, false);
    check_in(t, (struct kv_layer){ KV_F16, KV_F16, 1, 512, 0, NULL }, 512, true, true, true);
}

/* ---- alone and together --------------------------------------------------------------------------------- */

/* Rows one after the other, then all in one batch, then in slices of three. */
static void check_alone(struct test *t, struct kv_layer kv, int ratio, int pos, int n)
{
    struct world w;
    struct rows r;
    world_open(&w, t, kv, ratio);
    set_rope(&w, kv.d_head, true);
    set_norms(&w, true, true);
    rows_place(&w, &r, n, pos, 250);
    for (int page = 1; kv_layer_seals(&kv) && page < pos / KV_PAGE; page++)
        seal(&w, 0, page);
    size_t n_bytes = w.page_bytes * MAX_SEQS * MAX_PAGES;
    size_t n_out = (size_t)n * (size_t)w.step.n_head * (size_t)kv.d_head * sizeof(float);
    unsigned char *before = kv_need(n_bytes);
    float *alone = kv_need(n_out);
    memcpy(before, w.arena, n_bytes);
    world_upload(&w);
    for (int i = 0; i < n; i++)
        run(&w, &r, i, 1);
    memcpy(alone, r.out, n_out);
    for (int slice = 3; slice <= MAX_ROWS; slice += MAX_ROWS - 3) {
        memcpy(w.arena, before, n_bytes);
        world_upload(&w);
        w.slice_rows = slice;
        run(&w, &r, 0, n);
        CHECK_BYTES(t, r.out, alone, n_out, "k %s, slices of %d", kv_type_name(kv.k), slice);
    }
    check_attention(&w, &r);
    free(before);
    free(alone);
    rows_finish(&r);
    world_close(&w);
}

TEST(vulkan_attn_a_row_alone_and_in_a_batch_have_the_same_bits)
{
    check_alone(t, (struct kv_layer){ KV_F16, KV_F16, 2, 64, 0, NULL }, 3, 252, 8);
    check_alone(t, (struct kv_layer){ KV_F16, KV_F16, 1, 64, 200, NULL }, 12, 509, 8);
    check_alone(t, (struct kv_layer){ KV_KV4, KV_KV4, 1, 64, 0, NULL }, 3, 381, 7);
    check_alone(t, (struct kv_layer){ KV_KV3, KV_Q8_0, 1, 64, 0, NULL }, 3, 509, 7);
}

/* ---- sealed pages --------------------------------------------------------------------------------------- */

/* Rows on both sides of a page's end: page 5 is read open by the first of them, sealed by the others. */
static void check_sealed(struct test *t, struct kv_layer kv, int ratio, float cap, bool absent)
{
    struct world w;
    struct rows r;
    world_open(&w, t, kv, ratio);
    w.step.cap = cap;
    rows_place(&w, &r, 5, 446, 330);
    for (int page = 1; page < 6; page++)
        seal(&w, 0, page);
    for (int page = 0; page < 5; page++)    /* even of the first page, which is to be read open all the same */
        seal(&w, 1, page);
    if (absent) {
        drop(&w, 0, 2, true);               /* read open though it should be sealed */
        drop(&w, 0, 5, false);              /* the other way round */
        drop(&w, 0, 3, false);              /* not read open by anyone */
        drop(&w, 1, 0, false);
        drop(&w, 1, 4, false);
    }
    world_upload(&w);
    run(&w, &r, 0, r.n);
    check_attention(&w, &r);
    rows_finish(&r);
    world_close(&w);
}

TEST(vulkan_attn_sealed_pages_equal_softmax_in_double)
{
    static const int sizes[] = { 64, 80, 96, 128, 144, 48, 256, 16, 512, 272 };
    for (int i = 1; i < N_KV_TYPES * N_KV_TYPES; i++) {
        struct kv_layer kv = { kv_types[i / N_KV_TYPES], kv_types[i % N_KV_TYPES], 2, sizes[i % 10],
                               i % 3 == 1 ? 200 : 0, NULL };
        check_sealed(t, kv, 1 + i % 4, i % 4 == 2 ? 20.0f : 0, false);
    }
}

TEST(vulkan_attn_a_form_that_is_absent_is_replaced_by_the_other)
{
    check_sealed(t, (struct kv_layer){ KV_KV4, KV_KV4, 1, 64, 0, NULL }, 2, 0, true);
    check_sealed(t, (struct kv_layer){ KV_KV3, KV_Q8_0, 2, 96, 0, NULL }, 2, 0, true);
    check_sealed(t, (struct kv_layer){ KV_F16, KV_KV3, 1, 128, 150, NULL }, 2, 0, true);
    check_sealed(t, (struct kv_layer){ KV_Q4_0, KV_F16, 1, 80, 0, NULL }, 2, 0, true);
}

TEST(vulkan_attn_parts_follow_from_position_and_window)
{
    CHECK_INT(t, vulkan_attend_parts(0, 0), 1);
    CHECK_INT(t, vulkan_attend_parts(255, 0), 1);
    CHECK_INT(t, vulkan_attend_parts(256, 0), 2);
    CHECK_INT(t, vulkan_attend_parts(256, 1), 1);
    CHECK_INT(t, vulkan_attend_parts(256, 2), 2);
    CHECK_INT(t, vulkan_attend_parts(1000, 256), 2);
    CHECK_INT(t, vulkan_attend_parts(99, 4096), 1);
}
