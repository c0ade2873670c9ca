/* SPDX-License-Identifier: MIT */
#include "engine/quant/mxfp4.h"

#include "engine/quant/quant_kern.h"

void quant_mxfp4_to_f32(float *out, const void *blocks, int64_t n)
{
    const struct block_mxfp4 *b = blocks;
    for (int64_t i = 0; i < n; i += 32, b++, out += 32) {
        float scale = quant_mxfp4_scale(b->e);
        for (int j = 0; j < 16; j++) {
            out[j] = scale * (float)quant_mxfp4_values[b->qs[j] & 15];
            out[j + 16] = scale * (float)quant_mxfp4_values[b->qs[j] >> 4];
        }
    }
}

/* Bits of the largest magnitude; as integers they are in the order of the magnitudes. */
static uint32_t largest(const float *x)
{
    uint32_t most = 0;
    for (int j = 0; j < 32; j++) {
        uint32_t bits = f32_bits(x[j]) & 0x7FFFFFFF;
        most = bits > most ? bits : most;
    }
    return most;
}

static void pack(struct block_mxfp4 *b, uint8_t e, const uint8_t *codes)
{
    b->e = e;
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(codes[j] | codes[j + 16] << 4);
}

/* The exponent of the largest magnitude less 2: it lies between 4 and 8 then, of levels up to 6. */
void quant_mxfp4_from_f32(void *blocks, const float *x, int64_t n, const float *importance)
{
    (void)importance;
    enum { RUNS = QUANT_STRIP / 32 };
    struct block_mxfp4 *b = blocks;
    uint8_t codes[QUANT_STRIP], e[RUNS];
    struct quant_fit fit;
    for (int64_t at = 0; at < n; at += QUANT_STRIP, x += QUANT_STRIP) {
        int32_t n_runs = n - at < QUANT_STRIP ? (int32_t)(n - at) / 32 : RUNS;
        for (int32_t r = 0; r < n_runs; r++) {
            int exponent = (int)(largest(x + 32 * r) >> 23) - 2;
            e[r] = (uint8_t)(exponent < 0 ? 0 : exponent);
            fit.inverse[r] = f32_from_bits((254u - e[r]) << 23);
        }
        quant_kern()->encode_mxfp4(codes, x, &fit, n_runs, 32);
        for (int32_t r = 0; r < n_runs; r++, b++)
            pack(b, e[r], codes + 32 * r);
    }
}
