/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q3K_H
#define QUIP_ENGINE_QUANT_Q3K_H

#include <assert.h>
#include <stdint.h>

/* 256 weights in 110 bytes: 16 runs of 16, w = d * (sc - 32) * q, q from -4 to 3.
 *
 *   hmask   byte l, bit 4n + j: set, and weight 128n + 32j + l keeps its two bits; clear, it loses 4
 *   qs      two halves of 32 bytes, each 128 weights; byte l, bits 2j and 2j + 1: weight 32j + l
 *   scales  6 bits per run. Low four of run r: nibble r / 8 of byte r % 8. High two: bits 2(r / 4) of
 *           byte 8 + r % 4
 *   d       f16 */
struct __attribute__((packed)) block_q3k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
};

static_assert(sizeof(struct block_q3k) == 110, "Q3_K as stored in the file");

void quant_q3k_to_f32(float *out, const void *blocks, int64_t n);
void quant_q3k_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
