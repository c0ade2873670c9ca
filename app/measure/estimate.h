/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_ESTIMATE_H
#define QUIP_APP_MEASURE_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

/* How far a mean over positions of a text can be trusted. Positions near each other are alike, so the error that takes
 * them for independent (what llama.cpp prints) is too small; the interval is made from blocks of them. No terminal, no
 * files, nothing random from outside: the same values give the same figures. */

enum { ESTIMATE_BLOCKS_LEAST = 24, ESTIMATE_BLOCKS_MOST = 256 };

/* low and high: the 95 % interval. */
struct estimate {
    double mean;
    double error;        /* standard error of the mean, as if positions were independent */
    double low, high;
};

/* n values in chunks of per_chunk each, cut into blocks: the chunks themselves; several of them together where there
 * are more than ESTIMATE_BLOCKS_MOST; equal parts of each where there are fewer than ESTIMATE_BLOCKS_LEAST. Zeroed:
 * no blocks. */
struct estimate_blocks {
    int64_t per_chunk;
    int32_t n_chunks, n_blocks;
    int32_t n_parts;         /* of a chunk, or 1 */
    int32_t n_together;      /* chunks of a block, or 1 */
};

struct estimate_blocks estimate_blocks(int64_t n, int64_t per_chunk);
/* Block i has the values from here to where the next one begins; i may be n_blocks. */
int64_t estimate_block_begin(const struct estimate_blocks *b, int32_t i);

/* Mean of values in the text's order. The interval is the bootstrap-t over blocks: they are drawn anew ESTIMATE_DRAWS
 * times with replacement, and how many of its own standard errors each draw's mean lies off says how many of ours to
 * allow on either side, which is right for skewed values too. Two models are compared by estimating the differences of
 * their values: what both have in common cancels.
 * Source   Künsch 1989 (blocks); Efron and Tibshirani 1993, 12.5 */
struct estimate estimate_mean(const double *values, int64_t n, const struct estimate_blocks *b);

/* The same for values of 0 and 1, low and high within those: Wilson's interval for as many independent values as have
 * the error that the blocks show, so that it is an interval too where all values are the same. */
struct estimate estimate_share(const double *values, int64_t n, const struct estimate_blocks *b);
/* Wilson's interval for hits of n independent tries; n may be a fraction. No tries: 0 to 1. */
struct estimate estimate_wilson(double hits, double n);

/* Between the two values nearest to this place, sorted ascending; fraction 0 to 1, n at least 1. */
double estimate_percentile(const double *sorted, int64_t n, double fraction);
/* Ascending. */
void estimate_sort(double *values, int64_t n);

#endif
