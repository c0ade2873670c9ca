/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/cpu/cpu_vec.h"
#include "engine/cpu/vec_tiers.h"
#include "engine/quant/f16.h"

/* Attention over one page of 64 keys, the definition. A query keeps the running maximum m, the sum l of its
 * weights and the unnormalised output o (online softmax); a page first rescales them to the new maximum,
 * then adds its own share. Keys outside [key0, key1) are never read: what lies there may be anything. */

static float max_of(float a, float b)
{
    return a > b ? a : b;    /* b when either is NaN, as the x86 instruction has it */
}

/* Maximum by sixteen lanes folded like a lane sum: the order decides only between +0 and -0. */
static float lane_max(const float *s, int32_t n)
{
    float lane[16];
    for (int i = 0; i < 16; i++)
        lane[i] = -INFINITY;
    for (int32_t k = 0; k < n; k++)
        lane[k & 15] = max_of(s[k], lane[k & 15]);
    for (int half = 8; half >= 1; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] = max_of(lane[i + half], lane[i]);
    return lane[0];
}

static float element(const void *page, ptrdiff_t i, bool half)
{
    return half ? f16_to_f32(((const uint16_t *)page)[i]) : ((const float *)page)[i];
}

/* Scores of keys outside the range are left as they are. */
static void scores(float s[CPU_PAGE], const float *q, const void *keys, int32_t d_k, int32_t key0, int32_t key1,
                   bool half)
{
    for (int32_t k = key0; k < key1; k++) {
        s[k] = 0;
        for (int32_t c = 0; c < d_k; c++)
            s[k] = fmaf(q[c], element(keys, (ptrdiff_t)c * CPU_PAGE + k, half), s[k]);
    }
}

void cpu_attn_scores_f16(float s[CPU_PAGE], const float *q, const uint16_t *keys, int32_t d_k, int32_t key0,
                         int32_t key1)
{
    scores(s, q, keys, d_k, key0, key1, true);
}

bool cpu_attn_weights(struct cpu_attn *a, float *s, int32_t n_keys, float cap, float *f)
{
    for (int32_t k = 0; k < n_keys; k++) {
        if (k < a->key0 || k >= a->key1)
            s[k] = -INFINITY;
        else if (cap != 0)
            s[k] = cap * cpu_tanh(s[k] / cap);
    }
    float m = max_of(lane_max(s, n_keys), a->m);
    if (m == -INFINITY)
        return false;    /* every score is -infinity: no weight to give */
    for (int32_t k = 0; k < n_keys; k++)
        s[k] = k >= a->key0 && k < a->key1 ? cpu_exp(s[k] - m) : 0;
    *f = cpu_exp(a->m - m);
    a->m = m;
    a->l = fmaf(a->l, *f, cpu_lane_sum(s, n_keys));
    return true;
}

static void add_values(struct cpu_attn *a, const float p[CPU_PAGE], const void *values, int32_t d_v, float f,
                       bool half)
{
    for (int32_t c = 0; c < d_v; c++) {
        float o = a->o[c] * f;
        for (int32_t k = a->key0; k < a->key1; k++)
            o = fmaf(p[k], element(values, (ptrdiff_t)k * d_v + c, half), o);
        a->o[c] = o;
    }
}

void cpu_attn_values_f16(struct cpu_attn *a, const float p[CPU_PAGE], const uint16_t *values, int32_t d_v, float f)
{
    add_values(a, p, values, d_v, f, true);
}

static void one_query(struct cpu_attn *a, const void *keys, const void *values, int32_t d_k, int32_t d_v,
                      float cap, bool half)
{
    float s[CPU_PAGE], f;
    scores(s, a->q, keys, d_k, a->key0, a->key1, half);
    if (cpu_attn_weights(a, s, CPU_PAGE, cap, &f))
        add_values(a, s, values, d_v, f, half);
}

static void attn_page_f16(struct cpu_attn *a, int32_t n_q, const uint16_t *keys, const uint16_t *values,
                          const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap)
{
    (void)ahead;
    for (int32_t i = 0; i < n_q; i++)
        one_query(&a[i], keys, values, d_k, d_v, cap, true);
}

static void attn_page_f32(struct cpu_attn *a, int32_t n_q, const float *keys, const float *values,
                          const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap)
{
    (void)ahead;
    for (int32_t i = 0; i < n_q; i++)
        one_query(&a[i], keys, values, d_k, d_v, cap, false);
}

void cpu_attn_merge(struct cpu_attn *a, const struct cpu_attn *b, int32_t d_v)
{
    if (b->m == -INFINITY)
        return;
    float m = max_of(b->m, a->m);
    float fa = cpu_exp(a->m - m), fb = cpu_exp(b->m - m);
    a->m = m;
    a->l = fmaf(a->l, fa, b->l * fb);
    for (int32_t c = 0; c < d_v; c++)
        a->o[c] = fmaf(a->o[c], fa, b->o[c] * fb);
}

void cpu_attn_init_scalar(struct cpu_vec *v)
{
    v->attn_page_f16 = attn_page_f16;
    v->attn_page_f32 = attn_page_f32;
    v->attn_merge = cpu_attn_merge;
}
