/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_backend.h"

enum err_code vulkan_backend_create(struct backend **out, struct vulkan_list *list, const struct vulkan_card *card,
                                    struct pool *pool, struct err *e)
{
    (void)out, (void)list, (void)pool;
    return err_set(e, ERR_UNSUPPORTED, "%s: the Vulkan backend is being built", card->name);
}
