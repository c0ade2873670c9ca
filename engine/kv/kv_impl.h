/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_IMPL_H
#define QUIP_ENGINE_KV_KV_IMPL_H

#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_slab.h"

/* The inside of the cache, for the files of this folder.
 *
 *     root -- block 0 -- block 1 -- block 2          a path: a sequence's, or an image's
 *                 |          \----- block 2' (17)    still growing, or where a path ended
 *                 \----- block 1''                   kept by an anchor, or by the budget
 *
 * Layers are of four kinds: with a window or without, with a sealed form or without. Those of a kind whose pages lie
 * in the same memory are a group. A block has one buffer per group and form, in which the pages of the group's layers
 * stand one after the other; so what windows leave behind, and open forms that are sealed, can be freed apart. Who
 * needs which buffers follows from the kind, so both memories have those of a kind together.
 *
 * The BODY of a page is the form in which it stays for good: sealed, but open for the first page and where
 * layers do not seal. Layers without a window keep the body as long as the block is there. Any other buffer
 * is there while a path HOLDS it or an anchor PINS it. Bytes of buffers that paths hold are used, all others
 * are cached, and only those the budget limits.
 *
 * Who needs which buffers follows from positions alone (kv_mask): a sequence with its last token in page L
 * holds open forms of the pages L-2, L-1, L and the first, and of window layers what rows from page L-1 on
 * reach, so that it can be rewound into the pages L-1 and L. To resume at n takes less, and that is what an
 * anchor pins and an image has. */
enum { KV_OPEN, KV_SEALED };
enum { KV_KINDS = 4, KV_GROUPS = KV_MEMORIES * KV_KINDS };    /* group of a kind in memory m: m * KV_KINDS + kind */
enum { KV_BUFS = 2 * KV_GROUPS };                             /* buffer of group g in form f: 2 * g + f */
enum { KV_NOT_ROUGH = INT32_MAX };
enum { KV_MAX_REDO = 2 * KV_PAGE };                  /* tokens evaluated again rather than read sealed */

struct kv_group {
    bool seals;
    int32_t window;      /* the widest of its kind, in both memories; 0: none has one */
    size_t bytes[2];     /* by form; [KV_OPEN] is 0 in a group without layers */
    struct kv_memory *memory;
};

struct kv_shape {
    struct kv_group groups[KV_GROUPS];
};

/* What buffer k takes: whole pages of the system, so that bytes counted are bytes resident; in any memory, so that an
 * estimate needs not know which. */
static inline size_t kv_cost(const struct kv_shape *shape, int k)
{
    return (shape->groups[k / 2].bytes[k % 2] + 4095) & ~(size_t)4095;
}

struct kv_block;

/* A place to resume after tokens [0, n). */
struct kv_anchor {
    struct kv_anchor *older, *newer;    /* all of the cache, by last use */
    struct kv_anchor *next;             /* of the block */
    struct kv_block *block;             /* of token n - 1 */
    int32_t n;
    uint64_t last_use;
};

/* What holds blocks: a sequence or an image. */
struct kv_path {
    struct kv_path *prev, *next;
    struct kv_block **blocks;
    uint16_t *masks;         /* buffers held, a bit each */
    int32_t n_pages;        /* of them, blocks taken for tokens to come */
    int32_t n_tokens;
};

struct kv_block {
    struct kv_block *parent;
    struct kv_block *child, *next, *prev;     /* the tree; a block not linked is in nobody's list */
    struct kv_block *older, *newer;           /* leaves that only the budget keeps, by last use */
    struct kv_anchor *anchors;                /* of places in this block */
    const struct kv_path *writer;             /* who may write behind the tokens of a growing block */
    int32_t page;
    int32_t n_tokens;
    int32_t n_paths;
    int32_t n_anchors;                        /* here or further down */
    bool linked, spare;                       /* spare: in the list of leaves */
    uint64_t last_use;
    void *buf[KV_BUFS];
    int32_t n_holds[KV_BUFS], n_pins[KV_BUFS];
    int32_t n_open_held, n_sealed_held;       /* buffers with n_holds > 0, by form */
    int32_t tokens[KV_PAGE];
};

struct kv_cache {
    struct kv_layer *layers;
    struct kv_slot {
        int32_t group;
        size_t offset[2];
    } *slots;                                 /* where each layer stands in its group's buffers */
    int32_t n_layers;
    struct kv_shape shape;
    bool hosted;                              /* all pages lie in the host's memory */
    struct kv_slab slabs[KV_BUFS];            /* where buffers are taken from */
    struct kv_block root;                     /* page -1, of no tokens */
    struct kv_path *paths;
    struct kv_anchor *oldest_anchor, *newest_anchor;
    struct kv_block *oldest_leaf, *newest_leaf;
    uint64_t use, used_bytes, cached_bytes, budget_bytes, device_bytes;
    int32_t n_open, n_sealed, n_shared, n_cached;
};

struct kv_seq {
    struct kv_path path;
    struct kv_cache *kv;
    struct kv_page *table;       /* [n_layers][max_pages] */
    struct kv_block **next;      /* [max_pages], a path in the making */
    uint16_t *next_masks;
    int32_t *tokens;             /* [n_ctx] */
    int32_t n_ctx, max_pages;
    int32_t n_reserved;          /* tokens there is room for */
    int32_t rough_at;            /* pages before this token are read sealed; KV_NOT_ROUGH */
};

/* For a rough sequence cut to n: before its rough place all that exactness takes may be there, but what it is
 * taken from is rough itself. The first page is always open, so nothing is read otherwise then. */
static inline int32_t kv_rough_within(const struct kv_seq *s, int32_t n)
{
    return n >= s->rough_at ? s->rough_at : KV_PAGE;
}

/* ---- which buffers: kv_mask.c ---------------------------------------------------------------------- */

struct kv_want {
    int32_t first_row;    /* rows from here on will read: what windows reach from there */
    int32_t open_from;    /* open forms from this page on */
    int32_t n_full;       /* sealed forms of pages that end at or before this token */
};

void kv_shape_init(struct kv_shape *shape, const struct kv_layer *layers, int32_t n_layers);
/* Of layer i. */
int32_t kv_group_of(const struct kv_layer *layers, int32_t i);
/* rough_at: KV_NOT_ROUGH, or where open forms end to be there. */
struct kv_want kv_want_resume(int32_t n, int32_t rough_at);
struct kv_want kv_want_seq(int32_t n, int32_t n_reserved, int32_t rough_at);
uint16_t kv_mask(const struct kv_shape *shape, const struct kv_want *want, int32_t page);
/* Before this page (the first apart) only bodies of layers without a window are wanted. */
int32_t kv_want_low(const struct kv_shape *shape, const struct kv_want *want);
static inline int kv_body(const struct kv_group *group, int32_t page)
{
    return group->seals && page > 0 ? KV_SEALED : KV_OPEN;
}
static inline int32_t kv_pages(int32_t n_tokens)
{
    return n_tokens / KV_PAGE + (n_tokens % KV_PAGE != 0);
}

/* ---- blocks: kv_block.c ---------------------------------------------------------------------------- */

/* Not linked, held by nobody; NULL with an error. Buffers of mask are there, to be populated. */
struct kv_block *kv_block_new(struct kv_cache *kv, int32_t page, uint16_t mask, struct err *e);
void kv_block_free(struct kv_cache *kv, struct kv_block *b);
/* Makes the buffers of mask that are not there; false with an error (then kv_block_trim). */
bool kv_block_fill(struct kv_cache *kv, struct kv_block *b, uint16_t mask, struct err *e);
/* After all of kv_block_new and kv_block_fill that a step takes: populates their buffers, many at once because
 * that is what makes huge pages cheap. False with an error: then as if the last of those calls had failed. */
bool kv_block_populate(struct kv_cache *kv, struct err *e);
uint16_t kv_block_present(const struct kv_block *b);
/* Frees buffers that nobody needs. */
void kv_block_trim(struct kv_cache *kv, struct kv_block *b);
void kv_block_hold(struct kv_cache *kv, struct kv_block *b, uint16_t mask);
void kv_block_unhold(struct kv_cache *kv, struct kv_block *b, uint16_t mask);
void kv_block_pin(struct kv_block *b, uint16_t mask);
void kv_block_unpin(struct kv_cache *kv, struct kv_block *b, uint16_t mask);
void kv_block_link(struct kv_cache *kv, struct kv_block *b, struct kv_block *parent);
void kv_block_add_path(struct kv_cache *kv, struct kv_block *b);
/* One path less; with what it held. wanted: false when nothing is kept for the budget's sake. */
void kv_block_drop_path(struct kv_cache *kv, struct kv_block *b, const struct kv_path *path, uint16_t mask,
                        bool wanted);
void kv_block_count_anchor(struct kv_cache *kv, struct kv_block *b, int32_t add);    /* and its parents */
/* After a change of who holds it: frees it, and parents, when it is of no use, else sees that it stands in the
 * list of leaves or not. */
void kv_block_settle(struct kv_cache *kv, struct kv_block *b, bool wanted);
/* Tokens of b that somebody but path wants to stay as they are. */
int32_t kv_block_wanted(const struct kv_cache *kv, const struct kv_block *b, const struct kv_path *path);
/* A linked block that has the tokens of b under the same parent, and could stand for it with the buffers of
 * mask; NULL. */
struct kv_block *kv_block_twin(struct kv_block *parent, const struct kv_block *b, uint16_t mask);
/* Gives twin the buffers of mask that it lacks; b, held by path alone, must not be used afterwards. */
void kv_block_give(struct kv_cache *kv, struct kv_block *b, struct kv_block *twin, uint16_t mask);

/* ---- the tree: kv_tree.c --------------------------------------------------------------------------- */

struct kv_place {
    struct kv_block *block;    /* of token n - 1 */
    int32_t n;
    int32_t rough_at;
};

/* The best place for s to go on with these tokens. */
struct kv_place kv_tree_search(const struct kv_seq *s, const int32_t *tokens, int32_t n_tokens);
/* Whether buffers are there for resuming at n, block being that of token n - 1. */
bool kv_tree_resumable(const struct kv_cache *kv, const struct kv_block *block, int32_t n, int32_t rough_at);
/* kv_tree_anchor takes the anchor (malloc), or frees it when the place has one already. */
void kv_tree_anchor_take(struct kv_cache *kv, struct kv_anchor *fresh, struct kv_block *block, int32_t n);
/* Path and its last anchors were used now. */
void kv_tree_touch(struct kv_cache *kv, const struct kv_path *path);
void kv_tree_evict(struct kv_cache *kv);

void kv_path_add(struct kv_cache *kv, struct kv_path *path);
void kv_path_remove(struct kv_cache *kv, struct kv_path *path);

#endif
