/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TEMPLATE_TMPL_PARSE_H
#define QUIP_ENGINE_TEMPLATE_TMPL_PARSE_H

#include "engine/template/tmpl_lex.h"
#include "engine/template/tmpl_node.h"

/* What the two halves of the parser share: tmpl_parse.c reads statements, tmpl_expr.c expressions.
 * A function that fails has written the error and returns NULL or false. */

enum { TMPL_PARSE_DEPTH = 100 };    /* brackets and statements inside each other */

struct tmpl_parser {
    struct arena *arena;
    struct err *err;
    enum err_code rc;    /* of the first failure */
    const struct tmpl_token *at;
    int32_t depth;
    int32_t loop_depth;
    bool uses_extra;     /* varargs, kwargs or caller were named since the macro began */
    const struct tmpl_text **names;    /* interned */
    size_t n_names;
    size_t cap_names;
};

/* A growing array in the arena. */
struct tmpl_node_list {
    struct tmpl_node **items;
    size_t n;
    size_t cap;
};

bool tmpl_parse_fail(struct tmpl_parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct tmpl_node *tmpl_node_create(struct tmpl_parser *p, enum tmpl_node_kind kind);
bool tmpl_node_list_add(struct tmpl_parser *p, struct tmpl_node_list *list, struct tmpl_node *node);
const struct tmpl_text *tmpl_intern(struct tmpl_parser *p, const char *bytes, size_t n_bytes);

bool tmpl_at_operator(const struct tmpl_parser *p, const char *op);
bool tmpl_at_name(const struct tmpl_parser *p, const char *name);
bool tmpl_skip_operator(struct tmpl_parser *p, const char *op);
bool tmpl_skip_name(struct tmpl_parser *p, const char *name);
bool tmpl_expect_operator(struct tmpl_parser *p, const char *op);
/* The interned name at hand, which is passed. */
const struct tmpl_text *tmpl_expect_name(struct tmpl_parser *p);
bool tmpl_enter(struct tmpl_parser *p);
void tmpl_leave(struct tmpl_parser *p);

/* Expressions. The tuple forms take `a, b` without brackets. */
struct tmpl_node *tmpl_parse_expression(struct tmpl_parser *p);
struct tmpl_node *tmpl_parse_tuple(struct tmpl_parser *p, bool with_condition);
struct tmpl_node *tmpl_parse_primary(struct tmpl_parser *p);
struct tmpl_node *tmpl_parse_postfix(struct tmpl_parser *p, struct tmpl_node *node);
/* `| a | b(c)` behind node, which is NULL for the filters of a block. */
struct tmpl_node *tmpl_parse_filters(struct tmpl_parser *p, struct tmpl_node *node);
/* `name(args)` without its bar, as in {% filter name(args) | ... %}. */
struct tmpl_node *tmpl_parse_filter_inline(struct tmpl_parser *p);

#endif
