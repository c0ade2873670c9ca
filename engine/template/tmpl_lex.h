/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TEMPLATE_TMPL_LEX_H
#define QUIP_ENGINE_TEMPLATE_TMPL_LEX_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/err.h"

enum tmpl_token_type {
    TMPL_T_END,
    TMPL_T_DATA,
    TMPL_T_VARIABLE_BEGIN,
    TMPL_T_VARIABLE_END,
    TMPL_T_BLOCK_BEGIN,
    TMPL_T_BLOCK_END,
    TMPL_T_NAME,
    TMPL_T_STRING,     /* text is what it stands for, escapes resolved */
    TMPL_T_INT,
    TMPL_T_FLOAT,
    TMPL_T_OPERATOR    /* text is the operator */
};

struct tmpl_token {
    enum tmpl_token_type type;
    int32_t line;
    const char *text;
    size_t n_bytes;
    int64_t integer;
    double number;
};

struct tmpl_tokens {
    struct tmpl_token *items;    /* the last one is TMPL_T_END */
    size_t n;
    size_t cap;
};

/* Cuts a template into tokens: comments gone, white space trimmed as the marks and trim_blocks and
 * lstrip_blocks ask. Tokens point into the arena. Errors: ERR_FORMAT with the line; ERR_NOMEM. */
enum err_code tmpl_lex(struct tmpl_tokens *out, struct arena *a, const char *source, size_t n_bytes,
                       struct err *e);

#endif
