/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_IQ4_NL_H
#define QUIP_ENGINE_QUANT_IQ4_NL_H

#include <assert.h>
#include <stdint.h>

/* What the codes of IQ4_NL and IQ4_XS stand for: closer together near zero, where most weights are. */
static const int8_t quant_iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

/* 32 weights in 18 bytes: w = d * quant_iq4_values[q].
 *
 *   d     f16
 *   qs    low nibbles weights 0..15, high nibbles 16..31 */
struct __attribute__((packed)) block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};

static_assert(sizeof(struct block_iq4_nl) == 18, "IQ4_NL as stored in the file");

void quant_iq4_nl_to_f32(float *out, const void *blocks, int64_t n);
void quant_iq4_nl_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
