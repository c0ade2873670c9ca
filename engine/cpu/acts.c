/* SPDX-License-Identifier: MIT */
#include "engine/cpu/cpu_kern.h"

#include <assert.h>
#include <math.h>

/* max |x| > CPU_OUTLIER * rms. One file for all tiers, so the order of the sum needs no definition
 * beyond these lines: sixteen lanes, a product and a sum each, added up in order. */
static int is_outlier(const float *x, int32_t n_cols)
{
    float sum[16] = { 0 }, max[16] = { 0 };
    for (int32_t c = 0; c < n_cols; c += 16)
        for (int32_t j = 0; j < 16; j++) {
            float a = fabsf(x[c + j]);
            sum[j] += a * a;
            max[j] = a > max[j] ? a : max[j];
        }
    float square_sum = 0, top = 0;
    for (int32_t j = 0; j < 16; j++) {
        square_sum += sum[j];
        top = max[j] > top ? max[j] : top;
    }
    return top > (float)CPU_OUTLIER * sqrtf(square_sum / (float)n_cols);
}

static void quantize_row(const struct cpu_kern *k, struct cpu_acts *acts, int32_t plane, const float *x,
                         float *residual)
{
    int64_t n_cols = acts->n_cols;
    k->quantize(acts->q + plane * n_cols, acts->d + plane * (n_cols / 32), acts->s + plane * (n_cols / 32),
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
        if (is_outlier(x, acts->n_cols))
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
