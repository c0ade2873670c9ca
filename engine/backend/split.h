/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BACKEND_SPLIT_H
#define QUIP_ENGINE_BACKEND_SPLIT_H

#include "engine/backend/backend.h"

/* A backend made of two: the first n_first layers of a program (1 to all but one) run on one, the others and the head
 * on the other. Each is given a program of its own layers, counted from 0, and their pages lie in its memory. The
 * residual stream crosses once per batch. Where the two cut a row's layers changes no bit that either computes.
 *
 * Owns     neither of the two, which may be the same; both outlive it
 * Errors   ERR_NOMEM */
enum err_code split_backend_create(struct backend **out, struct backend *first, struct backend *last, int32_t n_first,
                                   struct err *e);

/* What the two have of a program that was placed. Scratch is of what reserve() was given; of no rows, none. */
struct split_bytes {
    uint64_t weight_bytes[2], scratch_bytes[2];
};
void split_bytes(const struct placed *placed, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                 struct split_bytes *out);
/* The same before anything is placed (backend_ops.plan), for a program cut between these two.
 * Errors: ERR_NOMEM */
enum err_code split_plan(struct backend *first, struct backend *last, int32_t n_first, const struct program *program,
                         int32_t max_rows, int32_t max_logits, int32_t n_ctx, struct backend_bytes out[2],
                         struct err *e);

#endif
