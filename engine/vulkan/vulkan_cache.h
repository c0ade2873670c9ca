/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_CACHE_H
#define QUIP_ENGINE_VULKAN_VULKAN_CACHE_H

#include "engine/vulkan/vulkan_device.h"

/* What the driver made of the shaders, kept in a file between runs, so that pipelines need no compiling again. The file
 * is the driver's and the build's own: another of either, or damage, and it is as if there were none. */

/* Gives the device the file's pipelines, before it has made any.
 * dir: of the file, NULL: none. Never fails: without a good file it merely takes longer. */
void vulkan_cache_load(struct vulkan_device *d, const char *dir);
/* Writes the file when pipelines were made that it does not hold. Not worth a word when it cannot be written. */
void vulkan_cache_save(struct vulkan_device *d, const char *dir);

/* What files about a card are named after, whatever its driver. */
uint64_t vulkan_cache_card(const struct vulkan_card *card);
/* The driver, the shaders of this build, and which of them make products. */
uint64_t vulkan_cache_build(const struct vulkan_card *card);

#endif
