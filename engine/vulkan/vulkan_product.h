/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_PRODUCT_H
#define QUIP_ENGINE_VULKAN_VULKAN_PRODUCT_H

#include "engine/vulkan/vulkan_shader.h"
#include "engine/vulkan/vulkan_weight.h"

/* A matrix times rows of activations, in f32, with what comes right after it (shaders/matvec.comp). */

enum vulkan_product_mode {
    VULKAN_STORE,    /* y = capped(scale * (w x + bias)), capped(v) = cap * tanh(v / cap) */
    VULKAN_ADD,      /* y += scale * (w x + bias) */
    VULKAN_PAIR      /* y = act(w x + bias) * (w2 x + bias2) */
};

struct vulkan_product {
    const struct vulkan_weight *w, *w2;         /* w2: PAIR, of the type and shape of w */
    const struct vulkan_buf *x;                 /* [n][w->n_cols] f32 */
    const struct vulkan_buf *y;                 /* [n][w->n_rows] f32; not x */
    struct vulkan_part bias, bias2;             /* [w->n_rows] f32; of no buffer: none */
    int32_t n;                                  /* rows of activations */
    enum vulkan_product_mode mode;
    enum step_act act;                          /* PAIR */
    float scale;                                /* STORE, ADD; 1: none */
    float cap;                                  /* STORE; 0: none */
};

/* Records all dispatches of a product; none waits for another. A result depends on its row of activations alone, bit by
 * bit, not on n. */
void vulkan_record_product(struct vulkan_recording *r, const struct vulkan_product *p);

#endif
