/* SPDX-License-Identifier: MIT */
/* Blocks and their buffers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv/kv_impl.h"

/* ---- buffers --------------------------------------------------------------------------------------- */

static void free_buf(struct kv_cache *kv, struct kv_block *b, int k)
{
    assert(b->n_holds[k] == 0 && b->n_pins[k] == 0);
    kv_slab_give(&kv->slabs[k], b->buf[k]);
    b->buf[k] = NULL;
    kv->cached_bytes -= kv_cost(&kv->shape, k);
    kv->device_bytes -= kv->slabs[k].memory ? kv_cost(&kv->shape, k) : 0;
}

bool kv_block_fill(struct kv_cache *kv, struct kv_block *b, uint16_t mask, struct err *e)
{
    for (int k = 0; k < KV_BUFS; k++) {
        if (!(mask >> k & 1) || b->buf[k])
            continue;
        b->buf[k] = kv_slab_take(&kv->slabs[k], e);
        if (!b->buf[k])
            return false;
        kv->cached_bytes += kv_cost(&kv->shape, k);
        kv->device_bytes += kv->slabs[k].memory ? kv_cost(&kv->shape, k) : 0;
    }
    return true;
}

bool kv_block_populate(struct kv_cache *kv, struct err *e)
{
    for (int k = 0; k < KV_BUFS; k++)
        if (!kv_slab_populate(&kv->slabs[k])) {
            err_set(e, ERR_NOMEM, "no memory");
            return false;
        }
    return true;
}

uint16_t kv_block_present(const struct kv_block *b)
{
    uint16_t mask = 0;
    for (int k = 0; k < KV_BUFS; k++)
        mask |= (uint16_t)((b->buf[k] != NULL) << k);
    return mask;
}

/* The body of layers without a window stays with the block; a sealed form that is not full yet is nothing. */
static bool needed(const struct kv_cache *kv, const struct kv_block *b, int k)
{
    const struct kv_group *group = &kv->shape.groups[k / 2];
    if (b->n_holds[k] > 0 || b->n_pins[k] > 0)
        return true;
    if (group->window > 0 || k % 2 != kv_body(group, b->page))
        return false;
    return k % 2 == KV_OPEN || b->n_tokens == KV_PAGE;
}

void kv_block_trim(struct kv_cache *kv, struct kv_block *b)
{
    for (int k = 0; k < KV_BUFS; k++)
        if (b->buf[k] && !needed(kv, b, k))
            free_buf(kv, b, k);
}

void kv_block_hold(struct kv_cache *kv, struct kv_block *b, uint16_t mask)
{
    for (int k = 0; k < KV_BUFS; k++) {
        if (!(mask >> k & 1))
            continue;
        assert(b->buf[k]);
        if (b->n_holds[k]++ > 0)
            continue;
        kv->used_bytes += kv_cost(&kv->shape, k);
        kv->cached_bytes -= kv_cost(&kv->shape, k);
        kv->n_open += k % 2 == KV_OPEN && b->n_open_held++ == 0;
        kv->n_sealed += k % 2 == KV_SEALED && b->n_sealed_held++ == 0;
    }
}

/* Nobody holds the buffer any more: what there was is cached, until somebody frees it. */
static void last_hold(struct kv_cache *kv, struct kv_block *b, int k)
{
    kv->used_bytes -= kv_cost(&kv->shape, k);
    kv->cached_bytes += kv_cost(&kv->shape, k);
    kv->n_open -= k % 2 == KV_OPEN && --b->n_open_held == 0;
    kv->n_sealed -= k % 2 == KV_SEALED && --b->n_sealed_held == 0;
}

void kv_block_unhold(struct kv_cache *kv, struct kv_block *b, uint16_t mask)
{
    for (int k = 0; k < KV_BUFS; k++)
        if (mask >> k & 1 && --b->n_holds[k] == 0) {
            last_hold(kv, b, k);
            if (!needed(kv, b, k))
                free_buf(kv, b, k);
        }
}

void kv_block_pin(struct kv_block *b, uint16_t mask)
{
    for (int k = 0; k < KV_BUFS; k++)
        b->n_pins[k] += mask >> k & 1;
}

void kv_block_unpin(struct kv_cache *kv, struct kv_block *b, uint16_t mask)
{
    for (int k = 0; k < KV_BUFS; k++)
        b->n_pins[k] -= mask >> k & 1;
    kv_block_trim(kv, b);
}

void kv_block_give(struct kv_cache *kv, struct kv_block *b, struct kv_block *twin, uint16_t mask)
{
    for (int k = 0; k < KV_BUFS; k++) {
        if (!(mask >> k & 1) || twin->buf[k])
            continue;
        assert(b->buf[k] && b->n_holds[k] <= 1 && b->n_pins[k] == 0);
        if (b->n_holds[k] == 1) {
            b->n_holds[k] = 0;
            last_hold(kv, b, k);
        }
        twin->buf[k] = b->buf[k];
        b->buf[k] = NULL;
    }
}

/* ---- blocks ---------------------------------------------------------------------------------------- */

struct kv_block *kv_block_new(struct kv_cache *kv, int32_t page, uint16_t mask, struct err *e)
{
    struct kv_block *b = calloc(1, sizeof *b);
    if (!b) {
        err_set(e, ERR_NOMEM, "no memory");
        return NULL;
    }
    b->page = page;
    if (!kv_block_fill(kv, b, mask, e)) {
        kv_block_free(kv, b);
        return NULL;
    }
    return b;
}

static void unlist(struct kv_cache *kv, struct kv_block *b)
{
    if (!b->spare)
        return;
    b->spare = false;
    *(b->older ? &b->older->newer : &kv->oldest_leaf) = b->newer;
    *(b->newer ? &b->newer->older : &kv->newest_leaf) = b->older;
}

static void list(struct kv_cache *kv, struct kv_block *b)
{
    struct kv_block *before = kv->newest_leaf;
    if (b->spare)
        return;
    while (before && before->last_use > b->last_use)
        before = before->older;
    b->spare = true;
    b->older = before;
    b->newer = before ? before->newer : kv->oldest_leaf;
    *(b->older ? &b->older->newer : &kv->oldest_leaf) = b;
    *(b->newer ? &b->newer->older : &kv->newest_leaf) = b;
}

void kv_block_link(struct kv_cache *kv, struct kv_block *b, struct kv_block *parent)
{
    b->parent = parent;
    b->linked = true;
    b->prev = NULL;
    b->next = parent->child;
    if (b->next)
        b->next->prev = b;
    parent->child = b;
    unlist(kv, parent);
    kv->n_cached += b->n_paths == 0;
}

static void unlink_block(struct kv_cache *kv, struct kv_block *b)
{
    *(b->prev ? &b->prev->next : &b->parent->child) = b->next;
    if (b->next)
        b->next->prev = b->prev;
    b->linked = false;
    kv->n_cached -= b->n_paths == 0;
}

void kv_block_free(struct kv_cache *kv, struct kv_block *b)
{
    assert(b->n_paths == 0 && b->n_anchors == 0 && !b->child);
    unlist(kv, b);
    if (b->linked)
        unlink_block(kv, b);
    for (int k = 0; k < KV_BUFS; k++)
        if (b->buf[k])
            free_buf(kv, b, k);
    free(b);
}

/* More than one sequence or anchor has it, a sequence among them. */
static bool shared(const struct kv_block *b)
{
    return b->n_paths > 0 && b->n_paths + b->n_anchors > 1;
}

void kv_block_add_path(struct kv_cache *kv, struct kv_block *b)
{
    bool before = shared(b);
    kv->n_cached -= b->linked && b->n_paths == 0;
    b->n_paths++;
    kv->n_shared += shared(b) - before;
    unlist(kv, b);
}

void kv_block_drop_path(struct kv_cache *kv, struct kv_block *b, const struct kv_path *path, uint16_t mask,
                        bool wanted)
{
    bool before = shared(b);
    kv_block_unhold(kv, b, mask);
    b->n_paths--;
    kv->n_cached += b->linked && b->n_paths == 0;
    kv->n_shared += shared(b) - before;
    if (b->writer == path)
        b->writer = NULL;
    kv_block_settle(kv, b, wanted);
}

void kv_block_count_anchor(struct kv_cache *kv, struct kv_block *b, int32_t add)
{
    for (; b != &kv->root; b = b->parent) {
        bool before = shared(b);
        b->n_anchors += add;
        kv->n_shared += shared(b) - before;
        if (add > 0)
            unlist(kv, b);
    }
}

void kv_block_settle(struct kv_cache *kv, struct kv_block *b, bool wanted)
{
    while (b != &kv->root && b->n_paths == 0 && b->n_anchors == 0 && !b->child) {
        struct kv_block *parent = b->parent;
        bool linked = b->linked;
        if (linked && wanted && kv_block_present(b)) {
            list(kv, b);
            return;
        }
        kv_block_free(kv, b);
        if (!linked)
            return;
        b = parent;
        wanted = true;    /* what is above was somebody's before it was this one's */
    }
}

int32_t kv_block_wanted(const struct kv_cache *kv, const struct kv_block *b, const struct kv_path *path)
{
    int32_t wanted = b->child ? KV_PAGE : 0, begin = b->page * KV_PAGE;
    for (const struct kv_anchor *a = b->anchors; a; a = a->next)
        wanted = a->n - begin > wanted ? a->n - begin : wanted;
    for (const struct kv_path *p = kv->paths; p; p = p->next)
        if (p != path && b->page < p->n_pages && p->blocks[b->page] == b && p->n_tokens - begin > wanted)
            wanted = p->n_tokens - begin;
    return wanted < KV_PAGE ? wanted : KV_PAGE;
}

struct kv_block *kv_block_twin(struct kv_block *parent, const struct kv_block *b, uint16_t mask)
{
    for (struct kv_block *c = parent->child; c; c = c->next)
        if (c != b && c->n_tokens >= b->n_tokens &&
            memcmp(c->tokens, b->tokens, (size_t)b->n_tokens * sizeof *b->tokens) == 0 &&
            (c->n_tokens == b->n_tokens || !(mask & ~kv_block_present(c))))
            return c;
    return NULL;
}
