/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_LEVEL_RECIPE_H
#define QUIP_ENGINE_LEVEL_RECIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/gguf/gguf.h"
#include "engine/quant/quant.h"

/* Recipes: which type each tensor of a model gets at a level.
 *
 * The choices are llama.cpp's to the tensor, so that a level means what it means everywhere: a base type, better ones
 * for the tensors that suffer most (attention values, the matrix back from the feed-forward network, the output) in
 * some or all layers, and a fallback where a row is no whole number of blocks. tests/data/level has what llama-quantize
 * chooses for a dozen shapes, tests/peer/recipe.sh asks it again. Not followed: exceptions for tensors of single
 * architectures beyond keep_names in recipe.c, and levels of types that are not made here. */

enum recipe_level {
    RECIPE_F32, RECIPE_F16, RECIPE_BF16, RECIPE_Q8_0, RECIPE_Q6_K, RECIPE_Q5_K_M, RECIPE_Q5_K_S, RECIPE_Q5_1, RECIPE_Q5_0,
    RECIPE_Q4_K_M, RECIPE_Q4_K_S, RECIPE_Q4_1, RECIPE_Q4_0, RECIPE_IQ4_NL, RECIPE_IQ4_XS, RECIPE_MXFP4_MOE,
    RECIPE_Q3_K_L, RECIPE_Q3_K_M, RECIPE_Q3_K_S, RECIPE_Q2_K, RECIPE_Q2_K_S,
    RECIPE_N_LEVELS
};

struct recipe {
    enum recipe_level level;
    const char *name;          /* "Q4_K_M" */
    uint32_t file_type;        /* general.file_type */
    uint32_t base;             /* type of what has no rule of its own */
};

/* In the order of enum recipe_level: large to small. */
const struct recipe *recipe_at(enum recipe_level level);
/* By name, whatever the case; "Q3_K", "Q4_K" and "Q5_K" are the M of theirs. NULL: there is none. */
const struct recipe *recipe_find(const char *name);

/* What a choice depends on besides the tensor. */
struct recipe_model {
    char arch[64];
    int32_t n_layers;
    int32_t n_head, n_head_kv;    /* of the first layer */
    int32_t n_experts;            /* 0 for a model without */
};

struct recipe_tensor {
    const char *name;
    int32_t n_dims;
    uint64_t ne[4];
    uint32_t type;         /* as it is */
};

/* Words for tensors whose type a person says: the first whose pattern is found in the name counts. */
struct recipe_override {
    const char *pattern;   /* POSIX extended regular expression, whatever the case; \d is a digit */
    uint32_t type;
};

enum { RECIPE_NO_TYPE = QUANT_N_TYPES };

struct recipe_options {
    const struct recipe *recipe;
    bool pure;             /* the base type for every tensor that is quantised; what is said below counts all the same */
    bool has_imatrix;
    uint32_t output_type, embedding_type;    /* or RECIPE_NO_TYPE. A model whose embedding is its output takes
                                              * embedding_type, else output_type */
    const struct recipe_override *overrides;    /* without effect at F32, F16 and BF16, as in llama.cpp */
    int32_t n_overrides;
};

struct recipe_choice {
    uint32_t type;
    uint32_t wanted;       /* other than type where rows are no whole number of its blocks */
    bool is_said;          /* by the options, for this tensor */
    bool is_kept;          /* no matrix that is ever quantised: type is the one it has */
    bool needs_imatrix;    /* too coarse without, at this level */
};

/* Layer of "blk.7.attn_q.weight"; -1 for a name without. */
int32_t recipe_layer(const char *name);

/* Reads what is in the metadata; what is not is 0. Errors: ERR_FORMAT for a key of the wrong type or out of range */
enum err_code recipe_model_read(struct recipe_model *out, const struct gguf *g, struct err *e);

/* Chooses for all tensors of a model, in any order. out: [n].
 * Errors: ERR_FORMAT for a pattern that is no regular expression, and for a name without a layer where a rule asks for
 * it; ERR_NOMEM */
enum err_code recipe_choose(const struct recipe_model *m, const struct recipe_tensor *tensors, int32_t n,
                            const struct recipe_options *o, struct recipe_choice *out, struct err *e);

#endif
