/* SPDX-License-Identifier: MIT */
#include "engine/quant/q2k.h"

#include "engine/quant/f16.h"
#include "engine/quant/strip.h"

void quant_q2k_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q2k *b = blocks;
    for (int64_t i = 0; i < n; i += 256, b++, out += 256) {
        float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int run = 0; run < 16; run++) {
            const uint8_t *qs = b->qs + 32 * (run / 8) + 16 * (run % 2);
            int shift = run / 2 % 4 * 2;
            float scale = d * (float)(b->scales[run] & 15);
            float min = dmin * (float)(b->scales[run] >> 4);
            for (int l = 0; l < 16; l++)
                out[16 * run + l] = scale * (float)(qs[l] >> shift & 3) - min;
        }
    }
}

static void pack(struct block_q2k *b, const struct quant_strip *s, int32_t i)
{
    const uint8_t *codes = s->codes + 256 * i, *scales = s->scales + 16 * i, *mins = s->mins + 16 * i;
    b->d = s->d[i];
    b->dmin = s->dmin[i];
    for (int r = 0; r < 16; r++)
        b->scales[r] = (uint8_t)(scales[r] | mins[r] << 4);
    for (int half = 0; half < 2; half++, codes += 128)
        for (int l = 0; l < 32; l++)
            b->qs[32 * half + l] = (uint8_t)(codes[l] | codes[l + 32] << 2 | codes[l + 64] << 4 | codes[l + 96] << 6);
}

void quant_q2k_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    static const struct quant_super_affine how = {
        .rule = { .run = 16, .top = 3, .first = -0.5f, .step = 0.1f, .n_tries = 16, .absolute = true },
        .weigh = QUANT_WEIGH_ABS, .mean_factor = 1.0f, .scale_top = 15
    };
    struct block_q2k *b = blocks;
    struct quant_strip s;
    for (int64_t at = 0; at < n; at += s.n) {
        quant_strip_super_affine(&s, x, at, n, importance, &how);
        for (int32_t i = 0; i < s.n / 256; i++, b++)
            pack(b, &s, i);
    }
}
