/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_LANES_UNPACK_H
#define QUIP_ENGINE_CPU_LANES_UNPACK_H

#include "engine/cpu/kern_tiers.h"
#include "engine/quant/iq4_nl.h"
#include "engine/quant/mxfp4.h"

/* Block formats as vectors see them: sixteen weight rows side by side, one in each 32-bit lane.
 * Included once by each tier after its vector words (x86/lanes_*.h).
 *
 * The interleaved order of a block of 16 rows is the file's order of fields with every dword, and the
 * one scale beside them that formats of 4n + 2 bytes (an f16) and 4n + 1 (MXFP4, a byte) have, replaced by
 * those of all 16 rows:
 *
 *     Q4_1    file, a row:  dm q0 q1 q2 q3              (dwords; dm holds the f16 d and m)
 *             interleaved:  dm dm .. dm | q0 .. q0 | q1 .. | q2 .. | q3 ..       (lines of 64 bytes)
 *     Q8_0    file, a row:  d q0 .. q7                  (d an f16)
 *             interleaved:  d .. d (32 bytes) | q0 .. q0 | ... | q7 .. q7
 *
 * So a line holds four consecutive bytes of each row, which is what a byte product sums into a lane: no
 * sum across lanes, scales meet their row in its lane, and results lie as the output wants them. With
 * eight lanes a vector is half a line; src below then points at that half of the first line. */
enum { LINE = 64, HALF_LINE = 32, QUARTER_LINE = 16 };

struct lanes_format {
    uint32_t type;
    int32_t block_bytes;
    int32_t lone_at;      /* bytes before the lone scale: none or all the dwords; -1: there is none */
    int32_t unit;         /* blocks of 32 in one of the file's blocks: 1 or 8 */
    int32_t bits;         /* width of the unsigned codes; 8: see CODES_SIGNED */
    int32_t offset;       /* weight = code - offset */
    int32_t scales16;
    int32_t minimum;
};

/* 32 weights of LANES rows. */
struct lanes {
    vint code[8];         /* byte 4 * lane + j of code[i]: weight 4 i + j, plus the format's offset */
    vfloat a;
    vfloat n[2];          /* the minimum, negative where it is subtracted; [1] only with scales16 */
    vint c[2];            /* split_scales(); only with scales16 */
    vint correction;      /* i16 pairs: -offset * c, to be multiplied with the halves' sums */
};

INLINE vint line_at(const uint8_t *src, int line)
{
    return i_load(src + line * LINE);
}

/* Low nibbles of four lines are the first half of the block, high ones the second. */
INLINE void unpack_nibbles(vint *code, const uint8_t *lines)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vint v = line_at(lines, i);
        code[i] = i_and(v, i_set8(15));
        code[i + 4] = i_and(i_right(v, 4), i_set8(15));
    }
}

/* Bit j of a lane belongs to weight j. */
INLINE void unpack_fifth_bits(vint *code, vint bits)
{
    vint even = i_repeat(_mm_set1_epi32(0x08040201)), odd = i_repeat(_mm_set1_epi32((int)0x80402010u));
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        int k = i / 2;    /* byte of the lane */
        __m128i first = _mm_set1_epi8((char)k);
        vint index = i_repeat(_mm_add_epi8(first, _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8,
                                                                12, 12, 12, 12)));
        vint repeated = i_pick8(bits, index);
        code[i] = i_or(code[i], i_where_bits(repeated, i % 2 ? odd : even, i_set8(16)));
    }
}

INLINE void unpack_q4_0(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)b;
    unpack_nibbles(out->code, src + HALF_LINE);
    out->a = f_from_f16(lone);
}

INLINE void unpack_q4_1(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)lone, (void)b;
    unpack_nibbles(out->code, src + LINE);
    out->a = f_low_f16(line_at(src, 0));
    out->n[0] = f_high_f16(line_at(src, 0));
}

INLINE void unpack_q5_0(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)b;
    unpack_nibbles(out->code, src + HALF_LINE + LINE);
    unpack_fifth_bits(out->code, line_at(src + HALF_LINE, 0));
    out->a = f_from_f16(lone);
}

INLINE void unpack_q5_1(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)lone, (void)b;
    unpack_nibbles(out->code, src + 2 * LINE);
    unpack_fifth_bits(out->code, line_at(src, 1));
    out->a = f_low_f16(line_at(src, 0));
    out->n[0] = f_high_f16(line_at(src, 0));
}

INLINE void unpack_q8_0(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)b;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        vint v = line_at(src + HALF_LINE, i);
        out->code[i] = CODES_SIGNED ? v : i_xor(v, i_set8(-128));
    }
    out->a = f_from_f16(lone);
}

INLINE void look_up(vint *code, vint table)
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        code[i] = i_pick8(table, code[i]);
}

INLINE vint iq4_table(void)
{
    vint table = i_repeat(_mm_loadu_si128((const __m128i *)quant_iq4_values));
    return CODES_SIGNED ? table : i_xor(table, i_set8(-128));
}

INLINE void unpack_iq4_nl(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)b;
    unpack_nibbles(out->code, src + HALF_LINE);
    look_up(out->code, iq4_table());
    out->a = f_from_f16(lone);
}

INLINE void unpack_mxfp4(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)b;
    unpack_nibbles(out->code, src + QUARTER_LINE);
    look_up(out->code, i_sub8(i_repeat(_mm_loadu_si128((const __m128i *)quant_mxfp4_values)), i_set8(-12)));
    out->a = f_mxfp4_scale(lone);
}

INLINE vfloat f_from_byte(vint v, int k)
{
    return f_from_i32(i_and(i_right(v, 8 * k), i_right(i_set8(-1), 24)));
}

/* Bytes 2 k and 2 k + 1 of a lane as i16, signed. */
INLINE vint pair_of_bytes(vint v, int k)
{
    char x = (char)(2 * k);
    vint index = i_repeat(_mm_setr_epi8(-1, x, -1, (char)(x + 1), -1, (char)(x + 4), -1,
                                        (char)(x + 5), -1,
        (char)(x + 8), -1, (char)(x + 9), -1, (char)(x + 12), -1, (char)(x + 13)));
    return i_signed16(i_pick8(v, index), 8);
}

INLINE void set_scales16(struct lanes *out, vint pairs, int offset)
{
    split_scales(out->c, pairs);
    out->correction = i_mul16(pairs, i_set16(-offset));
}

/* 21 lines: scales and minima 0-3, two bits each 4-19, d and dmin 20. */
INLINE void unpack_q2_k(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)lone;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        out->code[i] = i_and(i_right(line_at(src, 4 + b / 4 * 8 + i), 2 * (b % 4)), i_set8(3));
    vint both = line_at(src, b / 2), minima = i_and(i_right(both, 4), i_set8(15));
    set_scales16(out, pair_of_bytes(i_and(both, i_set8(15)), b % 2), 0);
    out->a = f_low_f16(line_at(src, 20));
    vfloat dmin = f_high_f16(line_at(src, 20));
    out->n[0] = f_neg(f_mul(dmin, f_from_byte(minima, 2 * (b % 2))));
    out->n[1] = f_neg(f_mul(dmin, f_from_byte(minima, 2 * (b % 2) + 1)));
}

/* 27 lines: third bits 0-7, two bits each 8-23, scales 24-26; d. */
INLINE void unpack_q3_k(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        vint low = i_and(i_right(line_at(src, 8 + b / 4 * 8 + i), 2 * (b % 4)), i_set8(3));
        vint third = i_and(i_right(line_at(src, i), b), i_set8(1));
        out->code[i] = i_or(low, i_left(third, 2));
    }
    vint low = i_and(i_right(line_at(src, 24 + b % 4 / 2), b / 4 * 4), i_set8(15));
    vint high = i_and(i_right(line_at(src, 26), b / 2 * 2), i_set8(3));
    vint scales = i_sub8(i_or(low, i_left(high, 4)), i_set8(32));
    set_scales16(out, pair_of_bytes(scales, b % 2), 4);
    out->a = f_from_f16(lone);
}

/* Six-bit scale and minimum b of 8 from three lines; d and dmin in the line before them. */
INLINE void unpack_k_scales(struct lanes *out, const uint8_t *src, int b)
{
    vint l0 = line_at(src, 1), l1 = line_at(src, 2), l2 = line_at(src, 3), scales, minima;
    if (b < 4) {
        scales = i_and(l0, i_set8(63));
        minima = i_and(l1, i_set8(63));
    } else {
        scales = i_or(i_and(l2, i_set8(15)), i_and(i_right(l0, 2), i_set8(48)));
        minima = i_or(i_and(i_right(l2, 4), i_set8(15)), i_and(i_right(l1, 2), i_set8(48)));
    }
    out->a = f_mul(f_low_f16(line_at(src, 0)), f_from_byte(scales, b % 4));
    out->n[0] = f_neg(f_mul(f_high_f16(line_at(src, 0)), f_from_byte(minima, b % 4)));
}

/* 36 lines: d and dmin, scales 1-3, nibbles 4-35. */
INLINE void unpack_q4_k(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)lone;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        out->code[i] = i_and(i_right(line_at(src, 4 + b / 2 * 8 + i), b % 2 * 4), i_set8(15));
    unpack_k_scales(out, src, b);
}

/* 44 lines: d and dmin, scales 1-3, fifth bits 4-11, nibbles 12-43. */
INLINE void unpack_q5_k(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)lone;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        vint low = i_and(i_right(line_at(src, 12 + b / 2 * 8 + i), b % 2 * 4), i_set8(15));
        vint fifth = i_and(i_right(line_at(src, 4 + i), b), i_set8(1));
        out->code[i] = i_or(low, i_left(fifth, 4));
    }
    unpack_k_scales(out, src, b);
}

/* 52 lines: low four bits 0-31, high two 32-47, scales 48-51; d. */
INLINE void unpack_q6_k(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    int k = b % 4;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        vint low = i_and(i_right(line_at(src, b / 4 * 16 + k % 2 * 8 + i), k / 2 * 4), i_set8(15));
        vint bits = line_at(src, 32 + b / 4 * 8 + i);
        vint high = i_and(k < 2 ? i_left(bits, 4 - 2 * k) : i_right(bits, 2 * k - 4), i_set8(48));
        out->code[i] = i_or(low, high);
    }
    set_scales16(out, pair_of_bytes(line_at(src, 48 + b / 2), b % 2), 32);
    out->a = f_from_f16(lone);
}

/* 34 lines: d and the scales' high two bits 0, low four 1, nibbles 2-33. */
INLINE void unpack_iq4_xs(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b)
{
    (void)lone;
    vint first = line_at(src, 0), low = i_and(i_right(line_at(src, 1), 4 * b), i_set32(15));
    vint high = i_and(i_right(first, 12 + 2 * b), i_set32(48));
    unpack_nibbles(out->code, src + (2 + 4 * b) * LINE);
    look_up(out->code, iq4_table());
    out->a = f_mul(f_low_f16(first), f_from_i32(i_sub32(i_or(low, high), i_set32(32))));
}

#endif
