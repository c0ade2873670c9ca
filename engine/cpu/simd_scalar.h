/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_SIMD_SCALAR_H
#define QUIP_ENGINE_CPU_SIMD_SCALAR_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/words_scalar.h"
#include "engine/quant/f16.h"

/* The other words of x86/simd_avx2.h that kv_seal_loops.h uses, for one lane in plain C. */
static inline vec v_load_f16(const uint16_t *p) { return f16_to_f32(*p); }
static inline void v_store_f16(uint16_t *p, vec a) { *p = f16_from_f32(a); }
static inline vec v_fma(vec a, vec b, vec c) { return fmaf(a, b, c); }
static inline vec_mask v_nan(vec a) { return a != a; }

/* [n_rows][n_cols] turned round. */
static inline void v_turn_u16(uint16_t *out, const uint16_t *in, int32_t n_rows, int32_t n_cols)
{
    for (int32_t r = 0; r < n_rows; r++)
        for (int32_t c = 0; c < n_cols; c++)
            out[c * n_rows + r] = in[r * n_cols + c];
}

static inline void v_turn_u8(uint8_t *out, const uint8_t *in, int32_t n_rows, int32_t n_cols)
{
    for (int32_t r = 0; r < n_rows; r++)
        for (int32_t c = 0; c < n_cols; c++)
            out[c * n_rows + r] = in[r * n_cols + c];
}

/* Bytes a0 b0 c0 d0 a1 .., n of each. */
static inline void v_zip_u8(uint8_t *out, const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d,
                            int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        out[4 * i] = a[i];
        out[4 * i + 1] = b[i];
        out[4 * i + 2] = c[i];
        out[4 * i + 3] = d[i];
    }
}

/* Bytes a0 b0 a1 .., less 128. */
static inline void v_zip_signed(uint8_t *out, const uint8_t *a, const uint8_t *b, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        out[2 * i] = a[i] ^ 128;
        out[2 * i + 1] = b[i] ^ 128;
    }
}

static inline float v_fold_add(vec lanes[16 / LANES])
{
    for (int half = 8; half >= 1; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i] + lanes[i + half];
    return lanes[0];
}

#endif
