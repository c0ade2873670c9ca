/* SPDX-License-Identifier: MIT */
#include "engine/quant/q3k.h"

#include "engine/quant/f16.h"

/* 0 to 63. */
static int scale_of(const uint8_t scales[12], int run)
{
    int low = scales[run % 8] >> (run / 8 * 4) & 15;
    int high = scales[8 + run % 4] >> (run / 4 * 2) & 3;
    return low | high << 4;
}

void quant_q3k_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q3k *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++, out += 256) {
        float d = f16_to_f32(b->d);
        for (int run = 0; run < 16; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            const uint8_t *hmask = b->hmask + 16 * (run % 2);
            int shift = run / 2 % 4 * 2, bit = run / 2;
            float scale = d * (float)(scale_of(b->scales, run) - 32);
            for (int l = 0; l < 16; l++) {
                int q = (qs[l] >> shift & 3) - (hmask[l] >> bit & 1 ? 0 : 4);
                out[16 * run + l] = scale * (float)q;
            }
        }
    }
}
