/* SPDX-License-Identifier: MIT */
/* Statements. Bodies nest by recursion, bounded by TMPL_PARSE_DEPTH; an end tag is left standing
 * for the function that opened the block. */
#include "engine/template/tmpl_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct tmpl_node *parse_body(struct tmpl_parser *p);

/* ---- helpers for both halves ---- */

bool tmpl_parse_fail(struct tmpl_parser *p, const char *format, ...)
{
    char what[256];
    va_list args;
    if (p->rc != ERR_OK)
        return false;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    bool memory = strcmp(format, "no memory") == 0;
    const struct tmpl_token *t = p->at;
    p->rc = memory ? ERR_NOMEM : ERR_FORMAT;
    if (t->type == TMPL_T_END)
        err_set(p->err, p->rc, "template line %d: %s, at the end of the template", (int)t->line, what);
    else if (t->n_bytes && t->type != TMPL_T_DATA)
        err_set(p->err, p->rc, "template line %d: %s, at '%.*s'", (int)t->line, what,
                (int)(t->n_bytes < 40 ? t->n_bytes : 40), t->text);
    else
        err_set(p->err, p->rc, "template line %d: %s", (int)t->line, what);
    return false;
}

struct tmpl_node *tmpl_node_create(struct tmpl_parser *p, enum tmpl_node_kind kind)
{
    struct tmpl_node *n = arena_alloc(p->arena, 1, sizeof *n);
    if (!n) {
        tmpl_parse_fail(p, "no memory");
        return NULL;
    }
    n->kind = kind;
    n->line = p->at->line;
    return n;
}

bool tmpl_node_list_add(struct tmpl_parser *p, struct tmpl_node_list *list, struct tmpl_node *node)
{
    if (!node)
        return false;
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 8;
        struct tmpl_node **items = arena_alloc(p->arena, cap, sizeof *items);
        if (!items)
            return tmpl_parse_fail(p, "no memory");
        if (list->n)
            memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = node;
    return true;
}

const struct tmpl_text *tmpl_intern(struct tmpl_parser *p, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < p->n_names; i++) {
        if (p->names[i]->n_bytes == n_bytes && memcmp(p->names[i]->bytes, bytes, n_bytes) == 0)
            return p->names[i];
    }
    const struct tmpl_text *name = tmpl_text_copy(p->arena, bytes, n_bytes, false);
    if (name && p->n_names == p->cap_names) {
        size_t cap = p->cap_names ? p->cap_names * 2 : 64;
        const struct tmpl_text **names = arena_alloc(p->arena, cap, sizeof *names);
        if (names && p->n_names)
            memcpy(names, p->names, p->n_names * sizeof *names);
        p->names = names ? names : p->names;
        p->cap_names = names ? cap : p->cap_names;
        name = names ? name : NULL;
    }
    if (!name) {
        tmpl_parse_fail(p, "no memory");
        return NULL;
    }
    p->names[p->n_names++] = name;
    return name;
}

static bool token_is(const struct tmpl_token *t, enum tmpl_token_type type, const char *text)
{
    size_t n = strlen(text);
    return t->type == type && t->n_bytes == n && memcmp(t->text, text, n) == 0;
}

bool tmpl_at_operator(const struct tmpl_parser *p, const char *op)
{
    return token_is(p->at, TMPL_T_OPERATOR, op);
}

bool tmpl_at_name(const struct tmpl_parser *p, const char *name)
{
    return token_is(p->at, TMPL_T_NAME, name);
}

bool tmpl_skip_operator(struct tmpl_parser *p, const char *op)
{
    bool yes = tmpl_at_operator(p, op);
    p->at += yes;
    return yes;
}

bool tmpl_skip_name(struct tmpl_parser *p, const char *name)
{
    bool yes = tmpl_at_name(p, name);
    p->at += yes;
    return yes;
}

bool tmpl_expect_operator(struct tmpl_parser *p, const char *op)
{
    return tmpl_skip_operator(p, op) || tmpl_parse_fail(p, "'%s' was expected", op);
}

const struct tmpl_text *tmpl_expect_name(struct tmpl_parser *p)
{
    if (p->at->type != TMPL_T_NAME) {
        tmpl_parse_fail(p, "a name was expected");
        return NULL;
    }
    const struct tmpl_text *name = tmpl_intern(p, p->at->text, p->at->n_bytes);
    p->at++;
    return name;
}

bool tmpl_enter(struct tmpl_parser *p)
{
    if (p->depth >= TMPL_PARSE_DEPTH)
        return tmpl_parse_fail(p, "nested more than %d levels deep", (int)TMPL_PARSE_DEPTH);
    p->depth++;
    return true;
}

void tmpl_leave(struct tmpl_parser *p)
{
    p->depth--;
}

/* ---- statements ---- */

static bool expect_block_end(struct tmpl_parser *p)
{
    tmpl_skip_operator(p, ":");
    if (p->at->type != TMPL_T_BLOCK_END)
        return tmpl_parse_fail(p, "'%%}' was expected");
    p->at++;
    return true;
}

/* The `%}` of the opening tag, the body, and the opening half `{% end` of the closing tag, whose
 * name must be one of the given; which of them is left to look at. */
static struct tmpl_node *parse_block_body(struct tmpl_parser *p)
{
    if (!expect_block_end(p) || !tmpl_enter(p))
        return NULL;
    struct tmpl_node *body = parse_body(p);
    tmpl_leave(p);
    return body;
}

static struct tmpl_node *parse_block_until(struct tmpl_parser *p, const char *end)
{
    struct tmpl_node *body = parse_block_body(p);
    if (body && !tmpl_skip_name(p, end)) {
        tmpl_parse_fail(p, "'%s' was expected", end);
        return NULL;
    }
    return body;
}

static bool is_reserved(const struct tmpl_parser *p)
{
    static const char *const words[] = { "true", "false", "none", "True", "False", "None" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (tmpl_at_name(p, words[i]))
            return true;
    }
    return false;
}

static struct tmpl_node *parse_target_item(struct tmpl_parser *p, bool with_member)
{
    if (tmpl_skip_operator(p, "(")) {
        struct tmpl_node *tuple = tmpl_node_create(p, TMPL_N_TUPLE);
        struct tmpl_node_list items = { 0 };
        if (!tuple || !tmpl_enter(p))
            return NULL;
        while (!tmpl_at_operator(p, ")")) {
            if (!tmpl_node_list_add(p, &items, parse_target_item(p, false)))
                return NULL;
            if (!tmpl_skip_operator(p, ","))
                break;
        }
        tmpl_leave(p);
        tuple->kids = items.items;
        tuple->n_kids = items.n;
        return tmpl_expect_operator(p, ")") ? tuple : NULL;
    }
    if (is_reserved(p)) {
        tmpl_parse_fail(p, "this cannot be assigned to");
        return NULL;
    }
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_NAME);
    if (!n || !(n->name = tmpl_expect_name(p)))
        return NULL;
    if (!with_member || !tmpl_skip_operator(p, "."))
        return n;
    struct tmpl_node *member = tmpl_node_create(p, TMPL_N_MEMBER);
    if (!member || !(member->name = tmpl_expect_name(p)))
        return NULL;
    member->a = n;
    return member;
}

/* a   a, b   (a, b), c   ns.a */
static struct tmpl_node *parse_target(struct tmpl_parser *p, bool with_member)
{
    struct tmpl_node *first = parse_target_item(p, with_member);
    if (!first || !tmpl_at_operator(p, ","))
        return first;
    struct tmpl_node *tuple = tmpl_node_create(p, TMPL_N_TUPLE);
    struct tmpl_node_list items = { 0 };
    if (!tuple || !tmpl_node_list_add(p, &items, first))
        return NULL;
    while (tmpl_skip_operator(p, ",")) {
        if (tmpl_at_name(p, "in") || tmpl_at_operator(p, "=") || p->at->type == TMPL_T_BLOCK_END)
            break;
        if (!tmpl_node_list_add(p, &items, parse_target_item(p, with_member)))
            return NULL;
    }
    tuple->kids = items.items;
    tuple->n_kids = items.n;
    return tuple;
}

static struct tmpl_node *parse_if(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_IF);
    struct tmpl_node_list arms = { 0 };
    if (!n)
        return NULL;
    do {
        struct tmpl_node *condition = tmpl_parse_tuple(p, false);
        if (!tmpl_node_list_add(p, &arms, condition) ||
            !tmpl_node_list_add(p, &arms, parse_block_body(p)))
            return NULL;
    } while (tmpl_skip_name(p, "elif"));
    n->kids = arms.items;
    n->n_kids = arms.n;
    if (tmpl_skip_name(p, "else"))
        return (n->c = parse_block_until(p, "endif")) ? n : NULL;
    if (!tmpl_skip_name(p, "endif")) {
        tmpl_parse_fail(p, "'endif' was expected");
        return NULL;
    }
    return n;
}

static struct tmpl_node *parse_for(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_FOR);
    if (!n || !(n->a = parse_target(p, false)))
        return NULL;
    if (!tmpl_skip_name(p, "in")) {
        tmpl_parse_fail(p, "'in' was expected");
        return NULL;
    }
    if (!(n->b = tmpl_parse_tuple(p, false)))
        return NULL;
    if (tmpl_skip_name(p, "if")) {
        struct tmpl_node_list filter = { 0 };
        if (!tmpl_node_list_add(p, &filter, tmpl_parse_expression(p)))
            return NULL;
        n->kids = filter.items;
        n->n_kids = filter.n;
    }
    if (tmpl_at_name(p, "recursive")) {
        tmpl_parse_fail(p, "recursive loops are not supported");
        return NULL;
    }
    p->loop_depth++;
    n->c = parse_block_body(p);
    p->loop_depth--;
    if (!n->c)
        return NULL;
    if (tmpl_skip_name(p, "else"))
        return (n->d = parse_block_until(p, "endfor")) ? n : NULL;
    if (!tmpl_skip_name(p, "endfor")) {
        tmpl_parse_fail(p, "'endfor' was expected");
        return NULL;
    }
    return n;
}

static struct tmpl_node *parse_set(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_SET);
    if (!n || !(n->a = parse_target(p, true)))
        return NULL;
    if (tmpl_skip_operator(p, "="))
        return (n->b = tmpl_parse_tuple(p, true)) ? n : NULL;
    n->kind = TMPL_N_SET_BLOCK;
    if (tmpl_at_operator(p, "|") && !(n->b = tmpl_parse_filters(p, NULL)))
        return NULL;
    return (n->c = parse_block_until(p, "endset")) ? n : NULL;
}

/* "(" name, name = default ")" */
static bool parse_signature(struct tmpl_parser *p, struct tmpl_node *macro)
{
    struct tmpl_node_list names = { 0 }, defaults = { 0 };
    if (!tmpl_expect_operator(p, "("))
        return false;
    while (!tmpl_at_operator(p, ")")) {
        if (names.n && !tmpl_expect_operator(p, ","))
            return false;
        if (is_reserved(p))
            return tmpl_parse_fail(p, "this cannot be a parameter");
        struct tmpl_node *name = tmpl_node_create(p, TMPL_N_NAME);
        if (!name || !(name->name = tmpl_expect_name(p)) || !tmpl_node_list_add(p, &names, name))
            return false;
        if (tmpl_skip_operator(p, "=")) {
            if (!tmpl_node_list_add(p, &defaults, tmpl_parse_expression(p)))
                return false;
        } else if (defaults.n) {
            return tmpl_parse_fail(p, "a parameter without default follows one with a default");
        }
    }
    macro->kids = names.items;
    macro->n_kids = names.n;
    macro->more = defaults.items;
    macro->n_more = defaults.n;
    return tmpl_expect_operator(p, ")");
}

/* Body of a macro or call block: loops outside of it are not its own. */
static bool parse_macro_body(struct tmpl_parser *p, struct tmpl_node *macro, const char *end)
{
    int32_t loop_depth = p->loop_depth;
    bool uses_extra = p->uses_extra;
    p->loop_depth = 0;
    p->uses_extra = false;
    macro->c = parse_block_until(p, end);
    macro->uses_extra = p->uses_extra;
    p->loop_depth = loop_depth;
    p->uses_extra = uses_extra;
    return macro->c != NULL;
}

static struct tmpl_node *parse_macro(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_MACRO);
    if (!n || !(n->name = tmpl_expect_name(p)) || !parse_signature(p, n) ||
        !parse_macro_body(p, n, "endmacro"))
        return NULL;
    return n;
}

static struct tmpl_node *parse_call_block(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_CALL_BLOCK);
    struct tmpl_node *macro = tmpl_node_create(p, TMPL_N_MACRO);
    if (!n || !macro || !(macro->name = tmpl_intern(p, "caller", 6)))
        return NULL;
    if (tmpl_at_operator(p, "(") && !parse_signature(p, macro))
        return NULL;
    n->a = tmpl_parse_expression(p);
    if (!n->a)
        return NULL;
    if (n->a->kind != TMPL_N_CALL) {
        tmpl_parse_fail(p, "a call was expected");
        return NULL;
    }
    n->b = macro;
    n->name = macro->name;
    return parse_macro_body(p, macro, "endcall") ? n : NULL;
}

static struct tmpl_node *parse_filter_block(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_FILTER_BLOCK);
    struct tmpl_node *filter = tmpl_parse_filter_inline(p);
    if (!n || !filter || !(n->b = tmpl_parse_filters(p, filter)))
        return NULL;
    return (n->c = parse_block_until(p, "endfilter")) ? n : NULL;
}

static struct tmpl_node *parse_with(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_WITH);
    struct tmpl_node_list pairs = { 0 };
    while (n && p->at->type != TMPL_T_BLOCK_END) {
        if (pairs.n && !tmpl_expect_operator(p, ","))
            return NULL;
        if (!tmpl_node_list_add(p, &pairs, parse_target_item(p, false)) ||
            !tmpl_expect_operator(p, "=") ||
            !tmpl_node_list_add(p, &pairs, tmpl_parse_expression(p)))
            return NULL;
    }
    if (!n)
        return NULL;
    n->kids = pairs.items;
    n->n_kids = pairs.n;
    return (n->c = parse_block_until(p, "endwith")) ? n : NULL;
}

static struct tmpl_node *parse_generation(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_SCOPE);
    int32_t loop_depth = p->loop_depth;
    p->loop_depth = 0;
    if (n && !(n->c = parse_block_until(p, "endgeneration")))
        n = NULL;
    p->loop_depth = loop_depth;
    return n;
}

/* {% print a, b %} is a body of outputs. */
static struct tmpl_node *parse_print(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_BODY);
    struct tmpl_node_list items = { 0 };
    while (n && p->at->type != TMPL_T_BLOCK_END) {
        if (items.n && !tmpl_expect_operator(p, ","))
            return NULL;
        struct tmpl_node *out = tmpl_node_create(p, TMPL_N_OUTPUT);
        if (!out || !(out->a = tmpl_parse_expression(p)) || !tmpl_node_list_add(p, &items, out))
            return NULL;
    }
    if (n) {
        n->kids = items.items;
        n->n_kids = items.n;
    }
    return n;
}

static struct tmpl_node *parse_jump(struct tmpl_parser *p, enum tmpl_node_kind kind)
{
    if (p->loop_depth == 0) {
        tmpl_parse_fail(p, "break and continue belong inside a loop");
        return NULL;
    }
    return tmpl_node_create(p, kind);
}

static struct tmpl_node *parse_statement(struct tmpl_parser *p)
{
    static const struct {
        const char *word;
        struct tmpl_node *(*parse)(struct tmpl_parser *p);
    } table[] = {
        { "if", parse_if },         { "for", parse_for },
        { "set", parse_set },       { "macro", parse_macro },
        { "call", parse_call_block }, { "filter", parse_filter_block },
        { "with", parse_with },     { "generation", parse_generation },
        { "print", parse_print }
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (tmpl_skip_name(p, table[i].word))
            return table[i].parse(p);
    }
    if (tmpl_skip_name(p, "break"))
        return parse_jump(p, TMPL_N_BREAK);
    if (tmpl_skip_name(p, "continue"))
        return parse_jump(p, TMPL_N_CONTINUE);
    tmpl_parse_fail(p, "unknown statement");
    return NULL;
}

/* A tag that ends or divides a block, and so belongs to whoever opened it. */
static bool at_block_border(const struct tmpl_parser *p)
{
    const struct tmpl_token *t = p->at;
    if (t->type != TMPL_T_NAME)
        return false;
    return (t->n_bytes > 3 && memcmp(t->text, "end", 3) == 0) || tmpl_at_name(p, "else") ||
           tmpl_at_name(p, "elif");
}

static struct tmpl_node *parse_data(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_DATA);
    struct tmpl_text *text = arena_alloc(p->arena, 1, sizeof *text);
    if (!n || !text) {
        tmpl_parse_fail(p, "no memory");
        return NULL;
    }
    *text = (struct tmpl_text){ .bytes = p->at->text, .n_bytes = p->at->n_bytes };
    n->value = tmpl_text_value(text);
    p->at++;
    return n;
}

static struct tmpl_node *parse_output(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_OUTPUT);
    p->at++;
    if (!n || !(n->a = tmpl_parse_tuple(p, true)))
        return NULL;
    if (p->at->type != TMPL_T_VARIABLE_END) {
        tmpl_parse_fail(p, "'}}' was expected");
        return NULL;
    }
    p->at++;
    return n;
}

/* Pieces up to the end of the template or the opening half of a tag that is a block's border. */
static struct tmpl_node *parse_body(struct tmpl_parser *p)
{
    struct tmpl_node *body = tmpl_node_create(p, TMPL_N_BODY);
    struct tmpl_node_list pieces = { 0 };
    while (body && p->at->type != TMPL_T_END) {
        struct tmpl_node *n;
        if (p->at->type == TMPL_T_DATA) {
            n = parse_data(p);
        } else if (p->at->type == TMPL_T_VARIABLE_BEGIN) {
            n = parse_output(p);
        } else {
            p->at++;
            if (at_block_border(p))
                break;
            n = parse_statement(p);
            if (n && !expect_block_end(p))
                n = NULL;
        }
        if (!tmpl_node_list_add(p, &pieces, n))
            return NULL;
    }
    if (body) {
        body->kids = pieces.items;
        body->n_kids = pieces.n;
    }
    return body;
}

enum err_code tmpl_parse(struct tmpl_node **out, struct arena *a, const char *source,
                         size_t n_bytes, struct err *e)
{
    struct tmpl_tokens tokens = { 0 };
    enum err_code rc = tmpl_lex(&tokens, a, source, n_bytes, e);
    if (rc != ERR_OK)
        return rc;
    struct tmpl_parser p = { .arena = a, .err = e, .at = tokens.items };
    struct tmpl_node *body = parse_body(&p);
    if (body && p.at->type != TMPL_T_END)
        tmpl_parse_fail(&p, "this ends a block that was not opened");
    if (p.rc != ERR_OK)
        return p.rc;
    *out = body;
    return ERR_OK;
}
