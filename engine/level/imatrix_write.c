/* SPDX-License-Identifier: MIT */
#include "engine/level/imatrix_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/gguf/gguf_writer.h"
#include "engine/level/level_file.h"

enum { TYPE_F32 = 0 };

/* ---- GGUF ----------------------------------------------------------------------------------------- */

static int32_t n_values(const struct imatrix_entry *entry)
{
    return entry->n_cols * entry->n_mat;
}

static void add_tensor(struct gguf_writer *w, const char *name, const char *suffix, int32_t n_cols, int32_t n_mat,
                       const float *values)
{
    char full[IMATRIX_MAX_NAME_BYTES + 16];
    uint64_t ne[2] = { (uint64_t)n_cols, (uint64_t)n_mat };
    snprintf(full, sizeof full, "%s%s", name, suffix);
    gguf_writer_tensor(w, full, TYPE_F32, n_mat > 1 ? 2 : 1, ne, values);
}

/* next: where the entry's numbers may be put. Returns what is behind them. */
static float *add_entry(struct gguf_writer *w, const struct imatrix_entry *entry, float *next)
{
    float *sums = next, *counts = sums + n_values(entry);
    for (int32_t i = 0; i < n_values(entry); i++)
        sums[i] = (float)entry->sums[i];
    for (int32_t i = 0; i < entry->n_mat; i++)
        counts[i] = (float)entry->counts[i];
    add_tensor(w, entry->name, ".in_sum2", entry->n_cols, entry->n_mat, sums);
    add_tensor(w, entry->name, ".counts", 1, entry->n_mat, counts);
    return counts + entry->n_mat;
}

static enum err_code save_gguf(const struct imatrix *m, size_t n_floats, const char *path, struct err *e)
{
    struct gguf_writer *w = gguf_writer_create();
    struct gguf_text *datasets = calloc((size_t)m->n_datasets + 1, sizeof *datasets);
    float *values = malloc(n_floats * sizeof *values), *next = values;
    enum err_code rc = ERR_OK;
    if (!w || !datasets || !values)
        rc = err_set(e, ERR_NOMEM, "%s: no memory for %zu numbers", path, n_floats);
    if (rc == ERR_OK) {
        for (int32_t i = 0; i < m->n_datasets; i++)
            datasets[i] = (struct gguf_text){ m->datasets[i], strlen(m->datasets[i]) };
        gguf_writer_text(w, "general.type", "imatrix");
        gguf_writer_texts(w, "imatrix.datasets", datasets, (uint64_t)m->n_datasets);
        gguf_writer_u32(w, "imatrix.chunk_count", m->n_chunks);
        gguf_writer_u32(w, "imatrix.chunk_size", m->chunk_size);
        for (int32_t i = 0; i < m->n_entries; i++)
            next = add_entry(w, &m->entries[i], next);
        rc = gguf_writer_save(w, path, e);
    }
    gguf_writer_destroy(w);
    free(datasets);
    free(values);
    return rc;
}

/* ---- dat ------------------------------------------------------------------------------------------ */

static void add_i32(struct buf *b, int64_t value)
{
    int32_t small = (int32_t)(value < INT32_MAX ? value : INT32_MAX);
    buf_add(b, &small, sizeof small);
}

static void add_dat_entry(struct buf *b, const struct imatrix_entry *entry, uint32_t chunk_size)
{
    uint64_t most = 0;
    for (int32_t i = 0; i < entry->n_mat; i++)
        most = entry->counts[i] > most ? entry->counts[i] : most;
    /* Rounded up, or a file of less than a chunk would say that there is nothing in it. */
    uint64_t n_calls = chunk_size > 0 ? (most + chunk_size - 1) / chunk_size : most;
    n_calls = n_calls < 1 ? 1 : n_calls > INT32_MAX ? INT32_MAX : n_calls;
    add_i32(b, (int64_t)strlen(entry->name));
    buf_add_text(b, entry->name);
    add_i32(b, (int64_t)n_calls);
    add_i32(b, n_values(entry));
    for (int32_t i = 0; i < n_values(entry); i++) {
        uint64_t count = entry->counts[i / entry->n_cols];
        float value = (float)((count > 0 ? entry->sums[i] / (double)count : 1.0) * (double)n_calls);
        buf_add(b, &value, sizeof value);
    }
}

static enum err_code save_dat(const struct imatrix *m, const char *path, struct err *e)
{
    struct buf b = { 0 };
    const char *dataset = m->n_datasets > 0 ? m->datasets[m->n_datasets - 1] : "";
    add_i32(&b, m->n_entries);
    for (int32_t i = 0; i < m->n_entries; i++)
        add_dat_entry(&b, &m->entries[i], m->chunk_size);
    add_i32(&b, m->n_chunks);
    add_i32(&b, (int64_t)strlen(dataset));
    buf_add_text(&b, dataset);
    if (!buf_ok(&b)) {
        buf_finish(&b);
        return err_set(e, ERR_NOMEM, "%s: no memory for %d tensors", path, m->n_entries);
    }
    struct level_file file;
    enum err_code rc = level_file_create(&file, path, b.n_bytes, true, e);
    if (rc == ERR_OK)
        rc = level_file_write(&file, 0, b.data, b.n_bytes, e);
    if (rc == ERR_OK)
        rc = level_file_commit(&file, e);
    level_file_close(&file);
    buf_finish(&b);
    return rc;
}

enum err_code imatrix_save(const struct imatrix *m, const char *path, enum imatrix_format format, struct err *e)
{
    size_t n_floats = 0;
    if (m->n_entries < 1)
        return err_set(e, ERR_FORMAT, "%s: an importance matrix of no tensor is not written", path);
    for (int32_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *entry = &m->entries[i];
        int64_t n = (int64_t)entry->n_cols * entry->n_mat;
        for (int64_t j = 0; j < n; j++)
            if (!isfinite((float)entry->sums[j]))
                return err_set(e, ERR_FORMAT, "%s: tensor '%s' has a sum of %g, which no f32 holds", path,
                               entry->name, entry->sums[j]);
        if (n > INT32_MAX)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s' has %lld sums, at most %d are written", path, entry->name,
                           (long long)n, INT32_MAX);
        n_floats += (size_t)n + (size_t)entry->n_mat;
    }
    return format == IMATRIX_GGUF ? save_gguf(m, n_floats, path, e) : save_dat(m, path, e);
}
