/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer_internal.h"

/* A piece becomes symbols (bytes or characters), and the best pair of neighbours merges until none
 * can: BPE by the lowest rank of a merge, SPM by the best score of the token that two texts make
 * together, the leftmost first among equals. Candidates wait in a heap; one whose symbols have merged
 * otherwise since is told by its length. That is O(n log n) for a piece of any length, and a piece is
 * all that the heap ever holds.
 *
 * Prose repeats its words, so pieces of up to 40 bytes are remembered for the length of a call, in a
 * table that holds no copies: it points at the earlier piece in the text and at its ids in the
 * output. A later piece with the same hash takes the place of an earlier one. */

enum { REMEMBERED_BYTES = 40 };

static bool grow(void **items, size_t *cap, size_t n, size_t item_bytes)
{
    if (n <= *cap)
        return true;
    size_t wanted = n + n / 2 + 64;
    void *p = realloc(*items, wanted * item_bytes);
    if (!p)
        return false;
    *items = p;
    *cap = wanted;
    return true;
}

bool tokenizer_work_init(struct tokenizer_work *w, const struct tokenizer *t, size_t text_bytes,
                         struct tokenizer_ids *out)
{
    *w = (struct tokenizer_work){ .t = t, .out = out };
    uint32_t slots = 64;
    while (slots < text_bytes / 16 && slots < 1u << 16)
        slots *= 2;
    w->memory = calloc(slots, sizeof *w->memory);
    w->memory_mask = slots - 1;
    return w->memory != NULL;
}

void tokenizer_work_finish(struct tokenizer_work *w)
{
    free(w->symbols);
    free(w->heap);
    free(w->memory);
    buf_finish(&w->spaced);
    buf_finish(&w->scratch);
}

/* ---- heap of candidates, least order on top ---- */

static void sift_down(struct merge_candidate *heap, size_t n, size_t at)
{
    struct merge_candidate moved = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1].order < heap[child].order)
            child++;
        if (moved.order <= heap[child].order)
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static bool heap_push(struct tokenizer_work *w, struct merge_candidate c)
{
    if (!grow((void **)&w->heap, &w->cap_heap, w->n_heap + 1, sizeof *w->heap))
        return false;
    size_t at = w->n_heap++;
    while (at > 0 && c.order < w->heap[(at - 1) / 2].order) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = c;
    return true;
}

static struct merge_candidate heap_pop(struct tokenizer_work *w)
{
    struct merge_candidate top = w->heap[0];
    w->heap[0] = w->heap[--w->n_heap];
    if (w->n_heap > 1)
        sift_down(w->heap, w->n_heap, 0);
    return top;
}

/* ---- merging ---- */

/* What symbols left and right make together; false when they do not merge. */
static bool candidate(const struct tokenizer_work *w, int32_t left, int32_t right,
                      struct merge_candidate *c)
{
    if (left < 0 || right < 0)
        return false;
    const struct tokenizer *t = w->t;
    const struct merge_symbol *a = &w->symbols[left], *b = &w->symbols[right];
    c->right = (uint32_t)right;
    c->n_bytes = a->n_bytes + b->n_bytes;
    uint32_t rank;
    if (t->kind == TOKENIZER_SPM) {
        if (c->n_bytes > t->max_token_bytes)
            return false;
        c->id = tokenizer_find(t, w->text + a->start, c->n_bytes);
        if (c->id == TOKENIZER_NONE || (rank = t->score_ranks[c->id]) == UINT32_MAX)
            return false;
    } else {
        const struct merge_slot *slot = tokenizer_merge_find(t, a->id, b->id);
        if (!slot)
            return false;
        c->id = slot->id;
        rank = slot->rank;
    }
    c->order = (uint64_t)rank << 32 | (uint32_t)left;
    return true;
}

static bool merge_all(struct tokenizer_work *w, int32_t n_symbols)
{
    struct merge_candidate c;
    w->n_heap = 0;
    for (int32_t i = 1; i < n_symbols; i++)
        if (candidate(w, i - 1, i, &c) && !heap_push(w, c))
            return false;
    while (w->n_heap > 0) {
        struct merge_candidate best = heap_pop(w);
        int32_t left = (int32_t)(uint32_t)best.order;
        struct merge_symbol *a = &w->symbols[left], *b = &w->symbols[best.right];
        if (a->n_bytes == 0 || b->n_bytes == 0 || a->n_bytes + b->n_bytes != best.n_bytes)
            continue;
        a->n_bytes = best.n_bytes;
        a->id = best.id;
        b->n_bytes = 0;
        a->next = b->next;
        if (b->next >= 0)
            w->symbols[b->next].prev = left;
        if (candidate(w, a->prev, left, &c) && !heap_push(w, c))
            return false;
        if (candidate(w, left, a->next, &c) && !heap_push(w, c))
            return false;
    }
    return true;
}

/* The single characters (single bytes in byte BPE) of the piece; returns how many, 0: no memory. */
static int32_t make_symbols(struct tokenizer_work *w, uint32_t start, uint32_t end)
{
    const struct tokenizer *t = w->t;
    if (!grow((void **)&w->symbols, &w->cap_symbols, end - start, sizeof *w->symbols))
        return 0;
    int32_t n = 0;
    for (uint32_t at = start; at < end; n++) {
        struct merge_symbol *s = &w->symbols[n];
        *s = (struct merge_symbol){ .start = at, .n_bytes = 1, .prev = n - 1, .next = n + 1 };
        if (t->kind == TOKENIZER_BPE_BYTES) {
            s->id = t->byte_ids[(unsigned char)w->text[at]];
        } else {
            uint32_t code;
            s->n_bytes = (uint32_t)utf8_decode(w->text + at, end - at, &code);
            s->id = tokenizer_find(t, w->text + at, s->n_bytes);
            if (s->id != TOKENIZER_NONE && !tokenizer_is_text(t, s->id))
                s->id = TOKENIZER_NONE;
        }
        at += s->n_bytes;
    }
    w->symbols[n - 1].next = -1;
    return n;
}

/* A symbol that is no token: its bytes, or the unknown token where a byte has none. */
static bool add_bytes(struct tokenizer_work *w, const struct merge_symbol *s)
{
    const struct tokenizer *t = w->t;
    bool all = true;
    for (uint32_t i = 0; i < s->n_bytes; i++)
        all = all && t->byte_ids[(unsigned char)w->text[s->start + i]] != TOKENIZER_NONE;
    if (!all)
        return t->unk == TOKENIZER_NONE || tokenizer_ids_add(w->out, t->unk);
    for (uint32_t i = 0; i < s->n_bytes; i++)
        if (!tokenizer_ids_add(w->out, t->byte_ids[(unsigned char)w->text[s->start + i]]))
            return false;
    return true;
}

/* The whole piece as one token, or TOKENIZER_NONE. */
static int32_t whole_token(struct tokenizer_work *w, uint32_t start, uint32_t end)
{
    const struct tokenizer *t = w->t;
    const char *piece = w->text + start;
    size_t n_bytes = end - start;
    bool lines = t->kind == TOKENIZER_BPE_UTF8 && piece[0] == '\n';    /* gemma 4: newlines have no merges */
    if (!lines && !(t->kind == TOKENIZER_BPE_BYTES && t->rule->ignore_merges))
        return TOKENIZER_NONE;
    int32_t id = TOKENIZER_NONE;
    if (lines) {
        id = tokenizer_find(t, piece, n_bytes);
    } else if (n_bytes <= t->max_token_bytes) {
        buf_clear(&w->scratch);
        for (size_t i = 0; i < n_bytes; i++)
            buf_add_utf8(&w->scratch, tokenizer_byte_letter((unsigned char)piece[i]));
        if (buf_ok(&w->scratch))
            id = tokenizer_find(t, w->scratch.data, w->scratch.n_bytes);
    }
    return id != TOKENIZER_NONE && tokenizer_is_text(t, id) ? id : TOKENIZER_NONE;
}

static bool merge_piece(struct tokenizer_work *w, uint32_t start, uint32_t end)
{
    int32_t id = whole_token(w, start, end);
    if (id != TOKENIZER_NONE)
        return tokenizer_ids_add(w->out, id);
    int32_t n = make_symbols(w, start, end);
    if (n == 0 || !buf_ok(&w->scratch) || !merge_all(w, n))
        return false;
    for (int32_t i = 0; i >= 0; i = w->symbols[i].next) {
        const struct merge_symbol *s = &w->symbols[i];
        if (!(s->id == TOKENIZER_NONE ? add_bytes(w, s) : tokenizer_ids_add(w->out, s->id)))
            return false;
    }
    return true;
}

bool tokenizer_piece_ids(struct tokenizer_work *w, uint32_t start, uint32_t end)
{
    uint32_t n_bytes = end - start;
    if (n_bytes > REMEMBERED_BYTES)
        return merge_piece(w, start, end);
    uint64_t hash = tokenizer_hash(w->t->seed, w->text + start, n_bytes);
    struct merge_memory *m = &w->memory[(hash >> 16) & w->memory_mask];
    if (m->n_bytes == n_bytes && m->hash == hash &&
        memcmp(w->text + m->start, w->text + start, n_bytes) == 0) {
        for (uint32_t i = 0; i < m->n_ids; i++)
            if (!tokenizer_ids_add(w->out, w->out->ids[m->first + i]))
                return false;
        return true;
    }
    size_t first = w->out->n;
    if (!merge_piece(w, start, end))
        return false;
    if (first <= UINT32_MAX - REMEMBERED_BYTES)
        *m = (struct merge_memory){ .hash = hash, .start = start, .n_bytes = n_bytes,
                                    .first = (uint32_t)first, .n_ids = (uint32_t)(w->out->n - first) };
    return true;
}
