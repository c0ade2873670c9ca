/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_COMPARISON_H
#define QUIP_APP_MEASURE_COMPARISON_H

#include "app/measure/kl_file.h"
#include "app/measure/scores.h"
#include "engine/engine.h"

/* Evaluates chunks of a text with one model, beside it with a base and a rival, and scores them, in steps of one
 * evaluation each.
 *
 * A chunk is n_ctx tokens, evaluated from an empty cache with its first token replaced by the beginning token where
 * the vocabulary wants one. Its first half is context; the logits at positions n_ctx/2 .. n_ctx-2 score the tokens
 * after them. All sides go over the same few positions before any goes on, so that the logits of a whole chunk are
 * never held:
 *
 *     subject  [ context ][ slice ]             [ slice ]
 *     base     [ context ]         [ slice ]
 *     rival    [ context ]                [ slice ]
 *                                         scored */

enum comparison_side { COMPARISON_SUBJECT, COMPARISON_BASE, COMPARISON_RIVAL, COMPARISON_SIDES };

enum { COMPARISON_BATCH = 256 };    /* n_batch of the sessions, at least */

struct comparison_options {
    /* Of models with the same vocabulary; n_ctx tokens at least, idle, each its own. What sequence 0 holds is
     * forgotten. Only the subject has to be there. */
    struct session *sessions[COMPARISON_SIDES];
    struct kl_file *base_file;    /* in place of a base; its tokens are read, its rows follow. NULL: none */
    struct kl_file *save;         /* the subject's log-probabilities go here; NULL: nowhere */
    const int32_t *tokens;        /* [n_ctx * n_chunks] */
    int32_t n_ctx, n_chunks, n_vocab;
    int32_t bos;                  /* or -1 */
};

/* Zeroed: nothing to give back. Everything in options is borrowed for as long as this lives. */
struct comparison {
    struct comparison_options o;
    int32_t slice;                         /* positions scored together */
    int32_t chunk;                         /* under way */
    int32_t at;                            /* its tokens that all sides hold */
    int32_t side;                          /* whose turn it is */
    int32_t *ids;                          /* [n_ctx], of this chunk */
    float *logits[COMPARISON_SIDES];       /* [slice][n_vocab] */
    struct scores subject, rival;
};

/* Errors: ERR_NOMEM; nothing to give back then */
enum err_code comparison_init(struct comparison *c, const struct comparison_options *o, struct err *e);
void comparison_finish(struct comparison *c);
/* One evaluation. True in done: all chunks are scored, and there is nothing to do. Errors: of session_eval() (after
 * ERR_CANCELLED the same step can be done again), of the files, ERR_NOMEM
 * Thread  engine */
enum err_code comparison_step(struct comparison *c, bool *done, struct err *e);
/* Whole chunks only: 0 while the first is under way. */
int32_t comparison_n_done(const struct comparison *c);

/* Tokens of a text, of which chunks are cut. Errors: as of model_tokenize() */
enum err_code comparison_tokens(const struct model *m, const char *text, size_t n_bytes, struct token_list *out,
                                struct err *e);
/* What the vocabulary puts before a text, or -1. */
enum err_code comparison_bos(const struct model *m, int32_t *bos, struct err *e);

#endif
