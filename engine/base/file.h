/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_FILE_H
#define QUIP_ENGINE_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"

/* Small files that are read and replaced whole, by any number of programs at once, and folders. */

/* Makes a folder and those above it that are not there, for the owner alone. False: errno says why. */
bool file_make_folders(const char *dir);

/* Appends the bytes of a file to out. False when it is not there, is no plain file, is empty, has more than most_bytes,
 * or cannot be read. */
bool file_read(const char *path, size_t most_bytes, struct buf *out);

/* Puts a file, readable by its owner alone, in the place of one that may be there: who opens it finds the old or the
 * new one, whole. Its folder is made when it is not there. False: what was there stays, and nothing is left behind. */
bool file_replace(const char *path, const void *bytes, size_t n_bytes);

/* After a rename to path: syncs the folder it lies in, without which a crash may undo it. File systems that cannot sync a
 * folder are let pass. */
void file_sync_folder(const char *path);

#endif
