/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_kv.h"
#include "engine/quant/f16.h"

/* What sealing a page costs: ns per value of one thread, keys and values apart, the best of several short
 * windows.  bench_kv_seal [d_head] */
enum { WINDOWS = 15, HEADS = 8 };

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *take(size_t n_bytes)
{
    void *p = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", n_bytes);
        exit(1);
    }
    return p;
}

/* Roughly normal: the sum of four uniform numbers. */
static uint16_t number(uint32_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 1664525 + 1013904223;
        sum += (float)(*state >> 8) * 0x1p-24f - 0.5f;
    }
    return f16_from_f32(sum);
}

static double time_ns(const struct cpu_kv_kern *kern, const struct cpu_kv_shape *shape, const uint16_t *open,
                      uint8_t *sealed, float *scratch)
{
    size_t n = (size_t)shape->d * KV_PAGE;
    double best = 1e18;
    for (int window = 0; window < WINDOWS; window++) {
        double begin = now();
        for (size_t h = 0; h < HEADS; h++)
            kern->seal(sealed, sealed + 2 * n, open + h * 2 * n, open + (h * 2 + 1) * n, shape, scratch);
        double ns = (now() - begin) * 1e9 / (double)(HEADS * n);
        best = ns < best ? ns : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    static const uint32_t features[] = { 0, CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
    static const char *const names[] = { "scalar", "avx2", "avx512" };
    static const enum kv_type types[] = { KV_F16, KV_Q8_0, KV_Q4_0, KV_KV4, KV_KV3 };
    int32_t d = argc > 1 ? atoi(argv[1]) : 64;
    if (d <= 0 || d > KV_MAX_HEAD || d % 16 != 0) {
        fprintf(stderr, "d_head %d: a multiple of 16 up to %d is wanted\n", d, KV_MAX_HEAD);
        return 1;
    }
    size_t n = (size_t)d * KV_PAGE;
    uint16_t *open = take(HEADS * 2 * n * sizeof *open);
    uint8_t *sealed = take(4 * n);
    float *scratch = take(cpu_kv_seal_floats(d) * sizeof *scratch);
    uint32_t state = 1;
    for (size_t i = 0; i < HEADS * 2 * n; i++)
        open[i] = number(&state);
    printf("ns per value, d_head %d     keys  values\n", d);
    for (int tier = 0; tier < 3; tier++) {
        struct cpu_kv_kern kern;
        if ((cpuid_features() & features[tier]) != features[tier])
            continue;
        cpu_kv_init(&kern, features[tier], false);
        struct cpu_kv_shape shape = { .k = KV_F16, .v = KV_F16, .d = d };
        double copy = time_ns(&kern, &shape, open, sealed, scratch) / 2;
        for (int i = 1; i < 5; i++) {
            shape = (struct cpu_kv_shape){ .k = types[i], .v = KV_F16, .d = d };
            double k = time_ns(&kern, &shape, open, sealed, scratch) - copy;
            shape = (struct cpu_kv_shape){ .k = KV_F16, .v = types[i], .d = d };
            double v = time_ns(&kern, &shape, open, sealed, scratch) - copy;
            printf("%-8s %-8s         %8.2f%8.2f\n", names[tier], kv_type_name(types[i]), k, v);
        }
    }
    free(open);
    free(sealed);
    free(scratch);
    return 0;
}
