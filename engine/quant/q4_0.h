/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q4_0_H
#define QUIP_ENGINE_QUANT_Q4_0_H

#include <assert.h>
#include <stdint.h>

/* 32 weights in 18 bytes: w = d * (q - 8).
 *
 *   d     f16
 *   qs    low nibbles weights 0..15, high nibbles 16..31 */
struct __attribute__((packed)) block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
};

static_assert(sizeof(struct block_q4_0) == 18, "Q4_0 as stored in the file");

void quant_q4_0_to_f32(float *out, const void *blocks, int64_t n);
void quant_q4_0_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
