/* SPDX-License-Identifier: MIT */
/* The scratch of the Vulkan backend: one list of buffers, which is either added up or made. */
#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vulkan_best.h"
#include "engine/vulkan/vulkan_placed.h"
#include "engine/vulkan/vulkan_product.h"

enum { N_SLOTS = 16 };                             /* sequences in the table at a time */
static const uint64_t LOGITS_BYTES = 64 << 20;     /* of one head, about: more are taken from the device in turns */
static const uint64_t PARTS_BYTES = 64 << 20;      /* of partial attention, about: more rows go slice by slice */

/* What the sizes follow from. */
struct sizes {
    int32_t max_rows, max_logits, n_ctx, stride, max_rot, slice_rows, max_parts;
    uint64_t seals_bytes, parts_bytes, acts_bytes, in_bytes;
};

static uint64_t parts_bytes(const struct program *g, int32_t slice_rows, int32_t max_parts)
{
    uint64_t most = 16;
    for (int32_t i = 0; i < g->n_steps; i++) {
        const struct step *s = &g->steps[i];
        uint64_t bytes = s->kind == STEP_ATTN ? vulkan_attend_scratch_bytes(s, slice_rows, max_parts) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

static struct sizes sizes_for(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx)
{
    const struct program *g = p->program;
    int32_t rows = max_rows < VULKAN_MAX_ROWS ? max_rows : VULKAN_MAX_ROWS;
    struct sizes z = { .max_rows = rows, .max_logits = max_logits < rows ? max_logits : rows, .n_ctx = n_ctx,
                       .stride = (n_ctx + KV_PAGE - 1) / KV_PAGE, .max_rot = 2, .slice_rows = rows,
                       .max_parts = vulkan_attend_parts(n_ctx - 1, 0) };
    while (z.slice_rows > 1 && parts_bytes(g, z.slice_rows, z.max_parts) > PARTS_BYTES)
        z.slice_rows = (z.slice_rows + 1) / 2;
    while (z.max_logits > 1 && (uint64_t)z.max_logits * (uint64_t)g->n_vocab * sizeof(float) > LOGITS_BYTES)
        z.max_logits = (z.max_logits + 1) / 2;
    z.parts_bytes = parts_bytes(g, z.slice_rows, z.max_parts);
    z.in_bytes = p->embed ? 16 : (uint64_t)rows * (uint64_t)g->n_embd * sizeof(float);
    z.seals_bytes = ((uint64_t)rows * 4 + 255) / 256 * 256;    /* so that each list may be bound */
    if (vulkan_product_many(p->b->d, max_rows))
        z.acts_bytes = vulkan_acts_bytes(p->b->d, rows, g->max_cols);
    for (int32_t i = 0; i < g->n_ropes; i++)
        z.max_rot = g->ropes[i].n_rot > z.max_rot ? g->ropes[i].n_rot : z.max_rot;
    return z;
}

enum { N_BUFS = sizeof(struct vulkan_scratch) / sizeof(struct vulkan_buf),
       N_SET_BUFS = sizeof(struct vulkan_set) / sizeof(struct vulkan_buf) };

struct wanted {
    struct vulkan_buf *buf;
    uint64_t n_bytes;
    enum vulkan_where where;
};

static void list(struct vulkan_scratch *s, const struct program *g, const struct sizes *z, struct wanted *out)
{
    int32_t n_logits = z->max_logits > 0 ? z->max_logits : 1;
    uint64_t rows = (uint64_t)z->max_rows, f = sizeof(float), logits = (uint64_t)n_logits;
    uint64_t ropes = (uint64_t)(g->n_ropes > 0 ? g->n_ropes : 1);
    struct wanted sets[VULKAN_N_SETS][N_SET_BUFS];
    for (int i = 0; i < VULKAN_N_SETS; i++) {
        struct vulkan_set *set = &s->sets[i];
        const struct wanted one[N_SET_BUFS] = {
            { &set->cos_sin, ropes * rows * (uint64_t)z->max_rot * f, VULKAN_STEP },
            { &set->rows, rows * sizeof(struct table_row), VULKAN_STEP },
            { &set->seals, (uint64_t)g->n_layers * z->seals_bytes, VULKAN_STEP },
            { &set->wanted, rows * 4, VULKAN_STEP },
            { &set->counts, (uint64_t)g->n_layers * COUNT_WORDS * 4, VULKAN_STEP },
            { &set->best, logits * BACKEND_MAX_BEST * sizeof(struct logit), VULKAN_BACK },
        };
        memcpy(sets[i], one, sizeof one);
    }
    const struct wanted all[N_BUFS - VULKAN_N_SETS * N_SET_BUFS] = {
        { &s->in, z->in_bytes, VULKAN_STEP },
        { &s->table, (uint64_t)(N_SLOTS * g->n_layers) * (uint64_t)z->stride * sizeof(struct table_page), VULKAN_STEP },
        { &s->x, rows * (uint64_t)g->n_embd * f, VULKAN_LOCAL },
        { &s->h, rows * (uint64_t)g->max_cols * f, VULKAN_LOCAL },
        { &s->q, rows * (uint64_t)g->max_q * f, VULKAN_LOCAL },
        { &s->turned, rows * (uint64_t)g->max_q * f, VULKAN_LOCAL },
        { &s->k, rows * (uint64_t)g->max_kv * f, VULKAN_LOCAL },
        { &s->v, rows * (uint64_t)g->max_kv * f, VULKAN_LOCAL },
        { &s->attn, rows * (uint64_t)g->max_q * f, VULKAN_LOCAL },
        { &s->gate, rows * (uint64_t)g->max_ff * f, VULKAN_LOCAL },
        { &s->up, rows * (uint64_t)g->max_ff * f, VULKAN_LOCAL },
        { &s->branch, rows * (uint64_t)g->n_embd * f, VULKAN_LOCAL },
        { &s->parts, z->parts_bytes, VULKAN_LOCAL },
        { &s->picked, logits * (uint64_t)g->n_embd * f, VULKAN_LOCAL },
        { &s->acts, z->acts_bytes > 16 ? z->acts_bytes : 16, VULKAN_LOCAL },
        { &s->logits, logits * (uint64_t)g->n_vocab * f, VULKAN_LOCAL },
        { &s->best_parts, vulkan_best_parts_bytes(n_logits, g->n_vocab), VULKAN_LOCAL },
        { &s->all_logits, logits * (uint64_t)g->n_vocab * f, VULKAN_BACK },
    };
    memcpy(out, sets, sizeof sets);
    memcpy(out + VULKAN_N_SETS * N_SET_BUFS, all, sizeof all);
}

uint64_t vulkan_scratch_bytes(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx)
{
    struct sizes z = sizes_for(p, max_rows, max_logits, n_ctx);
    struct vulkan_scratch nowhere;
    struct wanted bufs[N_BUFS];
    uint64_t sum = 0;
    list(&nowhere, p->program, &z, bufs);
    for (int i = 0; i < N_BUFS; i++)
        sum += bufs[i].n_bytes;
    return sum;
}

static void destroy(struct vulkan_device *d, struct vulkan_scratch *s)
{
    struct vulkan_buf *bufs = (struct vulkan_buf *)s;
    for (int i = 0; i < N_BUFS; i++)
        vulkan_buf_destroy(d, &bufs[i]);
}

void vulkan_scratch_finish(struct placed *p)
{
    destroy(p->b->d, &p->scratch);
    free(p->slots);
    free(p->shadow);
    p->slots = NULL;
    p->shadow = NULL;
}

enum err_code vulkan_scratch_reserve(struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                                     struct err *e)
{
    if (max_rows <= p->reserved_rows && max_logits <= p->reserved_logits && n_ctx <= p->n_ctx)
        return ERR_OK;
    max_rows = max_rows > p->reserved_rows ? max_rows : p->reserved_rows;
    max_logits = max_logits > p->reserved_logits ? max_logits : p->reserved_logits;
    n_ctx = n_ctx > p->n_ctx ? n_ctx : p->n_ctx;
    struct sizes z = sizes_for(p, max_rows, max_logits, n_ctx);
    struct vulkan_device *d = p->b->d;
    size_t n_entries = (size_t)(N_SLOTS * p->program->n_layers) * (size_t)z.stride;
    struct vulkan_scratch grown = { 0 };
    struct wanted bufs[N_BUFS];
    list(&grown, p->program, &z, bufs);
    struct vulkan_slot *slots = calloc(N_SLOTS, sizeof *slots);
    struct kv_page *shadow = calloc(n_entries, sizeof *shadow);
    enum err_code rc = slots && shadow ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for a table of pages");
    for (int i = 0; i < N_BUFS && rc == ERR_OK; i++)    /* shaders see each as a whole */
        rc = bufs[i].n_bytes <= d->card->binding_bytes
                 ? vulkan_buf_create(d, bufs[i].buf, bufs[i].n_bytes, bufs[i].where, e)
                 : err_set(e, ERR_NOMEM, "%s: %.0f MiB in one buffer, %.0f MiB allowed", d->card->name,
                           (double)bufs[i].n_bytes / 1048576.0, (double)d->card->binding_bytes / 1048576.0);
    if (rc != ERR_OK) {
        destroy(d, &grown);
        free(slots);
        free(shadow);
        return err_prefix(e, "scratch of %d rows in a context of %d tokens", z.max_rows, n_ctx);
    }
    memset(grown.table.mapped, 0, n_entries * sizeof(struct table_page));
    vulkan_forget_recordings(p);
    vulkan_scratch_finish(p);
    p->scratch = grown;
    p->slots = slots;
    p->shadow = shadow;
    p->n_slots = N_SLOTS;
    p->reserved_rows = max_rows;
    p->reserved_logits = max_logits;
    p->max_rows = z.max_rows;
    p->max_logits = z.max_logits;
    p->n_ctx = n_ctx;
    p->stride = z.stride;
    p->max_rot = z.max_rot;
    p->slice_rows = z.slice_rows;
    p->max_parts = z.max_parts;
    p->seals_bytes = z.seals_bytes;
    return ERR_OK;
}
