/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <sched.h>

#include "engine/base/cpuid.h"
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

TEST(pool_gives_the_caller_its_cpus_back)
{
    cpu_set_t before, after;
    struct err e;
    struct relay r = { .n_rounds = 2 };
    int32_t cores = cpuid_cores();
    CHECK_INT(t, sched_getaffinity(0, sizeof before, &before), 0);
    CHECK_INT(t, pool_create(&r.pool, cores < 4 ? cores : 4, &e), ERR_OK, "%s", e.text);
    pool_run(r.pool, run_relay, &r);
    pool_destroy(r.pool);
    CHECK_INT(t, sched_getaffinity(0, sizeof after, &after), 0);
    CHECK(t, CPU_EQUAL(&before, &after));
    CHECK_INT(t, cpuid_cores(), cores);
}

TEST(cpuid_cores_are_disjoint_and_within_what_is_allowed)
{
    cpu_set_t allowed, all, core, both;
    CHECK_INT(t, sched_getaffinity(0, sizeof allowed, &allowed), 0);
    CPU_ZERO(&all);
    int32_t n = 0;
    for (; cpuid_core(n, &core); n++) {
        CHECK(t, CPU_COUNT(&core) > 0);
        CPU_AND(&both, &all, &core);
        CHECK_INT(t, CPU_COUNT(&both), 0, "core %d", n);
        CPU_OR(&all, &all, &core);
    }
    CHECK(t, n > 0 && CPU_EQUAL(&all, &allowed));
}
