/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "engine/quant/quant_tiers.h"
#include "engine/quant/x86/quant_turn.h"

/* The vector words of quant_loops.h for AVX2: 8 lanes. */
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
static inline vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static inline vec v_abs(vec a) { return _mm256_andnot_ps(v_set(-0.0f), a); }
static inline vec v_whole_part(vec a) { return _mm256_cvtepi32_ps(_mm256_cvttps_epi32(a)); }
static inline vec v_sqrt(vec a) { return _mm256_sqrt_ps(a); }
static inline vec_mask v_less(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vec_mask v_differ(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
static inline vec_mask v_both(vec_mask a, vec_mask b) { return _mm256_and_ps(a, b); }
static inline bool v_any(vec_mask m) { return _mm256_movemask_ps(m) != 0; }
static inline vec v_select(vec_mask m, vec yes, vec no) { return _mm256_blendv_ps(no, yes, m); }

static inline vec v_power_inverse(vec a)
{
    __m256i exponent = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7F800000));
    return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(0x7F000000), exponent));
}

static inline void v_store_u8(uint8_t *p, vec a)
{
    __m256i i = _mm256_cvttps_epi32(a);
    __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(half, half));
}

static inline vec v_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline void v_store_f16(void *p, vec a) { _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }

/* [LANES][run] to [run][LANES]; run a multiple of 8. */
static inline void v_turn(float *out, const float *in, int32_t run)
{
    for (int32_t i = 0; i < run; i += 8)
        turn_square(out + i * LANES, LANES, in + i, run);
}

#include "engine/quant/quant_loops.h"

const struct quant_kern quant_kern_avx2 = QUANT_TABLE;
