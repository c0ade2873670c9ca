/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BACKEND_STEP_H
#define QUIP_ENGINE_BACKEND_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/backend/kv_page.h"

/* A model as a short list of coarse steps. Everything in which architectures differ is a field here; a
 * backend has one path per kind of step. All pointers live as long as the program.
 *
 * The residual stream is x, [n_rows][n_embd] f32. "norm" below is RMSNorm with the step's epsilon; an
 * absent tensor (NULL) means that the part is left out. */

/* One tensor of the file. */
struct tensor {
    const char *name;
    int32_t index;          /* place in the program's list of tensors */
    uint32_t type;          /* enum quant_type */
    int32_t n_cols;         /* ne[0]: inputs of a matrix, length of a vector */
    int32_t n_rows;         /* ne[1]: outputs; 1 for a vector */
    const void *data;       /* mapped */
    uint64_t n_bytes, row_bytes;
};

/* Rotary position embedding. All scalings (linear, YaRN, factors per dimension) are linear in the
 * position, so one frequency per pair holds them. */
struct rope {
    int32_t n_rot;          /* components rotated, even; the others pass */
    bool halves;            /* pairs (i, i + n_rot/2), else (2i, 2i + 1) */
    float magnitude;        /* on cos and sin */
    const double *freq;     /* [n_rot / 2] radians per position */
};

enum step_kind {
    STEP_EMBED,
    STEP_ATTN_IN,
    STEP_ATTN,
    STEP_ATTN_OUT,
    STEP_FFN_IN,
    STEP_FFN_OUT,
    STEP_HEAD
};

enum step_act { STEP_SILU, STEP_GELU };

struct step {
    enum step_kind kind;
    int32_t layer;
    float eps;
    const float *norm;              /* gain before the matrices; NULL: no norm */
    const float *post_norm;         /* gain on the product, before the residual is added */

    const struct tensor *w[3];      /* EMBED, HEAD: table; ATTN_IN: q, k, v; ATTN_OUT: o;
                                     * FFN_IN: gate, up; FFN_OUT: down */
    const float *bias[3];

    float scale;                    /* EMBED: on the rows; ATTN_IN: on q, after RoPE (attention scale);
                                     * ATTN_OUT, FFN_OUT: on the branch; HEAD: on the logits */
    float cap;                      /* ATTN: on scores, HEAD: on logits; 0: none */

    /* ATTN_IN, ATTN */
    int32_t n_head, n_kv_head, d_head;
    const float *q_norm, *k_norm;   /* [d_head], per head, before RoPE */
    int32_t rope;                   /* place in the program's list, -1: none */
    int32_t window;                 /* keys a query sees, its own among them; 0: all */
    const float *sinks;             /* ATTN: [n_head], scores of a key without a value that every query sees beside
                                     * them, after the cap; NULL: none */

    enum step_act act;              /* FFN_IN */
};

struct program {
    const struct step *steps;
    int32_t n_steps;
    const struct tensor *tensors;
    int32_t n_tensors;
    const struct rope *ropes;
    int32_t n_ropes;

    int32_t n_layers, n_embd, n_vocab;
    bool embed_on_host;             /* a device has no memory to spare for an embedding that is no matrix of the head */
    /* The largest of any step, for scratch. */
    int32_t max_cols;               /* inputs of a matrix */
    int32_t max_q;                  /* n_head * d_head */
    int32_t max_kv;                 /* n_kv_head * d_head */
    int32_t max_ff;
    const struct kv_layer *kv;      /* [n_layers]: shape of each layer's cache, types f16 */
};

#endif
