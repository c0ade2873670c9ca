/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_DRAW_H
#define QUIP_APP_MEASURE_DRAW_H

#include <stdint.h>

/* Which tasks of a file, in which order: the same as llama.cpp draws with the same seed, so that results can be
 * compared task by task.
 * Source  Matsumoto and Nishimura 1998 (mt19937); Lemire 2019 for a number below n, which is what libstdc++'s
 *         uniform_int_distribution does since gcc 11 */

enum { DRAW_STATE = 624 };

struct draw {
    uint32_t state[DRAW_STATE];
    int32_t at;
};

void draw_seed(struct draw *d, uint32_t seed);
uint32_t draw_next(struct draw *d);
uint32_t draw_below(struct draw *d, uint32_t n);    /* n at least 1 */
/* order: [n], each of 0 .. n-1 once, as they are drawn without putting back. */
void draw_order(int32_t *order, int32_t n, uint32_t seed);

#endif
