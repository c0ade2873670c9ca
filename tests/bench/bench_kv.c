/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_kv.h"
#include "engine/quant/f16.h"

/* How fast attention goes through sealed pages, as a table: for groups of 1, 3, 6 and 8 query heads the time
 * of one head's page and GB/s of it, its pages in L2 or in memory, beside open f16 pages (f16/f16). One
 * thread; its processor time; the best of many layers (in L2: passes), because a shared machine's speed varies
 * from second to second.
 *
 *     bench_kv [scalar|avx2|avx512 [KEYS VALUES]] */
enum {
    L2_BYTES = 256 << 10, DRAM_BYTES = 256 << 20, L2_PASSES = 400, DRAM_LAYERS = 32, DRAM_PASSES = 3,
    N_HEAD = 2, MAX_GROUP = 8, MODELS = 8
};

static const enum kv_type types[] = { KV_F16, KV_Q8_0, KV_Q4_0, KV_KV4, KV_KV3 };
enum { N_TYPES = sizeof types / sizeof *types };

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *take(size_t n_bytes)
{
    void *p = aligned_alloc(4096, (n_bytes + 4095) / 4096 * 4096);
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", n_bytes);
        exit(1);
    }
    return p;
}

/* Sum of uniform numbers: near enough to a normal one. */
static float noise(uint32_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 1664525u + 1013904223u;
        sum += (float)(*state >> 8) * 0x1p-24f - 0.5f;
    }
    return sum * 1.7f;
}

struct bench {
    struct cpu_kv_kern kv;
    struct cpu_vec vec;
    struct cpu_kv_shape shape;
    size_t key_bytes, value_bytes, page_bytes;    /* of a head; of a page of N_HEAD heads */
    uint8_t *memory;
    size_t walked_bytes;    /* of it */
    struct cpu_kv_query query[MAX_GROUP];
    float q[MAX_GROUP][KV_MAX_HEAD], rotated[MAX_GROUP][KV_MAX_HEAD];
    float scale[MAX_GROUP][KV_MAX_HEAD / KV_BLOCK];
    int32_t sum[MAX_GROUP][KV_MAX_HEAD / KV_BLOCK];
    int8_t codes[MAX_GROUP][KV_MAX_HEAD];
    float o[MAX_GROUP][KV_MAX_HEAD];
};

/* A few pages of noise, repeated. */
static void make_pages(struct bench *b)
{
    uint32_t state = 1;
    int32_t n = b->shape.d * KV_PAGE;
    uint16_t *keys = take((size_t)n * 2), *values = take((size_t)n * 2);
    float *scratch = take(cpu_kv_seal_floats(b->shape.d) * sizeof *scratch);
    for (int page = 0; page < MODELS; page++)
        for (size_t head = 0; head < N_HEAD; head++) {
            for (int32_t i = 0; i < n; i++) {
                keys[i] = f16_from_f32(noise(&state));
                values[i] = f16_from_f32(noise(&state));
            }
            uint8_t *at = b->memory + (size_t)page * b->page_bytes;
            b->kv.seal(at + head * b->key_bytes, at + N_HEAD * b->key_bytes + head * b->value_bytes, keys,
                       values, &b->shape, scratch);
        }
    for (size_t at = MODELS * b->page_bytes; at + b->page_bytes <= DRAM_BYTES; at += b->page_bytes)
        memcpy(b->memory + at, b->memory + at % (MODELS * b->page_bytes), b->page_bytes);
    free(keys);
    free(values);
    free(scratch);
}

static void make_queries(struct bench *b)
{
    uint32_t state = 2;
    for (int i = 0; i < MAX_GROUP; i++) {
        for (int32_t c = 0; c < b->shape.d; c++)
            b->q[i][c] = noise(&state) / sqrtf((float)b->shape.d);
        b->kv.prepare(&b->query[i], b->rotated[i], b->codes[i], b->scale[i], b->sum[i], b->q[i], &b->shape);
    }
}

static const uint8_t *keys_of(const struct bench *b, size_t page, size_t head)
{
    return b->memory + page * b->page_bytes + head * b->key_bytes;
}

static const uint8_t *values_of(const struct bench *b, size_t page, size_t head)
{
    return b->memory + page * b->page_bytes + N_HEAD * b->key_bytes + head * b->value_bytes;
}

/* What one head reads of the layer's n pages from `first` on, as far as they are walked. */
static void look_ahead(const struct bench *b, struct cpu_ahead *ahead, size_t head, size_t first, size_t n,
                       size_t stride)
{
    for (size_t i = 0; i < n && (first + i * stride + 1) * b->page_bytes <= b->walked_bytes; i++) {
        ahead[2 * i] = (struct cpu_ahead){ keys_of(b, first + i * stride, head), b->key_bytes };
        ahead[2 * i + 1] = (struct cpu_ahead){ values_of(b, first + i * stride, head), b->value_bytes };
    }
}

/* n pages, up to CPU_KV_PAGES, each `stride` pages of the memory behind the one before. */
static void attend_pages(struct bench *b, struct cpu_attn *a, int group, size_t head, size_t first, size_t n,
                         size_t stride)
{
    if (kv_type_sealed(b->shape.k) || kv_type_sealed(b->shape.v)) {
        struct cpu_kv_pages pages = { .n = (int32_t)n };
        for (size_t i = 0; i < n; i++) {
            pages.keys[i] = keys_of(b, first + i * stride, head);
            pages.values[i] = values_of(b, first + i * stride, head);
        }
        size_t then = head + 1 < N_HEAD ? first : first + n * stride;
        look_ahead(b, pages.ahead, (head + 1) % N_HEAD, then, n, stride);
        b->kv.attend(a, b->query, group, &pages, &b->shape, 0);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct cpu_ahead ahead[2] = { 0 };
        size_t at = first + i * stride, next_head = i + 1 < n ? head : (head + 1) % N_HEAD;
        look_ahead(b, ahead, next_head, i + 1 == n && next_head > 0 ? first : at + stride, 1, stride);
        for (int q = 0; q < group; q++)
            a[q].key1 = KV_PAGE;
        b->vec.attn_page_f16(a, group, (const void *)keys_of(b, at, head), (const void *)values_of(b, at, head), ahead,
                             b->shape.d, b->shape.d, 0);
    }
}

/* One layer as a row of a batch walks it: chunk by chunk, the heads of a chunk one after the other. The layers of a
 * page of tokens stand together, as in the engine's blocks. */
static void walk(struct bench *b, int group, size_t layer, size_t n_pages, size_t n_layers)
{
    for (size_t page = 0; page < n_pages; page += CPU_KV_PAGES)
        for (size_t head = 0; head < N_HEAD; head++) {
            size_t n = n_pages - page < CPU_KV_PAGES ? n_pages - page : CPU_KV_PAGES;
            struct cpu_attn a[MAX_GROUP];
            for (int i = 0; i < group; i++)
                a[i] = (struct cpu_attn){ .q = b->q[i], .o = b->o[i], .m = -INFINITY, .key1 = (int32_t)n * KV_PAGE };
            attend_pages(b, a, group, head, layer + page * n_layers, n, n_layers);
        }
}

/* Best seconds for one head's page over the layers of n_bytes. */
static double measure(struct bench *b, int group, size_t n_bytes, size_t n_layers, int n_passes)
{
    size_t n_pages = n_bytes / b->page_bytes / n_layers;
    b->walked_bytes = n_bytes;
    double best = 1e9;
    for (int pass = 0; pass < n_passes; pass++)
        for (size_t layer = 0; layer < n_layers; layer++) {
            double begin = now();
            walk(b, group, layer, n_pages, n_layers);
            double seconds = (now() - begin) / (double)(n_pages * N_HEAD);
            best = seconds < best ? seconds : best;
        }
    return best;
}

static void bench_types(struct bench *b, enum kv_type k, enum kv_type v, int32_t d)
{
    static const int groups[] = { 1, 3, 6, 8 };
    b->shape = (struct cpu_kv_shape){ k, v, d };
    b->key_bytes = kv_sealed_key_bytes(k, d);
    b->value_bytes = kv_sealed_value_bytes(v, d);
    b->page_bytes = N_HEAD * (b->key_bytes + b->value_bytes);
    make_pages(b);
    make_queries(b);
    double bytes = (double)(b->key_bytes + b->value_bytes) * 1e-9;
    printf("| %-4s | %-4s | %3d | %5.0f |", kv_type_name(k), kv_type_name(v), d, bytes * 1e9);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        double near = measure(b, groups[i], L2_BYTES, 1, L2_PASSES);
        double far = measure(b, groups[i], DRAM_BYTES, DRAM_LAYERS, DRAM_PASSES);
        printf(" %6.0f %5.1f %5.1f |", near * 1e9, bytes / near, bytes / far);
        fflush(stdout);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    uint32_t features = cpuid_features();
    if (argc > 1 && strcmp(argv[1], "scalar") == 0)
        features = 0;
    else if (argc > 1 && strcmp(argv[1], "avx2") == 0)
        features &= CPUID_AVX2;
    struct bench *b = take(sizeof *b);
    memset(b, 0, sizeof *b);
    cpu_kv_init(&b->kv, features, false);
    cpu_vec_init(&b->vec, features);
    b->memory = take(DRAM_BYTES);
    madvise(b->memory, DRAM_BYTES, MADV_HUGEPAGE);    /* as the engine's buffers */
    char name[64];
    cpuid_name(name, sizeof name);
    printf("%s, tier %s; of one head's page: ns in L2, GB/s in L2, GB/s from memory\n\n", name, b->kv.name);
    printf("| keys | vals |  d  | bytes | group 1            | group 3            | group 6            "
           "| group 8            |\n|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < N_TYPES * N_TYPES; i++) {
        enum kv_type k = types[i / N_TYPES], v = types[i % N_TYPES];
        if (argc > 3 && (strcmp(argv[2], kv_type_name(k)) != 0 || strcmp(argv[3], kv_type_name(v)) != 0))
            continue;
        bench_types(b, k, v, 64);
        bench_types(b, k, v, 128);
    }
    free(b->memory);
    free(b);
    return 0;
}
