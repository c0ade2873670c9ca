/* SPDX-License-Identifier: MIT */
#include "engine/quant/q8_0.h"

#include "engine/quant/f16.h"
#include "engine/quant/strip.h"

void quant_q8_0_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q8_0 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float d = f16_to_f32(b->d);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)b->qs[j];
    }
}

static void pack(struct block_q8_0 *b, float d, const uint8_t *codes)
{
    b->d = f16_from_finite(d);
    for (int j = 0; j < 32; j++)
        b->qs[j] = (int8_t)(codes[j] - 127);
}

void quant_q8_0_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    (void)importance;
    struct block_q8_0 *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_q8_0(&s, x, at, n);
        for (int32_t i = 0; i < s.n / 32; i++, b++)
            pack(b, s.fit.scale[i], s.codes + 32 * i);
    }
}
