/* SPDX-License-Identifier: MIT */
#include "engine/quant/plain.h"

#include <stddef.h>
#include <string.h>

#include "engine/quant/f16.h"

void quant_f32_to_f32(float *out, const void *blocks, int64_t n)
{
    memcpy(out, blocks, (size_t)n * sizeof *out);
}

void quant_f16_to_f32(float *out, const void *blocks, int64_t n)
{
    const unsigned char *in = blocks;
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, in + 2 * i, sizeof bits);
        out[i] = f16_to_f32(bits);
    }
}

void quant_bf16_to_f32(float *out, const void *blocks, int64_t n)
{
    const unsigned char *in = blocks;
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, in + 2 * i, sizeof bits);
        out[i] = bf16_to_f32(bits);
    }
}
