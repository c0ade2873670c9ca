/* SPDX-License-Identifier: MIT */
#include "engine/quant/iq4_nl.h"

#include "engine/quant/f16.h"

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
