/* SPDX-License-Identifier: MIT */
#include "engine/quant/iq4_xs.h"

#include "engine/quant/f16.h"
#include "engine/quant/iq4_nl.h"
#include "engine/quant/strip.h"

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

static void pack(struct block_iq4_xs *b, const struct quant_strip *s, int32_t i)
{
    const uint8_t *codes = s->codes + 256 * i, *scales = s->scales + 8 * i;
    b->d = s->d[i];
    b->scales_h = 0;
    for (int run = 0; run < 8; run++)
        b->scales_h |= (uint16_t)(scales[run] >> 4 << 2 * run);
    for (int pair = 0; pair < 4; pair++)
        b->scales_l[pair] = (uint8_t)((scales[2 * pair] & 15) | (scales[2 * pair + 1] & 15) << 4);
    for (int run = 0; run < 8; run++, codes += 32)
        for (int j = 0; j < 16; j++)
            b->qs[16 * run + j] = (uint8_t)(codes[j] | codes[j + 16] << 4);
}

void quant_iq4_xs_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    struct block_iq4_xs *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_iq4_xs(&s, x, at, n, importance);
        for (int32_t i = 0; i < s.n / 256; i++, b++)
            pack(b, &s, i);
    }
}
