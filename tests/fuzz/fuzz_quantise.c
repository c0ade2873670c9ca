/* SPDX-License-Identifier: MIT */
/* Any finite weights and importance through any quantiser: the first byte picks the format, the second whether there
 * is importance; then come floats. Every tier has to make the same bytes, and they have to decode to finite weights. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cpuid.h"
#include "engine/quant/quant.h"
#include "engine/quant/quant_kern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static float finite_at(const uint8_t *data, size_t n_floats, size_t i)
{
    float x;
    memcpy(&x, data + 4 * (i % n_floats), sizeof x);
    return isfinite(x) ? x : 0;
}

/* Floats are repeated until a row is full. */
static void run(const struct quant_format *f, const uint8_t *data, size_t n_floats, bool weighed)
{
    size_t block = (size_t)f->block_weights, n = (n_floats + block - 1) / block * block;
    size_t row_bytes = n / block * (size_t)f->block_bytes;
    float *x = malloc(n * sizeof *x), *importance = malloc(n * sizeof *x), *back = malloc(n * sizeof *x);
    uint8_t *first = malloc(row_bytes), *blocks = malloc(row_bytes);
    if (!x || !importance || !back || !first || !blocks)
        abort();
    for (size_t i = 0; i < n; i++) {
        x[i] = finite_at(data, n_floats, i);
        importance[i] = fabsf(finite_at(data, n_floats, n - i));
    }
    static const uint32_t tiers[] = { 0, CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
    for (int tier = 0; tier < 3; tier++) {
        quant_kern_use(tiers[tier]);
        f->from_f32(tier ? blocks : first, x, (int64_t)n, weighed ? importance : NULL);
        if (tier && memcmp(blocks, first, row_bytes) != 0)
            abort();
    }
    f->to_f32(back, first, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(back[i]))
            abort();
    free(x);
    free(importance);
    free(back);
    free(first);
    free(blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes < 6)
        return 0;
    const struct quant_format *f = quant_format(data[0] % QUANT_N_TYPES);
    if (f && f->from_f32)
        run(f, data + 2, (n_bytes - 2) / 4, data[1] & 1);
    return 0;
}
