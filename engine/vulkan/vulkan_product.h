/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_PRODUCT_H
#define QUIP_ENGINE_VULKAN_VULKAN_PRODUCT_H

#include "engine/vulkan/vulkan_shader.h"
#include "engine/vulkan/vulkan_weight.h"

/* A matrix times rows of activations, with what comes right after it. Few rows, which is what answers and drafts have,
 * are made one beside the other (shaders/matvec.comp); many, the rows of a prompt, in tiles for which weights are
 * unpacked once (shaders/matmul.comp, matmul_coop.comp). The two add in different orders. */

enum { VULKAN_FEW_ROWS = 32 };
/* Whether so many rows go by tiles on this device (enum vulkan_tiles). */
bool vulkan_product_many(const struct vulkan_device *d, int32_t n);

enum vulkan_product_mode {
    VULKAN_STORE,    /* y = capped(scale * (w x + bias)), capped(v) = cap * tanh(v / cap) */
    VULKAN_ADD,      /* y += scale * (w x + bias) */
    VULKAN_PAIR      /* y = act(w x + bias) * (w2 x + bias2) */
};

struct vulkan_product {
    const struct vulkan_weight *w, *w2;         /* w2: PAIR, of the type and shape of w */
    const struct vulkan_buf *x;                 /* [n][w->n_cols] f32 */
    const struct vulkan_buf *acts;              /* x rounded (vulkan_record_acts) if vulkan_weight_takes_acts() */
    const struct vulkan_buf *y;                 /* [n][w->n_rows] f32; not x */
    struct vulkan_part bias, bias2;             /* [w->n_rows] f32; of no buffer: none */
    struct vulkan_part norm;                    /* [w->n_cols] f32: x stands for x norm / sqrt(mean of x^2 + eps); of no
                                                 * buffer: for itself; not of many */
    float eps;
    int32_t n;                                  /* rows of activations */
    bool many;                                  /* by tiles: these are some of vulkan_product_many() rows, or all */
    enum vulkan_product_mode mode;
    enum step_act act;                          /* PAIR */
    float scale;                                /* STORE, ADD; 1: none */
    float cap;                                  /* STORE; 0: none */
};

/* Records all dispatches of a product; none waits for another. A result depends on its row of activations alone, bit by
 * bit, and on many, not on n. */
void vulkan_record_product(struct vulkan_recording *r, const struct vulkan_product *p);

/* ---- rounded activations ------------------------------------------------------------------------------------- */

/* Tiles may be made by dot products of int8, for which activations are rounded as the CPU rounds them
 * (engine/cpu/cpu_kern.h), or of cooperative matrices, for which they are rounded to f16 (enum vulkan_tiles). Everything
 * else is f32. */
bool vulkan_weight_takes_acts(const struct vulkan_device *d, const struct vulkan_weight *w);
/* For n rows; 0 if no weight takes them. */
uint64_t vulkan_acts_bytes(const struct vulkan_device *d, int32_t n, int32_t n_cols);
/* Rounds x [n][n_cols]; a barrier belongs between this and the products. */
void vulkan_record_acts(struct vulkan_recording *r, const struct vulkan_buf *x, const struct vulkan_buf *acts,
                        int32_t n, int32_t n_cols);

#endif
