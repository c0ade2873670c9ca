/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_X86_WORDS_AVX2_H
#define QUIP_ENGINE_BASE_X86_WORDS_AVX2_H

#include <immintrin.h>
#include <stdint.h>

/* The vector words that kernels and quantisers have in common, for AVX2 + F16C: 8 lanes. */
enum { LANES = 8 };
typedef __m256 vec;
typedef __m256 vec_mask;

static inline vec v_set(float a) { return _mm256_set1_ps(a); }
static inline vec v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vec a) { _mm256_storeu_ps(p, a); }
static inline vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
static inline vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }    /* b when one is NaN */
static inline vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }    /* likewise */
static inline vec v_abs(vec a) { return _mm256_andnot_ps(v_set(-0.0f), a); }
static inline vec_mask v_less(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vec v_select(vec_mask m, vec yes, vec no) { return _mm256_blendv_ps(no, yes, m); }

static inline vec v_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline void v_store_f16(uint16_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

/* Whole parts, 0 to 255. */
static inline void v_store_u8(uint8_t *p, vec a)
{
    __m256i i = _mm256_cvttps_epi32(a);
    __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(half, half));
}

#endif
