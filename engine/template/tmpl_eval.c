/* SPDX-License-Identifier: MIT */
/* Expressions are evaluated by walking the tree. Each level is one call of tmpl_eval(), which
 * counts itself (frames) so that neither a long chain of operators nor a macro that calls itself
 * can use up the machine's stack; the cases that need more than a few words of stack are functions
 * of their own. */
#include "engine/template/tmpl_run.h"

#include <string.h>

/* ---- names ---- */

static bool same_name(const struct tmpl_text *x, const struct tmpl_text *y)
{
    return x == y || tmpl_text_equal(x, y);
}

bool tmpl_scope_set(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_text *name,
                    struct template_value value)
{
    for (int32_t i = 0; i < s->n; i++) {
        if (same_name(s->vars[i].name, name)) {
            s->vars[i].value = value;
            return true;
        }
    }
    if (s->n == s->cap) {
        int32_t cap = s->cap ? s->cap * 2 : 4;
        struct tmpl_var *vars = tmpl_alloc(r, (size_t)cap, sizeof *vars);
        if (!vars)
            return false;
        if (s->n)
            memcpy(vars, s->vars, (size_t)s->n * sizeof *vars);
        s->vars = vars;
        s->cap = cap;
    }
    s->vars[s->n++] = (struct tmpl_var){ .name = name, .value = value };
    return true;
}

static void look_up(struct tmpl_run *r, const struct tmpl_scope *s, const struct tmpl_text *name,
                    struct template_value *out)
{
    for (; s; s = s->parent) {
        for (int32_t i = 0; i < s->n; i++) {
            if (same_name(s->vars[i].name, name)) {
                *out = s->vars[i].value;
                return;
            }
        }
    }
    const struct template_value *input = tmpl_dict_find_bytes(r->inputs, name->bytes, name->n_bytes);
    const struct tmpl_native *function;
    if (input)
        *out = *input;
    else if ((function = tmpl_function_find(name->bytes, name->n_bytes)))
        *out = (struct template_value){ .type = TMPL_FUNCTION, .as.native = function };
    else
        *out = tmpl_undefined(name);
}

/* ---- calls ---- */

static bool spread_list(struct tmpl_run *r, const struct template_value *v, struct tmpl_args *args,
                        size_t *cap)
{
    struct tmpl_list *list;
    if (!tmpl_iterate(r, v, &list))
        return false;
    size_t n = args->n_items + list->n;
    struct template_value *items = tmpl_alloc(r, n + 1 + *cap, sizeof *items);
    if (!items)
        return false;
    if (args->n_items)
        memcpy(items, args->items, args->n_items * sizeof *items);
    if (list->n)
        memcpy(items + args->n_items, list->items, list->n * sizeof *items);
    *cap += n + 1;
    args->items = items;
    args->n_items = n;
    return true;
}

static bool spread_dict(struct tmpl_run *r, const struct template_value *v, struct tmpl_args *args)
{
    if (v->type != TMPL_DICT)
        return tmpl_fail(r, "** needs a dict, not '%s'", tmpl_type_name(v));
    const struct tmpl_dict *d = v->as.dict;
    struct tmpl_keyword *k = tmpl_alloc(r, args->n_keywords + d->n + 1, sizeof *k);
    if (!k)
        return false;
    if (args->n_keywords)
        memcpy(k, args->keywords, args->n_keywords * sizeof *k);
    args->keywords = k;
    for (size_t i = 0; i < d->n; i++) {
        if (d->pairs[i].key.type != TMPL_TEXT)
            return tmpl_fail(r, "** needs keys that are texts");
        k[args->n_keywords++] = (struct tmpl_keyword){ d->pairs[i].key.as.text, d->pairs[i].value };
    }
    return true;
}

/* Evaluates in the order written. Keywords come before **dict in the node, so they are first here
 * too, which only matters for what a template could print from inside an argument. */
bool tmpl_eval_args(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                    struct tmpl_args *out)
{
    size_t cap = n->n_kids;
    memset(out, 0, sizeof *out);
    if (n->n_kids && !(out->items = tmpl_alloc(r, cap, sizeof *out->items)))
        return false;
    if (n->n_keywords && !(out->keywords = tmpl_alloc(r, n->n_keywords, sizeof *out->keywords)))
        return false;
    for (size_t i = 0; i < n->n_keywords; i++) {
        out->keywords[i].name = n->keywords[i].name;
        if (!tmpl_eval(r, s, n->keywords[i].value, &out->keywords[i].value))
            return false;
    }
    out->n_keywords = n->n_keywords;
    for (size_t i = 0; i < n->n_kids; i++) {
        const struct tmpl_node *kid = n->kids[i];
        struct template_value v;
        if (!tmpl_eval(r, s, kid->kind == TMPL_N_SPREAD ? kid->a : kid, &v))
            return false;
        if (kid->kind != TMPL_N_SPREAD)
            out->items[out->n_items++] = v;
        else if (kid->op == TMPL_OP_POW ? !spread_dict(r, &v, out) : !spread_list(r, &v, out, &cap))
            return false;
    }
    return true;
}

bool tmpl_call_value(struct tmpl_run *r, const struct template_value *callee,
                     const struct tmpl_args *args, struct template_value *out)
{
    static const struct template_value nothing = { .type = TMPL_ABSENT };
    switch ((enum tmpl_type)callee->type) {
    case TMPL_MACRO:
        return tmpl_call_macro(r, callee->as.macro, args, out);
    case TMPL_FUNCTION:
        return tmpl_call_native(r, callee->as.native, &nothing, args, out);
    case TMPL_METHOD:
        return tmpl_call_native(r, callee->as.method->native, &callee->as.method->self, args, out);
    case TMPL_JOINER: {
        const struct tmpl_native *joiner = tmpl_function_find("joiner", 6);
        return tmpl_call_native(r, joiner, callee, args, out);
    }
    case TMPL_UNDEFINED:
        return tmpl_fail_undefined(r, callee);
    default:
        return tmpl_fail(r, "a '%s' cannot be called", tmpl_type_name(callee));
    }
}

static bool eval_call(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                      struct template_value *out)
{
    struct template_value callee;
    struct tmpl_args args;
    if (!tmpl_eval(r, s, n->a, &callee) || !tmpl_eval_args(r, s, n, &args))
        return false;
    r->line = n->line;
    return tmpl_call_value(r, &callee, &args, out);
}

bool tmpl_apply_filter(struct tmpl_run *r, const struct tmpl_text *name,
                       const struct template_value *in, const struct tmpl_args *args,
                       struct template_value *out)
{
    const struct tmpl_native *filter = tmpl_filter_find(name->bytes, name->n_bytes);
    if (!filter)
        filter = tmpl_seq_filter_find(name->bytes, name->n_bytes);
    if (!filter)
        return tmpl_fail(r, "there is no filter '%.*s'", (int)(name->n_bytes < 80 ? name->n_bytes : 80),
                         name->bytes);
    return tmpl_charge(r, 0) && tmpl_call_native(r, filter, in, args, out);
}

bool tmpl_apply_test(struct tmpl_run *r, const struct tmpl_text *name,
                     const struct template_value *in, const struct tmpl_args *args, bool *out)
{
    const struct tmpl_native *test = tmpl_test_find(name->bytes, name->n_bytes);
    struct template_value result;
    if (!test)
        return tmpl_fail(r, "there is no test '%.*s'", (int)(name->n_bytes < 80 ? name->n_bytes : 80),
                         name->bytes);
    if (!tmpl_charge(r, 0) || !tmpl_call_native(r, test, in, args, &result))
        return false;
    *out = tmpl_truth(&result);
    return true;
}

static bool eval_filter(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                        struct template_value *out)
{
    struct template_value in;
    struct tmpl_args args;
    if (!tmpl_eval(r, s, n->a, &in) || !tmpl_eval_args(r, s, n, &args))
        return false;
    r->line = n->line;
    return tmpl_apply_filter(r, n->name, &in, &args, out);
}

static bool eval_test(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                      struct template_value *out)
{
    struct template_value in;
    struct tmpl_args args;
    bool yes;
    if (!tmpl_eval(r, s, n->a, &in) || !tmpl_eval_args(r, s, n, &args))
        return false;
    r->line = n->line;
    if (!tmpl_apply_test(r, n->name, &in, &args, &yes))
        return false;
    *out = tmpl_bool(yes);
    return true;
}

/* ---- the rest ---- */

static bool eval_list(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                      struct template_value *out)
{
    struct template_value list, item;
    enum tmpl_list_kind kind = n->kind == TMPL_N_TUPLE ? TMPL_LIST_TUPLE : TMPL_LIST_PLAIN;
    if (!tmpl_make_list(r, kind, n->n_kids, &list))
        return false;
    for (size_t i = 0; i < n->n_kids; i++) {
        if (!tmpl_eval(r, s, n->kids[i], &item) || !tmpl_push(r, &list, item))
            return false;
    }
    *out = list;
    return true;
}

static bool eval_dict(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                      struct template_value *out)
{
    struct tmpl_dict *d = tmpl_dict_create(&r->arena, n->n_kids / 2);
    if (!d)
        return tmpl_fail_memory(r, 0);
    for (size_t i = 0; i + 1 < n->n_kids; i += 2) {
        struct template_value key, value;
        if (!tmpl_eval(r, s, n->kids[i], &key) || !tmpl_eval(r, s, n->kids[i + 1], &value) ||
            !tmpl_dict_put(r, d, &key, &value))
            return false;
    }
    *out = tmpl_dict_value(d);
    return true;
}

static bool eval_concat(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                        struct template_value *out)
{
    struct tmpl_sb sb;
    struct template_value part;
    tmpl_sb_init(&sb, r);
    for (size_t i = 0; i < n->n_kids; i++) {
        if (!tmpl_eval(r, s, n->kids[i], &part))
            return false;
        tmpl_print(&sb, &part);
    }
    return tmpl_sb_finish(&sb, out);
}

/* a < b < c: each operand is evaluated once, and none behind the first link that fails. */
static bool eval_compare(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                         struct template_value *out)
{
    struct template_value left, right;
    bool yes = true;
    if (!tmpl_eval(r, s, n->a, &left))
        return false;
    for (size_t i = 0; i < n->n_kids && yes; i++) {
        if (!tmpl_eval(r, s, n->kids[i]->b, &right) ||
            !tmpl_compare(r, n->kids[i]->op, &left, &right, &yes))
            return false;
        left = right;
    }
    *out = tmpl_bool(yes);
    return true;
}

static bool eval_slice(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                       struct template_value *out)
{
    struct template_value object, bounds[3] = { { .type = TMPL_ABSENT } };
    if (!tmpl_eval(r, s, n->a, &object))
        return false;
    for (size_t i = 0; i < 3; i++) {
        if (n->kids[i] && !tmpl_eval(r, s, n->kids[i], &bounds[i]))
            return false;
    }
    r->line = n->line;
    return tmpl_get_slice(r, &object, bounds, out);
}

static bool eval_pair(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                      struct template_value *out)
{
    struct template_value x, y;
    if (!tmpl_eval(r, s, n->a, &x) || !tmpl_eval(r, s, n->b, &y))
        return false;
    r->line = n->line;
    return n->kind == TMPL_N_ITEM ? tmpl_get_item(r, &x, &y, out) : tmpl_binary(r, n->op, &x, &y, out);
}

static bool eval_one(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                     struct template_value *out)
{
    struct template_value x;
    if (!tmpl_eval(r, s, n->a, &x))
        return false;
    r->line = n->line;
    switch (n->kind) {
    case TMPL_N_ATTR:
        return tmpl_get_attribute(r, &x, n->name, out);
    case TMPL_N_NOT:
        *out = tmpl_bool(!tmpl_truth(&x));
        return true;
    case TMPL_N_NEG:
        return tmpl_negate(r, &x, out);
    case TMPL_N_AND:
    case TMPL_N_OR:
        if (tmpl_truth(&x) == (n->kind == TMPL_N_OR)) {
            *out = x;
            return true;
        }
        return tmpl_eval(r, s, n->b, out);
    default:    /* TMPL_N_POS */
        if (x.type == TMPL_UNDEFINED)
            return tmpl_fail_undefined(r, &x);
        if (!tmpl_is_number(&x))
            return tmpl_fail(r, "+ needs a number, not '%s'", tmpl_type_name(&x));
        *out = x.type == TMPL_BOOL ? tmpl_int(x.as.boolean) : x;
        return true;
    }
}

static bool eval_condition(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                           struct template_value *out)
{
    struct template_value yes;
    if (!tmpl_eval(r, s, n->b, &yes))
        return false;
    if (tmpl_truth(&yes))
        return tmpl_eval(r, s, n->a, out);
    if (n->c)
        return tmpl_eval(r, s, n->c, out);
    *out = tmpl_undefined(NULL);
    return true;
}

static bool eval_node(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                      struct template_value *out)
{
    switch (n->kind) {
    case TMPL_N_CONST:
        *out = n->value;
        return true;
    case TMPL_N_NAME:
        look_up(r, s, n->name, out);
        return true;
    case TMPL_N_LIST:
    case TMPL_N_TUPLE:
        return eval_list(r, s, n, out);
    case TMPL_N_DICT:
        return eval_dict(r, s, n, out);
    case TMPL_N_ATTR:
    case TMPL_N_NOT:
    case TMPL_N_NEG:
    case TMPL_N_POS:
    case TMPL_N_AND:
    case TMPL_N_OR:
        return eval_one(r, s, n, out);
    case TMPL_N_ITEM:
    case TMPL_N_BINARY:
        return eval_pair(r, s, n, out);
    case TMPL_N_SLICE:
        return eval_slice(r, s, n, out);
    case TMPL_N_CALL:
        return eval_call(r, s, n, out);
    case TMPL_N_FILTER:
        return eval_filter(r, s, n, out);
    case TMPL_N_TEST:
        return eval_test(r, s, n, out);
    case TMPL_N_CONCAT:
        return eval_concat(r, s, n, out);
    case TMPL_N_COMPARE:
        return eval_compare(r, s, n, out);
    case TMPL_N_COND:
        return eval_condition(r, s, n, out);
    default:
        return tmpl_fail(r, "'*' has no place here");
    }
}

bool tmpl_eval(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
               struct template_value *out)
{
    r->line = n->line;
    if (!tmpl_charge(r, 0))
        return false;
    if (r->frames >= TMPL_FRAMES)
        return tmpl_fail(r, "an expression nested too deeply");
    r->frames++;
    bool ok = eval_node(r, s, n, out);
    r->frames--;
    return ok;
}
