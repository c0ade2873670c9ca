/* SPDX-License-Identifier: MIT */
#include "engine/spec/spec_costs.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LEAST_GAIN 1.03
#define AS_GOOD 0.97

/* Variances of logarithms: of a point measured once or on a line between such, at least; of the pace when it is new,
 * what each pass adds to it; of a single pass. */
#define DOUBT_MEASURED 0.02
#define DOUBT_BETWEEN 0.06
#define DOUBT_LEAST 0.001
#define DOUBT_PACE 4.0
#define DOUBT_DRIFT 0.0005
#define DOUBT_PASS 0.01

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
    return c->measured[range_of(n_held)];
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

static void fill_gaps(double *ms)
{
    int32_t a = 0, b = -1;
    for (int32_t i = 1; i < SPEC_POINTS; i++) {
        if (ms[i] <= 0)
            continue;
        for (int32_t j = a + 1; j < i; j++)
            ms[j] = ms[a] + (ms[i] - ms[a]) * (points[j] - points[a]) / (points[i] - points[a]);
        b = a;
        a = i;
    }
    double slope = b < 0 ? ms[a] : (ms[a] - ms[b]) / (points[a] - points[b]);
    for (int32_t j = a + 1; j < SPEC_POINTS; j++)
        ms[j] = ms[a] + slope * (points[j] - points[a]);
}

void spec_costs_set(struct spec_costs *c, int32_t n_held, const double *ms)
{
    int range = range_of(n_held);
    double *to = c->ms[range], all[SPEC_POINTS];
    if (c->pace <= 0) {
        c->pace = 1;
        c->pace_doubt = DOUBT_PACE;
    }
    memcpy(all, ms, sizeof all);
    fill_gaps(all);
    c->measured[range] = true;
    for (int i = 0; i < SPEC_POINTS; i++) {
        to[i] = all[i] / c->pace;
        if (i > 0 && to[i] < to[i - 1])
            to[i] = to[i - 1];    /* more rows are not less work, */
        if (to[i] > points[i] * to[0])
            to[i] = points[i] * to[0];    /* nor more than as many passes: something disturbed it */
        c->doubt[range][i] = ms[i] > 0 ? DOUBT_MEASURED : DOUBT_BETWEEN;
    }
}

double spec_costs_ms(const struct spec_costs *c, int32_t n_rows, int32_t n_held)
{
    const double *ms = curve(c, n_held);
    double part;
    int i = below(n_rows, &part);
    return c->pace * (ms[i] + part * (ms[i + 1] - ms[i]));
}

/* A point's share in a pass that took exp(error) of what was expected. */
static void correct(double *ms, double *doubt, double share, double error, double all_doubt)
{
    double gain = share * *doubt / all_doubt;
    *ms *= exp(error * gain);
    *doubt *= 1 - gain;
    *doubt = *doubt > DOUBT_LEAST ? *doubt : DOUBT_LEAST;
}

void spec_costs_learn(struct spec_costs *c, int32_t n_rows, int32_t n_held, double ms)
{
    assert(n_rows > 0 && n_rows <= SPEC_MAX_ROWS);
    int range = range_of(n_held);
    double *to = c->ms[range], *doubt = c->doubt[range], part;
    if (!spec_costs_known(c) || ms <= 0)
        return;
    if (to[0] <= 0) {
        memcpy(to, curve(c, n_held), sizeof c->ms[0]);
        for (int i = 0; i < SPEC_POINTS; i++)
            doubt[i] = DOUBT_BETWEEN;
    }
    double error = log(ms / spec_costs_ms(c, n_rows, n_held));
    double most = c->pace_doubt > DOUBT_MEASURED ? 20 : 0.5;    /* one pass that was disturbed is not believed */
    error = fmin(fmax(error, -most), most);
    int i = below(n_rows, &part);
    double pace_doubt = c->pace_doubt + DOUBT_DRIFT;
    double all = pace_doubt + (1 - part) * doubt[i] + part * doubt[i + 1] + DOUBT_PASS;
    correct(&to[i], &doubt[i], 1 - part, error, all);
    correct(&to[i + 1], &doubt[i + 1], part, error, all);
    for (int j = 1; error > 0 && j < SPEC_POINTS; j++)    /* more rows are still not less work */
        to[j] = to[j] < to[j - 1] ? to[j - 1] : to[j];
    for (int j = SPEC_POINTS - 1; error < 0 && j > 0; j--)
        to[j - 1] = to[j - 1] > to[j] ? to[j] : to[j - 1];
    c->pace *= exp(error * pace_doubt / all);
    c->pace_doubt = pace_doubt * (1 - pace_doubt / all);
}

double spec_costs_choose(const struct spec_costs *c, struct spec_offer *offers, int32_t n_offers, int32_t n_rows,
                         int32_t room, int32_t n_held)
{
    double tokens = n_offers, without = n_offers / spec_costs_ms(c, n_rows, n_held), best = without;
    double speeds[SPEC_MAX_DRAFT + 1] = { without };
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
        speeds[n_drafted] = tokens / spec_costs_ms(c, n_rows + n_drafted, n_held);
        best = speeds[n_drafted] > best ? speeds[n_drafted] : best;
    }
    double enough = fmax(AS_GOOD * best, LEAST_GAIN * without);
    for (int32_t i = n_drafted; i > 0; i--)
        n_best = speeds[i] >= enough ? i : n_best;
    while (n_drafted > n_best)
        offers[taken[--n_drafted]].n_take--;
    return speeds[n_best] / without;
}
