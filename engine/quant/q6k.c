/* SPDX-License-Identifier: MIT */
#include "engine/quant/q6k.h"

#include "engine/quant/f16.h"
#include "engine/quant/strip.h"

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

static void pack(struct block_q6k *b, const struct quant_strip *s, int32_t i)
{
    const uint8_t *codes = s->codes + 256 * i;
    b->d = s->d[i];
    for (int run = 0; run < 16; run++)
        b->scales[run] = (int8_t)(s->scales[16 * i + run] - 128);
    for (int half = 0; half < 2; half++, codes += 128)
        for (int l = 0; l < 32; l++) {
            uint8_t *ql = b->ql + 64 * half + l;
            ql[0] = (uint8_t)((codes[l] & 15) | (codes[l + 64] & 15) << 4);
            ql[32] = (uint8_t)((codes[l + 32] & 15) | (codes[l + 96] & 15) << 4);
            b->qh[32 * half + l] = (uint8_t)(codes[l] >> 4 | codes[l + 32] >> 4 << 2 | codes[l + 64] >> 4 << 4 |
                                             codes[l + 96] >> 4 << 6);
        }
}

void quant_q6k_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    struct block_q6k *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_q6k(&s, x, at, n, importance);
        for (int32_t i = 0; i < s.n / 256; i++, b++)
            pack(b, &s, i);
    }
}
