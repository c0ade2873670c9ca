/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_TEXT_FILE_H
#define QUIP_APP_CHAT_TEXT_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

/* A file of text that the person named, appended to out. Never waits: a fifo is no file.
 * changed_ns: when it was changed last, also after an error; may be NULL.
 * Errors: ERR_IO naming the file, also when it is larger than max_bytes; ERR_FORMAT for a NUL byte; ERR_NOMEM */
enum err_code text_file_read(struct buf *out, const char *path, size_t max_bytes, int64_t *changed_ns, struct err *e);
/* -1: it is not there. */
int64_t text_file_changed_ns(const char *path);

#endif
