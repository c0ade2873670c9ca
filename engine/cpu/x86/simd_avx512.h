/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_X86_SIMD_AVX512_H
#define QUIP_ENGINE_CPU_X86_SIMD_AVX512_H

#include "engine/base/x86/words_avx512.h"
#include "engine/cpu/vec_math.h"

/* The other vector words of vec_simd.h and attn_simd.h for AVX-512 F, BW, DQ, VL: 16 lanes. Counts n of the _n
 * forms are 0 to LANES; lanes from n on load as zero and are not stored. */
static inline vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline vec v_fms(vec a, vec b, vec c) { return _mm512_fmsub_ps(a, b, c); }
static inline vec v_neg(vec a) { return _mm512_xor_ps(v_set(-0.0f), a); }
static inline float v_first(vec a) { return _mm512_cvtss_f32(a); }

static inline vec_mask v_nan(vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }

/* magnitude |a| with the sign of b */
static inline vec v_copysign(vec a, vec b)
{
    return _mm512_or_ps(v_abs(a), _mm512_and_ps(v_set(-0.0f), b));
}

/* Adds the low bits of t to the exponent of p (vec_math.h). */
static inline vec v_exponent_add(vec p, vec t)
{
    __m512i shifted = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), shifted));
}

/* p * 2^n; 0 where x is below the range of exp, no number where p is none. x <= 0, so that nothing
 * overflows. */
static inline vec v_exponent_below(vec x, vec p, vec t, vec n)
{
    (void)t;
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, v_set(VEC_EXP_MIN), _CMP_NLT_UQ), p, n);
}

static inline __mmask16 v_first_n(int n) { return (__mmask16)((1u << n) - 1); }
static inline vec v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v_first_n(n), p); }
static inline void v_store_n(float *p, vec a, int n) { _mm512_mask_storeu_ps(p, v_first_n(n), a); }

static inline vec v_load_f16_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first_n(n), p));
}

static inline void v_store_f16_n(uint16_t *p, vec a, int n)
{
    _mm256_mask_storeu_epi16(p, v_first_n(n), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

/* -INFINITY in the lanes whose index, counted from first, is outside [begin, end). */
static inline vec v_keep_range(vec a, int first, int begin, int end)
{
    __m512i i = _mm512_add_epi32(_mm512_set1_epi32(first),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    __mmask16 in = _mm512_cmpge_epi32_mask(i, _mm512_set1_epi32(begin))
                   & _mm512_cmplt_epi32_mask(i, _mm512_set1_epi32(end));
    return _mm512_mask_blend_ps(in, v_set(-VEC_INFINITY), a);
}

/* The sixteen lanes folded to one, upper half onto lower (cpu_vec.h). */
static inline float v_fold_add(const vec lanes[16 / LANES])
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(lanes[0]), _mm512_extractf32x8_ps(lanes[0], 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

static inline float v_fold_max(const vec lanes[16 / LANES])
{
    __m256 a = _mm256_max_ps(_mm512_extractf32x8_ps(lanes[0], 1), _mm512_castps512_ps256(lanes[0]));
    __m128 b = _mm_max_ps(_mm256_extractf128_ps(a, 1), _mm256_castps256_ps128(a));
    b = _mm_max_ps(_mm_movehl_ps(b, b), b);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(b), b));
}

/* The sixteen lanes of n <= 8 of them at once: lane i of the result is what lanes[i] fold to. */
enum v_fold { FOLD_ADD, FOLD_ADD_I32, FOLD_MAX };

static inline __attribute__((always_inline)) vec v_fold_two(vec upper, vec lower, const enum v_fold how)
{
    if (how == FOLD_ADD_I32)
        return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(upper), _mm512_castps_si512(lower)));
    return how == FOLD_ADD ? _mm512_add_ps(upper, lower) : _mm512_max_ps(upper, lower);
}

/* Each step folds two registers into one; the last permutation brings the results together. */
static inline __attribute__((always_inline)) vec v_fold8(vec (*lanes)[16 / LANES], const int n,
                                                         const enum v_fold how)
{
    vec eights[4], fours[2];
    for (int i = 0; 2 * i < n; i++) {
        vec a = lanes[2 * i][0], b = 2 * i + 1 < n ? lanes[2 * i + 1][0] : a;
        eights[i] = v_fold_two(_mm512_shuffle_f32x4(a, b, 0xEE), _mm512_shuffle_f32x4(a, b, 0x44), how);
    }
    for (int i = 0; 4 * i < n; i++) {
        vec a = eights[2 * i], b = 4 * i + 2 < n ? eights[2 * i + 1] : a;
        fours[i] = v_fold_two(_mm512_shuffle_f32x4(a, b, 0xDD), _mm512_shuffle_f32x4(a, b, 0x88), how);
    }
    __m512d a = _mm512_castps_pd(fours[0]), b = n > 4 ? _mm512_castps_pd(fours[1]) : a;
    vec twos = v_fold_two(_mm512_castpd_ps(_mm512_unpackhi_pd(a, b)),
                          _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), how);
    vec ones = v_fold_two(_mm512_permute_ps(twos, 0xDD), _mm512_permute_ps(twos, 0x88), how);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
    return _mm512_permutexvar_ps(order, ones);
}

/* Pairs (even, odd) of neighbouring lanes. */
static inline vec v_evens_twice(vec a) { return _mm512_moveldup_ps(a); }
static inline vec v_odds_twice(vec a) { return _mm512_movehdup_ps(a); }
static inline vec v_swap_pairs(vec a) { return _mm512_permute_ps(a, 0xB1); }
static inline vec v_fma_sub_add(vec a, vec b, vec c) { return _mm512_fmaddsub_ps(a, b, c); }

/* lo, hi: 2 LANES values (e0 o0 e1 o1 ...) split into evens and odds. */
static inline vec v_evens(vec lo, vec hi)
{
    const __m512i i = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(lo, i, hi);
}

static inline vec v_odds(vec lo, vec hi)
{
    const __m512i i = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(lo, i, hi);
}

#endif
