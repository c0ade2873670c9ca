/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_KV_IMAGES_H
#define QUIP_TESTS_SUPPORT_KV_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_store.h"

/* Images whose bytes follow from their tokens, so that what comes back from a file can be told to be right without
 * keeping what went in. Three small layers: two sealed types, and one with a window. */
enum { KV_IMAGES_LAYERS = 3 };
extern const struct kv_layer kv_images_layers[KV_IMAGES_LAYERS];

/* Options of a store over these layers: 64 MiB, key of 16 equal bytes, model "Tiny One", file "tiny-1", level
 * "Q8_0". dir is borrowed. */
struct kv_store_options kv_images_options(const char *dir, uint8_t key);

/* tokens[i] of stream: beginnings of one stream are beginnings of each other. */
void kv_images_tokens(int32_t *tokens, int32_t n_tokens, uint64_t stream);
/* NULL without memory. */
struct kv_image *kv_images_make(struct kv_cache *kv, const int32_t *tokens, int32_t n_tokens);
bool kv_images_right(const struct kv_image *image);

#endif
