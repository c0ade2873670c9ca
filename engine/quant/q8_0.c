/* SPDX-License-Identifier: MIT */
#include "engine/quant/q8_0.h"

#include "engine/quant/f16.h"

void quant_q8_0_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q8_0 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float d = f16_to_f32(b->d);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)b->qs[j];
    }
}
