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
            for (int l = 0; l < 32; l++) {
                int q = (ql[l] >> (k / 2 * 4) & 15) | (qh[l] >> (2 * k) & 3) << 4;
                float scale = d * (float)b->scales[2 * group + l / 16];
                out[32 * group + l] = scale * (float)(q - 32);
            }
        }
    }
}
