/* SPDX-License-Identifier: MIT */
#include "engine/base/x86/words_avx2.h"
#include "engine/quant/quant_tiers.h"
#include "engine/quant/x86/quant_turn.h"

/* The other words of quant_loops.h for AVX2: 8 lanes. */
static inline vec v_whole_part(vec a) { return _mm256_cvtepi32_ps(_mm256_cvttps_epi32(a)); }
static inline vec v_sqrt(vec a) { return _mm256_sqrt_ps(a); }
static inline vec_mask v_differ(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
static inline vec_mask v_both(vec_mask a, vec_mask b) { return _mm256_and_ps(a, b); }
static inline bool v_any(vec_mask m) { return _mm256_movemask_ps(m) != 0; }

static inline vec v_power_inverse(vec a)
{
    __m256i exponent = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7F800000));
    return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(0x7F000000), exponent));
}

/* [LANES][run] to [run][LANES]; run a multiple of 8. */
static inline void v_turn(float *out, const float *in, int32_t run)
{
    for (int32_t i = 0; i < run; i += 8)
        turn_square(out + i * LANES, LANES, in + i, run);
}

#include "engine/quant/quant_loops.h"

const struct quant_kern quant_kern_avx2 = QUANT_TABLE;
