/* SPDX-License-Identifier: MIT */
/* How Python shows values: str() for output, repr() inside lists and dicts.
 *
 * Brackets, commas and quotes around what came from inputs are marked untrusted as well: only text
 * written in the template, and numbers the template made, keep its trust. */
#include "engine/template/tmpl_run.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

bool tmpl_parse_float(const char *bytes, size_t n_bytes, double *out)
{
    /* strtod wants the locale's point; room for it being longer than one byte. */
    char copy[160];
    size_t n = 0;
    const char *point = localeconv()->decimal_point;
    if (n_bytes == 0 || n_bytes > 120)
        return false;
    for (size_t i = 0; i < n_bytes; i++) {
        if (bytes[i] == '.') {
            size_t n_point = strlen(point);
            if (n + n_point >= sizeof copy - (n_bytes - i))
                return false;
            memcpy(copy + n, point, n_point);
            n += n_point;
        } else if (bytes[i] == 0) {
            return false;
        } else {
            copy[n++] = bytes[i];
        }
    }
    copy[n] = 0;
    char *end;
    *out = strtod(copy, &end);
    return end == copy + n;
}

/* Digits (without point) and decimal exponent of the shortest form that reads back the same. */
static void shortest(double value, char digits[20], int *n_digits, int *exponent)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    int n = 0;
    const char *s = text;
    for (; *s && *s != 'e'; s++) {
        if (*s >= '0' && *s <= '9')
            digits[n++] = *s;
    }
    *exponent = *s == 'e' ? atoi(s + 1) : 0;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    *n_digits = n;
}

size_t tmpl_format_float(char out[40], double value)
{
    char digits[20];
    int n_digits, exponent;
    char *o = out;
    if (isnan(value))
        return (size_t)sprintf(out, "nan");
    if (signbit(value)) {
        *o++ = '-';
        value = -value;
    }
    if (isinf(value))
        return (size_t)(o - out) + (size_t)sprintf(o, "inf");
    shortest(value, digits, &n_digits, &exponent);
    if (exponent < -4 || exponent >= 16) {
        *o++ = digits[0];
        if (n_digits > 1) {
            *o++ = '.';
            memcpy(o, digits + 1, (size_t)n_digits - 1);
            o += n_digits - 1;
        }
        o += sprintf(o, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        *o++ = '0';
        *o++ = '.';
        for (int i = -1; i > exponent; i--)
            *o++ = '0';
        memcpy(o, digits, (size_t)n_digits);
        o += n_digits;
    } else {
        for (int i = 0; i <= exponent; i++)
            *o++ = i < n_digits ? digits[i] : '0';
        *o++ = '.';
        if (n_digits <= exponent + 1)
            *o++ = '0';
        for (int i = exponent + 1; i < n_digits; i++)
            *o++ = digits[i];
    }
    *o = 0;
    return (size_t)(o - out);
}

static bool is_printable(uint32_t cp)
{
    if (cp == ' ')
        return true;
    switch (utf8proc_category((int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static void repr_text(struct tmpl_sb *sb, const struct tmpl_text *text)
{
    bool single = text->n_bytes && memchr(text->bytes, '\'', text->n_bytes);
    bool twofold = text->n_bytes && memchr(text->bytes, '"', text->n_bytes);
    char quote = single && !twofold ? '"' : '\'';
    bool around = tmpl_tainted(text);
    tmpl_sb_add(sb, &quote, 1, around);
    for (size_t at = 0, next; at < text->n_bytes && !sb->failed; at = next) {
        char escape[16];
        uint32_t cp;
        next = at + (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        bool mark = tmpl_mark_at(text, at);
        if (cp == (uint32_t)quote || cp == '\\') {
            tmpl_sb_add(sb, "\\", 1, mark);
            tmpl_sb_add_slice(sb, text, at, 1);
        } else if (cp == '\n' || cp == '\r' || cp == '\t') {
            tmpl_sb_add_literal(sb, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t", mark);
        } else if (is_printable(cp)) {
            tmpl_sb_add_slice(sb, text, at, next - at);
        } else {
            snprintf(escape, sizeof escape, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x",
                     (unsigned)cp);
            tmpl_sb_add_literal(sb, escape, mark);
        }
    }
    tmpl_sb_add(sb, &quote, 1, around);
}

static void repr_list(struct tmpl_sb *sb, const struct tmpl_list *list, int depth)
{
    static const char *const views[] = { "dict_items(", "dict_keys(", "dict_values(" };
    char text[100];
    bool tuple = list->kind == TMPL_LIST_TUPLE;
    if (list->kind == TMPL_LIST_GENERATOR) {
        tmpl_sb_add_literal(sb, "<generator object>", false);
        return;
    }
    if (list->kind == TMPL_LIST_RANGE) {
        int n = snprintf(text, sizeof text, "range(%lld, %lld", (long long)list->range[0],
                         (long long)list->range[1]);
        if (list->range[2] != 1)
            n += snprintf(text + n, sizeof text - (size_t)n, ", %lld", (long long)list->range[2]);
        tmpl_sb_add(sb, text, (size_t)n, false);
        tmpl_sb_add(sb, ")", 1, false);
        return;
    }
    if (list->kind == TMPL_LIST_VIEW)
        tmpl_sb_add_literal(sb, views[list->range[0]], true);
    tmpl_sb_add(sb, tuple ? "(" : "[", 1, true);
    for (size_t i = 0; i < list->n && !sb->failed; i++) {
        if (i)
            tmpl_sb_add(sb, ", ", 2, true);
        tmpl_print_repr(sb, &list->items[i], depth - 1);
    }
    if (tuple && list->n == 1)
        tmpl_sb_add(sb, ",", 1, true);
    tmpl_sb_add(sb, tuple ? ")" : "]", 1, true);
    if (list->kind == TMPL_LIST_VIEW)
        tmpl_sb_add(sb, ")", 1, true);
}

static void repr_dict(struct tmpl_sb *sb, const struct tmpl_dict *d, int depth)
{
    tmpl_sb_add(sb, "{", 1, true);
    for (size_t i = 0; i < d->n && !sb->failed; i++) {
        if (i)
            tmpl_sb_add(sb, ", ", 2, true);
        tmpl_print_repr(sb, &d->pairs[i].key, depth - 1);
        tmpl_sb_add(sb, ": ", 2, true);
        tmpl_print_repr(sb, &d->pairs[i].value, depth - 1);
    }
    tmpl_sb_add(sb, "}", 1, true);
}

void tmpl_print_repr(struct tmpl_sb *sb, const struct template_value *v, int depth)
{
    char text[64];
    if (depth <= 0) {
        tmpl_fail(sb->run, "containers nested more than %d deep", (int)TMPL_VALUE_DEPTH);
        sb->failed = true;
        return;
    }
    if (!tmpl_charge(sb->run, 0)) {
        sb->failed = true;
        return;
    }
    switch ((enum tmpl_type)v->type) {
    case TMPL_UNDEFINED:
        tmpl_sb_add_literal(sb, "Undefined", false);
        break;
    case TMPL_NONE:
        tmpl_sb_add(sb, "None", 4, v->untrusted);
        break;
    case TMPL_BOOL:
        tmpl_sb_add_literal(sb, v->as.boolean ? "True" : "False", v->untrusted);
        break;
    case TMPL_INT:
        tmpl_sb_add(sb, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v->as.integer),
                    v->untrusted);
        break;
    case TMPL_FLOAT:
        tmpl_sb_add(sb, text, tmpl_format_float(text, v->as.number), v->untrusted);
        break;
    case TMPL_TEXT:
        repr_text(sb, v->as.text);
        break;
    case TMPL_LIST:
        repr_list(sb, v->as.list, depth);
        break;
    case TMPL_DICT:
        repr_dict(sb, v->as.dict, depth);
        break;
    case TMPL_NAMESPACE:
        tmpl_sb_add_literal(sb, "<Namespace ", false);
        repr_dict(sb, v->as.dict, depth);
        tmpl_sb_add(sb, ">", 1, false);
        break;
    case TMPL_ABSENT:
    case TMPL_LOOP:
    case TMPL_MACRO:
    case TMPL_FUNCTION:
    case TMPL_METHOD:
    case TMPL_JOINER:
        tmpl_sb_add(sb, text, (size_t)snprintf(text, sizeof text, "<%s>", tmpl_type_name(v)), false);
        break;
    }
}

void tmpl_print(struct tmpl_sb *sb, const struct template_value *v)
{
    if (v->type == TMPL_TEXT)
        tmpl_sb_add_text(sb, v->as.text);
    else if (v->type != TMPL_UNDEFINED)
        tmpl_print_repr(sb, v, TMPL_VALUE_DEPTH);
}

bool tmpl_to_text(struct tmpl_run *r, const struct template_value *v, struct template_value *out)
{
    struct tmpl_sb sb;
    if (v->type == TMPL_TEXT) {
        *out = *v;
        return true;
    }
    tmpl_sb_init(&sb, r);
    tmpl_print(&sb, v);
    return tmpl_sb_finish(&sb, out);
}
