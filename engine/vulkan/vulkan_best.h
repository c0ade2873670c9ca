/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_BEST_H
#define QUIP_ENGINE_VULKAN_VULKAN_BEST_H

#include "engine/base/logit.h"
#include "engine/vulkan/vulkan_shader.h"

/* The best logits of rows, found where the logits are (shaders/best.comp). */

struct vulkan_best {
    const struct vulkan_buf *logits;    /* [n_rows][n_logits] f32 */
    const struct vulkan_buf *parts;     /* scratch of vulkan_best_parts_bytes() */
    const struct vulkan_buf *out;       /* [n_rows][n_best] struct logit, in the order of logit_before() */
    int32_t n_rows, n_logits;
    int32_t n_best;                     /* a power of two, at most BACKEND_MAX_BEST */
};

/* The smallest n_best there is for so many. */
int32_t vulkan_best_round(int32_t n);
/* Scratch for any n_best. */
uint64_t vulkan_best_parts_bytes(int32_t n_rows, int32_t n_logits);
/* Ends with a barrier. */
void vulkan_record_best(struct vulkan_recording *r, const struct vulkan_best *b);

#endif
