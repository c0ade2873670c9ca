/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_SLAB_H
#define QUIP_ENGINE_KV_KV_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/backend/kv_memory.h"

/* Buffers of one size, side by side, so that the system can back many with one huge page; see kv_slab.c.
 *
 * Owns     the memory of all slots; kv_slab_finish wants them given back
 * Units    what is resident is the slots taken and populated, in whole pages of the system. Of a device's memory it is
 *          whole regions: besides the slots taken at most those still free, and less than a slot at the end of each
 * Thread   one at a time; bytes of a slot are whoever's who has it, also while others are taken and given */
struct kv_slab {
    struct kv_memory *memory;       /* NULL: the host's */
    size_t slot_bytes;              /* whole pages of the system, or whole KV_MEMORY_ALIGN; 0: nothing can be taken */
    int32_t n_slots;                /* of a region */
    bool huge;                      /* asks for huge pages */
    int32_t n_refused;              /* requests for huge pages in a row that came to nothing */
    int32_t n_fresh;                /* slots taken but not populated */
    struct kv_region {
        struct kv_region *next;     /* younger */
        char *bytes;
        size_t n_bytes;
        int32_t n_taken;
        uint8_t state[];            /* of each slot */
    } *regions;
};

/* huge is for the host's memory alone. */
void kv_slab_init(struct kv_slab *s, struct kv_memory *memory, size_t n_bytes, bool huge);
void kv_slab_finish(struct kv_slab *s);    /* takes a zeroed one */

/* A slot, at a whole page of the system or multiple of KV_MEMORY_ALIGN: bytes of any content that may be used at once,
 * though to wait for kv_slab_populate is faster and fails in order. NULL with an error.
 * Errors: ERR_NOMEM, and what the memory has */
void *kv_slab_take(struct kv_slab *s, struct err *e);
/* Makes resident what was taken since. False without memory; then what was taken since is to be given back. */
bool kv_slab_populate(struct kv_slab *s);
void kv_slab_give(struct kv_slab *s, void *slot);

#endif
