/* SPDX-License-Identifier: MIT */
/* Slots taken and given at random against a list of who has what; what is resident is asked of the system. Under
 * AddressSanitizer slots are heap memory: then only the contents are looked at. */
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kv/kv_slab.h"
#include "tests/support/kv_fake_memory.h"

#if defined(__SANITIZE_ADDRESS__)
enum { MAPPED = 0 };
#else
enum { MAPPED = 1 };
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
static const size_t PIECE = 2 << 20;

/* ---- what the system says --------------------------------------------------------------------------- */

static size_t resident_in(const char *bytes, size_t n_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = n_bytes / page, resident = 0;
    unsigned char *in = malloc(n);
    if (!in || mincore((void *)bytes, n_bytes, in) != 0)
        n = 0;
    for (size_t i = 0; i < n; i++)
        resident += in[i] & 1 ? page : 0;
    free(in);
    return resident;
}

static size_t resident(const struct kv_slab *s)
{
    size_t n_bytes = 0;
    for (const struct kv_region *r = s->regions; r; r = r->next)
        n_bytes += resident_in(r->bytes, r->n_bytes);
    return n_bytes;
}

static int32_t n_regions(const struct kv_slab *s)
{
    int32_t n = 0;
    for (const struct kv_region *r = s->regions; r; r = r->next)
        n++;
    return n;
}

/* Bytes of [bytes, bytes + n_bytes) that huge pages back. */
static size_t huge_in(const char *bytes, size_t n_bytes)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    unsigned long from = 0, to = 0, kib;
    size_t huge = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "AnonHugePages: %lu kB", &kib) == 1) {
            if (from < (uintptr_t)bytes + n_bytes && to > (uintptr_t)bytes)
                huge += (size_t)kib << 10;
        } else
            sscanf(line, "%lx-%lx ", &from, &to);
    if (f)
        fclose(f);
    return huge;
}

/* Huge pages the system has taken apart; -1: it does not say. */
static long n_splits(void)
{
    FILE *f = fopen("/proc/vmstat", "r");
    char line[128];
    long n = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "thp_split_page %ld", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

/* Ends the case where the system makes no huge page of small ones when asked to. */
static void need_huge(struct test *t)
{
    if (!MAPPED)
        SKIP(t, "slots are heap memory under AddressSanitizer");
    char *wide = mmap(NULL, 2 * PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(t, wide != MAP_FAILED);
    char *piece = wide + (-(uintptr_t)wide & (PIECE - 1));
    memset(piece, 1, PIECE);
    int rc = madvise(piece, PIECE, MADV_COLLAPSE), why = errno;
    munmap(wide, 2 * PIECE);
    if (rc != 0)
        SKIP(t, "no huge page on request here: %s", strerror(why));
}

/* ---- the walk --------------------------------------------------------------------------------------- */

enum { MAX_HELD = 200 };

struct held {
    uint64_t *words;
    uint64_t seed;
};

static void fill(const struct held *h, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes / 8; i++)
        h->words[i] = h->seed + i;
}

static bool kept(const struct held *h, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes / 8; i++)
        if (h->words[i] != h->seed + i)
            return false;
    return true;
}

/* Contents differ from slot to slot, so slots that overlap do not keep theirs. */
static void walk(struct test *t, size_t n_bytes, int32_t max_held, int32_t n_steps, bool huge)
{
    struct kv_slab s;
    struct err e;
    struct held held[MAX_HELD];
    int32_t n = 0, most = 0;
    kv_slab_init(&s, NULL, n_bytes, huge);
    for (int32_t step = 0; step < n_steps; step++) {
        int32_t gives = step / 50 % 3 == 2 ? 3 : 1;    /* in four steps: now it grows, now it shrinks */
        int32_t batch = 1 + (int32_t)test_below(t, 9), fresh = 0;
        if ((int32_t)test_below(t, 4) >= gives)
            for (; n < max_held && fresh < batch; n++, fresh++) {
                held[n] = (struct held){ kv_slab_take(&s, &e), test_random(t) };
                CHECK(t, held[n].words && (uintptr_t)held[n].words % 64 == 0, "step %d", step);
            }
        else
            for (; n > 0 && batch > 0; batch--) {
                int32_t i = (int32_t)test_below(t, (uint32_t)n);
                CHECK(t, kept(&held[i], n_bytes), "step %d: a slot changed", step);
                kv_slab_give(&s, held[i].words);
                held[i] = held[--n];
            }
        CHECK_INT(t, s.n_fresh, MAPPED ? fresh : 0, "step %d", step);
        if (fresh > 0 && test_below(t, 8) == 0) {    /* given back as after a failure */
            for (; fresh > 0; fresh--)
                kv_slab_give(&s, held[--n].words);
            CHECK_INT(t, s.n_fresh, 0);
        }
        CHECK(t, kv_slab_populate(&s));
        most = n > most ? n : most;
        if (MAPPED && step % 10 == 0) {
            CHECK_INT(t, resident(&s), (size_t)n * s.slot_bytes, "step %d, %d slots", step, n);
            CHECK(t, (n == 0) == (s.regions == NULL), "step %d: %d regions for %d slots", step, n_regions(&s), n);
        }
        for (int32_t i = n - fresh; i < n; i++)
            fill(&held[i], n_bytes);
    }
    for (int32_t i = 0; i < n; i++) {
        CHECK(t, kept(&held[i], n_bytes), "a slot changed");
        kv_slab_give(&s, held[i].words);
    }
    CHECK(t, most > max_held * 3 / 4, "the walk went nowhere: %d slots", most);
    CHECK(t, !s.regions);
    kv_slab_finish(&s);
}

TEST(kv_slab_walk_small_slots)
{
    walk(t, 4096, 200, 1500, true);
    walk(t, 9 * 4096, 200, 1500, true);
}

TEST(kv_slab_walk_slots_of_part_of_a_piece)
{
    walk(t, 90 * 4096, 120, 600, true);
    walk(t, 360 * 4096, 60, 300, true);    /* two regions */
}

TEST(kv_slab_walk_slots_larger_than_a_piece)
{
    walk(t, 1030 * 4096, 20, 200, true);
    walk(t, 2 * PIECE, 18, 200, true);
}

TEST(kv_slab_walk_without_huge_pages)
{
    walk(t, 90 * 4096, 120, 300, false);
}

/* ---- order, regions, huge pages --------------------------------------------------------------------- */

TEST(kv_slab_takes_the_lowest_and_unmaps_what_is_empty)
{
    struct kv_slab s;
    struct err e;
    char *slot[100];
    if (!MAPPED)
        SKIP(t, "slots are heap memory under AddressSanitizer");
    kv_slab_init(&s, NULL, 400 * 4096, true);
    for (int32_t i = 0; i < 100; i++)
        slot[i] = kv_slab_take(&s, &e);
    CHECK(t, s.n_slots > 20 && s.n_slots < 50, "%d slots of a region", s.n_slots);
    CHECK_INT(t, n_regions(&s), (100 + s.n_slots - 1) / s.n_slots);
    for (int32_t i = 1; i < s.n_slots; i++)
        CHECK(t, slot[i] == slot[i - 1] + s.slot_bytes, "slot %d", i);
    kv_slab_give(&s, slot[90]);
    kv_slab_give(&s, slot[7]);
    kv_slab_give(&s, slot[3]);
    CHECK(t, kv_slab_take(&s, &e) == slot[3]);
    CHECK(t, kv_slab_take(&s, &e) == slot[7]);
    CHECK(t, kv_slab_take(&s, &e) == slot[90]);
    char *first = s.regions->bytes;
    unsigned char in;
    for (int32_t i = 0; i < s.n_slots; i++) {
        CHECK(t, mincore(first, 4096, &in) == 0, "unmapped with %d slots in use", s.n_slots - i);
        kv_slab_give(&s, slot[i]);
    }
    CHECK(t, mincore(first, 4096, &in) != 0 && errno == ENOMEM, "an empty region is mapped");
    for (int32_t i = s.n_slots; i < 100; i++)
        kv_slab_give(&s, slot[i]);
    CHECK_INT(t, n_regions(&s), 0);
    kv_slab_finish(&s);
}

/* Whole pieces become huge when slots are taken in batches; giving every second slot leaves the others alone, and
 * frees its part of huge pages. */
static void check_huge(struct test *t, size_t n_bytes, int32_t n, int32_t batch)
{
    struct kv_slab s;
    struct err e;
    char *slot[128];
    need_huge(t);
    kv_slab_init(&s, NULL, n_bytes, true);
    for (int32_t i = 0; i < n; i++) {
        slot[i] = kv_slab_take(&s, &e);
        if ((i + 1) % batch)
            continue;
        CHECK(t, kv_slab_populate(&s));
        for (int32_t k = i + 1 - batch; k <= i; k++)
            memset(slot[k], k, n_bytes);
    }
    size_t n_pieces = (size_t)n * n_bytes / PIECE, huge = huge_in(slot[0], (size_t)n * n_bytes);
    CHECK(t, huge >= n_pieces * 2 / 3 * PIECE && huge <= n_pieces * PIECE, "%zu MiB huge of %zu", huge >> 20,
          (size_t)n * n_bytes >> 20);
    CHECK_INT(t, resident(&s), (size_t)n * n_bytes);
    long before = n_splits();
    for (int32_t i = 0; i < n; i += 2) {
        kv_slab_give(&s, slot[i]);
        CHECK_INT(t, resident(&s), (size_t)(n - 1 - i / 2) * n_bytes);
    }
    if (before >= 0)    /* else the memory is free only when the system looks for some */
        CHECK(t, n_splits() - before >= (long)n_pieces / 2, "%ld huge pages split", n_splits() - before);
    for (int32_t i = 1; i < n; i += 2) {
        for (size_t at = 0; at < n_bytes; at++)
            if (slot[i][at] != i)
                CHECK(t, false, "slot %d changed at %zu", i, at);
        kv_slab_give(&s, slot[i]);
    }
    kv_slab_finish(&s);
}

TEST(kv_slab_of_a_batch_is_huge)
{
    check_huge(t, PIECE / 8 * 5, 24, 8);
}

TEST(kv_slab_of_one_by_one_is_huge)
{
    check_huge(t, PIECE / 8 * 5, 24, 1);
}

TEST(kv_slab_of_many_to_a_piece_is_huge)
{
    check_huge(t, PIECE / 32, 100, 1);
}

TEST(kv_slab_of_what_comes_and_goes_is_not_huge)
{
    struct kv_slab s;
    struct err e;
    char *slot[16];
    need_huge(t);
    kv_slab_init(&s, NULL, PIECE / 2, false);
    for (int32_t i = 0; i < 16; i++)
        slot[i] = kv_slab_take(&s, &e);
    CHECK(t, kv_slab_populate(&s));
    CHECK_INT(t, huge_in(slot[0], 16 * s.slot_bytes), 0);
    for (int32_t i = 0; i < 16; i++)
        kv_slab_give(&s, slot[i]);
    kv_slab_finish(&s);
}

/* ---- of a device ------------------------------------------------------------------------------------ */

TEST(kv_slab_of_a_device_takes_whole_regions)
{
    struct kv_fake_memory m;
    struct kv_slab s;
    struct err e;
    char *slot[13];
    kv_fake_memory_init(&m, 1 << 20);
    kv_slab_init(&s, &m.memory, 300001, true);
    CHECK_INT(t, s.slot_bytes, 300032, "multiples of 256");
    CHECK_INT(t, s.n_slots, 4, "three would fit");
    for (int32_t i = 0; i < 13; i++) {
        slot[i] = kv_slab_take(&s, &e);
        CHECK(t, slot[i] != NULL);
        CHECK_INT(t, slot[i] - m.regions->begin, i % 4 * 300032, "slot %d", i);
        CHECK_INT(t, m.regions->n_bytes, 4 * 300032);
        CHECK_INT(t, m.n_regions, i / 4 + 1, "slot %d", i);
    }
    CHECK(t, kv_slab_populate(&s) && s.n_fresh == 0);
    kv_slab_give(&s, slot[6]);
    CHECK(t, kv_slab_take(&s, &e) == slot[6], "the lowest");
    kv_slab_give(&s, slot[12]);
    CHECK_INT(t, m.n_regions, 3, "an empty region is kept");
    m.lost = true;
    CHECK(t, kv_slab_take(&s, &e) == NULL);
    CHECK_INT(t, e.code, ERR_DEVICE);
    for (int32_t i = 0; i < 12; i++)
        kv_slab_give(&s, slot[i]);
    kv_slab_finish(&s);
    kv_fake_memory_finish(&m);
    kv_slab_init(&s, &m.memory, 1000, false);
    CHECK_INT(t, s.n_slots, 1024);
    kv_slab_finish(&s);
}
