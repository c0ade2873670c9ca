/* SPDX-License-Identifier: MIT */
#include "engine/sampler/sampler.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler/sampler_impl.h"
#include "engine/sampler/sampler_math.h"

static int32_t look_back(int32_t last_n)
{
    return last_n < 0 ? SAMPLER_MAX_HISTORY : last_n;
}

static int32_t history_room(const struct sampler_params *p)
{
    int32_t a = look_back(p->repeat_last_n), b = p->dry_multiplier > 0 ? look_back(p->dry_last_n) : 0;
    return a > b ? a : b;
}

enum err_code sampler_create(struct sampler **out, const struct sampler_params *p, int32_t n_vocab,
                             struct err *e)
{
    if (n_vocab < 1)
        return err_set(e, ERR_FORMAT, "vocabulary: %d tokens, at least 1 wanted", n_vocab);
    enum err_code rc = sampler_params_check(p, n_vocab, e);
    if (rc != ERR_OK)
        return rc;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for a sampler");
    s->p = *p;
    s->n_vocab = n_vocab;
    s->rng = sampler_mix(p->seed + 0x9E3779B97F4A7C15ull);    /* neighbouring seeds far apart */
    s->mu = 2 * (double)p->mirostat_tau;
    s->history.cap = history_room(p);

    size_t n = (size_t)n_vocab, room = (size_t)s->history.cap;
    s->logits = malloc(n * sizeof *s->logits);
    s->items = malloc(n * sizeof *s->items);
    s->count = calloc(n, sizeof *s->count);
    bool ok = s->logits && s->items && s->count;
    if (room > 0) {
        s->history.token = malloc(room * sizeof *s->history.token);
        s->history.stop = malloc(room);
        s->repeat = malloc(room * sizeof *s->repeat);
        ok = ok && s->history.token && s->history.stop && s->repeat;
    }
    if (!ok) {
        sampler_destroy(s);
        return err_set(e, ERR_NOMEM, "no memory for a sampler of %d tokens", n_vocab);
    }
    *out = s;
    return ERR_OK;
}

void sampler_destroy(struct sampler *s)
{
    if (!s)
        return;
    free(s->history.token);
    free(s->history.stop);
    free(s->repeat);
    free(s->logits);
    free(s->items);
    free(s->count);
    free(s);
}

void sampler_set_pieces(struct sampler *s, sampler_piece_fn piece, const void *context)
{
    s->piece = piece;
    s->piece_context = context;
}

void sampler_want_top(struct sampler *s, int32_t n_top)
{
    assert(n_top >= 0 && n_top <= SAMPLER_MAX_TOP);
    s->n_top = n_top;
}

void sampler_accept(struct sampler *s, int32_t token)
{
    assert(token >= 0 && token < s->n_vocab);
    sampler_remember(s, token);
}

void sampler_copy(struct sampler *dst, const struct sampler *src)
{
    assert(dst->n_vocab == src->n_vocab && dst->history.cap == src->history.cap);
    int32_t *token = dst->history.token;
    uint8_t *stop = dst->history.stop;
    dst->history = src->history;
    dst->history.token = token;
    dst->history.stop = stop;
    size_t n = (size_t)src->history.n;    /* a ring not yet full starts at slot 0 */
    if (n > 0) {
        memcpy(token, src->history.token, n * sizeof *token);
        memcpy(stop, src->history.stop, n);
    }
    dst->rng = src->rng;
    dst->mu = src->mu;
}

/* The first in the order of logit_before(); token -1 when all are -infinity. */
static struct logit find_best(const float *logits, int32_t n_vocab)
{
    struct logit best = { .token = -1, .value = -INFINITY };
    for (int32_t i = 0; i < n_vocab;) {
        if (n_vocab - i >= SAMPLER_STRIDE && !sampler_any_above(logits + i, best.value)) {
            i += SAMPLER_STRIDE;
            continue;
        }
        if (!(logits[i] <= best.value)) {    /* NaN comes in here, too */
            best = (struct logit){ .token = i, .value = logits[i] };
            if (!(logits[i] < INFINITY))
                break;
        }
        i++;
    }
    return best;
}

static enum err_code check_best(const struct sampler *s, struct logit best, struct err *e)
{
    if (!(best.value < INFINITY))
        return err_set(e, ERR_FORMAT, "logits: token %d has %s", best.token,
                       isnan(best.value) ? "NaN" : "+infinity");
    if (best.value == -INFINITY)
        return err_set(e, ERR_FORMAT, "logits: all %d tokens are at -infinity, none can be chosen", s->n_vocab);
    return ERR_OK;
}

/* The temperature that the entropy of what is left asks for. */
static double temperature_of(const struct sampler_params *p, const struct sampler_list *l)
{
    if (p->dynatemp_range <= 0 || l->n < 2)
        return p->temperature;
    double low = (double)p->temperature - p->dynatemp_range;
    double high = (double)p->temperature + p->dynatemp_range;
    low = low > 0 ? low : 0;
    double share = sampler_entropy(l) / sampler_log(l->n), weight = p->dynatemp_exponent > 0 ? 0 : 1;
    if (share > 1e-300)    /* 0 to the power of the exponent otherwise */
        weight = sampler_exp(p->dynatemp_exponent * sampler_log(share));
    return low + (high - low) * weight;
}

/* The candidate at u of the way through the list. */
static const struct sampler_item *draw(const struct sampler_list *l, double u)
{
    double target = u * l->total, sum = 0;
    const struct sampler_item *last = &l->item[0];
    for (int32_t i = 0; i < l->n; i++) {
        if (l->item[i].p <= 0)
            continue;
        last = &l->item[i];
        sum += last->p;
        if (sum > target)
            break;
    }
    return last;    /* the last one where rounding left sum below target */
}

/* Leaves p at temperature 1, or not computed when nothing asks for it. */
static bool cut(const struct sampler_params *p, struct sampler_list *l, double u_xtc)
{
    bool xtc = p->xtc_probability > 0 && p->xtc_threshold <= 0.5f && u_xtc < p->xtc_probability;
    if (p->typical_p >= 1 && p->top_p >= 1 && p->min_p <= 0 && p->dynatemp_range <= 0 && !xtc)
        return false;
    sampler_softmax(l, 1);
    if (p->typical_p < 1)
        sampler_cut_typical(l, p->typical_p, p->min_keep);
    if (p->top_p < 1)
        sampler_cut_top_p(l, p->top_p, p->min_keep);
    if (p->min_p > 0)
        sampler_cut_min_p(l, p->min_p, p->min_keep);
    if (xtc)
        sampler_cut_xtc(l, p->xtc_threshold, p->min_keep);
    return true;
}

/* The candidates among all logits. */
static void fill(const struct sampler *s, struct sampler_list *l, const float *logits, float best)
{
    double floor = -INFINITY;
    if (!s->p.mirostat && s->p.top_n_sigma > 0)
        floor = sampler_sigma_floor(logits, s->n_vocab, best, s->p.top_n_sigma);
    sampler_list_fill(l, logits, s->n_vocab, floor, s->p.mirostat ? 0 : s->p.top_k);
}

/* Every call takes two numbers from the generator, whatever the parameters do with them. */
static void choose(struct sampler *s, struct sampler_list *l, struct sampler_result *out)
{
    double u_xtc = sampler_uniform(&s->rng), u = sampler_uniform(&s->rng);
    if (s->p.mirostat) {
        sampler_softmax(l, s->p.temperature);
        sampler_cut_surprise(l, s->mu);
    } else {
        bool done = cut(&s->p, l, u_xtc);
        double temperature = temperature_of(&s->p, l);
        if (temperature <= 0) {
            sampler_list_front(l, 1);
            l->n = temperature = 1;
            done = false;
        }
        if (!done || temperature != 1)
            sampler_softmax(l, temperature);
    }
    const struct sampler_item *chosen = draw(l, u);
    double p = chosen->p / l->total;
    if (s->p.mirostat) {    /* Basu et al. 2021, algorithm 2 */
        double surprise = -sampler_log(p) / 0x1.62e42fefa39efp-1;
        s->mu -= s->p.mirostat_eta * (surprise - s->p.mirostat_tau);
    }
    out->token = chosen->token;
    out->probability = (float)p;
}

/* Alternatives by the softmax of the logits as they came. */
static void fill_top(struct sampler *s, const float *logits, struct sampler_result *out)
{
    struct sampler_list l = { .item = s->items };
    sampler_list_fill(&l, logits, s->n_vocab, -INFINITY, s->n_top);
    sampler_list_front(&l, s->n_top);    /* a small vocabulary comes unsorted */
    double best = l.item[0].logit, total = 0;
    for (int32_t i = 0; i < s->n_vocab; i++)
        total += sampler_exp(logits[i] - best);
    out->n_top = l.n < s->n_top ? l.n : s->n_top;
    for (int32_t i = 0; i < out->n_top; i++)
        out->top[i] = (struct sampler_candidate){
            .token = l.item[i].token, .probability = (float)(sampler_exp(l.item[i].logit - best) / total) };
    out->raw_probability = (float)(sampler_exp(logits[out->token] - best) / total);
}

enum err_code sampler_sample(struct sampler *s, const float *logits, struct sampler_result *out,
                             struct err *e)
{
    const float *raw = logits;
    if (sampler_changes_logits(s)) {
        memcpy(s->logits, logits, (size_t)s->n_vocab * sizeof *logits);
        sampler_change_logits(s, s->logits);
        logits = s->logits;
    }
    struct logit best = find_best(logits, s->n_vocab);
    enum err_code rc = check_best(s, best, e);
    if (rc != ERR_OK)
        return rc;
    *out = (struct sampler_result){ .token = best.token, .probability = 1 };
    if (s->p.temperature > 0) {
        struct sampler_list l = { .item = s->items };
        fill(s, &l, logits, best.value);
        choose(s, &l, out);
    }
    if (s->n_top > 0)
        fill_top(s, raw, out);
    return ERR_OK;
}

/* What is left out of the best is of no account to what comes after top-k; everything else looks at all logits, or
 * at those of tokens that need not be among the best. */
int32_t sampler_n_best(const struct sampler *s)
{
    const struct sampler_params *p = &s->p;
    if (s->n_top > 0 || sampler_may_change_logits(s))
        return 0;
    if (!(p->temperature > 0))
        return 1;
    bool cuts_first = !p->mirostat && !(p->top_n_sigma > 0) && p->top_k > 0 && p->top_k < s->n_vocab;
    return cuts_first ? p->top_k : 0;
}

enum err_code sampler_sample_best(struct sampler *s, const struct logit *best, int32_t n, struct sampler_result *out,
                                  struct err *e)
{
    int32_t n_best = sampler_n_best(s);
    assert(n_best > 0 && n >= n_best);
    enum err_code rc = check_best(s, best[0], e);
    if (rc != ERR_OK)
        return rc;
    *out = (struct sampler_result){ .token = best[0].token, .probability = 1 };
    if (s->p.temperature > 0) {
        struct sampler_list l = { .item = s->items };
        sampler_list_fill_best(&l, best, n_best);
        choose(s, &l, out);
    }
    return ERR_OK;
}
