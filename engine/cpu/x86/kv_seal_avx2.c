/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kv_tiers.h"
#include "engine/cpu/x86/kv_turn.h"
#include "engine/cpu/x86/simd_avx2.h"

static inline vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }    /* b when one is NaN */

/* Whole parts, 0 to 255. */
static inline void v_store_u8(uint8_t *p, vec a)
{
    __m256i i = _mm256_cvttps_epi32(a);
    __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(half, half));
}

#include "engine/cpu/kv_seal_loops.h"

void cpu_kv_seal_init_avx2(struct cpu_kv_kern *k)
{
    k->seal = seal;
}
