/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_SHADER_H
#define QUIP_ENGINE_VULKAN_VULKAN_SHADER_H

#include "engine/vulkan/vulkan_pipeline.h"

/* Work to be submitted any number of times. Failure sticks: who records looks once, at the end.
 *
 * A REHEARSAL only notes which pipelines the work needs (vulkan_pipeline_want): nothing in it is a pipeline or a command,
 * and buffers need not be filled. */
struct vulkan_recording {
    struct vulkan_device *d;
    VkCommandBuffer cmd;
    VkDescriptorPool *pools;
    int32_t n_pools, n_sets_left, n_buffers_left;
    int32_t n_dispatches, n_levels;
    bool rehearsal;
    enum err_code failed;
    struct err err;
};

/* A part of a buffer. */
struct vulkan_part {
    const struct vulkan_buf *buf;
    uint64_t offset, n_bytes;
};
static inline struct vulkan_part vulkan_all(const struct vulkan_buf *b)
{
    return (struct vulkan_part){ b, 0, b->n_bytes };
}

/* Errors: ERR_DEVICE, ERR_NOMEM */
enum err_code vulkan_record_begin(struct vulkan_recording *r, struct vulkan_device *d, struct err *e);
struct vulkan_recording vulkan_rehearsal(struct vulkan_device *d);    /* is never ended or destroyed */
/* Parts go to bindings 0 .. ; offsets are multiples of the card's binding_align, sizes within its binding_bytes. */
void vulkan_record(struct vulkan_recording *r, const struct vulkan_pipeline *p, const struct vulkan_part *parts,
                   const void *push, uint32_t push_bytes, uint32_t x, uint32_t y, uint32_t z);
/* The same, the counts of groups (three words) being read from a buffer when it runs. */
void vulkan_record_indirect(struct vulkan_recording *r, const struct vulkan_pipeline *p,
                            const struct vulkan_part *parts, const void *push, uint32_t push_bytes,
                            const struct vulkan_buf *counts, uint64_t offset);
/* The pipeline for a recording; NULL when that failed, or something before, and in a rehearsal. */
const struct vulkan_pipeline *vulkan_record_pipeline(struct vulkan_recording *r, const char *shader,
                                                     const uint32_t *spec, int32_t n_spec);
/* The two in one. */
void vulkan_record_shader(struct vulkan_recording *r, const char *shader, const uint32_t *spec, int32_t n_spec,
                          const struct vulkan_part *parts, const void *push, uint32_t push_bytes, uint32_t x, uint32_t y,
                          uint32_t z);
/* Copies the first n_bytes; a barrier on both sides. */
void vulkan_record_copy(struct vulkan_recording *r, const struct vulkan_buf *to, const struct vulkan_buf *from,
                        uint64_t n_bytes);
/* What comes now sees what was written before. */
void vulkan_record_barrier(struct vulkan_recording *r);
/* Errors: ERR_DEVICE, ERR_NOMEM: the first since the beginning; it is destroyed then */
enum err_code vulkan_record_end(struct vulkan_recording *r, struct err *e);
void vulkan_recording_destroy(struct vulkan_recording *r);    /* takes a zeroed one; not while it runs */

#endif
