/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv/kv_impl.h"

enum err_code kv_cache_create(struct kv_cache **out, const struct kv_layer *layers, int32_t n_layers,
                              uint64_t budget_bytes, struct err *e)
{
    struct kv_cache *kv = calloc(1, sizeof *kv);
    if (kv) {
        kv->layers = calloc((size_t)n_layers, sizeof *layers);
        kv->slots = calloc((size_t)n_layers, sizeof *kv->slots);
    }
    if (!kv || !kv->layers || !kv->slots) {
        kv_cache_destroy(kv);
        return err_set(e, ERR_NOMEM, "no memory for the KV cache");
    }
    memcpy(kv->layers, layers, (size_t)n_layers * sizeof *layers);
    kv->n_layers = n_layers;
    kv->hosted = true;
    for (int32_t i = 0; i < n_layers; i++) {    /* the first layers in one memory, the others in another */
        kv->hosted &= !layers[i].memory;
        assert(i == 0 || layers[i].memory == layers[i - 1].memory || layers[i - 1].memory == layers[0].memory);
    }
    kv->budget_bytes = budget_bytes;
    kv->root.page = -1;
    kv->root.n_tokens = KV_PAGE;
    kv_shape_init(&kv->shape, layers, n_layers);
    for (int k = 0; k < KV_BUFS; k++) {    /* huge pages: what stays, and grows with the context */
        const struct kv_group *group = &kv->shape.groups[k / 2];
        kv_slab_init(&kv->slabs[k], group->memory, kv_cost(&kv->shape, k),
                     group->window == 0 && k % 2 == kv_body(group, 1));
    }
    size_t at[KV_GROUPS][2] = { { 0 } };
    for (int32_t i = 0; i < n_layers; i++) {
        int32_t group = kv_group_of(layers, i);
        kv->slots[i] = (struct kv_slot){ group, { at[group][KV_OPEN], at[group][KV_SEALED] } };
        at[group][KV_OPEN] += kv_open_bytes(&layers[i]);
        at[group][KV_SEALED] += kv_sealed_bytes(&layers[i]);
    }
    *out = kv;
    return ERR_OK;
}

void kv_cache_destroy(struct kv_cache *kv)
{
    if (!kv)
        return;
    assert(!kv->paths);
    kv_cache_set_budget(kv, 0);    /* nobody holds anything: all of it goes */
    assert(!kv->root.child && kv->used_bytes == 0 && kv->cached_bytes == 0 && kv->device_bytes == 0);
    for (int k = 0; k < KV_BUFS; k++)
        kv_slab_finish(&kv->slabs[k]);
    free(kv->layers);
    free(kv->slots);
    free(kv);
}

const struct kv_layer *kv_cache_layers(const struct kv_cache *kv, int32_t *n_layers)
{
    *n_layers = kv->n_layers;
    return kv->layers;
}

void kv_cache_set_budget(struct kv_cache *kv, uint64_t budget_bytes)
{
    kv->budget_bytes = budget_bytes;
    kv_tree_evict(kv);
}

void kv_cache_stats(const struct kv_cache *kv, struct kv_stats *out)
{
    *out = (struct kv_stats){ .n_open = kv->n_open, .n_sealed = kv->n_sealed, .n_shared = kv->n_shared,
                              .n_cached = kv->n_cached, .used_bytes = kv->used_bytes,
                              .cached_bytes = kv->cached_bytes, .budget_bytes = kv->budget_bytes,
                              .device_bytes = kv->device_bytes };
}

uint64_t kv_cache_estimate(const struct kv_layer *layers, int32_t n_layers, int32_t n_tokens)
{
    struct kv_shape shape;
    kv_shape_init(&shape, layers, n_layers);
    struct kv_want want = kv_want_seq(n_tokens, n_tokens, KV_NOT_ROUGH);
    uint64_t bytes = 0;
    for (int32_t j = 0; j < kv_pages(n_tokens); j++) {
        uint8_t mask = kv_mask(&shape, &want, j);
        for (int k = 0; k < KV_BUFS; k++)
            if (mask >> k & 1)
                bytes += kv_cost(&shape, k);
    }
    return bytes;
}
