/* SPDX-License-Identifier: MIT */
#include "engine/spec/spec_rates.h"

static int length_class(int32_t n_match)
{
    static const int32_t least[SPEC_LENGTHS] = { 1, 2, 3, 4, 5, 8, 13, 24, 48 };
    int class = SPEC_LENGTHS - 1;
    while (class > 0 && n_match < least[class])
        class--;
    return class;
}

void spec_rates_learn(struct spec_rates *r, enum spec_memory memory, const struct spec_guess *g, bool came_true)
{
    const float keep = memory == SPEC_ANSWER ? 0.97f : 0.998f;
    struct spec_rate *rate = &r->of[g->elsewhere][g->kind][length_class(g->n_match)];
    rate->n = rate->n * keep + 1;
    rate->n_true = rate->n_true * keep + (came_true ? 1 : 0);
}

/* Before anything is known: longer matches are better ones, and so are places that agree. */
static double first_guess(const struct spec_guess *g)
{
    double wrong = 4.0 / (4 + g->n_match);
    switch (g->kind) {
    case SPEC_AGREE: return 1 - wrong / 2;
    case SPEC_MOSTLY: return 0.75 * (1 - wrong);
    case SPEC_SPLIT: return 0.4 * (1 - wrong);
    default: return 1 - wrong;
    }
}

double spec_rates_expect(const struct spec_rates *answer, const struct spec_rates *model, const struct spec_guess *g)
{
    const double weight = 4;    /* guesses that the memory behind stands for */
    int class = length_class(g->n_match);
    const struct spec_rate *near = &answer->of[g->elsewhere][g->kind][class],
                           *far = &model->of[g->elsewhere][g->kind][class];
    double p = (far->n_true + weight * first_guess(g)) / (far->n + weight);
    return (near->n_true + weight * p) / (near->n + weight);
}
