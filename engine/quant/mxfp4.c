/* SPDX-License-Identifier: MIT */
#include "engine/quant/mxfp4.h"

void quant_mxfp4_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_mxfp4 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float scale = quant_mxfp4_scale(b->e);
        for (int j = 0; j < 16; j++) {
            out[j] = scale * (float)quant_mxfp4_values[b->qs[j] & 15];
            out[j + 16] = scale * (float)quant_mxfp4_values[b->qs[j] >> 4];
        }
    }
}
