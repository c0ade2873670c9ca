/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_product.h"

#include <assert.h>
#include <stdio.h>

#include "engine/quant/quant.h"
#include "shaders/include/push.h"

enum { MAX_LANES = 256, MAX_COLS = 8, MAX_GRID_X = 32768 };

/* As shaders/variants.cmake has them. */
static const char *const shaders[QUANT_N_TYPES] = {
    [QUANT_F32] = "matvec_f32",   [QUANT_F16] = "matvec_f16",   [QUANT_BF16] = "matvec_bf16",
    [QUANT_Q4_0] = "matvec_q4_0", [QUANT_Q4_1] = "matvec_q4_1", [QUANT_Q5_0] = "matvec_q5_0",
    [QUANT_Q5_1] = "matvec_q5_1", [QUANT_Q8_0] = "matvec_q8_0", [QUANT_Q2_K] = "matvec_q2k",
    [QUANT_Q3_K] = "matvec_q3k",  [QUANT_Q4_K] = "matvec_q4k",  [QUANT_Q5_K] = "matvec_q5k",
    [QUANT_Q6_K] = "matvec_q6k"
};

struct group_shape {
    uint32_t lanes, rows;
};

/* Lanes and rows of a workgroup. It must not depend on the number of activations: lanes fix the order of sums.
 *
 * Lanes: as many as may be, but at least a subgroup, with three of four busy: 18 units (576 columns) keep 32 lanes busy
 * for 18/32 of the time and 256 for 18/256. Rows: activations, seven times the bytes of 4-bit weights, are read once
 * for all of them; a matrix of few rows is rather spread over the device, and wide weights fill the registers. */
static struct group_shape choose_shape(const struct vulkan_card *card, const struct vulkan_weight *w,
                                       enum vulkan_product_mode mode)
{
    uint32_t n_units = (uint32_t)w->n_cols / 32, lanes = MAX_LANES, most = w->type == QUANT_F32 ? 1 : 4;
    uint32_t least = card->subgroup < MAX_LANES ? card->subgroup : MAX_LANES;
    while (lanes > least && n_units * 4 < (n_units + lanes - 1) / lanes * lanes * 3)
        lanes /= 2;
    if (w->type == QUANT_F16 || w->type == QUANT_BF16 || w->type == QUANT_Q8_0 || mode == VULKAN_PAIR)
        most = most > 2 ? 2 : most;
    while (most > 1 && (uint32_t)w->n_rows / most < 512)
        most /= 2;
    return (struct group_shape){ lanes, most };
}

static uint32_t shader_mode(const struct vulkan_product *p)
{
    return p->mode != VULKAN_PAIR ? (uint32_t)p->mode : p->act == STEP_SILU ? 2 : 3;
}

static const struct vulkan_pipeline *find_pipeline(struct vulkan_recording *r, const struct vulkan_product *p,
                                                   struct group_shape shape, uint32_t n_cols)
{
    const struct vulkan_card *card = r->d->card;
    char name[32];
    const uint32_t spec[] = { shape.lanes, shape.rows, n_cols, shader_mode(p),
                              (shape.lanes + card->min_subgroup - 1) / card->min_subgroup };
    snprintf(name, sizeof name, "%s%s", shaders[p->w->type], card->features & VULKAN_SUBGROUP_ADD ? "" : "_tree");
    return vulkan_record_pipeline(r, name, spec, sizeof spec / sizeof *spec);
}

/* n_cols activations from act0 on, n_groups times. */
static void record_chunk(struct vulkan_recording *r, const struct vulkan_product *p, int32_t chunk,
                         struct group_shape shape, int32_t act0, int32_t n_cols, int32_t n_groups)
{
    const struct vulkan_pipeline *pipeline = find_pipeline(r, p, shape, (uint32_t)n_cols);
    const struct vulkan_chunk *c = &p->w->chunks[chunk];
    const struct vulkan_buf *second = p->w2 ? &p->w2->chunks[chunk].buf : &c->buf;
    const struct vulkan_part parts[] = { vulkan_all(&c->buf), vulkan_all(second), vulkan_all(p->x), vulkan_all(p->y),
                                         p->bias.buf ? p->bias : vulkan_all(p->x),
                                         p->bias2.buf ? p->bias2 : vulkan_all(p->x) };
    const struct push_matvec push = {
        .plane = { c->plane[0], c->plane[1], c->plane[2], c->plane[3] }, .n_units = (uint32_t)p->w->n_cols / 32,
        .n_rows = (uint32_t)c->n_rows, .row0 = (uint32_t)c->row0, .y_stride = (uint32_t)p->w->n_rows,
        .act0 = (uint32_t)act0, .has_bias = p->bias.buf != NULL, .has_bias2 = p->bias2.buf != NULL,
        .scale = p->scale * (1 + r->d->faults.product), .cap = p->cap };
    uint32_t n = ((uint32_t)c->n_rows + shape.rows - 1) / shape.rows, x = n < MAX_GRID_X ? n : MAX_GRID_X;
    if (pipeline)
        vulkan_record(r, pipeline, parts, &push, sizeof push, x, (n + x - 1) / x, (uint32_t)n_groups);
}

void vulkan_record_product(struct vulkan_recording *r, const struct vulkan_product *p)
{
    const struct vulkan_weight *w = p->w;
    assert((p->mode == VULKAN_PAIR) == (p->w2 != NULL) && p->n > 0 && p->x != p->y);
    assert(!p->w2 || (p->w2->type == w->type && p->w2->n_rows == w->n_rows && p->w2->n_cols == w->n_cols &&
                      p->w2->n_chunks == w->n_chunks));
    assert(p->mode == VULKAN_PAIR || p->scale != 0);
    assert(r->rehearsal || p->x->n_bytes / 4 >= (uint64_t)p->n * (uint64_t)w->n_cols);
    assert(r->rehearsal || p->y->n_bytes / 4 >= (uint64_t)p->n * (uint64_t)w->n_rows);
    struct group_shape shape = choose_shape(r->d->card, w, p->mode);
    int32_t n_full = p->n / MAX_COLS, n_rest = p->n % MAX_COLS;
    for (int32_t chunk = 0; chunk < w->n_chunks; chunk++) {
        if (n_full > 0)
            record_chunk(r, p, chunk, shape, 0, MAX_COLS, n_full);
        if (n_rest > 0)
            record_chunk(r, p, chunk, shape, n_full * MAX_COLS, n_rest, 1);
    }
}
