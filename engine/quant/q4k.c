/* SPDX-License-Identifier: MIT */
#include "engine/quant/q4k.h"

#include "engine/quant/f16.h"

void quant_q4k_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q4k *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++, out += 256) {
        float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int run = 0; run < 8; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 2);
            int shift = run % 2 * 4, sc, mn;
            quant_k_scale_min(b->scales, run, &sc, &mn);
            float scale = d * (float)sc, min = dmin * (float)mn;
            for (int l = 0; l < 32; l++)
                out[32 * run + l] = scale * (float)(qs[l] >> shift & 15) - min;
        }
    }
}
