/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_GGUF_GGUF_FILE_H
#define QUIP_ENGINE_GGUF_GGUF_FILE_H

#include "engine/base/arena.h"
#include "engine/base/map.h"
#include "engine/gguf/gguf.h"
#include "engine/gguf/gguf_names.h"

/* What the files of this folder share; nobody else includes it. */

struct gguf {
    struct map map;           /* zeroed when opened from memory */
    const uint8_t *bytes;     /* the whole file */
    uint64_t n_bytes;
    struct gguf_info info;
    struct arena arena;       /* everything below */
    struct gguf_kv *kvs;
    struct gguf_tensor *tensors;
    uint32_t n_kvs, n_tensors;
    struct gguf_names kv_names, tensor_names;
};

/* A place in the file. at <= n_bytes always. */
struct gguf_cursor {
    const uint8_t *bytes;
    uint64_t n_bytes;
    uint64_t at;
};

static inline uint64_t gguf_left(const struct gguf_cursor *c)
{
    return c->n_bytes - c->at;
}

/* Moves on by n_bytes and gives where they begin; NULL, and stays, when fewer are left. */
static inline const uint8_t *gguf_take(struct gguf_cursor *c, uint64_t n_bytes)
{
    if (n_bytes > gguf_left(c))
        return NULL;
    const uint8_t *p = c->bytes + c->at;
    c->at += n_bytes;
    return p;
}

/* Little-endian numbers at any address. */
static inline uint32_t gguf_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t gguf_load_u64(const uint8_t *p)
{
    return (uint64_t)gguf_load_u32(p) | (uint64_t)gguf_load_u32(p + 4) << 32;
}

static inline bool gguf_read_u32(struct gguf_cursor *c, uint32_t *out)
{
    const uint8_t *p = gguf_take(c, 4);
    if (p)
        *out = gguf_load_u32(p);
    return p;
}

static inline bool gguf_read_u64(struct gguf_cursor *c, uint64_t *out)
{
    const uint8_t *p = gguf_take(c, 8);
    if (p)
        *out = gguf_load_u64(p);
    return p;
}

/* Reads length, bytes; checks length 1 to max_bytes and that there are no control characters; copies
 * into the arena with a NUL. what ("key 3 of 20") begins the error text. */
enum err_code gguf_read_name(struct gguf *g, struct gguf_cursor *c, uint32_t max_bytes, const char *what,
                             const char **out, struct err *e);

/* Reads the directory of n_tensors entries, then checks the data it speaks of. c ends at its end. */
enum err_code gguf_read_tensors(struct gguf *g, struct gguf_cursor *c, struct err *e);

/* Bytes of a number or bool, 0 for other types. */
uint32_t gguf_value_bytes(uint32_t type);

/* Says what a number that gguf_tensor_type() does not know is known as elsewhere, or NULL. */
const char *gguf_foreign_type(uint32_t type);

/* A name from the file as it may stand in a message: printable ASCII, at most 96 characters. */
struct gguf_shown {
    char text[100];
};

const char *gguf_shown(struct gguf_shown *out, const char *bytes, size_t n_bytes);

#endif
