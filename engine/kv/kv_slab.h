/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_SLAB_H
#define QUIP_ENGINE_KV_KV_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Buffers of one size, side by side, so that the system can back many with one huge page; see kv_slab.c.
 *
 * Owns     the memory of all slots; kv_slab_finish wants them given back
 * Units    what is resident is the slots taken and populated, in whole pages of the system
 * Thread   one at a time; bytes of a slot are whoever's who has it, also while others are taken and given */
struct kv_slab {
    size_t slot_bytes;              /* whole pages of the system; 0: nothing can be taken */
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

void kv_slab_init(struct kv_slab *s, size_t n_bytes, bool huge);
void kv_slab_finish(struct kv_slab *s);    /* takes a zeroed one */

/* A slot, at a whole page of the system: bytes of any content that may be used at once, though to wait for
 * kv_slab_populate is faster and fails in order. NULL without memory. */
void *kv_slab_take(struct kv_slab *s);
/* Makes resident what was taken since. False without memory; then what was taken since is to be given back. */
bool kv_slab_populate(struct kv_slab *s);
void kv_slab_give(struct kv_slab *s, void *slot);

#endif
