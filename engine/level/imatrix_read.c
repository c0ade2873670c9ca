/* SPDX-License-Identifier: MIT */
/* Files of importance matrices. Little-endian both.
 *
 *   GGUF   general.type "imatrix", imatrix.datasets (strings), imatrix.chunk_count and imatrix.chunk_size (u32); for
 *          each weight two tensors in F32: "<name>.in_sum2" [n_cols, n_mat] and "<name>.counts" [1, n_mat]
 *   dat    i32 n_entries, then for each
 *              i32 n_name, bytes, i32 n_calls, i32 n_values, f32[n_values] = mean of x^2 * n_calls
 *          and, in newer ones, i32 chunks, i32 n_path, bytes of the path of the text */
#include "engine/level/imatrix_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/map.h"
#include "engine/gguf/gguf.h"

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

enum { TYPE_F32 = 0, MAX_PATH_BYTES = 4096 };    /* the number of F32 in GGUF */

static bool is_amount(float value)
{
    return value >= 0 && isfinite(value);
}

static enum err_code read_sums(struct imatrix_entry *entry, const uint8_t *bytes, struct err *e)
{
    for (int64_t i = 0; i < (int64_t)entry->n_cols * entry->n_mat; i++) {
        float value;
        memcpy(&value, bytes + (size_t)i * sizeof value, sizeof value);
        if (!is_amount(value))
            return err_set(e, ERR_FORMAT, "tensor '%s': %g as a sum of squares", entry->name, (double)value);
        entry->sums[i] = (double)value;
    }
    return ERR_OK;
}

/* ---- GGUF ----------------------------------------------------------------------------------------- */

static bool has_suffix(const char *name, const char *suffix, size_t *n_stem)
{
    size_t n = strlen(name), n_suffix = strlen(suffix);
    *n_stem = n > n_suffix ? n - n_suffix : 0;
    return n > n_suffix && strcmp(name + n - n_suffix, suffix) == 0;
}

static enum err_code read_counts(struct imatrix_entry *entry, const struct gguf_tensor *t, struct err *e)
{
    if (!t || t->type != TYPE_F32 || t->n_weights != (uint64_t)entry->n_mat)
        return err_set(e, ERR_FORMAT, "tensor '%s': sums of %d matrices, and no %d counts in F32 beside them",
                       entry->name, entry->n_mat, entry->n_mat);
    for (int32_t i = 0; i < entry->n_mat; i++) {
        float value;
        memcpy(&value, t->data + (size_t)i * sizeof value, sizeof value);
        if (!is_amount(value) || (double)value > IMATRIX_MAX_COUNT)
            return err_set(e, ERR_FORMAT, "tensor '%s': a count of %g, 0 to %g allowed", entry->name, (double)value,
                           IMATRIX_MAX_COUNT);
        entry->counts[i] = (uint64_t)value;
    }
    return ERR_OK;
}

static enum err_code read_tensor(struct imatrix *m, const struct gguf *g, const struct gguf_tensor *t,
                                 size_t n_stem, struct err *e)
{
    enum err_code rc = imatrix_check_name(t->name, n_stem, e);
    if (rc != ERR_OK)
        return rc;
    if (t->type != TYPE_F32 || t->n_weights != t->ne[0] * t->ne[1])
        return err_set(e, ERR_FORMAT, "tensor '%s': F32 in one or two dimensions wanted", t->name);
    struct imatrix_entry *entry = &m->entries[m->n_entries];
    rc = imatrix_entry_init(entry, t->name, n_stem, (int32_t)t->ne[0], (int32_t)t->ne[1], e);
    if (rc != ERR_OK)
        return rc;
    m->n_entries++;
    char name[GGUF_MAX_TENSOR_NAME_BYTES + sizeof counts_suffix];
    memcpy(name, entry->name, n_stem);
    memcpy(name + n_stem, counts_suffix, sizeof counts_suffix);
    rc = read_sums(entry, t->data, e);
    return rc == ERR_OK ? read_counts(entry, gguf_tensor_find(g, name), e) : rc;
}

static enum err_code read_tensors(struct imatrix *m, const struct gguf *g, struct err *e)
{
    uint32_t n = gguf_n_tensors(g), n_sums = 0;
    size_t n_stem;
    for (uint32_t i = 0; i < n; i++)
        n_sums += has_suffix(gguf_tensor_at(g, i)->name, sums_suffix, &n_stem);
    if (n_sums < 1 || n_sums > IMATRIX_MAX_ENTRIES)
        return err_set(e, ERR_FORMAT, "sums of %u tensors, 1 to %d wanted", n_sums, IMATRIX_MAX_ENTRIES);
    m->entries = calloc(n_sums, sizeof *m->entries);
    if (!m->entries)
        return err_set(e, ERR_NOMEM, "no memory for %u tensors", n_sums);
    enum err_code rc = ERR_OK;
    for (uint32_t i = 0; rc == ERR_OK && i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (has_suffix(t->name, sums_suffix, &n_stem))
            rc = read_tensor(m, g, t, n_stem, e);
    }
    return rc;
}

static enum err_code add_dataset(struct imatrix *m, const char *bytes, size_t n_bytes, struct err *e)
{
    if (n_bytes > MAX_PATH_BYTES)
        return err_set(e, ERR_FORMAT, "name of a dataset of %zu bytes, at most %d allowed", n_bytes, MAX_PATH_BYTES);
    char *path = strndup(bytes, n_bytes);
    if (!path)
        return err_set(e, ERR_NOMEM, "no memory for the name of a dataset");
    enum err_code rc = imatrix_add_dataset(m, path, e);
    free(path);
    return rc;
}

static enum err_code read_metadata(struct imatrix *m, const struct gguf *g, struct err *e)
{
    struct gguf_text type = { "", 0 };
    const struct gguf_kv *datasets = NULL;
    enum err_code rc = gguf_opt_text(g, "general.type", &type, e);
    if (rc == ERR_OK && (type.n_bytes != 7 || memcmp(type.bytes, "imatrix", 7) != 0))
        rc = err_set(e, ERR_FORMAT, "no importance matrix: its general.type is not 'imatrix'");
    if (rc == ERR_OK)
        rc = gguf_opt_u32(g, "imatrix.chunk_count", 0, UINT32_MAX, &m->n_chunks, e);
    if (rc == ERR_OK)
        rc = gguf_opt_u32(g, "imatrix.chunk_size", 0, UINT32_MAX, &m->chunk_size, e);
    if (rc == ERR_OK && m->chunk_size == 0)
        m->chunk_size = IMATRIX_CHUNK;    /* what it says of rows is right all the same */
    if (rc == ERR_OK)
        rc = gguf_opt_texts(g, "imatrix.datasets", &datasets, e);
    for (uint64_t i = 0; rc == ERR_OK && datasets && i < datasets->n; i++) {
        struct gguf_text path = gguf_kv_text(datasets, i);
        rc = add_dataset(m, path.bytes, path.n_bytes, e);
    }
    return rc;
}

static enum err_code read_gguf(struct imatrix *m, const void *bytes, uint64_t n_bytes, struct err *e)
{
    struct gguf *g;
    enum err_code rc = gguf_open_memory(&g, bytes, n_bytes, e);
    if (rc != ERR_OK)
        return rc;
    rc = read_metadata(m, g, e);
    if (rc == ERR_OK)
        rc = read_tensors(m, g, e);
    gguf_close(g);
    return rc;
}

/* ---- dat ------------------------------------------------------------------------------------------ */

/* A place in the bytes of the file. */
struct place {
    const uint8_t *at;
    uint64_t n_left;
};

static const uint8_t *take(struct place *p, uint64_t n_bytes)
{
    if (n_bytes > p->n_left)
        return NULL;
    const uint8_t *at = p->at;
    p->at += n_bytes;
    p->n_left -= n_bytes;
    return at;
}

static bool take_i32(struct place *p, int32_t *out)
{
    const uint8_t *at = take(p, sizeof *out);
    if (at)
        *out = (int32_t)((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
    return at;
}

static enum err_code dat_short(struct err *e, int32_t index, int32_t n)
{
    return err_set(e, ERR_FORMAT, "the file ends in entry %d of %d", index + 1, n);
}

static enum err_code read_entry(struct imatrix *m, struct place *p, int32_t n, struct err *e)
{
    int32_t n_name, n_calls, n_values, index = m->n_entries;
    if (!take_i32(p, &n_name))
        return dat_short(e, index, n);
    if (n_name < 1 || n_name > IMATRIX_MAX_NAME_BYTES)
        return err_set(e, ERR_FORMAT, "entry %d of %d: name of %d bytes, 1 to %d allowed", index + 1, n, n_name,
                       IMATRIX_MAX_NAME_BYTES);
    const char *name = (const char *)take(p, (uint64_t)n_name);
    if (!name || !take_i32(p, &n_calls) || !take_i32(p, &n_values))
        return dat_short(e, index, n);
    enum err_code rc = imatrix_check_name(name, (size_t)n_name, e);
    if (rc != ERR_OK)
        return rc;
    if (n_calls < 0 || n_values < 1)
        return err_set(e, ERR_FORMAT, "tensor '%.*s': %d values of %d calls, at least 1 of 0 wanted", n_name, name,
                       n_values, n_calls);
    const uint8_t *values = take(p, (uint64_t)n_values * sizeof(float));
    if (!values)
        return dat_short(e, index, n);
    struct imatrix_entry *entry = &m->entries[index];
    rc = imatrix_entry_init(entry, name, (size_t)n_name, n_values, 1, e);
    if (rc != ERR_OK)
        return rc;
    m->n_entries++;
    entry->counts[0] = n_calls > 0 ? (uint64_t)n_calls : 1;    /* without calls they are means as they are */
    return read_sums(entry, values, e);
}

static enum err_code read_dat(struct imatrix *m, const void *bytes, uint64_t n_bytes, struct err *e)
{
    enum { MIN_ENTRY_BYTES = 4 + 1 + 4 + 4 + 4 };
    struct place p = { bytes, n_bytes };
    int32_t n, n_chunks = 0, n_path = 0;
    if (!take_i32(&p, &n) || n < 1 || n > IMATRIX_MAX_ENTRIES || (uint64_t)n * MIN_ENTRY_BYTES > p.n_left)
        return err_set(e, ERR_FORMAT, "no importance matrix: neither GGUF, nor the number of entries that %" PRIu64
                       " bytes have room for", n_bytes);
    m->entries = calloc((size_t)n, sizeof *m->entries);
    if (!m->entries)
        return err_set(e, ERR_NOMEM, "no memory for %d tensors", n);
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < n; i++)
        rc = read_entry(m, &p, n, e);
    if (rc != ERR_OK)
        return rc;
    for (int32_t i = 0; i < n; i++)
        if (m->entries[i].counts[0] > m->n_chunks)
            m->n_chunks = (uint32_t)m->entries[i].counts[0];
    if (p.n_left == 0)
        return ERR_OK;
    const char *path = take_i32(&p, &n_chunks) && take_i32(&p, &n_path) && n_path >= 0
                           ? (const char *)take(&p, (uint64_t)n_path) : NULL;
    if (!path || n_chunks < 0)
        return err_set(e, ERR_FORMAT, "what follows its %d entries is neither chunks nor the name of a text", n);
    m->n_chunks = (uint32_t)n_chunks;
    return n_path > 0 ? add_dataset(m, path, (size_t)n_path, e) : ERR_OK;
}

/* ---- either --------------------------------------------------------------------------------------- */

enum err_code imatrix_open_memory(struct imatrix **out, const void *bytes, uint64_t n_bytes, struct err *e)
{
    struct imatrix *m = imatrix_create();
    if (!m)
        return err_set(e, ERR_NOMEM, "no memory for an importance matrix");
    bool is_gguf = n_bytes >= 4 && memcmp(bytes, "GGUF", 4) == 0;
    enum err_code rc = is_gguf ? read_gguf(m, bytes, n_bytes, e) : read_dat(m, bytes, n_bytes, e);
    if (rc == ERR_OK)
        rc = imatrix_sort(m, e);
    if (rc != ERR_OK) {
        imatrix_destroy(m);
        return rc;
    }
    *out = m;
    return ERR_OK;
}

enum err_code imatrix_open(struct imatrix **out, const char *path, struct err *e)
{
    struct map map;
    enum err_code rc = map_open(&map, path, e);
    if (rc != ERR_OK)
        return rc;
    rc = imatrix_open_memory(out, map.bytes, map.n_bytes, e);
    map_close(&map);
    return rc == ERR_OK ? rc : err_prefix(e, "%s", path);
}
