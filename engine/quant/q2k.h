/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q2K_H
#define QUIP_ENGINE_QUANT_Q2K_H

#include <assert.h>
#include <stdint.h>

/* 256 weights in 84 bytes: 16 runs of 16, w = d * sc * q - dmin * mn.
 *
 *   scales  a byte per run: sc in the low nibble, mn in the high one
 *   qs      two halves of 32 bytes, each 128 weights; byte l, bits 2j and 2j + 1: weight 32j + l
 *   d, dmin f16
 *
 * Run r covers weights 16r to 16r + 15. */
struct __attribute__((packed)) block_q2k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d;
    uint16_t dmin;
};

static_assert(sizeof(struct block_q2k) == 84, "Q2_K as stored in the file");

void quant_q2k_to_f32(float *out, const void *blocks, int64_t n);
void quant_q2k_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
