/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_LEVEL_LEVEL_FILE_H
#define QUIP_ENGINE_LEVEL_LEVEL_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"

/* A large file that takes its place whole or not at all.
 *
 * Until then it lies beside its place as ".NAME.PID-N.quip-part", locked. A lock ends with its process, however that
 * ends, so a file of such a name that can be locked belongs to nobody. */
struct level_file {
    int fd;
    char *path, *part;
    bool replace;
};

/* Removes what dead processes left in the folder, looks for room, and makes a file of n_bytes.
 * Errors: ERR_IO: path is there and not to be replaced, too little room, or the system's reason; ERR_NOMEM. f is closed
 * then */
enum err_code level_file_create(struct level_file *f, const char *path, uint64_t n_bytes, bool replace, struct err *e);
/* Any thread. Errors: ERR_IO */
enum err_code level_file_write(const struct level_file *f, uint64_t offset, const void *bytes, uint64_t n_bytes,
                               struct err *e);
/* Syncs, and puts the file in its place. Errors: ERR_IO; level_file_close() has to follow in any case */
enum err_code level_file_commit(struct level_file *f, struct err *e);
/* Without level_file_commit() nothing is left. Takes one that is closed. */
void level_file_close(struct level_file *f);

#endif
