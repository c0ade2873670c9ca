/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_CACHE_H
#define QUIP_ENGINE_KV_KV_CACHE_H

#include "engine/backend/kv_memory.h"
#include "engine/backend/kv_page.h"
#include "engine/base/err.h"

/* Keys and values of token sequences, shared between all sequences of a model.
 *
 * A BLOCK is KV_PAGE tokens in all layers: pages in the open form (f16) while rows can still read or write
 * them, in the sealed form from then on (kv_page.h). Blocks form a tree keyed by tokens; a sequence is a path
 * from its root, and blocks of common prefixes are shared. A block that somebody else holds is copied before
 * it is written to.
 *
 * Resuming. A sequence can go on after its first n tokens exactly as if it had just evaluated them when the
 * open forms are there of the first page, of the page of token n (if n is inside a page) and of the page
 * before, and in window layers all pages that a row at n reaches. Sequences keep that for their own end, and
 * for any n within the last two pages. An ANCHOR keeps it for a place others will want to go on from: the end
 * of a system prompt, of a prompt, of an answer. Anchors and blocks that no sequence holds are what the host
 * budget is for; the one unused longest goes first.
 * A rewind to a place that is not kept goes back to the latest place before it that is, when that costs no
 * more than two pages of tokens to evaluate again; else it goes back to the beginning of the page before n's
 * and reads what lies before that in the sealed form: then tokens evaluated again are not bit for bit what they
 * were, and the blocks they make are this sequence's alone: no other finds them, no file gets them
 * (kv_seq_rough).
 *
 * Thread  one for all calls on a cache and its sequences, but for the bytes of an image. */
struct kv_cache;
struct kv_seq;

/* layers is copied. The memories that their pages lie in outlive the cache: then pages, and so tables of sequences, are
 * for the backend that offers them. A device that fails fails the calls that take memory or copy a page, and nothing
 * else; whether what is held can still be read is the backend's to say.
 * Errors: ERR_NOMEM */
enum err_code kv_cache_create(struct kv_cache **out, const struct kv_layer *layers, int32_t n_layers,
                              uint64_t budget_bytes, struct err *e);
void kv_cache_destroy(struct kv_cache *kv);    /* after its sequences and images; takes NULL */
const struct kv_layer *kv_cache_layers(const struct kv_cache *kv, int32_t *n_layers);
void kv_cache_set_budget(struct kv_cache *kv, uint64_t budget_bytes);

/* An image counts as a sequence while it lives, but one that was taken of a sequence in a device's memory does not: it
 * is on the host. Bytes are whole pages of the system; of a device they are the same numbers, and its memory is taken
 * in regions (kv_slab.h), whose remainder is not counted: less than one for each size of buffer, up to 8 of them, while
 * a cache grows, and more where many pages of a size were given back. */
struct kv_stats {
    int32_t n_open, n_sealed;    /* pages of the sequences (a block's pages in all layers count as one) */
    int32_t n_shared;            /* of the sequences' blocks, those that more than one sequence or anchor holds */
    int32_t n_cached;            /* blocks that only the budget keeps */
    uint64_t used_bytes;         /* all pages that sequences hold */
    uint64_t cached_bytes;       /* pages only the budget keeps, anchors' among them */
    uint64_t budget_bytes;
    uint64_t device_bytes;       /* of used and cached, those that do not lie in the host's memory */
};
void kv_cache_stats(const struct kv_cache *kv, struct kv_stats *out);

/* Pages that one sequence of n_tokens takes when it was evaluated from the beginning, no anchors. */
uint64_t kv_cache_estimate(const struct kv_layer *layers, int32_t n_layers, int32_t n_tokens);

/* ---- sequences ------------------------------------------------------------------------------------ */

/* Errors: ERR_NOMEM */
enum err_code kv_seq_create(struct kv_seq **out, struct kv_cache *kv, int32_t n_ctx, struct err *e);
/* Its end becomes an anchor. Takes NULL. */
void kv_seq_destroy(struct kv_seq *s);

/* Page j of layer i at [i * stride + j]; valid until the next call on this sequence. */
const struct kv_page *kv_seq_table(const struct kv_seq *s, int32_t *stride);
int32_t kv_seq_held(const struct kv_seq *s);
const int32_t *kv_seq_tokens(const struct kv_seq *s);
bool kv_seq_rough(const struct kv_seq *s);

/* Makes the sequence hold the longest beginning of tokens that it, any other sequence, or the budget has and
 * that can be resumed; its former end becomes an anchor. Returns how many tokens that is. */
int32_t kv_seq_match(struct kv_seq *s, const int32_t *tokens, int32_t n_tokens);
/* What kv_seq_match would return. */
int32_t kv_seq_find(const struct kv_seq *s, const int32_t *tokens, int32_t n_tokens);

/* Makes sure that pages for n_tokens tokens, at most n_ctx, are there and may be written from the end on.
 * Errors: ERR_NOMEM, ERR_DEVICE; the sequence holds what it held */
enum err_code kv_seq_reserve(struct kv_seq *s, int32_t n_tokens, struct err *e);
/* Says that these tokens follow the ones held; their keys and values have been written, full pages sealed.
 * Gives back open forms and window pages that no row can reach any more. */
void kv_seq_append(struct kv_seq *s, const int32_t *tokens, int32_t n_tokens);
/* Forgets tokens past the first n_keep. Returns how many are held then: n_keep within the last two pages,
 * else perhaps fewer (see Resuming). No anchor is made: what is forgotten was not wanted. */
int32_t kv_seq_truncate(struct kv_seq *s, int32_t n_keep);
/* Keeps the end as it is now for others, or for this sequence, to go on from. */
void kv_seq_anchor(struct kv_seq *s);

/* ---- images: what a file holds ---------------------------------------------------------------------- */

/* Everything needed to resume after n_tokens, as a list of pieces of the host's memory whose sizes and order follow
 * from the layers' types and shapes and n_tokens alone, wherever pages lie: the pages themselves, or copies when some
 * lie in a device's memory. */
struct kv_image {
    int32_t n_tokens;
    const int32_t *tokens;
    struct kv_piece {
        void *bytes;
        size_t n_bytes;
    } *pieces;
    int32_t n_pieces;
    struct kv_cache *kv;
    void *held;    /* the cache's own */
};

/* Of the sequence as it stands; the pieces stay as they are until the image is dropped, whatever the sequence
 * does meanwhile, so another thread may read them.
 * Errors: ERR_NOMEM, ERR_DEVICE; ERR_UNSUPPORTED for a rough sequence, or one that holds nothing */
enum err_code kv_image_of(struct kv_image **out, struct kv_seq *s, struct err *e);
/* Room for an image of these tokens, at least one, pieces to be filled by the caller (any thread).
 * Errors: ERR_NOMEM, ERR_DEVICE */
enum err_code kv_image_new(struct kv_image **out, struct kv_cache *kv, const int32_t *tokens, int32_t n_tokens,
                           struct err *e);
/* Puts a filled image into the cache, as an anchor; the image is gone. Where the cache has these blocks
 * already, its own stay.
 * Errors: ERR_DEVICE and ERR_NOMEM when copies did not get to the device; the cache is as if there had been no image */
enum err_code kv_image_commit_take(struct kv_image *image, struct err *e);
void kv_image_drop(struct kv_image *image);    /* takes NULL */

#endif
