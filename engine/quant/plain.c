/* SPDX-License-Identifier: MIT */
#include "engine/quant/plain.h"

#include <stddef.h>
#include <string.h>

#include "engine/quant/f16.h"
#include "engine/quant/quant_kern.h"

void quant_f32_to_f32(float *out, const void *blocks, int64_t n)
{
    memcpy(out, blocks, (size_t)n * sizeof *out);
}

void quant_f16_to_f32(float *out, const void *blocks, int64_t n)
{
    quant_kern()->from_halves(out, blocks, n);
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

void quant_f32_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    (void)importance;
    memcpy(blocks, x, (size_t)n * sizeof *x);
}

void quant_f16_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    (void)importance;
    quant_kern()->to_halves(blocks, x, n);
}

void quant_bf16_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    (void)importance;
    unsigned char *out = blocks;
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits = bf16_from_f32(x[i]);
        bits = (bits & 0x7FFF) == 0x7F80 ? bits - 1 : bits;    /* rounded up to infinity */
        memcpy(out + 2 * i, &bits, sizeof bits);
    }
}
