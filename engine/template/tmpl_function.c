/* SPDX-License-Identifier: MIT */
/* Functions a template finds without defining them. */
#include "engine/template/tmpl_run.h"

#include <string.h>

static bool function_range(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    int64_t bound[3] = { 0, 0, 1 };
    for (int i = 0; i < 3; i++) {
        if (c->arg[i].type != TMPL_ABSENT && !tmpl_is_int(&c->arg[i]))
            return tmpl_fail(r, "range needs integers, not '%s'", tmpl_type_name(&c->arg[i]));
    }
    if (c->arg[1].type == TMPL_ABSENT) {
        bound[1] = tmpl_as_int(&c->arg[0]);
    } else {
        bound[0] = tmpl_as_int(&c->arg[0]);
        bound[1] = tmpl_as_int(&c->arg[1]);
        bound[2] = c->arg[2].type == TMPL_ABSENT ? 1 : tmpl_as_int(&c->arg[2]);
    }
    if (bound[2] == 0)
        return tmpl_fail(r, "range cannot have step 0");
    int64_t n = 0, i = bound[0];
    while (bound[2] > 0 ? i < bound[1] : i > bound[1]) {
        if (++n > r->limits.range)
            return tmpl_fail(r, "range of more than %lld items", (long long)r->limits.range);
        if (__builtin_add_overflow(i, bound[2], &i))
            break;
    }
    if (!tmpl_charge(r, (size_t)n * 16) || !tmpl_make_list(r, TMPL_LIST_RANGE, (size_t)n, out))
        return false;
    for (int64_t k = 0; k < n; k++)
        out->as.list->items[k] = tmpl_int(bound[0] + k * bound[2]);
    out->as.list->n = (size_t)n;
    memcpy(out->as.list->range, bound, sizeof bound);
    return true;
}

/* A dict from one dict or list of pairs, then the keywords. */
static bool fill_dict(struct tmpl_run *r, const struct tmpl_call *c, struct tmpl_dict *d)
{
    const struct tmpl_args *args = c->args;
    if (args->n_items > 1)
        return tmpl_fail(r, "%s takes at most one argument without a name", c->name);
    if (args->n_items == 1 && args->items[0].type == TMPL_DICT) {
        const struct tmpl_dict *from = args->items[0].as.dict;
        for (size_t i = 0; i < from->n; i++) {
            if (!tmpl_dict_put(r, d, &from->pairs[i].key, &from->pairs[i].value))
                return false;
        }
    } else if (args->n_items == 1) {
        struct tmpl_list *pairs, *pair;
        if (!tmpl_iterate(r, &args->items[0], &pairs))
            return false;
        for (size_t i = 0; i < pairs->n; i++) {
            if (!tmpl_iterate(r, &pairs->items[i], &pair))
                return false;
            if (pair->n != 2)
                return tmpl_fail(r, "%s needs pairs", c->name);
            if (!tmpl_dict_put(r, d, &pair->items[0], &pair->items[1]))
                return false;
        }
    }
    for (size_t i = 0; i < args->n_keywords; i++) {
        struct template_value key = tmpl_text_value(args->keywords[i].name);
        if (!tmpl_dict_put(r, d, &key, &args->keywords[i].value))
            return false;
    }
    return true;
}

static bool function_dict(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_dict *d = tmpl_dict_create(&r->arena, c->args->n_keywords);
    if (!d)
        return tmpl_fail_memory(r, 0);
    *out = tmpl_dict_value(d);
    return fill_dict(r, c, d);
}

static bool function_namespace(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    if (!function_dict(r, c, out))
        return false;
    out->type = TMPL_NAMESPACE;
    return true;
}

/* The text is the template's own word to the person; it is passed on as the error. */
static bool function_raise(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    if (!tmpl_to_text(r, &c->arg[0], out))
        return false;
    const struct tmpl_text *text = out->as.text;
    return tmpl_fail(r, "the template says: %.*s", (int)(text->n_bytes < 300 ? text->n_bytes : 300),
                     text->bytes);
}

static bool function_strftime_now(struct tmpl_run *r, const struct tmpl_call *c,
                                  struct template_value *out)
{
    const struct tmpl_text *format;
    if (!tmpl_arg_text(r, c, 0, NULL, &format))
        return false;
    if (!format)
        return tmpl_fail(r, "strftime_now needs a format");
    return tmpl_format_time(r, format, out);
}

/* joiner(sep=', ') makes something that gives "" at its first call and sep at every later one. The
 * same function serves that call: it is the one with a joiner as its object. */
static bool function_joiner(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    static const struct tmpl_text comma = { ", ", NULL, 2, false };
    if (c->self.type == TMPL_JOINER) {
        struct tmpl_joiner *joiner = c->self.as.joiner;
        bool first = !joiner->used;
        joiner->used = true;
        if (first)
            return tmpl_make_text(r, "", 0, false, out);
        *out = tmpl_text_value(joiner->separator);
        return true;
    }
    struct tmpl_joiner *joiner = tmpl_alloc(r, 1, sizeof *joiner);
    if (!joiner || !tmpl_arg_text(r, c, 0, &comma, &joiner->separator))
        return false;
    *out = (struct template_value){ .type = TMPL_JOINER, .as.joiner = joiner };
    return true;
}

const struct tmpl_native *tmpl_function_find(const char *name, size_t n_bytes)
{
    static const struct tmpl_native table[] = {
        { "dict", NULL, 0, function_dict },
        { "joiner", "sep", 0, function_joiner },
        { "namespace", NULL, 0, function_namespace },
        { "raise_exception", "message", 1, function_raise },
        { "range", "start,stop,step", 1, function_range },
        { "strftime_now", "format", 1, function_strftime_now },
    };
    return tmpl_native_find(table, sizeof table / sizeof *table, name, n_bytes);
}
