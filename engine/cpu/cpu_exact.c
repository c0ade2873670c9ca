/* SPDX-License-Identifier: MIT */
#include "engine/cpu/cpu_run.h"

/* Sixteen sums in double, so that the order of adding has no say in the figures this tier is there for. */
static float dot(const float *a, const float *b, int32_t n)
{
    enum { LANES = 16 };
    double sum[LANES] = { 0 };
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int32_t lane = 0; lane < LANES; lane++)
            sum[lane] += (double)a[i + lane] * (double)b[i + lane];
    for (; i < n; i++)
        sum[i % LANES] += (double)a[i] * (double)b[i];
    double total = 0;
    for (int32_t lane = 0; lane < LANES; lane++)
        total += sum[lane];
    return (float)total;
}

void cpu_exact_matmul(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0, int32_t row1,
                      const float *x, int32_t n_rows, float *row)
{
    quant_to_f32_fn to_f32 = quant_format(w->type)->to_f32;
    for (int32_t i = row0; i < row1; i++) {
        to_f32(row, (const char *)w->data + (uint64_t)i * w->row_bytes, w->n_cols);
        for (int32_t r = 0; r < n_rows; r++)
            y[r * y_stride + i] = dot(row, x + (int64_t)r * w->n_cols, w->n_cols);
    }
}
