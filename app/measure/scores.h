/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_SCORES_H
#define QUIP_APP_MEASURE_SCORES_H

#include <stdbool.h>
#include <stdint.h>

#include "app/measure/estimate.h"
#include "engine/base/err.h"

/* What a model's predictions at the positions of a text are worth, alone and beside those of a base, and what that
 * comes to. Arithmetic alone: where the logits come from is comparison.h's business.
 *
 *   nll       -ln p(next token)
 *   kl        sum over the vocabulary of p_base * (ln p_base - ln p): KL divergence of the model from the base
 *   delta_p   p - p_base of the next token
 *   same_top  1: both have the same token first
 *
 * Numbers  logits f32; sums and logarithms in double: predictions that are the same have a KL of 0 exactly, and those
 *          that are nearly the same have it to about 1e-8 */

/* One row of logits: its extremes, its first best token, and the logarithm of the sum of exp, so that
 * ln p = logit - log_z. A row of log-probabilities is one whose log_z is taken as 0. */
struct score_row {
    const float *logits;    /* [n_vocab] */
    int32_t n_vocab, top;
    float high, low;
    double log_z;
};

void score_row(struct score_row *r, const float *logits, int32_t n_vocab);
/* Log-probabilities of a file, in which exp may not add up to 1. */
void score_row_given(struct score_row *r, const float *log_probabilities, int32_t n_vocab);

enum score_column { SCORE_NLL, SCORE_BASE_NLL, SCORE_KL, SCORE_DELTA_P, SCORE_SAME_TOP, SCORE_COLUMNS };

/* A zeroed struct with per_chunk set is empty. Chunk after chunk, each of per_chunk positions. */
struct scores {
    double *columns[SCORE_COLUMNS];    /* [n] */
    int64_t n, cap;
    int64_t per_chunk;
    bool has_base;
};

void scores_finish(struct scores *s);    /* takes a zeroed one */
/* One position more. base NULL: there is none. A token counts for the KL where its log-probability in the base is above
 * floor (-INFINITY: all do). Errors: ERR_NOMEM */
enum err_code scores_add(struct scores *s, const struct score_row *row, const struct score_row *base, float floor,
                         int32_t next, struct err *e);

/* Of whole chunks; what stands after the last is left out. */
struct score_summary {
    int64_t n, n_chunks;
    int32_t n_blocks;
    struct estimate nll;
    struct estimate base_nll, log_ratio;    /* with a base; log_ratio: ln(PPL / PPL of the base) */
    double correlation;                     /* of the two nll */
    struct estimate kl, delta_p, same_top;
    double delta_p_rms, delta_p_rms_error;
};

/* Errors: ERR_NOMEM */
enum err_code scores_summary(const struct scores *s, struct score_summary *out, struct err *e);

/* Two models at the same positions, a less b. With bases (both or neither) all four figures, else nll alone.
 * Errors: ERR_NOMEM */
struct score_difference {
    struct estimate nll, kl, same_top;
};
enum err_code scores_difference(const struct scores *a, const struct scores *b, struct score_difference *out,
                                struct err *e);

/* A column sorted ascending, [n] of the caller. */
void scores_sorted(const struct scores *s, enum score_column column, double *out);

#endif
