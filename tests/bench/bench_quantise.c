/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/cpuid.h"
#include "engine/quant/quant.h"
#include "engine/quant/quant_kern.h"

/* What quantising costs: ns per weight of one thread, of its own time and the best of several windows, for every
 * format, without importance and with it.  bench_quantise [scalar|avx2|avx512 [row_length]] */
enum { WINDOWS = 7, ROWS = 24 };

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *take(size_t n_bytes)
{
    void *p = malloc(n_bytes);
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", n_bytes);
        exit(1);
    }
    return p;
}

/* Roughly normal: the sum of four uniform numbers. */
static float number(uint32_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 1664525 + 1013904223;
        sum += (float)(*state >> 8) * 0x1p-24f - 0.5f;
    }
    return sum;
}

static double time_ns(const struct quant_format *f, char *blocks, const float *x, int64_t n, const float *importance)
{
    double best = 1e18;
    for (int window = 0; window < WINDOWS; window++) {
        double begin = now();
        for (int64_t r = 0; r < ROWS; r++)
            f->from_f32(blocks, x + r * n, n, importance);
        double ns = (now() - begin) * 1e9 / (double)(ROWS * n);
        best = ns < best ? ns : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    static const uint32_t features[] = { 0, CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
    static const char *const names[] = { "scalar", "avx2", "avx512" };
    int64_t n = argc > 2 ? atoll(argv[2]) : 1536;
    if (n <= 0 || n % 32 != 0 || n > 1 << 20) {
        fprintf(stderr, "row of %lld weights: a multiple of 32 is wanted\n", (long long)n);
        return 1;
    }
    float *x = take((size_t)(ROWS * n) * sizeof *x), *importance = take((size_t)n * sizeof *x);
    char *blocks = take((size_t)n * sizeof *x);
    uint32_t state = 1;
    for (int64_t i = 0; i < ROWS * n; i++)
        x[i] = 0.04f * number(&state);
    for (int64_t i = 0; i < n; i++)
        importance[i] = number(&state) + 2.0f;
    printf("ns per weight, rows of %-6lld without    with importance\n", (long long)n);
    for (int tier = 0; tier < 3; tier++) {
        if ((cpuid_features() & features[tier]) != features[tier] || (argc > 1 && strcmp(argv[1], names[tier]) != 0))
            continue;
        quant_kern_use(features[tier]);
        for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
            const struct quant_format *f = quant_format(type);
            if (f && f->from_f32 && n % f->block_weights == 0)
                printf("%-8s %-8s               %8.2f   %8.2f\n", names[tier], f->name,
                       time_ns(f, blocks, x, n, NULL), time_ns(f, blocks, x, n, importance));
        }
    }
    free(x);
    free(importance);
    free(blocks);
    return 0;
}
