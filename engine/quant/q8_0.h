/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q8_0_H
#define QUIP_ENGINE_QUANT_Q8_0_H

#include <assert.h>
#include <stdint.h>

/* 32 weights in 34 bytes: w = d * q.
 *
 *   d     f16
 *   qs    signed */
struct __attribute__((packed)) block_q8_0 {
    uint16_t d;
    int8_t qs[32];
};

static_assert(sizeof(struct block_q8_0) == 34, "Q8_0 as stored in the file");

void quant_q8_0_to_f32(float *out, const void *blocks, int64_t n);
void quant_q8_0_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
