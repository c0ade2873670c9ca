/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SPEC_SPEC_INDEX_H
#define QUIP_ENGINE_SPEC_SPEC_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"

/* Where the end of a text occurred in it before, and what followed there: a suffix automaton (Blumer et al. 1985)
 * that grows with the text, at amortised constant cost per token.
 *
 * Thread  one; nothing here is locked. After spec_index_create nothing allocates. */
struct spec_index;

/* How the earlier places where a text occurred went on. */
enum spec_kind {
    SPEC_ONCE,     /* there is one place */
    SPEC_AGREE,    /* several, and all go on with the token */
    SPEC_MOSTLY,     /* half of them or more do */
    SPEC_SPLIT,    /* fewer do */
    SPEC_KINDS
};

/* A token that may come next: it followed the n_match tokens before it at the place they last occurred. */
struct spec_guess {
    int32_t token;
    int32_t n_match;
    enum spec_kind kind;
    bool elsewhere;    /* the place is in a text at hand (spec_corpus.h), not in this one */
};

/* For texts of up to n_max tokens; about 90 bytes each, of which a text takes what it needs (spec_index_bytes).
 * Errors: ERR_NOMEM */
enum err_code spec_index_create(struct spec_index **out, int32_t n_max, struct err *e);
void spec_index_destroy(struct spec_index *x);    /* takes NULL */

/* n_places: how many there are; n_same: how many of them go on with the token. */
enum spec_kind spec_kind_of(int32_t n_places, int32_t n_same);

/* Appends a token to a text shorter than n_max. */
void spec_index_push(struct spec_index *x, int32_t token);
/* Makes the text exactly these tokens. What differs from the text there was is built anew from the beginning: an
 * automaton cannot forget its end. */
void spec_index_set(struct spec_index *x, const int32_t *tokens, int32_t n_tokens);
int32_t spec_index_n(const struct spec_index *x);
const int32_t *spec_index_tokens(const struct spec_index *x);
/* Memory in use for the text as it is. */
uint64_t spec_index_bytes(const struct spec_index *x);

/* Length of the longest end of the text that occurs in it earlier too (the two may overlap); 0: none. end: index of
 * the last token of the latest such place, as far as is known (spec_index.c). */
int32_t spec_index_match(const struct spec_index *x, int32_t *end);
/* Guesses the tokens after the text, at most cap, and returns how many there are: none without a match; otherwise
 * cap, since at the end of the text the guesses themselves go on. */
int32_t spec_index_guess(const struct spec_index *x, struct spec_guess *out, int32_t cap);
/* The end of the text that is the same tokens over and over: the last n tokens, each equal to the one `period` before
 * it. Of several such ends the one with the most repetitions; n is 0 where nothing is said twice in a row. */
struct spec_loop {
    int32_t period, n;
};
struct spec_loop spec_index_loop(const struct spec_index *x);

#endif
