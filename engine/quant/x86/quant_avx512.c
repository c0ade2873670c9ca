/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "engine/quant/quant_tiers.h"
#include "engine/quant/x86/quant_turn.h"

/* The vector words of quant_loops.h for AVX-512: 16 lanes. */
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
static inline vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
static inline vec v_abs(vec a) { return _mm512_andnot_ps(v_set(-0.0f), a); }
static inline vec v_whole_part(vec a) { return _mm512_cvtepi32_ps(_mm512_cvttps_epi32(a)); }
static inline vec v_sqrt(vec a) { return _mm512_sqrt_ps(a); }
static inline vec_mask v_less(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vec_mask v_differ(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
static inline vec_mask v_both(vec_mask a, vec_mask b) { return a & b; }
static inline bool v_any(vec_mask m) { return m != 0; }
static inline vec v_select(vec_mask m, vec yes, vec no) { return _mm512_mask_blend_ps(m, no, yes); }

static inline vec v_power_inverse(vec a)
{
    __m512i exponent = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7F800000));
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(0x7F000000), exponent));
}

static inline void v_store_u8(uint8_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}

static inline vec v_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline void v_store_f16(void *p, vec a)
{
    _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

/* [LANES][run] to [run][LANES]; run a multiple of 8. */
static inline void v_turn(float *out, const float *in, int32_t run)
{
    for (int32_t i = 0; i < run; i += 8)
        for (int32_t lane = 0; lane < LANES; lane += 8)
            turn_square(out + i * LANES + lane, LANES, in + lane * run + i, run);
}

#include "engine/quant/quant_loops.h"

const struct quant_kern quant_kern_avx512 = QUANT_TABLE;
