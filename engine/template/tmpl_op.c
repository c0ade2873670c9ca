/* SPDX-License-Identifier: MIT */
/* Operators: arithmetic, comparison and membership, with Python's meaning and Python's refusals.
 * Integers are 64 bits wide; beyond that is an error instead of a big number. */
#include "engine/template/tmpl_run.h"

#include <math.h>
#include <string.h>

#include "engine/base/utf8.h"

/* ---- equality and order ---- */

static int order_numbers(const struct template_value *x, const struct template_value *y)
{
    if (x->type != TMPL_FLOAT && y->type != TMPL_FLOAT) {
        int64_t a = tmpl_as_int(x), b = tmpl_as_int(y);
        return (a > b) - (a < b);
    }
    double a = tmpl_as_double(x), b = tmpl_as_double(y);
    return (a > b) - (a < b);
}

static bool equal_deep(struct tmpl_run *r, const struct template_value *x,
                       const struct template_value *y, int depth, bool *out);

static bool equal_lists(struct tmpl_run *r, const struct tmpl_list *x, const struct tmpl_list *y,
                        int depth, bool *out)
{
    *out = x == y;
    if (x == y || x->kind != y->kind || x->n != y->n || x->kind == TMPL_LIST_GENERATOR)
        return true;
    *out = true;
    for (size_t i = 0; i < x->n && *out; i++) {
        if (!equal_deep(r, &x->items[i], &y->items[i], depth - 1, out))
            return false;
    }
    return true;
}

static bool equal_dicts(struct tmpl_run *r, const struct tmpl_dict *x, const struct tmpl_dict *y,
                        int depth, bool *out)
{
    *out = x->n == y->n;
    for (size_t i = 0; i < x->n && *out; i++) {
        struct template_value *other;
        if (!tmpl_dict_find(r, y, &x->pairs[i].key, &other))
            return false;
        *out = other != NULL;
        if (other && !equal_deep(r, &x->pairs[i].value, other, depth - 1, out))
            return false;
    }
    return true;
}

static bool equal_deep(struct tmpl_run *r, const struct template_value *x,
                       const struct template_value *y, int depth, bool *out)
{
    if (depth <= 0)
        return tmpl_fail(r, "containers nested more than %d deep", (int)TMPL_VALUE_DEPTH);
    if (!tmpl_charge(r, x->type == TMPL_TEXT ? x->as.text->n_bytes : 0))
        return false;
    if (tmpl_is_number(x) && tmpl_is_number(y)) {
        *out = order_numbers(x, y) == 0 && !(x->type == TMPL_FLOAT && isnan(x->as.number)) &&
               !(y->type == TMPL_FLOAT && isnan(y->as.number));
        return true;
    }
    *out = false;
    if (x->type != y->type)
        return true;
    switch ((enum tmpl_type)x->type) {
    case TMPL_UNDEFINED:
    case TMPL_NONE:
        *out = true;
        break;
    case TMPL_TEXT:
        *out = tmpl_text_equal(x->as.text, y->as.text);
        break;
    case TMPL_LIST:
        return equal_lists(r, x->as.list, y->as.list, depth, out);
    case TMPL_DICT:
        return equal_dicts(r, x->as.dict, y->as.dict, depth, out);
    default:    /* by identity; all of these hold one pointer */
        *out = x->as.macro == y->as.macro;
        break;
    }
    return true;
}

bool tmpl_equal(struct tmpl_run *r, const struct template_value *x, const struct template_value *y,
                bool *out)
{
    return equal_deep(r, x, y, TMPL_VALUE_DEPTH, out);
}

static int order_texts(const struct tmpl_text *x, const struct tmpl_text *y)
{
    /* UTF-8 sorts like its code points. */
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int diff = n ? memcmp(x->bytes, y->bytes, n) : 0;
    return diff ? diff : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static bool order_deep(struct tmpl_run *r, const struct template_value *x,
                       const struct template_value *y, int depth, int *out)
{
    if (depth <= 0)
        return tmpl_fail(r, "containers nested more than %d deep", (int)TMPL_VALUE_DEPTH);
    if (!tmpl_charge(r, x->type == TMPL_TEXT ? x->as.text->n_bytes : 0))
        return false;
    if (tmpl_is_number(x) && tmpl_is_number(y)) {
        *out = order_numbers(x, y);
        return true;
    }
    if (x->type == TMPL_TEXT && y->type == TMPL_TEXT) {
        *out = order_texts(x->as.text, y->as.text);
        return true;
    }
    bool lists = x->type == TMPL_LIST && y->type == TMPL_LIST &&
                 x->as.list->kind == y->as.list->kind && x->as.list->kind <= TMPL_LIST_TUPLE;
    if (!lists) {
        if (x->type == TMPL_UNDEFINED || y->type == TMPL_UNDEFINED)
            return tmpl_fail_undefined(r, x->type == TMPL_UNDEFINED ? x : y);
        return tmpl_fail(r, "'%s' and '%s' have no order", tmpl_type_name(x), tmpl_type_name(y));
    }
    const struct tmpl_list *a = x->as.list, *b = y->as.list;
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool same;
        if (!equal_deep(r, &a->items[i], &b->items[i], depth - 1, &same))
            return false;
        if (!same)
            return order_deep(r, &a->items[i], &b->items[i], depth - 1, out);
    }
    *out = (a->n > b->n) - (a->n < b->n);
    return true;
}

bool tmpl_order(struct tmpl_run *r, const struct template_value *x, const struct template_value *y,
                int *out)
{
    return order_deep(r, x, y, TMPL_VALUE_DEPTH, out);
}

static bool is_nan(const struct template_value *v)
{
    return v->type == TMPL_FLOAT && isnan(v->as.number);
}

bool tmpl_compare(struct tmpl_run *r, enum tmpl_op op, const struct template_value *x,
                  const struct template_value *y, bool *out)
{
    int order;
    if (op == TMPL_OP_EQ || op == TMPL_OP_NE) {
        if (!tmpl_equal(r, x, y, out))
            return false;
        *out = *out == (op == TMPL_OP_EQ);
        return true;
    }
    if (op == TMPL_OP_IN || op == TMPL_OP_NOT_IN) {
        if (!tmpl_contains(r, y, x, out))
            return false;
        *out = *out == (op == TMPL_OP_IN);
        return true;
    }
    if (!tmpl_order(r, x, y, &order))
        return false;
    *out = op == TMPL_OP_LT ? order < 0 : op == TMPL_OP_LE ? order <= 0
           : op == TMPL_OP_GT ? order > 0 : order >= 0;
    if (is_nan(x) || is_nan(y))
        *out = false;
    return true;
}

/* ---- containers ---- */

bool tmpl_dict_find(struct tmpl_run *r, const struct tmpl_dict *d, const struct template_value *key,
                    struct template_value **out)
{
    *out = NULL;
    if (!tmpl_charge(r, d->n * 8))
        return false;
    if (key->type == TMPL_TEXT) {
        *out = tmpl_dict_find_bytes(d, key->as.text->bytes, key->as.text->n_bytes);
        return true;
    }
    bool hashable = key->type != TMPL_DICT &&
                    (key->type != TMPL_LIST || key->as.list->kind != TMPL_LIST_PLAIN);
    if (!hashable)
        return tmpl_fail(r, "a %s cannot be a key", tmpl_type_name(key));
    for (size_t i = 0; i < d->n; i++) {
        bool same;
        if (!tmpl_equal(r, &d->pairs[i].key, key, &same))
            return false;
        if (same) {
            *out = &d->pairs[i].value;
            break;
        }
    }
    return true;
}

bool tmpl_dict_put(struct tmpl_run *r, struct tmpl_dict *d, const struct template_value *key,
                   const struct template_value *value)
{
    struct template_value *place;
    if (!tmpl_dict_find(r, d, key, &place))
        return false;
    if (place)
        *place = *value;
    else if (!tmpl_dict_add(&r->arena, d, *key, *value))
        return tmpl_fail_memory(r, 0);
    return true;
}

bool tmpl_contains(struct tmpl_run *r, const struct template_value *container,
                   const struct template_value *item, bool *out)
{
    *out = false;
    if (container->type == TMPL_TEXT) {
        if (item->type != TMPL_TEXT)
            return tmpl_fail(r, "'in' a text needs a text, not '%s'", tmpl_type_name(item));
        *out = tmpl_find(container->as.text, item->as.text, 0) != SIZE_MAX;
        return tmpl_charge(r, container->as.text->n_bytes);
    }
    if (container->type == TMPL_DICT) {
        struct template_value *place;
        if (!tmpl_dict_find(r, container->as.dict, item, &place))
            return false;
        *out = place != NULL;
        return true;
    }
    if (container->type == TMPL_UNDEFINED)
        return true;
    struct tmpl_list *list;
    if (!tmpl_iterate(r, container, &list))
        return false;
    for (size_t i = 0; i < list->n && !*out; i++) {
        if (!tmpl_equal(r, &list->items[i], item, out))
            return false;
    }
    return true;
}

bool tmpl_text_chars(struct tmpl_run *r, const struct tmpl_text *text, struct tmpl_list **out)
{
    struct template_value chars;
    if (!tmpl_make_list(r, TMPL_LIST_PLAIN, tmpl_count_chars(text), &chars))
        return false;
    for (size_t at = 0; at < text->n_bytes;) {
        uint32_t cp;
        struct template_value c;
        size_t n = (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        if (!tmpl_slice_text(r, text, at, n, &c) || !tmpl_push(r, &chars, c))
            return false;
        at += n;
    }
    *out = chars.as.list;
    return true;
}

bool tmpl_iterate(struct tmpl_run *r, const struct template_value *v, struct tmpl_list **out)
{
    struct template_value list;
    switch ((enum tmpl_type)v->type) {
    case TMPL_LIST:
        *out = v->as.list;
        if (v->as.list->kind != TMPL_LIST_GENERATOR)
            return true;
        if (v->as.list->consumed) {
            if (!tmpl_make_list(r, TMPL_LIST_PLAIN, 0, &list))
                return false;
            *out = list.as.list;
        }
        v->as.list->consumed = true;
        return true;
    case TMPL_TEXT:
        return tmpl_text_chars(r, v->as.text, out);
    case TMPL_DICT:
        if (!tmpl_make_list(r, TMPL_LIST_PLAIN, v->as.dict->n, &list))
            return false;
        for (size_t i = 0; i < v->as.dict->n; i++) {
            if (!tmpl_push(r, &list, v->as.dict->pairs[i].key))
                return false;
        }
        *out = list.as.list;
        return true;
    case TMPL_UNDEFINED:
        if (!tmpl_make_list(r, TMPL_LIST_PLAIN, 0, &list))
            return false;
        *out = list.as.list;
        return true;
    default:
        return tmpl_fail(r, "a '%s' cannot be walked over", tmpl_type_name(v));
    }
}

bool tmpl_len(struct tmpl_run *r, const struct template_value *v, int64_t *out)
{
    if (v->type == TMPL_TEXT) {
        *out = (int64_t)tmpl_count_chars(v->as.text);
        return tmpl_charge(r, v->as.text->n_bytes);
    }
    if (v->type == TMPL_LIST && v->as.list->kind != TMPL_LIST_GENERATOR)
        *out = (int64_t)v->as.list->n;
    else if (v->type == TMPL_DICT)
        *out = (int64_t)v->as.dict->n;
    else if (v->type == TMPL_LOOP)
        *out = (int64_t)v->as.loop->items->n;
    else if (v->type == TMPL_UNDEFINED)
        *out = 0;
    else
        return tmpl_fail(r, "a '%s' has no length", tmpl_type_name(v));
    return true;
}

/* ---- arithmetic ---- */

static bool repeat(struct tmpl_run *r, const struct template_value *x, int64_t times,
                   struct template_value *out)
{
    if (times < 0)
        times = 0;
    if (x->type == TMPL_TEXT) {
        struct tmpl_sb sb;
        tmpl_sb_init(&sb, r);
        if (x->as.text->n_bytes == 0)
            times = 0;
        for (int64_t i = 0; i < times && !sb.failed; i++)
            tmpl_sb_add_text(&sb, x->as.text);
        return tmpl_sb_finish(&sb, out);
    }
    const struct tmpl_list *list = x->as.list;
    size_t n;
    if (__builtin_mul_overflow(list->n, (size_t)times, &n) || n > (size_t)r->limits.range)
        return tmpl_fail(r, "a list of more than %lld items", (long long)r->limits.range);
    if (!tmpl_charge(r, n * 16) || !tmpl_make_list(r, list->kind, n, out))
        return false;
    for (size_t i = 0; i < n; i++)
        out->as.list->items[i] = list->items[i % list->n];
    out->as.list->n = n;
    return true;
}

static bool join_lists(struct tmpl_run *r, const struct tmpl_list *x, const struct tmpl_list *y,
                       struct template_value *out)
{
    if (!tmpl_charge(r, (x->n + y->n) * 16) || !tmpl_make_list(r, x->kind, x->n + y->n, out))
        return false;
    struct tmpl_list *list = out->as.list;
    if (x->n)
        memcpy(list->items, x->items, x->n * sizeof *x->items);
    if (y->n)
        memcpy(list->items + x->n, y->items, y->n * sizeof *y->items);
    list->n = x->n + y->n;
    return true;
}

static bool int_power(int64_t base, int64_t exponent, int64_t *out)
{
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return false;
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base))
            return false;
    }
    *out = result;
    return true;
}

/* Quotient and remainder as Python rounds them: towards minus infinity. */
static bool int_divide(int64_t a, int64_t b, int64_t *quotient, int64_t *rest)
{
    if (b == -1) {
        *rest = 0;
        return !__builtin_sub_overflow((int64_t)0, a, quotient);
    }
    *quotient = a / b;
    *rest = a % b;
    if (*rest != 0 && (*rest < 0) != (b < 0)) {
        --*quotient;
        *rest += b;
    }
    return true;
}

static bool int_binary(struct tmpl_run *r, enum tmpl_op op, int64_t a, int64_t b,
                       struct template_value *out)
{
    int64_t result = 0, rest = 0;
    bool fits = true;
    switch (op) {
    case TMPL_OP_ADD:
        fits = !__builtin_add_overflow(a, b, &result);
        break;
    case TMPL_OP_SUB:
        fits = !__builtin_sub_overflow(a, b, &result);
        break;
    case TMPL_OP_MUL:
        fits = !__builtin_mul_overflow(a, b, &result);
        break;
    case TMPL_OP_POW:
        fits = int_power(a, b, &result);
        break;
    default:
        fits = int_divide(a, b, &result, &rest);
        if (op == TMPL_OP_MOD)
            result = rest;
        break;
    }
    if (!fits)
        return tmpl_fail(r, "a number beyond 64 bits");
    *out = tmpl_int(result);
    return true;
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m != 0 && (m < 0) != (b < 0))
        m += b;
    return m != 0 ? m : copysign(0, b);
}

static bool number_binary(struct tmpl_run *r, enum tmpl_op op, const struct template_value *x,
                          const struct template_value *y, struct template_value *out)
{
    bool ints = x->type != TMPL_FLOAT && y->type != TMPL_FLOAT;
    double a = tmpl_as_double(x), b = tmpl_as_double(y);
    if ((op == TMPL_OP_DIV || op == TMPL_OP_FLOORDIV || op == TMPL_OP_MOD) && b == 0)
        return tmpl_fail(r, "division by zero");
    if (op == TMPL_OP_POW && a == 0 && b < 0)
        return tmpl_fail(r, "division by zero");
    if (ints && op != TMPL_OP_DIV && !(op == TMPL_OP_POW && b < 0)) {
        if (!int_binary(r, op, tmpl_as_int(x), tmpl_as_int(y), out))
            return false;
    } else {
        double v = op == TMPL_OP_ADD ? a + b : op == TMPL_OP_SUB ? a - b : op == TMPL_OP_MUL ? a * b
                   : op == TMPL_OP_DIV ? a / b : op == TMPL_OP_MOD ? float_mod(a, b)
                   : op == TMPL_OP_FLOORDIV ? floor((a - float_mod(a, b)) / b + 0.5) : pow(a, b);
        *out = tmpl_float(v);
    }
    out->untrusted = x->untrusted || y->untrusted;
    return true;
}

static bool is_sequence(const struct template_value *v)
{
    return v->type == TMPL_TEXT || (v->type == TMPL_LIST && v->as.list->kind <= TMPL_LIST_TUPLE);
}

bool tmpl_is_int(const struct template_value *v)
{
    return v->type == TMPL_INT || v->type == TMPL_BOOL;
}

bool tmpl_binary(struct tmpl_run *r, enum tmpl_op op, const struct template_value *x,
                 const struct template_value *y, struct template_value *out)
{
    static const char *const signs[] = {
        [TMPL_OP_ADD] = "+", [TMPL_OP_SUB] = "-", [TMPL_OP_MUL] = "*", [TMPL_OP_DIV] = "/",
        [TMPL_OP_FLOORDIV] = "//", [TMPL_OP_MOD] = "%", [TMPL_OP_POW] = "**"
    };
    if (tmpl_is_number(x) && tmpl_is_number(y))
        return number_binary(r, op, x, y, out);
    if (op == TMPL_OP_ADD && x->type == TMPL_TEXT && y->type == TMPL_TEXT) {
        struct tmpl_sb sb;
        tmpl_sb_init(&sb, r);
        tmpl_sb_add_text(&sb, x->as.text);
        tmpl_sb_add_text(&sb, y->as.text);
        return tmpl_sb_finish(&sb, out);
    }
    if (op == TMPL_OP_ADD && is_sequence(x) && is_sequence(y) && x->type == TMPL_LIST &&
        y->type == TMPL_LIST && x->as.list->kind == y->as.list->kind)
        return join_lists(r, x->as.list, y->as.list, out);
    if (op == TMPL_OP_MUL && is_sequence(x) && tmpl_is_int(y))
        return repeat(r, x, tmpl_as_int(y), out);
    if (op == TMPL_OP_MUL && tmpl_is_int(x) && is_sequence(y))
        return repeat(r, y, tmpl_as_int(x), out);
    if (op == TMPL_OP_MOD && x->type == TMPL_TEXT && y->type != TMPL_UNDEFINED)
        return tmpl_format_percent(r, x->as.text, y, out);
    if (x->type == TMPL_UNDEFINED || y->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, x->type == TMPL_UNDEFINED ? x : y);
    return tmpl_fail(r, "'%s' %s '%s' makes no sense", tmpl_type_name(x), signs[op],
                     tmpl_type_name(y));
}

bool tmpl_negate(struct tmpl_run *r, const struct template_value *x, struct template_value *out)
{
    struct template_value zero = tmpl_int(0);
    if (x->type == TMPL_FLOAT) {
        *out = tmpl_float(-x->as.number);
        out->untrusted = x->untrusted;
        return true;
    }
    return tmpl_binary(r, TMPL_OP_SUB, &zero, x, out);
}
