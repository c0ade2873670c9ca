/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_CACHE_H
#define QUIP_ENGINE_KV_KV_CACHE_H

#include "engine/backend/backend.h"
#include "engine/base/err.h"

/* Keys and values of token sequences, in pages of KV_PAGE tokens of one layer (layout: backend.h), found
 * through a page table per sequence. Pages are taken as a sequence grows and given back as it shrinks.
 *
 * A sequence also knows which tokens it holds, so that the longest prefix of a new prompt can be found. */
struct kv_cache;

/* kv_width: elements of K, and of V, of one token in each layer.
 * Errors: ERR_NOMEM (page tables; the pages themselves come later) */
enum err_code kv_cache_create(struct kv_cache **out, const int32_t *kv_width, int32_t n_layers, int32_t n_ctx,
                              int32_t n_seqs, enum kv_type type, struct err *e);
void kv_cache_destroy(struct kv_cache *kv);    /* takes NULL */

enum kv_type kv_cache_type(const struct kv_cache *kv);
uint64_t kv_cache_bytes(const struct kv_cache *kv);    /* of pages in use */

/* The page table of a sequence: page j of layer i at [i * stride + j]. */
void *const *kv_cache_table(const struct kv_cache *kv, int32_t seq, int32_t *stride);

/* Makes sure that pages for n_tokens tokens, at most n_ctx, are there. Errors: ERR_NOMEM; pages taken before
 * stay. */
enum err_code kv_cache_reserve(struct kv_cache *kv, int32_t seq, int32_t n_tokens, struct err *e);
/* Says that these tokens follow the ones held; their keys and values have been written. */
void kv_cache_append(struct kv_cache *kv, int32_t seq, const int32_t *tokens, int32_t n_tokens);
/* Forgets tokens past the first n_keep, and pages no token needs. */
void kv_cache_truncate(struct kv_cache *kv, int32_t seq, int32_t n_keep);
int32_t kv_cache_held(const struct kv_cache *kv, int32_t seq);
/* How many of these tokens are the beginning of what the sequence holds. */
int32_t kv_cache_common(const struct kv_cache *kv, int32_t seq, const int32_t *tokens, int32_t n_tokens);

/* What sequences of n_ctx tokens take. */
uint64_t kv_cache_estimate(const int32_t *kv_width, int32_t n_layers, int32_t n_ctx, int32_t n_seqs,
                           enum kv_type type);

#endif
