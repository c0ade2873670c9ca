/* SPDX-License-Identifier: MIT */
#include "engine/quant/q4k.h"

#include "engine/quant/f16.h"
#include "engine/quant/strip.h"

void quant_q4k_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q4k *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++, out += 256) {
        float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int run = 0; run < 8; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 2);
            int shift = run % 2 * 4, sc, mn;
            quant_k_scale_min(b->scales, run, &sc, &mn);
            float scale = d * (float)sc, min = dmin * (float)mn;
            for (int l = 0; l < 32; l++)
                out[32 * run + l] = scale * (float)(qs[l] >> shift & 15) - min;
        }
    }
}

static void pack(struct block_q4k *b, const struct quant_strip *s, int32_t i)
{
    const uint8_t *codes = s->codes + 256 * i;
    b->d = s->d[i];
    b->dmin = s->dmin[i];
    quant_k_put_scale_min(b->scales, s->scales + 8 * i, s->mins + 8 * i);
    for (int pair = 0; pair < 4; pair++, codes += 64)
        for (int l = 0; l < 32; l++)
            b->qs[32 * pair + l] = (uint8_t)(codes[l] | codes[l + 32] << 4);
}

void quant_q4k_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    static const struct quant_super_affine how = {
        .rule = { .run = 32, .top = 15, .first = -1.0f, .step = 0.1f, .n_tries = 21, .absolute = false },
        .weigh = QUANT_WEIGH_RMS_ABS, .mean_factor = 2.0f, .scale_top = 63
    };
    struct block_q4k *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_super_affine(&s, x, at, n, importance, &how);
        for (int32_t i = 0; i < s.n / 256; i++, b++)
            pack(b, &s, i);
    }
}
