/* SPDX-License-Identifier: MIT */
#include "engine/quant/q2k.h"

#include "engine/quant/f16.h"

void quant_q2k_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q2k *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++, out += 256) {
        float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int run = 0; run < 16; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            int shift = run / 2 % 4 * 2;
            float scale = d * (float)(b->scales[run] & 15);
            float min = dmin * (float)(b->scales[run] >> 4);
            for (int l = 0; l < 16; l++)
                out[16 * run + l] = scale * (float)(qs[l] >> shift & 3) - min;
        }
    }
}
