/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_KV_KV_FOLDER_H
#define QUIP_ENGINE_KV_KV_FOLDER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/err.h"
#include "engine/kv/kv_store.h"

/* The folder of a store, which any number of programs use at once.
 *
 *   HASH-HASH.kv            files of stores; appear by rename, never change
 *   new-PID-RANDOM          being written; its writer holds a lock on it (flock), so one that can be locked has
 *                           lost its writer
 *   HASH.types HASH.passes  what trying a model came to (session_note.c); small, outside the cap
 *   device-...              what is known of devices (vulkan_cache.c, engine_selftest.c); outside the cap
 *   lock                    held (flock) while files are renamed or removed, so that the cap is counted once
 *
 * All names are relative to a descriptor of the folder: it may be moved while it is open. */

/* Makes the folder and those above it, for the owner alone. Returns a descriptor, -1 with an error.
 * Errors: ERR_IO */
int kv_folder_open(const char *dir, struct err *e);
/* Takes the lock, waiting for it or not. -1 when it cannot be had; else to be closed. */
int kv_folder_lock(int dir_fd, bool wait);

struct kv_folder_file {
    char name[KV_STORE_NAME_BYTES];
    uint64_t n_bytes;
    int64_t used_s, used_ns;
    ino_t inode;
    int64_t changed_ns;    /* st_ctim: tells a file from a later one that was given its inode */
};

struct kv_folder_list {
    struct kv_folder_file *files;    /* the one unused longest comes first */
    int32_t n, cap;
    uint64_t n_bytes;
};

/* All files of stores. Errors: ERR_IO, ERR_NOMEM; the list is empty then */
enum err_code kv_folder_read(struct kv_folder_list *out, int dir_fd, struct err *e);
void kv_folder_list_finish(struct kv_folder_list *list);

/* A file of a store, for reading and, where that is allowed, for its note. -1: errno says why. */
int kv_folder_open_file(int dir_fd, const char *name);
/* An empty file for its owner alone, locked. Returns a descriptor, -1 with an error. Errors: ERR_IO */
int kv_folder_create(int dir_fd, char name[KV_STORE_NAME_BYTES], struct err *e);
/* Removes files of writers that are no more. */
void kv_folder_clean(int dir_fd);
/* Removes what trying models came to. */
void kv_folder_forget_notes(int dir_fd);
/* Adds up what is known of devices, and removes it if so asked. */
void kv_folder_devices(int dir_fd, bool remove_them, int32_t *n_files, uint64_t *n_bytes);

/* With the lock held: removes the files unused longest until n_more_bytes fit below the cap. The file called
 * keep (may be NULL) does not count and stays. */
void kv_folder_make_room(int dir_fd, uint64_t cap_bytes, uint64_t n_more_bytes, const char *keep);
/* Removes a file unless another has taken its name, or the lock cannot be had at once. */
bool kv_folder_remove(int dir_fd, const char *name, ino_t inode);

#endif
