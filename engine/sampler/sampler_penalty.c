/* SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/sampler/sampler_impl.h"
#include "engine/sampler/sampler_math.h"

/* What changes logits before anything is cut: bias, penalties and DRY, all of a few tokens only. */

/* Back to a float; what is finite stays finite. */
static float to_logit(double x)
{
    if (x > FLT_MAX)
        return x == INFINITY ? INFINITY : FLT_MAX;
    if (x < -FLT_MAX)
        return x == -INFINITY ? -INFINITY : -FLT_MAX;
    return (float)x;
}

static bool penalties_on(const struct sampler_params *p)
{
    return p->repeat_last_n != 0
           && (p->repeat_penalty != 1 || p->frequency_penalty != 0 || p->presence_penalty != 0);
}

static bool dry_on(const struct sampler_params *p)
{
    return p->dry_multiplier > 0 && p->dry_base >= 1 && p->dry_last_n != 0;
}

bool sampler_may_change_logits(const struct sampler *s)
{
    return s->p.n_bias > 0 || penalties_on(&s->p) || dry_on(&s->p);
}

bool sampler_changes_logits(const struct sampler *s)
{
    return s->p.n_bias > 0 || (s->history.n > 0 && (penalties_on(&s->p) || dry_on(&s->p)));
}

/* Tokens to look back at. */
static int32_t window(const struct sampler_history *h, int32_t last_n)
{
    return last_n < 0 || last_n > h->n ? h->n : last_n;
}

static void apply_penalties(struct sampler *s, float *logits)
{
    const struct sampler_history *h = &s->history;
    int32_t n = window(h, s->p.repeat_last_n);
    for (int32_t i = 0; i < n; i++)
        s->count[h->token[history_slot(h, i)]]++;
    for (int32_t i = 0; i < n; i++) {
        int32_t token = h->token[history_slot(h, i)], times = s->count[token];
        if (times == 0)
            continue;    /* seen in this loop already */
        s->count[token] = 0;
        double x = logits[token];
        x = x <= 0 ? x * s->p.repeat_penalty : x / s->p.repeat_penalty;
        x -= times * (double)s->p.frequency_penalty + s->p.presence_penalty;
        logits[token] = to_logit(x);
    }
}

/* ---- DRY ------------------------------------------------------------------------------------------- */

static const char *piece_of(const struct sampler *s, int32_t token, size_t *n_bytes)
{
    *n_bytes = 0;
    return s->piece ? s->piece(s->piece_context, token, n_bytes) : NULL;
}

static bool contains_breaker(const struct sampler *s, const char *text, size_t n_bytes)
{
    for (int32_t i = 0; i < s->p.n_dry_breakers; i++) {
        const char *breaker = s->p.dry_breakers[i];
        if (n_bytes > 0 && memmem(text, n_bytes, breaker, strlen(breaker)))
            return true;
    }
    return false;
}

/* True when a breaker begins in the tail of the text so far and ends in this piece. */
static bool completes_breaker(const struct sampler *s, const char *text, size_t n_bytes)
{
    const struct sampler_history *h = &s->history;
    for (int32_t i = 0; i < s->p.n_dry_breakers; i++) {
        const char *breaker = s->p.dry_breakers[i];
        size_t n = strlen(breaker), n_tail = (size_t)h->n_tail;
        for (size_t a = 1; a < n && a <= n_tail; a++)
            if (n - a <= n_bytes && memcmp(h->tail + n_tail - a, breaker, a) == 0
                && memcmp(text, breaker + a, n - a) == 0)
                return true;
    }
    return false;
}

static void extend_tail(struct sampler_history *h, const char *text, size_t n_bytes)
{
    size_t room = sizeof h->tail - 1, n_tail = (size_t)h->n_tail;
    size_t take = n_bytes < room ? n_bytes : room;
    size_t keep = n_tail < room - take ? n_tail : room - take;
    memmove(h->tail, h->tail + n_tail - keep, keep);
    if (take > 0)
        memcpy(h->tail + keep, text + n_bytes - take, take);
    h->n_tail = (int32_t)(keep + take);
}

void sampler_remember(struct sampler *s, int32_t token)
{
    struct sampler_history *h = &s->history;
    if (h->cap == 0)
        return;
    uint8_t stop = 0;
    if (s->piece && dry_on(&s->p)) {
        size_t n_bytes;
        const char *text = piece_of(s, token, &n_bytes);
        stop = contains_breaker(s, text, n_bytes) || completes_breaker(s, text, n_bytes);
        extend_tail(h, text, n_bytes);
    }
    h->token[h->next] = token;
    h->stop[h->next] = stop;
    h->next = h->next + 1 == h->cap ? 0 : h->next + 1;
    h->n += h->n < h->cap;
}

/* match[k], 1 <= k < n: how many tokens before and including the one k back equal the last ones of the
 * history (the Z function of the history read backwards, in linear time). */
static void match_backwards(int32_t *match, const struct sampler_history *h, int32_t n)
{
    int32_t left = 0, right = 0;    /* the match found that reaches furthest: [left, right) */
    for (int32_t k = 1; k < n; k++) {
        int32_t length = 0;
        if (k < right)
            length = match[k - left] < right - k ? match[k - left] : right - k;
        while (k + length < n
               && h->token[history_slot(h, length)] == h->token[history_slot(h, k + length)])
            length++;
        match[k] = length;
        if (k + length > right) {
            left = k;
            right = k + length;
        }
    }
}

/* "Don't repeat yourself": a token that would go on with a sequence seen before loses
 * multiplier * base^(length - allowed length), length being how much of that sequence stands at the end of
 * the history, counted from the last breaker on. Tokens that hold a breaker themselves are spared.
 * Source: p-e-w, text-generation-webui pull request 5677, as llama.cpp has it. */
static void apply_dry(struct sampler *s, float *logits)
{
    const struct sampler_history *h = &s->history;
    int32_t n = window(h, s->p.dry_last_n), allowed = s->p.dry_allowed_length, limit = 0;
    while (limit < n && !h->stop[history_slot(h, limit)])
        limit++;
    if (n <= allowed || limit < allowed)
        return;
    match_backwards(s->repeat, h, n);
    for (int32_t k = 1; k < n; k++) {
        int32_t length = s->repeat[k] < limit ? s->repeat[k] : limit;
        int32_t *most = &s->count[h->token[history_slot(h, k - 1)]];    /* what followed the match */
        if (length >= allowed && length > *most)
            *most = length;
    }
    for (int32_t k = 1; k < n; k++) {
        int32_t token = h->token[history_slot(h, k - 1)], length = s->count[token];
        if (length == 0)
            continue;
        s->count[token] = 0;
        size_t n_bytes;
        const char *text = piece_of(s, token, &n_bytes);
        if (contains_breaker(s, text, n_bytes))
            continue;
        double penalty = s->p.dry_multiplier * sampler_power(s->p.dry_base, length - allowed);
        logits[token] = to_logit(logits[token] - (penalty < FLT_MAX ? penalty : FLT_MAX));
    }
}

void sampler_change_logits(struct sampler *s, float *logits)
{
    for (int32_t i = 0; i < s->p.n_bias; i++) {
        const struct sampler_bias *b = &s->p.bias[i];
        logits[b->token] = to_logit((double)logits[b->token] + b->bias);
    }
    if (s->history.n > 0 && penalties_on(&s->p))
        apply_penalties(s, logits);
    if (s->history.n > 0 && dry_on(&s->p))
        apply_dry(s, logits);
}
