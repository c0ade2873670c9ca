/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_X86_LANES_AVX512_H
#define QUIP_ENGINE_CPU_X86_LANES_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "engine/cpu/kern_tiers.h"

/* The vector words of lanes.h for AVX-512 with VNNI: all 16 weight rows at once. */
enum { LANES = 16, MAX_TILE = 8, CODES_SIGNED = 0 };
typedef __m512i vint;
typedef __m512 vfloat;
typedef uint32_t vu32 __attribute__((vector_size(64)));

static inline vint i_zero(void) { return _mm512_setzero_si512(); }
static inline vint i_load(const void *p) { return _mm512_loadu_si512(p); }
static inline void i_store(void *p, vint a) { _mm512_storeu_si512(p, a); }
static inline vint i_set8(int a) { return _mm512_set1_epi8((char)a); }
static inline vint i_set16(int a) { return _mm512_set1_epi16((short)a); }
static inline vint i_set32(int a) { return _mm512_set1_epi32(a); }
static inline vint i_and(vint a, vint b) { return _mm512_and_si512(a, b); }
static inline vint i_or(vint a, vint b) { return _mm512_or_si512(a, b); }
static inline vint i_xor(vint a, vint b) { return _mm512_xor_si512(a, b); }
static inline vint i_sub8(vint a, vint b) { return _mm512_sub_epi8(a, b); }
static inline vint i_sub32(vint a, vint b) { return _mm512_sub_epi32(a, b); }
static inline vint i_mul16(vint a, vint b) { return _mm512_mullo_epi16(a, b); }
static inline vint i_left(vint a, int n) { return (vint)((vu32)a << n); }
static inline vint i_right(vint a, int n) { return (vint)((vu32)a >> n); }
static inline vint i_pick8(vint a, vint index) { return _mm512_shuffle_epi8(a, index); }
static inline vint i_signed16(vint a, int n) { return _mm512_srai_epi16(a, (unsigned)n); }
static inline vint i_repeat(__m128i a) { return _mm512_broadcast_i32x4(a); }
/* value in the bytes where a has any of the bits */
static inline vint i_where_bits(vint a, vint bits, vint value)
{
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(a, bits), value);
}

static inline vfloat f_zero(void) { return _mm512_setzero_ps(); }
static inline vfloat f_set(float a) { return _mm512_set1_ps(a); }
static inline vfloat f_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void f_store(float *p, vfloat a) { _mm512_storeu_ps(p, a); }
static inline vfloat f_add(vfloat a, vfloat b) { return _mm512_add_ps(a, b); }
static inline vfloat f_mul(vfloat a, vfloat b) { return _mm512_mul_ps(a, b); }
static inline vfloat f_fma(vfloat a, vfloat b, vfloat c) { return _mm512_fmadd_ps(a, b, c); }
static inline vfloat f_neg(vfloat a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
static inline vfloat f_from_i32(vint a) { return _mm512_cvtepi32_ps(a); }
static inline vfloat f_from_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
/* 2^(e - 127) / 2 of bytes e: as bits (e - 1) << 23, but (e + 1) << 21 for 0 and 1; always the larger of the two. */
static inline vfloat f_mxfp4_scale(const void *p)
{
    vint e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)), one = i_set32(1);
    vint normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
    vint small = _mm512_slli_epi32(_mm512_add_epi32(e, one), 21);
    return _mm512_castsi512_ps(_mm512_max_epi32(normal, small));
}
/* The two f16 of each dword. */
static inline vfloat f_low_f16(vint a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
static inline vfloat f_high_f16(vint a) { return f_low_f16(i_right(a, 16)); }

static inline vint i_spread32(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof value);
    return _mm512_set1_epi32(value);
}

/* Four dwords of each of 16 rows, transposed into four lines. */
static inline void transpose_piece(uint8_t *lines, const uint8_t *const rows[16], int64_t at)
{
    __m512i z[4];
#pragma GCC unroll 4
    for (int m = 0; m < 4; m++) {
        __m256i low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(rows[m] + at)));
        __m256i high = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(rows[m + 8] + at)));
        low = _mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i *)(rows[m + 4] + at)), 1);
        high = _mm256_inserti128_si256(high, _mm_loadu_si128((const __m128i *)(rows[m + 12] + at)), 1);
        z[m] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpacklo_epi32(z[2], z[3]);
    __m512i c = _mm512_unpackhi_epi32(z[0], z[1]), d = _mm512_unpackhi_epi32(z[2], z[3]);
    i_store(lines, _mm512_unpacklo_epi64(a, b));
    i_store(lines + 64, _mm512_unpackhi_epi64(a, b));
    i_store(lines + 128, _mm512_unpacklo_epi64(c, d));
    i_store(lines + 192, _mm512_unpackhi_epi64(c, d));
}

/* Integer scales per 16: (c0, c1) as i16 pairs in each lane become one factor per half. */
static inline void split_scales(vint c[2], vint pairs)
{
    c[0] = _mm512_srai_epi32(_mm512_slli_epi32(pairs, 16), 16);
    c[1] = _mm512_srai_epi32(pairs, 16);
}

/* t + the sum of a's and b's i16 products in each dword. */
static inline vint dot16(vint t, vint a, vint b) { return _mm512_dpwssd_epi32(t, a, b); }

/* t[p] plus the products of lines [line0, line1) with plane p: code times q, summed per lane. */
INLINE void dot_lines(vint *t, int n_planes, const vint *code, int line0, int line1,
                      const int8_t *q, int64_t stride, int bits)
{
    (void)bits;
#pragma GCC unroll 8
    for (int i = line0; i < line1; i++)
#pragma GCC unroll 8
        for (int p = 0; p < n_planes; p++)
            t[p] = _mm512_dpbusd_epi32(t[p], code[i], i_spread32(q + p * stride + 4 * i));
}

/* The same over 16 weights, times the scale of their half. */
INLINE void dot_half(vint *t, int n_planes, const vint *code, int half, vint scale, const int8_t *q,
                     int64_t stride, int bits)
{
    vint sum[MAX_TILE];
    for (int p = 0; p < n_planes; p++)
        sum[p] = i_zero();
    dot_lines(sum, n_planes, code, 4 * half, 4 * half + 4, q, stride, bits);
#pragma GCC unroll 8
    for (int p = 0; p < n_planes; p++)
        t[p] = _mm512_add_epi32(t[p], _mm512_mullo_epi32(sum[p], scale));
}

/* Sixteen columns of f32 (float_product.h). */
enum { FLOAT_ROWS = 4, FLOAT_TILE = 4 };
typedef __m512 wide;

static inline wide w_zero(void) { return _mm512_setzero_ps(); }
static inline wide w_load(const float *p) { return _mm512_loadu_ps(p); }
static inline wide w_fma(wide a, wide b, wide c) { return _mm512_fmadd_ps(a, b, c); }
static inline wide w_load_f32(const uint8_t *p) { return _mm512_loadu_ps(p); }
static inline wide w_load_f16(const uint8_t *p) { return f_from_f16(p); }
static inline wide w_load_bf16(const uint8_t *p)
{
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

static inline float w_fold(wide a)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
