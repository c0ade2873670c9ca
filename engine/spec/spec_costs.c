/* SPDX-License-Identifier: MIT */
#include "engine/spec/spec_costs.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LEAST_GAIN 1.03

static const int32_t points[SPEC_POINTS] = { 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, SPEC_MAX_ROWS };

int32_t spec_costs_rows(int32_t i)
{
    return i < SPEC_POINTS ? points[i] : 0;
}

bool spec_costs_known(const struct spec_costs *c)
{
    return c->pace > 0;
}

enum { FIRST_RANGE = 512 };

static int range_of(int32_t n_held)
{
    int i = 0;
    while (i + 1 < SPEC_RANGES && n_held >= FIRST_RANGE << i)
        i++;
    return i;
}

int32_t spec_costs_range(int32_t i)
{
    return i >= SPEC_RANGES ? -1 : i > 0 ? FIRST_RANGE << (i - 1) : 0;
}

bool spec_costs_measured(const struct spec_costs *c, int32_t n_held)
{
    return c->ms[range_of(n_held)][0] > 0;
}

/* The curve of the range, or of the nearest one that was seen. */
static const double *curve(const struct spec_costs *c, int32_t n_held)
{
    int range = range_of(n_held);
    for (int away = 0; away < SPEC_RANGES; away++) {
        if (range - away >= 0 && c->ms[range - away][0] > 0)
            return c->ms[range - away];
        if (range + away < SPEC_RANGES && c->ms[range + away][0] > 0)
            return c->ms[range + away];
    }
    assert(false);
    return c->ms[0];
}

/* The point at or below a number of rows, with a next one; part: how far it is to that. */
static int below(int32_t n_rows, double *part)
{
    int i = 0;
    while (i + 2 < SPEC_POINTS && points[i + 1] <= n_rows)
        i++;
    *part = (double)(n_rows - points[i]) / (points[i + 1] - points[i]);
    return i;
}

void spec_costs_set(struct spec_costs *c, int32_t n_held, const double *ms)
{
    double *to = c->ms[range_of(n_held)];
    c->pace = c->pace > 0 ? c->pace : 1;
    c->n_rows_before = 0;
    for (int i = 0; i < SPEC_POINTS; i++) {
        to[i] = ms[i] / c->pace;
        if (i > 0 && to[i] < to[i - 1])
            to[i] = to[i - 1];    /* more rows are not less work */
    }
}

double spec_costs_ms(const struct spec_costs *c, int32_t n_rows, int32_t n_held)
{
    const double *ms = curve(c, n_held);
    double part;
    int i = below(n_rows, &part);
    return c->pace * (ms[i] + part * (ms[i + 1] - ms[i]));
}

void spec_costs_learn(struct spec_costs *c, int32_t n_rows, int32_t n_held, double ms)
{
    assert(n_rows > 0 && n_rows <= SPEC_MAX_ROWS);
    double *to = c->ms[range_of(n_held)], part;
    if (!spec_costs_known(c) || ms <= 0)
        return;
    if (to[0] <= 0)
        memcpy(to, curve(c, n_held), sizeof c->ms[0]);
    double error = log(ms / spec_costs_ms(c, n_rows, n_held));
    error = fmin(fmax(error, -0.5), 0.5);    /* one pass that was disturbed */
    bool same = n_rows == c->n_rows_before;
    int i = below(n_rows, &part);
    to[i] *= exp(error * (1 - part) * (same ? 0.02 : 0.2));
    to[i + 1] *= exp(error * part * (same ? 0.02 : 0.2));
    c->pace *= exp(error * (same ? 0.2 : 0.05));
    c->n_rows_before = n_rows;
}

double spec_costs_choose(const struct spec_costs *c, struct spec_offer *offers, int32_t n_offers, int32_t n_rows,
                         int32_t room, int32_t n_held)
{
    double tokens = n_offers, without = n_offers / spec_costs_ms(c, n_rows, n_held), best = without;
    int32_t n_drafted = 0, n_best = 0;
    for (int32_t i = 0; i < n_offers; i++)
        offers[i].n_take = 0;
    /* The likeliest next token of all, again and again: survival falls along each offer, so these are the best
     * n_drafted for every number. */
    int32_t taken[SPEC_MAX_DRAFT];
    while (n_drafted < room && n_drafted < SPEC_MAX_DRAFT) {
        int32_t next = -1;
        for (int32_t i = 0; i < n_offers; i++) {
            const struct spec_offer *o = &offers[i];
            if (o->n_take < o->n && (next < 0 || o->survive[o->n_take] > offers[next].survive[offers[next].n_take]))
                next = i;
        }
        if (next < 0)
            break;
        tokens += offers[next].survive[offers[next].n_take++];
        taken[n_drafted++] = next;
        double speed = tokens / spec_costs_ms(c, n_rows + n_drafted, n_held);
        if (speed > best && speed >= LEAST_GAIN * without) {
            best = speed;
            n_best = n_drafted;
        }
    }
    while (n_drafted > n_best)
        offers[taken[--n_drafted]].n_take--;
    return best / without;
}
