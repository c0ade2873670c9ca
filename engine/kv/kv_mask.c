/* SPDX-License-Identifier: MIT */
#include "engine/kv/kv_impl.h"

static int32_t kind_of(const struct kv_layer *layer)
{
    return (kv_layer_seals(layer) ? 2 : 0) + (layer->window > 0 ? 1 : 0);
}

int32_t kv_group_of(const struct kv_layer *layers, int32_t i)
{
    return (layers[i].memory != layers[0].memory ? KV_KINDS : 0) + kind_of(&layers[i]);
}

void kv_shape_init(struct kv_shape *shape, const struct kv_layer *layers, int32_t n_layers)
{
    *shape = (struct kv_shape){ 0 };
    int32_t windows[KV_KINDS] = { 0 };
    for (int32_t i = 0; i < n_layers; i++) {
        int32_t *window = &windows[kind_of(&layers[i])];
        *window = layers[i].window > *window ? layers[i].window : *window;
    }
    for (int32_t i = 0; i < n_layers; i++) {
        struct kv_group *group = &shape->groups[kv_group_of(layers, i)];
        group->seals = kv_layer_seals(&layers[i]);
        group->window = windows[kind_of(&layers[i])];
        group->memory = layers[i].memory;
        group->bytes[KV_OPEN] += kv_open_bytes(&layers[i]);
        group->bytes[KV_SEALED] += kv_sealed_bytes(&layers[i]);
    }
}

/* The first page that the row at pos reads. */
static int32_t reach(const struct kv_group *group, int32_t pos)
{
    return group->window > 0 && pos >= group->window ? (pos - group->window + 1) / KV_PAGE : 0;
}

/* Pages before the rough place are not wanted open even where they are: what is read must not depend on what
 * others keep. */
static int32_t not_before(int32_t page, int32_t rough_at)
{
    return rough_at != KV_NOT_ROUGH && rough_at / KV_PAGE > page ? rough_at / KV_PAGE : page;
}

struct kv_want kv_want_resume(int32_t n, int32_t rough_at)
{
    return (struct kv_want){ .first_row = n, .open_from = not_before(n / KV_PAGE - 1, rough_at), .n_full = n };
}

struct kv_want kv_want_seq(int32_t n, int32_t n_reserved, int32_t rough_at)
{
    int32_t last = n > 0 ? (n - 1) / KV_PAGE : 0;
    return (struct kv_want){ .first_row = last > 0 ? (last - 1) * KV_PAGE : 0,
                             .open_from = not_before(last - 2, rough_at), .n_full = n_reserved };
}

uint16_t kv_mask(const struct kv_shape *shape, const struct kv_want *want, int32_t page)
{
    uint16_t mask = 0;
    for (int g = 0; g < KV_GROUPS; g++) {
        const struct kv_group *group = &shape->groups[g];
        if (group->bytes[KV_OPEN] == 0 || page < reach(group, want->first_row))
            continue;
        if (kv_body(group, page) == KV_OPEN || page >= want->open_from)
            mask |= (uint16_t)(1 << (2 * g + KV_OPEN));
        if (kv_body(group, page) == KV_SEALED && (page + 1) * KV_PAGE <= want->n_full)
            mask |= (uint16_t)(1 << (2 * g + KV_SEALED));
    }
    return mask;
}

int32_t kv_want_low(const struct kv_shape *shape, const struct kv_want *want)
{
    int32_t low = want->open_from > 0 ? want->open_from : 0;
    for (int g = 0; g < KV_GROUPS; g++) {
        const struct kv_group *group = &shape->groups[g];
        if (group->window > 0 && reach(group, want->first_row) < low)
            low = reach(group, want->first_row);
    }
    return low;
}
