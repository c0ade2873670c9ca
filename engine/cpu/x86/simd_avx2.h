/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_X86_SIMD_AVX2_H
#define QUIP_ENGINE_CPU_X86_SIMD_AVX2_H

#include <string.h>

#include "engine/base/x86/words_avx2.h"
#include "engine/cpu/vec_math.h"

/* The other vector words of vec_simd.h and attn_simd.h for AVX2 + FMA + F16C: 8 lanes. Counts n of the _n forms
 * are 0 to LANES; lanes from n on load as zero and are not stored. */
static inline vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline vec v_fms(vec a, vec b, vec c) { return _mm256_fmsub_ps(a, b, c); }
static inline vec v_neg(vec a) { return _mm256_xor_ps(v_set(-0.0f), a); }
static inline float v_first(vec a) { return _mm256_cvtss_f32(a); }

static inline vec_mask v_nan(vec a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }

/* magnitude |a| with the sign of b */
static inline vec v_copysign(vec a, vec b)
{
    return _mm256_or_ps(v_abs(a), _mm256_and_ps(v_set(-0.0f), b));
}

/* Adds the low bits of t to the exponent of p (vec_math.h). */
static inline vec v_exponent_add(vec p, vec t)
{
    __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), shifted));
}

/* p * 2^n, the low bits of t being n; 0 where x is below the range of exp, x where it is no number. x <= 0,
 * so that nothing overflows. */
static inline vec v_exponent_below(vec x, vec p, vec t, vec n)
{
    (void)n;
    p = v_select(v_less(x, v_set(VEC_EXP_MIN)), v_set(0.0f), v_exponent_add(p, t));
    return v_select(v_nan(x), x, p);
}

static inline __m256i v_first_n(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vec v_load_n(const float *p, int n) { return _mm256_maskload_ps(p, v_first_n(n)); }
static inline void v_store_n(float *p, vec a, int n) { _mm256_maskstore_ps(p, v_first_n(n), a); }

static inline vec v_load_f16_n(const uint16_t *p, int n)
{
    uint16_t part[LANES] = { 0 };
    memcpy(part, p, (size_t)n * sizeof *p);
    return v_load_f16(part);
}

static inline void v_store_f16_n(uint16_t *p, vec a, int n)
{
    uint16_t part[LANES];
    v_store_f16(part, a);
    memcpy(p, part, (size_t)n * sizeof *p);
}

/* -INFINITY in the lanes whose index, counted from first, is outside [begin, end). */
static inline vec v_keep_range(vec a, int first, int begin, int end)
{
    __m256i i = _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i in = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), i),
                                     _mm256_cmpgt_epi32(_mm256_set1_epi32(end), i));
    return _mm256_blendv_ps(v_set(-VEC_INFINITY), a, _mm256_castsi256_ps(in));
}

/* The sixteen lanes folded to one, upper half onto lower (cpu_vec.h). */
static inline float v_fold_add(const vec lanes[16 / LANES])
{
    __m256 a = _mm256_add_ps(lanes[0], lanes[1]);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

static inline float v_fold_max(const vec lanes[16 / LANES])
{
    __m256 a = _mm256_max_ps(lanes[1], lanes[0]);
    __m128 b = _mm_max_ps(_mm256_extractf128_ps(a, 1), _mm256_castps256_ps128(a));
    b = _mm_max_ps(_mm_movehl_ps(b, b), b);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(b), b));
}

/* The sixteen lanes of n <= 8 of them at once: lane i of the result is what lanes[i] fold to. */
enum v_fold { FOLD_ADD, FOLD_ADD_I32, FOLD_MAX };

static inline __attribute__((always_inline)) vec v_fold_two(vec upper, vec lower, const enum v_fold how)
{
    if (how == FOLD_ADD_I32)
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(upper), _mm256_castps_si256(lower)));
    return how == FOLD_ADD ? _mm256_add_ps(upper, lower) : _mm256_max_ps(upper, lower);
}

/* Each step folds two registers into one; the last permutation puts the results in order. */
static inline __attribute__((always_inline)) vec v_fold8(vec (*lanes)[16 / LANES], const int n,
                                                         const enum v_fold how)
{
    vec eights[8], fours[4], twos[2];
    for (int i = 0; i < n; i++)
        eights[i] = v_fold_two(lanes[i][1], lanes[i][0], how);
    for (int i = 0; 2 * i < n; i++) {
        vec a = eights[2 * i], b = 2 * i + 1 < n ? eights[2 * i + 1] : a;
        fours[i] = v_fold_two(_mm256_permute2f128_ps(a, b, 0x31), _mm256_permute2f128_ps(a, b, 0x20), how);
    }
    for (int i = 0; 4 * i < n; i++) {
        __m256d a = _mm256_castps_pd(fours[2 * i]);
        __m256d b = 4 * i + 2 < n ? _mm256_castps_pd(fours[2 * i + 1]) : a;
        twos[i] = v_fold_two(_mm256_castpd_ps(_mm256_unpackhi_pd(a, b)),
                             _mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), how);
    }
    vec a = twos[0], b = n > 4 ? twos[1] : a;
    vec ones = v_fold_two(_mm256_shuffle_ps(a, b, 0xDD), _mm256_shuffle_ps(a, b, 0x88), how);
    return _mm256_permutevar8x32_ps(ones, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Pairs (even, odd) of neighbouring lanes. */
static inline vec v_evens_twice(vec a) { return _mm256_moveldup_ps(a); }
static inline vec v_odds_twice(vec a) { return _mm256_movehdup_ps(a); }
static inline vec v_swap_pairs(vec a) { return _mm256_permute_ps(a, 0xB1); }
static inline vec v_fma_sub_add(vec a, vec b, vec c) { return _mm256_fmaddsub_ps(a, b, c); }

/* lo, hi: 2 LANES values (e0 o0 e1 o1 ...) split into evens and odds. */
static inline vec v_evens(vec lo, vec hi)
{
    __m256d mixed = _mm256_castps_pd(_mm256_shuffle_ps(lo, hi, 0x88));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(mixed, 0xD8));
}

static inline vec v_odds(vec lo, vec hi)
{
    __m256d mixed = _mm256_castps_pd(_mm256_shuffle_ps(lo, hi, 0xDD));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(mixed, 0xD8));
}

#endif
