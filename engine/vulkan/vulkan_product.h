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

/* The experts that rows of activations go to, of a weight with the matrices of n_experts one after another. */
struct vulkan_picks {
    struct vulkan_part part;                    /* [n][n_used] struct table_pick (shaders/include/table.h), read when it
                                                 * runs; of no buffer: w is one matrix */
    int32_t n_used, n_experts;
    bool sum;                                   /* of what they give, weighted: ADD, or STORE without a cap */
};

struct vulkan_product {
    const struct vulkan_weight *w, *w2;         /* w2: PAIR, of the type and shape of w */
    const struct vulkan_buf *x;                 /* [n][w->n_cols] f32 */
    const struct vulkan_buf *acts;              /* x rounded (vulkan_record_acts) if vulkan_weight_takes_acts() */
    const struct vulkan_buf *y;                 /* [n][w->n_rows] f32; not x */
    struct vulkan_part bias, bias2;             /* [w->n_rows] f32; of no buffer: none */
    struct vulkan_part norm;                    /* [w->n_cols] f32: x stands for x norm / sqrt(mean of x^2 + eps); of no
                                                 * buffer: for itself; not of many, not of sums */
    float eps;
    int32_t n;                                  /* rows of activations */
    bool many;                                  /* by tiles: these are some of vulkan_product_many() rows, or all */
    enum vulkan_product_mode mode;
    enum step_act act;                          /* PAIR */
    float scale;                                /* STORE, ADD; 1: none */
    float cap;                                  /* STORE; 0: none */
    struct vulkan_picks picks;
};

/* Records all dispatches of a product; none waits for another. A result depends on its row of activations alone, bit by
 * bit, and on many, not on n.
 *
 * With picks, W_e and b_e being rows e * R .. e * R + R - 1 of w and bias, R = w->n_rows / n_experts, and e the expert
 * that row a of activations picked k'th:
 *
 *   PAIR   y[a * n_used + k] = act(W_e x[a] + b_e) * (W2_e x[a] + b2_e)
 *   STORE  y[a * n_used + k] = capped(scale * (W_e x[a] + b_e))
 *   sums   y[a] = or += scale * sum over k of weight * (W_e x[a * n_used + k] + b_e)
 *
 * Shapes  x: [n][w->n_cols], y: [n * n_used][R]; of sums x: [n * n_used][w->n_cols], y: [n][R]
 * Ids     from n_experts on: their row of y is not written; in a sum they count as nothing, and their x is not read
 * Bits    depend on a row's activations and its picks in their order, not on n or many; those of a sum on the chunks
 *         of w too, which are added one after another, with barriers between
 * Limits  n * n_used up to 32768; rows are made one at a time, those of a prompt too: many is not looked at, and what
 *         several rows picked is read several times */
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
