/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_X86_LANES_AVX2_H
#define QUIP_ENGINE_CPU_X86_LANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "engine/cpu/kern_tiers.h"

/* The vector words of lanes.h for AVX2, FMA and F16C: eight weight rows, twice per group of 16.
 *
 * Products of bytes come as sums of two in i16 (vpmaddubsw); how many of these fit into i16 before they
 * must be widened follows from the width of the codes. Those of Q8_0 and the table of IQ4_NL and IQ4_XS do
 * not fit as unsigned ones at all: they stay signed, and their sign moves to the activation. One Zen 4 core,
 * mat-mat: 58 GMAC/s so, 80 for Q4_0. */
enum { LANES = 8, MAX_TILE = 4, CODES_SIGNED = 1 };
typedef __m256i vint;
typedef __m256 vfloat;
typedef uint32_t vu32 __attribute__((vector_size(32)));

static inline vint i_zero(void) { return _mm256_setzero_si256(); }
static inline vint i_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void i_store(void *p, vint a) { _mm256_storeu_si256((__m256i *)p, a); }
static inline vint i_set8(int a) { return _mm256_set1_epi8((char)a); }
static inline vint i_set16(int a) { return _mm256_set1_epi16((short)a); }
static inline vint i_set32(int a) { return _mm256_set1_epi32(a); }
static inline vint i_and(vint a, vint b) { return _mm256_and_si256(a, b); }
static inline vint i_or(vint a, vint b) { return _mm256_or_si256(a, b); }
static inline vint i_xor(vint a, vint b) { return _mm256_xor_si256(a, b); }
static inline vint i_sub8(vint a, vint b) { return _mm256_sub_epi8(a, b); }
static inline vint i_sub32(vint a, vint b) { return _mm256_sub_epi32(a, b); }
static inline vint i_mul16(vint a, vint b) { return _mm256_mullo_epi16(a, b); }
static inline vint i_left(vint a, int n) { return (vint)((vu32)a << n); }
static inline vint i_right(vint a, int n) { return (vint)((vu32)a >> n); }
static inline vint i_pick8(vint a, vint index) { return _mm256_shuffle_epi8(a, index); }
static inline vint i_signed16(vint a, int n) { return _mm256_srai_epi16(a, n); }
static inline vint i_repeat(__m128i a) { return _mm256_broadcastsi128_si256(a); }
/* value in the bytes where a has all of the bits */
static inline vint i_where_bits(vint a, vint bits, vint value)
{
    return i_and(_mm256_cmpeq_epi8(i_and(a, bits), bits), value);
}

static inline vfloat f_zero(void) { return _mm256_setzero_ps(); }
static inline vfloat f_set(float a) { return _mm256_set1_ps(a); }
static inline vfloat f_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void f_store(float *p, vfloat a) { _mm256_storeu_ps(p, a); }
static inline vfloat f_add(vfloat a, vfloat b) { return _mm256_add_ps(a, b); }
static inline vfloat f_mul(vfloat a, vfloat b) { return _mm256_mul_ps(a, b); }
static inline vfloat f_fma(vfloat a, vfloat b, vfloat c) { return _mm256_fmadd_ps(a, b, c); }
static inline vfloat f_neg(vfloat a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
static inline vfloat f_from_i32(vint a) { return _mm256_cvtepi32_ps(a); }
static inline vfloat f_from_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
/* 2^(e - 127) / 2 of bytes e: as bits (e - 1) << 23, but (e + 1) << 21 for 0 and 1; always the larger of the two. */
static inline vfloat f_mxfp4_scale(const void *p)
{
    vint e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)), one = i_set32(1);
    vint normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    vint small = _mm256_slli_epi32(_mm256_add_epi32(e, one), 21);
    return _mm256_castsi256_ps(_mm256_max_epi32(normal, small));
}
/* The two f16 of each dword. */
static inline vfloat f_high_f16(vint a)
{
    vint words = _mm256_srli_epi32(a, 16);
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(words),
                                            _mm256_extracti128_si256(words, 1)));
}
static inline vfloat f_low_f16(vint a) { return f_high_f16(_mm256_slli_epi32(a, 16)); }

static inline vint i_spread32(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof value);
    return _mm256_set1_epi32(value);
}

/* Four dwords of each of 16 rows, transposed into four lines. */
static inline void transpose_piece(uint8_t *lines, const uint8_t *const rows[16], int64_t at)
{
    for (int first = 0; first < 16; first += 8) {
        __m256i z[4];
#pragma GCC unroll 4
        for (int m = 0; m < 4; m++) {
            z[m] = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(rows[first + m] + at)));
            z[m] = _mm256_inserti128_si256(z[m],
                                           _mm_loadu_si128((const __m128i *)(rows[first + m + 4] + at)), 1);
        }
        __m256i a = _mm256_unpacklo_epi32(z[0], z[1]), b = _mm256_unpacklo_epi32(z[2], z[3]);
        __m256i c = _mm256_unpackhi_epi32(z[0], z[1]), d = _mm256_unpackhi_epi32(z[2], z[3]);
        uint8_t *out = lines + 4 * first;
        i_store(out, _mm256_unpacklo_epi64(a, b));
        i_store(out + 64, _mm256_unpackhi_epi64(a, b));
        i_store(out + 128, _mm256_unpacklo_epi64(c, d));
        i_store(out + 192, _mm256_unpackhi_epi64(c, d));
    }
}

/* Integer scales per 16: (c0, c1) as i16 pairs in each lane become one factor per half, twice in each
 * lane because it meets two i16 sums there. */
static inline void split_scales(vint c[2], vint pairs)
{
    c[0] = _mm256_blend_epi16(pairs, _mm256_slli_epi32(pairs, 16), 0xAA);
    c[1] = _mm256_blend_epi16(pairs, _mm256_srli_epi32(pairs, 16), 0x55);
}

/* t + the sum of a's and b's i16 products in each dword. */
static inline vint dot16(vint t, vint a, vint b) { return _mm256_add_epi32(t, _mm256_madd_epi16(a,
                                                                                                b)); }

/* Sums of two products that i16 holds: 2 * 127 * (2^bits - 1) * fit < 32768. */
static inline int sums_that_fit(int bits)
{
    return bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
}

static inline vint bytes_dot(vint code, vint q, int bits)
{
    return bits == 8 ? _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(q, code))
                     : _mm256_maddubs_epi16(code, q);
}

/* t[p] plus scale times the products of lines [line0, line1) with plane p, summed per lane. */
INLINE void dot_scaled(vint *t, int n_planes, const vint *code, int line0, int line1, vint scale,
                       const int8_t *q, int64_t stride, int bits)
{
    int fit = sums_that_fit(bits);
    vint sum[MAX_TILE];
#pragma GCC unroll 8
    for (int i = line0; i < line1; i++)
#pragma GCC unroll 4
        for (int p = 0; p < n_planes; p++) {
            vint products = bytes_dot(code[i], i_spread32(q + p * stride + 4 * i), bits);
            sum[p] = i % fit == 0 || i == line0 ? products : _mm256_add_epi16(sum[p], products);
            if (i % fit == fit - 1 || i == line1 - 1)
                t[p] = dot16(t[p], sum[p], scale);
        }
}

INLINE void dot_lines(vint *t, int n_planes, const vint *code, int line0, int line1,
                      const int8_t *q, int64_t stride, int bits)
{
    dot_scaled(t, n_planes, code, line0, line1, i_set16(1), q, stride, bits);
}

/* The same over 16 weights, times the scale of their half. */
INLINE void dot_half(vint *t, int n_planes, const vint *code, int half, vint scale, const int8_t *q,
                     int64_t stride, int bits)
{
    dot_scaled(t, n_planes, code, 4 * half, 4 * half + 4, scale, q, stride, bits);
}

/* Sixteen columns of f32 (float_product.h). */
enum { FLOAT_ROWS = 2, FLOAT_TILE = 2 };
typedef struct {
    __m256 low, high;
} wide;

static inline wide w_zero(void) { return (wide){ f_zero(), f_zero() }; }
static inline wide w_load(const float *p) { return (wide){ f_load(p), f_load(p + 8) }; }
static inline wide w_fma(wide a, wide b, wide c)
{
    return (wide){ f_fma(a.low, b.low, c.low), f_fma(a.high, b.high, c.high) };
}
static inline wide w_load_f32(const uint8_t *p)
{
    return (wide){ _mm256_castsi256_ps(i_load(p)), _mm256_castsi256_ps(i_load(p + 32)) };
}
static inline wide w_load_f16(const uint8_t *p) { return (wide){ f_from_f16(p), f_from_f16(p + 16) }; }
static inline vfloat f_from_bf16(const uint8_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static inline wide w_load_bf16(const uint8_t *p) { return (wide){ f_from_bf16(p),
                                                                  f_from_bf16(p + 16) }; }

static inline float w_fold(wide a)
{
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
