/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_VEC_MATH_H
#define QUIP_ENGINE_CPU_VEC_MATH_H

/* Numbers of cpu_exp and cpu_tanh, shared by the tiers so that all compute the same bits.
 *
 * exp    t = fma(x, LOG2E, MAGIC), n = t - MAGIC: x / ln 2 rounded to nearest even, n also being the low
 *        bits of t.  r = fma(n, -LN2_LO, fma(n, -LN2_HI, x)) in +-0.3466.
 *        e^r = 1 + r + r^2 (E2 + E3 r + ... + E6 r^4), interpolated at Chebyshev nodes, off by 1e-8 at most.
 *        2^n is multiplied by adding t's low bits to the exponent, which is exact because results below the
 *        normal range are 0 (x < MIN) and those above are infinite (x > MAX).
 * tanh   |x| < SMALL: x + x^3 (T0 + T1 x^2 + ... + T4 x^8), off by 2e-8; else 1 - 2 / (e^2|x| + 1) with the
 *        sign of x, where nothing cancels. */
#define VEC_EXP_MIN -87.3f
#define VEC_EXP_MAX 88.72283f      /* the last f32 whose e^x is finite */
#define VEC_EXP_LOG2E 1.44269504f
#define VEC_EXP_MAGIC 12582912.0f  /* 1.5 * 2^23 */
#define VEC_EXP_LN2_HI 0x1.62e4p-1f    /* 15 bits, so that n times it is exact */
#define VEC_EXP_LN2_LO 0x1.7f7d1cp-20f
#define VEC_EXP_E2 0.5f
#define VEC_EXP_E3 0.16666577f
#define VEC_EXP_E4 0.0416665547f
#define VEC_EXP_E5 0.00836317418f
#define VEC_EXP_E6 0.00139261775f

#define VEC_TANH_SMALL 0.625f
#define VEC_TANH_T0 -0.333333289f
#define VEC_TANH_T1 0.133327697f
#define VEC_TANH_T2 -0.0538509096f
#define VEC_TANH_T3 0.020997179f
#define VEC_TANH_T4 -0.00609671417f

#define VEC_INFINITY __builtin_inff()

#define VEC_GELU_A 0.7978845608f   /* sqrt(2 / pi) */
#define VEC_GELU_B 0.044715f

#endif
