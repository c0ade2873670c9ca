/* SPDX-License-Identifier: MIT */
/* What stands behind a value: [item], [from:to:step] and .attribute. */
#include "engine/template/tmpl_run.h"

#include "engine/base/utf8.h"

/* ---- subscripts ---- */

static bool item_missing(struct tmpl_run *r, const struct template_value *key,
                         struct template_value *out)
{
    struct template_value name;
    if (!tmpl_to_text(r, key, &name))
        return false;
    *out = tmpl_undefined(name.as.text);
    out->is_attribute = true;
    return true;
}

/* Byte offset of the character with this number; n_bytes when there are fewer. */
static size_t char_offset(const struct tmpl_text *text, int64_t index)
{
    size_t at = 0;
    uint32_t cp;
    while (index-- > 0 && at < text->n_bytes)
        at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
    return at;
}

static bool text_item(struct tmpl_run *r, const struct tmpl_text *text, int64_t index,
                      const struct template_value *key, struct template_value *out)
{
    if (!tmpl_charge(r, text->n_bytes))
        return false;
    if (index < 0)
        index += (int64_t)tmpl_count_chars(text);
    size_t at = index < 0 ? text->n_bytes : char_offset(text, index);
    if (at >= text->n_bytes)
        return item_missing(r, key, out);
    uint32_t cp;
    return tmpl_slice_text(r, text, at,
                           (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp), out);
}

bool tmpl_get_item(struct tmpl_run *r, const struct template_value *x,
                   const struct template_value *key, struct template_value *out)
{
    if (x->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, x);
    if (x->type == TMPL_DICT) {
        struct template_value *place;
        bool hashable = key->type != TMPL_DICT &&
                        (key->type != TMPL_LIST || key->as.list->kind != TMPL_LIST_PLAIN);
        if (hashable && !tmpl_dict_find(r, x->as.dict, key, &place))
            return false;
        if (hashable && place) {
            *out = *place;
            return true;
        }
    } else if (tmpl_is_int(key) && x->type == TMPL_TEXT) {
        return text_item(r, x->as.text, tmpl_as_int(key), key, out);
    } else if (tmpl_is_int(key) && x->type == TMPL_LIST && x->as.list->kind <= TMPL_LIST_RANGE) {
        const struct tmpl_list *list = x->as.list;
        int64_t i = tmpl_as_int(key), n = (int64_t)list->n;
        if (i >= -n && i < n) {
            *out = list->items[i < 0 ? i + n : i];
            return true;
        }
    }
    if (key->type == TMPL_TEXT)
        return tmpl_get_attribute(r, x, key->as.text, out);
    return item_missing(r, key, out);
}

/* One bound of a slice: default when it is missing or none, else clamped into [low, high]. */
static bool slice_bound(struct tmpl_run *r, const struct template_value *bound, int64_t n,
                        int64_t low, int64_t high, int64_t absent, int64_t *out)
{
    if (bound->type == TMPL_ABSENT || bound->type == TMPL_NONE) {
        *out = absent;
        return true;
    }
    if (!tmpl_is_int(bound))
        return tmpl_fail(r, "a slice needs integers, not '%s'", tmpl_type_name(bound));
    int64_t v = tmpl_as_int(bound);
    if (v < 0 && __builtin_add_overflow(v, n, &v))
        v = low;
    *out = v < low ? low : v > high ? high : v;
    return true;
}

static bool slice_list(struct tmpl_run *r, const struct tmpl_list *list, int64_t from, int64_t to,
                       int64_t step, struct template_value *out)
{
    enum tmpl_list_kind kind = list->kind == TMPL_LIST_TUPLE ? TMPL_LIST_TUPLE : TMPL_LIST_PLAIN;
    if (!tmpl_make_list(r, kind, 0, out))
        return false;
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        if (!tmpl_push(r, out, list->items[i]))
            return false;
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return tmpl_charge(r, out->as.list->n * 16);
}

static bool slice_text(struct tmpl_run *r, const struct tmpl_text *text, int64_t from, int64_t to,
                       int64_t step, struct template_value *out)
{
    if (step == 1) {
        size_t begin = char_offset(text, from);
        struct tmpl_text rest = { .bytes = text->bytes + begin, .n_bytes = text->n_bytes - begin };
        return tmpl_slice_text(r, text, begin, from < to ? char_offset(&rest, to - from) : 0, out);
    }
    struct tmpl_list *chars;
    struct tmpl_sb sb;
    if (!tmpl_text_chars(r, text, &chars))
        return false;
    tmpl_sb_init(&sb, r);
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        tmpl_sb_add_text(&sb, chars->items[i].as.text);
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return tmpl_sb_finish(&sb, out);
}

bool tmpl_get_slice(struct tmpl_run *r, const struct template_value *x,
                    const struct template_value bounds[3], struct template_value *out)
{
    int64_t n, from, to, step = 1;
    bool sliceable = x->type == TMPL_TEXT ||
                     (x->type == TMPL_LIST && x->as.list->kind <= TMPL_LIST_RANGE);
    if (x->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, x);
    if (!sliceable)
        return tmpl_fail(r, "a '%s' cannot be sliced", tmpl_type_name(x));
    if (!tmpl_len(r, x, &n) ||
        !slice_bound(r, &bounds[2], 0, INT64_MIN, INT64_MAX, 1, &step))
        return false;
    if (step == 0)
        return tmpl_fail(r, "a slice cannot have step 0");
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    if (!slice_bound(r, &bounds[0], n, low, high, step > 0 ? low : high, &from) ||
        !slice_bound(r, &bounds[1], n, low, high, step > 0 ? high : low, &to))
        return false;
    if (x->type == TMPL_TEXT)
        return tmpl_charge(r, x->as.text->n_bytes) && slice_text(r, x->as.text, from, to, step, out);
    return slice_list(r, x->as.list, from, to, step, out);
}

/* ---- attributes ---- */

static bool loop_item(const struct tmpl_loop *loop, size_t index, struct template_value *out)
{
    static const struct tmpl_text name = { .bytes = "loop item", .n_bytes = 9 };
    if (index < loop->items->n)
        *out = loop->items->items[index];
    else
        *out = tmpl_undefined(&name);
    return true;
}

static bool loop_attribute(const struct tmpl_loop *loop, const struct tmpl_text *name,
                           struct template_value *out)
{
    int64_t i = (int64_t)loop->index, n = (int64_t)loop->items->n;
    if (tmpl_text_is(name, "previtem"))
        return loop_item(loop, loop->index - 1, out);
    if (tmpl_text_is(name, "nextitem"))
        return loop_item(loop, loop->index + 1, out);
    if (tmpl_text_is(name, "first") || tmpl_text_is(name, "last")) {
        *out = tmpl_bool(name->bytes[0] == 'f' ? i == 0 : i + 1 == n);
        return true;
    }
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = { { "index", i + 1 },       { "index0", i },   { "revindex", n - i },
                    { "revindex0", n - i - 1 }, { "length", n }, { "depth", 1 },
                    { "depth0", 0 } };
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        if (tmpl_text_is(name, numbers[k].name)) {
            *out = tmpl_int(numbers[k].value);
            return true;
        }
    }
    return false;
}

bool tmpl_get_attribute(struct tmpl_run *r, const struct template_value *x,
                        const struct tmpl_text *name, struct template_value *out)
{
    if (!tmpl_charge(r, 0))
        return false;
    if (x->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, x);
    if (x->type == TMPL_LOOP && loop_attribute(x->as.loop, name, out))
        return true;
    if (x->type == TMPL_NAMESPACE) {
        struct template_value *place = tmpl_dict_find_bytes(x->as.dict, name->bytes, name->n_bytes);
        if (place) {
            *out = *place;
            return true;
        }
    }
    /* A method hides a key of the same name, as d.items does in Python. */
    const struct tmpl_native *native = tmpl_method_find(x, name->bytes, name->n_bytes);
    if (native) {
        struct tmpl_method *method = tmpl_alloc(r, 1, sizeof *method);
        if (!method)
            return false;
        *method = (struct tmpl_method){ .self = *x, .native = native };
        *out = (struct template_value){ .type = TMPL_METHOD, .as.method = method };
        return true;
    }
    if (x->type == TMPL_DICT) {
        struct template_value *place = tmpl_dict_find_bytes(x->as.dict, name->bytes, name->n_bytes);
        if (place) {
            *out = *place;
            return true;
        }
    }
    *out = tmpl_undefined(name);
    out->is_attribute = true;
    return true;
}
