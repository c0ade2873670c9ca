/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_GGUF_GGUF_WRITER_H
#define QUIP_ENGINE_GGUF_GGUF_WRITER_H

#include "engine/gguf/gguf.h"

/* Writes GGUF version 3. Metadata and tensors are collected in order, then saved in one go.
 *
 * The first thing that goes wrong (no memory, a key twice, a shape that is no whole number of blocks)
 * is remembered, later calls do nothing, and gguf_writer_save() reports it: callers check once.
 *
 * Owns     keys, names and values are copied; tensor data is borrowed until the last save
 * Thread   one at a time */
struct gguf_writer;

struct gguf_writer *gguf_writer_create(void);    /* NULL: no memory */
void gguf_writer_destroy(struct gguf_writer *w);    /* takes NULL */

void gguf_writer_u8(struct gguf_writer *w, const char *key, uint8_t value);
void gguf_writer_i8(struct gguf_writer *w, const char *key, int8_t value);
void gguf_writer_u16(struct gguf_writer *w, const char *key, uint16_t value);
void gguf_writer_i16(struct gguf_writer *w, const char *key, int16_t value);
void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_writer_i32(struct gguf_writer *w, const char *key, int32_t value);
void gguf_writer_u64(struct gguf_writer *w, const char *key, uint64_t value);
void gguf_writer_i64(struct gguf_writer *w, const char *key, int64_t value);
void gguf_writer_f32(struct gguf_writer *w, const char *key, float value);
void gguf_writer_f64(struct gguf_writer *w, const char *key, double value);
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_writer_text(struct gguf_writer *w, const char *key, const char *value);
void gguf_writer_text_n(struct gguf_writer *w, const char *key, const char *bytes, size_t n_bytes);
/* items: n values of item_type (not GGUF_STRING), adjacent, as C stores them; bool as one byte. */
void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_value_type item_type,
                       const void *items, uint64_t n);
void gguf_writer_texts(struct gguf_writer *w, const char *key, const struct gguf_text *items, uint64_t n);
/* A key of another file, value unchanged. */
void gguf_writer_copy(struct gguf_writer *w, const struct gguf_kv *kv);
/* For tensor data, and stored as general.alignment. Default 32; a power of two from 8 to 2^20. */
void gguf_writer_alignment(struct gguf_writer *w, uint32_t alignment);

/* ne[0] is the row length; the bytes of data follow from type and shape. */
void gguf_writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, int32_t n_dims,
                        const uint64_t *ne, const void *data);

/* Writes beside path under another name, syncs, and renames: path holds either what it held before or
 * the whole new file.
 *
 * Errors   ERR_IO with the system's reason; ERR_FORMAT and ERR_NOMEM from earlier calls */
enum err_code gguf_writer_save(struct gguf_writer *w, const char *path, struct err *e);

/* Everything before tensor data, whose first tensor begins at its end, and each next one at the next multiple of the
 * alignment: for those who write tensor data themselves. */
enum err_code gguf_writer_head(struct gguf_writer *w, struct buf *out, struct err *e);

/* The same bytes into memory. */
enum err_code gguf_writer_save_memory(struct gguf_writer *w, struct buf *out, struct err *e);

#endif
