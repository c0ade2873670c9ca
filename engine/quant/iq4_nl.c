/* SPDX-License-Identifier: MIT */
#include "engine/quant/iq4_nl.h"

#include "engine/quant/f16.h"
#include "engine/quant/strip.h"

void quant_iq4_nl_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_iq4_nl *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float d = f16_to_f32(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)quant_iq4_values[b->qs[j] & 15];
            out[j + 16] = d * (float)quant_iq4_values[b->qs[j] >> 4];
        }
    }
}

static void pack(struct block_iq4_nl *b, float d, const uint8_t *codes)
{
    b->d = f16_from_finite(d);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(codes[j] | codes[j + 16] << 4);
}

void quant_iq4_nl_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    struct block_iq4_nl *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_codebook(&s, x, at, n, importance);
        for (int32_t i = 0; i < s.n / 32; i++, b++)
            pack(b, s.fit.scale[i], s.codes + 32 * i);
    }
}
