/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_LOGIT_H
#define QUIP_ENGINE_BASE_LOGIT_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* One logit of a row, where only its best are handed on. */
struct logit {
    int32_t token;    /* -1: there are no more */
    float value;      /* as the model gave it; -infinity where there are no more */
};

/* The order in which the best come: NaN and +infinity first, as equals, so that whoever takes the best sees that they are
 * there; then by value; among equals the lower token. */
static inline bool logit_before(struct logit a, struct logit b)
{
    bool bad_a = !(a.value < INFINITY), bad_b = !(b.value < INFINITY);
    if (bad_a != bad_b)
        return bad_a;
    if (!bad_a && a.value != b.value)
        return a.value > b.value;
    return a.token < b.token;
}

#endif
