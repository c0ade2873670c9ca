/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_BUF_H
#define QUIP_ENGINE_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing run of bytes. Failure sticks: after one failed append every later one does nothing and
 * buf_ok() is false, so a writer checks once at the end. data is NUL-terminated when n > 0 was ever
 * appended, the NUL not counted. A zeroed struct is an empty buffer. */
struct buf {
    char *data;
    size_t n_bytes;
    size_t cap_bytes;
    size_t max_bytes;    /* 0: no limit; an append past it fails */
    bool failed;
};

void buf_init(struct buf *b);
void buf_finish(struct buf *b);
void buf_clear(struct buf *b);                        /* keeps the memory, forgets a failure */
bool buf_ok(const struct buf *b);
const char *buf_text(const struct buf *b);            /* "" when nothing was appended */
bool buf_reserve(struct buf *b, size_t n_more_bytes);
bool buf_add(struct buf *b, const void *bytes, size_t n_bytes);
bool buf_add_text(struct buf *b, const char *text);
bool buf_add_byte(struct buf *b, unsigned char byte);
bool buf_add_utf8(struct buf *b, uint32_t code_point);
bool buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Hands the memory (NUL-terminated, malloc) to the caller and empties b; NULL after a failure. */
char *buf_take(struct buf *b);

#endif
