/* SPDX-License-Identifier: MIT */
/* Finding a place to go on from, anchors, and what the budget drops.
 *
 * Within one block the furthest matching token is the best place or none is: every place in it needs its open
 * form, and a place before reaches further back. Only its very end needs the sealed form besides. So a search
 * asks once or twice per block.
 *
 * What goes first under the budget is what was used longest ago: an anchor, with all it pins, or a leaf that
 * nobody holds, after which its parent is a leaf. Anchors that cost nothing now, because a sequence holds all
 * they pin, stay. */
#include <assert.h>
#include <stdlib.h>

#include "engine/kv/kv_impl.h"

/* ---- search ---------------------------------------------------------------------------------------- */

bool kv_tree_resumable(const struct kv_cache *kv, const struct kv_block *block, int32_t n, int32_t rough_at)
{
    struct kv_want want = kv_want_resume(n, rough_at);
    int32_t low = kv_want_low(&kv->shape, &want);
    for (const struct kv_block *b = block; b->page >= low; b = b->parent)
        if (kv_mask(&kv->shape, &want, b->page) & ~kv_block_present(b))
            return false;
    return true;
}

static int32_t common(const int32_t *a, const int32_t *b, int32_t n)
{
    int32_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

struct search {
    const struct kv_seq *s;
    struct kv_place exact;
    struct kv_place longest;    /* tokens alone, be it resumable or not */
};

/* Of two places as far, the one where s is already: nothing needs copying there. */
static bool better(const struct search *q, const struct kv_block *b, int32_t n)
{
    const struct kv_path *own = &q->s->path;
    return n > q->exact.n || (n == q->exact.n && b->page < own->n_pages && own->blocks[b->page] == b);
}

static void look_at(struct search *q, struct kv_block *b, int32_t n)
{
    if (n > q->longest.n)
        q->longest = (struct kv_place){ .block = b, .n = n };
    for (int32_t least = n % KV_PAGE == 0 ? n - 1 : n; n >= least; n--)
        if (better(q, b, n) && kv_tree_resumable(q->s->kv, b, n, KV_NOT_ROUGH)) {
            q->exact = (struct kv_place){ .block = b, .n = n, .rough_at = KV_NOT_ROUGH };
            return;
        }
}

/* All branches that begin like the tokens. */
static void search_tree(struct search *q, const int32_t *tokens, int32_t n_tokens)
{
    const struct kv_block *root = &q->s->kv->root;
    struct kv_block *b = root->child;
    while (b) {
        int32_t begin = b->page * KV_PAGE, left = n_tokens - begin, n = 0;
        if (left > 0)
            n = common(b->tokens, tokens + begin, b->n_tokens < left ? b->n_tokens : left);
        if (n > 0)
            look_at(q, b, begin + n);
        if (n == KV_PAGE && b->child) {
            b = b->child;
            continue;
        }
        while (!b->next && b->parent != root)
            b = b->parent;
        b = b->next;
    }
}

/* The blocks of a rough sequence, which are in no tree. */
static struct kv_place search_rough(struct search *q, const int32_t *tokens, int32_t n_tokens)
{
    const struct kv_seq *s = q->s;
    struct kv_place place = { .n = 0, .rough_at = KV_NOT_ROUGH };
    if (s->rough_at == KV_NOT_ROUGH)
        return place;
    int32_t held = s->path.n_tokens, n = common(s->tokens, tokens, held < n_tokens ? held : n_tokens);
    if (n > q->longest.n)
        q->longest = (struct kv_place){ .block = s->path.blocks[(n - 1) / KV_PAGE], .n = n };
    for (; n > 0; n = (n - 1) / KV_PAGE * KV_PAGE) {
        struct kv_block *b = s->path.blocks[(n - 1) / KV_PAGE];
        if (b->linked && n != s->rough_at)
            break;
        place = (struct kv_place){ b, n, kv_rough_within(s, n) };
        if (kv_tree_resumable(s->kv, b, n, place.rough_at))
            return place;
    }
    return (struct kv_place){ .n = 0, .rough_at = KV_NOT_ROUGH };
}

struct kv_place kv_tree_search(const struct kv_seq *s, const int32_t *tokens, int32_t n_tokens)
{
    struct search q = { .s = s, .exact.rough_at = KV_NOT_ROUGH };
    n_tokens = n_tokens < s->n_ctx ? n_tokens : s->n_ctx;
    search_tree(&q, tokens, n_tokens);
    struct kv_place rough = search_rough(&q, tokens, n_tokens);
    if (q.exact.n + KV_MAX_REDO >= q.longest.n)
        return q.exact;
    int32_t n = (q.longest.n / KV_PAGE - 1) * KV_PAGE;
    struct kv_block *b = q.longest.block;
    while (b->page > n / KV_PAGE - 1)
        b = b->parent;
    if (n > rough.n && kv_tree_resumable(s->kv, b, n, n))
        rough = (struct kv_place){ b, n, n };
    return rough.n > q.exact.n ? rough : q.exact;
}

/* ---- anchors --------------------------------------------------------------------------------------- */

static void unlist(struct kv_cache *kv, struct kv_anchor *a)
{
    *(a->older ? &a->older->newer : &kv->oldest_anchor) = a->newer;
    *(a->newer ? &a->newer->older : &kv->newest_anchor) = a->older;
}

static void list(struct kv_cache *kv, struct kv_anchor *a)
{
    a->last_use = kv->use;
    a->older = kv->newest_anchor;
    a->newer = NULL;
    *(a->older ? &a->older->newer : &kv->oldest_anchor) = a;
    kv->newest_anchor = a;
}

void kv_tree_anchor_take(struct kv_cache *kv, struct kv_anchor *fresh, struct kv_block *block, int32_t n)
{
    for (struct kv_anchor *a = block->anchors; a; a = a->next)
        if (a->n == n) {
            free(fresh);
            unlist(kv, a);
            list(kv, a);
            return;
        }
    if (!fresh)
        return;
    assert(block->linked && kv_tree_resumable(kv, block, n, KV_NOT_ROUGH));
    *fresh = (struct kv_anchor){ .next = block->anchors, .block = block, .n = n };
    block->anchors = fresh;
    list(kv, fresh);
    struct kv_want want = kv_want_resume(n, KV_NOT_ROUGH);
    int32_t low = kv_want_low(&kv->shape, &want);
    for (struct kv_block *b = block; b->page >= low; b = b->parent)
        kv_block_pin(b, kv_mask(&kv->shape, &want, b->page));
    kv_block_count_anchor(kv, block, 1);
}

static void remove_anchor(struct kv_cache *kv, struct kv_anchor *a)
{
    struct kv_want want = kv_want_resume(a->n, KV_NOT_ROUGH);
    int32_t low = kv_want_low(&kv->shape, &want);
    struct kv_anchor **link = &a->block->anchors;
    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
    unlist(kv, a);
    for (struct kv_block *b = a->block; b->page >= low; b = b->parent)
        kv_block_unpin(kv, b, kv_mask(&kv->shape, &want, b->page));
    kv_block_count_anchor(kv, a->block, -1);
    kv_block_settle(kv, a->block, true);
    free(a);
}

void kv_tree_touch(struct kv_cache *kv, const struct kv_path *path)
{
    kv->use++;
    int32_t n_pages = kv_pages(path->n_tokens);
    for (int32_t j = 0; j < n_pages; j++)
        path->blocks[j]->last_use = kv->use;
    for (int32_t j = n_pages > 2 ? n_pages - 2 : 0; j < n_pages; j++)
        for (struct kv_anchor *a = path->blocks[j]->anchors; a; a = a->next) {
            unlist(kv, a);
            list(kv, a);
        }
}

/* ---- budget ---------------------------------------------------------------------------------------- */

static bool costs(const struct kv_cache *kv, const struct kv_anchor *a)
{
    struct kv_want want = kv_want_resume(a->n, KV_NOT_ROUGH);
    int32_t low = kv_want_low(&kv->shape, &want);
    if (a->block->n_paths == 0)
        return true;
    for (const struct kv_block *b = a->block; b->page >= low; b = b->parent) {
        uint16_t mask = kv_mask(&kv->shape, &want, b->page);
        for (int k = 0; k < KV_BUFS; k++)
            if (mask >> k & 1 && b->n_holds[k] == 0)
                return true;
    }
    return false;
}

/* Tokens of a block behind a path's end that were somebody's who is gone. */
static bool cut_tails(struct kv_cache *kv)
{
    bool any = false;
    for (const struct kv_path *p = kv->paths; p; p = p->next) {
        if (p->n_tokens % KV_PAGE == 0)
            continue;
        struct kv_block *b = p->blocks[p->n_tokens / KV_PAGE];
        int32_t wanted = kv_block_wanted(kv, b, NULL);
        if (b->n_tokens > wanted) {
            b->n_tokens = wanted;
            kv_block_trim(kv, b);
            any = true;
        }
    }
    return any;
}

void kv_tree_evict(struct kv_cache *kv)
{
    while (kv->cached_bytes > kv->budget_bytes) {
        struct kv_block *leaf = kv->oldest_leaf;
        struct kv_anchor *a = kv->oldest_anchor;
        while (a && !costs(kv, a))
            a = a->newer;
        if (leaf && (!a || leaf->last_use <= a->last_use))
            kv_block_settle(kv, leaf, false);
        else if (a)
            remove_anchor(kv, a);
        else if (!cut_tails(kv))
            break;
    }
}

void kv_path_add(struct kv_cache *kv, struct kv_path *path)
{
    path->prev = NULL;
    path->next = kv->paths;
    if (path->next)
        path->next->prev = path;
    kv->paths = path;
}

void kv_path_remove(struct kv_cache *kv, struct kv_path *path)
{
    *(path->prev ? &path->prev->next : &kv->paths) = path->next;
    if (path->next)
        path->next->prev = path->prev;
}
