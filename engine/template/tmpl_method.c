/* SPDX-License-Identifier: MIT */
/* Methods of dicts, lists and loops. Those that change a list or dict are here because templates
 * call them; inputs are copied before a rendering, so nothing outside is touched. */
#include "engine/template/tmpl_run.h"

#include <string.h>

/* ---- dicts ---- */

/* range[0] of the view says which of the three it is. */
static bool dict_view(struct tmpl_run *r, const struct tmpl_call *c, int which,
                      struct template_value *out)
{
    const struct tmpl_dict *d = c->self.as.dict;
    if (!tmpl_charge(r, d->n * 16) || !tmpl_make_list(r, TMPL_LIST_VIEW, d->n, out))
        return false;
    out->as.list->range[0] = which;
    for (size_t i = 0; i < d->n; i++) {
        struct template_value item = which == 1 ? d->pairs[i].key : d->pairs[i].value;
        if (which == 0 && (!tmpl_make_list(r, TMPL_LIST_TUPLE, 2, &item) ||
                           !tmpl_push(r, &item, d->pairs[i].key) ||
                           !tmpl_push(r, &item, d->pairs[i].value)))
            return false;
        if (!tmpl_push(r, out, item))
            return false;
    }
    return true;
}

static bool method_items(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return dict_view(r, c, 0, out);
}

static bool method_keys(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return dict_view(r, c, 1, out);
}

static bool method_values(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return dict_view(r, c, 2, out);
}

static bool method_get(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct template_value *place;
    if (!tmpl_dict_find(r, c->self.as.dict, &c->arg[0], &place))
        return false;
    *out = place ? *place : c->arg[1].type != TMPL_ABSENT ? c->arg[1] : tmpl_none();
    return true;
}

static bool copy_into(struct tmpl_run *r, const struct tmpl_dict *from, struct tmpl_dict *to)
{
    for (size_t i = 0; i < from->n; i++) {
        if (!tmpl_dict_put(r, to, &from->pairs[i].key, &from->pairs[i].value))
            return false;
    }
    return true;
}

static bool method_copy(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_dict *d = tmpl_dict_create(&r->arena, c->self.as.dict->n);
    if (!d)
        return tmpl_fail_memory(r, 0);
    *out = tmpl_dict_value(d);
    return copy_into(r, c->self.as.dict, d);
}

static bool method_update(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_args *args = c->args;
    for (size_t i = 0; i < args->n_items; i++) {
        if (args->items[i].type != TMPL_DICT)
            return tmpl_fail(r, "update needs a dict, not '%s'", tmpl_type_name(&args->items[i]));
        if (!copy_into(r, args->items[i].as.dict, c->self.as.dict))
            return false;
    }
    for (size_t i = 0; i < args->n_keywords; i++) {
        struct template_value key = tmpl_text_value(args->keywords[i].name);
        if (!tmpl_dict_put(r, c->self.as.dict, &key, &args->keywords[i].value))
            return false;
    }
    *out = tmpl_none();
    return true;
}

static bool method_setdefault(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct template_value *place;
    struct template_value value = c->arg[1].type == TMPL_ABSENT ? tmpl_none() : c->arg[1];
    if (!tmpl_dict_find(r, c->self.as.dict, &c->arg[0], &place))
        return false;
    *out = place ? *place : value;
    return place || tmpl_dict_put(r, c->self.as.dict, &c->arg[0], &value);
}

static bool method_dict_pop(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_dict *d = c->self.as.dict;
    struct template_value *place;
    if (!tmpl_dict_find(r, d, &c->arg[0], &place))
        return false;
    if (!place) {
        if (c->arg[1].type == TMPL_ABSENT)
            return tmpl_fail(r, "pop: there is no such key");
        *out = c->arg[1];
        return true;
    }
    *out = *place;
    size_t i = 0;
    while (&d->pairs[i].value != place)
        i++;
    memmove(&d->pairs[i], &d->pairs[i + 1], (d->n - i - 1) * sizeof *d->pairs);
    d->n--;
    return true;
}

/* ---- lists ---- */

static bool is_plain(struct tmpl_run *r, const struct tmpl_call *c)
{
    return c->self.as.list->kind == TMPL_LIST_PLAIN ||
           tmpl_fail(r, "a '%s' has no method '%s'", tmpl_type_name(&c->self), c->name);
}

static bool method_append(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct template_value self = c->self;
    *out = tmpl_none();
    return is_plain(r, c) && tmpl_push(r, &self, c->arg[0]);
}

static bool method_extend(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct template_value self = c->self;
    struct tmpl_list *items;
    *out = tmpl_none();
    if (!is_plain(r, c) || !tmpl_iterate(r, &c->arg[0], &items))
        return false;
    size_t n = items->n;    /* may be the list itself */
    for (size_t i = 0; i < n; i++) {
        if (!tmpl_charge(r, 0) || !tmpl_push(r, &self, items->items[i]))
            return false;
    }
    return true;
}

/* Where a Python index points in a list of n, clamped to [0, n]. */
static size_t clamp_index(int64_t i, size_t n)
{
    if (i < 0)
        i = i + (int64_t)n < 0 ? 0 : i + (int64_t)n;
    return i > (int64_t)n ? n : (size_t)i;
}

static bool method_insert(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct template_value self = c->self;
    struct tmpl_list *list = self.as.list;
    int64_t index;
    *out = tmpl_none();
    if (!is_plain(r, c) || !tmpl_arg_int(r, c, 0, 0, &index))
        return false;
    size_t at = clamp_index(index, list->n);
    if (!tmpl_charge(r, list->n * 16) || !tmpl_push(r, &self, c->arg[1]))
        return false;
    memmove(&list->items[at + 1], &list->items[at], (list->n - at - 1) * sizeof *list->items);
    list->items[at] = c->arg[1];
    return true;
}

static bool method_list_pop(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *list = c->self.as.list;
    int64_t index;
    if (!is_plain(r, c) || !tmpl_arg_int(r, c, 0, -1, &index))
        return false;
    if (index < 0)
        index += (int64_t)list->n;
    if (index < 0 || index >= (int64_t)list->n)
        return tmpl_fail(r, "pop: there is no such item");
    size_t at = (size_t)index;
    *out = list->items[at];
    memmove(&list->items[at], &list->items[at + 1], (list->n - at - 1) * sizeof *list->items);
    list->n--;
    return tmpl_charge(r, list->n * 16);
}

static bool method_list_reverse(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    *out = tmpl_none();
    if (!is_plain(r, c))
        return false;
    tmpl_list_reverse(c->self.as.list);
    return tmpl_charge(r, c->self.as.list->n * 16);
}

static bool method_list_index(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_list *list = c->self.as.list;
    for (size_t i = 0; i < list->n; i++) {
        bool same;
        if (!tmpl_equal(r, &list->items[i], &c->arg[0], &same))
            return false;
        if (same) {
            *out = tmpl_int((int64_t)i);
            return true;
        }
    }
    return tmpl_fail(r, "index: not found");
}

static bool method_list_count(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_list *list = c->self.as.list;
    int64_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        bool same;
        if (!tmpl_equal(r, &list->items[i], &c->arg[0], &same))
            return false;
        n += same;
    }
    *out = tmpl_int(n);
    return true;
}

/* ---- loops ---- */

static bool method_cycle(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    if (c->args->n_items == 0)
        return tmpl_fail(r, "cycle needs something to choose from");
    *out = c->args->items[c->self.as.loop->index % c->args->n_items];
    return true;
}

static bool method_changed(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_loop *loop = c->self.as.loop;
    struct template_value now;
    bool same = false;
    if (!tmpl_make_list(r, TMPL_LIST_TUPLE, c->args->n_items, &now))
        return false;
    for (size_t i = 0; i < c->args->n_items; i++) {
        if (!tmpl_push(r, &now, c->args->items[i]))
            return false;
    }
    if (loop->changed.type != TMPL_ABSENT && !tmpl_equal(r, &loop->changed, &now, &same))
        return false;
    loop->changed = now;
    *out = tmpl_bool(!same);
    return true;
}

/* ---- tables ---- */

static const struct tmpl_native dict_methods[] = {
    { "copy", "", 0, method_copy },
    { "get", "key,default", 1, method_get },
    { "items", "", 0, method_items },
    { "keys", "", 0, method_keys },
    { "pop", "key,default", 1, method_dict_pop },
    { "setdefault", "key,default", 1, method_setdefault },
    { "update", NULL, 0, method_update },
    { "values", "", 0, method_values },
};

static const struct tmpl_native list_methods[] = {
    { "append", "object", 1, method_append },
    { "count", "value", 1, method_list_count },
    { "extend", "iterable", 1, method_extend },
    { "index", "value", 1, method_list_index },
    { "insert", "index,object", 2, method_insert },
    { "pop", "index", 0, method_list_pop },
    { "reverse", "", 0, method_list_reverse },
};

static const struct tmpl_native loop_methods[] = {
    { "changed", NULL, 0, method_changed },
    { "cycle", NULL, 0, method_cycle },
};

#define FIND(table) tmpl_native_find(table, sizeof table / sizeof *table, name, n_bytes)

const struct tmpl_native *tmpl_method_find(const struct template_value *self, const char *name,
                                           size_t n_bytes)
{
    switch ((enum tmpl_type)self->type) {
    case TMPL_TEXT:
        return tmpl_text_method_find(name, n_bytes);
    case TMPL_DICT:
        return FIND(dict_methods);
    case TMPL_LIST:
        return self->as.list->kind <= TMPL_LIST_TUPLE ? FIND(list_methods) : NULL;
    case TMPL_LOOP:
        return FIND(loop_methods);
    default:
        return NULL;
    }
}
