/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_BESIDE_H
#define QUIP_APP_MEASURE_BESIDE_H

#include "engine/engine.h"

/* Two models answer one prompt side by side, with the same sampler and the same seed, token by token in turns; then the
 * text of one of them, the base, is put to both, and their predictions are compared. For a thread that has other things
 * to do as well:
 *
 *     beside_create -> beside_step until done -> beside_result -> beside_destroy
 *
 *   ANSWER    both read the prompt, one after the other; then a step goes to the side that has said less, until both
 *             are through
 *   JUDGE     the base's answer is read by both: KL divergence of the other from the base before each of its tokens, and
 *             before its end where the model ended it; and whether both have the same token first
 *
 * Times are those of a side's own steps, so each has the speed it would have alone. Nothing is drafted: a token is a
 * pass over the weights.
 *
 * Thread  engine; session_cancel() on both sessions from any other ends a step early */
struct beside;

enum { BESIDE_SIDES = 2 };

struct beside_options {
    struct session *sessions[BESIDE_SIDES];    /* idle, each its own, of models with the same tokens; room for prompt
                                                * and answer; what sequence 0 holds is kept where the prompt has it */
    int32_t n_vocab;
    int32_t base;                   /* the side that the other is judged by */
    int32_t first;                  /* the side that has the first turn */
    const int32_t *prompt;          /* [n_prompt], copied */
    int32_t n_prompt;
    struct generate_options generate;    /* sampling, n_predict (above 0), n_shared; the same for both */
};

/* Errors: ERR_NOMEM; of session_generate() */
enum err_code beside_create(struct beside **out, const struct beside_options *o, struct err *e);
void beside_destroy(struct beside *b);    /* takes NULL */

/* One step of one side, and what it brought: up to SESSION_EVENTS of it. Errors: ERR_CANCELLED, after which only what is
 * there can be looked at; those of the engine. */
struct beside_events {
    int32_t side, n;
    struct eng_event events[SESSION_EVENTS];
};
enum err_code beside_step(struct beside *b, struct beside_events *out, bool *done, struct err *e);
/* No more is said; what is there is judged. */
void beside_end_answers(struct beside *b);

struct beside_result {
    struct {
        int32_t n_tokens;
        double answer_per_s;        /* of those after the first, the end counted as one; 0: there are too few */
        bool is_whole;              /* the model ended it */
    } sides[BESIDE_SIDES];
    int32_t n_same;                 /* tokens that both begin with; */
    bool differ;                    /* then they go on otherwise, or one of them ends. False: they are the same, or one was
                                     * cut where the other goes on */
    int32_t n_judged;               /* places in the base's answer; 0: not judged yet, or it has none */
    double kl, kl_low, kl_high;     /* mean, and its 95 % interval (estimate.h) */
    double same_top;                /* share of the places at which both have the same token first */
};
/* At any time. Errors: ERR_NOMEM */
enum err_code beside_result(const struct beside *b, struct beside_result *out, struct err *e);

#endif
