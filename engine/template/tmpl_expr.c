/* SPDX-License-Identifier: MIT */
/* Expressions, one function per level of precedence, loosest first:
 *
 *   a if b else c    or    and    not    == != < <= > >= in, not in    + -    ~    * / // %    **
 *   unary - +    then what binds to a value: .name [item] (call) | filter, is test
 *
 * A sign binds tighter than a filter: -1|abs is (-1)|abs. */
#include "engine/template/tmpl_parse.h"

#include <string.h>

static struct tmpl_node *binary(struct tmpl_parser *p, enum tmpl_node_kind kind, enum tmpl_op op,
                                struct tmpl_node *a, struct tmpl_node *b)
{
    struct tmpl_node *n = a && b ? tmpl_node_create(p, kind) : NULL;
    if (n) {
        n->op = op;
        n->a = a;
        n->b = b;
        n->line = a->line;
    }
    return n;
}

static bool take_items(struct tmpl_parser *p, struct tmpl_node *n, const char *close)
{
    struct tmpl_node_list items = { 0 };
    while (!tmpl_at_operator(p, close)) {
        if (items.n && !tmpl_expect_operator(p, ","))
            return false;
        if (tmpl_at_operator(p, close))
            break;
        if (!tmpl_node_list_add(p, &items, tmpl_parse_expression(p)))
            return false;
        if (n->kind == TMPL_N_DICT && (!tmpl_expect_operator(p, ":") ||
                                       !tmpl_node_list_add(p, &items, tmpl_parse_expression(p))))
            return false;
    }
    n->kids = items.items;
    n->n_kids = items.n;
    return tmpl_expect_operator(p, close);
}

static struct tmpl_node *parse_collection(struct tmpl_parser *p, enum tmpl_node_kind kind,
                                          const char *close)
{
    struct tmpl_node *n = tmpl_node_create(p, kind);
    p->at++;
    return n && take_items(p, n, close) ? n : NULL;
}

static struct tmpl_node *parse_string(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_CONST);
    const struct tmpl_token *first = p->at;
    size_t total = 0;
    for (; p->at->type == TMPL_T_STRING; p->at++)
        total += p->at->n_bytes;
    char *bytes = arena_alloc(p->arena, total + 1, 1);
    struct tmpl_text *text = arena_alloc(p->arena, 1, sizeof *text);
    if (!n || !bytes || !text) {
        tmpl_parse_fail(p, "no memory");
        return NULL;
    }
    *text = (struct tmpl_text){ .bytes = bytes, .n_bytes = total };
    for (const struct tmpl_token *t = first; t < p->at; t++) {
        memcpy(bytes, t->text, t->n_bytes);
        bytes += t->n_bytes;
    }
    n->value = tmpl_text_value(text);
    return n;
}

static struct tmpl_node *parse_name(struct tmpl_parser *p)
{
    static const struct {
        const char *name;
        uint8_t type;
        bool truth;
    } words[] = {
        { "true", TMPL_BOOL, true },   { "True", TMPL_BOOL, true },  { "false", TMPL_BOOL, false },
        { "False", TMPL_BOOL, false }, { "none", TMPL_NONE, false }, { "None", TMPL_NONE, false }
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (tmpl_skip_name(p, words[i].name)) {
            struct tmpl_node *n = tmpl_node_create(p, TMPL_N_CONST);
            if (n)
                n->value = words[i].type == TMPL_NONE ? tmpl_none() : tmpl_bool(words[i].truth);
            return n;
        }
    }
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_NAME);
    const struct tmpl_text *name = tmpl_expect_name(p);
    if (!n || !name)
        return NULL;
    n->name = name;
    if (tmpl_text_is(name, "varargs") || tmpl_text_is(name, "kwargs") || tmpl_text_is(name, "caller"))
        p->uses_extra = true;
    return n;
}

static struct tmpl_node *parse_parenthesis(struct tmpl_parser *p)
{
    p->at++;
    struct tmpl_node *n;
    if (tmpl_at_operator(p, ")"))
        n = tmpl_node_create(p, TMPL_N_TUPLE);
    else
        n = tmpl_parse_tuple(p, true);
    return n && tmpl_expect_operator(p, ")") ? n : NULL;
}

struct tmpl_node *tmpl_parse_primary(struct tmpl_parser *p)
{
    const struct tmpl_token *t = p->at;
    if (t->type == TMPL_T_STRING)
        return parse_string(p);
    if (t->type == TMPL_T_INT || t->type == TMPL_T_FLOAT) {
        struct tmpl_node *n = tmpl_node_create(p, TMPL_N_CONST);
        p->at++;
        if (n)
            n->value = t->type == TMPL_T_INT ? tmpl_int(t->integer) : tmpl_float(t->number);
        return n;
    }
    if (t->type == TMPL_T_NAME)
        return parse_name(p);
    if (tmpl_at_operator(p, "("))
        return parse_parenthesis(p);
    if (tmpl_at_operator(p, "["))
        return parse_collection(p, TMPL_N_LIST, "]");
    if (tmpl_at_operator(p, "{"))
        return parse_collection(p, TMPL_N_DICT, "}");
    tmpl_parse_fail(p, "an expression was expected");
    return NULL;
}

/* One argument: value, name=value, *list or **dict. */
static bool parse_argument(struct tmpl_parser *p, struct tmpl_node_list *items,
                           struct tmpl_node *call, size_t *cap_keywords)
{
    enum tmpl_op spread = tmpl_skip_operator(p, "*") ? TMPL_OP_MUL
                          : tmpl_skip_operator(p, "**") ? TMPL_OP_POW : TMPL_OP_NONE;
    if (spread != TMPL_OP_NONE) {
        struct tmpl_node *n = tmpl_node_create(p, TMPL_N_SPREAD);
        if (!n || !(n->a = tmpl_parse_expression(p)))
            return false;
        n->op = spread;
        return tmpl_node_list_add(p, items, n);
    }
    bool is_keyword = p->at->type == TMPL_T_NAME && p->at[1].type == TMPL_T_OPERATOR &&
                      p->at[1].n_bytes == 1 && p->at[1].text[0] == '=';
    if (!is_keyword) {
        if (call->n_keywords)
            return tmpl_parse_fail(p, "an argument without a name follows one with a name");
        return tmpl_node_list_add(p, items, tmpl_parse_expression(p));
    }
    if (call->n_keywords == *cap_keywords) {
        size_t cap = *cap_keywords ? *cap_keywords * 2 : 4;
        struct tmpl_keyword_node *k = arena_alloc(p->arena, cap, sizeof *k);
        if (!k)
            return tmpl_parse_fail(p, "no memory");
        if (call->n_keywords)
            memcpy(k, call->keywords, call->n_keywords * sizeof *k);
        call->keywords = k;
        *cap_keywords = cap;
    }
    struct tmpl_keyword_node *k = &call->keywords[call->n_keywords];
    k->name = tmpl_expect_name(p);
    p->at++;
    k->value = tmpl_parse_expression(p);
    call->n_keywords++;
    return k->name && k->value;
}

/* "(" arguments ")" into the fields of call. */
static bool parse_arguments(struct tmpl_parser *p, struct tmpl_node *call)
{
    struct tmpl_node_list items = { 0 };
    size_t cap_keywords = 0;
    bool first = true;
    p->at++;
    while (!tmpl_at_operator(p, ")")) {
        if (!first && !tmpl_expect_operator(p, ","))
            return false;
        if (tmpl_at_operator(p, ")"))
            break;
        if (!parse_argument(p, &items, call, &cap_keywords))
            return false;
        first = false;
    }
    call->kids = items.items;
    call->n_kids = items.n;
    return tmpl_expect_operator(p, ")");
}

static struct tmpl_node *parse_call(struct tmpl_parser *p, struct tmpl_node *callee)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_CALL);
    if (!n || !parse_arguments(p, n))
        return NULL;
    n->a = callee;
    return n;
}

/* [a], [a:b], [a:b:c] with any part left out. */
static struct tmpl_node *parse_brackets(struct tmpl_parser *p, struct tmpl_node *object)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_ITEM);
    struct tmpl_node *part[3] = { NULL, NULL, NULL };
    int n_colons = 0;
    p->at++;
    while (n && !tmpl_at_operator(p, "]")) {
        if (tmpl_skip_operator(p, ":")) {
            if (++n_colons > 2) {
                tmpl_parse_fail(p, "a slice has at most two colons");
                return NULL;
            }
            continue;
        }
        if (part[n_colons]) {
            tmpl_parse_fail(p, "']' was expected");
            return NULL;
        }
        part[n_colons] = tmpl_parse_expression(p);
        if (!part[n_colons])
            return NULL;
    }
    if (!n || !tmpl_expect_operator(p, "]"))
        return NULL;
    n->a = object;
    n->b = part[0];
    if (n_colons == 0) {
        if (!part[0]) {
            tmpl_parse_fail(p, "nothing between '[' and ']'");
            return NULL;
        }
        return n;
    }
    n->kind = TMPL_N_SLICE;
    n->kids = arena_alloc(p->arena, 3, sizeof *n->kids);
    if (!n->kids) {
        tmpl_parse_fail(p, "no memory");
        return NULL;
    }
    memcpy(n->kids, part, sizeof part);
    n->n_kids = 3;
    return n;
}

static struct tmpl_node *parse_dot(struct tmpl_parser *p, struct tmpl_node *object)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_ATTR);
    p->at++;
    if (!n)
        return NULL;
    n->a = object;
    if (p->at->type == TMPL_T_INT) {
        n->kind = TMPL_N_ITEM;
        n->b = tmpl_parse_primary(p);
        return n->b ? n : NULL;
    }
    n->name = tmpl_expect_name(p);
    return n->name ? n : NULL;
}

struct tmpl_node *tmpl_parse_postfix(struct tmpl_parser *p, struct tmpl_node *node)
{
    while (node) {
        if (tmpl_at_operator(p, "."))
            node = parse_dot(p, node);
        else if (tmpl_at_operator(p, "["))
            node = parse_brackets(p, node);
        else if (tmpl_at_operator(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

struct tmpl_node *tmpl_parse_filter_inline(struct tmpl_parser *p)
{
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_FILTER);
    if (!n || !(n->name = tmpl_expect_name(p)))
        return NULL;
    if (tmpl_at_operator(p, "(") && !parse_arguments(p, n))
        return NULL;
    return n;
}

struct tmpl_node *tmpl_parse_filters(struct tmpl_parser *p, struct tmpl_node *node)
{
    while (tmpl_skip_operator(p, "|")) {
        struct tmpl_node *n = tmpl_parse_filter_inline(p);
        if (!n)
            return NULL;
        n->a = node;
        node = n;
    }
    return node;
}

/* A test may take one argument without brackets: `x is divisibleby 3`. */
static bool test_argument_follows(const struct tmpl_parser *p)
{
    const struct tmpl_token *t = p->at;
    if (t->type == TMPL_T_NAME)
        return !tmpl_at_name(p, "else") && !tmpl_at_name(p, "or") && !tmpl_at_name(p, "and");
    return t->type == TMPL_T_STRING || t->type == TMPL_T_INT || t->type == TMPL_T_FLOAT ||
           tmpl_at_operator(p, "[") || tmpl_at_operator(p, "{");
}

static struct tmpl_node *parse_test(struct tmpl_parser *p, struct tmpl_node *node)
{
    p->at++;
    bool negated = tmpl_skip_name(p, "not");
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_TEST);
    if (!n || !(n->name = tmpl_expect_name(p)))
        return NULL;
    n->a = node;
    if (tmpl_at_operator(p, "(")) {
        if (!parse_arguments(p, n))
            return NULL;
    } else if (test_argument_follows(p)) {
        if (tmpl_at_name(p, "is")) {
            tmpl_parse_fail(p, "tests cannot be chained with 'is'");
            return NULL;
        }
        struct tmpl_node_list items = { 0 };
        if (!tmpl_node_list_add(p, &items, tmpl_parse_postfix(p, tmpl_parse_primary(p))))
            return NULL;
        n->kids = items.items;
        n->n_kids = items.n;
    }
    if (!negated)
        return n;
    struct tmpl_node *inverse = tmpl_node_create(p, TMPL_N_NOT);
    if (inverse)
        inverse->a = n;
    return inverse;
}

static struct tmpl_node *parse_unary(struct tmpl_parser *p, bool with_filter)
{
    if (!tmpl_enter(p))
        return NULL;
    struct tmpl_node *n;
    if (tmpl_at_operator(p, "-") || tmpl_at_operator(p, "+")) {
        n = tmpl_node_create(p, tmpl_at_operator(p, "-") ? TMPL_N_NEG : TMPL_N_POS);
        p->at++;
        if (n && !(n->a = parse_unary(p, false)))
            n = NULL;
    } else {
        n = tmpl_parse_primary(p);
    }
    n = tmpl_parse_postfix(p, n);
    while (n && with_filter) {
        if (tmpl_at_operator(p, "|"))
            n = tmpl_parse_filters(p, n);
        else if (tmpl_at_name(p, "is"))
            n = parse_test(p, n);
        else if (tmpl_at_operator(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    tmpl_leave(p);
    return n;
}

static struct tmpl_node *parse_power(struct tmpl_parser *p)
{
    struct tmpl_node *n = parse_unary(p, true);
    while (n && tmpl_skip_operator(p, "**"))
        n = binary(p, TMPL_N_BINARY, TMPL_OP_POW, n, parse_unary(p, true));
    return n;
}

static struct tmpl_node *parse_product(struct tmpl_parser *p)
{
    struct tmpl_node *n = parse_power(p);
    while (n) {
        enum tmpl_op op = tmpl_skip_operator(p, "*") ? TMPL_OP_MUL
                          : tmpl_skip_operator(p, "/") ? TMPL_OP_DIV
                          : tmpl_skip_operator(p, "//") ? TMPL_OP_FLOORDIV
                          : tmpl_skip_operator(p, "%") ? TMPL_OP_MOD : TMPL_OP_NONE;
        if (op == TMPL_OP_NONE)
            break;
        n = binary(p, TMPL_N_BINARY, op, n, parse_power(p));
    }
    return n;
}

static struct tmpl_node *parse_concat(struct tmpl_parser *p)
{
    struct tmpl_node *first = parse_product(p);
    if (!first || !tmpl_at_operator(p, "~"))
        return first;
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_CONCAT);
    struct tmpl_node_list items = { 0 };
    if (!n || !tmpl_node_list_add(p, &items, first))
        return NULL;
    while (tmpl_skip_operator(p, "~")) {
        if (!tmpl_node_list_add(p, &items, parse_product(p)))
            return NULL;
    }
    n->kids = items.items;
    n->n_kids = items.n;
    return n;
}

static struct tmpl_node *parse_sum(struct tmpl_parser *p)
{
    struct tmpl_node *n = parse_concat(p);
    while (n) {
        enum tmpl_op op = tmpl_skip_operator(p, "+") ? TMPL_OP_ADD
                          : tmpl_skip_operator(p, "-") ? TMPL_OP_SUB : TMPL_OP_NONE;
        if (op == TMPL_OP_NONE)
            break;
        n = binary(p, TMPL_N_BINARY, op, n, parse_concat(p));
    }
    return n;
}

static enum tmpl_op comparison(struct tmpl_parser *p)
{
    static const struct {
        const char *text;
        enum tmpl_op op;
    } table[] = { { "==", TMPL_OP_EQ }, { "!=", TMPL_OP_NE }, { "<", TMPL_OP_LT },
                  { "<=", TMPL_OP_LE }, { ">", TMPL_OP_GT },  { ">=", TMPL_OP_GE } };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (tmpl_skip_operator(p, table[i].text))
            return table[i].op;
    }
    if (tmpl_skip_name(p, "in"))
        return TMPL_OP_IN;
    if (tmpl_at_name(p, "not") && p->at[1].type == TMPL_T_NAME && p->at[1].n_bytes == 2 &&
        memcmp(p->at[1].text, "in", 2) == 0) {
        p->at += 2;
        return TMPL_OP_NOT_IN;
    }
    return TMPL_OP_NONE;
}

static struct tmpl_node *parse_compare(struct tmpl_parser *p)
{
    struct tmpl_node *first = parse_sum(p);
    struct tmpl_node_list links = { 0 };
    enum tmpl_op op;
    if (!first)
        return NULL;
    while ((op = comparison(p)) != TMPL_OP_NONE) {
        struct tmpl_node *link = tmpl_node_create(p, TMPL_N_BINARY);
        if (!link || !(link->b = parse_sum(p)))
            return NULL;
        link->op = op;
        if (!tmpl_node_list_add(p, &links, link))
            return NULL;
    }
    if (links.n == 0)
        return first;
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_COMPARE);
    if (!n)
        return NULL;
    n->a = first;
    n->kids = links.items;
    n->n_kids = links.n;
    return n;
}

static struct tmpl_node *parse_not(struct tmpl_parser *p)
{
    if (!tmpl_at_name(p, "not"))
        return parse_compare(p);
    if (!tmpl_enter(p))
        return NULL;
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_NOT);
    p->at++;
    if (n && !(n->a = parse_not(p)))
        n = NULL;
    tmpl_leave(p);
    return n;
}

static struct tmpl_node *parse_and(struct tmpl_parser *p)
{
    struct tmpl_node *n = parse_not(p);
    while (n && tmpl_skip_name(p, "and"))
        n = binary(p, TMPL_N_AND, TMPL_OP_NONE, n, parse_not(p));
    return n;
}

static struct tmpl_node *parse_or(struct tmpl_parser *p)
{
    struct tmpl_node *n = parse_and(p);
    while (n && tmpl_skip_name(p, "or"))
        n = binary(p, TMPL_N_OR, TMPL_OP_NONE, n, parse_and(p));
    return n;
}

static struct tmpl_node *parse_condition(struct tmpl_parser *p)
{
    struct tmpl_node *n = parse_or(p);
    while (n && tmpl_skip_name(p, "if")) {
        struct tmpl_node *cond = tmpl_node_create(p, TMPL_N_COND);
        if (!cond || !(cond->b = parse_or(p)))
            return NULL;
        cond->a = n;
        if (tmpl_skip_name(p, "else") && !(cond->c = tmpl_parse_expression(p)))
            return NULL;
        n = cond;
    }
    return n;
}

struct tmpl_node *tmpl_parse_expression(struct tmpl_parser *p)
{
    if (!tmpl_enter(p))
        return NULL;
    struct tmpl_node *n = parse_condition(p);
    tmpl_leave(p);
    return n;
}

struct tmpl_node *tmpl_parse_tuple(struct tmpl_parser *p, bool with_condition)
{
    struct tmpl_node *first = with_condition ? tmpl_parse_expression(p) : parse_or(p);
    if (!first || !tmpl_at_operator(p, ","))
        return first;
    struct tmpl_node *n = tmpl_node_create(p, TMPL_N_TUPLE);
    struct tmpl_node_list items = { 0 };
    if (!n || !tmpl_node_list_add(p, &items, first))
        return NULL;
    while (tmpl_skip_operator(p, ",")) {
        if (p->at->type == TMPL_T_BLOCK_END || p->at->type == TMPL_T_VARIABLE_END ||
            tmpl_at_operator(p, ")"))
            break;
        if (!tmpl_node_list_add(p, &items, with_condition ? tmpl_parse_expression(p) : parse_or(p)))
            return NULL;
    }
    n->kids = items.items;
    n->n_kids = items.n;
    return n;
}
