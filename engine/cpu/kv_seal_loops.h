/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_KV_SEAL_LOOPS_H
#define QUIP_ENGINE_CPU_KV_SEAL_LOOPS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/cpu/kv_tiers.h"
#include "engine/quant/f16.h"

/* Sealing (cpu_kv.h) over a tier's vector words; only the tier's own file includes this.
 *
 * Keys and values alike are laid out as f32 [component][token], so that lanes are tokens and no sum runs across
 * them: butterflies, the search for a scale and the sums of errors go down the components in order, and every
 * tier gives the same bytes. The one exception, the mean of a key's component, is a lane sum (cpu_vec.h).
 *
 *   open f16 -> x [d][64] f32 -> rotate -> less the mean -> per block: scale, codes u8 [d][64] -> packed
 *                                (values are turned round on the way in, their codes on the way out)
 *
 * Codes of a token's block are searched for its own scale. Those of the 4-bit and 3-bit types are the best of
 * several: starting from SEAL_TRIES different scales (smaller ones for large blocks, whose extreme lies further
 * out), code by it, refit d = sum(x q) / sum(q q), which leaves
 * sum(x x) - sum(x q)^2 / sum(q q), and keep the smallest; the codes written are the nearest ones for that d as
 * rounded to f16. */

#if defined(__clang__)
#define SEAL_UNROLL _Pragma("unroll")
#else
#define SEAL_UNROLL _Pragma("GCC unroll 16")
#endif
#define SEAL_INLINE static inline __attribute__((always_inline))

enum { SEAL_TRIES = 4 };

#define SEAL_F16_MAX 65504.0f
#define SEAL_MAGIC 12582912.0f    /* 1.5 * 2^23: adding it rounds to a whole number, ties to even */

SEAL_INLINE vec seal_round(vec x)
{
    return v_sub(v_add(x, v_set(SEAL_MAGIC)), v_set(SEAL_MAGIC));
}

SEAL_INLINE vec seal_clamp(vec x, float low, float high)
{
    return v_min(v_max(x, v_set(low)), v_set(high));
}

SEAL_INLINE vec seal_inverse(vec d)
{
    return v_select(v_less(v_set(0.0f), v_abs(d)), v_div(v_set(1.0f), d), v_set(0.0f));
}

/* Rounds a scale to f16, where it is kept, and gives it back as rounded. */
SEAL_INLINE vec seal_scale(uint16_t *scale, vec d)
{
    v_store_f16(scale, seal_clamp(d, -SEAL_F16_MAX, SEAL_F16_MAX));
    return v_load_f16(scale);
}

/* ---- one block of n components and LANES tokens ------------------------------------------------------ */

/* The component of the largest magnitude, the first among equals. */
SEAL_INLINE vec seal_extreme(const float *x, const int n)
{
    vec most = v_set(0.0f), extreme = most;
    for (int c = 0; c < n; c++) {
        vec a = v_load(x + c * KV_PAGE);
        vec_mask more = v_less(most, v_abs(a));
        extreme = v_select(more, a, extreme);
        most = v_select(more, v_abs(a), most);
    }
    return extreme;
}

SEAL_INLINE void seal_block_q8_0(uint8_t *codes, uint16_t *scale, const float *x, const int n)
{
    vec inverse = seal_inverse(seal_scale(scale, v_div(v_abs(seal_extreme(x, n)), v_set(127.0f))));
    for (int c = 0; c < n; c++) {
        vec q = seal_clamp(seal_round(v_mul(v_load(x + c * KV_PAGE), inverse)), -127.0f, 127.0f);
        v_store_u8(codes + c * KV_PAGE, v_add(q, v_set(128.0f)));
    }
}

/* As ggml's: the largest component is code -8, and the scale before rounding makes the codes. */
SEAL_INLINE void seal_block_q4_0(uint8_t *codes, uint16_t *scale, const float *x, const int n)
{
    vec d = v_div(seal_extreme(x, n), v_set(-8.0f)), inverse = seal_inverse(d);
    seal_scale(scale, d);
    for (int c = 0; c < n; c++) {
        vec q = v_add(v_mul(v_load(x + c * KV_PAGE), inverse), v_set(8.5f));
        v_store_u8(codes + c * KV_PAGE, seal_clamp(q, 0.0f, 15.0f));
    }
}

SEAL_INLINE vec seal_code_kv4(vec x)
{
    return seal_clamp(seal_round(x), -8.0f, 7.0f);
}

/* Level of the magnitude of x, nearest. */
SEAL_INLINE vec seal_level_kv3(vec magnitude)
{
    vec level = v_select(v_less(magnitude, v_set(29.5f)), v_set(14.0f), v_set(45.0f));
    vec outer = v_select(v_less(magnitude, v_set(103.0f)), v_set(79.0f), v_set(127.0f));
    return v_select(v_less(magnitude, v_set(62.0f)), level, outer);
}

/* Best refitted scale of a block, starting from 1 / (start[i] * unit). */
SEAL_INLINE vec seal_search(const float *x, const int n, vec unit, const float *start, const bool kv3)
{
    vec inverse[SEAL_TRIES], xq[SEAL_TRIES], qq[SEAL_TRIES];
    SEAL_UNROLL
    for (int i = 0; i < SEAL_TRIES; i++) {
        inverse[i] = v_mul(unit, v_set(start[i]));
        xq[i] = qq[i] = v_set(0.0f);
    }
    for (int c = 0; c < n; c++) {
        vec a = v_load(x + c * KV_PAGE);
        if (kv3)
            a = v_abs(a);
        SEAL_UNROLL
        for (int i = 0; i < SEAL_TRIES; i++) {
            vec q = v_mul(a, inverse[i]);
            q = kv3 ? seal_level_kv3(q) : seal_code_kv4(q);
            xq[i] = v_fma(a, q, xq[i]);
            qq[i] = v_fma(q, q, qq[i]);
        }
    }
    vec best = v_set(0.0f), best_xq = v_set(0.0f), best_qq = v_set(1.0f);
    SEAL_UNROLL
    for (int i = 0; i < SEAL_TRIES; i++) {    /* xq^2 / qq against the best, without dividing */
        vec gain = v_mul(xq[i], xq[i]);
        vec_mask more = v_less(v_mul(best, qq[i]), v_mul(gain, best_qq));
        best = v_select(more, gain, best);
        best_xq = v_select(more, xq[i], best_xq);
        best_qq = v_select(more, qq[i], best_qq);
    }
    return v_div(best_xq, best_qq);
}

SEAL_INLINE void seal_block_kv4(uint8_t *codes, uint16_t *scale, const float *x, const int n)
{
    static const float small[SEAL_TRIES] = { -8.8f, -8.4f, -8.0f, -7.2f };
    static const float large[SEAL_TRIES] = { -9.6f, -9.0f, -8.4f, -7.8f };
    vec d = seal_search(x, n, seal_inverse(seal_extreme(x, n)), n > KV_BLOCK ? large : small, false);
    vec inverse = seal_inverse(seal_scale(scale, d));
    for (int c = 0; c < n; c++) {
        vec q = seal_code_kv4(v_mul(v_load(x + c * KV_PAGE), inverse));
        v_store_u8(codes + c * KV_PAGE, v_add(q, v_set(8.0f)));
    }
}

SEAL_INLINE void seal_block_kv3(uint8_t *codes, uint16_t *scale, const float *x, const int n)
{
    static const float small[SEAL_TRIES] = { 125.0f, 137.5f, 150.0f, 165.0f };
    static const float large[SEAL_TRIES] = { 132.0f, 145.0f, 160.0f, 178.0f };
    vec d = seal_search(x, n, seal_inverse(v_abs(seal_extreme(x, n))), n > KV_BLOCK ? large : small, true);
    vec inverse = seal_inverse(seal_scale(scale, d));
    for (int c = 0; c < n; c++) {
        vec a = v_mul(v_load(x + c * KV_PAGE), inverse), size = v_abs(a);
        vec near = v_select(v_less(size, v_set(29.5f)), v_set(0.0f), v_set(1.0f));
        vec far = v_select(v_less(size, v_set(103.0f)), v_set(2.0f), v_set(3.0f));
        vec i = v_select(v_less(size, v_set(62.0f)), near, far);
        i = v_select(v_less(a, v_set(0.0f)), v_sub(v_set(3.0f), i), v_add(v_set(4.0f), i));
        v_store_u8(codes + c * KV_PAGE, i);
    }
}

SEAL_INLINE void seal_block(uint8_t *codes, uint16_t *scale, const float *x, enum kv_type type, const int n)
{
    for (int t = 0; t < KV_PAGE; t += LANES)
        if (type == KV_Q8_0)
            seal_block_q8_0(codes + t, scale + t, x + t, n);
        else if (type == KV_Q4_0)
            seal_block_q4_0(codes + t, scale + t, x + t, n);
        else if (type == KV_KV4)
            seal_block_kv4(codes + t, scale + t, x + t, n);
        else
            seal_block_kv3(codes + t, scale + t, x + t, n);
}

/* Codes, biased to be positive, [d][KV_PAGE]; block: components with one scale; only after blocks of
 * KV_BLOCK there may be half a one. */
static void seal_codes(uint8_t *codes, uint16_t *scale, const float *x, enum kv_type type, int32_t d, int32_t block)
{
    int32_t c = 0;
    for (; c + block <= d; c += block, scale += KV_PAGE)
        if (block == KV_BLOCK)    /* two calls, so that the count is a constant in each */
            seal_block(codes + c * KV_PAGE, scale, x + c * KV_PAGE, type, KV_BLOCK);
        else
            seal_block(codes + c * KV_PAGE, scale, x + c * KV_PAGE, type, 2 * KV_BLOCK);
    if (c < d)
        seal_block(codes + c * KV_PAGE, scale, x + c * KV_PAGE, type, KV_BLOCK / 2);
}

/* ---- a head ------------------------------------------------------------------------------------------ */

/* Open form [d][KV_PAGE] to f32; what is not finite becomes 0. */
static void seal_load(float *x, const uint16_t *open, int32_t d, bool signs)
{
    for (int32_t c = 0; c < d; c++) {
        vec sign = v_set(signs ? kv_sign(c) : 1.0f);
        for (int t = 0; t < KV_PAGE; t += LANES) {
            vec a = v_load_f16(open + c * KV_PAGE + t);
            a = v_select(v_nan(v_sub(a, a)), v_set(0.0f), a);
            v_store(x + c * KV_PAGE + t, v_mul(a, sign));
        }
    }
}

/* log2(n) stages of the transform at once, on n rows in registers: (a, b) -> (a + b, a - b) for rows half, 2 half
 * .. apart, in this order. */
SEAL_INLINE void seal_stages(float *x, int32_t d, int32_t half, float factor, const int n)
{
    for (int32_t c = 0; c < d; c++) {
        if (c & half * (n - 1))
            continue;
        for (int t = 0; t < KV_PAGE; t += LANES) {
            vec row[8];
            SEAL_UNROLL
            for (int i = 0; i < n; i++)
                row[i] = v_load(x + (c + i * half) * KV_PAGE + t);
            SEAL_UNROLL
            for (int apart = 1; apart < n; apart *= 2) {
                SEAL_UNROLL
                for (int i = 0; i < n; i++)
                    if (!(i & apart)) {
                        vec a = row[i], b = row[i + apart];
                        row[i] = v_add(a, b);
                        row[i + apart] = v_sub(a, b);
                    }
            }
            SEAL_UNROLL
            for (int i = 0; i < n; i++)
                v_store(x + (c + i * half) * KV_PAGE + t, v_mul(row[i], v_set(factor)));
        }
    }
}

static void seal_hadamard(float *x, int32_t d)
{
    int32_t run = kv_rotation(d);
    float norm = 1.0f / sqrtf((float)run);
    for (int32_t half = 1; half < run; half *= 8) {
        int32_t left = run / half;    /* a factor of 1 changes no bit */
        if (left >= 8)
            seal_stages(x, d, half, left == 8 ? norm : 1.0f, 8);
        else if (left == 4)
            seal_stages(x, d, half, norm, 4);
        else
            seal_stages(x, d, half, norm, 2);
    }
}

static void seal_mean(uint16_t *mean, float *x, int32_t d)
{
    for (int32_t c = 0; c < d; c++, x += KV_PAGE) {
        vec lanes[16 / LANES];
        for (int i = 0; i < 16 / LANES; i++)
            lanes[i] = v_set(0.0f);
        for (int i = 0; i < KV_PAGE / LANES; i++)
            lanes[i % (16 / LANES)] = v_add(lanes[i % (16 / LANES)], v_load(x + i * LANES));
        float m = v_fold_add(lanes) / (float)KV_PAGE;
        m = m > SEAL_F16_MAX ? SEAL_F16_MAX : m < -SEAL_F16_MAX ? -SEAL_F16_MAX : m;
        mean[c] = f16_from_f32(m);
        vec rounded = v_set(f16_to_f32(mean[c]));
        for (int t = 0; t < KV_PAGE; t += LANES)
            v_store(x + t, v_sub(v_load(x + t), rounded));
    }
}

/* Packing: dword i of a row of n takes a bit field of the i-th codes of some rows of codes, the same for keys
 * (rows are components, [d][KV_PAGE]) and values (rows are tokens, [KV_PAGE][d]); only which row goes to which
 * bit differs. No field crosses a byte, so that the four bytes are made first, eight columns to a word. */
SEAL_INLINE void seal_pack_row(uint8_t *out, const uint8_t *codes, int32_t n, const int n_rows, const int down,
                               const uint64_t mask, const uint8_t *to_bit)
{
    uint64_t part[4][KV_MAX_HEAD / 8];
    SEAL_UNROLL
    for (int byte = 0; byte < 4; byte++)
        for (int32_t i = 0; i < n / 8; i++) {
            uint64_t word = 0, column;
            SEAL_UNROLL
            for (int r = 0; r < n_rows; r++)
                if (to_bit[r] / 8 == byte) {
                    memcpy(&column, codes + r * n + 8 * i, sizeof column);
                    word |= (column >> down & mask * 0x0101010101010101) << to_bit[r] % 8;
                }
            part[byte][i] = word;
        }
    const uint8_t *bytes = (const uint8_t *)part;
    enum { APART = sizeof part[0] };
    v_zip_u8(out, bytes, bytes + APART, bytes + 2 * APART, bytes + 3 * APART, n);
}

/* Codes of 4 or 3 bits, [n_rows][n]. */
static void seal_pack_small(uint8_t *out, const struct cpu_kv_parts *parts, const uint8_t *codes, enum kv_type type,
                            int32_t n_rows, int32_t n)
{
    static const uint8_t q4[8] = { 0, 8, 16, 24, 4, 12, 20, 28 };
    static const uint8_t low[16] = { 0, 8, 16, 24, 2, 10, 18, 26, 4, 12, 20, 28, 6, 14, 22, 30 };
    static const uint8_t bits[32] = { 0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27,
                                      4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31 };
    uint8_t *words = out + parts->codes, *high = out + parts->high;
    if (type != KV_KV3) {
        for (int32_t r = 0; r < n_rows; r += 8)
            seal_pack_row(words + r / 2 * n, codes + r * n, n, 8, 0, 15, q4);
        return;
    }
    for (int32_t r = 0; r < n_rows; r += 16)
        seal_pack_row(words + r / 4 * n, codes + r * n, n, 16, 0, 3, low);
    int32_t r = 0;
    for (; r + 32 <= n_rows; r += 32)
        seal_pack_row(high + r / 8 * n, codes + r * n, n, 32, 2, 1, bits);
    if (r < n_rows)    /* keys: a last block of 16 components */
        seal_pack_row(high + r / 8 * n, codes + r * n, n, 16, 2, 1, bits);
}

static void seal_pack_keys(uint8_t *out, const struct cpu_kv_parts *parts, const uint8_t *codes, enum kv_type type,
                           int32_t d)
{
    uint8_t *words = out + parts->codes;
    if (type != KV_Q8_0)
        seal_pack_small(out, parts, codes, type, d, KV_PAGE);
    else
        for (int32_t i = 0; i < d * KV_PAGE; i += 4 * KV_PAGE)
            v_zip_u8(words + i, codes + i, codes + i + KV_PAGE, codes + i + 2 * KV_PAGE, codes + i + 3 * KV_PAGE,
                     KV_PAGE);
}

static void seal_pack_values(uint8_t *out, const struct cpu_kv_parts *parts, const uint8_t *codes,
                             enum kv_type type, int32_t d)
{
    uint8_t *words = out + parts->codes;
    if (type != KV_Q8_0)
        seal_pack_small(out, parts, codes, type, KV_PAGE, d);
    else
        for (int32_t i = 0; i < KV_PAGE * d; i += 2 * d)
            v_zip_signed(words + i, codes + i, codes + i + d, d);
}

/* Scratch: x, f32 [d][KV_PAGE]; then bytes for twice as many codes. */
static void seal_keys(void *keys, const uint16_t *open, enum kv_type type, int32_t d, float *x)
{
    struct cpu_kv_parts parts = cpu_kv_parts(type, d, true);
    uint8_t *out = keys, *codes = (uint8_t *)(x + d * KV_PAGE);
    seal_load(x, open, d, kv_type_rotated(type));
    if (kv_type_rotated(type)) {
        seal_hadamard(x, d);
        seal_mean((uint16_t *)(void *)(out + parts.mean), x, d);
    }
    seal_codes(codes, (uint16_t *)(void *)(out + parts.scale), x, type, d, parts.block);
    seal_pack_keys(out, &parts, codes, type, d);
}

static void seal_values(void *values, const uint16_t *open, enum kv_type type, int32_t d, float *x)
{
    struct cpu_kv_parts parts = cpu_kv_parts(type, d, false);
    uint8_t *out = values, *codes = (uint8_t *)(x + d * KV_PAGE), *turned = codes + d * KV_PAGE;
    uint16_t *columns = (uint16_t *)(void *)codes;
    v_turn_u16(columns, open, KV_PAGE, d);
    seal_load(x, columns, d, kv_type_rotated(type));
    if (kv_type_rotated(type))
        seal_hadamard(x, d);
    seal_codes(codes, (uint16_t *)(void *)(out + parts.scale), x, type, d, parts.block);
    v_turn_u8(turned, codes, d, KV_PAGE);
    seal_pack_values(out, &parts, turned, type, d);
}

/* Every byte of a page is a function of its tokens: what aligning adds is 0. */
static void seal_pad(void *out, size_t n_bytes)
{
    memset((uint8_t *)out + n_bytes - 64, 0, 64);
}

static void seal(void *keys, void *values, const uint16_t *open_keys, const uint16_t *open_values,
                 const struct cpu_kv_shape *shape, float *scratch)
{
    size_t open_bytes = (size_t)shape->d * KV_PAGE * sizeof(uint16_t);
    if (shape->k == KV_F16)
        memcpy(keys, open_keys, open_bytes);
    else {
        seal_pad(keys, kv_sealed_key_bytes(shape->k, shape->d));
        seal_keys(keys, open_keys, shape->k, shape->d, scratch);
    }
    if (shape->v == KV_F16)
        memcpy(values, open_values, open_bytes);
    else {
        seal_pad(values, kv_sealed_value_bytes(shape->v, shape->d));
        seal_values(values, open_values, shape->v, shape->d, scratch);
    }
}

#endif
