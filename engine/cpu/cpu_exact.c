/* SPDX-License-Identifier: MIT */
#include "engine/cpu/cpu_exact.h"

#include "engine/base/cpuid.h"
#include "engine/cpu/exact_tiers.h"

/* Sixteen sums in double, so that the order of adding has no say in the figures this tier is there for. */
static float dot(const float *a, const float *b, int32_t n)
{
    double sum[EXACT_LANES] = { 0 };
    int32_t i = 0;
    for (; i + EXACT_LANES <= n; i += EXACT_LANES)
        for (int32_t lane = 0; lane < EXACT_LANES; lane++)
            sum[lane] += (double)a[i + lane] * (double)b[i + lane];
    for (; i < n; i++)
        sum[i % EXACT_LANES] += (double)a[i] * (double)b[i];
    return exact_fold(sum);
}

static void product_scalar(float *y, int64_t y_stride, const float *w, int32_t n_w, const float *x, int32_t n_x,
                           int32_t n_cols)
{
    for (int32_t p = 0; p < n_x; p++)
        for (int32_t r = 0; r < n_w; r++)
            y[p * y_stride + r] = dot(w + (int64_t)r * n_cols, x + (int64_t)p * n_cols, n_cols);
}

cpu_exact_fn cpu_exact_product(uint32_t features)
{
#if CPU_X86_64
    if (features & CPUID_AVX512)
        return cpu_exact_avx512();
    if (features & CPUID_AVX2)
        return cpu_exact_avx2();
#endif
    (void)features;
    return product_scalar;
}

void cpu_exact_matmul(cpu_exact_fn product, float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,
                      int32_t row1, const float *x, int32_t n_x, float *rows)
{
    quant_to_f32_fn to_f32 = quant_format(w->type)->to_f32;
    for (int32_t begin = row0, n; begin < row1; begin += n) {
        n = row1 - begin < CPU_EXACT_GROUP ? row1 - begin : CPU_EXACT_GROUP;
        for (int32_t r = 0; r < n; r++)
            to_f32(rows + (int64_t)r * w->n_cols, (const char *)w->data + (uint64_t)(begin + r) * w->row_bytes,
                   w->n_cols);
        product(y + begin, y_stride, rows, n, x, n_x, w->n_cols);
    }
}
