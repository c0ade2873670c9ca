/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q5_1_H
#define QUIP_ENGINE_QUANT_Q5_1_H

#include <assert.h>
#include <stdint.h>

/* 32 weights in 24 bytes: w = d * q + m.
 *
 *   d, m  f16
 *   qh    bit j is the fifth bit of weight j, little-endian over the four bytes
 *   qs    low nibbles weights 0..15, high nibbles 16..31 */
struct __attribute__((packed)) block_q5_1 {
    uint16_t d;
    uint16_t m;
    uint8_t qh[4];
    uint8_t qs[16];
};

static_assert(sizeof(struct block_q5_1) == 24, "Q5_1 as stored in the file");

void quant_q5_1_to_f32(float *out, const void *blocks, int64_t n);
void quant_q5_1_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
