/* SPDX-License-Identifier: MIT */
/* A sequence: a path, the table the backend reads, and where they move.
 *
 * The table shows only buffers the sequence holds, so no call on another sequence can take one away. All that
 * can fail is done first, in kv_seq_reserve; appending, moving and forgetting allocate nothing. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv/kv_impl.h"

/* ---- life ------------------------------------------------------------------------------------------ */

enum err_code kv_seq_create(struct kv_seq **out, struct kv_cache *kv, int32_t n_ctx, struct err *e)
{
    struct kv_seq *s = calloc(1, sizeof *s);
    size_t n_pages = (size_t)kv_pages(n_ctx);
    if (s) {
        s->kv = kv;
        s->n_ctx = n_ctx;
        s->max_pages = (int32_t)n_pages;
        s->rough_at = KV_NOT_ROUGH;
        s->table = calloc((size_t)kv->n_layers * n_pages, sizeof *s->table);
        s->tokens = calloc((size_t)n_ctx, sizeof *s->tokens);
        s->path.blocks = calloc(n_pages, sizeof *s->path.blocks);
        s->path.masks = calloc(n_pages, sizeof *s->path.masks);
        s->next = calloc(n_pages, sizeof *s->next);
        s->next_masks = calloc(n_pages, sizeof *s->next_masks);
        kv_path_add(kv, &s->path);
    }
    if (!s || !s->table || !s->tokens || !s->path.blocks || !s->path.masks || !s->next || !s->next_masks) {
        kv_seq_destroy(s);
        return err_set(e, ERR_NOMEM, "no memory for the page table of %d tokens", n_ctx);
    }
    *out = s;
    return ERR_OK;
}

/* Forgets tokens of a block from slot on, but for those somebody else wants. */
static void cut_block(struct kv_seq *s, struct kv_block *b, int32_t slot)
{
    int32_t wanted = kv_block_wanted(s->kv, b, &s->path);
    wanted = wanted > slot ? wanted : slot;
    if (b->n_tokens > wanted) {
        b->n_tokens = wanted;
        kv_block_trim(s->kv, b);
    }
}

static void drop_blocks(struct kv_seq *s, int32_t n_keep, bool wanted)
{
    for (int32_t j = s->path.n_pages - 1; j >= n_keep; j--) {
        if (!wanted)
            cut_block(s, s->path.blocks[j], 0);
        kv_block_drop_path(s->kv, s->path.blocks[j], &s->path, s->path.masks[j], wanted);
        s->path.blocks[j] = NULL;
        s->path.masks[j] = 0;
    }
    if (s->path.n_pages > n_keep)
        s->path.n_pages = n_keep;
}

void kv_seq_destroy(struct kv_seq *s)
{
    if (!s)
        return;
    kv_seq_anchor(s);
    kv_tree_touch(s->kv, &s->path);
    drop_blocks(s, 0, true);
    kv_path_remove(s->kv, &s->path);
    kv_tree_evict(s->kv);
    free(s->table);
    free(s->tokens);
    free(s->path.blocks);
    free(s->path.masks);
    free(s->next);
    free(s->next_masks);
    free(s);
}

const struct kv_page *kv_seq_table(const struct kv_seq *s, int32_t *stride)
{
    *stride = s->max_pages;
    return s->table;
}

int32_t kv_seq_held(const struct kv_seq *s)
{
    return s->path.n_tokens;
}

const int32_t *kv_seq_tokens(const struct kv_seq *s)
{
    return s->tokens;
}

bool kv_seq_rough(const struct kv_seq *s)
{
    return s->rough_at != KV_NOT_ROUGH;
}

/* ---- what it holds ---------------------------------------------------------------------------------- */

static struct kv_want own_want(const struct kv_seq *s)
{
    return kv_want_seq(s->path.n_tokens, s->n_reserved, s->rough_at);
}

static int32_t own_low(const struct kv_seq *s)
{
    struct kv_want want = own_want(s);
    return kv_want_low(&s->kv->shape, &want);
}

static void *in_buf(const struct kv_block *b, uint16_t mask, const struct kv_slot *slot, int form)
{
    int k = 2 * slot->group + form;
    return mask >> k & 1 ? (char *)b->buf[k] + slot->offset[form] : NULL;
}

static void show_page(struct kv_seq *s, int32_t page)
{
    const struct kv_block *b = page < s->path.n_pages ? s->path.blocks[page] : NULL;
    uint16_t mask = b ? s->path.masks[page] : 0;
    for (int32_t i = 0; i < s->kv->n_layers; i++)
        s->table[(int64_t)i * s->max_pages + page] = (struct kv_page){
            .open = in_buf(b, mask, &s->kv->slots[i], KV_OPEN),
            .sealed = in_buf(b, mask, &s->kv->slots[i], KV_SEALED),
        };
}

/* Holds what is wanted and there, from this page on. Older forms than it ever held are not always there: what
 * a match found need not be more than resuming takes. */
static void refresh(struct kv_seq *s, int32_t from)
{
    struct kv_want want = own_want(s);
    for (int32_t j = from > 0 ? from : 0; j < s->path.n_pages; j++) {
        struct kv_block *b = s->path.blocks[j];
        uint16_t before = s->path.masks[j];
        uint16_t mask = kv_mask(&s->kv->shape, &want, j) & kv_block_present(b);
        if (mask == before)
            continue;
        kv_block_hold(s->kv, b, mask & (uint16_t)~before);
        kv_block_unhold(s->kv, b, before & (uint16_t)~mask);
        s->path.masks[j] = mask;
        show_page(s, j);
    }
}

/* Lets the sequence hold exactly the place's tokens. wanted: what it leaves may stay for the budget's sake. */
static void move_to(struct kv_seq *s, struct kv_place place, bool wanted)
{
    struct kv_path *path = &s->path;
    int32_t low = own_low(s), n_pages = kv_pages(place.n), first = n_pages, n_before = path->n_pages;
    for (struct kv_block *b = place.block; n_pages > 0 && b->page >= 0; b = b->parent) {
        if (b->page < n_before && path->blocks[b->page] == b)
            break;
        first = b->page;
        s->next[first] = b;
    }
    struct kv_want want = kv_want_seq(place.n, place.n, place.rough_at);
    for (int32_t j = first; j < n_pages; j++) {    /* before anything is let go: it may be what keeps this */
        kv_block_add_path(s->kv, s->next[j]);
        s->next_masks[j] = kv_mask(&s->kv->shape, &want, j) & kv_block_present(s->next[j]);
        kv_block_hold(s->kv, s->next[j], s->next_masks[j]);
    }
    drop_blocks(s, first, wanted);
    for (int32_t j = first; j < n_pages; j++) {
        path->blocks[j] = s->next[j];
        path->masks[j] = s->next_masks[j];
    }
    path->n_pages = n_pages;
    path->n_tokens = s->n_reserved = place.n;
    s->rough_at = place.rough_at;
    for (int32_t j = first; j < n_pages || j < n_before; j++)
        show_page(s, j);
    refresh(s, own_low(s) < low ? own_low(s) : low);
}

/* ---- matching and forgetting ------------------------------------------------------------------------ */

int32_t kv_seq_find(const struct kv_seq *s, const int32_t *tokens, int32_t n_tokens)
{
    return kv_tree_search(s, tokens, n_tokens).n;
}

int32_t kv_seq_match(struct kv_seq *s, const int32_t *tokens, int32_t n_tokens)
{
    struct kv_place place = kv_tree_search(s, tokens, n_tokens);
    kv_seq_anchor(s);
    kv_tree_touch(s->kv, &s->path);
    move_to(s, place, true);
    memmove(s->tokens, tokens, (size_t)place.n * sizeof *tokens);
    kv_tree_touch(s->kv, &s->path);
    kv_tree_evict(s->kv);
    return place.n;
}

int32_t kv_seq_truncate(struct kv_seq *s, int32_t n_keep)
{
    struct kv_path *path = &s->path;
    struct kv_place place = { .rough_at = KV_NOT_ROUGH };
    if (n_keep > path->n_tokens)
        n_keep = path->n_tokens;
    if (n_keep > 0) {
        struct kv_block *b = path->blocks[(n_keep - 1) / KV_PAGE];
        place = (struct kv_place){ b, n_keep, b->linked ? KV_NOT_ROUGH : kv_rough_within(s, n_keep) };
        if (!kv_tree_resumable(s->kv, b, n_keep, place.rough_at))
            place = kv_tree_search(s, s->tokens, n_keep);
    }
    move_to(s, place, false);
    if (place.n % KV_PAGE)
        cut_block(s, path->blocks[place.n / KV_PAGE], place.n % KV_PAGE);
    kv_tree_evict(s->kv);
    return place.n;
}

void kv_seq_anchor(struct kv_seq *s)
{
    int32_t n = s->path.n_tokens;
    if (n == 0 || kv_seq_rough(s))
        return;
    s->kv->use++;
    kv_tree_anchor_take(s->kv, malloc(sizeof(struct kv_anchor)), s->path.blocks[(n - 1) / KV_PAGE], n);
}

/* ---- going on --------------------------------------------------------------------------------------- */

/* Whether the rest of the last block may be written to: nobody reads there, nobody else writes there. */
static bool may_write(const struct kv_seq *s, const struct kv_block *b, int32_t slot)
{
    return (!b->writer || b->writer == &s->path) && kv_block_wanted(s->kv, b, &s->path) <= slot;
}

/* A block of the first tokens of another. False with an error. */
static bool copy_tail(struct kv_seq *s, struct kv_block *to, const struct kv_block *from, int32_t slot, struct err *e)
{
    memcpy(to->tokens, from->tokens, (size_t)slot * sizeof *to->tokens);
    to->n_tokens = slot;
    for (int g = 0; g < KV_GROUPS; g++)
        if (to->buf[2 * g + KV_OPEN] &&
            kv_memory_copy(s->kv->shape.groups[g].memory, to->buf[2 * g + KV_OPEN], from->buf[2 * g + KV_OPEN],
                           s->kv->shape.groups[g].bytes[KV_OPEN], e) != ERR_OK)
            return false;
    return true;
}

enum err_code kv_seq_reserve(struct kv_seq *s, int32_t n_tokens, struct err *e)
{
    struct kv_path *path = &s->path;
    struct kv_cache *kv = s->kv;
    assert(n_tokens <= s->n_ctx);
    if (n_tokens <= path->n_tokens)
        return ERR_OK;
    int32_t slot = path->n_tokens % KV_PAGE, tail = path->n_tokens / KV_PAGE, n_pages = kv_pages(n_tokens);
    struct kv_block *old = slot ? path->blocks[tail] : NULL;
    bool copies = old && !may_write(s, old, slot);
    struct kv_want want = kv_want_seq(path->n_tokens, n_tokens, s->rough_at);
    struct err why;
    bool ok = true;
    int32_t made = copies ? tail : path->n_pages, begin = made;
    for (int32_t j = tail; ok && j < begin; j++)
        ok = kv_block_fill(kv, path->blocks[j], kv_mask(&kv->shape, &want, j), &why);
    for (; ok && made < n_pages; made += ok)
        ok = (s->next[made] = kv_block_new(kv, made, kv_mask(&kv->shape, &want, made), &why)) != NULL;
    ok = ok && kv_block_populate(kv, &why) && (!copies || copy_tail(s, s->next[tail], old, slot, &why));
    if (!ok) {
        for (int32_t j = begin; j < made; j++)
            kv_block_free(kv, s->next[j]);
        for (int32_t j = tail; j < begin; j++)
            kv_block_trim(kv, path->blocks[j]);
        return err_set(e, why.code, "KV cache of %d tokens: %s", n_tokens, why.text);
    }
    if (copies) {
        if (old->linked)
            kv_block_link(kv, s->next[tail], old->parent);
        drop_blocks(s, tail, true);
    }
    for (int32_t j = path->n_pages; j < n_pages; j++) {
        path->blocks[j] = s->next[j];
        path->blocks[j]->writer = path;
        kv_block_add_path(kv, path->blocks[j]);
    }
    if (path->n_pages < n_pages)
        path->n_pages = n_pages;
    if (old && !copies) {
        old->writer = path;
        old->n_tokens = slot;
    }
    s->n_reserved = n_tokens;
    refresh(s, tail);
    if (old && !copies)
        kv_block_trim(kv, old);    /* a sealed form of what it was; not one to come, which is held now */
    kv_tree_evict(kv);
    return ERR_OK;
}

/* Two sequences that evaluated the same: one block is enough. */
static void merge_twin(struct kv_seq *s, int32_t page)
{
    struct kv_path *path = &s->path;
    struct kv_block *b = path->blocks[page];
    if (b->n_paths > 1 || b->n_anchors > 0 || b->child)
        return;
    struct kv_block *twin = kv_block_twin(b->parent, b, 0);
    if (!twin)
        return;
    kv_block_add_path(s->kv, twin);
    kv_block_give(s->kv, b, twin, path->masks[page]);
    kv_block_hold(s->kv, twin, path->masks[page]);
    path->blocks[page] = twin;
    kv_block_drop_path(s->kv, b, path, path->masks[page] & kv_block_present(b), false);
    show_page(s, page);
}

void kv_seq_append(struct kv_seq *s, const int32_t *tokens, int32_t n_tokens)
{
    struct kv_path *path = &s->path;
    int32_t low = own_low(s), before = path->n_tokens;
    assert(before + n_tokens <= s->n_reserved);
    memcpy(s->tokens + before, tokens, (size_t)n_tokens * sizeof *tokens);
    path->n_tokens += n_tokens;
    for (int32_t at = before, end; at < path->n_tokens; at = end) {
        int32_t page = at / KV_PAGE, slot = at % KV_PAGE;
        struct kv_block *b = path->blocks[page], *parent = page > 0 ? path->blocks[page - 1] : &s->kv->root;
        end = (page + 1) * KV_PAGE < path->n_tokens ? (page + 1) * KV_PAGE : path->n_tokens;
        memcpy(b->tokens + slot, s->tokens + at, (size_t)(end - at) * sizeof *tokens);
        b->n_tokens = end - page * KV_PAGE;
        b->parent = parent;
        if (!b->linked && !kv_seq_rough(s))
            kv_block_link(s->kv, b, parent);
        if (b->n_tokens == KV_PAGE) {
            b->writer = NULL;
            if (b->linked)
                merge_twin(s, page);
        }
    }
    if ((path->n_tokens - 1) / KV_PAGE != (before > 0 ? (before - 1) / KV_PAGE : 0))
        refresh(s, low);
    kv_tree_evict(s->kv);
}
