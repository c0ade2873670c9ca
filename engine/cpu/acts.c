/* SPDX-License-Identifier: MIT */
#include "engine/cpu/cpu_kern.h"

#include <assert.h>

static void quantize_row(const struct cpu_kern *k, struct cpu_acts *acts, int32_t plane, const float *x,
                         float *residual)
{
    int64_t n_cols = acts->n_cols;
    k->quantize(acts->q + plane * n_cols, acts->d + plane * (n_cols / 32),
                acts->s + plane * (n_cols / 32),
                acts->h + plane * (n_cols / 16), residual, x, acts->n_cols);
}

void cpu_acts_rows(const struct cpu_kern *k, struct cpu_acts *acts, int32_t row0, int32_t row1)
{
    for (int32_t row = row0; row < row1; row++) {
        acts->second[row] = -1;
        if (acts->n_cols % CPU_BLOCK != 0)
            continue;
        const float *x = acts->x + (int64_t)row * acts->n_cols;
        quantize_row(k, acts, row, x, NULL);
        if (k->is_outlier(x, acts->n_cols))
            acts->second[row] = 0;
    }
}

int32_t cpu_acts_seconds(struct cpu_acts *acts)
{
    acts->n_planes = acts->n_rows;
    for (int32_t row = 0; row < acts->n_rows; row++)
        if (acts->second[row] >= 0)
            acts->second[row] = acts->n_planes++;
    return acts->n_planes;
}

void cpu_acts_second_rows(const struct cpu_kern *k, struct cpu_acts *acts, int32_t row0, int32_t row1,
                          float *residual)
{
    for (int32_t row = row0; row < row1; row++) {
        int32_t plane = acts->second[row];
        if (plane < 0)
            continue;
        assert(plane >= acts->n_rows && plane < acts->n_planes);
        quantize_row(k, acts, row, acts->x + (int64_t)row * acts->n_cols, residual);
        quantize_row(k, acts, plane, residual, NULL);
    }
}
