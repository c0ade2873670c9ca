/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_product.h"

/* What a Vulkan device gives the engine to work with, apart from any model:
 *
 *     bench_vulkan [--device NAME] [--mib N] [-r ROUNDS]
 *
 *     copy      bytes read and written a second by a plain copy of N MiB (512)
 *     level     time of a tiny dispatch that waits for the one before, in a chain of 941
 *     products  bytes of weights read a second by products with 1, 2, 4 and 8 rows, for each type of weight, in a ring
 *               of matrices of N MiB in all, which no cache holds; beside the copy's read half
 *
 * Best and median of the rounds (7). */

enum { MAX_ROUNDS = 64, CHAIN = 941, N_COLS = 4096, N_ROWS = 4096, MOST_MATRICES = 256 };

struct bench {
    struct vulkan_list *list;
    struct vulkan_device *d;
    uint64_t n_bytes;
    int32_t n_rounds;
    double read_gbs;    /* of the copy */
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_vulkan: %s: %s\n", what, why);
    exit(1);
}

static void must(enum err_code rc, const struct err *e, const char *what)
{
    if (rc != ERR_OK)
        fail(what, e->text);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Seconds of the recording: the first round only warms up. */
static void time_it(struct bench *b, struct vulkan_recording *r, double *best, double *median)
{
    double s[MAX_ROUNDS];
    struct err e;
    must(vulkan_record_end(r, &e), &e, "recording");
    for (int32_t i = -1; i < b->n_rounds; i++) {
        uint64_t value;
        double begin = now_s();
        must(vulkan_submit(b->d, &r->cmd, 1, &value, &e), &e, "running");
        must(vulkan_wait(b->d, value, &e), &e, "running");
        if (i >= 0)
            s[i] = now_s() - begin;
    }
    vulkan_recording_destroy(r);
    qsort(s, (size_t)b->n_rounds, sizeof *s, by_value);
    *best = s[0];
    *median = s[b->n_rounds / 2];
}

static void bench_copy(struct bench *b)
{
    struct vulkan_buf from, to;
    struct vulkan_recording r;
    struct err e;
    double best, median;
    must(vulkan_buf_create(b->d, &from, b->n_bytes, VULKAN_LOCAL, &e), &e, "copy");
    must(vulkan_buf_create(b->d, &to, b->n_bytes, VULKAN_LOCAL, &e), &e, "copy");
    must(vulkan_record_begin(&r, b->d, &e), &e, "copy");
    vulkan_record_copy(&r, &to, &from, b->n_bytes);
    time_it(b, &r, &best, &median);
    b->read_gbs = 2 * (double)b->n_bytes / best * 1e-9;
    printf("copy      %8.1f GB/s read and written, median %.1f\n", b->read_gbs,
           2 * (double)b->n_bytes / median * 1e-9);
    vulkan_buf_destroy(b->d, &from);
    vulkan_buf_destroy(b->d, &to);
}

static void bench_level(struct bench *b)
{
    const uint32_t spec[] = { 128, 0, 0 };
    struct { uint32_t n_cols; float eps, scale; } push = { 128, 1e-5f, 1 };
    struct vulkan_buf x;
    struct vulkan_recording r;
    struct err e;
    double best, median;
    must(vulkan_buf_create(b->d, &x, 4096, VULKAN_LOCAL, &e), &e, "level");
    must(vulkan_record_begin(&r, b->d, &e), &e, "level");
    const struct vulkan_part part = { &x, 0, 1024 }, other = { &x, 1024, 1024 };
    for (int32_t i = 0; i < CHAIN; i++) {
        const struct vulkan_part parts[] = { i % 2 ? part : other, part, i % 2 ? other : part, part };
        vulkan_record_shader(&r, "norm", spec, 3, parts, &push, sizeof push, 1, 1, 1);
        vulkan_record_barrier(&r);
    }
    time_it(b, &r, &best, &median);
    printf("level     %8.2f us, median %.2f\n", best / CHAIN * 1e6, median / CHAIN * 1e6);
    vulkan_buf_destroy(b->d, &x);
}

static void bench_type(struct bench *b, uint32_t type)
{
    struct tensor t = { .name = "bench", .type = type, .n_cols = N_COLS, .n_rows = N_ROWS };
    const struct quant_format *f = quant_format(type);
    if (!f || !vulkan_weight_supported(type))
        return;
    t.row_bytes = (uint64_t)(N_COLS / f->block_weights) * f->block_bytes;
    t.n_bytes = t.row_bytes * N_ROWS;
    int32_t n = (int32_t)(b->n_bytes / t.n_bytes) + 1;
    n = n < MOST_MATRICES ? n : MOST_MATRICES;
    void *zeros = calloc(1, t.n_bytes);
    struct vulkan_weight *w = calloc((size_t)n, sizeof *w);
    struct vulkan_buf x, y;
    struct err e;
    if (!zeros || !w)
        fail(f->name, "no memory");
    t.data = zeros;
    for (int32_t i = 0; i < n; i++)
        must(vulkan_weight_create(b->d, &t, &w[i], &e), &e, f->name);
    must(vulkan_flush(b->d, &e), &e, f->name);
    must(vulkan_buf_create(b->d, &x, 8 * N_COLS * 4, VULKAN_LOCAL, &e), &e, f->name);
    must(vulkan_buf_create(b->d, &y, 8 * N_ROWS * 4, VULKAN_LOCAL, &e), &e, f->name);
    printf("%-9s", f->name);
    for (int32_t rows = 1; rows <= 8; rows *= 2) {
        struct vulkan_recording r;
        double best, median;
        must(vulkan_record_begin(&r, b->d, &e), &e, f->name);
        for (int32_t i = 0; i < n; i++) {
            vulkan_record_product(&r, &(struct vulkan_product){ .w = &w[i], .x = &x, .y = &y, .n = rows, .scale = 1 });
            vulkan_record_barrier(&r);
        }
        time_it(b, &r, &best, &median);
        double gbs = (double)t.n_bytes * n / best * 1e-9;
        printf("  %d: %7.1f GB/s %3.0f %%", rows, gbs, 100 * gbs / b->read_gbs);
    }
    printf("\n");
    for (int32_t i = 0; i < n; i++)
        vulkan_weight_destroy(b->d, &w[i]);
    vulkan_buf_destroy(b->d, &x);
    vulkan_buf_destroy(b->d, &y);
    free(zeros);
    free(w);
}

int main(int argc, char **argv)
{
    struct bench b = { .n_bytes = 512 << 20, .n_rounds = 7 };
    const char *name = "vulkan";
    const struct vulkan_card *card;
    struct err e;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--device") == 0)
            name = argv[i + 1];
        else if (strcmp(argv[i], "--mib") == 0)
            b.n_bytes = (uint64_t)atoi(argv[i + 1]) << 20;
        else if (strcmp(argv[i], "-r") == 0)
            b.n_rounds = atoi(argv[i + 1]);
        else
            fail(argv[i], "not an option");
    }
    if (b.n_rounds < 1 || b.n_rounds > MAX_ROUNDS || b.n_bytes == 0)
        fail("options", "1 to 64 rounds, 1 MiB at least");
    must(vulkan_list_open(&b.list, &(struct vulkan_list_options){ 0 }, &e), &e, "Vulkan");
    must(vulkan_list_find(b.list, name, &card, &e), &e, "device");
    must(vulkan_device_open(&b.d, b.list, card, &e), &e, "device");
    printf("%s, %s, subgroups of %u\n", card->name, card->driver, card->subgroup);
    bench_copy(&b);
    bench_level(&b);
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++)
        bench_type(&b, type);
    vulkan_device_close(b.d);
    vulkan_list_close(b.list);
    return 0;
}
