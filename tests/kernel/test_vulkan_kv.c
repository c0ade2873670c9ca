/* SPDX-License-Identifier: MIT */
/* Pages in the memory of a Vulkan device, where the host sees them and as if it did not. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/kv/kv_cache.h"
#include "engine/vulkan/vulkan_kv.h"
#include "tests/support/vulkan_rig.h"

/* Whether anything may be at this address that the host can read. */
static bool in_reach(const void *at)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], mode = '-';
    unsigned long from, to;
    bool reads = false;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%lx-%lx %c", &from, &to, &mode) == 3 && from <= (uintptr_t)at && (uintptr_t)at < to)
            reads = mode == 'r';
    if (f)
        fclose(f);
    return reads;
}

static void fill(struct test *t, uint32_t *words, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes / 4; i++)
        words[i] = (uint32_t)test_random(t);
}

/* By the device's own view of its buffers, past what is tested. */
static void see(struct vulkan_rig *rig, const struct vulkan_kv *kv, void *to, const char *page, size_t n_bytes)
{
    struct err e;
    for (int32_t i = 0; i < kv->n_regions; i++) {
        const struct vulkan_kv_region *r = &kv->regions[i];
        VkDeviceAddress at = vulkan_kv_address(kv, page);
        if (at < r->buf.address || at >= r->buf.address + r->buf.n_bytes)
            continue;
        CHECK(rig->t, vulkan_read(rig->d, to, &r->buf, at - r->buf.address, n_bytes, &e) == ERR_OK, "%s", e.text);
        return;
    }
    CHECK(rig->t, false, "an address in no region");
}

enum { N_REGIONS = 40, MAX_PAGE = 3 << 18 };

static void check_bytes(struct test *t, bool staged)
{
    struct vulkan_rig rig;
    struct vulkan_kv kv;
    struct err e;
    size_t sizes[N_REGIONS];
    char *regions[N_REGIONS], **mirrors = calloc(N_REGIONS, sizeof *mirrors);
    uint32_t *bytes = malloc(MAX_PAGE);
    vulkan_rig_open(&rig, t);
    vulkan_kv_init(&kv, rig.d, staged);
    CHECK(t, bytes && mirrors);
    for (int32_t i = 0; i < N_REGIONS; i++) {
        void *region;
        sizes[i] = MAX_PAGE + 256 * (size_t)test_below(t, 5000);
        CHECK(t, kv_memory_create(&kv.memory, sizes[i], &region, &e) == ERR_OK, "%s", e.text);
        regions[i] = region;
        mirrors[i] = malloc(sizes[i]);
        CHECK(t, mirrors[i] != NULL);
        fill(t, (uint32_t *)(void *)mirrors[i], sizes[i]);
        CHECK(t, in_reach(region) == !staged, "region %d", i);
        CHECK_INT(t, vulkan_kv_address(&kv, region) % KV_MEMORY_ALIGN, 0);
        CHECK(t, kv_memory_write(&kv.memory, region, mirrors[i], sizes[i], &e) == ERR_OK, "%s", e.text);
    }
    for (int32_t step = 0; step < 400; step++) {
        int32_t i = (int32_t)test_below(t, N_REGIONS), j = (int32_t)test_below(t, N_REGIONS);
        size_t n = 64 * (1 + (size_t)test_below(t, 1000));
        size_t at = 64 * (size_t)test_below(t, (uint32_t)(sizes[i] - n) / 64);
        size_t from = 64 * (size_t)test_below(t, (uint32_t)(sizes[j] - n) / 64);
        uint32_t what = test_below(t, 3);
        CHECK_INT(t, vulkan_kv_address(&kv, regions[i] + at) - vulkan_kv_address(&kv, regions[i]), at);
        if (what == 0) {
            fill(t, bytes, n);
            CHECK(t, kv_memory_write(&kv.memory, regions[i] + at, bytes, n, &e) == ERR_OK, "%s", e.text);
            memcpy(mirrors[i] + at, bytes, n);
        } else if (what == 1 && (i != j || at + n <= from || from + n <= at)) {
            CHECK(t, kv_memory_copy(&kv.memory, regions[i] + at, regions[j] + from, n, &e) == ERR_OK, "%s", e.text);
            memcpy(mirrors[i] + at, mirrors[j] + from, n);
        }
        CHECK(t, kv_memory_read(&kv.memory, bytes, regions[i] + at, n, &e) == ERR_OK, "%s", e.text);
        CHECK(t, memcmp(bytes, mirrors[i] + at, n) == 0, "step %d: region %d at %zu", step, i, at);
        see(&rig, &kv, bytes, regions[i] + at, n);
        CHECK(t, memcmp(bytes, mirrors[i] + at, n) == 0, "step %d: region %d at %zu, by its address", step, i, at);
        if (step % 40 == 39) {    /* another one, elsewhere in the list */
            void *region;
            kv_memory_destroy(&kv.memory, regions[i]);
            CHECK(t, kv_memory_create(&kv.memory, sizes[i], &region, &e) == ERR_OK, "%s", e.text);
            regions[i] = region;
            CHECK(t, kv_memory_write(&kv.memory, region, mirrors[i], sizes[i], &e) == ERR_OK, "%s", e.text);
        }
    }
    for (int32_t i = 0; i < N_REGIONS; i++) {
        char *all = malloc(sizes[i]);
        CHECK(t, all && kv_memory_read(&kv.memory, all, regions[i], sizes[i], &e) == ERR_OK);
        CHECK(t, memcmp(all, mirrors[i], sizes[i]) == 0, "region %d", i);
        if (i % 2)    /* the others are left to vulkan_kv_finish */
            kv_memory_destroy(&kv.memory, regions[i]);
        free(all);
        free(mirrors[i]);
    }
    CHECK(t, vulkan_kv_address(&kv, NULL) == 0);
    CHECK_INT(t, kv.n_regions, N_REGIONS / 2);
    vulkan_kv_finish(&kv);
    uint64_t stages = staged ? (uint64_t)VULKAN_N_STAGES * VULKAN_STAGE_BYTES : 0;
    CHECK_INT(t, rig.d->allocated_bytes, stages, "a region is left");
    vulkan_rig_close(&rig);
    free(mirrors);
    free(bytes);
}

TEST(vulkan_kv_bytes_where_they_are_mapped)
{
    check_bytes(t, false);
}

TEST(vulkan_kv_bytes_where_they_are_not)
{
    check_bytes(t, true);
}

/* A cache's pages: what a sequence wrote comes back in another, by way of an image. */
static void check_cache(struct test *t, bool staged)
{
    enum { N = 200, N_LAYERS = 2 };
    struct kv_layer layers[N_LAYERS] = {
        { .k = KV_KV4, .v = KV_KV4, .n_head = 2, .d_head = 64 },
        { .k = KV_F16, .v = KV_F16, .n_head = 1, .d_head = 64 },
    };
    struct vulkan_rig rig;
    struct vulkan_kv kv;
    struct kv_cache *cache;
    struct kv_seq *s, *other;
    struct kv_image *image, *copy;
    struct err e;
    int32_t tokens[N], stride;
    vulkan_rig_open(&rig, t);
    vulkan_kv_init(&kv, rig.d, staged);
    for (int32_t i = 0; i < N; i++)
        tokens[i] = (int32_t)test_below(t, 100);
    layers[0].memory = layers[1].memory = &kv.memory;
    CHECK_INT(t, kv_cache_create(&cache, layers, N_LAYERS, 1 << 30, &e), ERR_OK);
    CHECK_INT(t, kv_seq_create(&s, cache, N, &e), ERR_OK);
    CHECK_INT(t, kv_seq_create(&other, cache, N, &e), ERR_OK);
    CHECK(t, kv_seq_reserve(s, N - 10, &e) == ERR_OK, "%s", e.text);
    const struct kv_page *table = kv_seq_table(s, &stride);
    size_t n_bytes = kv_open_bytes(&layers[0]);
    uint32_t *first = malloc(n_bytes), *got = malloc(n_bytes);
    CHECK(t, first && got);
    fill(t, first, n_bytes);
    CHECK_INT(t, kv_memory_write(&kv.memory, table[0].open, first, n_bytes, &e), ERR_OK);
    kv_seq_append(s, tokens, N - 10);
    CHECK(t, kv_image_of(&image, s, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, image->pieces[1].n_bytes, n_bytes, "of the first page, layers that do not seal come first");
    CHECK(t, memcmp(image->pieces[1].bytes, first, n_bytes) == 0, "the first page as a piece");
    CHECK_INT(t, kv_seq_truncate(s, 0), 0);
    CHECK(t, kv_image_new(&copy, cache, tokens, N - 10, &e) == ERR_OK, "%s", e.text);
    for (int32_t i = 0; i < copy->n_pieces; i++)
        memcpy(copy->pieces[i].bytes, image->pieces[i].bytes, copy->pieces[i].n_bytes);
    kv_image_drop(image);
    CHECK(t, kv_image_commit_take(copy, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, kv_seq_match(other, tokens, N), N - 10);
    CHECK_INT(t, kv_seq_match(s, tokens, 30), 30);
    CHECK(t, kv_seq_reserve(s, N, &e) == ERR_OK, "%s", e.text);    /* copies the page both have */
    const struct kv_page *pages[2] = { kv_seq_table(s, &stride), kv_seq_table(other, &stride) };
    CHECK(t, pages[0]->open != pages[1]->open);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(t, kv_memory_read(&kv.memory, got, pages[i]->open, n_bytes, &e), ERR_OK);
        CHECK(t, memcmp(got, first, n_bytes) == 0, "sequence %d", i);
        see(&rig, &kv, got, pages[i]->open, n_bytes);
        CHECK(t, memcmp(got, first, n_bytes) == 0, "sequence %d, by its address", i);
    }
    kv_seq_destroy(s);
    kv_seq_destroy(other);
    kv_cache_destroy(cache);
    CHECK_INT(t, kv.n_regions, 0);
    vulkan_kv_finish(&kv);
    vulkan_rig_close(&rig);
    free(first);
    free(got);
}

TEST(vulkan_kv_of_a_cache_where_pages_are_mapped)
{
    check_cache(t, false);
}

TEST(vulkan_kv_of_a_cache_where_they_are_not)
{
    check_cache(t, true);
}

TEST(vulkan_kv_says_what_went_wrong)
{
    struct vulkan_rig rig;
    struct vulkan_kv kv;
    struct err e;
    void *region, *second;
    uint32_t words[64] = { 1 }, got[64];
    vulkan_rig_open(&rig, t);
    vulkan_kv_init(&kv, rig.d, true);
    rig.d->faults.allocate = 1;
    CHECK_INT(t, kv_memory_create(&kv.memory, 1 << 20, &region, &e), ERR_NOMEM);
    CHECK(t, strstr(e.text, "1 MiB"), "%s", e.text);
    CHECK_INT(t, kv.n_regions, 0);
    CHECK_INT(t, kv_memory_create(&kv.memory, 1 << 20, &region, &e), ERR_OK);
    CHECK_INT(t, kv_memory_create(&kv.memory, 1 << 20, &second, &e), ERR_OK);
    CHECK_INT(t, kv_memory_write(&kv.memory, region, words, sizeof words, &e), ERR_OK);
    rig.d->faults.submit = 1;
    CHECK_INT(t, kv_memory_copy(&kv.memory, second, region, sizeof words, &e), ERR_DEVICE);
    CHECK(t, strstr(e.text, "DEVICE_LOST"), "%s", e.text);
    CHECK_INT(t, kv_memory_read(&kv.memory, got, region, sizeof words, &e), ERR_DEVICE, "lost for good");
    CHECK_INT(t, kv_memory_write(&kv.memory, region, words, sizeof words, &e), ERR_DEVICE);
    kv_memory_destroy(&kv.memory, region);
    kv_memory_destroy(&kv.memory, second);
    CHECK_INT(t, kv.n_regions, 0);
    vulkan_kv_finish(&kv);
    vulkan_rig_close(&rig);
}
