/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_VEC_SIMD_H
#define QUIP_ENGINE_CPU_VEC_SIMD_H

/* exp and tanh of vec_math.h on whole vectors. Written over the vector words of a tier (simd_avx2.h,
 * simd_avx512.h), one of which is included before; each line mirrors one of vec_scalar.c. */

/* e^x / 2^*n; the low bits of *t are n. */
static inline vec v_exp_part(vec x, vec *t, vec *n)
{
    *t = v_fma(x, v_set(VEC_EXP_LOG2E), v_set(VEC_EXP_MAGIC));
    *n = v_sub(*t, v_set(VEC_EXP_MAGIC));
    vec r = v_fma(*n, v_set(-VEC_EXP_LN2_LO), v_fma(*n, v_set(-VEC_EXP_LN2_HI), x));
    vec p = v_fma(v_set(VEC_EXP_E6), r, v_set(VEC_EXP_E5));
    p = v_fma(p, r, v_set(VEC_EXP_E4));
    p = v_fma(p, r, v_set(VEC_EXP_E3));
    p = v_fma(p, r, v_set(VEC_EXP_E2));
    p = v_fma(p, r, v_set(1.0f));
    return v_fma(p, r, v_set(1.0f));
}

static inline vec v_exp(vec x)
{
    vec t, n, p = v_exp_part(x, &t, &n);
    p = v_exponent_add(p, t);
    p = v_select(v_less(x, v_set(VEC_EXP_MIN)), v_set(0.0f), p);
    p = v_select(v_less(v_set(VEC_EXP_MAX), x), v_set(VEC_INFINITY), p);
    return v_select(v_nan(x), x, p);
}

/* The same for x that are at most 0. */
static inline vec v_exp_below(vec x)
{
    vec t, n, p = v_exp_part(x, &t, &n);
    return v_exponent_below(x, p, t, n);
}

static inline vec v_tanh(vec x)
{
    vec a = v_abs(x), z = v_mul(a, a);
    vec p = v_fma(v_set(VEC_TANH_T4), z, v_set(VEC_TANH_T3));
    p = v_fma(p, z, v_set(VEC_TANH_T2));
    p = v_fma(p, z, v_set(VEC_TANH_T1));
    p = v_fma(p, z, v_set(VEC_TANH_T0));
    vec small = v_fma(v_mul(a, z), p, a);
    vec large = v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(v_exp(v_add(a, a)), v_set(1.0f))));
    return v_copysign(v_select(v_less(a, v_set(VEC_TANH_SMALL)), small, large), x);
}

#endif
