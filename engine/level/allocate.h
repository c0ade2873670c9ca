/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_LEVEL_ALLOCATE_H
#define QUIP_ENGINE_LEVEL_ALLOCATE_H

#include "engine/level/level_impl.h"

/* Types for a size instead of a level: which tensor gets how many bits is decided by what each type does to it.
 *
 * A type's error in a tensor is the expected square of what it adds to the products, relative to the products: the sum of
 * importance * (w - q)^2 over that of importance * w^2, on a sample of rows. What a model loses is taken to be the sum of
 * these errors, each times how much a model feels it in a tensor of that kind (allocate.c has the factors and how they
 * were measured). Least loss within a number of bytes: each tensor takes the type with the least loss + lambda * bytes,
 * lambda by bisection; what is left over goes to the tensors that gain most by it.
 *
 * Mean KL divergence at the size of a level, the level's first, without importance: Qwen2.5-Coder-1.5B (no part of the
 * measuring; 512 tokens of wikitext) Q4_K_M 0.048 and 0.025, Q3_K_M 0.154 and 0.082; SmolLM2-135M (2,048 tokens) Q4_K_M
 * 0.124 and 0.073, Q3_K_M 0.596 and 0.167. */

/* Chooses for the tensors of which is_open says so; the others keep what choices says. budget_bytes: for the data of all
 * tensors, padding counted.
 * Errors: ERR_UNSUPPORTED: even the smallest types are larger (the text has both sizes); ERR_IO, ERR_NOMEM, ERR_FORMAT for
 * a weight that is not finite, ERR_CANCELLED */
enum err_code allocate_types(struct level_job *job, const bool *is_open, uint64_t budget_bytes,
                             struct level_progress *progress, struct err *e);

#endif
