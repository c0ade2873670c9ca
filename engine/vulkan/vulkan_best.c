/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_best.h"

#include <assert.h>

#include "engine/backend/backend.h"
#include "shaders/include/push.h"

enum { LANES = 256, BLOCK = 4 * LANES };    /* as best.comp has it: 8 KiB of shared memory, of 16 there are at least */

static_assert(sizeof(struct logit) == 8 && offsetof(struct logit, value) == 4, "as best.comp writes it");

static int32_t blocks_of(int32_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

int32_t vulkan_best_round(int32_t n)
{
    int32_t rounded = 1;
    while (rounded < n)
        rounded *= 2;
    return rounded;
}

/* What a stage leaves stands behind what it began with. */
uint64_t vulkan_best_parts_bytes(int32_t n_rows, int32_t n_logits)
{
    uint64_t entries = 1;
    for (int32_t n = n_logits; blocks_of(n) > 1; n = blocks_of(n) * BACKEND_MAX_BEST)
        entries += (uint64_t)blocks_of(n) * BACKEND_MAX_BEST;
    return (uint64_t)n_rows * entries * sizeof(struct logit);
}

void vulkan_record_best(struct vulkan_recording *r, const struct vulkan_best *b)
{
    uint32_t in_at = 0, out_at = 0;
    assert(b->n_best == vulkan_best_round(b->n_best) && b->n_best <= BACKEND_MAX_BEST);
    assert(r->rehearsal || b->logits->n_bytes / sizeof(float) >= (uint64_t)b->n_rows * (uint64_t)b->n_logits);
    assert(r->rehearsal || b->out->n_bytes / sizeof(struct logit) >= (uint64_t)b->n_rows * (uint64_t)b->n_best);
    assert(r->rehearsal || b->parts->n_bytes >= vulkan_best_parts_bytes(b->n_rows, b->n_logits));
    for (int32_t n = b->n_logits, n_blocks = 0; n_blocks != 1; n = n_blocks * b->n_best) {
        uint32_t overlooked = n == b->n_logits ? (uint32_t)r->d->faults.best : 0;
        n_blocks = blocks_of(n);
        const uint32_t spec[] = { LANES, (uint32_t)b->n_best, n == b->n_logits, n_blocks == 1 };
        const struct vulkan_part parts[] = { vulkan_all(b->logits), vulkan_all(b->parts),
                                             vulkan_all(n_blocks == 1 ? b->out : b->parts) };
        const struct push_best push = { .n = (uint32_t)n - overlooked, .in_at = in_at, .out_at = n_blocks == 1 ? 0 : out_at,
                                        .n_logits = (uint32_t)b->n_logits };
        vulkan_record_shader(r, "best", spec, 4, parts, &push, sizeof push, (uint32_t)n_blocks, (uint32_t)b->n_rows, 1);
        vulkan_record_barrier(r);
        in_at = out_at;
        out_at += (uint32_t)b->n_rows * (uint32_t)(n_blocks * b->n_best);
    }
}
