/* SPDX-License-Identifier: MIT */
#include "engine/template/tmpl_value.h"

#include <string.h>

/* ---- the engine's constructors ---- */

static struct template_value *value_create(struct arena *a, struct template_value value)
{
    struct template_value *v = arena_alloc(a, 1, sizeof *v);
    if (v)
        *v = value;
    return v;
}

struct template_value *template_value_none(struct arena *a)
{
    return value_create(a, (struct template_value){ .type = TMPL_NONE, .untrusted = true });
}

struct template_value *template_value_bool(struct arena *a, bool value)
{
    struct template_value v = tmpl_bool(value);
    v.untrusted = true;
    return value_create(a, v);
}

struct template_value *template_value_int(struct arena *a, int64_t value)
{
    struct template_value v = tmpl_int(value);
    v.untrusted = true;
    return value_create(a, v);
}

struct template_value *template_value_float(struct arena *a, double value)
{
    struct template_value v = tmpl_float(value);
    v.untrusted = true;
    return value_create(a, v);
}

struct template_value *template_value_text(struct arena *a, const char *bytes, size_t n_bytes)
{
    const struct tmpl_text *text = tmpl_text_copy(a, bytes, n_bytes, true);
    return text ? value_create(a, tmpl_text_value(text)) : NULL;
}

struct template_value *template_value_array(struct arena *a)
{
    struct tmpl_list *list = tmpl_list_create(a, TMPL_LIST_PLAIN, 0);
    return list ? value_create(a, tmpl_list_value(list)) : NULL;
}

struct template_value *template_value_object(struct arena *a)
{
    struct tmpl_dict *dict = tmpl_dict_create(a, 0);
    return dict ? value_create(a, tmpl_dict_value(dict)) : NULL;
}

struct template_value *template_value_array_add(struct arena *a, struct template_value *array,
                                                struct template_value *item)
{
    if (!array || !item || array->type != TMPL_LIST)
        return NULL;
    return tmpl_list_add(a, array->as.list, *item) ? array : NULL;
}

struct template_value *template_value_object_set(struct arena *a, struct template_value *object,
                                                 const char *key, struct template_value *value)
{
    if (!object || !value || object->type != TMPL_DICT)
        return NULL;
    struct template_value *place = tmpl_dict_find_bytes(object->as.dict, key, strlen(key));
    if (place) {
        *place = *value;
        return object;
    }
    const struct tmpl_text *name = tmpl_text_copy(a, key, strlen(key), true);
    if (!name || !tmpl_dict_add(a, object->as.dict, tmpl_text_value(name), *value))
        return NULL;
    return object;
}

const struct template_value *template_value_object_get(const struct template_value *object,
                                                       const char *key)
{
    if (!object || object->type != TMPL_DICT)
        return NULL;
    return tmpl_dict_find_bytes(object->as.dict, key, strlen(key));
}

/* ---- storage ---- */

const struct tmpl_text *tmpl_text_copy(struct arena *a, const char *bytes, size_t n_bytes,
                                       bool untrusted)
{
    size_t total;
    if (__builtin_add_overflow(n_bytes, sizeof(struct tmpl_text) + 1, &total))
        return NULL;
    struct tmpl_text *text = arena_alloc(a, total, 1);
    if (!text)
        return NULL;
    char *copy = (char *)(text + 1);
    if (n_bytes)
        memcpy(copy, bytes, n_bytes);
    *text = (struct tmpl_text){ .bytes = copy, .n_bytes = n_bytes, .untrusted = untrusted };
    return text;
}

struct tmpl_list *tmpl_list_create(struct arena *a, enum tmpl_list_kind kind, size_t n_expected)
{
    struct tmpl_list *list = arena_alloc(a, 1, sizeof *list);
    if (!list)
        return NULL;
    list->kind = kind;
    if (n_expected) {
        list->items = arena_alloc(a, n_expected, sizeof *list->items);
        if (!list->items)
            return NULL;
        list->cap = n_expected;
    }
    return list;
}

bool tmpl_list_add(struct arena *a, struct tmpl_list *list, struct template_value item)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        struct template_value *items = arena_alloc(a, cap, sizeof *items);
        if (!items)
            return false;
        if (list->n)
            memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = item;
    return true;
}

void tmpl_list_reverse(struct tmpl_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        struct template_value swap = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = swap;
    }
}

struct tmpl_dict *tmpl_dict_create(struct arena *a, size_t n_expected)
{
    struct tmpl_dict *d = arena_alloc(a, 1, sizeof *d);
    if (!d)
        return NULL;
    if (n_expected) {
        d->pairs = arena_alloc(a, n_expected, sizeof *d->pairs);
        if (!d->pairs)
            return NULL;
        d->cap = n_expected;
    }
    return d;
}

bool tmpl_dict_add(struct arena *a, struct tmpl_dict *d, struct template_value key,
                   struct template_value value)
{
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        struct tmpl_pair *pairs = arena_alloc(a, cap, sizeof *pairs);
        if (!pairs)
            return false;
        if (d->n)
            memcpy(pairs, d->pairs, d->n * sizeof *pairs);
        d->pairs = pairs;
        d->cap = cap;
    }
    d->pairs[d->n++] = (struct tmpl_pair){ .key = key, .value = value };
    return true;
}

struct template_value *tmpl_dict_find_bytes(const struct tmpl_dict *d, const char *key,
                                            size_t n_bytes)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct template_value *k = &d->pairs[i].key;
        if (k->type == TMPL_TEXT && k->as.text->n_bytes == n_bytes &&
            (n_bytes == 0 || memcmp(k->as.text->bytes, key, n_bytes) == 0))
            return &d->pairs[i].value;
    }
    return NULL;
}

/* ---- questions ---- */

bool tmpl_text_equal(const struct tmpl_text *x, const struct tmpl_text *y)
{
    return x->n_bytes == y->n_bytes && (x->n_bytes == 0 || memcmp(x->bytes, y->bytes, x->n_bytes) == 0);
}

bool tmpl_text_is(const struct tmpl_text *x, const char *literal)
{
    size_t n = strlen(literal);
    return x->n_bytes == n && memcmp(x->bytes, literal, n) == 0;
}

const char *tmpl_type_name(const struct template_value *v)
{
    static const char *const list_names[] = {
        [TMPL_LIST_PLAIN] = "list", [TMPL_LIST_TUPLE] = "tuple", [TMPL_LIST_RANGE] = "range",
        [TMPL_LIST_VIEW] = "dict_items", [TMPL_LIST_GENERATOR] = "generator"
    };
    static const char *const names[] = {
        [TMPL_ABSENT] = "nothing", [TMPL_UNDEFINED] = "Undefined", [TMPL_NONE] = "NoneType",
        [TMPL_BOOL] = "bool", [TMPL_INT] = "int", [TMPL_FLOAT] = "float", [TMPL_TEXT] = "str",
        [TMPL_DICT] = "dict", [TMPL_NAMESPACE] = "Namespace", [TMPL_LOOP] = "LoopContext",
        [TMPL_MACRO] = "Macro", [TMPL_FUNCTION] = "function", [TMPL_METHOD] = "method",
        [TMPL_JOINER] = "Joiner"
    };
    return v->type == TMPL_LIST ? list_names[v->as.list->kind] : names[v->type];
}

bool tmpl_truth(const struct template_value *v)
{
    switch ((enum tmpl_type)v->type) {
    case TMPL_ABSENT:
    case TMPL_UNDEFINED:
    case TMPL_NONE:
        return false;
    case TMPL_BOOL:
        return v->as.boolean;
    case TMPL_INT:
        return v->as.integer != 0;
    case TMPL_FLOAT:
        return v->as.number != 0;
    case TMPL_TEXT:
        return v->as.text->n_bytes != 0;
    case TMPL_LIST:
        return v->as.list->n != 0 || v->as.list->kind == TMPL_LIST_GENERATOR;
    case TMPL_DICT:
        return v->as.dict->n != 0;
    case TMPL_NAMESPACE:
    case TMPL_LOOP:
    case TMPL_MACRO:
    case TMPL_FUNCTION:
    case TMPL_METHOD:
    case TMPL_JOINER:
        break;
    }
    return true;
}

bool tmpl_deep_copy(struct arena *a, const struct template_value *from, int depth,
                    struct template_value *to)
{
    *to = *from;
    if (from->type == TMPL_LIST) {
        const struct tmpl_list *list = from->as.list;
        struct tmpl_list *copy = tmpl_list_create(a, list->kind, list->n);
        if (!copy || depth == 0)
            return false;
        for (size_t i = 0; i < list->n; i++) {
            if (!tmpl_deep_copy(a, &list->items[i], depth - 1, &copy->items[i]))
                return false;
        }
        copy->n = list->n;
        to->as.list = copy;
    } else if (from->type == TMPL_DICT) {
        const struct tmpl_dict *dict = from->as.dict;
        struct tmpl_dict *copy = tmpl_dict_create(a, dict->n);
        if (!copy || depth == 0)
            return false;
        for (size_t i = 0; i < dict->n; i++) {
            copy->pairs[i].key = dict->pairs[i].key;
            if (!tmpl_deep_copy(a, &dict->pairs[i].value, depth - 1, &copy->pairs[i].value))
                return false;
        }
        copy->n = dict->n;
        to->as.dict = copy;
    }
    return true;
}
