/* SPDX-License-Identifier: MIT */
#include "app/measure/scores.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void score_row(struct score_row *r, const float *logits, int32_t n_vocab)
{
    score_row_given(r, logits, n_vocab);
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++)
        sum += expf(logits[i] - r->high);
    r->log_z = r->high + log(sum);
}

void score_row_given(struct score_row *r, const float *log_probabilities, int32_t n_vocab)
{
    const float *l = log_probabilities;
    *r = (struct score_row){ .logits = l, .n_vocab = n_vocab, .high = l[0], .low = l[0] };
    for (int32_t i = 1; i < n_vocab; i++) {
        if (l[i] > r->high) {
            r->high = l[i];
            r->top = i;
        }
        r->low = l[i] < r->low ? l[i] : r->low;
    }
}

static double divergence(const struct score_row *row, const struct score_row *base, float floor)
{
    double kl = 0;
    for (int32_t i = 0; i < row->n_vocab; i++) {
        double log_base = base->logits[i] - base->log_z;
        float p = expf((float)log_base);
        if (log_base > floor && p > 0)
            kl += p * (log_base - (row->logits[i] - row->log_z));
    }
    return kl;
}

static enum err_code grow(struct scores *s, struct err *e)
{
    int64_t cap = s->cap ? 2 * s->cap : 1024;
    for (int i = 0; i < SCORE_COLUMNS; i++) {
        double *grown = realloc(s->columns[i], (size_t)cap * sizeof *grown);
        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for the figures of more than %lld positions", (long long)s->n);
        s->columns[i] = grown;
    }
    s->cap = cap;
    return ERR_OK;
}

enum err_code scores_add(struct scores *s, const struct score_row *row, const struct score_row *base, float floor,
                         int32_t next, struct err *e)
{
    assert(next >= 0 && next < row->n_vocab && (!base || base->n_vocab == row->n_vocab));
    enum err_code rc = s->n < s->cap ? ERR_OK : grow(s, e);
    if (rc != ERR_OK)
        return rc;
    double values[SCORE_COLUMNS] = { [SCORE_NLL] = row->log_z - row->logits[next] };
    if (base) {
        values[SCORE_BASE_NLL] = base->log_z - base->logits[next];
        values[SCORE_KL] = divergence(row, base, floor);
        values[SCORE_DELTA_P] = exp(-values[SCORE_NLL]) - exp(-values[SCORE_BASE_NLL]);
        values[SCORE_SAME_TOP] = row->top == base->top;
    }
    for (int i = 0; i < SCORE_COLUMNS; i++)
        s->columns[i][s->n] = values[i];
    s->n++;
    s->has_base = base != NULL;
    return ERR_OK;
}

void scores_finish(struct scores *s)
{
    for (int i = 0; i < SCORE_COLUMNS; i++)
        free(s->columns[i]);
    *s = (struct scores){ .per_chunk = s->per_chunk };
}

/* ---- what it comes to ----------------------------------------------------------------------------- */

/* Mean of (x - mean x) (y - mean y). */
static double covariance(const double *x, double mean_x, const double *y, double mean_y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (x[i] - mean_x) * (y[i] - mean_y);
    return sum / (double)n;
}

/* Of the differences; spare: [n]. */
static struct estimate estimate_less(const double *a, const double *b, int64_t n, const struct estimate_blocks *blocks,
                                     double *spare)
{
    for (int64_t i = 0; i < n; i++)
        spare[i] = a[i] - b[i];
    return estimate_mean(spare, n, blocks);
}

static int64_t whole(const struct scores *s)
{
    return s->per_chunk > 0 ? s->n / s->per_chunk * s->per_chunk : 0;
}

static enum err_code take_spare(double **out, int64_t n, struct err *e)
{
    *out = malloc((size_t)(n > 0 ? n : 1) * sizeof **out);
    return *out ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for the figures of %lld positions", (long long)n);
}

enum err_code scores_summary(const struct scores *s, struct score_summary *out, struct err *e)
{
    int64_t n = whole(s);
    double *spare;
    *out = (struct score_summary){ .n = n };
    if (n == 0)
        return ERR_OK;
    enum err_code rc = take_spare(&spare, n, e);
    if (rc != ERR_OK)
        return rc;
    struct estimate_blocks blocks = estimate_blocks(n, s->per_chunk);
    const double *nll = s->columns[SCORE_NLL], *base_nll = s->columns[SCORE_BASE_NLL];
    const double *delta_p = s->columns[SCORE_DELTA_P];
    out->n_chunks = blocks.n_chunks;
    out->n_blocks = blocks.n_blocks;
    out->nll = estimate_mean(nll, n, &blocks);
    if (s->has_base) {
        out->base_nll = estimate_mean(base_nll, n, &blocks);
        out->log_ratio = estimate_less(nll, base_nll, n, &blocks, spare);
        double spread = out->nll.error * out->base_nll.error * (double)(n - 1);
        out->correlation = spread > 0 ? covariance(nll, out->nll.mean, base_nll, out->base_nll.mean, n) / spread : 0;
        out->kl = estimate_mean(s->columns[SCORE_KL], n, &blocks);
        out->delta_p = estimate_mean(delta_p, n, &blocks);
        out->same_top = estimate_share(s->columns[SCORE_SAME_TOP], n, &blocks);
        for (int64_t i = 0; i < n; i++)
            spare[i] = delta_p[i] * delta_p[i];
        struct estimate squares = estimate_mean(spare, n, &blocks);
        out->delta_p_rms = sqrt(squares.mean);
        out->delta_p_rms_error = out->delta_p_rms > 0 ? 0.5 / out->delta_p_rms * squares.error : 0;
    }
    free(spare);
    return ERR_OK;
}

enum err_code scores_difference(const struct scores *a, const struct scores *b, struct score_difference *out,
                                struct err *e)
{
    int64_t n = whole(a);
    double *spare;
    *out = (struct score_difference){ 0 };
    assert(n == whole(b) && a->per_chunk == b->per_chunk && a->has_base == b->has_base);
    enum err_code rc = take_spare(&spare, n, e);
    if (rc != ERR_OK)
        return rc;
    struct estimate_blocks blocks = estimate_blocks(n, a->per_chunk);
    struct estimate *const estimates[SCORE_COLUMNS] = { [SCORE_NLL] = &out->nll, [SCORE_KL] = &out->kl,
                                                        [SCORE_SAME_TOP] = &out->same_top };
    for (int i = 0; i < SCORE_COLUMNS; i++)
        if (estimates[i] && (i == SCORE_NLL || a->has_base))
            *estimates[i] = estimate_less(a->columns[i], b->columns[i], n, &blocks, spare);
    free(spare);
    return ERR_OK;
}

void scores_sorted(const struct scores *s, enum score_column column, double *out)
{
    int64_t n = whole(s);
    if (n > 0)
        memcpy(out, s->columns[column], (size_t)n * sizeof *out);
    estimate_sort(out, n);
}
