/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SAMPLER_SAMPLER_IMPL_H
#define QUIP_ENGINE_SAMPLER_SAMPLER_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/sampler/sampler.h"

/* Shared by the sampler's own files. */

/* The last tokens, in a ring. stop[i]: a DRY breaker ended in that token. */
struct sampler_history {
    int32_t *token;        /* [cap]; NULL when nobody looks back */
    uint8_t *stop;         /* [cap] */
    int32_t cap, n;        /* room, tokens held */
    int32_t next;          /* where the next one goes */
    char tail[SAMPLER_BREAKER_BYTES];    /* the text's last bytes, for breakers across tokens */
    int32_t n_tail;
};

/* i tokens back; 0 is the last. */
static inline int32_t history_slot(const struct sampler_history *h, int32_t i)
{
    int32_t slot = h->next - 1 - i;
    return slot < 0 ? slot + h->cap : slot;
}

struct sampler {
    struct sampler_params p;
    int32_t n_vocab, n_top;
    sampler_piece_fn piece;
    const void *piece_context;

    /* What goes on from token to token. */
    struct sampler_history history;
    uint64_t rng;
    double mu;             /* mirostat: surprise allowed, in bits */

    /* Scratch. */
    float *logits;         /* [n_vocab]: a copy, when something changes them */
    struct sampler_item *items;    /* [n_vocab] */
    int32_t *count;        /* [n_vocab]: all 0 between calls */
    int32_t *repeat;       /* [history.cap]: DRY's match lengths */
};

/* A candidate: p is e^((logit - best) / temperature), to be divided by the list's total. */
struct sampler_item {
    int32_t token;
    float logit;
    double p;
};

struct sampler_list {
    struct sampler_item *item;
    int32_t n;             /* at least 1 */
    float best;            /* largest logit when p was computed */
    double total;          /* sum of p over what is left */
};

/* Whether one of SAMPLER_STRIDE logits is above the bar, or NaN. Passes over a vocabulary ask this first,
 * because the compiler makes vectors of it: four times faster than one by one. */
enum { SAMPLER_STRIDE = 16 };

static inline bool sampler_any_above(const float *logits, float bar)
{
    int32_t above = 0;
    for (int i = 0; i < SAMPLER_STRIDE; i++)
        above |= !(logits[i] <= bar);
    return above;
}

/* sampler_penalty.c: logit bias, penalties and DRY, on logits [n_vocab]. */
bool sampler_may_change_logits(const struct sampler *s);     /* with some history */
bool sampler_changes_logits(const struct sampler *s);        /* with the history there is */
void sampler_change_logits(struct sampler *s, float *logits);
void sampler_remember(struct sampler *s, int32_t token);

/* sampler_cut.c: from all logits to a list, and what shortens it. */
double sampler_sigma_floor(const float *logits, int32_t n_vocab, float best, double n_sigma);
void sampler_list_fill(struct sampler_list *l, const float *logits, int32_t n_vocab, double floor,
                       int32_t top_k);
void sampler_list_fill_best(struct sampler_list *l, const struct logit *best, int32_t n);
void sampler_list_front(struct sampler_list *l, int32_t n);
void sampler_softmax(struct sampler_list *l, double temperature);
void sampler_cut_typical(struct sampler_list *l, double mass, int32_t min_keep);
void sampler_cut_top_p(struct sampler_list *l, double mass, int32_t min_keep);
void sampler_cut_min_p(struct sampler_list *l, double share, int32_t min_keep);
void sampler_cut_xtc(struct sampler_list *l, double threshold, int32_t min_keep);
void sampler_cut_surprise(struct sampler_list *l, double bits);
double sampler_entropy(const struct sampler_list *l);

#endif
