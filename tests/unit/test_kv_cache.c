/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include "engine/kv/kv_cache.h"

static const int32_t widths[2] = { 32, 48 };

static struct kv_cache *make(struct test *t, int32_t n_ctx, int32_t n_seqs)
{
    struct kv_cache *kv;
    struct err e;
    CHECK_INT(t, kv_cache_create(&kv, widths, 2, n_ctx, n_seqs, KV_F16, &e), ERR_OK);
    return kv;
}

TEST(kv_cache_takes_and_gives_back_pages)
{
    struct kv_cache *kv = make(t, 300, 2);
    struct err e;
    int32_t stride, tokens[300];
    for (int32_t i = 0; i < 300; i++)
        tokens[i] = i * 7;
    CHECK_INT(t, kv_cache_bytes(kv), 0);
    CHECK_INT(t, kv_cache_reserve(kv, 0, 65, &e), ERR_OK);
    CHECK_INT(t, kv_cache_bytes(kv), 2 * 2 * (32 + 48) * 64 * 2);
    kv_cache_append(kv, 0, tokens, 65);
    void *const *table = kv_cache_table(kv, 0, &stride);
    CHECK_INT(t, stride, 5);
    CHECK(t, table[0] && table[1] && !table[2] && table[stride] && table[stride + 1]);
    void *first = table[0];
    kv_cache_truncate(kv, 0, 64);
    CHECK(t, table[0] == first && !table[1]);
    CHECK_INT(t, kv_cache_held(kv, 0), 64);
    kv_cache_truncate(kv, 0, 100);
    CHECK_INT(t, kv_cache_held(kv, 0), 64, "truncating never makes it longer");
    CHECK_INT(t, kv_cache_reserve(kv, 1, 300, &e), ERR_OK);
    kv_cache_truncate(kv, 0, 0);
    kv_cache_truncate(kv, 1, 0);
    CHECK_INT(t, kv_cache_bytes(kv), 0);
    kv_cache_destroy(kv);
}

TEST(kv_cache_finds_the_common_prefix)
{
    struct kv_cache *kv = make(t, 100, 1);
    struct err e;
    const int32_t held[4] = { 5, 6, 7, 8 }, other[5] = { 5, 6, 9, 8, 1 };
    kv_cache_reserve(kv, 0, 4, &e);
    kv_cache_append(kv, 0, held, 4);
    CHECK_INT(t, kv_cache_common(kv, 0, held, 4), 4);
    CHECK_INT(t, kv_cache_common(kv, 0, held, 3), 3);
    CHECK_INT(t, kv_cache_common(kv, 0, other, 5), 2);
    kv_cache_truncate(kv, 0, 1);
    CHECK_INT(t, kv_cache_common(kv, 0, held, 4), 1);
    kv_cache_destroy(kv);
}

TEST(kv_cache_estimate_is_what_full_sequences_take)
{
    struct kv_cache *kv = make(t, 200, 3);
    struct err e;
    for (int32_t seq = 0; seq < 3; seq++)
        kv_cache_reserve(kv, seq, 200, &e);
    CHECK_INT(t, kv_cache_bytes(kv), kv_cache_estimate(widths, 2, 200, 3, KV_F16));
    kv_cache_destroy(kv);
}
