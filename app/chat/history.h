/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_HISTORY_H
#define QUIP_APP_CHAT_HISTORY_H

#include "engine/base/buf.h"
#include "engine/base/err.h"

/* The file of prompts typed before: readable by its owner alone, replaced whole by a rename so that a
 * crash leaves the old one. Its content is the editor's business. */
enum { HISTORY_MAX_BYTES = 8 << 20 };

/* A missing file is an empty one; of a longer one the end is read. */
enum err_code history_read(const char *path, struct buf *out, struct err *e);
enum err_code history_write(const char *path, const struct buf *content, struct err *e);

#endif
