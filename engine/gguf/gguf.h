/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_GGUF_GGUF_H
#define QUIP_ENGINE_GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

/* Reader for GGUF, versions 2 and 3, little-endian.
 *
 * A file is untrusted input. Opening it checks the whole container once: every count and length against
 * the bytes that are left before anything is allocated, every product for overflow, names for
 * duplicates, tensor data for alignment, bounds and overlap. After that, whatever this header returns
 * may be used without looking at the file's size again. What is not checked here is meaning: whether
 * the keys and shapes are those an architecture needs.
 *
 * Pointers and texts returned live as long as the struct gguf. Texts of error messages contain names
 * from the file with everything but printable ASCII replaced.
 *
 * Thread   an open gguf does not change, so any number of threads may read it */

enum {
    GGUF_MAX_DIMS = 4,
    GGUF_MAX_KEY_BYTES = 65535,
    GGUF_MAX_TENSOR_NAME_BYTES = 63,
    GGUF_MAX_STRING_BYTES = 64 << 20,
    GGUF_MAX_ARRAY_ITEMS = 1 << 28,
    GGUF_MAX_KEYS = 1 << 20,
    GGUF_MAX_TENSORS = 1 << 20,
    GGUF_MIN_ALIGNMENT = 8,
    GGUF_MAX_ALIGNMENT = 1 << 20,
    GGUF_DEFAULT_ALIGNMENT = 32
};

/* Types of metadata values, numbered as in the file. */
enum gguf_value_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
    GGUF_N_VALUE_TYPES
};

struct gguf;

/* ---- open and close ------------------------------------------------------------------------------- */

/* Maps the file read-only; it stays mapped until gguf_close().
 *
 * Errors   ERR_IO, ERR_NOMEM; ERR_FORMAT for damage; ERR_UNSUPPORTED for another version or byte order,
 *          a part of a split model, a tensor type of another program. One line, beginning with path. */
enum err_code gguf_open(struct gguf **out, const char *path, struct err *e);

/* The same over bytes that the caller keeps alive and unchanged. */
enum err_code gguf_open_memory(struct gguf **out, const void *bytes, uint64_t n_bytes, struct err *e);

void gguf_close(struct gguf *g);    /* takes NULL */

/* ERR_IO when the mapped file has been cut since it was opened: reading on would end in SIGBUS. */
enum err_code gguf_changed(const struct gguf *g, struct err *e);

struct gguf_info {
    uint32_t version;
    uint32_t alignment;         /* of tensor data, a power of two */
    uint64_t file_bytes;
    uint64_t data_offset;       /* where tensor data begins, from the file's start */
    uint64_t tensor_bytes;      /* sum over the tensors, padding not counted */
    uint64_t n_weights;         /* the same in elements */
};

void gguf_info(const struct gguf *g, struct gguf_info *out);

/* ---- metadata: the values as they are ------------------------------------------------------------- */

/* Bytes as they stand in the file: no NUL at the end, perhaps some inside, UTF-8 not promised. */
struct gguf_text {
    const char *bytes;
    size_t n_bytes;
};

/* One key with its value. The fields behind n are the reader's own. */
struct gguf_kv {
    const char *key;        /* NUL-terminated; 1 to 65535 bytes, no control characters */
    uint32_t type;          /* enum gguf_value_type, GGUF_ARRAY included */
    uint32_t item_type;     /* type of an array's items, or type itself; never GGUF_ARRAY */
    uint64_t n;             /* items of an array, 1 for a single value */
    const uint8_t *bytes;       /* first item */
    const uint32_t *offsets;    /* where each item of a string array begins */
};

uint32_t gguf_n_keys(const struct gguf *g);
/* In the order of the file, i below gguf_n_keys(). */
const struct gguf_kv *gguf_kv_at(const struct gguf *g, uint32_t i);
/* NULL when the file does not have it. */
const struct gguf_kv *gguf_kv_find(const struct gguf *g, const char *key);

/* Items, i below kv->n. The item's type decides: integers may be read as such whatever their width, u64
 * beyond INT64_MAX reads as INT64_MAX; f32 and f64 read as double; another use asserts. */
int64_t gguf_kv_int(const struct gguf_kv *kv, uint64_t i);
double gguf_kv_float(const struct gguf_kv *kv, uint64_t i);
bool gguf_kv_bool(const struct gguf_kv *kv, uint64_t i);
struct gguf_text gguf_kv_text(const struct gguf_kv *kv, uint64_t i);

/* "u32", "string" ...; NULL for a number that is no type. */
const char *gguf_value_type_name(uint32_t type);
/* For a person: appends "u32" or "string[49152]", and the value in one line of about max_chars
 * characters, strings quoted with escapes, long arrays ending in "...". Both are safe to print. */
bool gguf_kv_print_type(const struct gguf_kv *kv, struct buf *out);
bool gguf_kv_print_value(const struct gguf_kv *kv, size_t max_chars, struct buf *out);

/* ---- metadata: what a model needs of it ----------------------------------------------------------- */

/* gguf_need_*: the key has to be there, else ERR_FORMAT. gguf_opt_*: without the key *out keeps what the
 * caller put there as default, and the result is ERR_OK. In both, a value that is there has to be right:
 *
 *   u32 i32     any integer type, within min..max
 *   f32         f32 or f64, finite as f32
 *   bool        bool
 *   text        string
 *   arrays      the same for every item; an empty array is fine
 *
 * else ERR_FORMAT naming key, what was found and what was wanted; *out is unchanged then. */
enum err_code gguf_need_u32(const struct gguf *g, const char *key, uint32_t min, uint32_t max,
                            uint32_t *out, struct err *e);
enum err_code gguf_opt_u32(const struct gguf *g, const char *key, uint32_t min, uint32_t max,
                           uint32_t *out, struct err *e);
enum err_code gguf_need_i32(const struct gguf *g, const char *key, int32_t min, int32_t max,
                            int32_t *out, struct err *e);
enum err_code gguf_opt_i32(const struct gguf *g, const char *key, int32_t min, int32_t max,
                           int32_t *out, struct err *e);
enum err_code gguf_need_f32(const struct gguf *g, const char *key, float *out, struct err *e);
enum err_code gguf_opt_f32(const struct gguf *g, const char *key, float *out, struct err *e);
enum err_code gguf_need_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
enum err_code gguf_opt_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
enum err_code gguf_need_text(const struct gguf *g, const char *key, struct gguf_text *out,
                             struct err *e);
enum err_code gguf_opt_text(const struct gguf *g, const char *key, struct gguf_text *out, struct err *e);

/* Arrays, checked once here and then read item by item without errors: gguf_kv_int(array, i) and so on.
 * The default of the optional ones is NULL or whatever the caller put there. */
enum err_code gguf_need_ints(const struct gguf *g, const char *key, int64_t min, int64_t max,
                             const struct gguf_kv **out, struct err *e);
enum err_code gguf_opt_ints(const struct gguf *g, const char *key, int64_t min, int64_t max,
                            const struct gguf_kv **out, struct err *e);
enum err_code gguf_need_floats(const struct gguf *g, const char *key, const struct gguf_kv **out,
                               struct err *e);
enum err_code gguf_opt_floats(const struct gguf *g, const char *key, const struct gguf_kv **out,
                              struct err *e);
enum err_code gguf_need_bools(const struct gguf *g, const char *key, const struct gguf_kv **out,
                              struct err *e);
enum err_code gguf_opt_bools(const struct gguf *g, const char *key, const struct gguf_kv **out,
                             struct err *e);
enum err_code gguf_need_texts(const struct gguf *g, const char *key, const struct gguf_kv **out,
                              struct err *e);
enum err_code gguf_opt_texts(const struct gguf *g, const char *key, const struct gguf_kv **out,
                             struct err *e);

/* A number per layer: a file gives one for all, or an array with exactly n. out has room for n. */
enum err_code gguf_need_u32_each(const struct gguf *g, const char *key, uint32_t n, uint32_t min,
                                 uint32_t max, uint32_t *out, struct err *e);
enum err_code gguf_opt_u32_each(const struct gguf *g, const char *key, uint32_t n, uint32_t min,
                                uint32_t max, uint32_t *out, struct err *e);

/* ---- tensors -------------------------------------------------------------------------------------- */

struct gguf_tensor {
    const char *name;         /* NUL-terminated; 1 to 63 bytes, no control characters */
    int32_t n_dims;           /* 1 to 4 */
    uint64_t ne[GGUF_MAX_DIMS];    /* ne[0] is the row length; 1 to INT32_MAX each, 1 beyond n_dims */
    uint32_t type;            /* as the file numbers it; one that gguf_tensor_type() knows */
    uint64_t n_weights;       /* product of ne, at most INT64_MAX */
    uint64_t row_bytes;
    uint64_t n_bytes;         /* all of it lies within the file */
    uint64_t offset;          /* from the file's start */
    const uint8_t *data;      /* aligned to gguf_info.alignment in the file, so also in a mapping */
};

uint32_t gguf_n_tensors(const struct gguf *g);
/* In the order of the file, i below gguf_n_tensors(). */
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint32_t i);
/* NULL when there is none of that name. */
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name);

/* How weights of a type are stored, as far as a container has to know: rows are whole blocks. */
struct gguf_tensor_type {
    const char *name;         /* "Q4_K" */
    uint32_t block_weights;
    uint32_t block_bytes;
};

/* NULL for a number that GGUF never gave out or took back. Any value may be passed. */
const struct gguf_tensor_type *gguf_tensor_type(uint32_t type);

#endif
