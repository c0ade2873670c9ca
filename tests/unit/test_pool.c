/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include "engine/base/pool.h"

struct relay {
    struct pool *pool;
    int32_t n_rounds;
    int32_t sum[4];
    int32_t failures[4];
};

/* Each round every thread writes its cell and, after the barrier, reads all the others'. */
static void run_relay(void *arg, int32_t thread, int32_t n_threads)
{
    struct relay *r = arg;
    for (int32_t round = 1; round <= r->n_rounds; round++) {
        r->sum[thread] = round;
        pool_barrier(r->pool);
        for (int32_t i = 0; i < n_threads; i++)
            if (r->sum[i] != round)
                r->failures[thread]++;
        pool_barrier(r->pool);
    }
}

TEST(pool_barrier_shows_what_others_wrote)
{
    struct err e;
    for (int32_t n = 1; n <= 4; n++) {
        struct relay r = { .n_rounds = 150 };
        CHECK_INT(t, pool_create(&r.pool, n, &e), ERR_OK, "%s", e.text);
        for (int run = 0; run < 5; run++)
            pool_run(r.pool, run_relay, &r);
        pool_destroy(r.pool);
        for (int32_t i = 0; i < n; i++)
            CHECK_INT(t, r.failures[i], 0, "thread %d of %d", i, n);
    }
}

TEST(pool_refuses_silly_counts)
{
    struct pool *p;
    struct err e;
    CHECK_INT(t, pool_create(&p, 0, &e), ERR_FORMAT);
    CHECK_INT(t, pool_create(&p, 257, &e), ERR_FORMAT);
    CHECK_TEXT(t, e.text, "threads: 257, 1 to 256 allowed");
}

TEST(pool_shares_cover_all_items_once)
{
    for (int32_t n = 0; n < 200; n += 7)
        for (int32_t align = 1; align <= 32; align *= 4)
            for (int32_t threads = 1; threads <= 9; threads++) {
                int32_t next = 0;
                for (int32_t i = 0; i < threads; i++) {
                    int32_t begin, end;
                    pool_share(n, align, i, threads, &begin, &end);
                    CHECK(t, begin == next && end >= begin && (begin % align == 0 || begin == n));
                    next = end;
                }
                CHECK_INT(t, next, n);
            }
}
