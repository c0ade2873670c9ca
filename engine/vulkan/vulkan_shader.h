/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_SHADER_H
#define QUIP_ENGINE_VULKAN_VULKAN_SHADER_H

#include <stddef.h>

#include "engine/vulkan/vulkan_device.h"

/* Shaders as they were compiled into the program (shaders/variants.cmake), pipelines made of them, and work recorded
 * with those. */

struct vulkan_shader {
    const char *name;
    const uint32_t *words;
    size_t n_bytes;
    int32_t n_bindings;    /* storage buffers 0 .. n_bindings - 1 of set 0 */
};
extern const struct vulkan_shader vulkan_shaders[];    /* made by the build */
extern const int32_t vulkan_n_shaders;

/* NULL: there is none of this name. */
const struct vulkan_shader *vulkan_shader_find(const char *name);

/* The pipeline of a shader with these specialization constants (0 .. n_spec - 1); made when it is first asked for, and
 * the device's until it is closed.
 * Errors: ERR_UNSUPPORTED for a name that is not there, ERR_DEVICE, ERR_NOMEM */
enum err_code vulkan_pipeline(struct vulkan_device *d, const char *shader, const uint32_t *spec, int32_t n_spec,
                              const struct vulkan_pipeline **out, struct err *e);
void vulkan_pipelines_destroy(struct vulkan_device *d);

/* ---- recordings --------------------------------------------------------------------------------------- */

/* Work to be submitted any number of times. Failure sticks: who records looks once, at the end. */
struct vulkan_recording {
    struct vulkan_device *d;
    VkCommandBuffer cmd;
    VkDescriptorPool *pools;
    int32_t n_pools, n_sets_left, n_buffers_left;
    int32_t n_dispatches, n_levels;
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
/* Parts go to bindings 0 .. ; offsets are multiples of the card's binding_align, sizes within its binding_bytes. */
void vulkan_record(struct vulkan_recording *r, const struct vulkan_pipeline *p, const struct vulkan_part *parts,
                   const void *push, uint32_t push_bytes, uint32_t x, uint32_t y, uint32_t z);
/* The same, the counts of groups (three words) being read from a buffer when it runs. */
void vulkan_record_indirect(struct vulkan_recording *r, const struct vulkan_pipeline *p,
                            const struct vulkan_part *parts, const void *push, uint32_t push_bytes,
                            const struct vulkan_buf *counts, uint64_t offset);
/* The pipeline for a recording; NULL when that failed, or something before. */
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
