/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include "engine/kv/kv_cache.h"

static const struct kv_layer layers[2] = {
    { .k = KV_F16, .v = KV_F16, .n_head = 1, .d_head = 32 },
    { .k = KV_F16, .v = KV_F16, .n_head = 1, .d_head = 48 },
};

TEST(kv_cache_finds_the_common_prefix)
{
    struct kv_cache *kv;
    struct kv_seq *s;
    struct err e;
    const int32_t held[4] = { 1, 2, 3, 4 }, other[5] = { 1, 2, 9, 4, 5 };
    CHECK_INT(t, kv_cache_create(&kv, layers, 2, 0, &e), ERR_OK);
    CHECK_INT(t, kv_seq_create(&s, kv, 100, &e), ERR_OK);
    CHECK_INT(t, kv_seq_reserve(s, 4, &e), ERR_OK);
    kv_seq_append(s, held, 4);
    CHECK_INT(t, kv_seq_find(s, held, 4), 4);
    CHECK_INT(t, kv_seq_find(s, held, 3), 3);
    CHECK_INT(t, kv_seq_find(s, other, 5), 2);
    CHECK_INT(t, kv_seq_truncate(s, 1), 1);
    CHECK_INT(t, kv_seq_find(s, held, 4), 1);
    kv_seq_destroy(s);
    kv_cache_destroy(kv);
}
