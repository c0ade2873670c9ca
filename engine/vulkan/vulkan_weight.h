/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_WEIGHT_H
#define QUIP_ENGINE_VULKAN_VULKAN_WEIGHT_H

#include "engine/backend/step.h"
#include "engine/vulkan/vulkan_device.h"
#include "engine/vulkan/vulkan_pack.h"

/* A matrix of the file on the device: its rows in chunks, each a buffer that one binding can hold, each with the planes
 * of its rows (vulkan_pack.h) one after another, aligned to 16 bytes. */
struct vulkan_chunk {
    struct vulkan_buf buf;
    int32_t row0, n_rows;
    uint32_t plane[VULKAN_N_PLANES];    /* where each begins, in 16 bytes */
};

struct vulkan_weight {
    uint32_t type;
    int32_t n_rows, n_cols;
    struct vulkan_chunk *chunks;
    int32_t n_chunks;
};

bool vulkan_weight_supported(uint32_t type);
/* What the names of shaders for a supported type end in (shaders/variants.cmake): "q4k". */
const char *vulkan_weight_suffix(uint32_t type);

/* On the device; 0 when it cannot lie there. */
uint64_t vulkan_weight_bytes(const struct tensor *t);

/* Room for a tensor.
 *
 * Errors  ERR_UNSUPPORTED for a type or a length of rows that there is no layout for; ERR_NOMEM, ERR_DEVICE */
enum err_code vulkan_weight_reserve(struct vulkan_device *d, const struct tensor *t, struct vulkan_weight *out,
                                    struct err *e);
/* Repacks the tensor and sends it there; vulkan_flush waits until it has arrived.
 * Errors: ERR_DEVICE */
enum err_code vulkan_weight_fill(struct vulkan_device *d, const struct tensor *t, const struct vulkan_weight *w,
                                 struct err *e);
/* The two in one. */
enum err_code vulkan_weight_create(struct vulkan_device *d, const struct tensor *t, struct vulkan_weight *out,
                                   struct err *e);
/* The same with chunks of at most so many bytes, for tests. */
enum err_code vulkan_weight_create_chunked(struct vulkan_device *d, const struct tensor *t, uint64_t chunk_bytes,
                                           struct vulkan_weight *out, struct err *e);
/* Takes a zeroed one; nothing uses it. */
void vulkan_weight_destroy(struct vulkan_device *d, struct vulkan_weight *w);

#endif
