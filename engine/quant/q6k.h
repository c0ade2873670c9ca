/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q6K_H
#define QUIP_ENGINE_QUANT_Q6K_H

#include <assert.h>
#include <stdint.h>

/* 256 weights in 210 bytes: 16 runs of 16, w = d * sc * (q - 32).
 *
 *   ql      two halves of 64 bytes, each 128 weights in four groups of 32: groups 0 and 1 are the low
 *           nibbles of bytes 0..31 and 32..63, groups 2 and 3 the high ones
 *   qh      two halves of 32 bytes; byte l, bits 2k and 2k + 1: the high bits of weight l of group k
 *   scales  signed, one per run
 *   d       f16 */
struct __attribute__((packed)) block_q6k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};

static_assert(sizeof(struct block_q6k) == 210, "Q6_K as stored in the file");

void quant_q6k_to_f32(float *out, const void *blocks, int64_t n);
void quant_q6k_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
