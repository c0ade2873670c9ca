/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_POOL_H
#define QUIP_ENGINE_BASE_POOL_H

#include <stdint.h>

#include "engine/base/err.h"

/* A fixed set of threads that run one function together, with barriers inside it.
 *
 * The caller is thread 0. A worker that waits, for work or at a barrier, spins for a few microseconds and
 * then sleeps on a futex, so that an idle pool costs nothing and a machine that is busy with other things
 * is not made busier: a thread that spins while the one it waits for has no core would only be in its way. */
struct pool;

enum { POOL_MAX_THREADS = 256 };

typedef void (*pool_fn)(void *arg, int32_t thread, int32_t n_threads);

/* Errors: ERR_FORMAT for a count outside 1..POOL_MAX_THREADS, ERR_NOMEM when a thread cannot be started. */
enum err_code pool_create(struct pool **out, int32_t n_threads, struct err *e);
void pool_destroy(struct pool *p);    /* takes NULL; no run may be under way */
int32_t pool_threads(const struct pool *p);

/* Runs fn on every thread and returns when all have returned. One caller at a time. */
void pool_run(struct pool *p, pool_fn fn, void *arg);

/* Within fn, called by all threads: returns when all have come. What any thread wrote before is seen by all
 * after. */
void pool_barrier(struct pool *p);

/* The part [*begin, *end) of n items that a thread takes when all take contiguous parts whose borders are
 * multiples of align. */
static inline void pool_share(int32_t n, int32_t align, int32_t thread, int32_t n_threads, int32_t *begin,
                              int32_t *end)
{
    int64_t units = ((int64_t)n + align - 1) / align;
    int64_t first = units * thread / n_threads * align, last = units * (thread + 1) / n_threads * align;
    *begin = (int32_t)(first < n ? first : n);
    *end = (int32_t)(last < n ? last : n);
}

#endif
