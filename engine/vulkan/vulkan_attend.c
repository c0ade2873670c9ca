/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_attend.h"

#include <assert.h>

#include "shaders/include/push.h"
#include "shaders/include/table.h"

/* As shaders/include/page.glsl counts them. */
static_assert(KV_F16 == 0 && KV_F32 == 1 && KV_Q8_0 == 2 && KV_Q4_0 == 3 && KV_KV4 == 4 && KV_KV3 == 5 &&
              KV_N_TYPES == 6, "page.glsl");
static_assert(KV_PAGE == 64 && KV_BLOCK == 32, "page.glsl");

enum { PART_KEYS = TABLE_PART_PAGES * KV_PAGE, MAX_QUERIES = 8 };

bool vulkan_attend_takes(const struct step *s)
{
    return s->d_head % 4 == 0 && s->d_head <= KV_MAX_HEAD;
}

bool vulkan_attend_turns(const struct kv_layer *kv)
{
    return kv_type_rotated(kv->k);
}

int32_t vulkan_attend_parts(int32_t pos, int32_t window)
{
    int32_t first_key = window > 0 && pos >= window ? pos - window + 1 : 0;
    return pos / PART_KEYS - first_key / PART_KEYS + 1;
}

uint64_t vulkan_attend_scratch_bytes(const struct step *s, int32_t slice_rows, int32_t max_parts)
{
    return (uint64_t)slice_rows * (uint64_t)s->n_head * (uint64_t)max_parts * (uint64_t)(s->d_head + 2) * sizeof(float);
}

/* Query heads of a KV head are attended so many at a time: all, or as evenly as their number allows. */
static uint32_t turns(const struct step *s)
{
    return (uint32_t)(s->n_head / s->n_kv_head + MAX_QUERIES - 1) / MAX_QUERIES;
}

static uint32_t queries(const struct step *s)
{
    return ((uint32_t)(s->n_head / s->n_kv_head) + turns(s) - 1) / turns(s);
}

void vulkan_attend_counts(uint32_t counts[3], const struct step *s, const struct vulkan_attention *a, int32_t n_parts)
{
    assert(n_parts > 0 && n_parts <= a->max_parts);
    counts[0] = (uint32_t)n_parts;
    counts[1] = (uint32_t)s->n_kv_head * turns(s);
    counts[2] = (uint32_t)(a->n_rows < a->slice_rows ? a->n_rows : a->slice_rows);
}

/* What stands in a binding that is not in use. */
static struct vulkan_part part_or(bool used, struct vulkan_part part, struct vulkan_part other)
{
    return used ? part : other;
}

void vulkan_record_attn_in(struct vulkan_recording *r, const struct step *s, const struct vulkan_attention *a)
{
    bool turn = vulkan_attend_turns(a->kv);
    assert(vulkan_attend_takes(s) && s->n_head % s->n_kv_head == 0);
    const uint32_t spec[] = { (uint32_t)s->d_head, a->rope ? (uint32_t)a->rope->n_rot : 0,
                              a->rope && a->rope->halves, s->q_norm != NULL, s->k_norm != NULL, a->kv->k == KV_F32,
                              turn };
    const struct vulkan_pipeline *p = vulkan_record_pipeline(r, "attn_in", spec, sizeof spec / sizeof *spec);
    if (!p)
        return;
    const struct vulkan_part parts[] = { a->rows, a->table, a->q, a->k, a->v, part_or(a->rope, a->cos_sin, a->k),
                                         part_or(s->q_norm || s->k_norm, a->gains, a->k),
                                         part_or(turn, a->turned, a->q) };
    const struct push_attn_in push = { .n_head = (uint32_t)s->n_head, .n_kv_head = (uint32_t)s->n_kv_head,
                                       .layer_pages = (uint32_t)(s->layer * a->table_stride),
                                       .cos_sin = (uint32_t)a->cos_sin_at,
                                       .cos_sin_stride = (uint32_t)a->cos_sin_stride, .eps = s->eps,
                                       .scale = s->scale };
    vulkan_record(r, p, parts, &push, sizeof push, (uint32_t)(s->n_head + s->n_kv_head), (uint32_t)a->n_rows, 1);
}

void vulkan_record_attend(struct vulkan_recording *r, const struct step *s, const struct vulkan_attention *a)
{
    const struct kv_layer *kv = a->kv;
    const uint32_t attend_spec[] = { (uint32_t)s->d_head, queries(s), kv->k, kv->v };
    const uint32_t merge_spec[] = { (uint32_t)s->d_head, kv_type_rotated(kv->v), s->sinks != NULL };
    const struct vulkan_pipeline *attend = vulkan_record_pipeline(r, "attn", attend_spec, 4);
    const struct vulkan_pipeline *merge = vulkan_record_pipeline(r, "attn_merge", merge_spec, 3);
    if (!attend || !merge)
        return;
    assert(vulkan_attend_scratch_bytes(s, a->slice_rows, a->max_parts) <= a->scratch.n_bytes);
    const struct vulkan_part attend_parts[] = { a->rows, a->table, a->q,
                                                part_or(vulkan_attend_turns(kv), a->turned, a->q), a->scratch };
    const struct vulkan_part merge_parts[] = { a->rows, a->scratch, a->out, part_or(s->sinks, a->sinks, a->scratch) };
    for (int32_t row = 0; row < a->n_rows; row += a->slice_rows) {
        int32_t n = a->n_rows - row < a->slice_rows ? a->n_rows - row : a->slice_rows;
        const struct push_attn push = { .n_head = (uint32_t)s->n_head, .n_kv_head = (uint32_t)s->n_kv_head,
                                        .layer_pages = (uint32_t)(s->layer * a->table_stride), .row0 = (uint32_t)row,
                                        .n_rows = (uint32_t)n, .max_parts = (uint32_t)a->max_parts,
                                        .window = (uint32_t)s->window, .cap = s->cap };
        if (row > 0)
            vulkan_record_barrier(r);    /* the slice before is out of the scratch */
        vulkan_record_indirect(r, attend, attend_parts, &push, sizeof push, a->counts, a->counts_offset);
        vulkan_record_barrier(r);
        vulkan_record(r, merge, merge_parts, &push, sizeof push, (uint32_t)s->n_head, (uint32_t)n, 1);
    }
}
