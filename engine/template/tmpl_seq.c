/* SPDX-License-Identifier: MIT */
/* Filters on sequences. Those that are generators in Python give a list marked as one: it counts as
 * true even when empty, has no length, and can be walked over once. */
#include "engine/template/tmpl_run.h"

#include <string.h>

/* ---- attribute paths: "a.b.0" ---- */

/* One step: x[part], digits being an index. */
static bool path_step(struct tmpl_run *r, const struct template_value *x, const struct tmpl_text *path,
                      size_t from, size_t to, struct template_value *out)
{
    struct template_value key;
    int64_t index = 0;
    bool digits = to > from && to - from < 10;
    for (size_t i = from; i < to; i++) {
        digits = digits && path->bytes[i] >= '0' && path->bytes[i] <= '9';
        index = digits ? index * 10 + (path->bytes[i] - '0') : 0;
    }
    if (digits)
        key = tmpl_int(index);
    else if (!tmpl_slice_text(r, path, from, to - from, &key))
        return false;
    return tmpl_get_item(r, x, &key, out);
}

/* The attribute a filter was asked to look at; absent: the item itself. */
static bool get_path(struct tmpl_run *r, const struct template_value *item,
                     const struct template_value *attribute, struct template_value *out)
{
    *out = *item;
    if (attribute->type == TMPL_ABSENT || attribute->type == TMPL_NONE)
        return true;
    if (tmpl_is_int(attribute))
        return tmpl_get_item(r, item, attribute, out);
    if (attribute->type != TMPL_TEXT)
        return tmpl_fail(r, "an attribute is named by a text, not '%s'", tmpl_type_name(attribute));
    const struct tmpl_text *path = attribute->as.text;
    for (size_t from = 0; from <= path->n_bytes;) {
        const char *dot = memchr(path->bytes + from, '.', path->n_bytes - from);
        size_t to = dot ? (size_t)(dot - path->bytes) : path->n_bytes;
        struct template_value x = *out;
        if (!path_step(r, &x, path, from, to, out))
            return false;
        from = to + 1;
    }
    return true;
}

/* ---- simple ones ---- */

static bool walk(struct tmpl_run *r, const struct tmpl_call *c, struct tmpl_list **items,
                 enum tmpl_list_kind kind, struct template_value *out)
{
    return tmpl_iterate(r, &c->self, items) && tmpl_make_list(r, kind, 0, out);
}

static bool filter_list(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    if (!walk(r, c, &items, TMPL_LIST_PLAIN, out))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        if (!tmpl_push(r, out, items->items[i]))
            return false;
    }
    return true;
}

static bool filter_end(struct tmpl_run *r, const struct tmpl_call *c, bool last,
                       struct template_value *out)
{
    struct tmpl_list *items;
    if (!tmpl_iterate(r, &c->self, &items))
        return false;
    if (items->n == 0)
        *out = tmpl_undefined(NULL);
    else
        *out = items->items[last ? items->n - 1 : 0];
    return true;
}

static bool filter_first(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return filter_end(r, c, false, out);
}

static bool filter_last(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return filter_end(r, c, true, out);
}

static bool filter_reverse(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct tmpl_sb sb;
    if (!walk(r, c, &items, TMPL_LIST_GENERATOR, out))
        return false;
    tmpl_sb_init(&sb, r);
    for (size_t i = items->n; i-- > 0;) {
        if (c->self.type == TMPL_TEXT)
            tmpl_sb_add_text(&sb, items->items[i].as.text);
        else if (!tmpl_push(r, out, items->items[i]))
            return false;
    }
    return c->self.type == TMPL_TEXT ? tmpl_sb_finish(&sb, out) : true;
}

static bool filter_join(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct template_value separator = { .type = TMPL_ABSENT }, item;
    struct tmpl_sb sb;
    if (!tmpl_iterate(r, &c->self, &items))
        return false;
    if (c->arg[0].type != TMPL_ABSENT && !tmpl_to_text(r, &c->arg[0], &separator))
        return false;
    tmpl_sb_init(&sb, r);
    for (size_t i = 0; i < items->n && !sb.failed; i++) {
        if (i && separator.type == TMPL_TEXT)
            tmpl_sb_add_text(&sb, separator.as.text);
        if (!get_path(r, &items->items[i], &c->arg[1], &item))
            return false;
        tmpl_print(&sb, &item);
    }
    return tmpl_sb_finish(&sb, out);
}

static bool push_pair(struct tmpl_run *r, struct template_value *list,
                      const struct template_value *a, const struct template_value *b)
{
    struct template_value pair;
    return tmpl_make_list(r, TMPL_LIST_TUPLE, 2, &pair) && tmpl_push(r, &pair, *a) &&
           tmpl_push(r, &pair, *b) && tmpl_push(r, list, pair);
}

static bool filter_items(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    if (!tmpl_make_list(r, TMPL_LIST_GENERATOR, 0, out))
        return false;
    if (c->self.type == TMPL_UNDEFINED)
        return true;
    if (c->self.type != TMPL_DICT)
        return tmpl_fail(r, "items needs a dict, not '%s'", tmpl_type_name(&c->self));
    const struct tmpl_dict *d = c->self.as.dict;
    for (size_t i = 0; i < d->n; i++) {
        if (!push_pair(r, out, &d->pairs[i].key, &d->pairs[i].value))
            return false;
    }
    return true;
}

static bool filter_sum(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct template_value item, total = c->arg[1].type == TMPL_ABSENT ? tmpl_int(0) : c->arg[1];
    if (!tmpl_iterate(r, &c->self, &items))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        struct template_value before = total;
        if (!get_path(r, &items->items[i], &c->arg[0], &item) ||
            !tmpl_binary(r, TMPL_OP_ADD, &before, &item, &total))
            return false;
    }
    *out = total;
    return true;
}

/* ---- sorting ---- */

struct keyed {
    struct template_value key;
    struct template_value item;
};

/* The key to compare by: the attribute, in lower case unless case matters. */
static bool sort_key(struct tmpl_run *r, const struct template_value *item,
                     const struct template_value *attribute, bool case_sensitive,
                     struct template_value *out)
{
    struct template_value raw;
    if (!get_path(r, item, attribute, &raw))
        return false;
    if (case_sensitive || raw.type != TMPL_TEXT) {
        *out = raw;
        return true;
    }
    return tmpl_change_case(r, raw.as.text, TMPL_CASE_LOWER, out);
}

/* Merges [from, middle) and [middle, to) of a into b; equal keys keep their order either way. */
static bool merge(struct tmpl_run *r, const struct keyed *a, struct keyed *b, size_t from,
                  size_t middle, size_t to, bool reverse)
{
    size_t left = from, right = middle;
    for (size_t i = from; i < to; i++) {
        int order = 0;
        if (left < middle && right < to && !tmpl_order(r, &a[right].key, &a[left].key, &order))
            return false;
        bool take_right = left == middle || (right < to && (reverse ? order > 0 : order < 0));
        b[i] = a[take_right ? right++ : left++];
    }
    return true;
}

static bool sort_keyed(struct tmpl_run *r, struct keyed **items, size_t n, bool reverse)
{
    struct keyed *a = *items, *b = tmpl_alloc(r, n + 1, sizeof *b);
    if (!b)
        return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t middle = from + width < n ? from + width : n;
            size_t to = from + 2 * width < n ? from + 2 * width : n;
            if (!merge(r, a, b, from, middle, to, reverse))
                return false;
        }
        struct keyed *swap = a;
        a = b;
        b = swap;
    }
    *items = a;
    return true;
}

static bool keyed_items(struct tmpl_run *r, const struct tmpl_list *list,
                        const struct template_value *attribute, bool case_sensitive,
                        struct keyed **out)
{
    *out = tmpl_alloc(r, list->n + 1, sizeof **out);
    if (!*out)
        return false;
    for (size_t i = 0; i < list->n; i++) {
        (*out)[i].item = list->items[i];
        if (!sort_key(r, &list->items[i], attribute, case_sensitive, &(*out)[i].key))
            return false;
    }
    return true;
}

/* sort(reverse=False, case_sensitive=False, attribute=None) */
static bool filter_sort(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct keyed *keyed;
    if (!walk(r, c, &items, TMPL_LIST_PLAIN, out) ||
        !keyed_items(r, items, &c->arg[2], tmpl_arg_truth(c, 1, false), &keyed) ||
        !sort_keyed(r, &keyed, items->n, tmpl_arg_truth(c, 0, false)))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        if (!tmpl_push(r, out, keyed[i].item))
            return false;
    }
    return true;
}

/* dictsort(case_sensitive=False, by='key', reverse=False) */
static bool filter_dictsort(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    static const struct tmpl_text key_word = { "key", NULL, 3, false };
    const struct tmpl_text *by;
    struct template_value pairs;
    struct keyed *keyed;
    if (c->self.type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, &c->self);
    if (c->self.type != TMPL_DICT)
        return tmpl_fail(r, "dictsort needs a dict, not '%s'", tmpl_type_name(&c->self));
    if (!tmpl_arg_text(r, c, 1, &key_word, &by))
        return false;
    if (!tmpl_text_is(by, "key") && !tmpl_text_is(by, "value"))
        return tmpl_fail(r, "dictsort: by must be 'key' or 'value'");
    const struct tmpl_dict *d = c->self.as.dict;
    struct template_value position = tmpl_int(by->bytes[0] == 'v');
    if (!tmpl_make_list(r, TMPL_LIST_PLAIN, d->n, &pairs) ||
        !tmpl_make_list(r, TMPL_LIST_PLAIN, d->n, out))
        return false;
    for (size_t i = 0; i < d->n; i++) {
        if (!push_pair(r, &pairs, &d->pairs[i].key, &d->pairs[i].value))
            return false;
    }
    if (!keyed_items(r, pairs.as.list, &position, tmpl_arg_truth(c, 0, false), &keyed) ||
        !sort_keyed(r, &keyed, d->n, tmpl_arg_truth(c, 2, false)))
        return false;
    for (size_t i = 0; i < d->n; i++) {
        if (!tmpl_push(r, out, keyed[i].item))
            return false;
    }
    return true;
}

/* groupby(attribute, default=None, case_sensitive=False): tuples of key and items */
static bool filter_groupby(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct keyed *keyed;
    struct template_value group = { .type = TMPL_ABSENT }, name;
    if (!walk(r, c, &items, TMPL_LIST_PLAIN, out) ||
        !keyed_items(r, items, &c->arg[0], tmpl_arg_truth(c, 2, false), &keyed) ||
        !sort_keyed(r, &keyed, items->n, false))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        bool same = false;
        if (i && !tmpl_equal(r, &keyed[i].key, &keyed[i - 1].key, &same))
            return false;
        if (!same && (!tmpl_make_list(r, TMPL_LIST_PLAIN, 0, &group) ||
                      !get_path(r, &keyed[i].item, &c->arg[0], &name) ||
                      !push_pair(r, out, &name, &group)))
            return false;
        if (!tmpl_push(r, &group, keyed[i].item))
            return false;
    }
    return true;
}

/* min and max(case_sensitive=False, attribute=None) */
static bool filter_extreme(struct tmpl_run *r, const struct tmpl_call *c, int sign,
                           struct template_value *out)
{
    struct tmpl_list *items;
    struct keyed *keyed;
    if (!tmpl_iterate(r, &c->self, &items) ||
        !keyed_items(r, items, &c->arg[1], tmpl_arg_truth(c, 0, false), &keyed))
        return false;
    size_t best = 0;
    for (size_t i = 1; i < items->n; i++) {
        int order;
        if (!tmpl_order(r, &keyed[i].key, &keyed[best].key, &order))
            return false;
        best = (sign < 0 ? order < 0 : order > 0) ? i : best;
    }
    *out = items->n ? keyed[best].item : tmpl_undefined(NULL);
    return true;
}

static bool filter_min(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return filter_extreme(r, c, -1, out);
}

static bool filter_max(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return filter_extreme(r, c, 1, out);
}

/* unique(case_sensitive=False, attribute=None) */
static bool filter_unique(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct keyed *keyed;
    size_t n_kept = 0;
    if (!walk(r, c, &items, TMPL_LIST_GENERATOR, out) ||
        !keyed_items(r, items, &c->arg[1], tmpl_arg_truth(c, 0, false), &keyed))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        bool seen = false;
        for (size_t k = 0; k < n_kept && !seen; k++) {
            if (!tmpl_equal(r, &keyed[k].key, &keyed[i].key, &seen))
                return false;
        }
        if (seen)
            continue;
        if (!tmpl_push(r, out, keyed[i].item))
            return false;
        keyed[n_kept++] = keyed[i];
    }
    return true;
}

/* ---- choosing and mapping ---- */

/* select(test, args...), selectattr(attribute, test, args...) and their opposites. Without a test
 * the value's own truth decides. */
static bool choose(struct tmpl_run *r, const struct tmpl_call *c, bool by_attribute, bool keep,
                   struct template_value *out)
{
    static const struct template_value itself = { .type = TMPL_ABSENT };
    const struct tmpl_args *args = c->args;
    size_t used = by_attribute;
    struct tmpl_list *items;
    if (!tmpl_truth(&c->self))    /* none and the like give nothing, instead of an error */
        return tmpl_make_list(r, TMPL_LIST_GENERATOR, 0, out);
    if (args->n_items < used)
        return tmpl_fail(r, "%s needs the name of an attribute", c->name);
    const struct template_value *attribute = by_attribute ? &args->items[0] : &itself;
    const struct template_value *test = args->n_items > used ? &args->items[used++] : NULL;
    struct tmpl_args rest = *args;
    rest.items = used ? args->items + used : args->items;
    rest.n_items -= used;
    if (test && test->type != TMPL_TEXT)
        return tmpl_fail(r, "%s needs the name of a test", c->name);
    if (!walk(r, c, &items, TMPL_LIST_GENERATOR, out))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        struct template_value v;
        if (!get_path(r, &items->items[i], attribute, &v))
            return false;
        bool yes = tmpl_truth(&v);
        if (test && !tmpl_apply_test(r, test->as.text, &v, &rest, &yes))
            return false;
        if (yes == keep && !tmpl_push(r, out, items->items[i]))
            return false;
    }
    return true;
}

static bool filter_select(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return choose(r, c, false, true, out);
}

static bool filter_reject(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return choose(r, c, false, false, out);
}

static bool filter_selectattr(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return choose(r, c, true, true, out);
}

static bool filter_rejectattr(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return choose(r, c, true, false, out);
}

static const struct template_value *keyword(const struct tmpl_args *args, const char *name)
{
    for (size_t i = 0; i < args->n_keywords; i++) {
        if (tmpl_text_is(args->keywords[i].name, name))
            return &args->keywords[i].value;
    }
    return NULL;
}

/* map('filter', args...) or map(attribute='path', default=value) */
static bool filter_map(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_args *args = c->args;
    const struct template_value *attribute = args->n_items ? NULL : keyword(args, "attribute");
    const struct template_value *otherwise = keyword(args, "default");
    struct tmpl_list *items;
    if (!tmpl_truth(&c->self))
        return tmpl_make_list(r, TMPL_LIST_GENERATOR, 0, out);
    if (!attribute && (args->n_items == 0 || args->items[0].type != TMPL_TEXT))
        return tmpl_fail(r, "map needs the name of a filter or attribute=...");
    struct tmpl_args rest = *args;
    if (!attribute) {
        rest.items++;
        rest.n_items--;
    }
    if (!walk(r, c, &items, TMPL_LIST_GENERATOR, out))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        struct template_value v;
        if (attribute ? !get_path(r, &items->items[i], attribute, &v)
                      : !tmpl_apply_filter(r, args->items[0].as.text, &items->items[i], &rest, &v))
            return false;
        if (attribute && otherwise && v.type == TMPL_UNDEFINED)
            v = *otherwise;
        if (!tmpl_push(r, out, v))
            return false;
    }
    return true;
}

/* ---- cutting ---- */

/* batch(linecount, fill_with=None): rows of linecount items */
static bool filter_batch(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct template_value row = { .type = TMPL_ABSENT };
    int64_t n;
    if (!tmpl_arg_int(r, c, 0, 1, &n) || !walk(r, c, &items, TMPL_LIST_GENERATOR, out))
        return false;
    if (n < 1 || n > r->limits.range)
        return tmpl_fail(r, "batch needs a positive number");
    for (size_t i = 0; i < items->n; i++) {
        if (i % (size_t)n == 0 &&
            (!tmpl_make_list(r, TMPL_LIST_PLAIN, 0, &row) || !tmpl_push(r, out, row)))
            return false;
        if (!tmpl_push(r, &row, items->items[i]))
            return false;
    }
    bool fill = c->arg[1].type != TMPL_ABSENT && c->arg[1].type != TMPL_NONE;
    while (fill && row.type == TMPL_LIST && row.as.list->n < (size_t)n) {
        if (!tmpl_push(r, &row, c->arg[1]))
            return false;
    }
    return true;
}

/* slice(slices, fill_with=None): that many columns, the first ones longer */
static bool filter_slice(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    int64_t n;
    if (!tmpl_arg_int(r, c, 0, 1, &n) || !walk(r, c, &items, TMPL_LIST_GENERATOR, out))
        return false;
    if (n < 1 || n > r->limits.range)
        return tmpl_fail(r, "slice needs a positive number");
    bool fill = c->arg[1].type != TMPL_ABSENT && c->arg[1].type != TMPL_NONE;
    size_t each = items->n / (size_t)n, more = items->n % (size_t)n, at = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        struct template_value column;
        if (!tmpl_charge(r, 0) || !tmpl_make_list(r, TMPL_LIST_PLAIN, 0, &column) ||
            !tmpl_push(r, out, column))
            return false;
        for (size_t k = 0; k < each + (i < more); k++) {
            if (!tmpl_push(r, &column, items->items[at++]))
                return false;
        }
        if (fill && i >= more && !tmpl_push(r, &column, c->arg[1]))
            return false;
    }
    return true;
}

const struct tmpl_native *tmpl_seq_filter_find(const char *name, size_t n_bytes)
{
    static const struct tmpl_native table[] = {
        { "batch", "linecount,fill_with", 1, filter_batch },
        { "dictsort", "case_sensitive,by,reverse", 0, filter_dictsort },
        { "first", "", 0, filter_first },
        { "groupby", "attribute,default,case_sensitive", 1, filter_groupby },
        { "items", "", 0, filter_items },
        { "join", "d,attribute", 0, filter_join },
        { "last", "", 0, filter_last },
        { "list", "", 0, filter_list },
        { "map", NULL, 0, filter_map },
        { "max", "case_sensitive,attribute", 0, filter_max },
        { "min", "case_sensitive,attribute", 0, filter_min },
        { "reject", NULL, 0, filter_reject },
        { "rejectattr", NULL, 0, filter_rejectattr },
        { "reverse", "", 0, filter_reverse },
        { "select", NULL, 0, filter_select },
        { "selectattr", NULL, 0, filter_selectattr },
        { "slice", "slices,fill_with", 1, filter_slice },
        { "sort", "reverse,case_sensitive,attribute", 0, filter_sort },
        { "sum", "attribute,start", 0, filter_sum },
        { "unique", "case_sensitive,attribute", 0, filter_unique },
    };
    return tmpl_native_find(table, sizeof table / sizeof *table, name, n_bytes);
}
