/* SPDX-License-Identifier: MIT */
#include "engine/quant/q5_1.h"

#include "engine/quant/f16.h"

void quant_q5_1_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q5_1 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
        uint32_t qh = b->qh[0] | b->qh[1] << 8 | b->qh[2] << 16 | (uint32_t)b->qh[3] << 24;
        for (int j = 0; j < 16; j++) {
            int low = (b->qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int high = b->qs[j] >> 4 | (int)(qh >> (j + 16) & 1) << 4;
            out[j] = d * (float)low + m;
            out[j + 16] = d * (float)high + m;
        }
    }
}
