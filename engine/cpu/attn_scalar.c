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
static float lane_max(const float s[CPU_PAGE])
{
    float lane[16];
    for (int i = 0; i < 16; i++)
        lane[i] = -INFINITY;
    for (int k = 0; k < CPU_PAGE; k++)
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

static void one_query(struct cpu_attn *a, const void *keys, const void *values, int32_t d_k, int32_t d_v,
                      float cap, bool half)
{
    float s[CPU_PAGE], p[CPU_PAGE] = { 0 };
    for (int32_t k = 0; k < CPU_PAGE; k++)
        s[k] = -INFINITY;
    for (int32_t k = a->key0; k < a->key1; k++) {
        float sum = 0;
        for (int32_t c = 0; c < d_k; c++)
            sum = fmaf(a->q[c], element(keys, (ptrdiff_t)c * CPU_PAGE + k, half), sum);
        s[k] = cap != 0 ? cap * cpu_tanh(sum / cap) : sum;
    }
    float m = max_of(lane_max(s), a->m);
    if (m == -INFINITY)
        return;    /* every score is -infinity: no weight to give */
    for (int32_t k = a->key0; k < a->key1; k++)
        p[k] = cpu_exp(s[k] - m);
    float f = cpu_exp(a->m - m);
    a->m = m;
    a->l = fmaf(a->l, f, cpu_lane_sum(p, CPU_PAGE));
    for (int32_t c = 0; c < d_v; c++) {
        float o = a->o[c] * f;
        for (int32_t k = a->key0; k < a->key1; k++)
            o = fmaf(p[k], element(values, (ptrdiff_t)k * d_v + c, half), o);
        a->o[c] = o;
    }
}

static void attn_page_f16(struct cpu_attn *a, int32_t n_q, const uint16_t *keys, const uint16_t *values,
                          int32_t d_k, int32_t d_v, float cap)
{
    for (int32_t i = 0; i < n_q; i++)
        one_query(&a[i], keys, values, d_k, d_v, cap, true);
}

static void attn_page_f32(struct cpu_attn *a, int32_t n_q, const float *keys, const float *values,
                          int32_t d_k, int32_t d_v, float cap)
{
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
