/* SPDX-License-Identifier: MIT */
/* The reader of importance matrices on any bytes: refused in one line, or everything in it can be used: found by
 * name, described, turned into weights that are finite and not negative, and merged with itself. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/level/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void check_entry(const struct imatrix *m, const struct imatrix_entry *entry)
{
    struct err e;
    struct imatrix_stats stats;
    size_t n = (size_t)entry->n_cols * (size_t)entry->n_mat;
    float *weights = malloc(n * sizeof *weights);
    if (!weights || imatrix_find(m, entry->name) != entry ||
        imatrix_importance(entry, entry->n_cols, entry->n_mat, weights, &e) != ERR_OK)
        abort();
    for (size_t i = 0; i < n; i++)
        if (!(weights[i] >= 0) || isinf(weights[i]))
            abort();
    free(weights);
    if (imatrix_stats(m, entry, &stats) && (!(stats.sum >= 0) || !(stats.evenness <= 1.001) || isnan(stats.cosine)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct imatrix *m = NULL;
    struct err e = { 0 };
    enum err_code rc = imatrix_open_memory(&m, data, n_bytes, &e);
    if (rc != ERR_OK) {
        if (rc != e.code || m || !e.text[0] || strpbrk(e.text, "\n\r\x1b"))
            abort();
        return 0;
    }
    for (int32_t i = 0; i < m->n_entries; i++)
        check_entry(m, &m->entries[i]);
    int32_t n = m->n_entries;
    struct imatrix *sum = imatrix_create();
    if (!sum || imatrix_merge(sum, m, &e) != ERR_OK || imatrix_merge(sum, m, &e) != ERR_OK || sum->n_entries != n)
        abort();
    imatrix_destroy(sum);
    imatrix_destroy(m);
    return 0;
}
