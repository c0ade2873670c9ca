/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_BACKEND_H
#define QUIP_ENGINE_VULKAN_VULKAN_BACKEND_H

#include "engine/backend/backend.h"
#include "engine/base/pool.h"
#include "engine/vulkan/vulkan_list.h"

/* Computes on a card of list; pool is for what stays on the processor. Both must outlive it.
 * Errors: ERR_UNSUPPORTED, ERR_DEVICE, ERR_NOMEM */
enum err_code vulkan_backend_create(struct backend **out, struct vulkan_list *list, const struct vulkan_card *card,
                                    struct pool *pool, struct err *e);

#endif
