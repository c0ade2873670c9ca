/* SPDX-License-Identifier: MIT */
#include "engine/quant/q5_1.h"

#include "engine/quant/f16.h"
#include "engine/quant/q5_0.h"
#include "engine/quant/strip.h"

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

static void pack(struct block_q5_1 *b, float d, float m, const uint8_t *codes)
{
    b->d = f16_from_finite(d);
    b->m = f16_from_finite(m);
    quant_q5_put_high(b->qh, codes);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

void quant_q5_1_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    struct block_q5_1 *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_range(&s, x, at, n, importance, 31);
        for (int32_t i = 0; i < s.n / 32; i++, b++)
            pack(b, s.fit.scale[i], -s.fit.min[i], s.codes + 32 * i);
    }
}
