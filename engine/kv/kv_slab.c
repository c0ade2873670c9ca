/* SPDX-License-Identifier: MIT */
/* Where buffers lie. Attention walks all of a long context for each token, and with pages of 4 KiB some of that
 * time goes into finding them: with huge pages of 2 MiB it takes 7 to 11 % less over f16, 2 to 4 % less over kv4
 * (16000 tokens; EPYC, AVX-512).
 *
 *     region, 64 MiB of addresses
 *     | slot 0 | slot 1 | slot 2 | slot 3 | slot 4 | ...
 *     | PIECE: 2 MiB, aligned     | PIECE                     | ...
 *       one huge page: 0 to 3 are taken         4 KiB pages: of the slots here that are taken
 *
 * Bytes resident are those of the slots taken, to the page: so counts say what the process takes, and nothing
 * is taken in advance. Slots that nobody has are out of reach (PROT_NONE), which is more than a guard: the
 * system makes no huge page that reaches beyond what may be written, neither of its own accord nor because
 * the region asks for them. A region without a slot in use is unmapped.
 *
 * Huge pages come about in two ways. Slots taken in a row (a batch of a prompt) are populated together, and
 * what of them is whole pieces is huge from the first touch, which is cheaper than small pages. Where a piece
 * is completed by a later slot, what is there is copied (MADV_COLLAPSE, Linux 6.1): some 0.5 ms, once per
 * batch or, token by token, once per 2 MiB. Slots are taken lowest first, so pieces fill up. Where the system
 * makes none, the pages are small, and after a few refusals it is not asked again.
 *
 * Giving back a part of a huge page lowers what is resident, but the system would keep the page whole until
 * memory is short. It is taken apart first (MADV_COLD of a part does that), so the bytes are free at once.
 *
 * A device's memory comes in regions that are resident as a whole, so they are smaller, and none of this is done: a
 * slot is a place in a region, and nothing else.
 *
 * Dropped: a mapping per buffer (no huge page fits); reserving with PROT_READ | PROT_WRITE (where huge pages
 * are `always` on, one touch takes 2 MiB); populating each slot as it is taken (then every piece is copied:
 * 9.4 us a token of a prompt in slots of 1.4 MiB, against 7.1 with small pages and 3.5 with batches of 8). */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kv/kv_slab.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { FREE, FRESH, FULL };    /* a slot: nobody's; taken; taken and populated */
enum { MAX_REFUSED = 8 };
static const size_t REGION = 64 << 20;

void kv_slab_init(struct kv_slab *s, struct kv_memory *memory, size_t n_bytes, bool huge)
{
    size_t unit = memory ? KV_MEMORY_ALIGN : (size_t)sysconf(_SC_PAGESIZE), least = memory ? 4 : 8;
    *s = (struct kv_slab){ .memory = memory, .slot_bytes = (n_bytes + unit - 1) & ~(unit - 1), .huge = huge };
    if (n_bytes == 0)
        return;
    size_t n = (memory ? memory->region_bytes : REGION) / s->slot_bytes;
    s->n_slots = (int32_t)(n < least ? least : n > 1024 ? 1024 : n);
}

void kv_slab_finish(struct kv_slab *s)
{
    assert(!s->regions && s->n_fresh == 0);
    *s = (struct kv_slab){ 0 };
}

static const size_t PIECE = 2 << 20;

#if defined(__SANITIZE_ADDRESS__)
enum { ON_HEAP = 1 };    /* slots of the host's memory: there overruns and what was freed are seen */
#else
enum { ON_HEAP = 0 };
#endif

/* ---- regions --------------------------------------------------------------------------------------- */

static enum err_code reserve(const struct kv_slab *s, struct kv_region *r, struct err *e)
{
    size_t n_bytes = (r->n_bytes + PIECE - 1) & ~(PIECE - 1);
    char *wide = mmap(NULL, n_bytes + PIECE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (wide == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "no memory");
    size_t before = -(uintptr_t)wide & (PIECE - 1);
    if (before > 0)
        munmap(wide, before);
    munmap(wide + before + n_bytes, PIECE - before);
    r->bytes = wide + before;
    r->n_bytes = n_bytes;
    madvise(r->bytes, n_bytes, s->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return ERR_OK;
}

static struct kv_region *create_region(const struct kv_slab *s, struct err *e)
{
    struct kv_region *r = calloc(1, sizeof *r + (size_t)s->n_slots);
    void *bytes = NULL;
    if (!r) {
        err_set(e, ERR_NOMEM, "no memory");
        return NULL;
    }
    r->n_bytes = (size_t)s->n_slots * s->slot_bytes;
    enum err_code rc = s->memory ? kv_memory_create(s->memory, r->n_bytes, &bytes, e) : reserve(s, r, e);
    if (rc != ERR_OK) {
        free(r);
        return NULL;
    }
    if (s->memory)
        r->bytes = bytes;
    return r;
}

static void destroy_region(const struct kv_slab *s, struct kv_region *r)
{
    if (s->memory)
        kv_memory_destroy(s->memory, r->bytes);
    else
        munmap(r->bytes, r->n_bytes);
    free(r);
}

/* ---- populating ------------------------------------------------------------------------------------ */

static bool populate(char *bytes, size_t n_bytes)
{
    if (madvise(bytes, n_bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return false;
    for (size_t at = 0; at < n_bytes; at += 4096)    /* before Linux 5.14 */
        *(volatile char *)(bytes + at) = 0;
    return true;
}

/* All its bytes are in slots populated. */
static bool whole(const struct kv_slab *s, const struct kv_region *r, size_t piece)
{
    size_t first = piece * PIECE / s->slot_bytes, last = ((piece + 1) * PIECE - 1) / s->slot_bytes;
    if (last >= (size_t)s->n_slots)
        return false;
    while (first <= last && r->state[first] == FULL)
        first++;
    return first > last;
}

/* Slots [first, end) were populated: what pieces are whole by that become huge pages, where they are not. */
static void collapse(struct kv_slab *s, struct kv_region *r, int32_t first, int32_t end)
{
    size_t begin = (size_t)first * s->slot_bytes / PIECE;
    size_t stop = ((size_t)end * s->slot_bytes + PIECE - 1) / PIECE;
    if (!whole(s, r, begin))
        begin++;
    if (stop > begin && !whole(s, r, stop - 1))
        stop--;
    if (stop <= begin || s->n_refused >= MAX_REFUSED)
        return;
    int rc = madvise(r->bytes + begin * PIECE, (stop - begin) * PIECE, MADV_COLLAPSE);
    s->n_refused = rc == 0 ? 0 : s->n_refused + 1;
}

bool kv_slab_populate(struct kv_slab *s)
{
    for (struct kv_region *r = s->regions; r && s->n_fresh > 0; r = r->next) {
        const uint8_t *fresh;
        while ((fresh = memchr(r->state, FRESH, (size_t)s->n_slots))) {
            int32_t first = (int32_t)(fresh - r->state), end = first;
            while (end < s->n_slots && r->state[end] == FRESH)
                end++;
            size_t n = (size_t)(end - first);
            if (!populate(r->bytes + (size_t)first * s->slot_bytes, n * s->slot_bytes))
                return false;
            memset(r->state + first, FULL, n);
            s->n_fresh -= (int32_t)n;
            if (s->huge)
                collapse(s, r, first, end);
        }
    }
    return true;
}

/* ---- slots ----------------------------------------------------------------------------------------- */

void *kv_slab_take(struct kv_slab *s, struct err *e)
{
    if (ON_HEAP && !s->memory) {
        void *alone = aligned_alloc(64, s->slot_bytes);
        if (!alone)
            err_set(e, ERR_NOMEM, "no memory");
        return alone;
    }
    struct kv_region **at = &s->regions;
    while (*at && (*at)->n_taken == s->n_slots)
        at = &(*at)->next;
    struct kv_region *r = *at ? *at : create_region(s, e);
    if (!r)
        return NULL;
    uint8_t *state = memchr(r->state, FREE, (size_t)s->n_slots);
    char *slot = r->bytes + (size_t)(state - r->state) * s->slot_bytes;
    if (!s->memory && mprotect(slot, s->slot_bytes, PROT_READ | PROT_WRITE) != 0) {
        if (!*at)
            destroy_region(s, r);
        err_set(e, ERR_NOMEM, "no memory");
        return NULL;
    }
    *at = r;
    *state = s->memory ? FULL : FRESH;
    r->n_taken++;
    s->n_fresh += !s->memory;
    return slot;
}

/* Huge pages that reach beyond the slot become small ones. */
static void split(char *slot, size_t n_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if ((uintptr_t)slot & (PIECE - 1))
        madvise(slot, page, MADV_COLD);
    if ((uintptr_t)(slot + n_bytes) & (PIECE - 1))
        madvise(slot + n_bytes - page, page, MADV_COLD);
}

void kv_slab_give(struct kv_slab *s, void *slot)
{
    if (ON_HEAP && !s->memory) {
        free(slot);
        return;
    }
    struct kv_region **at = &s->regions;
    char *bytes = slot;
    while (bytes < (*at)->bytes || bytes >= (*at)->bytes + (*at)->n_bytes)
        at = &(*at)->next;
    struct kv_region *r = *at;
    uint8_t *state = &r->state[(size_t)(bytes - r->bytes) / s->slot_bytes];
    assert(*state != FREE);
    s->n_fresh -= *state == FRESH;
    *state = FREE;
    if (--r->n_taken == 0) {
        *at = r->next;
        destroy_region(s, r);
        return;
    }
    if (s->memory)
        return;
    if (s->huge)
        split(bytes, s->slot_bytes);
    madvise(bytes, s->slot_bytes, MADV_DONTNEED);
    mprotect(bytes, s->slot_bytes, PROT_NONE);    /* may fail (too many mappings): then it is merely in reach */
}
