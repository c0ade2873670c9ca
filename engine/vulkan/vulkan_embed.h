/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_EMBED_H
#define QUIP_ENGINE_VULKAN_VULKAN_EMBED_H

#include "engine/vulkan/vulkan_shader.h"
#include "engine/vulkan/vulkan_weight.h"

/* Rows of the embedding, looked up where it lies (shaders/embed.comp). */

struct vulkan_embed {
    const struct vulkan_weight *w;
    const struct vulkan_buf *rows;    /* [n] struct table_row: their tokens are rows of w; or TABLE_NO_TOKEN, */
    const struct vulkan_buf *best;    /* then that of entry r of these, [n] struct logit */
    const struct vulkan_buf *x;       /* [n][w->n_cols] f32 */
    int32_t n;
    float scale;
};

/* Ends with a barrier. */
void vulkan_record_embed(struct vulkan_recording *r, const struct vulkan_embed *e);

#endif
