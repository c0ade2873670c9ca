/* SPDX-License-Identifier: MIT */
/* Statements. A scope is what `for`, macros, blocks that capture their output, `with` and
 * `generation` make; `if` makes none. Assignments land in the innermost scope, names are looked up
 * from there outwards along the text of the template: a macro sees where it was written, as it is
 * when called, not where it is called from. */
#include "engine/template/tmpl_run.h"

#include <string.h>

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_ERROR };

static const struct tmpl_text name_loop = { .bytes = "loop", .n_bytes = 4 };
static const struct tmpl_text name_varargs = { .bytes = "varargs", .n_bytes = 7 };
static const struct tmpl_text name_kwargs = { .bytes = "kwargs", .n_bytes = 6 };
static const struct tmpl_text name_caller = { .bytes = "caller", .n_bytes = 6 };

static enum flow exec(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n);

static struct tmpl_scope *scope_create(struct tmpl_run *r, struct tmpl_scope *parent)
{
    struct tmpl_scope *s = tmpl_alloc(r, 1, sizeof *s);
    if (s)
        s->parent = parent;
    return s;
}

/* ---- assignment ---- */

static bool assign(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *target,
                   const struct template_value *value);

static bool assign_tuple(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *target,
                         const struct template_value *value)
{
    struct tmpl_list *list;
    if (!tmpl_iterate(r, value, &list))
        return false;
    if (list->n != target->n_kids)
        return tmpl_fail(r, "%zu names for %zu values", target->n_kids, list->n);
    for (size_t i = 0; i < list->n; i++) {
        if (!assign(r, s, target->kids[i], &list->items[i]))
            return false;
    }
    return true;
}

static bool assign(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *target,
                   const struct template_value *value)
{
    struct template_value object;
    r->line = target->line;
    if (target->kind == TMPL_N_NAME)
        return tmpl_scope_set(r, s, target->name, *value);
    if (target->kind == TMPL_N_TUPLE)
        return assign_tuple(r, s, target, value);
    if (!tmpl_eval(r, s, target->a, &object))
        return false;
    if (object.type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, &object);
    if (object.type != TMPL_NAMESPACE)
        return tmpl_fail(r, "only a namespace has members to set, not a '%s'",
                         tmpl_type_name(&object));
    struct template_value key = tmpl_text_value(target->name);
    return tmpl_dict_put(r, object.as.dict, &key, value);
}

/* ---- output that is caught ---- */

/* Runs body in its own scope and hands over what it would have written. */
static bool capture(struct tmpl_run *r, struct tmpl_scope *scope, const struct tmpl_node *body,
                    struct template_value *out)
{
    struct tmpl_sb sb, *outer = r->out;
    tmpl_sb_init(&sb, r);
    r->out = &sb;
    enum flow flow = exec(r, scope, body);
    r->out = outer;
    return flow != FLOW_ERROR && tmpl_sb_finish(&sb, out);
}

/* Filters of a block, innermost first; the chain ends in a node without input. */
static bool filter_chain(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                         struct template_value *value)
{
    struct tmpl_args args;
    struct template_value in = *value;
    if (n->a) {
        if (r->frames >= TMPL_FRAMES)
            return tmpl_fail(r, "too many filters");
        r->frames++;
        bool ok = filter_chain(r, s, n->a, &in);
        r->frames--;
        if (!ok)
            return false;
    }
    r->line = n->line;
    return tmpl_eval_args(r, s, n, &args) && tmpl_apply_filter(r, n->name, &in, &args, value);
}

static enum flow exec_captured(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    struct template_value text;
    struct tmpl_scope *inner = scope_create(r, s);
    if (!inner || !capture(r, inner, n->c, &text))
        return FLOW_ERROR;
    if (n->b && !filter_chain(r, s, n->b, &text))
        return FLOW_ERROR;
    if (n->kind == TMPL_N_SET_BLOCK)
        return assign(r, s, n->a, &text) ? FLOW_NEXT : FLOW_ERROR;
    tmpl_print(r->out, &text);
    return FLOW_NEXT;
}

/* ---- macros ---- */

static bool make_macro(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                       struct template_value *out)
{
    struct tmpl_macro *macro = tmpl_alloc(r, 1, sizeof *macro);
    if (!macro)
        return false;
    *macro = (struct tmpl_macro){ .node = n, .scope = s };
    for (struct tmpl_scope *up = s; up && !up->captured; up = up->parent)
        up->captured = true;
    *out = (struct template_value){ .type = TMPL_MACRO, .as.macro = macro };
    return true;
}

/* The keyword for a parameter, or NULL. */
static const struct tmpl_keyword *find_keyword(const struct tmpl_args *args,
                                               const struct tmpl_text *name)
{
    for (size_t i = 0; i < args->n_keywords; i++) {
        if (tmpl_text_equal(args->keywords[i].name, name))
            return &args->keywords[i];
    }
    return NULL;
}

static bool is_parameter(const struct tmpl_node *macro, const struct tmpl_text *name)
{
    for (size_t i = 0; i < macro->n_kids; i++) {
        if (tmpl_text_equal(macro->kids[i]->name, name))
            return true;
    }
    return false;
}

/* What is left over becomes varargs, kwargs and caller, if the body asks for them. */
static bool bind_extra(struct tmpl_run *r, struct tmpl_scope *scope, const struct tmpl_node *n,
                       const struct tmpl_args *args)
{
    struct template_value varargs, caller = tmpl_undefined(&name_caller);
    struct tmpl_dict *kwargs = tmpl_dict_create(&r->arena, 0);
    if (!kwargs)
        return tmpl_fail_memory(r, 0);
    if (args->n_items > n->n_kids && !n->uses_extra)
        return tmpl_fail(r, "macro '%.*s' takes at most %zu arguments, %zu given",
                         (int)n->name->n_bytes, n->name->bytes, n->n_kids, args->n_items);
    for (size_t i = 0; i < args->n_keywords; i++) {
        const struct tmpl_keyword *k = &args->keywords[i];
        if (is_parameter(n, k->name))
            continue;
        if (tmpl_text_equal(k->name, &name_caller)) {
            caller = k->value;
            continue;
        }
        if (!n->uses_extra)
            return tmpl_fail(r, "macro '%.*s' has no parameter '%.*s'", (int)n->name->n_bytes,
                             n->name->bytes, (int)k->name->n_bytes, k->name->bytes);
        struct template_value key = tmpl_text_value(k->name);
        if (!tmpl_dict_put(r, kwargs, &key, &k->value))
            return false;
    }
    if (!n->uses_extra)
        return true;
    if (!tmpl_make_list(r, TMPL_LIST_TUPLE, 0, &varargs))
        return false;
    for (size_t i = n->n_kids; i < args->n_items; i++) {
        if (!tmpl_push(r, &varargs, args->items[i]))
            return false;
    }
    return tmpl_scope_set(r, scope, &name_varargs, varargs) &&
           tmpl_scope_set(r, scope, &name_kwargs, tmpl_dict_value(kwargs)) &&
           tmpl_scope_set(r, scope, &name_caller, caller);
}

static bool bind_parameters(struct tmpl_run *r, struct tmpl_scope *scope, const struct tmpl_node *n,
                            const struct tmpl_args *args)
{
    size_t first_default = n->n_kids - n->n_more;
    for (size_t i = 0; i < n->n_kids; i++) {
        const struct tmpl_text *name = n->kids[i]->name;
        const struct tmpl_keyword *keyword = find_keyword(args, name);
        struct template_value value;
        if (i < args->n_items && keyword)
            return tmpl_fail(r, "macro '%.*s' got '%.*s' twice", (int)n->name->n_bytes,
                             n->name->bytes, (int)name->n_bytes, name->bytes);
        if (i < args->n_items)
            value = args->items[i];
        else if (keyword)
            value = keyword->value;
        else if (i < first_default)
            value = tmpl_undefined(name);
        else if (!tmpl_eval(r, scope, n->more[i - first_default], &value))
            return false;
        if (!tmpl_scope_set(r, scope, name, value))
            return false;
    }
    return bind_extra(r, scope, n, args);
}

bool tmpl_call_macro(struct tmpl_run *r, const struct tmpl_macro *m, const struct tmpl_args *args,
                     struct template_value *out)
{
    struct tmpl_scope *scope = scope_create(r, m->scope);
    return scope && bind_parameters(r, scope, m->node, args) && capture(r, scope, m->node->c, out);
}

/* {% call(args) f(x) %}body{% endcall %}: f gets the body as a macro named caller. */
static enum flow exec_call_block(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    struct template_value callee, caller, text;
    struct tmpl_args args;
    if (!tmpl_eval(r, s, n->a->a, &callee) || !tmpl_eval_args(r, s, n->a, &args) ||
        !make_macro(r, s, n->b, &caller))
        return FLOW_ERROR;
    struct tmpl_keyword *keywords = tmpl_alloc(r, args.n_keywords + 1, sizeof *keywords);
    if (!keywords)
        return FLOW_ERROR;
    if (args.n_keywords)
        memcpy(keywords, args.keywords, args.n_keywords * sizeof *keywords);
    keywords[args.n_keywords++] = (struct tmpl_keyword){ &name_caller, caller };
    args.keywords = keywords;
    if (!tmpl_call_value(r, &callee, &args, &text))
        return FLOW_ERROR;
    tmpl_print(r->out, &text);
    return FLOW_NEXT;
}

/* ---- loops ---- */

/* One round: the target bound in a fresh scope; *skip when the loop's filter says no. */
static bool begin_round(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                        const struct template_value *item, bool with_filter, bool *skip)
{
    struct template_value keep;
    *skip = false;
    if (!assign(r, s, n->a, item))
        return false;
    if (!with_filter)
        return true;
    if (!tmpl_eval(r, s, n->kids[0], &keep))
        return false;
    *skip = !tmpl_truth(&keep);
    return true;
}

/* Items that pass the loop's filter, which sees the target but not `loop`. */
static bool filter_items(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                         struct tmpl_list **items)
{
    struct template_value kept;
    if (!tmpl_make_list(r, TMPL_LIST_PLAIN, 0, &kept))
        return false;
    for (size_t i = 0; i < (*items)->n; i++) {
        bool skip;
        struct tmpl_scope *scope = scope_create(r, s);
        if (!scope || !begin_round(r, scope, n, &(*items)->items[i], true, &skip))
            return false;
        if (!skip && !tmpl_push(r, &kept, (*items)->items[i]))
            return false;
    }
    *items = kept.as.list;
    return true;
}

/* *completed says whether some round went through to its end: only then is `else` left out. */
static enum flow exec_rounds(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                             struct tmpl_loop *loop, bool *completed)
{
    struct tmpl_scope *scope = scope_create(r, s);
    struct template_value loop_value = { .type = TMPL_LOOP, .as.loop = loop };
    for (; loop->index < loop->items->n; loop->index++) {
        bool skip;
        if (scope && scope->captured)
            scope = scope_create(r, s);
        if (!scope || !tmpl_charge(r, 0))
            return FLOW_ERROR;
        scope->n = 0;
        if (!begin_round(r, scope, n, &loop->items->items[loop->index], false, &skip) ||
            !tmpl_scope_set(r, scope, &name_loop, loop_value))
            return FLOW_ERROR;
        enum flow flow = exec(r, scope, n->c);
        if (flow == FLOW_ERROR)
            return flow;
        if (flow == FLOW_BREAK)
            break;
        *completed = *completed || flow == FLOW_NEXT;
    }
    return FLOW_NEXT;
}

static enum flow exec_for(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    struct template_value over;
    struct tmpl_list *items;
    if (!tmpl_eval(r, s, n->b, &over) || !tmpl_iterate(r, &over, &items))
        return FLOW_ERROR;
    if (n->n_kids && !filter_items(r, s, n, &items))
        return FLOW_ERROR;
    struct tmpl_loop *loop = tmpl_alloc(r, 1, sizeof *loop);
    struct tmpl_list *fixed = tmpl_alloc(r, 1, sizeof *fixed);
    bool completed = false;
    if (!loop || !fixed)
        return FLOW_ERROR;
    *fixed = *items;    /* a body that appends to the list does not make the loop longer */
    *loop = (struct tmpl_loop){ .items = fixed };
    if (exec_rounds(r, s, n, loop, &completed) == FLOW_ERROR)
        return FLOW_ERROR;
    if (completed || !n->d)
        return FLOW_NEXT;
    struct tmpl_scope *inner = scope_create(r, s);
    return inner ? exec(r, inner, n->d) : FLOW_ERROR;
}

/* ---- the rest ---- */

static enum flow exec_body(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    for (size_t i = 0; i < n->n_kids; i++) {
        enum flow flow = exec(r, s, n->kids[i]);
        if (flow != FLOW_NEXT)
            return flow;
    }
    return FLOW_NEXT;
}

static enum flow exec_if(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    for (size_t i = 0; i + 1 < n->n_kids; i += 2) {
        struct template_value yes;
        if (!tmpl_eval(r, s, n->kids[i], &yes))
            return FLOW_ERROR;
        if (tmpl_truth(&yes))
            return exec(r, s, n->kids[i + 1]);
    }
    return n->c ? exec(r, s, n->c) : FLOW_NEXT;
}

static enum flow exec_set(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    struct template_value value;
    if (!tmpl_eval(r, s, n->b, &value) || !assign(r, s, n->a, &value))
        return FLOW_ERROR;
    return FLOW_NEXT;
}

/* {% with a = x, b = y %}: all values are evaluated outside. */
static enum flow exec_with(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    struct tmpl_scope *scope = scope_create(r, s);
    for (size_t i = 0; scope && i + 1 < n->n_kids; i += 2) {
        struct template_value value;
        if (!tmpl_eval(r, s, n->kids[i + 1], &value) || !assign(r, scope, n->kids[i], &value))
            return FLOW_ERROR;
    }
    return scope ? exec(r, scope, n->c) : FLOW_ERROR;
}

static enum flow exec_node(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    struct template_value v;
    struct tmpl_scope *scope;
    switch (n->kind) {
    case TMPL_N_BODY:
        return exec_body(r, s, n);
    case TMPL_N_DATA:
        tmpl_sb_add_text(r->out, n->value.as.text);
        return FLOW_NEXT;
    case TMPL_N_OUTPUT:
        if (!tmpl_eval(r, s, n->a, &v))
            return FLOW_ERROR;
        tmpl_print(r->out, &v);
        return FLOW_NEXT;
    case TMPL_N_IF:
        return exec_if(r, s, n);
    case TMPL_N_FOR:
        return exec_for(r, s, n);
    case TMPL_N_SET:
        return exec_set(r, s, n);
    case TMPL_N_SET_BLOCK:
    case TMPL_N_FILTER_BLOCK:
        return exec_captured(r, s, n);
    case TMPL_N_MACRO:
        return make_macro(r, s, n, &v) && tmpl_scope_set(r, s, n->name, v) ? FLOW_NEXT : FLOW_ERROR;
    case TMPL_N_CALL_BLOCK:
        return exec_call_block(r, s, n);
    case TMPL_N_WITH:
        return exec_with(r, s, n);
    case TMPL_N_SCOPE:
        scope = scope_create(r, s);
        return scope ? exec(r, scope, n->c) : FLOW_ERROR;
    case TMPL_N_BREAK:
        return FLOW_BREAK;
    default:
        return FLOW_CONTINUE;
    }
}

/* Bodies do not count as a level of their own. */
static enum flow exec(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n)
{
    bool level = n->kind != TMPL_N_BODY;
    r->line = n->line;
    if (!tmpl_charge(r, 0))
        return FLOW_ERROR;
    if (level && r->depth >= r->limits.depth) {
        tmpl_fail(r, "blocks and macro calls more than %d deep", (int)r->limits.depth);
        return FLOW_ERROR;
    }
    r->depth += level;
    enum flow flow = exec_node(r, s, n);
    r->depth -= level;
    return r->out->failed ? FLOW_ERROR : flow;
}

bool tmpl_exec_template(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *body)
{
    return exec(r, s, body) != FLOW_ERROR;
}
