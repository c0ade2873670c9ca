/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_product.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/quant/quant.h"
#include "shaders/include/push.h"
#include "shaders/include/table.h"

enum { MAX_LANES = 256, MAX_COLS = 8, MAX_GRID = 32768, ACTS_LANES = 64, MIN_LARGE_TILES = 64 };

struct group_shape {
    uint32_t lanes, rows;
};

static bool has_picks(const struct vulkan_product *p)
{
    return p->picks.part.buf != NULL;
}

/* Of y. */
static int32_t n_outputs(const struct vulkan_product *p)
{
    return has_picks(p) ? p->w->n_rows / p->picks.n_experts : p->w->n_rows;
}

/* Lanes and rows of a workgroup. It must not depend on the number of activations: lanes fix the order of sums.
 *
 * Lanes: as many as may be, but at least a subgroup, with three of four busy: 18 units (576 columns) keep 32 lanes busy
 * for 18/32 of the time and 256 for 18/256. Rows: activations, seven times the bytes of 4-bit weights, are read once
 * for all of them; a matrix of few rows is rather spread over the device, and wide weights fill the registers.
 *
 * The experts that a row of activations uses make one long row of a sum, else one high matrix. */
static struct group_shape choose_shape(const struct vulkan_card *card, const struct vulkan_product *p)
{
    const struct vulkan_weight *w = p->w;
    uint32_t n_units = (uint32_t)w->n_cols / 32, n_rows = (uint32_t)n_outputs(p), lanes = MAX_LANES;
    uint32_t most = w->type == QUANT_F32 ? 1 : 4;
    if (has_picks(p) && p->picks.sum)
        n_units *= (uint32_t)p->picks.n_used;
    else if (has_picks(p))
        n_rows *= (uint32_t)p->picks.n_used;
    uint32_t least = card->subgroup < MAX_LANES ? card->subgroup : MAX_LANES;
    while (lanes > least && n_units * 4 < (n_units + lanes - 1) / lanes * lanes * 3)
        lanes /= 2;
    if (w->type == QUANT_F16 || w->type == QUANT_BF16 || w->type == QUANT_Q8_0 || p->mode == VULKAN_PAIR)
        most = most > 2 ? 2 : most;
    while (most > 1 && n_rows / most < 512)
        most /= 2;
    return (struct group_shape){ lanes, most };
}

static uint32_t shader_mode(const struct vulkan_product *p)
{
    return p->mode != VULKAN_PAIR ? (uint32_t)p->mode : p->act == STEP_SILU ? 2 : 3;
}

static uint32_t shader_picks(const struct vulkan_product *p)
{
    return !has_picks(p) ? 0 : p->picks.sum ? 2 : 1;
}

/* n_acts rows of activations from act0 on, by a shader that makes them in x by y by z workgroups. */
static void record_chunk(struct vulkan_recording *r, const struct vulkan_product *p, int32_t chunk, const char *shader,
                         const struct vulkan_buf *acts, const uint32_t *spec, int32_t n_spec, int32_t act0,
                         int32_t n_acts, uint32_t x, uint32_t y, uint32_t z)
{
    const struct vulkan_chunk *c = &p->w->chunks[chunk];
    const struct vulkan_buf *second = p->w2 ? &p->w2->chunks[chunk].buf : &c->buf;
    const struct vulkan_part parts[] = { vulkan_all(&c->buf), vulkan_all(second), vulkan_all(acts), vulkan_all(p->y),
                                         p->bias.buf ? p->bias : vulkan_all(p->x),
                                         p->bias2.buf ? p->bias2 : vulkan_all(p->x),
                                         p->norm.buf ? p->norm : vulkan_all(p->x),
                                         has_picks(p) ? p->picks.part : vulkan_all(p->x) };
    const struct push_product push = {
        .plane = { c->plane[0], c->plane[1], c->plane[2], c->plane[3] }, .n_units = (uint32_t)p->w->n_cols / 32,
        .n_rows = (uint32_t)c->n_rows, .row0 = (uint32_t)c->row0, .y_stride = (uint32_t)n_outputs(p),
        .act0 = (uint32_t)act0, .n_acts = (uint32_t)n_acts, .has_bias = p->bias.buf != NULL,
        .has_bias2 = p->bias2.buf != NULL, .scale = p->scale * (1 + r->d->faults.product), .cap = p->cap,
        .eps = p->eps, .n_used = (uint32_t)p->picks.n_used, .n_experts = (uint32_t)p->picks.n_experts };
    vulkan_record_shader(r, shader, spec, n_spec, parts, &push, sizeof push, x, y, z);
}

/* ---- few rows of activations ------------------------------------------------------------------------------- */

/* n_cols rows of activations from act0 on, n_groups times. */
static void record_matvec(struct vulkan_recording *r, const struct vulkan_product *p, int32_t chunk,
                          struct group_shape shape, int32_t act0, int32_t n_cols, int32_t n_groups)
{
    const struct vulkan_card *card = r->d->card;
    char shader[32];
    const uint32_t spec[] = { shape.lanes, shape.rows, (uint32_t)n_cols, shader_mode(p),
                              (shape.lanes + card->min_subgroup - 1) / card->min_subgroup, p->norm.buf != NULL,
                              shader_picks(p) };
    uint32_t n_rows = (uint32_t)(has_picks(p) ? n_outputs(p) : p->w->chunks[chunk].n_rows);
    uint32_t n = (n_rows + shape.rows - 1) / shape.rows;
    uint32_t x = n < MAX_GRID ? n : MAX_GRID;
    snprintf(shader, sizeof shader, "matvec_%s%s", vulkan_weight_suffix(p->w->type),
             card->features & VULKAN_SUBGROUP_ADD ? "" : "_tree");
    record_chunk(r, p, chunk, shader, p->x, spec, sizeof spec / sizeof *spec, act0, n_cols * n_groups, x,
                 (n + x - 1) / x, (uint32_t)n_groups);
}

static void record_groups(struct vulkan_recording *r, const struct vulkan_product *p)
{
    struct group_shape shape = choose_shape(r->d->card, p);
    int32_t n_full = p->n / MAX_COLS, n_rest = p->n % MAX_COLS;
    for (int32_t chunk = 0; chunk < p->w->n_chunks; chunk++) {
        if (n_full > 0)
            record_matvec(r, p, chunk, shape, 0, MAX_COLS, n_full);
        if (n_rest > 0)
            record_matvec(r, p, chunk, shape, n_full * MAX_COLS, n_rest, 1);
    }
}

/* ---- experts ------------------------------------------------------------------------------------------------- */

/* Which chunk has the rows of an expert is known when it runs: every chunk is asked for all. */
static void record_picked(struct vulkan_recording *r, const struct vulkan_product *p)
{
    struct group_shape shape = choose_shape(r->d->card, p);
    struct vulkan_product part = *p;
    for (int32_t chunk = 0; chunk < p->w->n_chunks; chunk++) {
        record_matvec(r, &part, chunk, shape, 0, 1, p->picks.sum ? p->n : p->n * p->picks.n_used);
        if (p->picks.sum && chunk + 1 < p->w->n_chunks) {
            part.mode = VULKAN_ADD;
            vulkan_record_barrier(r);
        }
    }
}

/* ---- many ---------------------------------------------------------------------------------------------------- */

struct tile {
    uint32_t rows, acts, lane_rows, lane_acts;
};

/* The large tile reads shared memory the less; the small one spreads a small product over a large device. Results are
 * the same bit by bit. */
static struct tile choose_tile(const struct vulkan_product *p)
{
    static const struct tile large = { 64, 64, 8, 4 }, small = { 32, 32, 4, 4 };
    uint64_t n_tiles = ((uint64_t)p->w->n_rows + 63) / 64 * (((uint64_t)p->n + 63) / 64);
    return n_tiles >= MIN_LARGE_TILES ? large : small;
}

static bool is_quantised(uint32_t type)
{
    return type != QUANT_F32 && type != QUANT_F16 && type != QUANT_BF16;
}

bool vulkan_product_many(const struct vulkan_device *d, int32_t n)
{
    return n > VULKAN_FEW_ROWS && d->card->tiles != VULKAN_TILES_NONE;
}

bool vulkan_weight_takes_acts(const struct vulkan_device *d, const struct vulkan_weight *w)
{
    enum vulkan_tiles tiles = d->card->tiles;
    return (tiles == VULKAN_TILES_INT8 && is_quantised(w->type)) ||
           (tiles == VULKAN_TILES_COOP && (is_quantised(w->type) || w->type == QUANT_F16));
}

uint64_t vulkan_acts_bytes(const struct vulkan_device *d, int32_t n, int32_t n_cols)
{
    uint64_t rows = (uint64_t)n, units = (uint64_t)n_cols / 32;
    switch (d->card->tiles) {
    case VULKAN_TILES_INT8: return 2 * rows * units * 48 + rows * 4;                     /* as acts.comp writes them */
    case VULKAN_TILES_COOP: return push_rows_of_tiles(rows) * units * 64 + rows * 4;     /* as acts_f16.comp does */
    default: return 0;
    }
}

void vulkan_record_acts(struct vulkan_recording *r, const struct vulkan_buf *x, const struct vulkan_buf *acts,
                        int32_t n, int32_t n_cols)
{
    const uint32_t spec[] = { ACTS_LANES };
    const struct vulkan_part parts[] = { vulkan_all(x), vulkan_all(acts) };
    const struct push_acts push = { (uint32_t)n_cols / 32, (uint32_t)n };
    assert(n <= PUSH_MAX_ACTS && (r->rehearsal || acts->n_bytes >= vulkan_acts_bytes(r->d, n, n_cols)));
    vulkan_record_shader(r, r->d->card->tiles == VULKAN_TILES_COOP ? "acts_f16" : "acts", spec, 1, parts, &push,
                         sizeof push, (uint32_t)n, 1, 1);
}

/* How tiles of p are made. */
struct tiling {
    char shader[32];
    uint32_t spec[7];
    int32_t n_spec;
    uint32_t slots;    /* rows of activations, as the shader counts them */
};

static struct tiling tiling_of(const struct vulkan_card *card, const struct vulkan_product *p, struct tile t,
                               bool takes_acts)
{
    const char *type = vulkan_weight_suffix(p->w->type);
    struct tiling x = { .n_spec = 6, .slots = (uint32_t)p->n };
    if (takes_acts && card->tiles == VULKAN_TILES_COOP) {
        const uint32_t spec[] = { VULKAN_COOP_SUBGROUPS * card->subgroup, t.rows, t.acts, shader_mode(p),
                                  card->coop.m, card->coop.n, card->coop.k };
        memcpy(x.spec, spec, sizeof spec);
        x.n_spec = 7;
        snprintf(x.shader, sizeof x.shader, "matmul_coop_%s", type);
        return x;
    }
    const uint32_t spec[] = { t.rows / t.lane_rows * (t.acts / t.lane_acts), t.rows, t.acts, shader_mode(p),
                              t.lane_rows, t.lane_acts };
    memcpy(x.spec, spec, sizeof spec);
    if (takes_acts)
        x.slots *= 2;    /* every row might be an outlier */
    snprintf(x.shader, sizeof x.shader, "matmul_%s%s%s", takes_acts ? "i8_" : "", type,
             takes_acts && !(card->features & VULKAN_INT_DOT) ? "_emulated" : "");
    return x;
}

static void record_tiles(struct vulkan_recording *r, const struct vulkan_product *p)
{
    bool takes_acts = vulkan_weight_takes_acts(r->d, p->w);
    struct tile t = choose_tile(p);
    struct tiling x = tiling_of(r->d->card, p, t, takes_acts);
    assert(!takes_acts || p->acts);
    assert(!takes_acts || r->rehearsal || p->acts->n_bytes >= vulkan_acts_bytes(r->d, p->n, p->w->n_cols));
    for (int32_t chunk = 0; chunk < p->w->n_chunks; chunk++) {
        uint32_t n = ((uint32_t)p->w->chunks[chunk].n_rows + t.rows - 1) / t.rows, y = n < MAX_GRID ? n : MAX_GRID;
        record_chunk(r, p, chunk, x.shader, takes_acts ? p->acts : p->x, x.spec, x.n_spec, 0, p->n,
                     (x.slots + t.acts - 1) / t.acts, y, (n + y - 1) / y);    /* x: tiles of the same weights */
    }
}

static void check_picks(const struct vulkan_recording *r, const struct vulkan_product *p, uint64_t n_picks)
{
    const struct vulkan_picks *k = &p->picks;
    assert(k->n_used > 0 && k->n_experts > 0 && p->w->n_rows % k->n_experts == 0 && n_picks <= MAX_GRID);
    assert(k->sum ? p->mode != VULKAN_PAIR && p->cap == 0 : p->mode != VULKAN_ADD);
    assert(r->rehearsal || k->part.n_bytes / sizeof(struct table_pick) >= n_picks);
}

void vulkan_record_product(struct vulkan_recording *r, const struct vulkan_product *p)
{
    const struct vulkan_weight *w = p->w;
    uint64_t n = (uint64_t)p->n, n_picks = has_picks(p) ? n * (uint64_t)p->picks.n_used : n;
    assert((p->mode == VULKAN_PAIR) == (p->w2 != NULL) && p->n > 0 && p->x != p->y);
    assert(!p->w2 || (p->w2->type == w->type && p->w2->n_rows == w->n_rows && p->w2->n_cols == w->n_cols &&
                      p->w2->n_chunks == w->n_chunks));
    assert(p->mode == VULKAN_PAIR || p->scale != 0);
    assert(!p->norm.buf || ((has_picks(p) ? !p->picks.sum : !p->many) && p->norm.n_bytes / 4 >= (uint64_t)w->n_cols));
    assert(r->rehearsal || p->x->n_bytes / 4 >= (p->picks.sum ? n_picks : n) * (uint64_t)w->n_cols);
    assert(r->rehearsal || p->y->n_bytes / 4 >= (p->picks.sum ? n : n_picks) * (uint64_t)n_outputs(p));
    if (has_picks(p)) {
        check_picks(r, p, n_picks);
        record_picked(r, p);
    } else if (p->many) {
        record_tiles(r, p);
    } else {
        record_groups(r, p);
    }
}
