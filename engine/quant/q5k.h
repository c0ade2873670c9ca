/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q5K_H
#define QUIP_ENGINE_QUANT_Q5K_H

#include <assert.h>
#include <stdint.h>

/* 256 weights in 176 bytes: 8 runs of 32, w = d * sc * q - dmin * mn.
 *
 *   d, dmin f16
 *   scales  as in Q4_K
 *   qh      byte l, bit r: the fifth bit of weight l of run r
 *   qs      32 bytes per pair of runs: low nibbles the even run, high nibbles the odd one */
struct __attribute__((packed)) block_q5k {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};

static_assert(sizeof(struct block_q5k) == 176, "Q5_K as stored in the file");

void quant_q5k_to_f32(float *out, const void *blocks, int64_t n);
void quant_q5k_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
