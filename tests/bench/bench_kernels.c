/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_kern.h"

/* How fast the matrix products are, as a table: GB/s of weights for mat-vec beside a plain read of the
 * same memory, GMAC/s for mat-mat. The best of several short windows, because a shared machine's speed
 * varies from second to second; times are taken inside the workers.
 *
 *     bench_kernels [scalar|avx2|avx512 [TYPE]] */
enum { MAX_THREADS = 2, WINDOWS = 21, L2_BYTES = 384 << 10, DRAM_BYTES = 128 << 20 };

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *take(size_t n_bytes)
{
    void *p = aligned_alloc(4096, (n_bytes + 8191) / 4096 * 4096);
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", n_bytes);
        exit(1);
    }
    return p;
}

struct work {
    const struct cpu_kern *kern;    /* NULL: plain read */
    struct cpu_weight *w;
    struct cpu_acts *acts;
    const void *memory;
    size_t n_bytes;
    int repeat;
};

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    const struct work *work;
    int index, n_threads;
    float *y;
    void *scratch;
    double begin, end;
    uint64_t sink;
};

static uint64_t read_all(const uint64_t *p, size_t n)
{
    uint64_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    for (size_t i = 0; i + 8 <= n; i += 8) {
        a ^= p[i], b ^= p[i + 1], c ^= p[i + 2], d ^= p[i + 3];
        e ^= p[i + 4], f ^= p[i + 5], g ^= p[i + 6], h ^= p[i + 7];
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
}

static void *worker_run(void *arg)
{
    struct worker *me = arg;
    const struct work *k = me->work;
    cpu_set_t own;    /* else two fresh threads may share a core for the whole of a window */
    CPU_ZERO(&own);
    CPU_SET(me->index, &own);
    pthread_setaffinity_np(pthread_self(), sizeof own, &own);
    pthread_barrier_wait(me->start);
    me->begin = now();
    for (int i = 0; i < k->repeat; i++) {
        if (!k->kern) {
            size_t share = k->n_bytes / (size_t)me->n_threads / 64 * 64;
            me->sink ^= read_all((const uint64_t *)((const char *)k->memory + share * (size_t)me->index), share / 8);
        } else {
            int32_t groups = k->w->n_rows / 16;
            int32_t row0 = groups * me->index / me->n_threads * 16,
            row1 = groups * (me->index + 1) / me->n_threads * 16;
            cpu_matmul(k->kern, me->y, k->w->n_rows, k->w, row0, row1, k->acts, me->scratch);
        }
    }
    me->end = now();
    return NULL;
}

/* Best seconds for one repetition. */
static double measure(struct work *work, int n_threads, float *y)
{
    double best = 1e9;
    for (int window = 0; window < WINDOWS; window++) {
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, (unsigned)n_threads);
        struct worker workers[MAX_THREADS];
        for (int i = 0; i < n_threads; i++) {
            workers[i] = (struct worker){ .start = &start, .work = work, .index = i,
                                          .n_threads = n_threads, .y = y };
            if (work->kern)
                workers[i].scratch = take(cpu_matmul_scratch_bytes(work->acts->n_rows, work->w->n_rows));
            pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]);
        }
        double begin = 1e18, end = 0;
        for (int i = 0; i < n_threads; i++) {
            pthread_join(workers[i].thread, NULL);
            begin = workers[i].begin < begin ? workers[i].begin : begin;
            end = workers[i].end > end ? workers[i].end : end;
            free(workers[i].scratch);
        }
        pthread_barrier_destroy(&start);
        double seconds = (end - begin) / work->repeat;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static struct cpu_acts make_acts(const struct cpu_kern *k, int32_t n_rows, int32_t n_cols)
{
    size_t n = (size_t)n_rows * (size_t)n_cols;
    struct cpu_acts a = { .n_rows = n_rows, .n_planes = n_rows, .n_cols = n_cols };
    float *x = take(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((i * 7919 + 13) % 255) / 127.0f - 1.0f;
    a.x = x;
    a.q = take(n);
    a.d = take(n / 32 * sizeof(float));
    a.s = take(n / 32 * sizeof(float));
    a.h = take(n / 16 * sizeof(int16_t));
    a.second = take((size_t)n_rows * sizeof(int32_t));
    cpu_acts_rows(k, &a, 0, n_rows);
    cpu_acts_seconds(&a);
    return a;
}

static void free_acts(struct cpu_acts *a)
{
    free((void *)(uintptr_t)a->x);
    free(a->q);
    free(a->d);
    free(a->s);
    free(a->h);
    free(a->second);
}

/* GB/s of weights for one mat-vec with n_acts activations. */
static double matvec_rate(const struct cpu_kern *k, struct cpu_weight *w, int n_threads, int32_t n_acts)
{
    struct cpu_acts acts = make_acts(k, n_acts, w->n_cols);
    float *y = take((size_t)w->n_rows * (size_t)n_acts * sizeof *y);
    double bytes = (double)w->row_bytes * w->n_rows;
    struct work work = { .kern = k, .w = w, .acts = &acts,
                         .repeat = bytes > 1e7 ? 1 : (int)(2e7 / bytes) };
    double rate = bytes / measure(&work, n_threads, y) * 1e-9;
    free_acts(&acts);
    free(y);
    return rate;
}

/* GMAC/s of one thread. */
static double matmat_rate(const struct cpu_kern *k, struct cpu_weight *w, int32_t n_acts)
{
    struct cpu_acts acts = make_acts(k, n_acts, w->n_cols);
    float *y = take((size_t)w->n_rows * (size_t)n_acts * sizeof *y);
    struct work work = { .kern = k, .w = w, .acts = &acts, .repeat = 1 };
    double rate = (double)w->n_rows * w->n_cols * n_acts / measure(&work, 1, y) * 1e-9;
    free_acts(&acts);
    free(y);
    return rate;
}

static struct cpu_weight make_weight(uint32_t type, int32_t n_cols, size_t n_bytes, void *memory)
{
    struct cpu_weight w = { .type = type, .n_cols = n_cols, .data = memory };
    w.row_bytes = quant_row_bytes(type, (uint64_t)n_cols);
    w.n_rows = (int32_t)(n_bytes / w.row_bytes) / 32 * 32;
    return w;
}

/* Bytes as they come, but for the exponents of MXFP4: the smallest would make subnormal sums, which take longer. */
static void fill(uint8_t *memory, uint32_t type)
{
    for (size_t i = 0; i < DRAM_BYTES; i++)
        memory[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; type == QUANT_MXFP4 && i < DRAM_BYTES; i += 17)
        memory[i] = 120;
}

static void bench_type(const struct cpu_kern *k, uint32_t type, void *memory, void *other)
{
    enum { COLS = 1536 };
    for (int order = 0; order < 2; order++) {
        struct cpu_weight small = make_weight(type, COLS, L2_BYTES, memory);
        struct cpu_weight large = make_weight(type, COLS, DRAM_BYTES, memory);
        struct cpu_weight narrow = make_weight(type, 768, DRAM_BYTES, memory);
        struct cpu_weight product = make_weight(type, COLS, (size_t)(quant_row_bytes(type,
                                                                                     COLS) * 512),
                                                                                     memory);
        double seconds = 0;
        if (order == 1) {
            if (!k->interleave_bytes || k->interleave_bytes(&large) == 0)
                break;
            large.packed = small.packed = narrow.packed = product.packed = other;
            k->interleave(&narrow, 0, narrow.n_rows);
            seconds = now();
            k->interleave(&large, 0, large.n_rows);
            seconds = now() - seconds;
        }
        double read1, read2, dram1, dram2;
        struct work reading = { .memory = order ? other : memory, .n_bytes = DRAM_BYTES, .repeat = 1 };
        read1 = DRAM_BYTES / measure(&reading, 1, NULL) * 1e-9;
        dram1 = matvec_rate(k, &large, 1, 1);
        read2 = DRAM_BYTES / measure(&reading, 2, NULL) * 1e-9;
        dram2 = matvec_rate(k, &large, 2, 1);
        printf("| %-5s | %-11s | %6.1f | %5.1f of %4.1f  | %5.1f of %4.1f | %6.1f |", quant_format(type)->name,
               order ? "interleaved" : "file", matvec_rate(k, &small, 1, 1), dram1, read1, dram2, read2,
               matvec_rate(k, &narrow, 2, 1));
        for (int32_t n_acts = 2; n_acts <= 8; n_acts *= 2)
            printf(" %5.1f", matvec_rate(k, &large, 2, n_acts));
        printf(" | %6.1f %6.1f %6.1f |", matmat_rate(k, &product, 16), matmat_rate(k, &product, 64),
               matmat_rate(k, &product, 512));
        if (order)
            printf(" made at %.1f GB/s", (double)large.row_bytes * large.n_rows / seconds * 1e-9);
        printf("\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    uint32_t features = cpuid_features();
    if (argc > 1 && strcmp(argv[1], "scalar") == 0)
        features = 0;
    else if (argc > 1 && strcmp(argv[1], "avx2") == 0)
        features &= CPUID_AVX2;
    struct cpu_kern k;
    cpu_kern_init(&k, features);
    char name[64];
    cpuid_name(name, sizeof name);
    printf("%s, tier %s; 1536 columns (narrow: 768); GB/s of weights, then GMAC/s of one thread\n\n", name,
           k.name);
    printf("| %-5s | %-11s | %-6s | %-14s | %-13s | %-6s | %-17s | %-20s |\n", "type", "order", "L2",
           "1 thread, read", "2 threads", "narrow", "2, 4, 8 rows", "mat-mat: 16, 64, 512");
    printf("|---|---|---|---|---|---|---|---|\n");
    uint8_t *memory = take(DRAM_BYTES), *other = take(DRAM_BYTES + (1 << 20));
    memset(other, 1, DRAM_BYTES);
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++)
        if (k.matvec[type] && (argc < 3 || strcmp(argv[2], quant_format(type)->name) == 0)) {
            fill(memory, type);
            bench_type(&k, type, memory, other);
        }
    free(memory);
    free(other);
    return 0;
}
