/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_X86_WORDS_AVX512_H
#define QUIP_ENGINE_BASE_X86_WORDS_AVX512_H

#include <immintrin.h>
#include <stdint.h>

/* The vector words that kernels and quantisers have in common, for AVX-512 F: 16 lanes. */
enum { LANES = 16 };
typedef __m512 vec;
typedef __mmask16 vec_mask;

static inline vec v_set(float a) { return _mm512_set1_ps(a); }
static inline vec v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
static inline vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
static inline vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }    /* b when one is NaN */
static inline vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }    /* likewise */
static inline vec v_abs(vec a) { return _mm512_andnot_ps(v_set(-0.0f), a); }
static inline vec_mask v_less(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vec v_select(vec_mask m, vec yes, vec no) { return _mm512_mask_blend_ps(m, no, yes); }

static inline vec v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline void v_store_f16(uint16_t *p, vec a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

/* Whole parts, 0 to 255. */
static inline void v_store_u8(uint8_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}

#endif
