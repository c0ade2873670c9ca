/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_ATTEND_H
#define QUIP_ENGINE_VULKAN_VULKAN_ATTEND_H

#include "engine/backend/step.h"
#include "engine/vulkan/vulkan_shader.h"

/* What lies between the q, k, v products of a layer and its output product, recorded. */

/* One layer's attention over the rows of a batch. Rows of the batch are adjacent in q, k, v, turned and out. */
struct vulkan_attention {
    const struct kv_layer *kv;
    const struct rope *rope;             /* NULL: none */
    struct vulkan_part q, turned, out;   /* f32 [n_rows][n_head][d_head]; turned: q as rotated keys want it, in use
                                          * where vulkan_attend_turns() says so */
    struct vulkan_part k, v;             /* f32 [n_rows][n_kv_head][d_head] */
    struct vulkan_part gains;            /* f32 [2][d_head]: of q, of k; in use where the step has such norms */
    struct vulkan_part sinks;            /* f32 [n_head]; in use where the step has them */
    struct vulkan_part cos_sin;          /* f32: cosine and sine of each pair, rows cos_sin_stride floats apart */
    int32_t cos_sin_at, cos_sin_stride;  /* cos_sin_at: of the rope, in floats */
    struct vulkan_part rows, table;      /* struct table_row [n_rows], struct table_page */
    int32_t table_stride;
    int32_t n_rows;
    struct vulkan_part scratch;
    int32_t slice_rows, max_parts;       /* of vulkan_attend_scratch_bytes() for this scratch */
    const struct vulkan_buf *counts;     /* VkDispatchIndirectCommand of vulkan_attend_counts(), read at each run */
    uint64_t counts_offset;
};

/* Whether heads of this size can be attended. s: a STEP_ATTN or STEP_ATTN_IN. */
bool vulkan_attend_takes(const struct step *s);

/* Whether `turned` is written and read. */
bool vulkan_attend_turns(const struct kv_layer *kv);

/* Parts of its pages in which a row at pos is attended. */
int32_t vulkan_attend_parts(int32_t pos, int32_t window);

/* Scratch for slices of so many rows of up to max_parts parts. More rows are done slice after slice: that costs two
 * barriers each, and saves memory. */
uint64_t vulkan_attend_scratch_bytes(const struct step *s, int32_t slice_rows, int32_t max_parts);

/* n_parts: the largest of the batch, at most a->max_parts. */
void vulkan_attend_counts(uint32_t counts[3], const struct step *s, const struct vulkan_attention *a, int32_t n_parts);

/* s: the layer's STEP_ATTN_IN. Norm, RoPE and scale of q in place; k and v, finished, go to the open pages of their
 * rows. No barrier after it. */
void vulkan_record_attn_in(struct vulkan_recording *r, const struct step *s, const struct vulkan_attention *a);

/* s: the layer's STEP_ATTN. Barriers between its dispatches, none after the last. */
void vulkan_record_attend(struct vulkan_recording *r, const struct step *s, const struct vulkan_attention *a);

#endif
