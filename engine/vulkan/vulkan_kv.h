/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_KV_H
#define QUIP_ENGINE_VULKAN_VULKAN_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/backend/kv_memory.h"
#include "engine/vulkan/vulkan_device.h"

/* Pages of keys and values in a device's memory. What the cache divides and calls a page is a pointer; shaders take
 * addresses, which vulkan_kv_address() makes of it.
 *
 * Where the memory is mapped a page's pointer is where the host sees it, and its bytes are read and written there. That
 * is right only while the device does nothing with them: what runs ahead of a batch is waited for when the cache calls,
 * and the last barrier of each recording makes what it wrote the host's to see
 * (VK_ACCESS_HOST_READ_BIT). Where it is not mapped the pointers are addresses reserved for the purpose, with nothing
 * behind them. */
struct vulkan_kv {
    struct kv_memory memory;    /* what the backend offers; first, see of() */
    struct vulkan_device *d;
    bool staged;                /* as if nothing were mapped, for tests */
    struct vulkan_kv_region {
        char *begin;
        struct vulkan_buf buf;
    } *regions;                 /* by begin */
    int32_t n_regions, cap;
    uint64_t n_gone;            /* regions so far: what was at a pointer before one went may be elsewhere now */
    uint64_t n_written;         /* pages so far, by others than batches */
};

/* d outlives it. */
void vulkan_kv_init(struct vulkan_kv *kv, struct vulkan_device *d, bool staged);
/* Ends regions that are left: a cache whose files are still being written when the program ends is abandoned. Takes a
 * zeroed one. */
void vulkan_kv_finish(struct vulkan_kv *kv);

/* Of any byte of a region; 0 for NULL. */
VkDeviceAddress vulkan_kv_address(const struct vulkan_kv *kv, const void *page);

#endif
