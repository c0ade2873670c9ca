/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TOKENIZER_TOKENIZER_H
#define QUIP_ENGINE_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

/* Text to token ids and back, for the SPM and BPE vocabularies of GGUF files.
 *
 * A tokenizer never changes after tokenizer_create(), so any number of threads may use one. */
struct tokenizer;

enum { TOKENIZER_NONE = -1 };    /* no such token */

/* What the file says, taken as untrusted. Filled by the caller from the metadata keys named. */
struct tokenizer_text {
    const char *bytes;    /* any bytes, no NUL at the end */
    size_t n_bytes;
};

enum tokenizer_type {     /* the numbers of tokenizer.ggml.token_type */
    TOKENIZER_UNDEFINED,  /* taken as normal */
    TOKENIZER_NORMAL,
    TOKENIZER_UNKNOWN,
    TOKENIZER_CONTROL,
    TOKENIZER_USER_DEFINED,
    TOKENIZER_UNUSED,
    TOKENIZER_BYTE
};

enum tokenizer_choice { TOKENIZER_SILENT, TOKENIZER_YES, TOKENIZER_NO };    /* what a flag key says */

/* Start with tokenizer_vocab_init(): ids TOKENIZER_NONE, everything else zero, which is what a file says
 * that lacks the key. scores and types point at the array as it lies in the file: little-endian,
 * any alignment. */
struct tokenizer_vocab {
    struct tokenizer_text model;             /* tokenizer.ggml.model: "llama", "gpt2", "gemma4" */
    struct tokenizer_text pre;               /* tokenizer.ggml.pre; bytes NULL when the key is missing */
    const struct tokenizer_text *tokens;     /* [n_tokens] tokenizer.ggml.tokens, borrowed for good */
    size_t n_tokens;
    const void *scores;                      /* [n_scores] f32, or NULL; n_scores is n_tokens */
    size_t n_scores;
    const void *types;                       /* [n_types] i32, or NULL; n_types is n_tokens */
    size_t n_types;
    const struct tokenizer_text *merges;     /* [n_merges] "left right" */
    size_t n_merges;
    int64_t bos, eos, eot, eom, unk, pad;    /* tokenizer.ggml.*_token_id; of eom, unk, pad likewise */
    enum tokenizer_choice add_bos, add_eos, add_space_prefix;
    bool strip_after_special;                /* the Phi-3 models: specials swallow space on their right */
};

void tokenizer_vocab_init(struct tokenizer_vocab *v);

/* What the tables of a vocabulary with so many tokens and merges take, but for texts that are no text of the file's. */
uint64_t tokenizer_estimate(uint64_t n_tokens, uint64_t n_merges);

/* Builds a tokenizer; *out is NULL after a failure.
 *
 * Owns     its tables. It borrows v->tokens, array and texts, which must outlive it: a mapped file is
 *          not copied. Everything else of v is only read during the call
 * Errors   ERR_FORMAT names what is wrong: counts that differ, an id outside the vocabulary, a merge
 *          of something that is no token, a byte token not written <0xHH>, a score that is no number;
 *          ERR_UNSUPPORTED for another model or pre-tokenizer name, or sizes beyond the limits
 * Pre      a gpt2 vocabulary without tokenizer.ggml.pre splits text nobody knows how, and a wrong
 *          guess damages every answer silently. Three families are told by their tokens (llama 3,
 *          qwen 2, gpt-2); then it works with a warning. Any other file is refused, and works
 *          after the caller has set v->pre to a name somebody vouches for. */
enum err_code tokenizer_create(struct tokenizer **out, const struct tokenizer_vocab *v,
                               struct err *e);
void tokenizer_destroy(struct tokenizer *t);

/* Text for the user when something about the vocabulary is doubtful, else NULL. */
const char *tokenizer_warning(const struct tokenizer *t);

int32_t tokenizer_n_tokens(const struct tokenizer *t);
/* Special ids after defaults and detection by name; TOKENIZER_NONE where there is none. */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
int32_t tokenizer_eot(const struct tokenizer *t);
int32_t tokenizer_unk(const struct tokenizer *t);
int32_t tokenizer_pad(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);

/* The token written exactly so in the vocabulary ("<|im_end|>"), or TOKENIZER_NONE. */
int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t n_bytes);
/* Whether the ids of one mean the same in the other: texts and types of all tokens, and which of them end a text. */
bool tokenizer_same(const struct tokenizer *a, const struct tokenizer *b);
/* Its type after corrections: names that end a turn are control whatever the file says. */
enum tokenizer_type tokenizer_type_of(const struct tokenizer *t, int32_t id);
/* Whether generation stops here: eos, eot, eom and the names known for it (but not <|end|> of harmony
 * vocabularies, which ends a channel, and not the ordinary </s> of gemma 4). */
bool tokenizer_is_eog(const struct tokenizer *t, int32_t id);
/* The bytes the token stands for; control tokens give their name. Lives as long as t. An id outside
 * the vocabulary gives no bytes. */
struct tokenizer_text tokenizer_piece(const struct tokenizer *t, int32_t id);

/* A growing list of ids; zeroed is empty. */
struct tokenizer_ids {
    int32_t *ids;
    size_t n;
    size_t cap;
};
bool tokenizer_ids_add(struct tokenizer_ids *list, int32_t id);    /* false: no memory */
void tokenizer_ids_finish(struct tokenizer_ids *list);

/* A prompt is a list of fragments: what the template wrote is trusted, what a person or a file gave
 * is not. Special tokens are recognised in trusted text only, neighbouring trusted fragments counting
 * as one; so text typed by a user can never become a control token.
 *
 * Law: the ids are those of the joined text with all of it trusted, as long as no untrusted byte is
 * part of a special token. (User-defined tokens that are plain text, such as runs of line ends, are
 * recognised everywhere. Ones that look like markup, <|...|> or the think and tool tags, are special.) */
struct tokenizer_fragment {
    const char *text;
    size_t n_bytes;
    bool trusted;
};

enum tokenizer_flag {
    TOKENIZER_ADD_BOS = 1 << 0,     /* where the vocabulary wants one and the text does not bring it */
    TOKENIZER_ADD_EOS = 1 << 1,     /* where the vocabulary wants one */
    TOKENIZER_CONTINUE = 1 << 2,    /* the text goes on after other text: no SPM space before it */
    TOKENIZER_SPECIAL = 1 << 3      /* tokenizer_encode() only: the text is trusted */
};

/* Appends the ids of the joined fragments to out. Time is O(n log n) whatever the text.
 *
 * Errors   ERR_NOMEM; ERR_UNSUPPORTED beyond 1 GiB of text. out keeps its earlier ids in every case */
enum err_code tokenizer_encode_fragments(const struct tokenizer *t,
                                         const struct tokenizer_fragment *fragments,
                                         size_t n_fragments, unsigned flags,
                                         struct tokenizer_ids *out, struct err *e);
/* One fragment. */
enum err_code tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes,
                               unsigned flags, struct tokenizer_ids *out, struct err *e);

/* Text out of ids as they come. Characters split over tokens are held back until they are whole (at
 * most three bytes); bytes that can never be UTF-8 pass as they are, for the caller to neutralise. */
struct tokenizer_stream {
    char held[4];
    uint8_t n_held;
    bool at_start;        /* the space SPM puts before a text is still to be dropped */
    bool show_special;    /* names of control tokens become part of the text */
};

/* at_start: the ids begin a text, so that decoding gives back what was encoded. A chat's answer
 * begins one too. */
void tokenizer_stream_init(struct tokenizer_stream *s, const struct tokenizer *t, bool at_start,
                           bool show_special);
/* Appends what is complete; false: no memory. The channel marks of harmony vocabularies are always shown,
 * since the parser of channels needs them. */
bool tokenizer_stream_push(struct tokenizer_stream *s, const struct tokenizer *t, int32_t id,
                           struct buf *out);
/* The end: what is held back comes out as it is. */
bool tokenizer_stream_flush(struct tokenizer_stream *s, struct buf *out);

#endif
