/* SPDX-License-Identifier: MIT */
#include "engine/quant/q8_0.h"

#include <math.h>

#include "engine/quant/f16.h"

void quant_q8_0_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_q8_0 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float d = f16_to_f32(b->d);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)b->qs[j];
    }
}

/* d = largest magnitude / 127; codes by the scale before it is rounded. */
void quant_q8_0_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    (void)importance;
    struct block_q8_0 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, x += 32) {
        float most = 0;
        for (int j = 0; j < 32; j++)
            most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
        float d = most / 127.0f;
        b->d = f16_from_finite(d);
        d = d > 65504.0f ? 65504.0f : d;
        float inverse = d > 0 ? 1.0f / d : 0;
        for (int j = 0; j < 32; j++) {
            float q = x[j] * inverse;
            q = q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q;
            b->qs[j] = (int8_t)rintf(q);
        }
    }
}
