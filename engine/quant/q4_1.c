/* SPDX-License-Identifier: MIT */
#include "engine/quant/q4_1.h"

#include "engine/quant/f16.h"

void quant_q4_1_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q4_1 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(b->qs[j] & 15) + m;
            out[j + 16] = d * (float)(b->qs[j] >> 4) + m;
        }
    }
}
