/* SPDX-License-Identifier: MIT */
#include "engine/quant/iq4_xs.h"

#include "engine/quant/f16.h"
#include "engine/quant/iq4_nl.h"

void quant_iq4_xs_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_iq4_xs *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++) {
        float d = f16_to_f32(b->d);
        for (int run = 0; run < 8; run++, out += 32) {
            const uint8_t *qs = b->qs + 16 * run;
            int low = b->scales_l[run / 2] >> (run % 2 * 4) & 15, high = b->scales_h >> 2 * run & 3;
            float scale = d * (float)((low | high << 4) - 32);
            for (int j = 0; j < 16; j++) {
                out[j] = scale * (float)quant_iq4_values[qs[j] & 15];
                out[j + 16] = scale * (float)quant_iq4_values[qs[j] >> 4];
            }
        }
    }
}
