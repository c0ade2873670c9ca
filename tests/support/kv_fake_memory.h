/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_KV_FAKE_MEMORY_H
#define QUIP_TESTS_SUPPORT_KV_FAKE_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/backend/kv_memory.h"
#include "engine/backend/kv_page.h"
#include "tests/support/test.h"

/* Memory of a device that the host does not see. Addresses are reserved and out of reach, so that whoever reads or
 * writes a page directly crashes; the bytes are in a block of the heap. A call from another thread, a page outside of
 * any region, and ranges that overlap or leave their region abort the test.
 *
 * seen: the host sees it all the same, as it does that of an integrated device; a page is where its bytes are.
 * fail_in counts down calls that can fail and makes the one that reaches 0 an ERR_DEVICE, after a part of the bytes has
 * gone over; lost makes all of them fail. */
struct kv_fake_memory {
    struct kv_memory memory;
    pthread_t thread;
    struct kv_fake_region {
        struct kv_fake_region *next;
        char *begin, *bytes;
        size_t n_bytes;
    } *regions;
    int32_t n_regions, n_created;
    int32_t n_reads, n_writes, n_copies;
    int32_t fail_in;    /* 0: none fails */
    bool failed, lost, seen;
};

void kv_fake_memory_init(struct kv_fake_memory *m, size_t region_bytes);
/* Aborts when a region is left. */
void kv_fake_memory_finish(struct kv_fake_memory *m);

/* What the device sees at this address; the page itself when the layer's pages lie in the host's memory. */
void *kv_fake_bytes(const struct kv_layer *layer, const void *page);

/* Where pages lie: in the host's memory, a device's, or those of the first half of the layers in the one and the others
 * in the other. */
enum kv_fake_place { KV_FAKE_HOST, KV_FAKE_DEVICE, KV_FAKE_SPLIT, KV_FAKE_PLACES };

/* Copies the layers, with memories. */
void kv_fake_layers(struct kv_layer *out, const struct kv_layer *layers, int32_t n_layers, struct kv_fake_memory *m,
                    enum kv_fake_place place);

/* A case with pages in the host's memory, and one with pages in a device's. */
#define TEST_BOTH(name)                                      \
    static void name##_in(struct test *t, bool device);      \
    TEST(name)                                               \
    {                                                        \
        name##_in(t, false);                                 \
    }                                                        \
    TEST(name##_of_a_device)                                 \
    {                                                        \
        name##_in(t, true);                                  \
    }                                                        \
    static void name##_in(struct test *t, bool device)

/* A case for every place. */
#define TEST_PLACES(name)                                             \
    static void name##_in(struct test *t, enum kv_fake_place place);  \
    TEST(name)                                                        \
    {                                                                 \
        name##_in(t, KV_FAKE_HOST);                                   \
    }                                                                 \
    TEST(name##_of_a_device)                                          \
    {                                                                 \
        name##_in(t, KV_FAKE_DEVICE);                                 \
    }                                                                 \
    TEST(name##_split)                                                \
    {                                                                 \
        name##_in(t, KV_FAKE_SPLIT);                                  \
    }                                                                 \
    static void name##_in(struct test *t, enum kv_fake_place place)

#endif
