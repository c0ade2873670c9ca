/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_X86_KV_TURN_H
#define QUIP_ENGINE_CPU_X86_KV_TURN_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Words of kv_seal_loops.h beside the arithmetic: matrices of [n_rows][n_cols] turned round, rows and columns
 * multiples of 16, in squares held in registers. A level of unpacking joins the neighbours of one power of two. */

static inline void v_turn_u16(uint16_t *out, const uint16_t *in, int32_t n_rows, int32_t n_cols)
{
    for (int32_t r = 0; r < n_rows; r += 8)
        for (int32_t c = 0; c < n_cols; c += 8) {
            __m128i a[8], b[8];
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                a[i] = _mm_loadu_si128((const __m128i *)(const void *)(in + (ptrdiff_t)(r + i) * n_cols + c));
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
                b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
            }
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                a[2 * i] = _mm_unpacklo_epi16(b[i], b[i + 4]);
                a[2 * i + 1] = _mm_unpackhi_epi16(b[i], b[i + 4]);
            }
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
                b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
            }
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                _mm_storeu_si128((__m128i *)(void *)(out + (ptrdiff_t)(c + i) * n_rows + r), b[i]);
        }
}

static inline void v_turn_u8(uint8_t *out, const uint8_t *in, int32_t n_rows, int32_t n_cols)
{
    for (int32_t r = 0; r < n_rows; r += 16)
        for (int32_t c = 0; c < n_cols; c += 16) {
            __m128i a[16], b[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                a[i] = _mm_loadu_si128((const __m128i *)(const void *)(in + (ptrdiff_t)(r + i) * n_cols + c));
#pragma GCC unroll 2
            for (int level = 0; level < 2; level++) {
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++) {
                    b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
                    b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
                }
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++) {
                    a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
                    a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
                }
            }
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                _mm_storeu_si128((__m128i *)(void *)(out + (ptrdiff_t)(c + i) * n_rows + r), a[i]);
        }
}

static inline __m128i v_row_u8(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* Bytes a0 b0 c0 d0 a1 .., n of each, a multiple of 16. */
static inline void v_zip_u8(uint8_t *out, const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d,
                            int32_t n)
{
    for (int32_t i = 0; i < n; i += 16) {
        __m128i ra = v_row_u8(a + i), rb = v_row_u8(b + i), rc = v_row_u8(c + i), rd = v_row_u8(d + i);
        __m128i ab = _mm_unpacklo_epi8(ra, rb), ab_high = _mm_unpackhi_epi8(ra, rb);
        __m128i cd = _mm_unpacklo_epi8(rc, rd), cd_high = _mm_unpackhi_epi8(rc, rd);
        __m128i *to = (__m128i *)(void *)(out + 4 * i);
        _mm_storeu_si128(to, _mm_unpacklo_epi16(ab, cd));
        _mm_storeu_si128(to + 1, _mm_unpackhi_epi16(ab, cd));
        _mm_storeu_si128(to + 2, _mm_unpacklo_epi16(ab_high, cd_high));
        _mm_storeu_si128(to + 3, _mm_unpackhi_epi16(ab_high, cd_high));
    }
}

/* Bytes a0 b0 a1 .., less 128. */
static inline void v_zip_signed(uint8_t *out, const uint8_t *a, const uint8_t *b, int32_t n)
{
    const __m128i bias = _mm_set1_epi8(-128);
    for (int32_t i = 0; i < n; i += 16) {
        __m128i ra = _mm_xor_si128(v_row_u8(a + i), bias), rb = _mm_xor_si128(v_row_u8(b + i), bias);
        __m128i *to = (__m128i *)(void *)(out + 2 * i);
        _mm_storeu_si128(to, _mm_unpacklo_epi8(ra, rb));
        _mm_storeu_si128(to + 1, _mm_unpackhi_epi8(ra, rb));
    }
}

#endif
