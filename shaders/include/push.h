/* SPDX-License-Identifier: MIT */
/* Push constants, written once for C and GLSL: 32-bit words only, 128 bytes at most. */
#ifndef QUIP_SHADERS_INCLUDE_PUSH_H
#define QUIP_SHADERS_INCLUDE_PUSH_H

#ifdef __STDC__
#include <stdint.h>
#define PUSH_U uint32_t
#define PUSH_F float
#else
#define PUSH_U uint
#define PUSH_F float
#endif

/* norm.comp */
struct push_norm {
    PUSH_U n_cols;
    PUSH_F eps;
};

/* matvec.comp */
struct push_matvec {
    PUSH_U plane[4];     /* where the planes of the chunk begin, in 16 bytes */
    PUSH_U n_units;      /* of a row: columns / 32 */
    PUSH_U n_rows;       /* of the chunk */
    PUSH_U row0;         /* of the matrix, the chunk's first */
    PUSH_U y_stride;     /* rows of the matrix */
    PUSH_U act0;         /* first row of activations */
    PUSH_U has_bias;     /* 0 or 1; on the second matrix: */
    PUSH_U has_bias2;
    PUSH_F scale;
    PUSH_F cap;          /* 0: none */
};

#endif
