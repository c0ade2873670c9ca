/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_ATTN_STAGES_SIMD_H
#define QUIP_ENGINE_CPU_ATTN_STAGES_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/cpu/vec_simd.h"

/* The three stages of attention over a page (cpu_vec.h) over a tier's vector words, for open pages
 * (attn_simd.h) and sealed ones (attn_sealed_simd.h); only a tier's own file includes this.
 *
 * Up to six queries go through a page together, so that each key and value is read and converted once for
 * all of them, in three stages:
 *
 *   scores    lanes are keys: acc[q][v] = fma(q_c, K[c][..], acc) over all components c
 *   weights   scale, mask, maximum, exp, sums: per query, four (eight) vectors
 *   values    lanes are components: acc[q][v] = fma(p_k, V[k][..], acc) over all keys k
 *
 * Masking. Lanes of keys outside a query's range hold garbage until the second stage replaces their scores
 * by -infinity. In the third stage a weight of 0 would not do, since 0 * NaN is NaN and 0 + -0 is +0: keys
 * that all queries of the tile see are added together, those at the ends of differing ranges one query at a time.
 *
 * Tile shapes are constants of the tier (ATTN_KEYS_1.. vectors of keys for 1.. queries): enough sums in
 * flight to hide the latency of an fma, few enough to stay in registers. The functions are inlined with
 * constant counts, so that acc[][] is registers. */

#if defined(__clang__)
#define ATTN_UNROLL _Pragma("unroll")
#else
#define ATTN_UNROLL _Pragma("GCC unroll 8")
#endif
#define ATTN_INLINE static inline __attribute__((always_inline))

enum { ATTN_TILE = 6, ATTN_MAX_VECS = CPU_PAGE / LANES, ATTN_POINTERS = 4, ATTN_Q_STRIDE = CPU_ATTN_MAX_D + 16 };

/* Weights of a tile and the keys that count, per query; none when begin == end.
 * More than ATTN_POINTERS queries are copied, so that one pointer with constant offsets reaches them all; rows are
 * no power of two apart, which would put them into the same few sets of the first cache. */
struct attn_tile {
    float p[ATTN_TILE][CPU_PAGE];
    float q[ATTN_TILE][ATTN_Q_STRIDE];
    int32_t begin[ATTN_TILE], end[ATTN_TILE];
};

/* Goes through what is to be asked for, evenly and into the second cache: the hardware does not prefetch along runs
 * as short as a page. Measured on Zen 4: asked for into the first cache, all at once, or every other line alone,
 * pages came at half the speed. A page that is seen in part asks for as much of the next less. */
struct asker {
    const char *at, *end;
    int32_t n_lines, n_times, due;    /* n_lines in n_times; due: lines times n_times */
};

/* ahead: NULL for nothing. */
static inline struct asker asker_over(const struct cpu_ahead *ahead, int32_t n_times)
{
    if (!ahead || !ahead->at)
        return (struct asker){ .n_times = 1 };
    return (struct asker){ .at = ahead->at, .end = (const char *)ahead->at + ahead->n_bytes,
                           .n_lines = (int32_t)((ahead->n_bytes + 63) / 64), .n_times = n_times };
}

/* The part that n of n_q queries, from the first-th on, ask for. */
static inline struct cpu_ahead ahead_of(const struct cpu_ahead *ahead, int32_t first, int32_t n, int32_t n_q)
{
    size_t begin = ahead->n_bytes * (size_t)first / (size_t)n_q & ~(size_t)63;
    size_t end = first + n < n_q ? ahead->n_bytes * (size_t)(first + n) / (size_t)n_q & ~(size_t)63 : ahead->n_bytes;
    return ahead->at ? (struct cpu_ahead){ (const char *)ahead->at + begin, end - begin } : *ahead;
}

static inline void ask(struct asker *a)
{
    for (a->due += a->n_lines; a->due > 0 && a->at < a->end; a->due -= a->n_times, a->at += 64)
        __builtin_prefetch(a->at, 0, 2);
}

ATTN_INLINE vec load_element(const void *page, ptrdiff_t i, bool half)
{
    return half ? v_load_f16((const uint16_t *)page + i) : v_load((const float *)page + i);
}

/* acc[i][v] += w_i x_v, x being n_v vectors from `at` on and w_i = w[i][k]. The fewer are held in registers while
 * the others pass. */
ATTN_INLINE void add_products(vec acc[ATTN_TILE][ATTN_MAX_VECS], const void *x, ptrdiff_t at, const float *const *w,
                              ptrdiff_t k, bool half, const int n_q, const int n_v)
{
    vec held[ATTN_TILE];
    if (n_v <= n_q) {
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            held[v] = load_element(x, at + v * LANES, half);
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++) {
            vec one = v_set(w[i][k]);
            ATTN_UNROLL
            for (int v = 0; v < n_v; v++)
                acc[i][v] = v_fma(one, held[v], acc[i][v]);
        }
        return;
    }
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        held[i] = v_set(w[i][k]);
    ATTN_UNROLL
    for (int v = 0; v < n_v; v++) {
        vec one = load_element(x, at + v * LANES, half);
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++)
            acc[i][v] = v_fma(held[i], one, acc[i][v]);
    }
}

/* Products of n_q queries with n_v vectors of keys from key on. */
ATTN_INLINE void scores_block(struct attn_tile *t, const struct cpu_attn *a, const void *keys, int32_t d_k,
                              int32_t key, struct asker *asker, bool half, const int n_q, const int n_v)
{
    const float *q[ATTN_TILE];
    vec acc[ATTN_TILE][ATTN_MAX_VECS];
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++) {
        q[i] = n_q > ATTN_POINTERS ? t->q[i] : a[i].q;
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            acc[i][v] = v_set(0.0f);
    }
    for (ptrdiff_t c = 0; c < d_k; c++) {
        if (c % 4 == 0)
            ask(asker);
        add_products(acc, keys, c * CPU_PAGE + key, q, c, half, n_q, n_v);
    }
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            v_store(t->p[i] + key + v * LANES, acc[i][v]);
}

/* Only the blocks of keys that a query of the tile sees; the others keep what stands in s. ahead: NULL for
 * nothing. */
ATTN_INLINE void scores(struct attn_tile *t, const struct cpu_attn *a, const void *keys, int32_t d_k,
                        const struct cpu_ahead *ahead, bool half, const int n_q, const int n_v)
{
    struct asker asker = asker_over(ahead, (d_k + 3) / 4 * (CPU_PAGE / (n_v * LANES)));
    int32_t begin = a[0].key0, end = a[0].key1;
    for (int i = 0; i < n_q; i++) {
        begin = a[i].key0 < begin ? a[i].key0 : begin;
        end = a[i].key1 > end ? a[i].key1 : end;
        if (n_q > ATTN_POINTERS)
            memcpy(t->q[i], a[i].q, (size_t)d_k * sizeof *t->q[i]);
    }
    for (int32_t key = 0; key < CPU_PAGE; key += n_v * LANES)
        if (key < end && key + n_v * LANES > begin)
            scores_block(t, a, keys, d_k, key, &asker, half, n_q, n_v);
}

/* Cap and range of one query's scores. */
static inline void limit_scores(float *p, const struct cpu_attn *a, int n_keys, float cap)
{
    for (int v = 0; v < n_keys / LANES; v++) {
        vec s = v_load(p + v * LANES);
        if (cap != 0)
            s = v_mul(v_set(cap), v_tanh(v_div(s, v_set(cap))));
        v_store(p + v * LANES, v_keep_range(s, v * LANES, a->key0, a->key1));
    }
}

/* Turns the scores of n_q <= 8 queries, `stride` apart, over whole pages into weights and brings their m and l up
 * to date. rescale[i] is what output i so far is to be multiplied by. Bit i of the result is clear where all scores
 * are -infinity: weights and factor mean nothing then. What is one number per query is computed for all together. */
ATTN_INLINE unsigned weights(float *p, const int stride, int n_keys, struct cpu_attn *a, float rescale[16], float cap,
                             const int n_q)
{
    vec lanes[8][16 / LANES];
    float m[16] = { 0 }, l[16] = { 0 }, before[16] = { 0 };
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++) {
        if (cap != 0 || a[i].key0 > 0 || a[i].key1 < n_keys)
            limit_scores(p + i * stride, &a[i], n_keys, cap);
        before[i] = a[i].m;
        l[i] = a[i].l;
        for (int v = 0; v < 16 / LANES; v++)
            lanes[i][v] = v_set(-VEC_INFINITY);
    }
    for (int k = 0; k < n_keys; k += CPU_PAGE)
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++)
            ATTN_UNROLL
            for (int v = 0; v < ATTN_MAX_VECS; v++)
                lanes[i][v % (16 / LANES)] =
                    v_max(v_load(p + i * stride + k + v * LANES), lanes[i][v % (16 / LANES)]);
    vec top = v_max(v_fold8(lanes, n_q, FOLD_MAX), v_load(before));
    vec factor = v_exp_below(v_sub(v_load(before), top));
    v_store(m, top);
    v_store(rescale, factor);
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++) {
        for (int v = 0; v < 16 / LANES; v++)
            lanes[i][v] = v_set(0.0f);
        for (int k = 0; k < n_keys; k += CPU_PAGE)
            ATTN_UNROLL
            for (int v = 0; v < ATTN_MAX_VECS; v++) {
                float *at = p + i * stride + k + v * LANES;
                vec e = v_exp_below(v_sub(v_load(at), v_set(m[i])));
                lanes[i][v % (16 / LANES)] = v_add(lanes[i][v % (16 / LANES)], e);
                v_store(at, e);
            }
    }
    v_store(l, v_fma(v_load(l), factor, v_fold8(lanes, n_q, FOLD_ADD)));
    unsigned any = 0;
    for (int i = 0; i < n_q; i++)
        if (m[i] != -VEC_INFINITY) {
            a[i].m = m[i];
            a[i].l = l[i];
            any |= 1u << i;
        }
    return any;
}

static inline void rescale_output(float *o, float f, int32_t d_v)
{
    int32_t c = 0;
    for (; d_v - c >= LANES; c += LANES)
        v_store(o + c, v_mul(v_load(o + c), v_set(f)));
    if (c < d_v)
        v_store_n(o + c, v_mul(v_load_n(o + c, d_v - c), v_set(f)), d_v - c);
}

/* o_c += p_k V[k][c] for keys begin <= k < end and n_v vectors of components from c on. */
ATTN_INLINE void values_block(const struct cpu_attn *a, const float (*p)[CPU_PAGE], const void *values,
                              int32_t d_v, ptrdiff_t c, int32_t begin, int32_t end, struct asker *asker,
                              bool half, const int n_q, const int n_v)
{
    const float *w[ATTN_TILE];
    vec acc[ATTN_TILE][ATTN_MAX_VECS];
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++) {
        w[i] = p[i];
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            acc[i][v] = v_load(a[i].o + c + v * LANES);
    }
    for (ptrdiff_t k = begin; k < end; k++) {
        if (k % 4 == 0)
            ask(asker);
        add_products(acc, values, k * d_v + c, w, k, half, n_q, n_v);
    }
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++) {
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            v_store(a[i].o + c + v * LANES, acc[i][v]);
    }
}

/* The last n < LANES components. */
ATTN_INLINE void values_tail(const struct cpu_attn *a, const float (*p)[CPU_PAGE], const void *values,
                             int32_t d_v, ptrdiff_t c, int32_t begin, int32_t end, bool half,
                             const int n_q)
{
    int n = (int)(d_v - c);
    for (int i = 0; i < n_q; i++) {
        vec acc = v_load_n(a[i].o + c, n);
        for (ptrdiff_t k = begin; k < end; k++) {
            ptrdiff_t at = k * d_v + c;
            vec x = half ? v_load_f16_n((const uint16_t *)values + at, n)
                         : v_load_n((const float *)values + at, n);
            acc = v_fma(v_set(p[i][k]), x, acc);
        }
        v_store_n(a[i].o + c, acc, n);
    }
}

ATTN_INLINE void values_range(const struct cpu_attn *a, const float (*p)[CPU_PAGE], const void *values,
                              int32_t d_v, int32_t begin, int32_t end, struct asker *asker, bool half,
                              const int n_q, const int n_v)
{
    if (begin >= end)
        return;
    ptrdiff_t c = 0;
    for (; d_v - c >= n_v * LANES; c += n_v * LANES)
        values_block(a, p, values, d_v, c, begin, end, asker, half, n_q, n_v);
    for (; d_v - c >= LANES; c += LANES)
        values_block(a, p, values, d_v, c, begin, end, asker, half, n_q, 1);
    if (c < d_v)
        values_tail(a, p, values, d_v, c, begin, end, half, n_q);
}

static inline int32_t clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* One query's own keys, before or after those the tile shares. */
static inline void values_alone(const struct cpu_attn *a, const float p[CPU_PAGE], const void *values,
                         int32_t d_v, int32_t begin, int32_t end, bool half)
{
    const float (*one)[CPU_PAGE] = (const float (*)[CPU_PAGE])p;
    struct asker nothing = asker_over(NULL, 1);
    if (half)
        values_range(a, one, values, d_v, begin, end, &nothing, true, 1, ATTN_COLS_1);
    else
        values_range(a, one, values, d_v, begin, end, &nothing, false, 1, ATTN_COLS_1);
}

/* The third stage: keys that all queries of the tile see together, those at the ends one query at a time.
 * ahead: NULL for nothing. */
ATTN_INLINE void values_tile(const struct cpu_attn *a, const struct attn_tile *t, const void *values,
                             int32_t d_v, const struct cpu_ahead *ahead, bool half, const int n_q,
                             const int n_cols)
{
    int32_t n_runs = d_v / (n_cols * LANES) + d_v % (n_cols * LANES) / LANES;
    struct asker asker = asker_over(ahead, n_runs > 0 ? n_runs * (CPU_PAGE / 4) : 1);
    int32_t begin = 0, end = CPU_PAGE;    /* seen by all */
    for (int i = 0; i < n_q; i++) {
        begin = t->begin[i] > begin ? t->begin[i] : begin;
        end = t->end[i] < end ? t->end[i] : end;
    }
    if (begin > end)
        end = begin;
    if (n_q > 1)
        for (int i = 0; i < n_q; i++)
            values_alone(&a[i], t->p[i], values, d_v, t->begin[i], clamp(begin, t->begin[i], t->end[i]),
                         half);
    values_range(a, (const float (*)[CPU_PAGE])t->p, values, d_v, begin, end, &asker, half,
                 n_q, n_cols);
    if (n_q > 1)
        for (int i = 0; i < n_q; i++)
            values_alone(&a[i], t->p[i], values, d_v, clamp(end, t->begin[i], t->end[i]), t->end[i], half);
}

#endif
