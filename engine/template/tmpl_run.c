/* SPDX-License-Identifier: MIT */
#include "engine/template/tmpl_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool tmpl_fail(struct tmpl_run *r, const char *format, ...)
{
    char what[400];
    va_list args;
    if (r->err->code != ERR_OK)
        return false;    /* the first reason is the one that counts */
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    err_set(r->err, ERR_FORMAT, "template line %d: %s", (int)r->line, what);
    return false;
}

bool tmpl_fail_memory(struct tmpl_run *r, size_t n_bytes)
{
    enum { CHUNK_BYTES = 64 * 1024 };    /* the arena asks for at least this much */
    if (r->err->code != ERR_OK)
        return false;
    size_t max = r->arena.max_bytes, room = max - r->arena.total_bytes;
    if (max && (room <= CHUNK_BYTES + 1024 || n_bytes > room - 1024))
        return tmpl_fail(r, "needs more than the %zu MiB of memory it may have", max >> 20);
    err_set(r->err, ERR_NOMEM, "template line %d: no memory", (int)r->line);
    return false;
}

bool tmpl_charge(struct tmpl_run *r, size_t n_bytes)
{
    r->steps += 1 + (int64_t)(n_bytes / TMPL_BYTES_PER_STEP);
    if (r->steps > r->limits.steps)
        return tmpl_fail(r, "took more than %lld steps", (long long)r->limits.steps);
    return true;
}

void *tmpl_alloc(struct tmpl_run *r, size_t n, size_t item_bytes)
{
    void *p = arena_alloc(&r->arena, n, item_bytes);
    if (!p)
        tmpl_fail_memory(r, n * item_bytes);
    return p;
}

bool tmpl_make_list(struct tmpl_run *r, enum tmpl_list_kind kind, size_t n_expected,
                    struct template_value *out)
{
    struct tmpl_list *list = tmpl_list_create(&r->arena, kind, n_expected);
    if (!list)
        return tmpl_fail_memory(r, n_expected * sizeof *list->items);
    *out = tmpl_list_value(list);
    return true;
}

bool tmpl_push(struct tmpl_run *r, struct template_value *list, struct template_value item)
{
    return tmpl_list_add(&r->arena, list->as.list, item) ||
           tmpl_fail_memory(r, list->as.list->cap * 2 * sizeof item);
}

bool tmpl_make_text(struct tmpl_run *r, const char *bytes, size_t n_bytes, bool untrusted,
                    struct template_value *out)
{
    const struct tmpl_text *text = tmpl_text_copy(&r->arena, bytes, n_bytes, untrusted);
    if (!text)
        return tmpl_fail_memory(r, n_bytes);
    *out = tmpl_text_value(text);
    return true;
}

bool tmpl_fail_undefined(struct tmpl_run *r, const struct template_value *v)
{
    if (!v->as.text)
        return tmpl_fail(r, "a value is undefined");
    int n = (int)(v->as.text->n_bytes < 80 ? v->as.text->n_bytes : 80);
    if (v->is_attribute)
        return tmpl_fail(r, "there is no attribute or item '%.*s'", n, v->as.text->bytes);
    return tmpl_fail(r, "'%.*s' is undefined", n, v->as.text->bytes);
}

/* Length of the name at s, which ends at a comma or the string's end. */
static size_t param_length(const char *s)
{
    const char *comma = strchr(s, ',');
    return comma ? (size_t)(comma - s) : strlen(s);
}

static bool bind_arguments(struct tmpl_run *r, const struct tmpl_native *native,
                           const struct tmpl_args *args, struct template_value *arg)
{
    const char *name[TMPL_MAX_PARAMS];
    size_t n_params = 0;
    for (const char *s = native->params; *s; s += param_length(s) + (s[param_length(s)] == ','))
        name[n_params++] = s;
    if (args->n_items > n_params)
        return tmpl_fail(r, "%s takes at most %zu arguments, %zu given", native->name, n_params,
                         args->n_items);
    for (size_t i = 0; i < args->n_items; i++)
        arg[i] = args->items[i];
    for (size_t k = 0; k < args->n_keywords; k++) {
        const struct tmpl_text *keyword = args->keywords[k].name;
        size_t i = 0;
        while (i < n_params && (param_length(name[i]) != keyword->n_bytes ||
                                memcmp(name[i], keyword->bytes, keyword->n_bytes) != 0))
            i++;
        if (i == n_params)
            return tmpl_fail(r, "%s has no parameter '%.*s'", native->name,
                             (int)(keyword->n_bytes < 80 ? keyword->n_bytes : 80), keyword->bytes);
        if (arg[i].type != TMPL_ABSENT)
            return tmpl_fail(r, "%s got the parameter '%.*s' twice", native->name,
                             (int)keyword->n_bytes, keyword->bytes);
        arg[i] = args->keywords[k].value;
    }
    for (int i = 0; i < native->n_required; i++) {
        if (arg[i].type == TMPL_ABSENT)
            return tmpl_fail(r, "%s needs the argument '%.*s'", native->name,
                             (int)param_length(name[i]), name[i]);
    }
    return true;
}

bool tmpl_arg_int(struct tmpl_run *r, const struct tmpl_call *c, int i, int64_t otherwise,
                  int64_t *out)
{
    const struct template_value *v = &c->arg[i];
    *out = otherwise;
    if (v->type == TMPL_ABSENT || v->type == TMPL_NONE)
        return true;
    if (v->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, v);
    if (!tmpl_is_int(v))
        return tmpl_fail(r, "%s needs an integer, not '%s'", c->name, tmpl_type_name(v));
    *out = tmpl_as_int(v);
    return true;
}

bool tmpl_arg_text(struct tmpl_run *r, const struct tmpl_call *c, int i,
                   const struct tmpl_text *otherwise, const struct tmpl_text **out)
{
    const struct template_value *v = &c->arg[i];
    *out = otherwise;
    if (v->type == TMPL_ABSENT || v->type == TMPL_NONE)
        return true;
    if (v->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, v);
    if (v->type != TMPL_TEXT)
        return tmpl_fail(r, "%s needs a text, not '%s'", c->name, tmpl_type_name(v));
    *out = v->as.text;
    return true;
}

bool tmpl_arg_truth(const struct tmpl_call *c, int i, bool otherwise)
{
    return c->arg[i].type == TMPL_ABSENT ? otherwise : tmpl_truth(&c->arg[i]);
}

bool tmpl_call_native(struct tmpl_run *r, const struct tmpl_native *native,
                      const struct template_value *self, const struct tmpl_args *args,
                      struct template_value *out)
{
    struct tmpl_call c = { .name = native->name, .self = *self, .args = args };
    if (!tmpl_charge(r, self->type == TMPL_TEXT ? self->as.text->n_bytes : 0))
        return false;
    if (native->params && !bind_arguments(r, native, args, c.arg))
        return false;
    return native->run(r, &c, out);
}

const struct tmpl_native *tmpl_native_find(const struct tmpl_native *table, size_t n,
                                           const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(table[i].name) == n_bytes && memcmp(table[i].name, name, n_bytes) == 0)
            return &table[i];
    }
    return NULL;
}
