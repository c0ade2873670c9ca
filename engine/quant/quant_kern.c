/* SPDX-License-Identifier: MIT */
#include "engine/quant/quant_kern.h"

#include <stdatomic.h>
#include <stddef.h>

#include "engine/base/cpuid.h"
#include "engine/quant/quant_tiers.h"

static const struct quant_kern *kern_of(uint32_t features)
{
#if QUANT_X86_64
    if (features & CPUID_AVX512)
        return &quant_kern_avx512;
    if (features & CPUID_AVX2)
        return &quant_kern_avx2;
#endif
    (void)features;
    return &quant_kern_scalar;
}

/* quant_from_f32_fn has no place for a choice, and asking the processor costs more than a row. */
static _Atomic(const struct quant_kern *) chosen;

const struct quant_kern *quant_kern(void)
{
    const struct quant_kern *kern = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!kern) {
        kern = kern_of(cpuid_features());
        atomic_store_explicit(&chosen, kern, memory_order_relaxed);
    }
    return kern;
}

void quant_kern_use(uint32_t features)
{
    atomic_store_explicit(&chosen, kern_of(features & cpuid_features()), memory_order_relaxed);
}

float quant_mean_square(const float *x, int64_t n)
{
    enum { SUMS = 16 };
    float sums[SUMS] = { 0 };
    for (int64_t i = 0; i + SUMS <= n; i += SUMS)
        for (int k = 0; k < SUMS; k++) {
            float a = x[i + k] > 0x1p40f ? 0x1p40f : x[i + k] < -0x1p40f ? -0x1p40f : x[i + k];
            sums[k] += a * a;
        }
    for (int half = SUMS / 2; half >= 1; half /= 2)
        for (int k = 0; k < half; k++)
            sums[k] += sums[k + half];
    return sums[0] / (float)n;
}
