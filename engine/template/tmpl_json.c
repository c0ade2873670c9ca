/* SPDX-License-Identifier: MIT */
/* JSON both ways. Writing gives what json.dumps(ensure_ascii=False) gives, to the byte: prompts a
 * model was trained on depend on ", " and ": ". Reading goes through jansson.
 *
 * The punctuation of a JSON text is marked untrusted; texts inside keep their own marks. */
#include "engine/template/tmpl_run.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

/* ---- writing ---- */

struct dump {
    struct tmpl_sb *sb;
    const struct tmpl_text *indent;    /* NULL: everything on one line */
    const struct tmpl_text *item_separator;
    const struct tmpl_text *key_separator;
    bool ascii;
    bool sort_keys;
};

static bool dump_value(const struct dump *d, const struct template_value *v, int level);

static void dump_escape(struct tmpl_sb *sb, uint32_t cp, bool mark)
{
    static const char plain[] = "\"\"\\\\\nn\rr\tt\ff\bb";
    char text[16];
    for (size_t i = 0; i + 1 < sizeof plain; i += 2) {
        if (cp == (unsigned char)plain[i]) {
            text[0] = '\\';
            text[1] = plain[i + 1];
            tmpl_sb_add(sb, text, 2, mark);
            return;
        }
    }
    if (cp >= 0x10000) {
        cp -= 0x10000;
        snprintf(text, sizeof text, "\\u%04x\\u%04x", (unsigned)(0xD800 + (cp >> 10)),
                 (unsigned)(0xDC00 + (cp & 0x3FF)));
    } else {
        snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
    }
    tmpl_sb_add_literal(sb, text, mark);
}

static void dump_text(const struct dump *d, const struct tmpl_text *text)
{
    bool around = tmpl_tainted(text);
    size_t plain = 0;    /* start of what has not been written yet */
    tmpl_sb_add(d->sb, "\"", 1, around);
    for (size_t at = 0, next; at < text->n_bytes && !d->sb->failed; at = next) {
        uint32_t cp;
        next = at + (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        if (cp >= 0x20 && cp != '"' && cp != '\\' && !(d->ascii && cp >= 0x7F))
            continue;
        tmpl_sb_add_slice(d->sb, text, plain, at - plain);
        dump_escape(d->sb, cp, tmpl_mark_at(text, at));
        plain = next;
    }
    tmpl_sb_add_slice(d->sb, text, plain, text->n_bytes - plain);
    tmpl_sb_add(d->sb, "\"", 1, around);
}

static void dump_line(const struct dump *d, int level)
{
    if (!d->indent)
        return;
    tmpl_sb_add(d->sb, "\n", 1, true);
    for (int i = 0; i < level && !d->sb->failed; i++)
        tmpl_sb_add_slice(d->sb, d->indent, 0, d->indent->n_bytes);
}

static bool dump_scalar(const struct dump *d, const struct template_value *v)
{
    char text[48];
    size_t n;
    switch ((enum tmpl_type)v->type) {
    case TMPL_NONE:
        tmpl_sb_add(d->sb, "null", 4, v->untrusted);
        return true;
    case TMPL_BOOL:
        tmpl_sb_add_literal(d->sb, v->as.boolean ? "true" : "false", v->untrusted);
        return true;
    case TMPL_INT:
        n = (size_t)snprintf(text, sizeof text, "%lld", (long long)v->as.integer);
        tmpl_sb_add(d->sb, text, n, v->untrusted);
        return true;
    case TMPL_FLOAT:
        n = tmpl_format_float(text, v->as.number);
        if (isnan(v->as.number))
            tmpl_sb_add_literal(d->sb, "NaN", v->untrusted);
        else if (isinf(v->as.number))
            tmpl_sb_add_literal(d->sb, v->as.number > 0 ? "Infinity" : "-Infinity", v->untrusted);
        else
            tmpl_sb_add(d->sb, text, n, v->untrusted);
        return true;
    case TMPL_TEXT:
        dump_text(d, v->as.text);
        return true;
    default:
        return tmpl_fail(d->sb->run, "a '%s' cannot be written as JSON", tmpl_type_name(v));
    }
}

static bool dump_key(const struct dump *d, const struct template_value *key)
{
    if (key->type == TMPL_TEXT) {
        dump_text(d, key->as.text);
        return true;
    }
    tmpl_sb_add(d->sb, "\"", 1, true);
    bool ok = dump_scalar(d, key);
    tmpl_sb_add(d->sb, "\"", 1, true);
    return ok;
}

static bool dump_list(const struct dump *d, const struct tmpl_list *list, int level)
{
    tmpl_sb_add(d->sb, "[", 1, true);
    for (size_t i = 0; i < list->n; i++) {
        if (i)
            tmpl_sb_add_text(d->sb, d->item_separator);
        dump_line(d, level + 1);
        if (!dump_value(d, &list->items[i], level + 1))
            return false;
    }
    if (list->n)
        dump_line(d, level);
    tmpl_sb_add(d->sb, "]", 1, true);
    return true;
}

/* Pairs in the order of their keys, by insertion: objects are small. */
static bool sorted_pairs(struct tmpl_run *r, const struct tmpl_dict *d, struct tmpl_pair **out)
{
    struct tmpl_pair *pairs = tmpl_alloc(r, d->n + 1, sizeof *pairs);
    if (!pairs)
        return false;
    for (size_t i = 0; i < d->n; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            int order;
            if (!tmpl_order(r, &pairs[at - 1].key, &d->pairs[i].key, &order))
                return false;
            if (order <= 0)
                break;
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = d->pairs[i];
    }
    *out = pairs;
    return true;
}

static bool dump_dict(const struct dump *d, const struct tmpl_dict *dict, int level)
{
    struct tmpl_pair *pairs = dict->pairs;
    if (d->sort_keys && !sorted_pairs(d->sb->run, dict, &pairs))
        return false;
    tmpl_sb_add(d->sb, "{", 1, true);
    for (size_t i = 0; i < dict->n; i++) {
        if (i)
            tmpl_sb_add_text(d->sb, d->item_separator);
        dump_line(d, level + 1);
        if (!dump_key(d, &pairs[i].key))
            return false;
        tmpl_sb_add_text(d->sb, d->key_separator);
        if (!dump_value(d, &pairs[i].value, level + 1))
            return false;
    }
    if (dict->n)
        dump_line(d, level);
    tmpl_sb_add(d->sb, "}", 1, true);
    return true;
}

static bool dump_value(const struct dump *d, const struct template_value *v, int level)
{
    if (level >= TMPL_VALUE_DEPTH)
        return tmpl_fail(d->sb->run, "containers nested more than %d deep", (int)TMPL_VALUE_DEPTH);
    if (d->sb->failed || !tmpl_charge(d->sb->run, 0))
        return false;
    if (v->type == TMPL_LIST && v->as.list->kind <= TMPL_LIST_TUPLE)
        return dump_list(d, v->as.list, level);
    if (v->type == TMPL_DICT)
        return dump_dict(d, v->as.dict, level);
    return dump_scalar(d, v);
}

/* tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False) */
bool tmpl_filter_tojson(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    static const struct tmpl_text comma_space = { ", ", NULL, 2, true };
    static const struct tmpl_text comma = { ",", NULL, 1, true };
    static const struct tmpl_text colon_space = { ": ", NULL, 2, true };
    const struct template_value *indent = &c->arg[1], *separators = &c->arg[2];
    struct template_value spaces;
    struct tmpl_sb sb;
    struct dump d = { .sb = &sb, .ascii = tmpl_arg_truth(c, 0, false),
                      .sort_keys = tmpl_arg_truth(c, 3, false),
                      .item_separator = &comma_space, .key_separator = &colon_space };
    tmpl_sb_init(&sb, r);
    if (tmpl_is_int(indent)) {
        struct tmpl_sb fill;
        int64_t n = tmpl_as_int(indent);
        tmpl_sb_init(&fill, r);
        tmpl_sb_fill(&fill, ' ', n < 0 ? 0 : n > 1000 ? 1000 : (size_t)n, true);
        if (!tmpl_sb_finish(&fill, &spaces))
            return false;
        d.indent = spaces.as.text;
    } else if (indent->type == TMPL_TEXT) {
        d.indent = indent->as.text;
    }
    if (d.indent)
        d.item_separator = &comma;
    if (separators->type == TMPL_LIST && separators->as.list->n == 2) {
        const struct template_value *pair = separators->as.list->items;
        if (pair[0].type != TMPL_TEXT || pair[1].type != TMPL_TEXT)
            return tmpl_fail(r, "tojson: separators must be two texts");
        d.item_separator = pair[0].as.text;
        d.key_separator = pair[1].as.text;
    }
    return dump_value(&d, &c->self, 0) && tmpl_sb_finish(&sb, out);
}

/* ---- reading ---- */

enum { JSON_DEPTH = 60 };

static bool from_jansson(struct arena *a, const json_t *json, int depth, bool untrusted,
                         struct template_value *out);

static bool text_from(struct arena *a, const char *bytes, size_t n, bool untrusted,
                      struct template_value *out)
{
    const struct tmpl_text *text = tmpl_text_copy(a, bytes, n, untrusted);
    if (text)
        *out = tmpl_text_value(text);
    return text != NULL;
}

static bool list_from(struct arena *a, const json_t *json, int depth, bool untrusted,
                      struct template_value *out)
{
    size_t n = json_array_size(json);
    struct tmpl_list *list = tmpl_list_create(a, TMPL_LIST_PLAIN, n);
    if (!list)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!from_jansson(a, json_array_get(json, i), depth - 1, untrusted, &list->items[i]))
            return false;
    }
    list->n = n;
    *out = tmpl_list_value(list);
    return true;
}

static bool dict_from(struct arena *a, json_t *json, int depth, bool untrusted,
                      struct template_value *out)
{
    struct tmpl_dict *dict = tmpl_dict_create(a, json_object_size(json));
    if (!dict)
        return false;
    for (void *it = json_object_iter(json); it; it = json_object_iter_next(json, it)) {
        struct template_value key, value;
        const char *name = json_object_iter_key(it);
        if (!text_from(a, name, strlen(name), untrusted, &key) ||
            !from_jansson(a, json_object_iter_value(it), depth - 1, untrusted, &value) ||
            !tmpl_dict_add(a, dict, key, value))
            return false;
    }
    *out = tmpl_dict_value(dict);
    return true;
}

/* False when memory ends or the nesting is deeper than depth (then *out is absent). */
static bool from_jansson(struct arena *a, const json_t *json, int depth, bool untrusted,
                         struct template_value *out)
{
    *out = tmpl_none();
    if (depth <= 0) {
        out->type = TMPL_ABSENT;
        return false;
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return dict_from(a, (json_t *)json, depth, untrusted, out);
    case JSON_ARRAY:
        return list_from(a, json, depth, untrusted, out);
    case JSON_STRING:
        return text_from(a, json_string_value(json), json_string_length(json), untrusted, out);
    case JSON_INTEGER:
        *out = tmpl_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = tmpl_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = tmpl_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    out->untrusted = untrusted;
    return true;
}

/* Brackets inside each other, so that a hostile text is refused before anything recurses. */
static bool too_deep(const char *json, size_t n_bytes)
{
    int depth = 0;
    bool in_text = false;
    for (size_t i = 0; i < n_bytes; i++) {
        char c = json[i];
        if (in_text) {
            i += c == '\\';
            in_text = c != '"';
        } else if (c == '"') {
            in_text = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_DEPTH)
                return true;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return false;
}

static enum err_code read_json(struct arena *a, const char *bytes, size_t n_bytes, bool untrusted,
                               struct template_value *out, struct err *e)
{
    json_error_t error;
    if (too_deep(bytes, n_bytes))
        return err_set(e, ERR_FORMAT, "JSON nested more than %d deep", (int)JSON_DEPTH);
    json_t *json = json_loadb(bytes, n_bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!json)
        return err_set(e, ERR_FORMAT, "JSON line %d, column %d: %s", error.line, error.column,
                       error.text);
    bool ok = from_jansson(a, json, JSON_DEPTH + 2, untrusted, out);
    json_decref(json);
    return ok ? ERR_OK : err_set(e, ERR_NOMEM, "JSON: no memory for its values");
}

enum err_code template_value_from_json(struct template_value **out, struct arena *a,
                                       const char *json, size_t n_bytes, struct err *e)
{
    struct template_value v;
    enum err_code rc = read_json(a, json, n_bytes, true, &v, e);
    if (rc != ERR_OK)
        return rc;
    *out = arena_alloc(a, 1, sizeof **out);
    if (!*out)
        return err_set(e, ERR_NOMEM, "JSON: no memory for its values");
    **out = v;
    return ERR_OK;
}

bool tmpl_filter_from_json(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct err why = { 0 };
    if (c->self.type != TMPL_TEXT)
        return tmpl_fail(r, "from_json needs a text, not '%s'", tmpl_type_name(&c->self));
    const struct tmpl_text *text = c->self.as.text;
    enum err_code rc = read_json(&r->arena, text->bytes, text->n_bytes, tmpl_tainted(text), out, &why);
    if (rc == ERR_NOMEM)
        return tmpl_fail_memory(r, 0);
    return rc == ERR_OK || tmpl_fail(r, "from_json: %s", why.text);
}
