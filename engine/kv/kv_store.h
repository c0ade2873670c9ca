/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_STORE_H
#define QUIP_ENGINE_KV_KV_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/kv/kv_cache.h"

/* Prefixes in files: images (kv_cache.h) of one model in one set of types, found again by their tokens.
 *
 * All programs of a person share one folder. A file belongs to a key, the hash of everything that decides what
 * the bytes of an image mean; a store sees the files of its own key alone, while the cap and the functions for
 * the folder as a whole count all. Files appear whole (a temporary file is renamed) and never change, but for the
 * note of how long loading them took. How they look is in kv_file.h.
 *
 * What is read is believed only after everything about it has been checked. A file that is damaged, of another
 * format or gone is the same as one that is not there: the tokens are evaluated, and when a person should know,
 * kv_store_warning() has one line. Files with damage are removed; files of other formats stay.
 *
 * Thread  one for all calls on a store. Writing is done by a thread of the store's own; images come back to the
 *         caller's thread to be dropped (kv_store_poll). */
struct kv_store;

enum { KV_STORE_KEY_BYTES = 16, KV_STORE_NAME_BYTES = 64, KV_STORE_TEXT_BYTES = 96 };

struct kv_store_key {
    uint8_t bytes[KV_STORE_KEY_BYTES];
};

struct kv_store_options {
    const char *dir;                  /* absolute; made when it is not there, for its owner alone */
    uint64_t cap_bytes;               /* of all files in dir, not of this key alone */
    struct kv_store_key key;
    const struct kv_layer *layers;    /* what images are of; copied */
    int32_t n_layers;
    const char *model, *file, *level; /* for kv_store_list(): name of the model, of its file (without folder and
                                       * ending), and its level; copied, cut at KV_STORE_TEXT_BYTES - 1 */
};

/* Removes what writers that died have left, and files beyond the cap.
 * Errors   ERR_IO when dir cannot be made or read, ERR_NOMEM */
enum err_code kv_store_open(struct kv_store **out, const struct kv_store_options *o, struct err *e);
/* Waits until everything given to kv_store_save() is written. Takes NULL. */
void kv_store_close(struct kv_store *st);

/* A prefix in a file. */
struct kv_store_entry {
    int32_t n_tokens;
    uint64_t file_bytes;
    double compute_ms;    /* what evaluating these tokens took, as kv_store_save() was told */
    double load_ms;       /* what kv_store_load() will take: as long as it last took, or, when it was never loaded, as
                           * long as reading it back took after it was written (past the system's cache) */
    char name[KV_STORE_NAME_BYTES];    /* of the file, in the folder */
};

/* The entry with most tokens whose tokens are the beginning of these, or all of them. Looks for files that
 * others have added when the folder has changed. */
bool kv_store_find(struct kv_store *st, const int32_t *tokens, int32_t n_tokens, struct kv_store_entry *out);
/* Fills the pieces of an image that kv_image_new() made for the entry's tokens, and marks the file as used now.
 * On any error the pieces hold rubbish and the image is to be dropped. cancel may be NULL.
 * Errors   ERR_IO, ERR_FORMAT, ERR_NOMEM, and ERR_CANCELLED; what a person should read of them is in
 *          kv_store_warning() too, and the entry is not found again but after ERR_CANCELLED and ERR_NOMEM */
enum err_code kv_store_load(struct kv_store *st, const struct kv_store_entry *entry, struct kv_image *image,
                            const atomic_bool *cancel, struct err *e);

/* Has the image written in the background; its pieces may be read by the writer until kv_store_poll() drops it.
 * A file of the same tokens is replaced; when they are being written or wait for it, this image is dropped.
 * compute_ms is what evaluating all its tokens took, or would have taken.
 * Owns     the image, whatever happens */
void kv_store_save_take(struct kv_store *st, struct kv_image *image, double compute_ms);
/* Drops the images that have been written; call it now and then. Returns how many are still to be written. */
int32_t kv_store_poll(struct kv_store *st);
/* Waits until all are written, at most timeout_ms (-1: as long as it takes); drops them. False: not all. */
bool kv_store_flush(struct kv_store *st, int32_t timeout_ms);

/* Takes the next line a person should read; false when there is none. A reason is given once. */
bool kv_store_warning(struct kv_store *st, char out[ERR_TEXT_BYTES]);

struct kv_store_stats {
    int32_t n_files;        /* of this key */
    int32_t n_writing;      /* being written or waiting for it */
    uint64_t file_bytes;    /* of all files in the folder */
};
void kv_store_stats(struct kv_store *st, struct kv_store_stats *out);

/* ---- the folder as a whole -------------------------------------------------------------------------- */

struct kv_store_file {
    char name[KV_STORE_NAME_BYTES];
    uint64_t n_bytes;
    int64_t used_s;         /* last use, seconds since 1970 */
    char why[160];          /* why it is of no use; "": it is fine. Then the rest is known: */
    char model[KV_STORE_TEXT_BYTES], file[KV_STORE_TEXT_BYTES], level[KV_STORE_TEXT_BYTES];
    enum kv_type type_k, type_v;    /* those most layers have */
    int32_t n_tokens;
};

struct kv_store_list {
    struct kv_store_file *files;    /* the one used last comes first */
    int32_t n_files;
    uint64_t n_bytes;
    int32_t n_device_files;         /* beside them, of what is known of devices */
    uint64_t device_bytes;
};

/* A folder that does not exist is an empty one. whole: reads and checks all bytes, else the heads.
 * Errors   ERR_IO, ERR_NOMEM; out is empty then */
enum err_code kv_store_list(struct kv_store_list *out, const char *dir, bool whole, struct err *e);
void kv_store_list_finish(struct kv_store_list *list);    /* takes a zeroed one */

/* Removes all files of stores and of devices, or those of stores of which model (whatever the case of its letters) is
 * the model's or its file's name. Adds up what went.
 * Errors   ERR_IO, ERR_NOMEM */
enum err_code kv_store_clear(const char *dir, const char *model, int32_t *n_files, uint64_t *n_bytes,
                             struct err *e);

#endif
