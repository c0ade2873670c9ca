/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/engine_fit.h"
#include "engine/engine_impl.h"

/* Several caches' worth, since there may be one for each part of the cores. */
enum { CACHES = 8, LEAST_MIB = 128, MOST_MIB = 512, ROOM_PART = 4, BUDGET_MS = 200, LEAST_PASSES = 3, MOST_PASSES = 64 };

/* A thread reads whole runs; eight sums, so that no addition waits for the one before. */
enum { LANES = 8, RUN = 1 << 15 };

struct reading {
    uint64_t *words;
    int32_t n_runs;
    bool fill;                   /* the first time: pages have to be there */
    atomic_uint_fast64_t sum;    /* so that the reads are not left out */
};

static void read_share(void *arg, int32_t thread, int32_t n_threads)
{
    struct reading *r = arg;
    int32_t first, end;
    pool_share(r->n_runs, 1, thread, n_threads, &first, &end);
    uint64_t sums[LANES] = { 0 }, all = 0;
    for (int32_t run = first; run < end; run++) {
        uint64_t *words = r->words + (int64_t)run * RUN;
        for (int32_t i = 0; r->fill && i < RUN; i++)
            words[i] = (uint64_t)(run + i);
        for (int32_t i = 0; i < RUN; i += LANES)
            for (int lane = 0; lane < LANES; lane++)
                sums[lane] += words[i + lane];
    }
    for (int lane = 0; lane < LANES; lane++)
        all += sums[lane];
    atomic_fetch_add(&r->sum, all);
}

static uint64_t buffer_bytes(const struct engine *eng)
{
    struct engine_info info;
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    uint64_t bytes = cache > 0 ? CACHES * (uint64_t)cache : 0;
    engine_info(eng, &info);
    bytes = bytes < (uint64_t)LEAST_MIB << 20 ? (uint64_t)LEAST_MIB << 20 : bytes;
    bytes = bytes > (uint64_t)MOST_MIB << 20 ? (uint64_t)MOST_MIB << 20 : bytes;
    uint64_t most = info.memory_available_bytes / ROOM_PART;
    return bytes < most ? bytes : most;
}

double engine_read_bandwidth(struct engine *eng)
{
    struct reading r = { .n_runs = (int32_t)(buffer_bytes(eng) / (RUN * sizeof(uint64_t))), .fill = true };
    size_t n_bytes = (size_t)r.n_runs * RUN * sizeof(uint64_t);
    if (r.n_runs == 0)
        return 0;
    void *block = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return 0;
    madvise(block, n_bytes, MADV_HUGEPAGE);
    r.words = block;
    pool_run(eng->pool, read_share, &r);
    r.fill = false;
    double begin = clock_ms(), ms[MOST_PASSES];    /* sorted */
    int n = 0;
    while (n < MOST_PASSES && (n < LEAST_PASSES || clock_ms() - begin < BUDGET_MS)) {
        double start = clock_ms();
        pool_run(eng->pool, read_share, &r);
        double took = clock_ms() - start;
        int at = n++;
        for (; at > 0 && ms[at - 1] > took; at--)
            ms[at] = ms[at - 1];
        ms[at] = took;
    }
    munmap(block, n_bytes);
    return (double)n_bytes * 1e3 / ms[n / 2];
}
