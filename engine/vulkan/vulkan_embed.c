/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_embed.h"

#include <assert.h>
#include <stdio.h>

#include "shaders/include/push.h"
#include "shaders/include/table.h"

enum { LANES = 64 };

void vulkan_record_embed(struct vulkan_recording *r, const struct vulkan_embed *e)
{
    const struct vulkan_weight *w = e->w;
    const uint32_t spec[] = { LANES }, n_units = (uint32_t)w->n_cols / 32;
    char shader[32];
    snprintf(shader, sizeof shader, "embed_%s", vulkan_weight_suffix(w->type));
    assert(r->rehearsal || e->rows->n_bytes >= (uint64_t)e->n * sizeof(struct table_row));
    assert(r->rehearsal || e->x->n_bytes / sizeof(float) >= (uint64_t)e->n * (uint64_t)w->n_cols);
    for (int32_t i = 0; i < w->n_chunks; i++) {
        const struct vulkan_chunk *c = &w->chunks[i];
        const struct vulkan_part parts[] = { vulkan_all(&c->buf), vulkan_all(e->rows), vulkan_all(e->best),
                                             vulkan_all(e->x) };
        const struct push_embed push = { .plane = { c->plane[0], c->plane[1], c->plane[2], c->plane[3] },
                                         .n_units = n_units, .n_rows = (uint32_t)c->n_rows,
                                         .row0 = (uint32_t)c->row0, .scale = e->scale };
        vulkan_record_shader(r, shader, spec, 1, parts, &push, sizeof push, (n_units + LANES - 1) / LANES,
                             (uint32_t)e->n, 1);
    }
    vulkan_record_barrier(r);
}
