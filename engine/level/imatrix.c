/* SPDX-License-Identifier: MIT */
#include "engine/level/imatrix_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/size.h"

struct imatrix *imatrix_create(void)
{
    return calloc(1, sizeof(struct imatrix));
}

void imatrix_entry_finish(struct imatrix_entry *entry)
{
    free(entry->sums);
    free(entry->counts);
}

void imatrix_destroy(struct imatrix *m)
{
    if (!m)
        return;
    for (int32_t i = 0; i < m->n_entries; i++)
        imatrix_entry_finish(&m->entries[i]);
    for (int32_t i = 0; i < m->n_datasets; i++)
        free(m->datasets[i]);
    free(m->entries);
    free(m->datasets);
    free(m);
}

/* ---- entries -------------------------------------------------------------------------------------- */

enum err_code imatrix_check_name(const char *name, size_t n_bytes, struct err *e)
{
    if (n_bytes < 1 || n_bytes > IMATRIX_MAX_NAME_BYTES)
        return err_set(e, ERR_FORMAT, "name of a tensor of %zu bytes, 1 to %d allowed", n_bytes,
                       IMATRIX_MAX_NAME_BYTES);
    for (size_t i = 0; i < n_bytes; i++)
        if ((unsigned char)name[i] < 0x20 || (unsigned char)name[i] > 0x7E)
            return err_set(e, ERR_FORMAT, "byte 0x%02x in the name of a tensor", (unsigned char)name[i]);
    return ERR_OK;
}

enum err_code imatrix_entry_init(struct imatrix_entry *entry, const char *name, size_t n_name, int32_t n_cols,
                                 int32_t n_mat, struct err *e)
{
    memset(entry, 0, sizeof *entry);
    enum err_code rc = imatrix_check_name(name, n_name, e);
    if (rc != ERR_OK)
        return rc;
    memcpy(entry->name, name, n_name);
    if (n_cols < 1 || n_mat < 1)
        return err_set(e, ERR_FORMAT, "tensor '%s': %d columns of %d matrices, at least 1 wanted of both",
                       entry->name, n_cols, n_mat);
    entry->n_cols = n_cols;
    entry->n_mat = n_mat;
    uint64_t n_bytes = 0;
    if (size_mul((uint64_t)n_cols * (uint64_t)n_mat, sizeof *entry->sums, &n_bytes) && n_bytes <= SIZE_MAX) {
        entry->sums = calloc(1, (size_t)n_bytes);
        entry->counts = calloc((size_t)n_mat, sizeof *entry->counts);
    }
    if (entry->sums && entry->counts)
        return ERR_OK;
    imatrix_entry_finish(entry);
    return err_set(e, ERR_NOMEM, "tensor '%s': no memory for %d columns of %d matrices", entry->name, n_cols, n_mat);
}

/* Where it stands, or would. */
static int32_t place_of(const struct imatrix *m, const char *name)
{
    int32_t low = 0, high = m->n_entries;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (strcmp(m->entries[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *name)
{
    int32_t at = place_of(m, name);
    return at < m->n_entries && strcmp(m->entries[at].name, name) == 0 ? &m->entries[at] : NULL;
}

enum err_code imatrix_add(struct imatrix *m, const char *name, int32_t n_cols, int32_t n_mat,
                          struct imatrix_entry **out, struct err *e)
{
    int32_t at = place_of(m, name);
    if (at < m->n_entries && strcmp(m->entries[at].name, name) == 0) {
        struct imatrix_entry *old = &m->entries[at];
        if (old->n_cols != n_cols || old->n_mat != n_mat)
            return err_set(e, ERR_FORMAT, "tensor '%s': %d columns of %d matrices, the importance matrix has %d of %d",
                           name, n_cols, n_mat, old->n_cols, old->n_mat);
        *out = old;
        return ERR_OK;
    }
    if (m->n_entries >= IMATRIX_MAX_ENTRIES)
        return err_set(e, ERR_FORMAT, "more than %d tensors", IMATRIX_MAX_ENTRIES);
    struct imatrix_entry fresh;
    enum err_code rc = imatrix_entry_init(&fresh, name, strlen(name), n_cols, n_mat, e);
    if (rc != ERR_OK)
        return rc;
    struct imatrix_entry *grown = realloc(m->entries, ((size_t)m->n_entries + 1) * sizeof *grown);
    if (!grown) {
        imatrix_entry_finish(&fresh);
        return err_set(e, ERR_NOMEM, "tensor '%s': no memory for its entry", name);
    }
    m->entries = grown;
    memmove(grown + at + 1, grown + at, (size_t)(m->n_entries - at) * sizeof *grown);
    grown[at] = fresh;
    m->n_entries++;
    *out = &grown[at];
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct imatrix_entry *)a)->name, ((const struct imatrix_entry *)b)->name);
}

enum err_code imatrix_sort(struct imatrix *m, struct err *e)
{
    if (m->n_entries > 1)
        qsort(m->entries, (size_t)m->n_entries, sizeof *m->entries, by_name);
    for (int32_t i = 1; i < m->n_entries; i++)
        if (strcmp(m->entries[i - 1].name, m->entries[i].name) == 0)
            return err_set(e, ERR_FORMAT, "tensor '%s' stands in the file twice", m->entries[i].name);
    return ERR_OK;
}

enum err_code imatrix_add_dataset(struct imatrix *m, const char *path, struct err *e)
{
    if (m->n_datasets >= IMATRIX_MAX_DATASETS)
        return err_set(e, ERR_FORMAT, "more than %d datasets", IMATRIX_MAX_DATASETS);
    char **grown = realloc(m->datasets, ((size_t)m->n_datasets + 1) * sizeof *grown);
    if (grown)
        m->datasets = grown;
    char *copy = grown ? strdup(path) : NULL;
    if (!copy)
        return err_set(e, ERR_NOMEM, "no memory for the name of a dataset");
    m->datasets[m->n_datasets++] = copy;
    return ERR_OK;
}

/* ---- merging -------------------------------------------------------------------------------------- */

void imatrix_set_chunk_size(struct imatrix *m, uint32_t chunk_size)
{
    if (m->chunk_size != 0 || chunk_size == 0)
        return;
    m->chunk_size = chunk_size;
    for (int32_t i = 0; i < m->n_entries; i++) {
        struct imatrix_entry *entry = &m->entries[i];
        for (int64_t j = 0; j < (int64_t)entry->n_cols * entry->n_mat; j++)
            entry->sums[j] *= chunk_size;
        for (int32_t j = 0; j < entry->n_mat; j++)
            entry->counts[j] *= chunk_size;
    }
}

/* Of a dat file the experts' columns may stand as those of one matrix. */
static bool is_flat_of(const struct imatrix_entry *flat, int32_t n_cols, int32_t n_mat)
{
    return flat->n_mat == 1 && flat->n_cols == (int64_t)n_cols * n_mat;
}

static bool fits(const struct imatrix_entry *a, const struct imatrix_entry *b)
{
    return (a->n_cols == b->n_cols && a->n_mat == b->n_mat) || is_flat_of(a, b->n_cols, b->n_mat) ||
           is_flat_of(b, a->n_cols, a->n_mat);
}

/* into becomes the sum of the two, whose sizes agree. */
static void add_entry(struct imatrix_entry *into, const struct imatrix_entry *a, uint32_t scale_a,
                      const struct imatrix_entry *b, uint32_t scale_b)
{
    for (int64_t j = 0; j < (int64_t)into->n_cols * into->n_mat; j++)
        into->sums[j] = a->sums[j] * scale_a + (b ? b->sums[j] * scale_b : 0);
    for (int32_t j = 0; j < into->n_mat; j++)
        into->counts[j] = a->counts[a->n_mat == 1 ? 0 : j] * scale_a +
                          (b ? b->counts[b->n_mat == 1 ? 0 : j] * scale_b : 0);
}

/* Takes each name's entries of both in turn; both are in order. */
static enum err_code merge_entries(struct imatrix *out, const struct imatrix *a, uint32_t scale_a,
                                   const struct imatrix *b, uint32_t scale_b, struct err *e)
{
    int32_t at_a = 0, at_b = 0;
    out->entries = malloc(((size_t)a->n_entries + (size_t)b->n_entries + 1) * sizeof *out->entries);
    if (!out->entries)
        return err_set(e, ERR_NOMEM, "no memory for %d tensors", a->n_entries + b->n_entries);
    while (at_a < a->n_entries || at_b < b->n_entries) {
        const struct imatrix_entry *from_a = at_a < a->n_entries ? &a->entries[at_a] : NULL;
        const struct imatrix_entry *from_b = at_b < b->n_entries ? &b->entries[at_b] : NULL;
        int order = !from_a ? 1 : !from_b ? -1 : strcmp(from_a->name, from_b->name);
        const struct imatrix_entry *first = order <= 0 ? from_a : from_b, *other = order == 0 ? from_b : NULL;
        if (other && !fits(first, other))
            return err_set(e, ERR_FORMAT, "tensor '%s': %d columns of %d matrices, to be added to %d of %d",
                           first->name, other->n_cols, other->n_mat, first->n_cols, first->n_mat);
        const struct imatrix_entry *shape = other && other->n_mat > first->n_mat ? other : first;
        struct imatrix_entry *into = &out->entries[out->n_entries];
        enum err_code rc = imatrix_entry_init(into, shape->name, strlen(shape->name), shape->n_cols, shape->n_mat, e);
        if (rc != ERR_OK)
            return rc;
        out->n_entries++;
        add_entry(into, first, order <= 0 ? scale_a : scale_b, other, scale_b);
        at_a += order <= 0;
        at_b += order >= 0;
    }
    return ERR_OK;
}

enum err_code imatrix_merge(struct imatrix *m, const struct imatrix *from, struct err *e)
{
    struct imatrix *sum = imatrix_create();
    if (!sum)
        return err_set(e, ERR_NOMEM, "no memory for an importance matrix");
    uint32_t scale_m = m->chunk_size == 0 && from->chunk_size != 0 ? from->chunk_size : 1;
    uint32_t scale_from = from->chunk_size == 0 && m->chunk_size != 0 ? m->chunk_size : 1;
    sum->chunk_size = m->chunk_size != 0 ? m->chunk_size : from->chunk_size;
    sum->n_chunks = m->n_chunks + from->n_chunks;
    enum err_code rc = merge_entries(sum, m, scale_m, from, scale_from, e);
    for (int32_t i = 0; rc == ERR_OK && i < m->n_datasets + from->n_datasets; i++) {
        const char *path = i < m->n_datasets ? m->datasets[i] : from->datasets[i - m->n_datasets];
        bool known = false;
        for (int32_t j = 0; j < sum->n_datasets; j++)
            known |= strcmp(sum->datasets[j], path) == 0;
        if (!known)
            rc = imatrix_add_dataset(sum, path, e);
    }
    if (rc == ERR_OK) {
        struct imatrix old = *m;
        *m = *sum;
        *sum = old;
    }
    imatrix_destroy(sum);
    return rc;
}

/* ---- use ------------------------------------------------------------------------------------------ */

enum err_code imatrix_importance(const struct imatrix_entry *entry, int32_t n_cols, int32_t n_mat, float *out,
                                 struct err *e)
{
    bool flat = is_flat_of(entry, n_cols, n_mat);
    if (!flat && (entry->n_cols != n_cols || entry->n_mat != n_mat))
        return err_set(e, ERR_FORMAT,
                       "tensor '%s': %d columns of %d matrices, the importance matrix has %d columns of %d",
                       entry->name, n_cols, n_mat, entry->n_cols, entry->n_mat);
    for (int32_t mat = 0; mat < n_mat; mat++) {
        const double *sums = entry->sums + (int64_t)mat * n_cols;
        float *to = out + (int64_t)mat * n_cols;
        uint64_t count = entry->counts[flat ? 0 : mat];
        for (int32_t i = 0; i < n_cols; i++)
            to[i] = count > 0 ? (float)(sums[i] / (double)count) : 1.0f;
    }
    return ERR_OK;
}
