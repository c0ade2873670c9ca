/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_QUANT_H
#define QUIP_ENGINE_QUANT_QUANT_H

#include <stdbool.h>
#include <stdint.h>

/* Tensor types as GGUF numbers them. A row of a tensor is a whole number of blocks; blocks are packed
 * without padding and need no alignment. The blocks themselves stand in quant/<format>.h. */
enum quant_type {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q4_1 = 3,
    QUANT_Q5_0 = 6,
    QUANT_Q5_1 = 7,
    QUANT_Q8_0 = 8,
    QUANT_Q2_K = 10,
    QUANT_Q3_K = 11,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_IQ4_NL = 20,
    QUANT_IQ4_XS = 23,
    QUANT_BF16 = 30,
    QUANT_MXFP4 = 39,
    QUANT_N_TYPES = 43    /* first id GGUF has not given out */
};

/* Reads n weights (a multiple of the format's block) into f32, exactly as the format defines them.
 * Numbers  bit for bit those of the Python package gguf (tests/golden/test_quant.c)
 * Source   shared reference of the field: ggml's block formats */
typedef void (*quant_to_f32_fn)(float *out, const void *blocks, int64_t n);

/* Quantises a row: n weights (a multiple of the format's block) into blocks.
 *
 * Shapes   x: [n] f32, finite (the caller checks); importance: [n] f32, >= 0 and finite, or NULL for none
 * Numbers  a block depends on nothing outside it but, with importance, the mean square of x (of the row or of 256
 *          weights, by format); what a format cannot hold is cut to its largest value, and decoded blocks are
 *          finite. Tiers give the same bits (tests/kernel/test_quantise_tiers.c)
 * Source   shared reference of the field: what ggml's quantisers minimise, and over which candidates
 * Thread   any */
typedef void (*quant_from_f32_fn)(void *blocks, const float *x, int64_t n, const float *importance);

/* What is known of a type. Types that are known by name and size but cannot be computed with yet have
 * to_f32 NULL, so that a file that holds one can still be listed; from_f32 is NULL for those that cannot be made. */
struct quant_format {
    const char *name;        /* "Q4_K" */
    int32_t block_weights;   /* weights in a block: 1, 32, 256 ... */
    int32_t block_bytes;
    quant_to_f32_fn to_f32;
    quant_from_f32_fn from_f32;
};

/* NULL for an id that GGUF does not define (or has removed). Any value may be passed. */
const struct quant_format *quant_format(uint32_t type);

/* Bytes of a row of n_cols weights; 0 when n_cols is no multiple of the block, the type is unknown or
 * the result does not fit. */
uint64_t quant_row_bytes(uint32_t type, uint64_t n_cols);

#endif
