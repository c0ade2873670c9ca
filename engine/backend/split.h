/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BACKEND_SPLIT_H
#define QUIP_ENGINE_BACKEND_SPLIT_H

#include "engine/backend/backend.h"

/* A backend made of two: the first n_first layers of a program run on one, the others and the head on the other. The
 * residual stream crosses once per batch. Where the two cut a row's layers changes no bit that either computes.
 *
 * Owns     neither of the two; both outlive it
 * Errors   ERR_NOMEM */
enum err_code split_backend_create(struct backend **out, struct backend *first, struct backend *last, int32_t n_first,
                                   struct err *e);

#endif
