/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H
#define QUIP_ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H

#include <string.h>

#include "engine/base/arena.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_split.h"

/* What the files of this folder share.
 *
 *   tokenizer.c          creation, with every check of the vocabulary
 *   tokenizer_table.c    hashes, merges, score ranks, pieces
 *   tokenizer_names.c    what is told by a token's name: ends of generation, types that files get wrong
 *   tokenizer_split.c    pre-tokenizer rules
 *   tokenizer_special.c  special tokens in a text
 *   tokenizer_merge.c    one piece to ids
 *   tokenizer_encode.c   fragments to ids
 *   tokenizer_decode.c   ids to text */

enum {
    TOKENIZER_MAX_TOKENS = 4 << 20,
    TOKENIZER_MAX_MERGES = 8 << 20,
    TOKENIZER_MAX_TOKEN_BYTES = 1 << 16,
    TOKENIZER_MAX_SPECIAL_BYTES = 512,    /* bounds the search at each position of a text */
    TOKENIZER_MAX_TEXT_BYTES = 1 << 30
};

enum tokenizer_kind {
    TOKENIZER_SPM,         /* pieces of UTF-8, space as U+2581, merged by score */
    TOKENIZER_BPE_BYTES,   /* bytes as the 256 letters of GPT-2, merged by rank */
    TOKENIZER_BPE_UTF8     /* UTF-8, space as U+2581, merged by rank: gemma 4 */
};

#define TOKENIZER_SPACE "\xE2\x96\x81"    /* U+2581 */
enum { TOKENIZER_SPACE_BYTES = 3 };

enum {
    TOKEN_EOG = 1 << 0,
    TOKEN_SHOWN = 1 << 1,     /* a control token whose name belongs to the output */
    TOKEN_PLAIN = 1 << 2,     /* user-defined and recognised in untrusted text too */
    TOKEN_STRIPS = 1 << 3     /* white space after it is dropped */
};

struct token {
    const char *piece;        /* the bytes it stands for */
    uint32_t piece_bytes;
    uint8_t type;             /* enum tokenizer_type */
    uint8_t flags;
};

/* Texts to ids: open addressing, a power of two of slots, at most half of them taken. */
struct token_slot {
    uint32_t tag;             /* upper half of the hash */
    int32_t id;               /* TOKENIZER_NONE: free */
};

/* Pairs of ids that merge. */
struct merge_slot {
    uint64_t pair;            /* left << 32 | right; UINT64_MAX: free */
    uint32_t rank;
    int32_t id;               /* of the two together */
};

struct tokenizer {
    struct arena arena;
    enum tokenizer_kind kind;
    const struct tokenizer_rule *rule;    /* of BPE */
    const char *warning;

    int32_t n_tokens;
    const struct tokenizer_text *texts;   /* [n_tokens] as in the vocabulary, the caller's */
    struct token *tokens;                 /* [n_tokens] */
    uint32_t *score_ranks;                /* SPM: [n_tokens] 0 is the best score; equal scores, equal ranks */
    uint32_t max_token_bytes;

    uint64_t seed;                        /* of the hashes: an address, so that no file can aim at it */
    struct token_slot *by_text;
    uint32_t text_mask;
    struct merge_slot *merges;
    uint32_t merge_mask;

    int32_t byte_ids[256];                /* the token of a single byte, or TOKENIZER_NONE */
    bool before_space[256];               /* SPM: bytes that stand before U+2581 inside some token */

    int32_t *specials;                    /* sorted by text */
    int32_t n_specials;
    int32_t special_first[257];           /* where those begin that start with a byte */

    int32_t bos, eos, eot, eom, unk, pad;
    bool add_bos, add_eos, add_space_prefix;
};

static inline uint64_t tokenizer_mix(uint64_t h)
{
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static inline uint64_t tokenizer_hash(uint64_t seed, const char *bytes, size_t n_bytes)
{
    uint64_t h = seed ^ n_bytes, word;
    while (n_bytes >= 8) {
        memcpy(&word, bytes, 8);
        h = tokenizer_mix(h ^ word);
        bytes += 8;
        n_bytes -= 8;
    }
    word = 0;
    for (size_t i = 0; i < n_bytes; i++)
        word |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
    return tokenizer_mix(tokenizer_mix(h ^ word));
}

/* Whether ordinary text may become this token. */
static inline bool tokenizer_is_text(const struct tokenizer *t, int32_t id)
{
    uint8_t type = t->tokens[id].type;
    return type == TOKENIZER_NORMAL || type == TOKENIZER_USER_DEFINED || type == TOKENIZER_UNUSED;
}

static inline uint32_t tokenizer_merge_start(const struct tokenizer *t, uint64_t pair)
{
    return (uint32_t)(tokenizer_mix(pair ^ t->seed) >> 20);
}

/* NULL for a pair that does not merge. */
static inline const struct merge_slot *tokenizer_merge_find(const struct tokenizer *t, int32_t left,
                                                            int32_t right)
{
    if (left < 0 || right < 0)
        return NULL;
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint32_t at = tokenizer_merge_start(t, pair);; at++) {
        const struct merge_slot *slot = &t->merges[at & t->merge_mask];
        if (slot->pair == pair)
            return slot;
        if (slot->pair == UINT64_MAX)
            return NULL;
    }
}

/* A token's text for a message: printable ASCII, cut to 40 characters. */
struct tokenizer_quote {
    char text[44];
};
struct tokenizer_quote tokenizer_quote(struct tokenizer_text text);

/* tokenizer_table.c, in this order. Each takes memory from the arena. */
enum err_code tokenizer_index_texts(struct tokenizer *t, struct err *e);
enum err_code tokenizer_index_bytes(struct tokenizer *t, struct err *e);
enum err_code tokenizer_decode_pieces(struct tokenizer *t, struct err *e);
enum err_code tokenizer_rank_scores(struct tokenizer *t, const void *scores, struct err *e);
enum err_code tokenizer_index_merges(struct tokenizer *t, const struct tokenizer_text *merges,
                                     size_t n_merges, struct err *e);
void tokenizer_mark_spaces(struct tokenizer *t);

/* tokenizer_names.c: corrects types by name, finds eot and eom, and sets the EOG, SHOWN, PLAIN and
 * STRIPS flags. */
void tokenizer_apply_names(struct tokenizer *t, bool strip_after_special);

/* The letter that stands for a byte in GPT-2 vocabularies, and back (-1 for other characters). */
uint32_t tokenizer_byte_letter(unsigned char byte);
int tokenizer_letter_byte(uint32_t letter);

/* tokenizer_special.c: sorts the special tokens. */
enum err_code tokenizer_index_specials(struct tokenizer *t, struct err *e);
/* The longest special token that starts at text[pos] and ends by `end`, TOKENIZER_NONE for none. With
 * trusted_end > pos those that end by it may be of any type, others have to be TOKEN_PLAIN. */
int32_t tokenizer_special_at(const struct tokenizer *t, const char *text, size_t pos, size_t end,
                             size_t trusted_end);

/* tokenizer_merge.c: memory that encoding one call needs, and one piece to ids. Pieces seen before in
 * the call are copied from the ids they gave then. */
struct merge_symbol {
    uint32_t start, n_bytes;
    int32_t id;                /* TOKENIZER_NONE for what is no token */
    int32_t prev, next;        /* of the piece's symbols, -1 at its ends */
};

struct merge_candidate {
    uint64_t order;            /* rank << 32 | left symbol: least first, leftmost first */
    uint32_t right;
    uint32_t n_bytes;          /* of both; when they have changed since, the candidate is stale */
    int32_t id;
};

struct merge_memory {
    uint64_t hash;
    uint32_t start, n_bytes;   /* n_bytes 0: free */
    uint32_t first, n_ids;     /* in the list of ids */
};

struct tokenizer_work {
    const struct tokenizer *t;
    const char *text;          /* pieces lie in it; may move when it is extended, offsets stay */
    struct tokenizer_ids *out;
    struct merge_symbol *symbols;
    size_t cap_symbols;
    struct merge_candidate *heap;
    size_t n_heap, cap_heap;
    struct merge_memory *memory;
    uint32_t memory_mask;
    struct buf spaced;         /* SPM and gemma 4: the text with its spaces replaced */
    struct buf scratch;
};

bool tokenizer_work_init(struct tokenizer_work *w, const struct tokenizer *t, size_t text_bytes,
                         struct tokenizer_ids *out);
void tokenizer_work_finish(struct tokenizer_work *w);
/* text[start..end) of at least one byte; false: no memory. */
bool tokenizer_piece_ids(struct tokenizer_work *w, uint32_t start, uint32_t end);

#endif
