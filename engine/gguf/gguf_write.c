/* SPDX-License-Identifier: MIT */
/* Writer. Metadata is encoded as it comes; the tensor directory keeps its entries until the save, since
 * offsets hang on the alignment. Integers are stored byte by byte, arrays and tensor data as they lie in
 * memory: the machine is little-endian. */
#include "engine/gguf/gguf_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/size.h"
#include "engine/gguf/gguf_file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are stored as they lie in memory");

struct out_tensor {
    char name[GGUF_MAX_TENSOR_NAME_BYTES + 1];
    uint32_t type;
    int32_t n_dims;
    uint64_t ne[GGUF_MAX_DIMS];
    uint64_t n_bytes;
    const void *data;
};

struct gguf_writer {
    struct err err;              /* the first failure; code ERR_OK while there is none */
    struct buf kvs;              /* encoded */
    struct buf keys;             /* every key with its NUL */
    uint64_t n_kvs;
    struct out_tensor *tensors;
    size_t n_tensors, cap_tensors;
    uint32_t alignment;
};

struct gguf_writer *gguf_writer_create(void)
{
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (w)
        w->alignment = GGUF_DEFAULT_ALIGNMENT;
    return w;
}

void gguf_writer_destroy(struct gguf_writer *w)
{
    if (!w)
        return;
    buf_finish(&w->kvs);
    buf_finish(&w->keys);
    free(w->tensors);
    free(w);
}

/* ---- metadata ------------------------------------------------------------------------------------- */

static void add_u32(struct buf *b, uint32_t value)
{
    buf_add(b, &value, sizeof value);
}

static void add_u64(struct buf *b, uint64_t value)
{
    buf_add(b, &value, sizeof value);
}

static void add_string(struct buf *b, const char *bytes, size_t n_bytes)
{
    add_u64(b, n_bytes);
    buf_add(b, bytes, n_bytes);
}

/* A name that gguf_open() would refuse must not be written. */
static bool name_ok(const char *name, size_t max_bytes)
{
    size_t n = strlen(name);
    if (n < 1 || n > max_bytes)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F)
            return false;
    return true;
}

/* Key and type; false when nothing may follow. */
static bool begin_kv(struct gguf_writer *w, const char *key, uint32_t type)
{
    if (w->err.code != ERR_OK)
        return false;
    if (!name_ok(key, GGUF_MAX_KEY_BYTES)) {
        struct gguf_shown shown;
        err_set(&w->err, ERR_FORMAT, "key '%s': not a name GGUF can hold",
                gguf_shown(&shown, key, strlen(key)));
        return false;
    }
    w->n_kvs++;
    buf_add(&w->keys, key, strlen(key) + 1);
    add_string(&w->kvs, key, strlen(key));
    add_u32(&w->kvs, type);
    return true;
}

static void add_number(struct gguf_writer *w, const char *key, uint32_t type, const void *value)
{
    if (begin_kv(w, key, type))
        buf_add(&w->kvs, value, gguf_value_bytes(type));
}

void gguf_writer_u8(struct gguf_writer *w, const char *key, uint8_t value)
{
    add_number(w, key, GGUF_U8, &value);
}

void gguf_writer_i8(struct gguf_writer *w, const char *key, int8_t value)
{
    add_number(w, key, GGUF_I8, &value);
}

void gguf_writer_u16(struct gguf_writer *w, const char *key, uint16_t value)
{
    add_number(w, key, GGUF_U16, &value);
}

void gguf_writer_i16(struct gguf_writer *w, const char *key, int16_t value)
{
    add_number(w, key, GGUF_I16, &value);
}

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    add_number(w, key, GGUF_U32, &value);
}

void gguf_writer_i32(struct gguf_writer *w, const char *key, int32_t value)
{
    add_number(w, key, GGUF_I32, &value);
}

void gguf_writer_u64(struct gguf_writer *w, const char *key, uint64_t value)
{
    add_number(w, key, GGUF_U64, &value);
}

void gguf_writer_i64(struct gguf_writer *w, const char *key, int64_t value)
{
    add_number(w, key, GGUF_I64, &value);
}

void gguf_writer_f32(struct gguf_writer *w, const char *key, float value)
{
    add_number(w, key, GGUF_F32, &value);
}

void gguf_writer_f64(struct gguf_writer *w, const char *key, double value)
{
    add_number(w, key, GGUF_F64, &value);
}

void gguf_writer_bool(struct gguf_writer *w, const char *key, bool value)
{
    uint8_t byte = value;
    add_number(w, key, GGUF_BOOL, &byte);
}

void gguf_writer_text(struct gguf_writer *w, const char *key, const char *value)
{
    gguf_writer_text_n(w, key, value, strlen(value));
}

void gguf_writer_text_n(struct gguf_writer *w, const char *key, const char *bytes, size_t n_bytes)
{
    if (begin_kv(w, key, GGUF_STRING))
        add_string(&w->kvs, bytes, n_bytes);
}

static bool begin_array(struct gguf_writer *w, const char *key, uint32_t item_type, uint64_t n)
{
    if (!begin_kv(w, key, GGUF_ARRAY))
        return false;
    add_u32(&w->kvs, item_type);
    add_u64(&w->kvs, n);
    return true;
}

void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_value_type item_type,
                       const void *items, uint64_t n)
{
    uint32_t item_bytes = gguf_value_bytes(item_type);
    if (w->err.code == ERR_OK && (item_bytes == 0 || n > GGUF_MAX_ARRAY_ITEMS)) {
        err_set(&w->err, ERR_FORMAT, "key '%s': not an array of at most %d numbers", key,
                GGUF_MAX_ARRAY_ITEMS);
        return;
    }
    if (begin_array(w, key, item_type, n))
        buf_add(&w->kvs, items, (size_t)n * item_bytes);
}

void gguf_writer_texts(struct gguf_writer *w, const char *key, const struct gguf_text *items, uint64_t n)
{
    if (!begin_array(w, key, GGUF_STRING, n))
        return;
    for (uint64_t i = 0; i < n; i++)
        add_string(&w->kvs, items[i].bytes, items[i].n_bytes);
}

void gguf_writer_copy(struct gguf_writer *w, const struct gguf_kv *kv)
{
    bool begun = kv->type == GGUF_ARRAY ? begin_array(w, kv->key, kv->item_type, kv->n)
                                        : begin_kv(w, kv->key, kv->type);
    if (!begun)
        return;
    if (kv->item_type != GGUF_STRING) {
        buf_add(&w->kvs, kv->bytes, (size_t)kv->n * gguf_value_bytes(kv->item_type));
        return;
    }
    for (uint64_t i = 0; i < kv->n; i++) {
        struct gguf_text text = gguf_kv_text(kv, i);
        add_string(&w->kvs, text.bytes, text.n_bytes);
    }
}

void gguf_writer_alignment(struct gguf_writer *w, uint32_t alignment)
{
    if (w->err.code == ERR_OK && (alignment < GGUF_MIN_ALIGNMENT || alignment > GGUF_MAX_ALIGNMENT ||
                                  (alignment & (alignment - 1)) != 0)) {
        err_set(&w->err, ERR_FORMAT, "alignment %u, a power of two from %d to %d wanted", alignment,
                GGUF_MIN_ALIGNMENT, GGUF_MAX_ALIGNMENT);
        return;
    }
    w->alignment = alignment;
    gguf_writer_u32(w, "general.alignment", alignment);
}

/* ---- tensors -------------------------------------------------------------------------------------- */

static struct out_tensor *new_tensor(struct gguf_writer *w)
{
    if (w->n_tensors == w->cap_tensors) {
        size_t cap = w->cap_tensors ? 2 * w->cap_tensors : 64;
        struct out_tensor *grown = realloc(w->tensors, cap * sizeof *grown);
        if (!grown) {
            err_set(&w->err, ERR_NOMEM, "no memory for %zu tensors", cap);
            return NULL;
        }
        w->tensors = grown;
        w->cap_tensors = cap;
    }
    struct out_tensor *t = &w->tensors[w->n_tensors++];
    memset(t, 0, sizeof *t);
    return t;
}

static bool shape_bytes(uint32_t type, int32_t n_dims, const uint64_t *ne, uint64_t *n_bytes)
{
    const struct gguf_tensor_type *format = gguf_tensor_type(type);
    if (!format || n_dims < 1 || n_dims > GGUF_MAX_DIMS || ne[0] % format->block_weights != 0)
        return false;
    *n_bytes = format->block_bytes;
    for (int32_t i = 0; i < n_dims; i++) {
        uint64_t n = i == 0 ? ne[0] / format->block_weights : ne[i];
        if (ne[i] < 1 || ne[i] > INT32_MAX || !size_mul(*n_bytes, n, n_bytes))
            return false;
    }
    return true;
}

void gguf_writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, int32_t n_dims,
                        const uint64_t *ne, const void *data)
{
    if (w->err.code != ERR_OK)
        return;
    uint64_t n_bytes;
    if (!name_ok(name, GGUF_MAX_TENSOR_NAME_BYTES) || !shape_bytes(type, n_dims, ne, &n_bytes)) {
        struct gguf_shown shown;
        err_set(&w->err, ERR_FORMAT, "tensor '%s': name, type %u or shape that GGUF cannot hold",
                gguf_shown(&shown, name, strlen(name)), type);
        return;
    }
    struct out_tensor *t = new_tensor(w);
    if (!t)
        return;
    memcpy(t->name, name, strlen(name) + 1);
    t->type = type;
    t->n_dims = n_dims;
    memcpy(t->ne, ne, (size_t)n_dims * sizeof *ne);
    t->n_bytes = n_bytes;
    t->data = data;
}

/* ---- saving --------------------------------------------------------------------------------------- */

static enum err_code add_name(struct gguf_names *names, const char *name, uint32_t i, const char *what,
                              struct err *e)
{
    if (gguf_names_add(names, name, i) == GGUF_NAMES_ADDED)
        return ERR_OK;
    struct gguf_shown shown;
    return err_set(e, ERR_FORMAT, "%s '%s' added twice", what, gguf_shown(&shown, name, strlen(name)));
}

static enum err_code check_names(const struct gguf_writer *w, struct err *e)
{
    if (w->n_kvs > GGUF_MAX_KEYS || w->n_tensors > GGUF_MAX_TENSORS)
        return err_set(e, ERR_FORMAT, "%llu keys and %zu tensors, at most %d of each allowed",
                       (unsigned long long)w->n_kvs, w->n_tensors, GGUF_MAX_KEYS);
    struct arena a;
    struct gguf_names keys, tensors;
    enum err_code rc = ERR_OK;
    arena_init(&a);
    if (!gguf_names_init(&keys, &a, (uint32_t)w->n_kvs) ||
        !gguf_names_init(&tensors, &a, (uint32_t)w->n_tensors))
        rc = err_set(e, ERR_NOMEM, "no memory to check names");
    const char *key = w->keys.data;
    for (uint32_t i = 0; i < w->n_kvs && rc == ERR_OK; i++, key += strlen(key) + 1)
        rc = add_name(&keys, key, i, "key", e);
    for (uint32_t i = 0; i < w->n_tensors && rc == ERR_OK; i++)
        rc = add_name(&tensors, w->tensors[i].name, i, "tensor", e);
    arena_finish(&a);
    return rc;
}

/* Zeros up to the next multiple of the alignment. */
static void add_padding(struct buf *b, uint32_t alignment)
{
    static const char zeros[64];
    size_t n = (alignment - b->n_bytes % alignment) % alignment;
    for (; n > sizeof zeros; n -= sizeof zeros)
        buf_add(b, zeros, sizeof zeros);
    buf_add(b, zeros, n);
}

/* Everything before tensor data. */
static enum err_code add_head(const struct gguf_writer *w, struct buf *head, struct err *e)
{
    if (w->err.code != ERR_OK)
        return err_set(e, w->err.code, "%s", w->err.text);
    if (!buf_ok(&w->kvs) || !buf_ok(&w->keys))
        return err_set(e, ERR_NOMEM, "no memory for metadata");
    enum err_code rc = check_names(w, e);
    if (rc != ERR_OK)
        return rc;
    buf_add(head, "GGUF", 4);
    add_u32(head, 3);
    add_u64(head, w->n_tensors);
    add_u64(head, w->n_kvs);
    buf_add(head, w->kvs.data, w->kvs.n_bytes);
    uint64_t offset = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct out_tensor *t = &w->tensors[i];
        add_string(head, t->name, strlen(t->name));
        add_u32(head, (uint32_t)t->n_dims);
        buf_add(head, t->ne, (size_t)t->n_dims * sizeof *t->ne);
        add_u32(head, t->type);
        add_u64(head, offset);
        if (!size_add(offset, t->n_bytes, &offset) || !size_round_up(offset, w->alignment, &offset))
            return err_set(e, ERR_FORMAT, "more tensor data than 2^64 bytes");
    }
    add_padding(head, w->alignment);
    return buf_ok(head) ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for the file's head");
}

enum err_code gguf_writer_head(struct gguf_writer *w, struct buf *out, struct err *e)
{
    buf_clear(out);
    return add_head(w, out, e);
}

enum err_code gguf_writer_save_memory(struct gguf_writer *w, struct buf *out, struct err *e)
{
    buf_clear(out);
    enum err_code rc = add_head(w, out, e);
    for (size_t i = 0; i < w->n_tensors && rc == ERR_OK; i++) {
        buf_add(out, w->tensors[i].data, (size_t)w->tensors[i].n_bytes);
        add_padding(out, w->alignment);
        if (!buf_ok(out))
            rc = err_set(e, ERR_NOMEM, "no memory for tensor data");
    }
    return rc;
}

static bool write_whole(int fd, const void *bytes, uint64_t n_bytes)
{
    const char *p = bytes;
    while (n_bytes > 0) {
        size_t part = n_bytes < 1u << 30 ? (size_t)n_bytes : 1u << 30;
        ssize_t n = write(fd, p, part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        n_bytes -= (uint64_t)n;
    }
    return true;
}

static bool write_tensors(const struct gguf_writer *w, int fd)
{
    struct buf padding = { 0 };
    bool ok = true;
    for (size_t i = 0; i < w->n_tensors && ok; i++) {
        const struct out_tensor *t = &w->tensors[i];
        uint64_t padded = (t->n_bytes + w->alignment - 1) & ~(uint64_t)(w->alignment - 1);
        buf_clear(&padding);
        while (padding.n_bytes < padded - t->n_bytes && buf_ok(&padding))
            buf_add_byte(&padding, 0);
        ok = buf_ok(&padding) && write_whole(fd, t->data, t->n_bytes) &&
             write_whole(fd, padding.data, padding.n_bytes);
    }
    buf_finish(&padding);
    return ok;
}

/* A fresh file beside path: a name that a crashed run of the same process id left behind is stepped
 * over. part gets its name. */
static int create_part(const char *path, struct buf *part)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        buf_clear(part);
        if (!buf_printf(part, "%s.%ld-%d.part", path, (long)getpid(), attempt)) {
            errno = ENOMEM;
            return -1;
        }
        int fd = open(part->data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

enum err_code gguf_writer_save(struct gguf_writer *w, const char *path, struct err *e)
{
    struct buf head = { 0 }, part = { 0 };
    int fd = -1, reason = 0;
    bool ok = false;
    enum err_code rc = add_head(w, &head, e);
    if (rc != ERR_OK)
        goto done;
    fd = create_part(path, &part);
    if (fd < 0) {
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    ok = write_whole(fd, head.data, head.n_bytes) && write_tensors(w, fd) && fsync(fd) == 0;
    reason = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        reason = errno;
    }
    if (ok && rename(part.data, path) != 0) {
        ok = false;
        reason = errno;
    }
    if (ok) {
        file_sync_folder(path);
    } else {
        unlink(part.data);
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(reason));
    }
done:
    buf_finish(&head);
    buf_finish(&part);
    return rc;
}
