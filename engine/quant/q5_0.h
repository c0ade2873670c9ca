/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q5_0_H
#define QUIP_ENGINE_QUANT_Q5_0_H

#include <assert.h>
#include <stdint.h>

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

void quant_q5_0_to_f32(float *out, const void *blocks, int64_t n);

#endif
