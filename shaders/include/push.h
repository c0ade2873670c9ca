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
    PUSH_F scale;
};

/* embed.comp */
struct push_embed {
    PUSH_U plane[4];     /* as of matvec.comp, to row0 */
    PUSH_U n_units;
    PUSH_U n_rows;
    PUSH_U row0;
    PUSH_F scale;
};

/* glu.comp */
struct push_glu {
    PUSH_U n_cols;
};

/* acts.comp */
struct push_acts {
    PUSH_U n_units;      /* of a row: columns / 32 */
    PUSH_U n_acts;       /* rows */
};

/* Rows of activations in eight bits that a product has at most. */
#define PUSH_MAX_ACTS 1024
/* Rows of activations in f16, made whole tiles. */
#define push_rows_of_tiles(n) (((n) + 63) / 64 * 64)

/* matvec.comp, matmul.comp */
struct push_product {
    PUSH_U plane[4];     /* where the planes of the chunk begin, in 16 bytes */
    PUSH_U n_units;      /* of a row: columns / 32 */
    PUSH_U n_rows;       /* of the chunk */
    PUSH_U row0;         /* of the matrix, the chunk's first */
    PUSH_U y_stride;     /* rows of the matrix, or of one expert */
    PUSH_U act0;         /* first row of activations; */
    PUSH_U n_acts;       /* how many there are from there on */
    PUSH_U has_bias;     /* 0 or 1; on the second matrix: */
    PUSH_U has_bias2;
    PUSH_F scale;
    PUSH_F cap;          /* 0: none */
    PUSH_F eps;          /* of the norm before it */
    PUSH_U n_used;       /* matvec.comp, of matrices of experts: of n_experts, for a row of activations */
    PUSH_U n_experts;
};

/* best.comp */
struct push_best {
    PUSH_U n;            /* entries of a row */
    PUSH_U in_at;        /* of the buffer of parts: where the entries of the first row begin, */
    PUSH_U out_at;       /* and what is left of it */
    PUSH_U n_logits;     /* of a row */
};

/* attn_in.comp */
struct push_attn_in {
    PUSH_U n_head;
    PUSH_U n_kv_head;
    PUSH_U layer_pages;       /* from a row's table to the layer's first page in it */
    PUSH_U cos_sin;           /* of the layer's RoPE in the buffer, in floats, and from row to row */
    PUSH_U cos_sin_stride;
    PUSH_F eps;
    PUSH_F scale;
};

/* attn.comp, attn_merge.comp */
struct push_attn {
    PUSH_U n_head;
    PUSH_U n_kv_head;
    PUSH_U layer_pages;
    PUSH_U row0;              /* the first row of this dispatch */
    PUSH_U n_rows;            /* rows of this dispatch, and room for parts of each in the scratch */
    PUSH_U max_parts;
    PUSH_U window;            /* keys a query sees; 0: all */
    PUSH_F cap;               /* on scores; 0: none */
};

/* seal.comp */
struct push_seal {
    PUSH_U n_head;
    PUSH_U key_bytes;      /* of a head, sealed */
    PUSH_U value_bytes;
    PUSH_F norm;           /* 1 / sqrt(components of one Hadamard transform) */
};

#endif
