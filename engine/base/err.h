/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_ERR_H
#define QUIP_ENGINE_BASE_ERR_H

/* What the world can cause is an error code with a text written where it happened; what only a bug
 * can cause is an assert. A text names the thing, the value found and the value wanted. */
enum err_code {
    ERR_OK = 0,
    ERR_NOMEM,          /* the system gave no memory */
    ERR_IO,             /* the system gave no bytes: open, read, write, map */
    ERR_FORMAT,         /* bytes that are not what they should be */
    ERR_UNSUPPORTED,    /* well formed, but beyond what is built */
    ERR_DEVICE,         /* a device failed */
    ERR_CANCELLED       /* the caller asked to stop */
};

enum { ERR_TEXT_BYTES = 512 };

struct err {
    enum err_code code;
    char text[ERR_TEXT_BYTES];
};

/* Fills e (may be NULL) and returns code, so that `return err_set(e, ...)` reads as one thought.
 * Long texts are cut at a character border. */
enum err_code err_set(struct err *e, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text already there and returns its code. */
enum err_code err_prefix(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "no memory", "format" ... for a person; never NULL. */
const char *err_code_name(enum err_code code);

#endif
