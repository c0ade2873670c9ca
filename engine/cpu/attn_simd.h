/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_ATTN_SIMD_H
#define QUIP_ENGINE_CPU_ATTN_SIMD_H

#include "engine/cpu/attn_stages_simd.h"

/* Attention over open pages (cpu_vec.h): the stages of attn_stages_simd.h one after the other; only the
 * tier's own file includes this. */

/* ahead: [2] or NULL. */
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
    values_tile(a, &t, values, d_v, ahead ? ahead + 1 : NULL, half, n_q, n_cols);
}

ATTN_INLINE void attn_page(struct cpu_attn *a, int32_t n_q, const void *keys, const void *values,
                           const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap, bool half)
{
    for (; n_q >= 4; n_q -= 4, a += 4, ahead = NULL)
        page_tile(a, keys, values, d_k, d_v, cap, ahead, half, 4, ATTN_KEYS_4, ATTN_COLS_4);
    if (n_q == 3)
        page_tile(a, keys, values, d_k, d_v, cap, ahead, half, 3, ATTN_KEYS_3, ATTN_COLS_3);
    if (n_q == 2)
        page_tile(a, keys, values, d_k, d_v, cap, ahead, half, 2, ATTN_KEYS_2, ATTN_COLS_2);
    if (n_q == 1)
        page_tile(a, keys, values, d_k, d_v, cap, ahead, half, 1, ATTN_KEYS_1, ATTN_COLS_1);
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
