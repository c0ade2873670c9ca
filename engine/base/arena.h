/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_ARENA_H
#define QUIP_ENGINE_BASE_ARENA_H

#include <stddef.h>

/* Memory that is given out piece by piece and given back all at once: everything a model needs that
 * is made at load. A zeroed struct is an empty arena. Not thread-safe. */
struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t used_bytes;     /* in the newest chunk */
    size_t total_bytes;    /* asked of the system so far */
    size_t max_bytes;      /* 0: no limit */
};

void arena_init(struct arena *a);
void arena_finish(struct arena *a);
/* Zeroed, aligned to 64 bytes; NULL when there is no memory, n * item_bytes overflows, or the limit
 * is reached. */
void *arena_alloc(struct arena *a, size_t n, size_t item_bytes);
/* The bytes and a NUL after them. */
char *arena_copy(struct arena *a, const char *bytes, size_t n_bytes);

#endif
