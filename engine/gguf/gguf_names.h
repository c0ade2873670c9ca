/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_GGUF_GGUF_NAMES_H
#define QUIP_ENGINE_GGUF_GGUF_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/arena.h"

/* Names of one file, each with its index: open addressing over a table at least twice as large as the
 * number of names.
 *
 * A file can be made so that all its names fall on the same place, which would turn each search into a
 * walk over all of them. By chance a run of occupied places is about ln(n) / 0.19 long at this load, 73
 * for a million names; GGUF_NAMES_MAX_RUN is far beyond and a file that exceeds it is refused. */
enum { GGUF_NAMES_MAX_RUN = 256 };

struct gguf_names_slot {
    const char *name;    /* NULL: free; borrowed */
    uint32_t hash;
    uint32_t index;
};

struct gguf_names {
    struct gguf_names_slot *slots;
    uint32_t mask;
};

enum gguf_names_result {
    GGUF_NAMES_ADDED,
    GGUF_NAMES_DUPLICATE,
    GGUF_NAMES_CROWDED    /* more names in one place than chance explains */
};

/* Room for n names, n at most 2^20; false when there is no memory. The arena owns the table. */
bool gguf_names_init(struct gguf_names *s, struct arena *a, uint32_t n);
enum gguf_names_result gguf_names_add(struct gguf_names *s, const char *name, uint32_t index);
/* The index, or -1. Takes a zeroed table. */
int64_t gguf_names_find(const struct gguf_names *s, const char *name);

#endif
