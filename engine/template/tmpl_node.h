/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TEMPLATE_TMPL_NODE_H
#define QUIP_ENGINE_TEMPLATE_TMPL_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/template/tmpl_value.h"

/* The compiled template: one kind of node for everything, its fields by kind as the comments say.
 * Nodes live in the template's arena and are read-only once compiled. */

enum tmpl_node_kind {
    /* Expressions */
    TMPL_N_CONST,      /* value */
    TMPL_N_NAME,       /* name */
    TMPL_N_LIST,       /* kids */
    TMPL_N_TUPLE,      /* kids */
    TMPL_N_DICT,       /* kids: key, value, key, value ... */
    TMPL_N_ATTR,       /* a . name */
    TMPL_N_ITEM,       /* a [ b ] */
    TMPL_N_SLICE,      /* a [ kids[0] : kids[1] : kids[2] ], each may be NULL */
    TMPL_N_CALL,       /* a ( kids, keywords ) */
    TMPL_N_FILTER,     /* a | name ( kids, keywords ); a NULL: of a block */
    TMPL_N_TEST,       /* a is name ( kids, keywords ) */
    TMPL_N_NOT,        /* a */
    TMPL_N_NEG,        /* a */
    TMPL_N_POS,        /* a */
    TMPL_N_AND,        /* a, b */
    TMPL_N_OR,         /* a, b */
    TMPL_N_BINARY,     /* a op b */
    TMPL_N_CONCAT,     /* kids */
    TMPL_N_COMPARE,    /* a, then kids: each a TMPL_N_BINARY with op and b alone */
    TMPL_N_COND,       /* a if b else c; c may be NULL */
    TMPL_N_SPREAD,     /* *a as an argument; op TMPL_OP_POW: **a */
    TMPL_N_MEMBER,     /* target only: name of a namespace (in a) . name */
    /* Statements */
    TMPL_N_BODY,       /* kids */
    TMPL_N_DATA,       /* value: text */
    TMPL_N_OUTPUT,     /* a */
    TMPL_N_IF,         /* kids: condition, body, condition, body ...; c: else or NULL */
    TMPL_N_FOR,        /* target a in b: body c, else d; kids[0] the filter if there is one */
    TMPL_N_SET,        /* a = b */
    TMPL_N_SET_BLOCK,  /* a = body c, through filter b or NULL */
    TMPL_N_MACRO,      /* name, kids: parameter names; more: defaults (aligned at the end); body c */
    TMPL_N_CALL_BLOCK, /* a: the call; b: a macro without name holding the body */
    TMPL_N_FILTER_BLOCK, /* body c through filter b */
    TMPL_N_WITH,       /* kids: target, value, target, value ...; body c */
    TMPL_N_SCOPE,      /* body c in a scope of its own: generation blocks */
    TMPL_N_BREAK,
    TMPL_N_CONTINUE
};

enum tmpl_op {
    TMPL_OP_NONE,
    TMPL_OP_ADD, TMPL_OP_SUB, TMPL_OP_MUL, TMPL_OP_DIV, TMPL_OP_FLOORDIV, TMPL_OP_MOD, TMPL_OP_POW,
    TMPL_OP_EQ, TMPL_OP_NE, TMPL_OP_LT, TMPL_OP_LE, TMPL_OP_GT, TMPL_OP_GE,
    TMPL_OP_IN, TMPL_OP_NOT_IN
};

struct tmpl_keyword_node {
    const struct tmpl_text *name;
    struct tmpl_node *value;
};

struct tmpl_node {
    enum tmpl_node_kind kind;
    enum tmpl_op op;
    int32_t line;
    bool uses_extra;   /* macro: its body names varargs, kwargs or caller; for: names loop */
    const struct tmpl_text *name;
    struct template_value value;
    struct tmpl_node *a, *b, *c, *d;
    struct tmpl_node **kids;
    size_t n_kids;
    struct tmpl_node **more;
    size_t n_more;
    struct tmpl_keyword_node *keywords;
    size_t n_keywords;
};

/* Compiles source into a body; everything lands in the arena. */
enum err_code tmpl_parse(struct tmpl_node **out, struct arena *a, const char *source,
                         size_t n_bytes, struct err *e);

#endif
