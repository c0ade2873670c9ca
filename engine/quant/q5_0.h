/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q5_0_H
#define QUIP_ENGINE_QUANT_Q5_0_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

/* 32 weights in 22 bytes: w = d * (q - 16).
 *
 *   d     f16
 *   qh    bit j is the fifth bit of weight j, little-endian over the four bytes
 *   qs    low nibbles weights 0..15, high nibbles 16..31 */
struct __attribute__((packed)) block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
};

static_assert(sizeof(struct block_q5_0) == 22, "Q5_0 as stored in the file");

/* The fifth bits of 32 codes, gathered by eights: the product puts bit 4 of byte j at bit 56 + j. */
static inline void quant_q5_put_high(uint8_t qh[4], const uint8_t codes[32])
{
    for (int k = 0; k < 4; k++) {
        uint64_t eight;
        memcpy(&eight, codes + 8 * k, sizeof eight);
        qh[k] = (uint8_t)((eight >> 4 & 0x0101010101010101) * 0x0102040810204080 >> 56);
    }
}

void quant_q5_0_to_f32(float *out, const void *blocks, int64_t n);
void quant_q5_0_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
