/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_BACKEND_H
#define QUIP_ENGINE_VULKAN_VULKAN_BACKEND_H

#include "engine/backend/backend.h"
#include "engine/vulkan/vulkan_list.h"

/* Programs on a Vulkan device.
 *
 * list     outlives the backend; card is one of its usable ones
 * dir      for the file of pipelines (vulkan_cache.h), copied; NULL: none
 * Numbers  f32 everywhere but for the weights themselves, and for the activations of batches of more than 32 rows
 *          where the device multiplies int8 fast: rounded as on the CPU
 * Bits     a row's do not depend on the rows beside it, nor on how time cut the batch into pieces, among batches of up
 *          to 32 rows (answers and drafts) and among larger ones (prompts); they differ between the two, and logits
 *          also by whether the batch wants more than 32 of them
 * Errors   ERR_DEVICE, ERR_NOMEM */
enum err_code vulkan_backend_create(struct backend **out, struct vulkan_list *list, const struct vulkan_card *card,
                                    const char *dir, struct err *e);

#endif
