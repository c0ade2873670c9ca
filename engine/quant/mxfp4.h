/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_MXFP4_H
#define QUIP_ENGINE_QUANT_MXFP4_H

#include <assert.h>
#include <stdint.h>

#include "engine/quant/f16.h"

/* Twice what the codes stand for as floats of four bits (sign, two of exponent, one of mantissa): whole numbers. */
static const int8_t quant_mxfp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/* 32 weights in 17 bytes: w = 2^(e - 127) / 2 * quant_mxfp4_values[q].
 *
 *   e     exponent alone (E8M0); 255 is no NaN here
 *   qs    low nibbles weights 0..15, high nibbles 16..31 */
struct __attribute__((packed)) block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
};

static_assert(sizeof(struct block_mxfp4) == 17, "MXFP4 as stored in the file");

/* 2^(e - 127) / 2, exactly: subnormal for 0 and 1. */
static inline float quant_mxfp4_scale(uint8_t e)
{
    return f32_from_bits(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

void quant_mxfp4_to_f32(float *out, const void *blocks, int64_t n);
void quant_mxfp4_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
