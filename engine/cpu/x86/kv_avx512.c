/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "engine/cpu/vec_tiers.h"
#include "engine/cpu/x86/simd_avx512.h"

/* 32 registers: 16 sums beside what they are made of. 24 (6 queries, 4 vectors of keys) were spilled. */
enum {
    ATTN_KEYS_1 = 4, ATTN_KEYS_2 = 4, ATTN_KEYS_3 = 4, ATTN_KEYS_4 = 4, ATTN_KEYS_6 = 4,
    ATTN_COLS_1 = 4, ATTN_COLS_2 = 4, ATTN_COLS_3 = 4, ATTN_COLS_4 = 4, ATTN_COLS_6 = 4,
    SEALED_KEYS_1 = 4, SEALED_KEYS_2 = 4, SEALED_KEYS_3 = 4,
    SEALED_KEYS_4 = 4, SEALED_KEYS_6 = 2, SEALED_KEYS_8 = 2,
    SEALED_COLS_1 = 2, SEALED_COLS_2 = 2, SEALED_COLS_3 = 2,
    SEALED_COLS_4 = 2, SEALED_COLS_6 = 2, SEALED_COLS_8 = 2,
    B_OFFSET_8 = 128, B_OFFSET_3 = 128
};

typedef __m512i vint;

static inline vint i_zero(void) { return _mm512_setzero_si512(); }
static inline vint i_load(const void *p) { return _mm512_loadu_si512(p); }
static inline void i_store(void *p, vint a) { _mm512_storeu_si512(p, a); }
static inline vint i_set32(int a) { return _mm512_set1_epi32(a); }
static inline vint i_and(vint a, vint b) { return _mm512_and_si512(a, b); }
static inline vint i_add32(vint a, vint b) { return _mm512_add_epi32(a, b); }
static inline vint i_max32(vint a, vint b) { return _mm512_max_epi32(a, b); }
static inline vint i_times32(vint a, int b) { return _mm512_mullo_epi32(a, _mm512_set1_epi32(b)); }
static inline vint i_right(vint a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }
static inline vint i_left(vint a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
static inline vint i_dot16(vint t, vint a, vint b) { return _mm512_dpwssd_epi32(t, a, b); }
static inline vint i_round(vec a) { return _mm512_cvtps_epi32(a); }
static inline vec v_from_bits(vint a) { return _mm512_castsi512_ps(a); }
static inline vint i_from_bits(vec a) { return _mm512_castps_si512(a); }
static inline vec v_from_i32(vint a) { return _mm512_cvtepi32_ps(a); }

static inline vint i_spread32(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof value);
    return _mm512_set1_epi32(value);
}

static inline vint i_pack16(vint a, vint b)
{
    return _mm512_max_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(-32767));
}

/* Where i_pack16 leaves keys 16 k16 on, and in which order the pairs of them follow, in dwords. */
static inline int weight_at(int k16) { return k16 / 2 * 32 + k16 % 2 * 4; }
static const int weight_order[8] = { 0, 1, 4, 5, 8, 9, 12, 13 };

static inline vint i_pack8(vint a, vint b, vint c, vint d)
{
    vint bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    return _mm512_max_epi8(bytes, _mm512_set1_epi8(-127));
}

/* In which dword of a page i_pack8 leaves keys 4 i to 4 i + 3. */
static inline int weight8_at(int i) { return i % 4 * 4 + i / 4; }

static inline void i_store8(int8_t *p, vint a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}

static inline vint i_widen8(const void *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(p));
}

/* Products of bytes (vpdpbusd): codes are unsigned here, too large by B_OFFSET_..; `bits` is how a code is
 * stored. The sum starts with what takes this off again. */
static inline vint b_start(vint sum, int bits)
{
    (void)bits;
    return sum;
}

static inline vint b_add(vint acc, vint u, vint four, int bits)
{
    (void)bits;
    return _mm512_dpbusd_epi32(acc, u, four);
}

static inline vint b_finish(vint acc, vint sum, int bits)
{
    (void)sum;
    (void)bits;
    return acc;
}

/* kv3_level + 128: bit 3 of an index may be anything. */
static inline vint b_level(vint low, vint high)
{
    const vint levels = _mm512_broadcast_i32x4(_mm_setr_epi8(1, 49, 83, 114, -114, -83, -49, -1,
                                                            1, 49, 83, 114, -114, -83, -49, -1));
    vint index = _mm512_ternarylogic_epi32(i_set32(0x04040404), high, low, 0xca);    /* 1st ? 2nd : 3rd */
    return _mm512_shuffle_epi8(levels, i_and(index, i_set32(0x07070707)));
}

static inline vec v_partner(vec a, int n)
{
    switch (n) {
    case 1: return _mm512_permute_ps(a, 0xB1);
    case 2: return _mm512_permute_ps(a, 0x4E);
    case 4: return _mm512_shuffle_f32x4(a, a, 0xB1);
    default: return _mm512_shuffle_f32x4(a, a, 0x4E);
    }
}

static inline vint lane_index(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

static inline vec v_odd_sign(vec a, int n)
{
    __mmask16 odd = _mm512_test_epi32_mask(lane_index(), i_set32(n));
    return _mm512_mask_xor_ps(a, odd, a, v_set(-0.0f));
}

static inline vec v_kv_sign(vec a, int32_t component)
{
    vint h = _mm512_mullo_epi32(i_add32(lane_index(), i_set32(component)), i_set32((int)0x9E3779B1u));
    h = _mm512_mullo_epi32(_mm512_xor_si512(h, i_right(h, 15)), i_set32((int)0x85EBCA77u));
    return _mm512_xor_ps(a, _mm512_and_ps(_mm512_castsi512_ps(h), v_set(-0.0f)));
}

#include "engine/cpu/attn_sealed_simd.h"

void cpu_kv_init_avx512(struct cpu_kv_kern *k)
{
    k->name = "avx512";
    sealed_fill_table(k);
}
