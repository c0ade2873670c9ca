/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kv_tiers.h"
#include "engine/cpu/x86/kv_turn.h"
#include "engine/cpu/x86/simd_avx512.h"

static inline vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }    /* b when one is NaN */

/* Whole parts, 0 to 255. */
static inline void v_store_u8(uint8_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}

#include "engine/cpu/kv_seal_loops.h"

void cpu_kv_seal_init_avx512(struct cpu_kv_kern *k)
{
    k->seal = seal;
}
