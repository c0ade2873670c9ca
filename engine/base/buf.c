/* SPDX-License-Identifier: MIT */
#include "engine/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"

void buf_init(struct buf *b)
{
    memset(b, 0, sizeof *b);
}

void buf_finish(struct buf *b)
{
    if (!b)
        return;
    free(b->data);
    buf_init(b);
}

void buf_clear(struct buf *b)
{
    b->n_bytes = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

const char *buf_text(const struct buf *b)
{
    return b->data ? b->data : "";
}

bool buf_reserve(struct buf *b, size_t n_more_bytes)
{
    if (b->failed)
        return false;
    size_t need;
    if (__builtin_add_overflow(b->n_bytes, n_more_bytes, &need) || need > SIZE_MAX / 2 - 1 ||
        (b->max_bytes && need > b->max_bytes)) {
        b->failed = true;
        return false;
    }
    if (need + 1 <= b->cap_bytes)
        return true;
    size_t cap = b->cap_bytes ? b->cap_bytes : 64;
    while (cap < need + 1)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap_bytes = cap;
    return true;
}

bool buf_add(struct buf *b, const void *bytes, size_t n_bytes)
{
    if (!buf_reserve(b, n_bytes))
        return false;
    if (n_bytes)
        memcpy(b->data + b->n_bytes, bytes, n_bytes);
    b->n_bytes += n_bytes;
    b->data[b->n_bytes] = '\0';
    return true;
}

bool buf_add_text(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

bool buf_add_byte(struct buf *b, unsigned char byte)
{
    return buf_add(b, &byte, 1);
}

bool buf_add_utf8(struct buf *b, uint32_t code_point)
{
    char bytes[4];
    return buf_add(b, bytes, (size_t)utf8_encode(bytes, code_point));
}

bool buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = n >= 0 && buf_reserve(b, (size_t)n);
    if (ok) {
        vsnprintf(b->data + b->n_bytes, (size_t)n + 1, format, again);
        b->n_bytes += (size_t)n;
    } else {
        b->failed = true;
    }
    va_end(again);
    return ok;
}

char *buf_take(struct buf *b)
{
    if (b->failed || !buf_reserve(b, 0)) {
        buf_finish(b);
        return NULL;
    }
    b->data[b->n_bytes] = '\0';
    char *data = b->data;
    buf_init(b);
    return data;
}
