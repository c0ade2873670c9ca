/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_Q4K_H
#define QUIP_ENGINE_QUANT_Q4K_H

#include <assert.h>
#include <stdint.h>

/* 256 weights in 144 bytes: 8 runs of 32, w = d * sc * q - dmin * mn.
 *
 *   d, dmin f16
 *   scales  sc and mn of each run, 6 bits each: quant_k_scale_min()
 *   qs      32 bytes per pair of runs: low nibbles the even run, high nibbles the odd one */
struct __attribute__((packed)) block_q4k {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};

static_assert(sizeof(struct block_q4k) == 144, "Q4_K as stored in the file");

/* Scale and minimum, 0 to 63, of a run 0 to 7 in the twelve bytes of Q4_K and Q5_K. Runs 0 to 3 have
 * the low six bits of bytes r and r + 4; runs 4 to 7 the nibbles of byte r + 4, and the two bits that
 * are left over in bytes r - 4 and r. */
static inline void quant_k_scale_min(const uint8_t scales[12], int run, int *sc, int *mn)
{
    if (run < 4) {
        *sc = scales[run] & 63;
        *mn = scales[run + 4] & 63;
    } else {
        *sc = (scales[run + 4] & 15) | scales[run - 4] >> 6 << 4;
        *mn = scales[run + 4] >> 4 | scales[run] >> 6 << 4;
    }
}

/* The other way. */
static inline void quant_k_put_scale_min(uint8_t scales[12], const uint8_t sc[8], const uint8_t mn[8])
{
    for (int run = 0; run < 4; run++) {
        scales[run] = (uint8_t)(sc[run] | sc[run + 4] >> 4 << 6);
        scales[run + 4] = (uint8_t)(mn[run] | mn[run + 4] >> 4 << 6);
        scales[run + 8] = (uint8_t)((sc[run + 4] & 15) | (mn[run + 4] & 15) << 4);
    }
}

void quant_q4k_to_f32(float *out, const void *blocks, int64_t n);
void quant_q4k_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
