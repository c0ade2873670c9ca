/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SPEC_SPEC_CORPUS_H
#define QUIP_ENGINE_SPEC_SPEC_CORPUS_H

#include <stdint.h>

#include "engine/base/err.h"

/* Texts that do not change (attached files, earlier chats), as tokens: where in them do the last tokens of
 * the text at hand occur, and what followed there. Texts that grow are the business of spec_index.h.
 *
 * A place is where a match ends inside a document and another token follows: an occurrence at a document's
 * end proposes nothing and counts nowhere. Nothing reaches across the border of two documents.
 *
 * Memory   8 bytes per token are kept and 20 are needed while building, the same again per document that has
 *          tokens: 8 and 20 MiB at the limit for few documents
 * Thread   never changes after spec_corpus_create(): any number of threads may ask */
struct spec_corpus;

enum {
    SPEC_CORPUS_REACH = 32,             /* tokens of a match at most */
    SPEC_CORPUS_SAMPLE = 64,            /* places looked at for what follows */
    SPEC_CORPUS_MAX_TOKENS = 1 << 20    /* of all documents together */
};

/* tokens: those of all documents, one behind the other, each 0 or more. ends [n_docs]: the index behind the
 * last token of each, never falling; a document may be empty. Later documents are the more recent ones.
 *
 * Owns     copies; tokens and ends are borrowed for the call
 * Errors   ERR_UNSUPPORTED beyond the limit, before tokens are read; ERR_NOMEM. *out is NULL then
 * Time     0.15 s for 2^20 random tokens, 0.06 s for as many of one kind, 0.2 s at most seen (EPYC, one core) */
enum err_code spec_corpus_create(struct spec_corpus **out, const int32_t *tokens, const int32_t *ends,
                                 int32_t n_docs, struct err *e);
void spec_corpus_destroy(struct spec_corpus *c);    /* takes NULL */

struct spec_corpus_match {
    int32_t n;           /* length in tokens; 0: the last token is at no place */
    int32_t n_places;    /* all of them, however many */
    int32_t first;       /* for spec_corpus_follow() */
};

/* The longest end of tail [n_tail] that some token follows somewhere in the corpus. Of tail, whose last is
 * the newest token, SPEC_CORPUS_REACH are looked at. */
struct spec_corpus_match spec_corpus_find(const struct spec_corpus *c, const int32_t *tail, int32_t n_tail);

struct spec_corpus_next {
    int32_t token;
    int32_t n_agree;     /* places that go on with this token ... */
    int32_t n_places;    /* ... of those that agreed so far and that any token follows */
};

/* What follows the match, up to cap tokens; returns how many. Each is the token most places go on with, among
 * equals the one with the latest place; places that go on otherwise are out from there on. It ends where the
 * last place left is at its document's end, so the caller that wants agreement cuts it where they split.
 *
 * Of more than SPEC_CORPUS_SAMPLE places so many are looked at, spread evenly over all in the order of the
 * text before the match, and the counts are theirs. */
int32_t spec_corpus_follow(const struct spec_corpus *c, const struct spec_corpus_match *m,
                           struct spec_corpus_next *out, int32_t cap);

/* What it keeps. */
uint64_t spec_corpus_bytes(const struct spec_corpus *c);

#endif
