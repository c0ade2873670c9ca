/* SPDX-License-Identifier: MIT */
#include "engine/quant/q6k.h"

#include "engine/quant/f16.h"

void quant_q6k_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q6k *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++, out += 256) {
        float d = f16_to_f32(b->d);
        for (int group = 0; group < 8; group++) {
            int half = group / 4, k = group % 4;
            const uint8_t *ql = b->ql + 64 * half + 32 * (k % 2);
            const uint8_t *qh = b->qh + 32 * half;
            int low_shift = k / 2 * 4, high_shift = 2 * k;
            for (int run = 0; run < 2; run++) {
                float scale = d * (float)b->scales[2 * group + run];
                for (int l = 16 * run; l < 16 * run + 16; l++) {
                    int q = (ql[l] >> low_shift & 15) | (qh[l] >> high_shift & 3) << 4;
                    out[32 * group + l] = scale * (float)(q - 32);
                }
            }
        }
    }
}
