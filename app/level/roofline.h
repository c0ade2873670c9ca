/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LEVEL_ROOFLINE_H
#define QUIP_APP_LEVEL_ROOFLINE_H

#include "engine/engine_fit.h"

/* How fast tokens can come. To make one, all matrices are read once, and the keys and values of the tokens before; what
 * the memory gives in that time is the roof:
 *
 *   seconds = sum over types of bytes / min(part * memory, threads * what a thread unpacks)
 *             + cached bytes / (PART * memory) + layers * what its barriers cost
 *
 * What is left of truth between this and a measured speed is one factor per place and model, which measured levels give
 * to those that were not (ladder.c). A device's memory is not measured: with layers there, only that factor helps. */
struct roofline {
    double bytes_per_s;          /* the machine's memory, read by these threads; 0: not known */
    int32_t n_threads;
};

/* 0: not known. */
double roofline_token_s(const struct roofline *roof, const struct fit_reads *r, int32_t n_layers);
/* All that is read for a token. */
uint64_t roofline_bytes(const struct fit_reads *r);
/* The part of the memory's speed that is in use, 0 to 1 and a little more; 0: not known. */
double roofline_share(const struct roofline *roof, const struct fit_reads *r, double tokens_per_s);

#endif
