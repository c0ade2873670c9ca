/* SPDX-License-Identifier: MIT */
#include "engine/gguf/gguf_names.h"

#include <assert.h>
#include <string.h>

/* FNV-1a, then the finaliser of splitmix64 so that the low bits depend on all of it. */
static uint32_t hash_name(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001B3u;
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(h >> 32);
}

bool gguf_names_init(struct gguf_names *s, struct arena *a, uint32_t n)
{
    assert(n <= 1u << 20);
    uint32_t n_slots = 8;
    while (n_slots < 2 * n)
        n_slots *= 2;
    s->slots = arena_alloc(a, n_slots, sizeof *s->slots);
    s->mask = n_slots - 1;
    return s->slots != NULL;
}

enum gguf_names_result gguf_names_add(struct gguf_names *s, const char *name, uint32_t index)
{
    uint32_t hash = hash_name(name);
    for (uint32_t step = 0; step < GGUF_NAMES_MAX_RUN && step <= s->mask; step++) {
        struct gguf_names_slot *slot = &s->slots[(hash + step) & s->mask];
        if (!slot->name) {
            *slot = (struct gguf_names_slot){ .name = name, .hash = hash, .index = index };
            return GGUF_NAMES_ADDED;
        }
        if (slot->hash == hash && strcmp(slot->name, name) == 0)
            return GGUF_NAMES_DUPLICATE;
    }
    return GGUF_NAMES_CROWDED;
}

int64_t gguf_names_find(const struct gguf_names *s, const char *name)
{
    if (!s->slots)
        return -1;
    uint32_t hash = hash_name(name);
    for (uint32_t step = 0; step < GGUF_NAMES_MAX_RUN && step <= s->mask; step++) {
        const struct gguf_names_slot *slot = &s->slots[(hash + step) & s->mask];
        if (!slot->name)
            return -1;
        if (slot->hash == hash && strcmp(slot->name, name) == 0)
            return slot->index;
    }
    return -1;
}
