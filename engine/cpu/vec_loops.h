/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_VEC_LOOPS_H
#define QUIP_ENGINE_CPU_VEC_LOOPS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/cpu/vec_simd.h"

/* The vector kernels of cpu_vec.h over a tier's vector words; only the tier's own file includes this, so
 * that its instructions stay in it. The last, short vector of a row is loaded and stored by count. */

static inline int v_count(int64_t left)
{
    return left < LANES ? (int)left : LANES;
}

/* Whole vectors apart, because masked stores are slow on some processors. */
static inline vec load_upto(const float *p, int n)
{
    return n == LANES ? v_load(p) : v_load_n(p, n);
}

static inline void store_upto(float *p, vec a, int n)
{
    if (n == LANES)
        v_store(p, a);
    else
        v_store_n(p, a, n);
}

static void rmsnorm(float *y, const float *x, const float *gain, int32_t n_cols, float eps)
{
    vec lanes[16 / LANES];
    for (int i = 0; i < 16 / LANES; i++)
        lanes[i] = v_set(0.0f);
    int32_t c = 0;
    for (; n_cols - c >= 16; c += 16)
        for (int i = 0; i < 16 / LANES; i++) {
            vec a = v_load(x + c + i * LANES);
            lanes[i] = v_fma(a, a, lanes[i]);
        }
    for (int i = 0; c < n_cols; c += LANES, i++) {
        vec a = v_load_n(x + c, v_count(n_cols - c));
        lanes[i] = v_fma(a, a, lanes[i]);
    }
    vec r = v_set(1.0f / sqrtf(v_fold_add(lanes) / (float)n_cols + eps));
    for (c = 0; n_cols - c >= LANES; c += LANES) {
        vec a = v_mul(v_load(x + c), r);
        v_store(y + c, gain ? v_mul(a, v_load(gain + c)) : a);
    }
    int left = n_cols - c;
    if (left > 0) {
        vec a = v_mul(v_load_n(x + c, left), r);
        v_store_n(y + c, gain ? v_mul(a, v_load_n(gain + c, left)) : a, left);
    }
}

/* y_i = f(y_i, x_i, a), the loop of all elementwise kernels; inlined with f known. */
static inline __attribute__((always_inline)) void map(float *y, const float *x, float a, int64_t n,
                                                      vec (*f)(vec y, vec x, float a))
{
    int64_t i = 0;
    for (; n - i >= LANES; i += LANES)
        v_store(y + i, f(v_load(y + i), v_load(x + i), a));
    int left = (int)(n - i);
    if (left > 0)
        v_store_n(y + i, f(v_load_n(y + i, left), v_load_n(x + i, left), a), left);
}

static inline vec add_one(vec y, vec x, float a)
{
    (void)a;
    return v_add(y, x);
}

static inline vec scale_one(vec y, vec x, float a)
{
    (void)x;
    return v_mul(y, v_set(a));
}

static inline vec softcap_one(vec y, vec x, float cap)
{
    (void)x;
    return v_mul(v_set(cap), v_tanh(v_div(y, v_set(cap))));
}

static inline vec silu_mul_one(vec g, vec u, float a)
{
    (void)a;
    return v_mul(v_div(g, v_add(v_set(1.0f), v_exp(v_neg(g)))), u);
}

static inline vec gelu_mul_one(vec x, vec u, float a)
{
    (void)a;
    vec z = v_mul(v_mul(v_set(VEC_GELU_A), x), v_fma(v_mul(v_set(VEC_GELU_B), x), x, v_set(1.0f)));
    return v_mul(v_div(x, v_add(v_set(1.0f), v_exp(v_mul(v_set(-2.0f), z)))), u);
}

static void add(float *y, const float *x, int64_t n)
{
    map(y, x, 0, n, add_one);
}

static void scale(float *y, float a, int64_t n)
{
    map(y, y, a, n, scale_one);
}

static void softcap(float *y, float cap, int64_t n)
{
    map(y, y, cap, n, softcap_one);
}

static void silu_mul(float *g, const float *u, int64_t n)
{
    map(g, u, 0, n, silu_mul_one);
}

static void gelu_mul(float *g, const float *u, int64_t n)
{
    map(g, u, 0, n, gelu_mul_one);
}

/* Neighbours: lanes hold a b a b. With A = a a, B = b b and (cos sin) pairs as stored, the even lane is
 * A * cos - B * sin and the odd one A * sin + B * cos. */
static void rope_neighbours(float *x, const float *cos_sin, int32_t n_rot)
{
    for (int32_t i = 0; i < n_rot; i += LANES) {
        int n = v_count(n_rot - i);
        vec both = load_upto(x + i, n), turn = load_upto(cos_sin + i, n);
        vec b = v_mul(v_odds_twice(both), v_swap_pairs(turn));
        store_upto(x + i, v_fma_sub_add(v_evens_twice(both), turn, b), n);
    }
}

static void rope_halves(float *x, const float *cos_sin, int32_t half)
{
    for (int32_t i = 0; i < half; i += LANES) {
        int n = v_count(half - i), n_low = v_count(2 * n);
        vec low = load_upto(cos_sin + 2 * i, n_low);
        vec high = load_upto(cos_sin + 2 * i + n_low, 2 * n - n_low);
        vec cos = v_evens(low, high), sin = v_odds(low, high);
        vec a = load_upto(x + i, n), b = load_upto(x + half + i, n);
        store_upto(x + i, v_fms(a, cos, v_mul(b, sin)), n);
        store_upto(x + half + i, v_fma(a, sin, v_mul(b, cos)), n);
    }
}

static void rope(float *x, const float *cos_sin, int32_t n_heads, int32_t d_head, int32_t n_rot,
                 int halves)
{
    int32_t half = n_rot / 2;
    for (int32_t h = 0; h < n_heads; h++, x += d_head) {
        if (halves)
            rope_halves(x, cos_sin, half);
        else
            rope_neighbours(x, cos_sin, 2 * half);
    }
}

static void store_f16(uint16_t *out, const float *x, int32_t n)
{
    int32_t c = 0;
    for (; n - c >= LANES; c += LANES)
        v_store_f16(out + c, v_load(x + c));
    if (c < n)
        v_store_f16_n(out + c, v_load_n(x + c, n - c), n - c);
}

static void store_f16_column(uint16_t *out, const float *x, int32_t n)
{
    for (int32_t c = 0; c < n; c += LANES) {
        uint16_t part[LANES];
        int count = v_count(n - c);
        v_store_f16(part, load_upto(x + c, count));
        for (int i = 0; i < count; i++)
            out[(ptrdiff_t)(c + i) * CPU_PAGE] = part[i];
    }
}

static void vec_fill_table(struct cpu_vec *v)
{
    v->rmsnorm = rmsnorm;
    v->add = add;
    v->scale = scale;
    v->softcap = softcap;
    v->silu_mul = silu_mul;
    v->gelu_mul = gelu_mul;
    v->rope = rope;
    v->store_f16 = store_f16;
    v->store_f16_column = store_f16_column;
}

#endif
