/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_FILE_H
#define QUIP_ENGINE_KV_KV_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_store.h"

/* One file of a store: what it looks like, writing it, and reading it as what it is, bytes from anywhere.
 *
 *   struct kv_file_head         counts, key, texts for listing
 *   struct kv_file_note         how long loading took; rewritten in place, the one thing that changes
 *   struct kv_file_layer        [n_layers]
 *   int32_t                     [n_tokens]
 *   struct kv_file_piece        [n_pieces]
 *   the pieces' bytes, one after the other
 *
 * Numbers are little-endian. Checksums are XXH3, 64 bits. Each piece's is seeded with the tokens' hash and its
 * place, so that a piece of another file, or another place, does not pass for it. The name is made of hashes of
 * the key and of the tokens: it gives neither away, says whose a file is before it is opened, and makes two
 * files of the same tokens one. */
enum { KV_FILE_VERSION = 1, KV_FILE_MAX_TOKENS = 1 << 24, KV_FILE_MAX_LAYERS = 1 << 12, KV_FILE_MAX_PIECES = 1 << 26 };

struct kv_file_head {
    char magic[8];
    uint32_t version;
    uint32_t page_tokens;       /* KV_PAGE */
    uint8_t key[KV_STORE_KEY_BYTES];
    uint64_t checksum;          /* of all before the pieces' bytes but the note, this field as 0 */
    uint64_t head_bytes;        /* where the pieces' bytes begin */
    uint64_t file_bytes;
    uint64_t compute_us;
    uint32_t n_tokens, n_layers, n_pieces, zero;
    char model[KV_STORE_TEXT_BYTES], file[KV_STORE_TEXT_BYTES], level[KV_STORE_TEXT_BYTES];
};

struct kv_file_note {
    uint64_t load_us;
    uint64_t checksum;          /* of load_us */
};

struct kv_file_layer {
    uint32_t type_k, type_v, n_head, d_head, window;
};

struct kv_file_piece {
    uint64_t n_bytes, checksum;
};

/* A file whose head has been read and checked; a zeroed struct holds nothing. */
struct kv_file {
    struct kv_file_head head;
    char name[KV_STORE_NAME_BYTES];        /* the one that belongs to what is in it */
    uint64_t seed;                         /* of the pieces' checksums */
    double load_ms;                        /* negative: the note is damaged */
    uint8_t *rest;                         /* all behind the note, up to the pieces' bytes */
    const struct kv_file_layer *layers;    /* in it, like the next two */
    const int32_t *tokens;
    const struct kv_file_piece *pieces;
};

/* Owns     nothing: fd stays the caller's
 * Errors   ERR_UNSUPPORTED for what is not of this format and version; ERR_FORMAT for damage; ERR_IO, ERR_NOMEM.
 *          The texts do not name the file */
enum err_code kv_file_read_head(struct kv_file *f, int fd, struct err *e);
void kv_file_finish(struct kv_file *f);
bool kv_file_has_layers(const struct kv_file *f, const struct kv_layer *layers, int32_t n_layers);
/* Reads and checks the pieces, into memory of exactly their number and sizes or, into NULL, to see that they are
 * right. cancel may be NULL. Errors: ERR_IO, ERR_FORMAT, ERR_NOMEM, ERR_CANCELLED */
enum err_code kv_file_read_pieces(const struct kv_file *f, int fd, const struct kv_piece *into, int32_t n_pieces,
                                  const atomic_bool *cancel, struct err *e);

/* How long the file of this image will be. */
uint64_t kv_file_bytes(const struct kv_image *image, int32_t n_layers);
/* Writes an empty file; the note says nothing yet. Errors: ERR_IO, ERR_NOMEM */
enum err_code kv_file_write(int fd, const struct kv_store_options *o, const struct kv_image *image,
                            double compute_ms, struct err *e);
bool kv_file_write_note(int fd, double load_ms);

/* The file name of these tokens. Returns the seed of the pieces' checksums. */
uint64_t kv_file_name(char out[KV_STORE_NAME_BYTES], const uint8_t key[KV_STORE_KEY_BYTES], const int32_t *tokens,
                      int32_t n_tokens);
/* Whether a file of a store could be named so; with a key, one of a store of that key. */
bool kv_file_is_name(const char *name, const uint8_t *key);
/* Of a head that was read or made: bytes are all of it, up to the pieces'. */
uint64_t kv_file_checksum(const void *bytes, size_t n_bytes);

#endif
