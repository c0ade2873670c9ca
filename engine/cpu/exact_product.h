/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_EXACT_PRODUCT_H
#define QUIP_ENGINE_CPU_EXACT_PRODUCT_H

#include "engine/cpu/exact_tiers.h"

/* Products of the tier `exact`, in vectors of DLANES doubles; included once by each x86 tier after its words.
 *
 * The sixteen sums of one result are 16 / DLANES vectors. A tile of EXACT_ROWS weight rows by EXACT_ACTS
 * activation rows keeps one vector of each of its results in registers, so it walks the columns 16 / DLANES
 * times, each time reading only the columns of those lanes:
 *
 *     columns   0 ....... 15 16 ...... 31         walk 0 reads A, walk 1 reads B (DLANES = 8)
 *               AAAAAAAABBBBBBBBAAAAAAAABBBBBBBB
 *
 * All walks go over EXACT_COLS columns before the next ones, so that they find them in the first level of the
 * cache; in between the sums wait in memory. That pays for the four walks of AVX2, not for the two of AVX-512.
 * A product of two floats is exact in double, so an fma rounds as the multiplication and addition of the
 * definition do. Widening floats on the way into the register beats reading doubles, which are twice the bytes. */

/* Columns [begin, end), a multiple of EXACT_LANES of them, for one vector of lanes. */
INLINE void exact_walk(double *sums, const float *w, const int n_w, const float *x, const int n_x, int32_t n_cols,
                       int32_t begin, int32_t end)
{
    dvec sum[EXACT_ROWS][EXACT_ACTS];
#pragma GCC unroll 8
    for (int r = 0; r < n_w; r++)
#pragma GCC unroll 8
        for (int p = 0; p < n_x; p++)
            sum[r][p] = begin == 0 ? d_zero() : d_load(sums + (r * n_x + p) * EXACT_LANES);
    for (int32_t c = begin; c < end; c += EXACT_LANES) {
        dvec act[EXACT_ACTS];
#pragma GCC unroll 8
        for (int p = 0; p < n_x; p++)
            act[p] = d_load_f32(x + (int64_t)p * n_cols + c);
#pragma GCC unroll 8
        for (int r = 0; r < n_w; r++) {
            dvec weight = d_load_f32(w + (int64_t)r * n_cols + c);
#pragma GCC unroll 8
            for (int p = 0; p < n_x; p++)
                sum[r][p] = d_fma(weight, act[p], sum[r][p]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_w; r++)
#pragma GCC unroll 8
        for (int p = 0; p < n_x; p++)
            d_store(sums + (r * n_x + p) * EXACT_LANES, sum[r][p]);
}

INLINE void exact_tile(float *y, int64_t y_stride, const float *w, const int n_w, const float *x, const int n_x,
                       int32_t n_cols)
{
    double sums[EXACT_ROWS * EXACT_ACTS * EXACT_LANES];
    int32_t whole = n_cols / EXACT_LANES * EXACT_LANES;
    int32_t begin = 0, end;
    do {
        end = whole - begin > EXACT_COLS ? begin + EXACT_COLS : whole;
        for (int lane = 0; lane < EXACT_LANES; lane += DLANES)
            exact_walk(sums + lane, w + lane, n_w, x + lane, n_x, n_cols, begin, end);
        begin = end;
    } while (begin < whole);
    for (int r = 0; r < n_w; r++)
        for (int p = 0; p < n_x; p++) {
            double *sum = sums + (r * n_x + p) * EXACT_LANES;
            for (int32_t c = whole; c < n_cols; c++)
                sum[c - whole] += (double)w[(int64_t)r * n_cols + c] * (double)x[(int64_t)p * n_cols + c];
            y[p * y_stride + r] = exact_fold(sum);
        }
}

/* A tile is as wide as what is left allows. */
INLINE void exact_acts(float *y, int64_t y_stride, const float *w, const int n_w, const float *x, int32_t n_x,
                       int32_t n_cols)
{
    switch (n_x < EXACT_ACTS ? n_x : EXACT_ACTS) {
#if EXACT_ACTS == 6
    case 6: exact_tile(y, y_stride, w, n_w, x, 6, n_cols); break;
    case 5: exact_tile(y, y_stride, w, n_w, x, 5, n_cols); break;
    case 4: exact_tile(y, y_stride, w, n_w, x, 4, n_cols); break;
    case 3: exact_tile(y, y_stride, w, n_w, x, 3, n_cols); break;
#endif
    case 2: exact_tile(y, y_stride, w, n_w, x, 2, n_cols); break;
    case 1: exact_tile(y, y_stride, w, n_w, x, 1, n_cols); break;
    default: break;
    }
}

/* The activations of a tile meet all weight rows before the next ones are read. */
static void exact_product(float *y, int64_t y_stride, const float *w, int32_t n_w, const float *x, int32_t n_x,
                          int32_t n_cols)
{
    for (int32_t p = 0; p < n_x; p += EXACT_ACTS) {
        const float *acts = x + (int64_t)p * n_cols;
        float *out = y + p * y_stride;
        int32_t r = 0;
        for (; r + EXACT_ROWS <= n_w; r += EXACT_ROWS)
            exact_acts(out + r, y_stride, w + (int64_t)r * n_cols, EXACT_ROWS, acts, n_x - p, n_cols);
        for (; r < n_w; r++)
            exact_acts(out + r, y_stride, w + (int64_t)r * n_cols, 1, acts, n_x - p, n_cols);
    }
}

#endif
