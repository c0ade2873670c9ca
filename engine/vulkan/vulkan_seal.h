/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_SEAL_H
#define QUIP_ENGINE_VULKAN_VULKAN_SEAL_H

#include "engine/backend/kv_page.h"
#include "engine/vulkan/vulkan_shader.h"

/* Full pages from their open to their sealed form (kv_page.h), with the bytes of the CPU's kernels: the shader uses
 * no operation whose rounding Vulkan leaves to the device (shaders/include/exact.glsl). */

/* Pages of layers that are alike, as many as a list says when the recording runs. */
struct vulkan_seal {
    struct kv_layer layer;               /* one that seals; window is not read */
    struct vulkan_part table;            /* struct table_page [] (shaders/include/table.h) */
    struct vulkan_part list;             /* uint32_t []: entries of the table, both forms there; none twice */
    const struct vulkan_buf *counts;     /* from counts_offset on: what vulkan_seal_counts() says */
    uint64_t counts_offset;              /* a multiple of 4 */
};

/* Grid for n_pages of the list, 0 to 65535. */
static inline void vulkan_seal_counts(uint32_t counts[3], const struct kv_layer *layer, uint32_t n_pages)
{
    counts[0] = n_pages;
    counts[1] = (uint32_t)layer->n_head;
    counts[2] = 2;    /* keys, values */
}

/* Reads the open forms as they are after the last barrier; who reads the sealed ones records another. */
void vulkan_record_seal(struct vulkan_recording *r, const struct vulkan_seal *s);

#endif
