/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_seal.h"

#include <assert.h>
#include <math.h>

#include "shaders/include/push.h"

static_assert(KV_F16 == 0 && KV_Q8_0 == 2 && KV_Q4_0 == 3 && KV_KV4 == 4 && KV_KV3 == 5 && KV_PAGE == 64 &&
              KV_BLOCK == 32 && KV_MAX_HEAD == 512, "shaders/include/kv.glsl says the same");

enum { GROUP = 128 };    /* lanes: a tile of shared memory is 128 times 16 components */

void vulkan_record_seal(struct vulkan_recording *r, const struct vulkan_seal *s)
{
    const struct kv_layer *l = &s->layer;
    const uint32_t spec[] = { GROUP, (uint32_t)l->d_head, l->k, l->v };
    const struct vulkan_part parts[] = { s->table, s->list };
    const struct push_seal push = { .n_head = (uint32_t)l->n_head,
                                    .key_bytes = (uint32_t)kv_sealed_key_bytes(l->k, l->d_head),
                                    .value_bytes = (uint32_t)kv_sealed_value_bytes(l->v, l->d_head),
                                    .norm = 1.0f / sqrtf((float)kv_rotation(l->d_head)) };
    assert(kv_layer_seals(l) && kv_type_fits(l->k, l->d_head) && kv_type_fits(l->v, l->d_head));
    const struct vulkan_pipeline *p = vulkan_record_pipeline(r, "seal", spec, sizeof spec / sizeof *spec);
    if (p)
        vulkan_record_indirect(r, p, parts, &push, sizeof push, s->counts, s->counts_offset);
}
