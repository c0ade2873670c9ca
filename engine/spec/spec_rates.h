/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SPEC_SPEC_RATES_H
#define QUIP_ENGINE_SPEC_SPEC_RATES_H

#include <stdbool.h>

#include "engine/spec/spec_index.h"

/* How often guesses come true, by kind and by length of match. Learnt from every token of an answer, drafted or
 * not: comparing it with what would have been guessed costs the model nothing. What is long ago counts less. */

enum { SPEC_LENGTHS = 9 };    /* 1, 2, 3, 4, 5-7, 8-12, 13-23, 24-47, 48 and more tokens */

struct spec_rates {
    struct spec_rate {
        float n, n_true;      /* weights; n_true <= n */
    } of[2][SPEC_KINDS][SPEC_LENGTHS];    /* of places here, of places elsewhere */
};

/* Two memories, both zeroed at the start: of one answer, which forgets in some 30 guesses of a sort, and of all
 * answers of a model, which says what to expect while the first knows little. */
enum spec_memory { SPEC_ANSWER, SPEC_MODEL };

void spec_rates_learn(struct spec_rates *r, enum spec_memory memory, const struct spec_guess *g, bool came_true);
/* Probability that a guess comes true, if all before it do. */
double spec_rates_expect(const struct spec_rates *answer, const struct spec_rates *model, const struct spec_guess *g);

#endif
