/* SPDX-License-Identifier: MIT */
#include "engine/cpu/cpu_vec.h"

#include <math.h>
#include <stddef.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/vec_math.h"
#include "engine/cpu/vec_tiers.h"
#include "engine/quant/f16.h"

/* The definition of everything in cpu_vec.h but attention: each fmaf() is one rounding, each operator
 * another (the build forbids contraction), so this file fixes the bits the tiers must give. */

float cpu_exp(float x)
{
    if (x > VEC_EXP_MAX)
        return INFINITY;
    if (x < VEC_EXP_MIN)
        return 0;
    if (x != x)
        return x;
    float t = fmaf(x, VEC_EXP_LOG2E, VEC_EXP_MAGIC);
    float n = t - VEC_EXP_MAGIC;
    float r = fmaf(n, -VEC_EXP_LN2_LO, fmaf(n, -VEC_EXP_LN2_HI, x));
    float p = fmaf(VEC_EXP_E6, r, VEC_EXP_E5);
    p = fmaf(p, r, VEC_EXP_E4);
    p = fmaf(p, r, VEC_EXP_E3);
    p = fmaf(p, r, VEC_EXP_E2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return f32_from_bits(f32_bits(p) + (f32_bits(t) << 23));
}

float cpu_tanh(float x)
{
    float a = fabsf(x);
    if (a < VEC_TANH_SMALL) {
        float z = a * a;
        float p = fmaf(VEC_TANH_T4, z, VEC_TANH_T3);
        p = fmaf(p, z, VEC_TANH_T2);
        p = fmaf(p, z, VEC_TANH_T1);
        p = fmaf(p, z, VEC_TANH_T0);
        a = fmaf(a * z, p, a);
    } else {
        a = 1.0f - 2.0f / (cpu_exp(a + a) + 1.0f);
    }
    return copysignf(a, x);
}

static float fold_lanes(float lane[16])
{
    for (int half = 8; half >= 1; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] = lane[i] + lane[i + half];
    return lane[0];
}

float cpu_lane_sum(const float *x, int64_t n)
{
    float lane[16] = { 0 };
    for (int64_t i = 0; i < n; i++)
        lane[i & 15] = lane[i & 15] + x[i];
    return fold_lanes(lane);
}

static void rmsnorm(float *y, const float *x, const float *gain, int32_t n_cols, float eps)
{
    float lane[16] = { 0 };
    for (int32_t c = 0; c < n_cols; c++)
        lane[c & 15] = fmaf(x[c], x[c], lane[c & 15]);
    float r = 1.0f / sqrtf(fold_lanes(lane) / (float)n_cols + eps);
    for (int32_t c = 0; c < n_cols; c++) {
        float scaled = x[c] * r;
        y[c] = gain ? scaled * gain[c] : scaled;
    }
}

static void add(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = y[i] + x[i];
}

static void scale(float *y, float a, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = y[i] * a;
}

static void softcap(float *y, float cap, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = cap * cpu_tanh(y[i] / cap);
}

static void silu_mul(float *g, const float *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        g[i] = g[i] / (1.0f + cpu_exp(-g[i])) * u[i];
}

/* 0.5 (1 + tanh z) is 1 / (1 + e^-2z), which keeps its digits where 1 + tanh z cancels. */
static void gelu_mul(float *g, const float *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float x = g[i];
        float z = VEC_GELU_A * x * fmaf(VEC_GELU_B * x, x, 1.0f);
        g[i] = x / (1.0f + cpu_exp(-2.0f * z)) * u[i];
    }
}

static void rope(float *x, const float *cos_sin, int32_t n_heads, int32_t d_head, int32_t n_rot,
                 int halves)
{
    int32_t half = n_rot / 2;
    for (int32_t h = 0; h < n_heads; h++, x += d_head)
        for (int32_t i = 0; i < half; i++) {
            float *pa = halves ? x + i : x + 2 * i;
            float *pb = halves ? x + i + half : x + 2 * i + 1;
            float a = *pa, b = *pb, cos = cos_sin[2 * i], sin = cos_sin[2 * i + 1];
            *pa = fmaf(a, cos, -(b * sin));
            *pb = fmaf(a, sin, b * cos);
        }
}

static void store_f16(uint16_t *out, const float *x, int32_t n)
{
    for (int32_t c = 0; c < n; c++)
        out[c] = f16_from_f32(x[c]);
}

static void store_f16_column(uint16_t *out, const float *x, int32_t n)
{
    for (int32_t c = 0; c < n; c++)
        out[(ptrdiff_t)c * CPU_PAGE] = f16_from_f32(x[c]);
}

void cpu_vec_init_scalar(struct cpu_vec *v)
{
    v->name = "scalar";
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

void cpu_vec_init(struct cpu_vec *v, uint32_t features)
{
    cpu_vec_init_scalar(v);
    cpu_attn_init_scalar(v);
#if CPU_X86_64
    if (features & CPUID_AVX2) {
        cpu_vec_init_avx2(v);
        cpu_attn_init_avx2(v);
    }
    if (features & CPUID_AVX512) {
        cpu_vec_init_avx512(v);
        cpu_attn_init_avx512(v);
    }
#else
    (void)features;
#endif
}
