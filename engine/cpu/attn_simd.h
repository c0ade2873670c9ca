/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_ATTN_SIMD_H
#define QUIP_ENGINE_CPU_ATTN_SIMD_H

#include "engine/cpu/attn_stages_simd.h"

/* Attention over open pages (cpu_vec.h): the stages of attn_stages_simd.h one after the other; only the
 * tier's own file includes this. */

/* ahead: [0] during the scores, [1] during the values. */
ATTN_INLINE void page_tile(struct cpu_attn *a, const void *keys, const void *values, int32_t d_k,
                           int32_t d_v, float cap, const struct cpu_ahead *ahead, bool half, const int n_q,
                           const int n_keys, const int n_cols)
{
    struct attn_tile t;
    float f[16];
    scores(&t, a, keys, d_k, ahead, half, n_q, n_keys);
    unsigned any = weights(t.p[0], CPU_PAGE, CPU_PAGE, a, f, cap, n_q);
    for (int i = 0; i < n_q; i++) {
        if (any >> i & 1)
            rescale_output(a[i].o, f[i], d_v);
        t.begin[i] = a[i].key0;
        t.end[i] = any >> i & 1 ? a[i].key1 : a[i].key0;
    }
    values_tile(a, &t, values, d_v, ahead + 1, half, n_q, n_cols);
}

/* The functions of one count of queries. Apart, because within one function gcc keeps the constants of exp in
 * registers through the loop over tiles, and sums of six queries went to memory. */
#define ATTN_COUNT(n)                                                                                      \
    static void page_f16_##n(struct cpu_attn *a, const void *keys, const void *values, int32_t d_k,        \
                             int32_t d_v, float cap, const struct cpu_ahead *ahead)                        \
    {                                                                                                      \
        page_tile(a, keys, values, d_k, d_v, cap, ahead, true, n, ATTN_KEYS_##n, ATTN_COLS_##n);           \
    }                                                                                                      \
    static void page_f32_##n(struct cpu_attn *a, const void *keys, const void *values, int32_t d_k,        \
                             int32_t d_v, float cap, const struct cpu_ahead *ahead)                        \
    {                                                                                                      \
        page_tile(a, keys, values, d_k, d_v, cap, ahead, false, n, ATTN_KEYS_##n, ATTN_COLS_##n);          \
    }
ATTN_COUNT(1)
ATTN_COUNT(2)
ATTN_COUNT(3)
ATTN_COUNT(4)
ATTN_COUNT(6)

static const struct attn_count {
    int n_q;
    void (*page[2])(struct cpu_attn *a, const void *keys, const void *values, int32_t d_k, int32_t d_v, float cap,
                    const struct cpu_ahead *ahead);    /* [half] */
} attn_counts[] = {
    { 6, { page_f32_6, page_f16_6 } }, { 4, { page_f32_4, page_f16_4 } }, { 3, { page_f32_3, page_f16_3 } },
    { 2, { page_f32_2, page_f16_2 } }, { 1, { page_f32_1, page_f16_1 } },
};

static void attn_page(struct cpu_attn *a, int32_t n_q, const void *keys, const void *values,
                      const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap, bool half)
{
    const struct attn_count *f = attn_counts;
    int32_t end = n_q;
    for (int32_t i = 0; i < end; i += f->n_q, n_q -= f->n_q) {
        while (f->n_q > n_q || (f->n_q == 6 && (n_q == 8 || n_q == 7)) || (f->n_q == 4 && n_q == 5))
            f++;    /* 4 + 4, 4 + 3, 3 + 2 */
        struct cpu_ahead own[2] = { { 0 } };
        if (ahead)
            for (int side = 0; side < 2; side++)
                own[side] = ahead_of(&ahead[side], i, f->n_q, end);
        f->page[half](a + i, keys, values, d_k, d_v, cap, own);
    }
}

static void attn_page_f16(struct cpu_attn *a, int32_t n_q, const uint16_t *keys, const uint16_t *values,
                          const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap)
{
    attn_page(a, n_q, keys, values, ahead, d_k, d_v, cap, true);
}

static void attn_page_f32(struct cpu_attn *a, int32_t n_q, const float *keys, const float *values,
                          const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap)
{
    attn_page(a, n_q, keys, values, ahead, d_k, d_v, cap, false);
}

static void attn_merge(struct cpu_attn *a, const struct cpu_attn *b, int32_t d_v)
{
    if (b->m == -VEC_INFINITY)
        return;
    float m = b->m > a->m ? b->m : a->m;
    vec fa = v_exp(v_set(a->m - m)), fb = v_exp(v_set(b->m - m));
    a->m = m;
    a->l = fmaf(a->l, v_first(fa), b->l * v_first(fb));
    int32_t c = 0;
    for (; d_v - c >= LANES; c += LANES)
        v_store(a->o + c, v_fma(v_load(a->o + c), fa, v_mul(v_load(b->o + c), fb)));
    int left = d_v - c;
    if (left > 0)
        v_store_n(a->o + c, v_fma(v_load_n(a->o + c, left), fa, v_mul(v_load_n(b->o + c, left), fb)), left);
}

#endif
