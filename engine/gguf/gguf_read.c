/* SPDX-License-Identifier: MIT */
/* Opening: header and metadata. Layout of the file, all numbers little-endian:
 *
 *   "GGUF"  u32 version  u64 n_tensors  u64 n_keys
 *   n_keys    times   string key, u32 type, value          string = u64 length, bytes
 *   n_tensors times   string name, u32 n_dims, u64 ne[n_dims], u32 type, u64 offset
 *   padding to the alignment, then tensor data; offsets count from here
 *
 * An array's value is u32 item type, u64 count, items.
 *
 * One pass, each byte looked at once. Nothing is allocated from a count before that many of the
 * smallest possible records are known to fit into what is left, so memory stays within a small multiple
 * of the file's size. */
#include "engine/gguf/gguf_file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_KV_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8
};

enum err_code gguf_read_name(struct gguf *g, struct gguf_cursor *c, uint32_t max_bytes, const char *what,
                             const char **out, struct err *e)
{
    uint64_t n;
    if (!gguf_read_u64(c, &n))
        return err_set(e, ERR_FORMAT, "%s: the file ends before its name", what);
    if (n < 1 || n > max_bytes)
        return err_set(e, ERR_FORMAT, "%s: name of %" PRIu64 " bytes, 1 to %u allowed", what, n,
                       max_bytes);
    const uint8_t *bytes = gguf_take(c, n);
    if (!bytes)
        return err_set(e, ERR_FORMAT, "%s: name of %" PRIu64 " bytes, but %" PRIu64 " are left in the file",
                       what, n, gguf_left(c));
    for (uint64_t i = 0; i < n; i++)
        if (bytes[i] < 0x20 || bytes[i] == 0x7F)
            return err_set(e, ERR_FORMAT, "%s: control character 0x%02x in its name", what, bytes[i]);
    *out = arena_copy(&g->arena, (const char *)bytes, (size_t)n);
    return *out ? ERR_OK : err_set(e, ERR_NOMEM, "%s: no memory for its name", what);
}

static enum err_code kv_error(const struct gguf_kv *kv, struct err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err_code kv_error(const struct gguf_kv *kv, struct err *e, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct gguf_shown shown;
    return err_set(e, ERR_FORMAT, "key '%s': %s", gguf_shown(&shown, kv->key, strlen(kv->key)), text);
}

/* Steps over one string: length, bytes. */
static enum err_code skip_string(struct gguf_cursor *c, const struct gguf_kv *kv, struct err *e)
{
    uint64_t n;
    if (!gguf_read_u64(c, &n))
        return kv_error(kv, e, "the file ends in its value");
    if (n > GGUF_MAX_STRING_BYTES)
        return kv_error(kv, e, "string of %" PRIu64 " bytes, at most %d allowed", n, GGUF_MAX_STRING_BYTES);
    if (!gguf_take(c, n))
        return kv_error(kv, e, "string of %" PRIu64 " bytes, but %" PRIu64 " are left in the file", n,
                        gguf_left(c));
    return ERR_OK;
}

static enum err_code read_strings(struct gguf *g, struct gguf_cursor *c, struct gguf_kv *kv,
                                  struct err *e)
{
    uint32_t *offsets = arena_alloc(&g->arena, (size_t)kv->n, sizeof *offsets);
    if (!offsets)
        return err_set(e, ERR_NOMEM, "no memory for an index of %" PRIu64 " strings", kv->n);
    uint64_t start = c->at;
    for (uint64_t i = 0; i < kv->n; i++) {
        if (c->at - start > UINT32_MAX)
            return kv_error(kv, e, "an array longer than %u bytes", UINT32_MAX);
        offsets[i] = (uint32_t)(c->at - start);
        enum err_code rc = skip_string(c, kv, e);
        if (rc != ERR_OK)
            return rc;
    }
    kv->offsets = offsets;
    return ERR_OK;
}

static enum err_code read_numbers(struct gguf_cursor *c, struct gguf_kv *kv, struct err *e)
{
    uint64_t n_bytes = kv->n * gguf_value_bytes(kv->item_type);    /* n <= 2^28 */
    if (!gguf_take(c, n_bytes))
        return kv_error(kv, e, "value of %" PRIu64 " bytes, but %" PRIu64 " are left in the file", n_bytes,
                        gguf_left(c));
    if (kv->item_type == GGUF_BOOL)
        for (uint64_t i = 0; i < kv->n; i++)
            if (kv->bytes[i] > 1)
                return kv_error(kv, e, "bool with value %u, 0 or 1 allowed", kv->bytes[i]);
    return ERR_OK;
}

static enum err_code read_array_head(struct gguf_cursor *c, struct gguf_kv *kv, struct err *e)
{
    if (!gguf_read_u32(c, &kv->item_type) || !gguf_read_u64(c, &kv->n))
        return kv_error(kv, e, "the file ends in its value");
    if (kv->item_type >= GGUF_N_VALUE_TYPES)
        return kv_error(kv, e, "array of value type %u, 0 to %d known", kv->item_type,
                        GGUF_N_VALUE_TYPES - 1);
    if (kv->item_type == GGUF_ARRAY) {
        struct gguf_shown shown;
        return err_set(e, ERR_UNSUPPORTED, "key '%s': an array of arrays, arrays of plain values wanted",
                       gguf_shown(&shown, kv->key, strlen(kv->key)));
    }
    if (kv->n > GGUF_MAX_ARRAY_ITEMS)
        return kv_error(kv, e, "array of %" PRIu64 " items, at most %d allowed", kv->n,
                        GGUF_MAX_ARRAY_ITEMS);
    uint64_t item_bytes = kv->item_type == GGUF_STRING ? 8 : gguf_value_bytes(kv->item_type);
    if (kv->n * item_bytes > gguf_left(c))
        return kv_error(kv, e, "array of %" PRIu64 " items, but %" PRIu64 " bytes are left in the file",
                        kv->n, gguf_left(c));
    return ERR_OK;
}

static enum err_code read_value(struct gguf *g, struct gguf_cursor *c, struct gguf_kv *kv,
                                struct err *e)
{
    if (!gguf_read_u32(c, &kv->type))
        return kv_error(kv, e, "the file ends before its value type");
    if (kv->type >= GGUF_N_VALUE_TYPES)
        return kv_error(kv, e, "value type %u, 0 to %d known", kv->type, GGUF_N_VALUE_TYPES - 1);
    kv->item_type = kv->type;
    kv->n = 1;
    if (kv->type == GGUF_ARRAY) {
        enum err_code rc = read_array_head(c, kv, e);
        if (rc != ERR_OK)
            return rc;
    }
    kv->bytes = c->bytes + c->at;
    if (kv->item_type != GGUF_STRING)
        return read_numbers(c, kv, e);
    return kv->type == GGUF_ARRAY ? read_strings(g, c, kv, e) : skip_string(c, kv, e);
}

static enum err_code read_kvs(struct gguf *g, struct gguf_cursor *c, struct err *e)
{
    g->kvs = arena_alloc(&g->arena, g->n_kvs, sizeof *g->kvs);
    if (!g->kvs || !gguf_names_init(&g->kv_names, &g->arena, g->n_kvs))
        return err_set(e, ERR_NOMEM, "no memory for %u keys", g->n_kvs);
    for (uint32_t i = 0; i < g->n_kvs; i++) {
        struct gguf_kv *kv = &g->kvs[i];
        char what[48];
        snprintf(what, sizeof what, "key %u of %u", i + 1, g->n_kvs);
        enum err_code rc = gguf_read_name(g, c, GGUF_MAX_KEY_BYTES, what, &kv->key, e);
        if (rc != ERR_OK)
            return rc;
        switch (gguf_names_add(&g->kv_names, kv->key, i)) {
        case GGUF_NAMES_ADDED: break;
        case GGUF_NAMES_DUPLICATE: return kv_error(kv, e, "stands in the file twice, once allowed");
        case GGUF_NAMES_CROWDED: return kv_error(kv, e, "one of too many keys made to collide");
        }
        rc = read_value(g, c, kv, e);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

/* What to say of a file that does not begin with "GGUF": people try all sorts. */
static enum err_code bad_magic(const uint8_t *magic, struct err *e)
{
    static const struct {
        char magic[5];
        const char *what;
    } known[] = {
        { "FUGG", "GGUF in the wrong byte order" },
        { "lmgg", "GGML, the format before GGUF" },
        { "fmgg", "GGMF, a format before GGUF" },
        { "tjgg", "GGJT, a format before GGUF" },
        { "algg", "GGLA, an adapter before GGUF" },
        { "PK\3\4", "a zip archive" },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (memcmp(magic, known[i].magic, 4) == 0)
            return err_set(e, ERR_FORMAT, "this is %s, a GGUF file wanted", known[i].what);
    struct gguf_shown shown;
    return err_set(e, ERR_FORMAT, "not a GGUF file: begins with '%s', 'GGUF' wanted",
                   gguf_shown(&shown, (const char *)magic, 4));
}

static enum err_code check_version(uint32_t version, struct err *e)
{
    if (version == 2 || version == 3)
        return ERR_OK;
    if (version != 0 && (version & 0xFFFF) == 0)
        return err_set(e, ERR_UNSUPPORTED, "GGUF in big-endian byte order (version reads 0x%08x), "
                       "little-endian wanted", version);
    return err_set(e, version == 0 ? ERR_FORMAT : ERR_UNSUPPORTED,
                   "GGUF version %u, 2 or 3 wanted", version);
}

static enum err_code check_count(uint64_t n, uint64_t max, uint64_t min_bytes, uint64_t left,
                                 const char *what, struct err *e)
{
    if (n > max)
        return err_set(e, ERR_FORMAT, "header: %" PRIu64 " %s, at most %" PRIu64 " allowed", n, what, max);
    if (n * min_bytes > left)
        return err_set(e, ERR_FORMAT, "header: %" PRIu64 " %s, but only %" PRIu64 " bytes follow", n, what,
                       left);
    return ERR_OK;
}

static enum err_code read_header(struct gguf *g, struct gguf_cursor *c, struct err *e)
{
    const uint8_t *magic = gguf_take(c, 4);
    if (!magic)
        return err_set(e, ERR_FORMAT, "not a GGUF file: %" PRIu64 " bytes long, at least 24 wanted",
                       c->n_bytes);
    if (memcmp(magic, "GGUF", 4) != 0)
        return bad_magic(magic, e);
    uint64_t n_tensors, n_kvs;
    if (!gguf_read_u32(c, &g->info.version))
        return err_set(e, ERR_FORMAT, "header: the file ends in it, 24 bytes wanted");
    enum err_code rc = check_version(g->info.version, e);
    if (rc != ERR_OK)
        return rc;
    if (!gguf_read_u64(c, &n_tensors) || !gguf_read_u64(c, &n_kvs))
        return err_set(e, ERR_FORMAT, "header: the file ends in it, 24 bytes wanted");
    rc = check_count(n_kvs, GGUF_MAX_KEYS, MIN_KV_BYTES, gguf_left(c), "keys", e);
    if (rc == ERR_OK)
        rc = check_count(n_tensors, GGUF_MAX_TENSORS, MIN_TENSOR_BYTES,
                         gguf_left(c) - n_kvs * MIN_KV_BYTES, "tensors", e);
    g->n_kvs = (uint32_t)n_kvs;
    g->n_tensors = (uint32_t)n_tensors;
    return rc;
}

static enum err_code check_alignment(struct gguf *g, struct err *e)
{
    g->info.alignment = GGUF_DEFAULT_ALIGNMENT;
    const struct gguf_kv *kv = gguf_kv_find(g, "general.alignment");
    if (!kv)
        return ERR_OK;
    if (kv->type != GGUF_U32)
        return kv_error(kv, e, "%s, u32 wanted", gguf_value_type_name(kv->type));
    uint32_t a = gguf_load_u32(kv->bytes);
    if (a < GGUF_MIN_ALIGNMENT || a > GGUF_MAX_ALIGNMENT || (a & (a - 1)) != 0)
        return kv_error(kv, e, "%u, a power of two from %d to %d wanted", a, GGUF_MIN_ALIGNMENT,
                        GGUF_MAX_ALIGNMENT);
    g->info.alignment = a;
    return ERR_OK;
}

static enum err_code check_split(const struct gguf *g, struct err *e)
{
    uint32_t count = 1, number = 0;
    enum err_code rc = gguf_opt_u32(g, "split.count", 0, UINT16_MAX, &count, e);
    if (rc == ERR_OK)
        rc = gguf_opt_u32(g, "split.no", 0, UINT16_MAX, &number, e);
    if (rc == ERR_OK && count > 1)
        rc = err_set(e, ERR_UNSUPPORTED, "part %u of %u of a split model (split.count %u), a model in one "
                     "file wanted: join the parts first", number + 1, count, count);
    return rc;
}

static enum err_code read_all(struct gguf *g, struct err *e)
{
    struct gguf_cursor c = { .bytes = g->bytes, .n_bytes = g->n_bytes };
    g->info.file_bytes = g->n_bytes;
    enum err_code rc = read_header(g, &c, e);
    if (rc == ERR_OK)
        rc = read_kvs(g, &c, e);
    if (rc == ERR_OK)
        rc = check_split(g, e);
    if (rc == ERR_OK)
        rc = check_alignment(g, e);
    if (rc == ERR_OK)
        rc = gguf_read_tensors(g, &c, e);
    return rc;
}

enum err_code gguf_open(struct gguf **out, const char *path, struct err *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(e, ERR_NOMEM, "%s: no memory for the reader", path);
    enum err_code rc = map_open(&g->map, path, e);
    if (rc != ERR_OK)
        goto fail;
    g->bytes = g->map.bytes;
    g->n_bytes = g->map.n_bytes;
    rc = read_all(g, e);
    if (rc != ERR_OK) {
        err_prefix(e, "%s", path);
        goto fail;
    }
    *out = g;
    return ERR_OK;
fail:
    gguf_close(g);
    return rc;
}

enum err_code gguf_open_memory(struct gguf **out, const void *bytes, uint64_t n_bytes, struct err *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(e, ERR_NOMEM, "no memory for the reader");
    g->bytes = bytes;
    g->n_bytes = n_bytes;
    enum err_code rc = read_all(g, e);
    if (rc != ERR_OK) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return ERR_OK;
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    map_close(&g->map);
    arena_finish(&g->arena);
    free(g);
}

enum err_code gguf_changed(const struct gguf *g, struct err *e)
{
    return g->map.bytes ? map_changed(&g->map, e) : ERR_OK;
}

void gguf_info(const struct gguf *g, struct gguf_info *out)
{
    *out = g->info;
}
