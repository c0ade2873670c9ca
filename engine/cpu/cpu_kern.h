/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_CPU_KERN_H
#define QUIP_ENGINE_CPU_CPU_KERN_H

#include <stddef.h>
#include <stdint.h>

#include "engine/quant/quant.h"

/* The CPU's kernels, one table per tier, and the fixed arithmetic they share.
 *
 * Every tier gives the same bits as the scalar one, for any number of rows, in mat-vec and mat-mat form
 * alike (tests/kernel). That is possible because the order of every rounded operation is laid down here:
 *
 * Activations. A row x[0..K) is cut into blocks of 32. Per block
 *     a = max |x_j|, or 0 when that is below 2^-100 (127 / a must stay finite);
 *     d = a / 127;  i = a > 0 ? 127 / a : 0;  q_j = round_to_nearest_even(x_j * i)
 *     h0, h1 = sums of q over the two halves of 16;  s = d * (float)(h0 + h1)
 * A row with max |x| > CPU_OUTLIER * sqrtf(sum / K) is an outlier, sum being that of the squares in sixteen
 * lanes by column as for float weights below: the first token of many models carries a few huge
 * activations, and one scale per 32 still rounds their neighbours away. It gets a second plane: the
 * residuals fma(-d, q_j, x_j) quantised the same way. Its products with both planes are added, first plane
 * first. The rule sees the row alone, so it does not depend on the batch.
 *
 * Products of quantised weights. For the 32 weights of block b with codes w (of IQ4_NL, IQ4_XS and MXFP4 what
 * their tables have for them): t = sum w_j q_j in int32.
 * Formats with a scale per 16 (Q2_K, Q3_K, Q6_K): t = c0 t0 + c1 t1 in int32, c the integer scales.
 *     m_b = A_b * d_b        A: the weight's f32 scale: d (f16 exactly) for formats of 32 weights,
 *                            2^(e - 127) / 2 for MXFP4, d * (float)sc for Q4_K and Q5_K,
 *                            d * (float)(sc - 32) for IQ4_XS, d for Q2_K, Q3_K and Q6_K
 *     with a minimum:  n_b = B_b    B: m (Q4_1, Q5_1: added), dmin * (float)mn (Q4_K, Q5_K: subtracted)
 * Blocks go in pairs, p = 2i and p + 1, two pairs to a group of 128; missing blocks at the end count as
 * zeros:
 *     u_i = (float)t_p * m_p;                    u_i = fma(-+n_p, s_p, u_i)       when there is a minimum
 *     u_i = fma((float)t_p+1, m_p+1, u_i);       u_i = fma(-+n_p+1, s_p+1, u_i)
 *     acc = acc + (u_0 + u_1)                    once a group, acc starting at +0
 * Q2_K has a minimum per 16: the fma with n, s becomes two, with dmin * (float)mn0 and d_b * (float)h0
 * first, then the same for the second half.
 *
 * Products of F32, F16 and BF16 weights. Activations stay f32. Sixteen sums, lane = column mod 16, each an
 * fma per step of 16 columns (missing columns count as zeros), folded 16 -> 8 -> 4 -> 2 -> 1 by adding the
 * upper half of the lanes to the lower.
 *
 * Tier `exact` is no table of these (cpu_exact.h): it expands weights to f32 and leaves activations alone. */

enum { CPU_BLOCK = 32, CPU_OUTLIER = 10 };

/* Rows of activations on their way into a product. Memory belongs to the backend's scratch. */
struct cpu_acts {
    int32_t n_rows;
    int32_t n_planes;      /* n_rows, and one for each outlier row */
    int32_t n_cols;
    const float *x;        /* [n_rows][n_cols] */
    int8_t *q;             /* [n_planes][n_cols]; n_cols a multiple of 32 */
    float *d;              /* [n_planes][n_cols / 32] */
    float *s;              /* [n_planes][n_cols / 32] */
    int16_t *h;            /* [n_planes][n_cols / 16] */
    int32_t *second;       /* [n_rows]: plane of the residual, or -1 */
};

/* One matrix as it lies in the file, or in an order the tier made of it at load. With packed set the
 * products no longer read data. */
struct cpu_weight {
    uint32_t type;         /* enum quant_type */
    int32_t n_rows;        /* outputs */
    int32_t n_cols;        /* inputs */
    const void *data;      /* GGUF order, rows adjacent */
    uint64_t row_bytes;
    void *packed;          /* interleaved by the tier, or NULL */
};

/* Quantises one row, as written above, into one plane; residual may be NULL, else it receives
 * [n_cols] f32 (fma(-d, q, x)). n_cols is a multiple of 32. */
typedef void (*cpu_quantize_fn)(int8_t *q, float *d, float *s, int16_t *h, float *residual,
                                const float *x, int32_t n_cols);

/* y[p][r] for weight rows row0 <= r < row1 and planes plane0 <= p < plane1: up to 8, or up to 32 where there is a
 * mat-mat.
 *
 * Shapes   y: plane p's result for row r at y[(p - plane0) * y_stride + r - row0]
 * Planes   for F32, F16 and BF16 weights a plane is a row of acts->x
 * Thread   any number at once, on disjoint rows */
typedef void (*cpu_matvec_fn)(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,
                              int32_t row1, const struct cpu_acts *acts, int32_t plane0, int32_t plane1);

/* The same for many planes at once: all of acts, at least 32. */
typedef void (*cpu_matmat_fn)(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,
                              int32_t row1, const struct cpu_acts *acts);

struct cpu_kern {
    const char *name;                          /* "scalar", "avx2", "avx512" */
    cpu_quantize_fn quantize;
    int (*is_outlier)(const float *x, int32_t n_cols);    /* n_cols a multiple of 32 */
    cpu_matvec_fn matvec[QUANT_N_TYPES];       /* NULL: type not computed */
    cpu_matmat_fn matmat[QUANT_N_TYPES];       /* NULL: the matvec serves, 8 planes at a time */
    int32_t row_align;                         /* splitting rows among threads at multiples of this pays */
    /* Interleaving at load: bytes it takes (0: this type stays as it is), and the work on rows
     * [row0, row1), multiples of row_align; w->packed is set by the caller. */
    uint64_t (*interleave_bytes)(const struct cpu_weight *w);
    void (*interleave)(struct cpu_weight *w, int32_t row0, int32_t row1);
};

enum { CPU_MAX_COLS = 1 << 18 };

/* Fills the table with the scalar kernels, then with what the features (cpuid.h) do better. */
void cpu_kern_init(struct cpu_kern *k, uint32_t features);

/* Whole product for rows [row0, row1): chooses mat-vec or mat-mat by the number of planes, adds second
 * planes.  y[r][row] at y[r * y_stride + row] (row counted from 0, not from row0).
 * scratch: cpu_matmul_scratch_bytes(), one per thread, aligned to 64. */
void cpu_matmul(const struct cpu_kern *k, float *y, int64_t y_stride, const struct cpu_weight *w,
                int32_t row0, int32_t row1, const struct cpu_acts *acts, void *scratch);
size_t cpu_matmul_scratch_bytes(int32_t max_rows, int32_t max_weight_rows);

/* Quantises rows [row0, row1) into first planes (none when n_cols is no multiple of 32: then only float
 * weights can be multiplied) and says through second[row] = 0 / -1 whether each is an outlier;
 * cpu_acts_seconds then numbers the second planes (in row order) and returns n_planes;
 * cpu_acts_second_rows fills those of rows [row0, row1). Three passes so that threads can share rows. */
void cpu_acts_rows(const struct cpu_kern *k, struct cpu_acts *acts, int32_t row0, int32_t row1);
int32_t cpu_acts_seconds(struct cpu_acts *acts);
void cpu_acts_second_rows(const struct cpu_kern *k, struct cpu_acts *acts, int32_t row0, int32_t row1,
                          float *residual /* [n_cols] of the thread */);

#endif
