/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_MODEL_BUILD_H
#define QUIP_ENGINE_MODEL_BUILD_H

#include <stdbool.h>

#include "engine/backend/step.h"
#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "engine/gguf/gguf.h"
#include "engine/model/hparams.h"

/* What an architecture file builds its program with. The first failure sticks in rc (its text in *err) and
 * every later call does nothing, so such a file reads as a list of tensors and steps. */
struct build {
    const struct gguf *gguf;
    struct arena *arena;
    struct hparams *h;
    struct err *err;
    enum err_code rc;

    struct tensor *tensors;      /* one for each of the file, in its order */
    bool *used;
    struct step *steps;
    int32_t n_steps, cap_steps;
    struct rope *ropes;
    int32_t n_ropes, cap_ropes;
};

/* Tensor names are formed from a layer and a name within it: build_matrix(b, 3, "attn_q", ...) looks for
 * "blk.3.attn_q.weight"; layer -1 for "output.weight". */
enum { BUILD_NO_LAYER = -1 };

/* [n_rows][n_cols]. A tensor that is missing or of another shape fails the build; optional: missing is
 * NULL. */
const struct tensor *build_matrix(struct build *b, int32_t layer, const char *name, uint32_t n_cols,
                                  uint32_t n_rows);
const struct tensor *build_matrix_optional(struct build *b, int32_t layer, const char *name, uint32_t n_cols,
                                           uint32_t n_rows);
/* Vectors, widened to f32: "blk.3.attn_norm.weight", "blk.3.attn_q.bias". */
const float *build_gain(struct build *b, int32_t layer, const char *name, uint32_t n);
const float *build_bias(struct build *b, int32_t layer, const char *name, uint32_t n);
const float *build_bias_optional(struct build *b, int32_t layer, const char *name, uint32_t n);
const float *build_gain_optional(struct build *b, int32_t layer, const char *name, uint32_t n);

/* Adds a step of this kind with the defaults (eps, scale 1, no rope) and returns it for filling in; never
 * NULL. */
struct step *build_step(struct build *b, enum step_kind kind, int32_t layer);

/* The STEP_ATTN that follows an ATTN_IN whose layer is set: fills the heads into both and returns the new
 * step. */
struct step *build_attn(struct build *b, struct step *in);

/* Adds a rope with the file's scaling (or plain), frequencies divided by factors when not NULL; returns its
 * place. */
int32_t build_rope(struct build *b, float base, bool halves, bool scaled, const float *factors);

/* What nearly every architecture has: the embedding's lookup, and the end with the file's output matrix or
 * the embedding in its place. */
void build_embed(struct build *b, float scale);
void build_head(struct build *b);

void build_fail(struct build *b, enum err_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The architectures: engine/model/arch_<name>.c. */
void arch_llama_build(struct build *b);
void arch_qwen2_build(struct build *b);
void arch_qwen3_build(struct build *b);
void arch_gemma3_build(struct build *b);

#endif
