/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_FLOAT_PRODUCT_H
#define QUIP_ENGINE_CPU_FLOAT_PRODUCT_H

#include "engine/cpu/kern_tiers.h"

/* Products of F32, F16 and BF16 weights; included once by each tier after its vector words. The order of
 * cpu_kern.h is sixteen sums by column, which is one `wide`; a tile of FLOAT_ROWS weight rows by
 * FLOAT_TILE activations uses every weight and activation it loads several times. Rows of a tile are
 * several streams, which the hardware's prefetcher follows badly: the next tile's rows, one piece of
 * memory, are asked for by hand (F16, one Zen 4 core: 14 GB/s without, 23 with). */

typedef wide (*float_load_fn)(const uint8_t *weights);

/* Sixteen weights or fewer, zeros after them. */
INLINE wide load_some(float_load_fn load, const uint8_t *weights, int n, int weight_bytes)
{
    uint8_t padded[64] = { 0 };
    memcpy(padded, weights, (size_t)(n * weight_bytes));
    return load(padded);
}

INLINE void float_tile(float *y, int64_t y_stride, const uint8_t *const *rows, int n_rows,
                       const float *x, int n_planes, int32_t n_cols, float_load_fn load,
                       int weight_bytes)
{
    wide sum[FLOAT_ROWS][FLOAT_TILE];
    for (int r = 0; r < n_rows; r++)
        for (int p = 0; p < n_planes; p++)
            sum[r][p] = w_zero();
    int32_t c = 0;
    int64_t row_bytes = n_rows > 1 ? rows[1] - rows[0] : 0;
    const uint8_t *ahead = rows[0] + n_rows * row_bytes;
    for (; c + 16 <= n_cols; c += 16) {
#pragma GCC unroll 4
        for (int i = 0; i < n_rows * weight_bytes / 4; i++)
            __builtin_prefetch(ahead + (int64_t)c * weight_bytes * n_rows + 64 * i, 0, 2);
#pragma GCC unroll 4
        for (int r = 0; r < n_rows; r++) {
            wide w = load(rows[r] + (int64_t)c * weight_bytes);
#pragma GCC unroll 4
            for (int p = 0; p < n_planes; p++)
                sum[r][p] = w_fma(w, w_load(x + (int64_t)p * n_cols + c), sum[r][p]);
        }
    }
    for (int r = 0; c < n_cols && r < n_rows; r++) {
        wide w = load_some(load, rows[r] + (int64_t)c * weight_bytes, n_cols - c, weight_bytes);
        for (int p = 0; p < n_planes; p++) {
            float padded[16] = { 0 };
            memcpy(padded, x + (int64_t)p * n_cols + c, (size_t)(n_cols - c) * sizeof *x);
            sum[r][p] = w_fma(w, w_load(padded), sum[r][p]);
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int p = 0; p < n_planes; p++)
            y[p * y_stride + r] = w_fold(sum[r][p]);
}

/* All planes of a few rows; a tile is as wide as what is left allows. */
INLINE void float_rows(float *y, int64_t y_stride, const uint8_t *const *rows, int n_rows,
                       const struct cpu_acts *acts, int32_t plane0, int32_t plane1,
                       float_load_fn load, int weight_bytes)
{
    int32_t n_cols = acts->n_cols, p = plane0;
    for (; p + FLOAT_TILE <= plane1; p += FLOAT_TILE)
        float_tile(y + (p - plane0) * y_stride, y_stride, rows, n_rows, acts->x + (int64_t)p * n_cols,
                   FLOAT_TILE, n_cols, load, weight_bytes);
    for (; p < plane1; p++)
        float_tile(y + (p - plane0) * y_stride, y_stride, rows, n_rows, acts->x + (int64_t)p * n_cols,
                   1, n_cols, load, weight_bytes);
}

INLINE void float_product(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,
                          int32_t row1, const struct cpu_acts *acts, int32_t plane0, int32_t plane1,
                          float_load_fn load, int weight_bytes)
{
    const uint8_t *rows[FLOAT_ROWS];
    int32_t row = row0;
    for (; row < row1; row += FLOAT_ROWS) {
        int n = row1 - row < FLOAT_ROWS ? row1 - row : FLOAT_ROWS;
        for (int r = 0; r < n; r++)
            rows[r] = (const uint8_t *)w->data + (uint64_t)(row + r) * w->row_bytes;
        if (n == FLOAT_ROWS)
            float_rows(y + row - row0, y_stride, rows, FLOAT_ROWS, acts, plane0, plane1, load,
                       weight_bytes);
        else
            for (int r = 0; r < n; r++)
                float_rows(y + row - row0 + r, y_stride, rows + r, 1, acts, plane0, plane1, load,
                           weight_bytes);
    }
}

#define FLOAT_FORMAT(name, weight_bytes)                                                               \
    static void matvec_##name(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,   \
                              int32_t row1, const struct cpu_acts *acts, int32_t plane0, int32_t plane1) \
    {                                                                                                 \
        float_product(y, y_stride, w, row0, row1, acts, plane0, plane1, w_load_##name, weight_bytes); \
    }                                                                                                 \
    static void matmat_##name(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,   \
                              int32_t row1, const struct cpu_acts *acts)                              \
    {                                                                                                 \
        matvec_##name(y, y_stride, w, row0, row1, acts, 0, acts->n_rows);                             \
    }

FLOAT_FORMAT(f32, 4)
FLOAT_FORMAT(f16, 2)
FLOAT_FORMAT(bf16, 2)

static void float_fill_table(struct cpu_kern *k)
{
    k->matvec[QUANT_F32] = matvec_f32;
    k->matvec[QUANT_F16] = matvec_f16;
    k->matvec[QUANT_BF16] = matvec_bf16;
    k->matmat[QUANT_F32] = matmat_f32;
    k->matmat[QUANT_F16] = matmat_f16;
    k->matmat[QUANT_BF16] = matmat_bf16;
}

#endif
