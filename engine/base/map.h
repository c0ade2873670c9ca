/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_MAP_H
#define QUIP_ENGINE_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

/* A whole file, mapped read-only. A file that another program truncates while it is mapped raises
 * SIGBUS in whoever reads it; map_changed() asks before long work. */
struct map {
    const uint8_t *bytes;
    uint64_t n_bytes;
    int fd;
};

/* Errors: ERR_IO with the system's reason; ERR_FORMAT for an empty file or one that is not regular.
 * The path stays the caller's. m is storage of the caller and is set in every case. */
enum err_code map_open(struct map *m, const char *path, struct err *e);
void map_close(struct map *m);    /* takes a zeroed map and one that failed to open */
/* ERR_IO when the file is shorter now than when it was opened. */
enum err_code map_changed(const struct map *m, struct err *e);

#endif
