/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SAMPLER_SAMPLER_H
#define QUIP_ENGINE_SAMPLER_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/base/logit.h"
#include "engine/sampler/sampler_params.h"

/* Chooses the next token of one sequence. The order of samplers stands in sampler_params.h, what each does
 * at its function in sampler_cut.c and sampler_penalty.c.
 *
 * The same seed, parameters, history and logits give the same token on every machine: arithmetic is plain
 * double and float with its own exp, log and generator (sampler_math.h), nothing of libm.
 * At temperature 0 the choice is the largest logit after bias, penalties and DRY, the lowest id among
 * equals; the samplers after them would only take candidates away and are left out.
 *
 * All memory is taken in sampler_create; nothing here allocates later. One sampler belongs to one thread. */
struct sampler;

enum { SAMPLER_MAX_TOP = 16, SAMPLER_MAX_HISTORY = 1 << 18 };

struct sampler_candidate {
    int32_t token;
    float probability;
};

struct sampler_result {
    int32_t token;
    float probability;    /* among what the samplers left, at the temperature in force; 1 when greedy */
    /* Only when asked for by sampler_want_top(), else n_top is 0: the likeliest tokens, likeliest first, by
     * the softmax of the logits as they came, and the same of the token chosen. */
    int32_t n_top;
    struct sampler_candidate top[SAMPLER_MAX_TOP];
    float raw_probability;
};

/* Errors: ERR_FORMAT as sampler_params_check(), ERR_NOMEM. The parameters are copied. */
enum err_code sampler_create(struct sampler **out, const struct sampler_params *p, int32_t n_vocab,
                             struct err *e);
void sampler_destroy(struct sampler *s);    /* takes NULL */

/* The bytes a token stands for, and their number; what it returns is read before the next call. */
typedef const char *(*sampler_piece_fn)(const void *context, int32_t token, size_t *n_bytes);

/* DRY's breakers are text: without pieces none is ever found. To be set before the first sampler_accept. */
void sampler_set_pieces(struct sampler *s, sampler_piece_fn piece, const void *context);

/* How many alternatives results carry: 0 (as created) to SAMPLER_MAX_TOP. Costs a pass over all logits. */
void sampler_want_top(struct sampler *s, int32_t n_top);

/* Chooses from logits [n_vocab]. Draws its random numbers, so a second call on the same logits may choose
 * another token; does not touch the history.
 *
 * Errors   ERR_FORMAT naming the token when a logit is NaN or +infinity, or when all are -infinity (what
 *          biases forbid included). The sampler can be used further. */
enum err_code sampler_sample(struct sampler *s, const float *logits, struct sampler_result *out,
                             struct err *e);

/* How many of the best logits choose like all of them: the same token with the same probability, the same numbers
 * drawn, the same errors. 0: nothing less than all. Changes with sampler_want_top() alone. */
int32_t sampler_n_best(const struct sampler *s);

/* The same as sampler_sample() on the logits that these n are the best of, in the order of logit_before(). n: at least
 * sampler_n_best(), which is not 0. */
enum err_code sampler_sample_best(struct sampler *s, const struct logit *best, int32_t n, struct sampler_result *out,
                                  struct err *e);

/* Tells the history, which penalties and DRY look at, of a token: of the prompt, or one chosen. */
void sampler_accept(struct sampler *s, int32_t token);

/* Makes dst go on exactly as src would: history, generator and mirostat's state. Both were created with the
 * same parameters and vocabulary. */
void sampler_copy(struct sampler *dst, const struct sampler *src);

#endif
