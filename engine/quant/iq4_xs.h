/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_IQ4_XS_H
#define QUIP_ENGINE_QUANT_IQ4_XS_H

#include <assert.h>
#include <stdint.h>

/* 256 weights in 136 bytes: 8 runs of 32, w = d * (sc - 32) * quant_iq4_values[q] (quant/iq4_nl.h).
 *
 *   d         f16
 *   scales_h  bits 2r and 2r + 1: the high two of the six bits of sc of run r
 *   scales_l  nibble r: the low four
 *   qs        16 bytes per run: low nibbles its weights 0..15, high nibbles 16..31 */
struct __attribute__((packed)) block_iq4_xs {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};

static_assert(sizeof(struct block_iq4_xs) == 136, "IQ4_XS as stored in the file");

void quant_iq4_xs_to_f32(float *out, const void *blocks, int64_t n);
void quant_iq4_xs_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
