/* SPDX-License-Identifier: MIT */
#include "app/measure/estimate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { ESTIMATE_DRAWS = 2000, ESTIMATE_PART_LEAST = 8 };

static const double normal_975 = 1.95996398454;

struct estimate_blocks estimate_blocks(int64_t n, int64_t per_chunk)
{
    struct estimate_blocks b = { .per_chunk = per_chunk, .n_parts = 1, .n_together = 1 };
    if (n <= 0 || per_chunk <= 0)
        return (struct estimate_blocks){ 0 };
    assert(n % per_chunk == 0 && n / per_chunk <= INT32_MAX);
    b.n_chunks = (int32_t)(n / per_chunk);
    if (b.n_chunks < ESTIMATE_BLOCKS_LEAST) {
        int64_t most = per_chunk / ESTIMATE_PART_LEAST;
        b.n_parts = (ESTIMATE_BLOCKS_LEAST + b.n_chunks - 1) / b.n_chunks;
        if (b.n_parts > most)
            b.n_parts = most > 1 ? (int32_t)most : 1;
    } else if (b.n_chunks > ESTIMATE_BLOCKS_MOST) {
        b.n_together = (b.n_chunks + ESTIMATE_BLOCKS_MOST - 1) / ESTIMATE_BLOCKS_MOST;
    }
    b.n_blocks = (b.n_chunks * b.n_parts + b.n_together - 1) / b.n_together;
    return b;
}

int64_t estimate_block_begin(const struct estimate_blocks *b, int32_t i)
{
    int64_t chunk = (int64_t)i / b->n_parts * b->n_together, part = i % b->n_parts;
    if (chunk > b->n_chunks)
        chunk = b->n_chunks;    /* the last block may have fewer chunks */
    return chunk * b->per_chunk + part * b->per_chunk / b->n_parts;
}

/* splitmix64, below n. */
static uint32_t draw_below(uint64_t *state, uint32_t n)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(((z ^ z >> 31) >> 32) * n >> 32);
}

/* A mean and its standard error from sums over blocks of unequal lengths: sum of sums / sum of counts, and the spread
 * of what each block adds to that. */
struct spread {
    double mean, error;
};

static struct spread spread_of(const double *sums, const double *counts, const int32_t *picks, int32_t n)
{
    double sum = 0, count = 0, squares = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t k = picks ? picks[i] : i;
        sum += sums[k];
        count += counts[k];
    }
    double mean = sum / count;
    for (int32_t i = 0; i < n; i++) {
        int32_t k = picks ? picks[i] : i;
        double off = sums[k] - mean * counts[k];
        squares += off * off;
    }
    return (struct spread){ mean, n > 1 ? sqrt(squares * n / (n - 1)) / count : 0 };
}

static struct spread sum_blocks(const double *values, const struct estimate_blocks *b, double *sums, double *counts)
{
    for (int32_t i = 0; i < b->n_blocks; i++) {
        int64_t end = estimate_block_begin(b, i + 1);
        sums[i] = counts[i] = 0;
        for (int64_t k = estimate_block_begin(b, i); k < end; k++) {
            sums[i] += values[k];
            counts[i]++;
        }
    }
    return spread_of(sums, counts, NULL, b->n_blocks);
}

static struct estimate plain_mean(const double *values, int64_t n)
{
    struct estimate e = { 0 };
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        e.mean += values[i];
    e.mean = n > 0 ? e.mean / (double)n : 0;
    for (int64_t i = 0; i < n; i++)
        squares += (values[i] - e.mean) * (values[i] - e.mean);
    e.error = n > 1 ? sqrt(squares / (double)n / (double)(n - 1)) : 0;
    e.low = e.high = e.mean;
    return e;
}

struct estimate estimate_mean(const double *values, int64_t n, const struct estimate_blocks *b)
{
    double sums[ESTIMATE_BLOCKS_MOST], counts[ESTIMATE_BLOCKS_MOST], offs[ESTIMATE_DRAWS];
    int32_t picks[ESTIMATE_BLOCKS_MOST];
    struct estimate e = plain_mean(values, n);
    if (b->n_blocks < 2)
        return e;
    struct spread ours = sum_blocks(values, b, sums, counts);
    uint64_t state = 20260823;
    int64_t n_offs = 0;
    for (int32_t i = 0; i < ESTIMATE_DRAWS && ours.error > 0; i++) {
        for (int32_t k = 0; k < b->n_blocks; k++)
            picks[k] = (int32_t)draw_below(&state, (uint32_t)b->n_blocks);
        struct spread drawn = spread_of(sums, counts, picks, b->n_blocks);
        if (drawn.error > 0)    /* it is 0 where one block was drawn every time */
            offs[n_offs++] = (drawn.mean - ours.mean) / drawn.error;
    }
    if (n_offs == 0)
        return e;
    estimate_sort(offs, n_offs);
    e.low = e.mean - ours.error * fmax(estimate_percentile(offs, n_offs, 0.975), 0);
    e.high = e.mean - ours.error * fmin(estimate_percentile(offs, n_offs, 0.025), 0);
    return e;
}

struct estimate estimate_wilson(double hits, double n)
{
    if (n <= 0)
        return (struct estimate){ .high = 1 };
    double share = hits / n, z = normal_975 * normal_975 / n;
    double half = normal_975 * sqrt((share * (1 - share) + z / 4) / n);
    struct estimate e = { .mean = share, .error = n > 1 ? sqrt(share * (1 - share) / (n - 1)) : 0 };
    e.low = hits <= 0 ? 0 : (share + z / 2 - half) / (1 + z);
    e.high = hits >= n ? 1 : (share + z / 2 + half) / (1 + z);
    return e;
}

struct estimate estimate_share(const double *values, int64_t n, const struct estimate_blocks *b)
{
    double sums[ESTIMATE_BLOCKS_MOST], counts[ESTIMATE_BLOCKS_MOST];
    struct estimate plain = plain_mean(values, n);
    double variance = plain.mean * (1 - plain.mean), tries = (double)n;
    if (b->n_blocks > 1 && variance > 0) {
        struct spread s = sum_blocks(values, b, sums, counts);
        if (variance < tries * s.error * s.error)
            tries = variance / (s.error * s.error);
    }
    struct estimate e = estimate_wilson(plain.mean * tries, tries);
    e.mean = plain.mean;
    e.error = plain.error;
    return e;
}

double estimate_percentile(const double *sorted, int64_t n, double fraction)
{
    double at = fraction * (double)(n - 1);
    int64_t below = (int64_t)at;
    if (below >= n - 1)
        return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void estimate_sort(double *values, int64_t n)
{
    if (n > 1)
        qsort(values, (size_t)n, sizeof *values, compare);
}
