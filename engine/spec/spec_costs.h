/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SPEC_SPEC_COSTS_H
#define QUIP_ENGINE_SPEC_SPEC_COSTS_H

#include <stdbool.h>
#include <stdint.h>

/* What a pass over the model costs by its number of rows, and how many drafted tokens that makes worth while.
 *
 * C(r) is measured for the row counts of spec_costs_rows() and is linear between them. It depends on how much the
 * sequences hold, since attention takes its time for each row, where weights are read once for all: so there is a
 * curve for each range of that, each twice as wide as the one before; one not measured yet has the shape of its
 * neighbour. From every pass the curves learn: what machines do most is to become faster or slower as a whole, which
 * is one number, the pace; what remains is the shape. Both are known with some doubt (a variance of their logarithm),
 * and what a pass took other than expected goes to each by its doubt, as in a Kalman filter: a machine just found
 * slower is believed slower, a point measured once gives way, one seen a hundred times does not. */

enum { SPEC_MAX_ROWS = 32, SPEC_MAX_DRAFT = SPEC_MAX_ROWS - 1, SPEC_POINTS = 12, SPEC_RANGES = 8 };

struct spec_costs {
    double ms[SPEC_RANGES][SPEC_POINTS];    /* shape; all 0: no pass was made there */
    double doubt[SPEC_RANGES][SPEC_POINTS];
    bool measured[SPEC_RANGES];             /* else taken from a neighbour */
    double pace;                            /* of now; 0: nothing is known at all */
    double pace_doubt;
};

/* How many rows point i of the curves stands for, ascending; 0 beyond the last. */
int32_t spec_costs_rows(int32_t i);
bool spec_costs_known(const struct spec_costs *c);
/* Whether the curve for n_held tokens in the cache is its own. */
bool spec_costs_measured(const struct spec_costs *c, int32_t n_held);
/* The n_held at which range i begins, 0 first; -1 beyond the last. */
int32_t spec_costs_range(int32_t i);
/* A curve [SPEC_POINTS] as measured now; 0 for points that were not: these lie on lines between the others, and behind
 * the last on the line of the last two. The first always was. */
void spec_costs_set(struct spec_costs *c, int32_t n_held, const double *ms);
/* Time of a pass now; beyond SPEC_MAX_ROWS as the last points go on. Costs must be known. */
double spec_costs_ms(const struct spec_costs *c, int32_t n_rows, int32_t n_held);
/* Another pass was made, of at most SPEC_MAX_ROWS rows. */
void spec_costs_learn(struct spec_costs *c, int32_t n_rows, int32_t n_held, double ms);

/* What a sequence could draft: survive[i] is the probability that its first i + 1 tokens all come true. */
struct spec_offer {
    double survive[SPEC_MAX_DRAFT];
    int32_t n;
    int32_t n_take;    /* how many of them to draft */
};

/* Sets n_take of all offers so that a pass gives the most tokens per second, within 3 %: the shortest drafts that do,
 * since long passes come to the screen in bursts. Tokens expected are one for each offer and the survivors, rows are
 * n_rows (one for each offer among them) and the drafts. Nothing is drafted that wins less than 3 %, and no more than
 * room rows. Returns the speed expected, over that without drafts. */
double spec_costs_choose(const struct spec_costs *c, struct spec_offer *offers, int32_t n_offers, int32_t n_rows,
                         int32_t room, int32_t n_held);

#endif
