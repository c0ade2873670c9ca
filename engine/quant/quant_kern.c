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

/* n spans at once: each sum waits for itself at every step. */
static inline __attribute__((always_inline)) void mean_squares(float *mean, const float *x, int64_t span, const int n)
{
    float sums[4] = { 0 };
    for (int64_t i = 0; i < span; i++)
        for (int k = 0; k < n; k++) {
            float a = x[k * span + i];
            a = a > 0x1p40f ? 0x1p40f : a < -0x1p40f ? -0x1p40f : a;
            sums[k] += a * a;
        }
    for (int k = 0; k < n; k++)
        mean[k] = sums[k] / (float)span;
}

void quant_mean_squares(float *mean, const float *x, int64_t n_spans, int64_t span)
{
    int64_t i = 0;
    for (; i + 4 <= n_spans; i += 4)
        mean_squares(mean + i, x + i * span, span, 4);
    for (; i < n_spans; i++)
        mean_squares(mean + i, x + i * span, span, 1);
}
