/* SPDX-License-Identifier: MIT */
/* Images. An image holds blocks as a sequence does: those of the sequence it was taken of, or, made for
 * filling, blocks of its own that no tree has yet. The block a sequence still writes to is copied.
 *
 * Pages in a device's memory are for the engine's thread alone, but pieces are read and filled by others: then all
 * of them are copies on the host. What an image is taken of is read at once, and it holds no block; what was filled is
 * written to the image's blocks when it is committed, before any of them can be found. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv/kv_impl.h"

struct held {
    struct kv_image image;
    struct kv_path path;
    struct kv_anchor *anchor;    /* of an image to be committed: committing cannot fail */
    int32_t *tokens;
    char *copies;                /* what all pieces are in; NULL: they are the pages themselves */
    size_t n_copied;             /* bytes of it that are in a piece */
    bool own;
};

static const struct err no_memory = { .code = ERR_NOMEM, .text = "no memory" };

void kv_image_drop(struct kv_image *image)
{
    if (!image)
        return;
    struct held *h = image->held;
    for (int32_t j = h->path.n_pages - 1; j >= 0; j--)
        kv_block_drop_path(image->kv, h->path.blocks[j], &h->path, h->path.masks[j], true);
    kv_path_remove(image->kv, &h->path);
    kv_tree_evict(image->kv);
    free(h->anchor);
    free(h->tokens);
    free(h->copies);
    free(image->pieces);
    free(h->path.blocks);
    free(h->path.masks);
    free(h);
}

/* Of a block's pieces, in the order of kinds and forms; buffers of a kind and form in both memories are one piece, for
 * a file is the same wherever pages lie. */
enum { N_PIECES = 2 * KV_KINDS };

static size_t piece_bytes(const struct kv_cache *kv, uint16_t mask, int i)
{
    size_t n_bytes = 0;
    for (int k = i; k < KV_BUFS; k += N_PIECES)
        n_bytes += mask >> k & 1 ? kv->shape.groups[k / 2].bytes[k % 2] : 0;
    return n_bytes;
}

/* Without blocks yet. */
static struct held *create(struct kv_cache *kv, const int32_t *tokens, int32_t n_tokens)
{
    struct kv_want want = kv_want_resume(n_tokens, KV_NOT_ROUGH);
    struct held *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    size_t n_pages = (size_t)kv_pages(n_tokens);
    size_t n_bytes = 0;
    int32_t n_pieces = 0;
    kv_path_add(kv, &h->path);
    h->path.blocks = calloc(n_pages, sizeof *h->path.blocks);
    h->path.masks = calloc(n_pages, sizeof *h->path.masks);
    h->tokens = calloc((size_t)n_tokens, sizeof *h->tokens);
    h->path.n_tokens = n_tokens;
    h->image = (struct kv_image){ .n_tokens = n_tokens, .tokens = h->tokens, .kv = kv, .held = h };
    if (!h->path.blocks || !h->path.masks || !h->tokens) {
        kv_image_drop(&h->image);
        return NULL;
    }
    memcpy(h->tokens, tokens, (size_t)n_tokens * sizeof *tokens);
    for (size_t j = 0; j < n_pages; j++) {
        h->path.masks[j] = kv_mask(&kv->shape, &want, (int32_t)j);
        for (int i = 0; i < N_PIECES; i++) {
            n_bytes += piece_bytes(kv, h->path.masks[j], i);
            n_pieces += piece_bytes(kv, h->path.masks[j], i) > 0;
        }
    }
    h->image.pieces = calloc((size_t)n_pieces, sizeof *h->image.pieces);
    if (!kv->hosted)
        h->copies = malloc(n_bytes);
    if (!h->image.pieces || (!kv->hosted && !h->copies)) {
        kv_image_drop(&h->image);
        return NULL;
    }
    return h;
}

/* The next piece, the i-th of the page's block b: a copy of buffers, or the one buffer itself. */
static const struct kv_piece *put_piece(struct held *h, const struct kv_block *b, int i)
{
    struct kv_piece *p = &h->image.pieces[h->image.n_pieces++];
    *p = (struct kv_piece){ b->buf[i], piece_bytes(h->image.kv, h->path.masks[b->page], i) };
    if (h->copies) {
        p->bytes = h->copies + h->n_copied;
        h->n_copied += p->n_bytes;
    }
    return p;
}

static void put_block(struct held *h, struct kv_block *b)
{
    int32_t page = h->path.n_pages++;
    h->path.blocks[page] = b;
    kv_block_add_path(h->image.kv, b);
    kv_block_hold(h->image.kv, b, h->path.masks[page]);
    for (int i = 0; i < N_PIECES; i++)
        if (piece_bytes(h->image.kv, h->path.masks[page], i) > 0)
            put_piece(h, b, i);
}

/* A block of the image's own, with the tokens of its page. */
static struct kv_block *put_new(struct held *h, struct err *e)
{
    int32_t page = h->path.n_pages, begin = page * KV_PAGE, left = h->path.n_tokens - begin;
    struct kv_block *b = kv_block_new(h->image.kv, page, h->path.masks[page], e);
    if (!b)
        return NULL;
    b->n_tokens = left < KV_PAGE ? left : KV_PAGE;
    memcpy(b->tokens, h->tokens + begin, (size_t)b->n_tokens * sizeof *b->tokens);
    put_block(h, b);
    return b;
}

/* Slots from n on in an open page: what they hold is nobody's business, and a file of the same tokens is to
 * have the same bytes. */
static void clear_slots(char *open, const struct kv_layer *l, int32_t n)
{
    size_t elem = l->k == KV_F32 ? 4 : 2, d = (size_t)l->d_head, n_columns = (size_t)l->n_head * d;
    size_t head_bytes = d * KV_PAGE * elem, used = (size_t)n;
    for (size_t i = 0; i < n_columns; i++)
        memset(open + (i * KV_PAGE + used) * elem, 0, (KV_PAGE - used) * elem);
    for (int32_t head = l->n_head; head < 2 * l->n_head; head++)
        memset(open + (size_t)head * head_bytes + used * d * elem, 0, (KV_PAGE - used) * d * elem);
}

/* Buffers of a block of n tokens. */
static void clear_behind(const struct kv_cache *kv, void *const bufs[KV_BUFS], int32_t n)
{
    for (int32_t i = 0; i < kv->n_layers; i++) {
        char *open = bufs[2 * kv->slots[i].group + KV_OPEN];
        if (open)
            clear_slots(open + kv->slots[i].offset[KV_OPEN], &kv->layers[i], n);
    }
}

/* In the host's memory: what is complete stays as it is, so holding it is enough. */
static bool hold_pages(struct held *h, const struct kv_seq *s, struct err *e)
{
    struct kv_cache *kv = h->image.kv;
    int32_t n = s->path.n_tokens;
    for (int32_t j = 0; j < n / KV_PAGE; j++)
        put_block(h, s->path.blocks[j]);
    if (n % KV_PAGE == 0)
        return true;
    const struct kv_block *tail = s->path.blocks[n / KV_PAGE];
    struct kv_block *b = put_new(h, e);
    if (!b || !kv_block_populate(kv, e))
        return false;
    for (int k = 0; k < KV_BUFS; k++)
        if (b->buf[k])
            memcpy(b->buf[k], tail->buf[k], kv->shape.groups[k / 2].bytes[k % 2]);
    clear_behind(kv, b->buf, b->n_tokens);
    return true;
}

/* The buffers of a piece, from the block or to it. bufs: where in the piece each of them stands. */
static enum err_code move_piece(const struct held *h, const struct kv_piece *p, const struct kv_block *b, int i,
                                bool read, void *bufs[KV_BUFS], struct err *e)
{
    const struct kv_cache *kv = h->image.kv;
    char *at = p->bytes;
    enum err_code rc = ERR_OK;
    for (int k = i; k < KV_BUFS && rc == ERR_OK; k += N_PIECES) {
        const struct kv_group *group = &kv->shape.groups[k / 2];
        if (!(h->path.masks[b->page] >> k & 1))
            continue;
        bufs[k] = at;
        rc = read ? kv_memory_read(group->memory, at, b->buf[k], group->bytes[k % 2], e)
                  : kv_memory_write(group->memory, b->buf[k], at, group->bytes[k % 2], e);
        at += group->bytes[k % 2];
    }
    return rc;
}

static bool copy_pages(struct held *h, const struct kv_seq *s, struct err *e)
{
    struct kv_cache *kv = h->image.kv;
    int32_t n = s->path.n_tokens;
    h->path.n_tokens = 0;    /* as a path it holds nothing */
    for (int32_t j = 0; j < kv_pages(n); j++) {
        const struct kv_block *b = s->path.blocks[j];
        void *bufs[KV_BUFS] = { NULL };
        for (int i = 0; i < N_PIECES; i++)
            if (piece_bytes(kv, h->path.masks[j], i) > 0 &&
                move_piece(h, put_piece(h, b, i), b, i, true, bufs, e) != ERR_OK)
                return false;
        if (j == n / KV_PAGE)
            clear_behind(kv, bufs, n % KV_PAGE);
    }
    return true;
}

/* What was filled, to its blocks. */
static enum err_code write_pages(const struct held *h, struct err *e)
{
    const struct kv_piece *p = h->image.pieces;
    enum err_code rc = ERR_OK;
    void *ignored[KV_BUFS];
    for (int32_t j = 0; j < h->path.n_pages; j++)
        for (int i = 0; i < N_PIECES && rc == ERR_OK; i++)
            if (piece_bytes(h->image.kv, h->path.masks[j], i) > 0)
                rc = move_piece(h, p++, h->path.blocks[j], i, false, ignored, e);
    return rc;
}

enum err_code kv_image_of(struct kv_image **out, struct kv_seq *s, struct err *e)
{
    struct kv_cache *kv = s->kv;
    int32_t n = s->path.n_tokens;
    if (n == 0)
        return err_set(e, ERR_UNSUPPORTED, "image of a sequence: it holds 0 tokens, at least 1 wanted");
    if (kv_seq_rough(s))
        return err_set(e, ERR_UNSUPPORTED, "image of a sequence: evaluated over sealed pages from token %d on, "
                       "others must not go on from it", s->rough_at);
    struct err why = no_memory;
    struct held *h = create(kv, s->tokens, n);
    bool ok = h && (kv->hosted ? hold_pages(h, s, &why) : copy_pages(h, s, &why));
    if (!ok) {
        kv_image_drop(h ? &h->image : NULL);
        return err_set(e, why.code, "image of %d tokens: %s", n, why.text);
    }
    *out = &h->image;
    return ERR_OK;
}

enum err_code kv_image_new(struct kv_image **out, struct kv_cache *kv, const int32_t *tokens, int32_t n_tokens,
                           struct err *e)
{
    assert(n_tokens > 0);
    struct err why = no_memory;
    struct held *h = create(kv, tokens, n_tokens);
    bool ok = h != NULL;
    if (ok) {
        h->own = true;
        h->anchor = malloc(sizeof *h->anchor);
        ok = h->anchor != NULL;
    }
    while (ok && h->path.n_pages < kv_pages(n_tokens))
        ok = put_new(h, &why) != NULL;
    if (!ok || !kv_block_populate(kv, &why)) {
        kv_image_drop(h ? &h->image : NULL);
        return err_set(e, why.code, "image of %d tokens: %s", n_tokens, why.text);
    }
    *out = &h->image;
    return ERR_OK;
}

enum err_code kv_image_commit_take(struct kv_image *image, struct err *e)
{
    struct held *h = image->held;
    struct kv_cache *kv = image->kv;
    struct kv_block *parent = &kv->root;
    assert(h->own);
    enum err_code rc = h->copies ? write_pages(h, e) : ERR_OK;
    if (rc != ERR_OK) {
        kv_image_drop(image);
        return rc;
    }
    for (int32_t j = 0; j < h->path.n_pages; j++) {
        struct kv_block *b = h->path.blocks[j];
        uint16_t mask = h->path.masks[j];
        struct kv_block *twin = kv_block_twin(parent, b, mask);
        if (twin) {
            kv_block_add_path(kv, twin);
            kv_block_give(kv, b, twin, mask);
            kv_block_hold(kv, twin, mask);
            h->path.blocks[j] = twin;
            kv_block_drop_path(kv, b, &h->path, mask & kv_block_present(b), false);
        } else
            kv_block_link(kv, b, parent);
        parent = h->path.blocks[j];
    }
    kv_tree_touch(kv, &h->path);
    kv_tree_anchor_take(kv, h->anchor, parent, image->n_tokens);
    h->anchor = NULL;
    kv_image_drop(image);
    return ERR_OK;
}
