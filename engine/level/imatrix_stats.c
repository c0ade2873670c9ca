/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/level/imatrix.h"

#define INACTIVE 1e-5

/* The number in "blk.NUMBER."; *rest: what follows the number. */
static int32_t layer_of(const char *name, const char **rest)
{
    char *end;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9')
        return -1;
    long layer = strtol(name + 4, &end, 10);
    *rest = end;
    return *end == '.' && layer <= INT32_MAX ? (int32_t)layer : -1;
}

static const struct imatrix_entry *previous(const struct imatrix *m, const struct imatrix_entry *entry)
{
    const char *rest;
    int32_t layer = layer_of(entry->name, &rest);
    char name[IMATRIX_MAX_NAME_BYTES + 16];
    if (layer < 1)
        return NULL;
    snprintf(name, sizeof name, "blk.%d%s", layer - 1, rest);
    const struct imatrix_entry *found = imatrix_find(m, name);
    return found && found->n_cols == entry->n_cols && found->n_mat == entry->n_mat ? found : NULL;
}

static double cosine(const struct imatrix_entry *a, const struct imatrix_entry *b)
{
    double dot = 0, square_a = 0, square_b = 0;
    for (int64_t i = 0; i < (int64_t)a->n_cols * a->n_mat; i++) {
        dot += a->sums[i] * b->sums[i];
        square_a += a->sums[i] * a->sums[i];
        square_b += b->sums[i] * b->sums[i];
    }
    return square_a > 0 && square_b > 0 ? dot / (sqrt(square_a) * sqrt(square_b)) : 0;
}

/* The mean of x^2 of column i of all the matrices; -1 when its matrix had no row. */
static double mean_of(const struct imatrix_entry *entry, int64_t i)
{
    uint64_t count = entry->counts[i / entry->n_cols];
    return count > 0 ? entry->sums[i] / (double)count : -1;
}

bool imatrix_stats(const struct imatrix *m, const struct imatrix_entry *entry, struct imatrix_stats *out)
{
    const char *rest;
    int64_t n_all = (int64_t)entry->n_cols * entry->n_mat, n_active = 0, n_above = 0;
    double squares = 0;
    *out = (struct imatrix_stats){ .min = INFINITY, .layer = layer_of(entry->name, &rest) };
    for (int64_t i = 0; i < n_all; i++) {
        double value = mean_of(entry, i);
        if (value < 0)
            continue;
        out->n++;
        out->sum += value;
        squares += value * value;
        out->min = value < out->min ? value : out->min;
        out->max = value > out->max ? value : out->max;
        n_active += value > INACTIVE;
    }
    if (out->n == 0)
        return false;
    double n = (double)out->n, variance = squares / n - out->sum / n * (out->sum / n);
    out->mean = out->sum / n;
    out->deviation = variance > 0 ? sqrt(variance) : 0;
    for (int64_t i = 0; i < n_all; i++) {
        double value = mean_of(entry, i);
        if (value > 0)
            out->entropy -= value / out->sum * log2(value / out->sum);
        n_above += out->deviation > 0 && value > out->mean + out->deviation;
    }
    out->active = (double)n_active / n;
    out->evenness = out->n > 1 ? out->entropy / log2(n) : 1;
    out->above = (double)n_above / n;
    const struct imatrix_entry *before = previous(m, entry);
    out->has_previous = before;
    out->cosine = before ? cosine(entry, before) : 0;
    return true;
}
