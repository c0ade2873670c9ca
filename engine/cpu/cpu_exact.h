/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_CPU_EXACT_H
#define QUIP_ENGINE_CPU_CPU_EXACT_H

#include "engine/cpu/cpu_kern.h"

/* Products of the tier `exact`: weights expanded to f32, activations as they are.
 *
 *   y[p][r] = w[r] . x[p]
 *
 * Shapes   w: [n_w][n_cols] and x: [n_x][n_cols] f32, rows adjacent; y[p][r] at y[p * y_stride + r]
 * Numbers  sixteen sums in double, lane = column mod 16, each in the order of the columns; folded from lane 0 to
 *          lane 15, starting at +0, then rounded to f32. All give the same bits (tests/kernel/test_exact.c); of a
 *          NaN only that it is one. */
typedef void (*cpu_exact_fn)(float *y, int64_t y_stride, const float *w, int32_t n_w, const float *x, int32_t n_x,
                             int32_t n_cols);

/* The best for these features (cpuid.h); 0 is the definition. */
cpu_exact_fn cpu_exact_product(uint32_t features);

/* CPU_EXACT_ALIGN   splitting weight rows at multiples of this pays
 * CPU_EXACT_GROUP   rows expanded at a time: an activation read from memory meets all of them */
enum { CPU_EXACT_ALIGN = 4, CPU_EXACT_GROUP = 12 };

/* y[p][row] = w[row] . x[p] for rows [row0, row1), row counted from 0.
 * rows: [CPU_EXACT_GROUP][n_cols] of the thread, for the expanded weights. */
void cpu_exact_matmul(cpu_exact_fn product, float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,
                      int32_t row1, const float *x, int32_t n_x, float *rows);

#endif
