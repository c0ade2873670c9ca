/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_pack.h"

#include <stddef.h>
#include <string.h>

#include "engine/quant/iq4_nl.h"
#include "engine/quant/iq4_xs.h"
#include "engine/quant/mxfp4.h"
#include "engine/quant/q2k.h"
#include "engine/quant/q3k.h"
#include "engine/quant/q4_0.h"
#include "engine/quant/q4_1.h"
#include "engine/quant/q4k.h"
#include "engine/quant/q5_0.h"
#include "engine/quant/q5_1.h"
#include "engine/quant/q5k.h"
#include "engine/quant/q6k.h"
#include "engine/quant/q8_0.h"
#include "engine/quant/quant.h"

/* How a plane is made of a block. */
enum kind {
    NO_PLANE,
    WHOLE,           /* blocks as they are */
    COPY,            /* bytes of the block from at[0] on */
    NIBBLES,         /* unit u: 32 bytes from at[u] on, four bits from shift[u] on */
    CRUMBS,          /* the same with two bits */
    BITS,            /* the same with one bit */
    HALF_NIBBLES,    /* unit u: 16 bytes from at[0] + 16u on: low nibbles weights 0 to 15, high nibbles the rest */
    WORD_BITS,       /* four bytes from at[0] on: bit j weight j */
    SCALES_Q3K,
    SCALES_Q4K
};

struct plane {
    enum kind kind;
    uint8_t bytes;    /* per block */
    uint8_t at[8], shift[8];
};

#define OFFSET(type, member) (uint8_t)offsetof(struct block_##type, member)
#define TWO_BITS { 0, 2, 4, 6, 0, 2, 4, 6 }
/* Offsets of what each two, or each four, units share. */
#define BY_TWO(a) { a, a, a + 32, a + 32, a + 64, a + 64, a + 96, a + 96 }
#define BY_FOUR(a) { a, a, a, a, a + 32, a + 32, a + 32, a + 32 }

/* By type; blocks are those of engine/quant/<format>.h. A new one needs its line here, its lines in
 * shaders/include/weight.glsl, variants.cmake and vulkan_weight.c. */
static const struct {
    uint16_t block, block_bytes;
    struct plane planes[VULKAN_N_PLANES];
} formats[QUANT_N_TYPES] = {
    [QUANT_F32] = { 32, 128, { { WHOLE, 128, { 0 }, { 0 } } } },
    [QUANT_F16] = { 32, 64, { { WHOLE, 64, { 0 }, { 0 } } } },
    [QUANT_BF16] = { 32, 64, { { WHOLE, 64, { 0 }, { 0 } } } },
    [QUANT_Q4_0] = { 32, sizeof(struct block_q4_0), {
        [VULKAN_PLANE_CODES] = { HALF_NIBBLES, 16, { OFFSET(q4_0, qs) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 2, { OFFSET(q4_0, d) }, { 0 } } } },
    [QUANT_Q4_1] = { 32, sizeof(struct block_q4_1), {
        [VULKAN_PLANE_CODES] = { HALF_NIBBLES, 16, { OFFSET(q4_1, qs) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 4, { OFFSET(q4_1, d) }, { 0 } } } },
    [QUANT_Q5_0] = { 32, sizeof(struct block_q5_0), {
        [VULKAN_PLANE_CODES] = { HALF_NIBBLES, 16, { OFFSET(q5_0, qs) }, { 0 } },
        [VULKAN_PLANE_HIGH] = { WORD_BITS, 4, { OFFSET(q5_0, qh) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 2, { OFFSET(q5_0, d) }, { 0 } } } },
    [QUANT_Q5_1] = { 32, sizeof(struct block_q5_1), {
        [VULKAN_PLANE_CODES] = { HALF_NIBBLES, 16, { OFFSET(q5_1, qs) }, { 0 } },
        [VULKAN_PLANE_HIGH] = { WORD_BITS, 4, { OFFSET(q5_1, qh) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 4, { OFFSET(q5_1, d) }, { 0 } } } },
    [QUANT_Q8_0] = { 32, sizeof(struct block_q8_0), {
        [VULKAN_PLANE_CODES] = { COPY, 32, { OFFSET(q8_0, qs) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 2, { OFFSET(q8_0, d) }, { 0 } } } },
    [QUANT_Q2_K] = { 256, sizeof(struct block_q2k), {
        [VULKAN_PLANE_CODES] = { CRUMBS, 64, BY_FOUR(OFFSET(q2k, qs)), TWO_BITS },
        [VULKAN_PLANE_SCALES] = { COPY, 16, { OFFSET(q2k, scales) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 4, { OFFSET(q2k, d) }, { 0 } } } },
    [QUANT_Q3_K] = { 256, sizeof(struct block_q3k), {
        [VULKAN_PLANE_CODES] = { CRUMBS, 64, BY_FOUR(OFFSET(q3k, qs)), TWO_BITS },
        [VULKAN_PLANE_HIGH] = { BITS, 32, { 0 }, { 0, 1, 2, 3, 4, 5, 6, 7 } },
        [VULKAN_PLANE_SCALES] = { SCALES_Q3K, 12, { 0 }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 2, { OFFSET(q3k, d) }, { 0 } } } },
    [QUANT_Q4_K] = { 256, sizeof(struct block_q4k), {
        [VULKAN_PLANE_CODES] = { NIBBLES, 128, BY_TWO(OFFSET(q4k, qs)), { 0, 4, 0, 4, 0, 4, 0, 4 } },
        [VULKAN_PLANE_SCALES] = { SCALES_Q4K, 16, { 0 }, { 0 } } } },
    [QUANT_Q5_K] = { 256, sizeof(struct block_q5k), {
        [VULKAN_PLANE_CODES] = { NIBBLES, 128, BY_TWO(OFFSET(q5k, qs)), { 0, 4, 0, 4, 0, 4, 0, 4 } },
        [VULKAN_PLANE_HIGH] = { BITS, 32, { 16, 16, 16, 16, 16, 16, 16, 16 }, { 0, 1, 2, 3, 4, 5, 6, 7 } },
        [VULKAN_PLANE_SCALES] = { SCALES_Q4K, 16, { 0 }, { 0 } } } },
    [QUANT_Q6_K] = { 256, sizeof(struct block_q6k), {
        [VULKAN_PLANE_CODES] = { NIBBLES, 128, { 0, 32, 0, 32, 64, 96, 64, 96 }, { 0, 0, 4, 4, 0, 0, 4, 4 } },
        [VULKAN_PLANE_HIGH] = { CRUMBS, 64, BY_FOUR(OFFSET(q6k, qh)), TWO_BITS },
        [VULKAN_PLANE_SCALES] = { COPY, 16, { OFFSET(q6k, scales) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 2, { OFFSET(q6k, d) }, { 0 } } } },
    [QUANT_IQ4_NL] = { 32, sizeof(struct block_iq4_nl), {
        [VULKAN_PLANE_CODES] = { HALF_NIBBLES, 16, { OFFSET(iq4_nl, qs) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 2, { OFFSET(iq4_nl, d) }, { 0 } } } },
    [QUANT_IQ4_XS] = { 256, sizeof(struct block_iq4_xs), {
        [VULKAN_PLANE_CODES] = { HALF_NIBBLES, 128, { OFFSET(iq4_xs, qs) }, { 0 } },
        [VULKAN_PLANE_SCALES] = { COPY, 8, { OFFSET(iq4_xs, d) }, { 0 } } } },
    [QUANT_MXFP4] = { 32, sizeof(struct block_mxfp4), {
        [VULKAN_PLANE_CODES] = { HALF_NIBBLES, 16, { OFFSET(mxfp4, qs) }, { 0 } },
        [VULKAN_PLANE_D] = { COPY, 1, { OFFSET(mxfp4, e) }, { 0 } } } },
};

static_assert(offsetof(struct block_q3k, hmask) == 0 && offsetof(struct block_q5k, qh) == 16 &&
              offsetof(struct block_q6k, ql) == 0, "as the table says");
static_assert(offsetof(struct block_q4_1, m) == offsetof(struct block_q4_1, d) + 2 &&
              offsetof(struct block_q5_1, m) == offsetof(struct block_q5_1, d) + 2 &&
              offsetof(struct block_q2k, dmin) == offsetof(struct block_q2k, d) + 2 &&
              offsetof(struct block_iq4_xs, qs) == offsetof(struct block_iq4_xs, d) + 8, "all are copied as one");

int32_t vulkan_pack_block(uint32_t type)
{
    return type < QUANT_N_TYPES ? formats[type].block : 0;
}

int32_t vulkan_pack_bytes(uint32_t type, int plane)
{
    return formats[type].planes[plane].bytes;
}

static inline uint32_t word_at(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* n_bytes is a constant at each call, so that the copy is a move. */
static inline void copy(uint8_t *out, const uint8_t *b, int64_t n, int64_t block_bytes, size_t n_bytes)
{
    for (; n > 0; n--, b += block_bytes, out += n_bytes)
        memcpy(out, b, n_bytes);
}

static void copy_part(uint8_t *out, const uint8_t *b, int64_t n, int64_t block_bytes, uint8_t n_bytes)
{
    switch (n_bytes) {
    case 1: copy(out, b, n, block_bytes, 1); break;
    case 2: copy(out, b, n, block_bytes, 2); break;
    case 4: copy(out, b, n, block_bytes, 4); break;
    case 8: copy(out, b, n, block_bytes, 8); break;
    case 16: copy(out, b, n, block_bytes, 16); break;
    case 32: copy(out, b, n, block_bytes, 32); break;
    default: assert(false);
    }
}

static void nibbles(uint32_t *out, const uint8_t *b, int64_t n, int64_t block_bytes, const struct plane *p)
{
    for (; n > 0; n--, b += block_bytes)
        for (int unit = 0; unit < 8; unit++, out += 4) {
            const uint8_t *from = b + p->at[unit];
            for (int w = 0; w < 4; w++)
                out[w] = (word_at(from + 8 * w) >> p->shift[unit] & 0x0F0F0F0F) |
                         (word_at(from + 8 * w + 4) >> p->shift[unit] & 0x0F0F0F0F) << 4;
        }
}

static void half_nibbles(uint32_t *out, const uint8_t *b, int64_t n, int64_t block_bytes, int n_units)
{
    for (; n > 0; n--, b += block_bytes)
        for (int unit = 0; unit < n_units; unit++, out += 4)
            for (int w = 0; w < 2; w++) {
                uint32_t first = word_at(b + 16 * unit + 8 * w), second = word_at(b + 16 * unit + 8 * w + 4);
                out[w] = (first & 0x0F0F0F0F) | (second & 0x0F0F0F0F) << 4;
                out[w + 2] = (first >> 4 & 0x0F0F0F0F) | (second & 0xF0F0F0F0);
            }
}

static void crumbs(uint32_t *out, const uint8_t *b, int64_t n, int64_t block_bytes, const struct plane *p)
{
    for (; n > 0; n--, b += block_bytes)
        for (int unit = 0; unit < 8; unit++, out += 2)
            for (int w = 0; w < 2; w++) {
                uint32_t word = 0;
                for (int i = 0; i < 4; i++)
                    word |= (word_at(b + p->at[unit] + 16 * w + 4 * i) >> p->shift[unit] & 0x03030303) << 2 * i;
                out[w] = word;
            }
}

static void bits(uint32_t *out, const uint8_t *b, int64_t n, int64_t block_bytes, const struct plane *p)
{
    for (; n > 0; n--, b += block_bytes)
        for (int unit = 0; unit < 8; unit++) {
            uint32_t word = 0;
            for (int i = 0; i < 8; i++)
                word |= (word_at(b + p->at[unit] + 4 * i) >> p->shift[unit] & 0x01010101) << i;
            *out++ = word;
        }
}

static void word_bits(uint32_t *out, const uint8_t *b, int64_t n, int64_t block_bytes)
{
    for (; n > 0; n--, b += block_bytes) {
        uint32_t from = word_at(b), word = 0;
        for (int i = 0; i < 8; i++)    /* the product puts bit k of a nibble at 8k */
            word |= ((from >> 4 * i & 15) * 0x00204081 & 0x01010101) << i;
        *out++ = word;
    }
}

static void three_words(uint32_t out[3], const uint8_t a[8], const uint8_t b[8])
{
    uint32_t low_a = 0, low_b = 0, high = 0;
    for (int unit = 0; unit < 8; unit++) {
        low_a |= (uint32_t)(a[unit] & 15) << 4 * unit;
        low_b |= (uint32_t)(b[unit] & 15) << 4 * unit;
        high |= (uint32_t)(a[unit] >> 4 | b[unit] >> 4 << 2) << 4 * unit;
    }
    out[0] = low_a;
    out[1] = low_b;
    out[2] = high;
}

static void scales_q3k(uint32_t *out, const struct block_q3k *b, int64_t n)
{
    for (; n > 0; n--, b++, out += 3) {
        uint8_t scales[2][8];
        for (int run = 0; run < 16; run++)
            scales[run % 2][run / 2] = (uint8_t)((b->scales[run % 8] >> (run / 8 * 4) & 15) |
                                                 (b->scales[8 + run % 4] >> (run / 4 * 2) & 3) << 4);
        three_words(out, scales[0], scales[1]);
    }
}

/* b: of Q4_K or Q5_K, which begin alike. */
static void scales_q4k(uint32_t *out, const uint8_t *b, int64_t n, int64_t block_bytes)
{
    static_assert(offsetof(struct block_q4k, scales) == 4 && offsetof(struct block_q5k, scales) == 4, "d, dmin before");
    for (; n > 0; n--, b += block_bytes, out += 4) {
        uint8_t scales[8], mins[8];
        for (int run = 0; run < 8; run++) {
            int sc, mn;
            quant_k_scale_min(b + 4, run, &sc, &mn);
            scales[run] = (uint8_t)sc;
            mins[run] = (uint8_t)mn;
        }
        out[0] = word_at(b);
        three_words(out + 1, scales, mins);
    }
}

void vulkan_pack(uint32_t type, int plane, void *out, const void *blocks, int64_t n_blocks)
{
    const struct plane *p = &formats[type].planes[plane];
    const uint8_t *b = blocks;
    int64_t bytes = formats[type].block_bytes;
    switch (p->kind) {
    case WHOLE: memcpy(out, b, (size_t)(n_blocks * bytes)); break;
    case COPY: copy_part(out, b + p->at[0], n_blocks, bytes, p->bytes); break;
    case NIBBLES: nibbles(out, b, n_blocks, bytes, p); break;
    case CRUMBS: crumbs(out, b, n_blocks, bytes, p); break;
    case BITS: bits(out, b, n_blocks, bytes, p); break;
    case HALF_NIBBLES: half_nibbles(out, b + p->at[0], n_blocks, bytes, p->bytes / 16); break;
    case WORD_BITS: word_bits(out, b + p->at[0], n_blocks, bytes); break;
    case SCALES_Q3K: scales_q3k(out, blocks, n_blocks); break;
    case SCALES_Q4K: scales_q4k(out, b, n_blocks, bytes); break;
    case NO_PLANE: break;
    }
}
