/* SPDX-License-Identifier: MIT */
#include "engine/cpu/vec_tiers.h"
#include "engine/cpu/x86/simd_avx2.h"

/* 16 registers: at most 8 sums beside what they are made of. */
enum {
    ATTN_KEYS_1 = 8, ATTN_KEYS_2 = 4, ATTN_KEYS_3 = 4, ATTN_KEYS_4 = 2, ATTN_KEYS_6 = 2,
    ATTN_COLS_1 = 8, ATTN_COLS_2 = 4, ATTN_COLS_3 = 4, ATTN_COLS_4 = 2, ATTN_COLS_6 = 2,
    SEALED_KEYS_1 = 4, SEALED_KEYS_2 = 4, SEALED_KEYS_3 = 2,
    SEALED_KEYS_4 = 2, SEALED_KEYS_6 = 1, SEALED_KEYS_8 = 1,
    SEALED_COLS_1 = 4, SEALED_COLS_2 = 4, SEALED_COLS_3 = 2,
    SEALED_COLS_4 = 2, SEALED_COLS_6 = 1, SEALED_COLS_8 = 1,
    B_OFFSET_8 = 0, B_OFFSET_3 = 0
};

typedef __m256i vint;

static inline vint i_zero(void) { return _mm256_setzero_si256(); }
static inline vint i_load(const void *p) { return _mm256_loadu_si256(p); }
static inline void i_store(void *p, vint a) { _mm256_storeu_si256(p, a); }
static inline vint i_set32(int a) { return _mm256_set1_epi32(a); }
static inline vint i_and(vint a, vint b) { return _mm256_and_si256(a, b); }
static inline vint i_add32(vint a, vint b) { return _mm256_add_epi32(a, b); }
static inline vint i_max32(vint a, vint b) { return _mm256_max_epi32(a, b); }
static inline vint i_times32(vint a, int b) { return _mm256_mullo_epi32(a, _mm256_set1_epi32(b)); }
static inline vint i_right(vint a, int n) { return _mm256_srli_epi32(a, n); }
static inline vint i_left(vint a, int n) { return _mm256_slli_epi32(a, n); }
static inline vint i_dot16(vint t, vint a, vint b) { return _mm256_add_epi32(t, _mm256_madd_epi16(a, b)); }
static inline vint i_round(vec a) { return _mm256_cvtps_epi32(a); }
static inline vec v_from_bits(vint a) { return _mm256_castsi256_ps(a); }
static inline vint i_from_bits(vec a) { return _mm256_castps_si256(a); }
static inline vec v_from_i32(vint a) { return _mm256_cvtepi32_ps(a); }

static inline vint i_spread32(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof value);
    return _mm256_set1_epi32(value);
}

static inline vint i_pack16(vint a, vint b)
{
    return _mm256_max_epi16(_mm256_packs_epi32(a, b), _mm256_set1_epi16(-32767));
}

/* Where i_pack16 leaves keys 16 k16 on, and in which order the pairs of them follow, in dwords. */
static inline int weight_at(int k16) { return k16 * 16; }
static const int weight_order[8] = { 0, 1, 4, 5, 2, 3, 6, 7 };

static inline vint i_pack8(vint a, vint b, vint c, vint d)
{
    vint bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_max_epi8(bytes, _mm256_set1_epi8(-127));
}

/* In which dword of a page i_pack8, half a page at a time, leaves keys 4 i to 4 i + 3. */
static inline int weight8_at(int i) { return i / 8 * 8 + i % 2 * 4 + i % 8 / 2; }

static inline void i_store8(int8_t *p, vint a)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(words, words));
}

static inline vint i_widen8(const void *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(p));
}

/* Products of bytes come as sums of two in i16 (vpmaddubsw); `bits` is how a code is stored. Those of 4 bits stay
 * in i16 to the end: 16 products, 16 * 15 * 127 < 32768. The others are made signed and their sign moves to what
 * they are multiplied by, since two products of 255 would not fit; each sum of two is widened at once. */
static inline vint b_start(vint sum, int bits)
{
    return bits == 4 ? i_zero() : sum;
}

static inline vint b_add(vint acc, vint u, vint four, int bits)
{
    if (bits == 4)
        return _mm256_add_epi16(acc, _mm256_maddubs_epi16(u, four));
    if (bits == 8)
        u = _mm256_xor_si256(u, _mm256_set1_epi8(-128));
    vint two = _mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(four, u));
    return i_dot16(acc, two, _mm256_set1_epi16(1));
}

static inline vint b_finish(vint acc, vint sum, int bits)
{
    return bits == 4 ? i_dot16(sum, acc, _mm256_set1_epi16(1)) : acc;
}

/* kv3_level: bit 3 of an index may be anything. */
static inline vint b_level(vint low, vint high)
{
    const vint levels = _mm256_broadcastsi128_si256(_mm_setr_epi8(-127, -79, -45, -14, 14, 45, 79, 127,
                                                                 -127, -79, -45, -14, 14, 45, 79, 127));
    vint index = _mm256_or_si256(i_and(low, i_set32(0x03030303)), i_and(high, i_set32(0x04040404)));
    return _mm256_shuffle_epi8(levels, index);
}

static inline vec v_partner(vec a, int n)
{
    switch (n) {
    case 1: return _mm256_permute_ps(a, 0xB1);
    case 2: return _mm256_permute_ps(a, 0x4E);
    default: return _mm256_permute2f128_ps(a, a, 0x01);
    }
}

static inline vint lane_index(void)
{
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
}

static inline vec v_odd_sign(vec a, int n)
{
    vint odd = _mm256_cmpeq_epi32(i_and(lane_index(), i_set32(n)), i_set32(n));
    return _mm256_xor_ps(a, _mm256_and_ps(_mm256_castsi256_ps(odd), v_set(-0.0f)));
}

static inline vec v_kv_sign(vec a, int32_t component)
{
    vint h = _mm256_mullo_epi32(i_add32(lane_index(), i_set32(component)), i_set32((int)0x9E3779B1u));
    h = _mm256_mullo_epi32(_mm256_xor_si256(h, i_right(h, 15)), i_set32((int)0x85EBCA77u));
    return _mm256_xor_ps(a, _mm256_and_ps(_mm256_castsi256_ps(h), v_set(-0.0f)));
}

#include "engine/cpu/attn_sealed_simd.h"

void cpu_kv_init_avx2(struct cpu_kv_kern *k)
{
    k->name = "avx2";
    sealed_fill_table(k);
}
