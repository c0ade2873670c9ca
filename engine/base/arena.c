/* SPDX-License-Identifier: MIT */
#include "engine/base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, CHUNK_BYTES = 64 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap_bytes;
    char pad[ALIGN - sizeof(void *) - sizeof(size_t)];
    char bytes[];
};

void arena_init(struct arena *a)
{
    memset(a, 0, sizeof *a);
}

void arena_finish(struct arena *a)
{
    if (!a)
        return;
    struct arena_chunk *chunk = a->chunks;
    while (chunk) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    arena_init(a);
}

static struct arena_chunk *chunk_create(struct arena *a, size_t need_bytes)
{
    size_t cap = need_bytes > CHUNK_BYTES ? need_bytes : CHUNK_BYTES;
    size_t total = sizeof(struct arena_chunk) + cap;
    if (a->max_bytes && (total > a->max_bytes || a->total_bytes > a->max_bytes - total))
        return NULL;
    struct arena_chunk *chunk = aligned_alloc(ALIGN, total);
    if (!chunk)
        return NULL;
    memset(chunk, 0, total);
    chunk->cap_bytes = cap;
    a->total_bytes += total;
    return chunk;
}

void *arena_alloc(struct arena *a, size_t n, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, item_bytes, &bytes) || bytes > SIZE_MAX / 4)
        return NULL;
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (bytes == 0)
        bytes = ALIGN;
    if (!a->chunks || a->chunks->cap_bytes - a->used_bytes < bytes) {
        struct arena_chunk *chunk = chunk_create(a, bytes);
        if (!chunk)
            return NULL;
        chunk->next = a->chunks;
        a->chunks = chunk;
        a->used_bytes = 0;
    }
    void *p = a->chunks->bytes + a->used_bytes;
    a->used_bytes += bytes;
    return p;
}

char *arena_copy(struct arena *a, const char *bytes, size_t n_bytes)
{
    char *copy = n_bytes < SIZE_MAX ? arena_alloc(a, n_bytes + 1, 1) : NULL;
    if (copy && n_bytes)
        memcpy(copy, bytes, n_bytes);
    return copy;
}
