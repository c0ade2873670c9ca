/* SPDX-License-Identifier: MIT */
#include "engine/quant/q3k.h"

#include <string.h>

#include "engine/quant/f16.h"
#include "engine/quant/strip.h"

/* 0 to 63. */
static int scale_of(const uint8_t scales[12], int run)
{
    int low = scales[run % 8] >> (run / 8 * 4) & 15;
    int high = scales[8 + run % 4] >> (run / 4 * 2) & 3;
    return low | high << 4;
}

void quant_q3k_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q3k *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++, out += 256) {
        float d = f16_to_f32(b->d);
        for (int run = 0; run < 16; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            const uint8_t *hmask = b->hmask + 16 * (run % 2);
            int shift = run / 2 % 4 * 2, bit = run / 2;
            float scale = d * (float)(scale_of(b->scales, run) - 32);
            for (int l = 0; l < 16; l++) {
                int q = (qs[l] >> shift & 3) - (hmask[l] >> bit & 1 ? 0 : 4);
                out[16 * run + l] = scale * (float)q;
            }
        }
    }
}

static void put_scales(uint8_t out[12], const uint8_t *scales)
{
    for (int run = 0; run < 8; run++)
        out[run] = (uint8_t)((scales[run] & 15) | (scales[run + 8] & 15) << 4);
    for (int run = 0; run < 4; run++)
        out[8 + run] = (uint8_t)(scales[run] >> 4 | scales[run + 4] >> 4 << 2 | scales[run + 8] >> 4 << 4 |
                                 scales[run + 12] >> 4 << 6);
}

/* Codes are 0 to 7: two bits and the one that, set, keeps 4 from being taken off. */
static void pack(struct block_q3k *b, const struct quant_strip *s, int32_t i)
{
    const uint8_t *codes = s->codes + 256 * i;
    b->d = s->d[i];
    put_scales(b->scales, s->scales + 16 * i);
    memset(b->hmask, 0, sizeof b->hmask);
    for (int group = 0; group < 8; group++)
        for (int l = 0; l < 32; l++)
            b->hmask[l] |= (uint8_t)(codes[32 * group + l] >> 2 << group);
    for (int half = 0; half < 2; half++, codes += 128)
        for (int l = 0; l < 32; l++)
            b->qs[32 * half + l] = (uint8_t)((codes[l] & 3) | (codes[l + 32] & 3) << 2 | (codes[l + 64] & 3) << 4 |
                                             (codes[l + 96] & 3) << 6);
}

void quant_q3k_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    struct block_q3k *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_q3k(&s, x, at, n, importance);
        for (int32_t i = 0; i < s.n / 256; i++, b++)
            pack(b, &s, i);
    }
}
