/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer_internal.h"

/* The tables a tokenizer works with. All sizes come from counts that tokenizer_create() has checked. */

struct tokenizer_quote tokenizer_quote(struct tokenizer_text text)
{
    struct tokenizer_quote q = { { 0 } };
    size_t n = 0;
    for (; n < text.n_bytes && n < 40; n++)
        q.text[n] = text.bytes[n] >= 0x20 && text.bytes[n] < 0x7F ? text.bytes[n] : '?';
    if (n < text.n_bytes)
        memcpy(q.text + n, "...", 4);
    return q;
}

/* ---- texts to ids ---- */

/* Power of two with at least twice n, at least 16. */
static uint32_t slots_for(size_t n)
{
    uint32_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

uint64_t tokenizer_estimate(uint64_t n_tokens, uint64_t n_merges)
{
    uint64_t bytes = n_tokens * (sizeof(struct tokenizer_text) + sizeof(struct token)) +
                     slots_for(n_tokens) * sizeof(struct token_slot);
    if (n_merges > 0)
        return bytes + n_merges * sizeof(struct tokenizer_text) + slots_for(n_merges) * sizeof(struct merge_slot);
    return bytes + n_tokens * sizeof(uint32_t);    /* ranks of scores */
}

enum err_code tokenizer_index_texts(struct tokenizer *t, struct err *e)
{
    uint32_t n_slots = slots_for((size_t)t->n_tokens);
    t->text_mask = n_slots - 1;
    t->by_text = arena_alloc(&t->arena, n_slots, sizeof *t->by_text);
    if (!t->by_text)
        return err_set(e, ERR_NOMEM, "vocabulary: no memory for %d tokens", (int)t->n_tokens);
    for (uint32_t i = 0; i < n_slots; i++)
        t->by_text[i].id = TOKENIZER_NONE;

    for (int32_t id = 0; id < t->n_tokens; id++) {
        struct tokenizer_text text = t->texts[id];
        if (text.n_bytes == 0 || tokenizer_find(t, text.bytes, text.n_bytes) != TOKENIZER_NONE)
            continue;    /* of equal texts the first counts */
        uint64_t hash = tokenizer_hash(t->seed, text.bytes, text.n_bytes);
        uint32_t at = (uint32_t)hash;
        while (t->by_text[at & t->text_mask].id != TOKENIZER_NONE)
            at++;
        t->by_text[at & t->text_mask] = (struct token_slot){ (uint32_t)(hash >> 32), id };
    }
    return ERR_OK;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t n_bytes)
{
    uint64_t hash = tokenizer_hash(t->seed, text, n_bytes);
    uint32_t tag = (uint32_t)(hash >> 32);
    for (uint32_t at = (uint32_t)hash;; at++) {
        struct token_slot slot = t->by_text[at & t->text_mask];
        if (slot.id == TOKENIZER_NONE)
            return TOKENIZER_NONE;
        if (slot.tag == tag && t->texts[slot.id].n_bytes == n_bytes &&
            memcmp(t->texts[slot.id].bytes, text, n_bytes) == 0)
            return slot.id;
    }
}

/* ---- single bytes ---- */

/* GPT-2 writes printable bytes as themselves and the 68 others as U+0100 onwards. */
uint32_t tokenizer_byte_letter(unsigned char byte)
{
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173))
        return byte;
    if (byte < 33)
        return 256u + byte;
    return byte == 173 ? 323 : 289u + byte - 127;
}

int tokenizer_letter_byte(uint32_t letter)
{
    if (letter >= 256 && letter <= 323)
        return letter < 289 ? (int)letter - 256 : letter == 323 ? 173 : (int)letter - 289 + 127;
    if (letter < 256 && tokenizer_byte_letter((unsigned char)letter) == letter)
        return (int)letter;
    return -1;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that <0xHH> names, -1 for another text. */
static int byte_name(struct tokenizer_text text)
{
    if (text.n_bytes != 6 || memcmp(text.bytes, "<0x", 3) != 0 || text.bytes[5] != '>')
        return -1;
    int high = hex_digit(text.bytes[3]), low = hex_digit(text.bytes[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

enum err_code tokenizer_index_bytes(struct tokenizer *t, struct err *e)
{
    for (int b = 0; b < 256; b++) {
        char letter[4];
        int n = utf8_encode(letter, tokenizer_byte_letter((unsigned char)b));
        t->byte_ids[b] = TOKENIZER_NONE;
        if (t->kind == TOKENIZER_BPE_BYTES)
            t->byte_ids[b] = tokenizer_find(t, letter, (size_t)n);
    }
    for (int32_t id = 0; id < t->n_tokens; id++) {
        if (t->tokens[id].type != TOKENIZER_BYTE)
            continue;
        int byte = byte_name(t->texts[id]);
        if (byte < 0)
            return err_set(e, ERR_FORMAT, "token %d: a byte token is written '%s', <0x00> to <0xFF> allowed",
                           (int)id, tokenizer_quote(t->texts[id]).text);
        if (t->byte_ids[byte] == TOKENIZER_NONE)
            t->byte_ids[byte] = id;
    }
    bool all = true;
    for (int b = 0; b < 256; b++)
        all = all && t->byte_ids[b] != TOKENIZER_NONE;
    if (!all && t->unk == TOKENIZER_NONE && t->kind != TOKENIZER_BPE_BYTES)
        return err_set(e, ERR_FORMAT, "vocabulary: some bytes have no token, and there is no unknown "
                                      "token; one of the two is needed");
    if (!all && t->unk == TOKENIZER_NONE && !t->warning)
        t->warning = "some bytes have no token in this vocabulary: characters made of them are left out";
    return ERR_OK;
}

/* ---- the bytes tokens stand for ---- */

/* Writes what a text stands for to out, which has room for it; false when it stands for itself. */
static bool decode_piece(const struct tokenizer *t, struct tokenizer_text text, char *out, size_t *n_out)
{
    bool changed = false;
    size_t n = 0;
    for (size_t at = 0; at < text.n_bytes;) {
        if (t->kind == TOKENIZER_BPE_BYTES) {
            uint32_t letter;
            at += (size_t)utf8_decode(text.bytes + at, text.n_bytes - at, &letter);
            int byte = tokenizer_letter_byte(letter);
            if (byte < 0)
                return false;    /* an added token, written plainly */
            changed |= letter >= 0x80;
            out[n++] = (char)byte;
        } else if (text.n_bytes - at >= TOKENIZER_SPACE_BYTES &&
                   memcmp(text.bytes + at, TOKENIZER_SPACE, TOKENIZER_SPACE_BYTES) == 0) {
            out[n++] = ' ';
            at += TOKENIZER_SPACE_BYTES;
            changed = true;
        } else {
            out[n++] = text.bytes[at++];
        }
    }
    *n_out = n;
    return changed;
}

static bool has_high_byte(struct tokenizer_text text)
{
    for (size_t i = 0; i < text.n_bytes; i++)
        if ((unsigned char)text.bytes[i] >= 0x80)
            return true;
    return false;
}

/* Most tokens stand for their own text, which is borrowed; only the others get bytes of their own. */
enum err_code tokenizer_decode_pieces(struct tokenizer *t, struct err *e)
{
    size_t room = 256;
    for (int32_t id = 0; id < t->n_tokens; id++)
        if (has_high_byte(t->texts[id]))
            room += t->texts[id].n_bytes;
    char *next = arena_alloc(&t->arena, room, 1);
    if (!next)
        return err_set(e, ERR_NOMEM, "vocabulary: no memory for %zu bytes of text", room);
    const char *bytes = next;
    for (int b = 0; b < 256; b++)
        *next++ = (char)b;

    for (int32_t id = 0; id < t->n_tokens; id++) {
        struct token *token = &t->tokens[id];
        struct tokenizer_text text = t->texts[id];
        token->piece = text.bytes;
        token->piece_bytes = (uint32_t)text.n_bytes;
        size_t n;
        if (token->type == TOKENIZER_BYTE) {
            token->piece = bytes + byte_name(text);
            token->piece_bytes = 1;
        } else if ((token->type == TOKENIZER_NORMAL || token->type == TOKENIZER_UNUSED) &&
                   has_high_byte(text) && decode_piece(t, text, next, &n)) {
            token->piece = next;
            token->piece_bytes = (uint32_t)n;
            next += n;
        }
    }
    return ERR_OK;
}

/* ---- what merges first ---- */

static float score_at(const void *scores, int32_t id)
{
    float score = 0;
    if (scores)
        memcpy(&score, (const char *)scores + 4 * (size_t)id, 4);
    return score;
}

static int by_score(const void *a, const void *b, void *scores)
{
    float x = score_at(scores, *(const int32_t *)a), y = score_at(scores, *(const int32_t *)b);
    return (x < y) - (x > y);
}

/* Scores become whole numbers that order the same way, so that both kinds merge by one rule. What may
 * not come out of ordinary text does not take part in merging. */
enum err_code tokenizer_rank_scores(struct tokenizer *t, const void *scores, struct err *e)
{
    size_t n = (size_t)t->n_tokens;
    t->score_ranks = arena_alloc(&t->arena, n, sizeof *t->score_ranks);
    int32_t *order = malloc(n * sizeof *order);
    enum err_code rc = ERR_OK;
    if (!t->score_ranks || !order)
        rc = err_set(e, ERR_NOMEM, "vocabulary: no memory for %zu scores", n);
    for (int32_t id = 0; rc == ERR_OK && id < t->n_tokens; id++) {
        order[id] = id;
        if (!isfinite(score_at(scores, id)))
            rc = err_set(e, ERR_FORMAT, "token %d: its score is %f, a finite number wanted", (int)id,
                         (double)score_at(scores, id));
    }
    if (rc == ERR_OK) {
        qsort_r(order, n, sizeof *order, by_score, (void *)(uintptr_t)scores);
        uint32_t rank = 0;
        for (size_t i = 0; i < n; i++) {
            if (i > 0 && score_at(scores, order[i]) < score_at(scores, order[i - 1]))
                rank++;
            t->score_ranks[order[i]] = tokenizer_is_text(t, order[i]) ? rank : UINT32_MAX;
        }
    }
    free(order);
    return rc;
}

static void insert_merge(struct tokenizer *t, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t at = tokenizer_merge_start(t, pair);
    while (t->merges[at & t->merge_mask].pair != UINT64_MAX)
        at++;
    t->merges[at & t->merge_mask] = (struct merge_slot){ pair, rank, id };
}

/* "left right" to ids; the space is the first after at least one character. */
static enum err_code read_merge(struct tokenizer *t, struct tokenizer_text merge, size_t rank,
                                struct buf *joined, struct err *e)
{
    const char *space = merge.n_bytes > 2 ? memchr(merge.bytes + 1, ' ', merge.n_bytes - 2) : NULL;
    if (!space)
        return err_set(e, ERR_FORMAT, "merge %zu: '%s' is not two texts with a space between", rank,
                       tokenizer_quote(merge).text);
    struct tokenizer_text left = { merge.bytes, (size_t)(space - merge.bytes) };
    struct tokenizer_text right = { space + 1, merge.n_bytes - left.n_bytes - 1 };
    buf_clear(joined);
    if (!buf_add(joined, left.bytes, left.n_bytes) || !buf_add(joined, right.bytes, right.n_bytes))
        return err_set(e, ERR_NOMEM, "merge %zu: no memory", rank);
    struct tokenizer_text both = { joined->data, joined->n_bytes };
    const struct tokenizer_text parts[] = { left, right, both };
    int32_t ids[3];
    for (int i = 0; i < 3; i++) {
        ids[i] = tokenizer_find(t, parts[i].bytes, parts[i].n_bytes);
        if (ids[i] == TOKENIZER_NONE)
            return err_set(e, ERR_FORMAT, "merge %zu: '%s' is no token of the vocabulary", rank,
                           tokenizer_quote(parts[i]).text);
    }
    /* A control token is not made of ordinary text. Of equal pairs the first counts. */
    if (tokenizer_is_text(t, ids[2]) && !tokenizer_merge_find(t, ids[0], ids[1]))
        insert_merge(t, ids[0], ids[1], (uint32_t)rank, ids[2]);
    return ERR_OK;
}

enum err_code tokenizer_index_merges(struct tokenizer *t, const struct tokenizer_text *merges,
                                     size_t n_merges, struct err *e)
{
    uint32_t n_slots = slots_for(n_merges);
    t->merge_mask = n_slots - 1;
    t->merges = arena_alloc(&t->arena, n_slots, sizeof *t->merges);
    if (!t->merges)
        return err_set(e, ERR_NOMEM, "vocabulary: no memory for %zu merges", n_merges);
    for (uint32_t i = 0; i < n_slots; i++)
        t->merges[i].pair = UINT64_MAX;
    struct buf joined;
    buf_init(&joined);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n_merges && rc == ERR_OK; i++)
        rc = read_merge(t, merges[i], i, &joined, e);
    buf_finish(&joined);
    return rc;
}

/* No merge crosses a place where a byte is followed by U+2581 that never stands before it inside a
 * token: there SPM text may be cut into words, which gives the same ids and far smaller heaps. */
void tokenizer_mark_spaces(struct tokenizer *t)
{
    for (int32_t id = 0; id < t->n_tokens; id++) {
        struct tokenizer_text text = t->texts[id];
        for (size_t at = 1; at + TOKENIZER_SPACE_BYTES <= text.n_bytes; at++)
            if (memcmp(text.bytes + at, TOKENIZER_SPACE, TOKENIZER_SPACE_BYTES) == 0)
                t->before_space[(unsigned char)text.bytes[at - 1]] = true;
    }
}
