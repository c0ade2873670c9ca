/* SPDX-License-Identifier: MIT */
#include "engine/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A text cut in the middle of a UTF-8 character would be debris on the screen. */
static void cut_at_character(char *text)
{
    size_t n = strlen(text);
    if (n + 1 < ERR_TEXT_BYTES)
        return;
    while (n > 0 && ((unsigned char)text[n - 1] & 0xC0) == 0x80)
        n--;
    if (n > 0 && (unsigned char)text[n - 1] >= 0xC0)
        n--;
    text[n] = '\0';
}

enum err_code err_set(struct err *e, enum err_code code, const char *format, ...)
{
    if (!e)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    cut_at_character(e->text);
    e->code = code;
    return code;
}

enum err_code err_prefix(struct err *e, const char *format, ...)
{
    if (!e)
        return ERR_OK;
    char old[ERR_TEXT_BYTES];
    memcpy(old, e->text, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old);
    cut_at_character(e->text);
    return e->code;
}

const char *err_code_name(enum err_code code)
{
    switch (code) {
    case ERR_OK: return "no error";
    case ERR_NOMEM: return "out of memory";
    case ERR_IO: return "input or output failed";
    case ERR_FORMAT: return "damaged or malformed";
    case ERR_UNSUPPORTED: return "not supported";
    case ERR_DEVICE: return "device failed";
    case ERR_CANCELLED: return "cancelled";
    }
    return "unknown error";
}
