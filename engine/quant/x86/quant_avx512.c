/* SPDX-License-Identifier: MIT */
#include "engine/base/x86/words_avx512.h"
#include "engine/quant/quant_tiers.h"
#include "engine/quant/x86/quant_turn.h"

/* The other words of quant_loops.h for AVX-512: 16 lanes. */
static inline vec v_whole_part(vec a) { return _mm512_cvtepi32_ps(_mm512_cvttps_epi32(a)); }
static inline vec v_sqrt(vec a) { return _mm512_sqrt_ps(a); }
static inline vec_mask v_differ(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
static inline vec_mask v_both(vec_mask a, vec_mask b) { return a & b; }
static inline bool v_any(vec_mask m) { return m != 0; }

static inline vec v_power_inverse(vec a)
{
    __m512i exponent = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7F800000));
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(0x7F000000), exponent));
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
