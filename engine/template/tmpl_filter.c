/* SPDX-License-Identifier: MIT */
/* Filters on texts and single values; those on sequences are in tmpl_seq.c. Most take str() of
 * their input first, as in Python. */
#include "engine/template/tmpl_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

/* str() of the input. */
static bool self_text(struct tmpl_run *r, const struct tmpl_call *c, const struct tmpl_text **out)
{
    struct template_value v;
    if (!tmpl_to_text(r, &c->self, &v))
        return false;
    *out = v.as.text;
    return true;
}

/* ---- texts ---- */

static bool filter_string(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_to_text(r, &c->self, out);
}

/* Escaping is off, so there is nothing to be safe from. In Python the result would still turn what is
 * added to it later into HTML (`x|safe + '"'` gives &#34;), which no author of a chat template meant;
 * that is not followed here. */
static bool filter_safe(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_to_text(r, &c->self, out);
}

static bool change_case(struct tmpl_run *r, const struct tmpl_call *c, enum tmpl_case to,
                        struct template_value *out)
{
    const struct tmpl_text *text;
    return self_text(r, c, &text) && tmpl_change_case(r, text, to, out);
}

static bool filter_lower(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return change_case(r, c, TMPL_CASE_LOWER, out);
}

static bool filter_upper(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return change_case(r, c, TMPL_CASE_UPPER, out);
}

static bool filter_capitalize(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return change_case(r, c, TMPL_CASE_CAPITAL, out);
}

/* Unlike str.title(), words begin only behind white space, a dash or an opening bracket. */
static bool filter_title(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text;
    struct tmpl_sb sb;
    if (!self_text(r, c, &text))
        return false;
    tmpl_sb_init(&sb, r);
    for (size_t at = 0; at < text->n_bytes;) {
        size_t end = at;
        bool in_word = false;
        while (end < text->n_bytes) {
            uint32_t cp;
            int n = utf8_decode(text->bytes + end, text->n_bytes - end, &cp);
            bool border = tmpl_is_space(cp) || (cp < 0x80 && strchr("-({[<", (int)cp) && cp);
            if (border && in_word)
                break;
            if (!border && !in_word && end > at)
                break;
            in_word = !border;
            end += (size_t)n;
        }
        struct template_value word, changed;
        if (!tmpl_slice_text(r, text, at, end - at, &word) ||
            !tmpl_change_case(r, word.as.text, TMPL_CASE_CAPITAL, &changed))
            return false;
        tmpl_sb_add_text(&sb, changed.as.text);
        at = end;
    }
    return tmpl_sb_finish(&sb, out);
}

static bool filter_trim(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text, *chars;
    return self_text(r, c, &text) && tmpl_arg_text(r, c, 0, NULL, &chars) &&
           tmpl_strip_text(r, text, chars, TMPL_STRIP_BOTH, out);
}

static bool filter_replace(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text;
    struct template_value old, with;
    int64_t count;
    return self_text(r, c, &text) && tmpl_to_text(r, &c->arg[0], &old) &&
           tmpl_to_text(r, &c->arg[1], &with) && tmpl_arg_int(r, c, 2, -1, &count) &&
           tmpl_replace_text(r, text, old.as.text, with.as.text, count, out);
}

static bool filter_indent(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text, *by = c->arg[0].type == TMPL_TEXT ? c->arg[0].as.text : NULL;
    struct template_value lines;
    int64_t width = 4;
    if (!self_text(r, c, &text) || (!by && !tmpl_arg_int(r, c, 0, 4, &width)) ||
        !tmpl_split_lines(r, text, false, &lines))
        return false;
    /* A text that ends in a newline has an empty last line. */
    size_t n_lines = lines.as.list->n;
    bool first = tmpl_arg_truth(c, 1, false), blank = tmpl_arg_truth(c, 2, false);
    bool ends_open = text->n_bytes == 0 || text->bytes[text->n_bytes - 1] == '\n';
    bool mark = tmpl_tainted(text);
    struct tmpl_sb sb;
    tmpl_sb_init(&sb, r);
    for (size_t i = 0; i < n_lines + ends_open && !sb.failed; i++) {
        const struct tmpl_text *line = i < n_lines ? lines.as.list->items[i].as.text : NULL;
        bool empty = !line || line->n_bytes == 0;
        if (i)
            tmpl_sb_add(&sb, "\n", 1, mark);
        if ((i == 0 && first) || (i > 0 && (blank || !empty))) {
            if (by)
                tmpl_sb_add_text(&sb, by);
            else
                tmpl_sb_fill(&sb, ' ', width < 0 ? 0 : (size_t)width, mark);
        }
        if (line)
            tmpl_sb_add_text(&sb, line);
    }
    return tmpl_sb_finish(&sb, out);
}

static bool filter_center(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text;
    int64_t width;
    struct tmpl_sb sb;
    if (!self_text(r, c, &text) || !tmpl_arg_int(r, c, 0, 80, &width))
        return false;
    int64_t room = width - (int64_t)tmpl_count_chars(text);
    size_t pad = room > 0 ? (size_t)room : 0, left = pad / 2 + (pad & (size_t)width & 1);
    tmpl_sb_init(&sb, r);
    tmpl_sb_fill(&sb, ' ', left, tmpl_tainted(text));
    tmpl_sb_add_text(&sb, text);
    tmpl_sb_fill(&sb, ' ', pad - left, tmpl_tainted(text));
    return tmpl_sb_finish(&sb, out);
}

static bool filter_escape(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    static const struct {
        char from;
        const char *to;
    } table[] = { { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '\'', "&#39;" }, { '"', "&#34;" } };
    const struct tmpl_text *text;
    struct tmpl_sb sb;
    if (!self_text(r, c, &text))
        return false;
    tmpl_sb_init(&sb, r);
    for (size_t at = 0; at < text->n_bytes && !sb.failed; at++) {
        size_t i = 0;
        while (i < sizeof table / sizeof *table && table[i].from != text->bytes[at])
            i++;
        if (i < sizeof table / sizeof *table)
            tmpl_sb_add_literal(&sb, table[i].to, tmpl_mark_at(text, at));
        else
            tmpl_sb_add_slice(&sb, text, at, 1);
    }
    return tmpl_sb_finish(&sb, out);
}

/* Byte offset of the character with this number. */
static size_t offset_of(const struct tmpl_text *text, int64_t index)
{
    size_t at = 0;
    uint32_t cp;
    while (index-- > 0 && at < text->n_bytes)
        at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
    return at;
}

static bool filter_truncate(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    static const struct tmpl_text dots = { "...", NULL, 3, false };
    const struct tmpl_text *text, *end;
    int64_t length, leeway;
    struct tmpl_sb sb;
    if (!self_text(r, c, &text) || !tmpl_arg_int(r, c, 0, 255, &length) ||
        !tmpl_arg_text(r, c, 2, &dots, &end) || !tmpl_arg_int(r, c, 3, 5, &leeway))
        return false;
    int64_t n_end = (int64_t)tmpl_count_chars(end);
    if (length < n_end || leeway < 0)
        return tmpl_fail(r, "truncate: the length is shorter than the end mark");
    if (length > INT32_MAX || leeway > INT32_MAX ||
        (int64_t)tmpl_count_chars(text) <= length + leeway)
        return tmpl_slice_text(r, text, 0, text->n_bytes, out);
    size_t keep = offset_of(text, length - n_end);
    if (!tmpl_arg_truth(c, 1, false)) {    /* back to the end of a word, if there is one */
        const char *space = memrchr(text->bytes, ' ', keep);
        keep = space ? (size_t)(space - text->bytes) : keep;
    }
    tmpl_sb_init(&sb, r);
    tmpl_sb_add_slice(&sb, text, 0, keep);
    tmpl_sb_add_text(&sb, end);
    return tmpl_sb_finish(&sb, out);
}

static bool is_word_char(uint32_t cp)
{
    int category = utf8proc_category((int32_t)cp);
    return cp == '_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
           (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static bool filter_wordcount(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text;
    int64_t n = 0;
    bool in_word = false;
    if (!self_text(r, c, &text))
        return false;
    for (size_t at = 0; at < text->n_bytes;) {
        uint32_t cp;
        at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        n += is_word_char(cp) && !in_word;
        in_word = is_word_char(cp);
    }
    *out = tmpl_int(n);
    return true;
}

static bool filter_format(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text;
    struct template_value args;
    if (!self_text(r, c, &text))
        return false;
    if (c->args->n_keywords) {
        struct tmpl_dict *d = tmpl_dict_create(&r->arena, c->args->n_keywords);
        if (!d)
            return tmpl_fail_memory(r, 0);
        args = tmpl_dict_value(d);
        for (size_t i = 0; i < c->args->n_keywords; i++) {
            struct template_value key = tmpl_text_value(c->args->keywords[i].name);
            if (!tmpl_dict_put(r, d, &key, &c->args->keywords[i].value))
                return false;
        }
    } else {
        if (!tmpl_make_list(r, TMPL_LIST_TUPLE, c->args->n_items, &args))
            return false;
        for (size_t i = 0; i < c->args->n_items; i++) {
            if (!tmpl_push(r, &args, c->args->items[i]))
                return false;
        }
    }
    return tmpl_format_percent(r, text, &args, out);
}

/* ---- values ---- */

static bool filter_default(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    bool use = c->self.type == TMPL_UNDEFINED || (tmpl_arg_truth(c, 1, false) && !tmpl_truth(&c->self));
    if (!use)
        *out = c->self;
    else if (c->arg[0].type != TMPL_ABSENT)
        *out = c->arg[0];
    else
        return tmpl_make_text(r, "", 0, false, out);
    return true;
}

static bool filter_length(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    int64_t n = 0;
    if (!tmpl_len(r, &c->self, &n))
        return false;
    *out = tmpl_int(n);
    return true;
}

static bool filter_attr(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *name;
    if (!tmpl_arg_text(r, c, 0, NULL, &name))
        return false;
    if (c->self.type == TMPL_DICT) {    /* attributes only: keys of a dict are none */
        *out = tmpl_undefined(name);
        out->is_attribute = true;
        return true;
    }
    return tmpl_get_attribute(r, &c->self, name, out);
}

/* Digits of the base with single underscores between them, a sign and white space around. */
static bool parse_int(const struct tmpl_text *text, int64_t base, int64_t *out)
{
    char digits[80];
    size_t n = 0, from = 0, to = text->n_bytes;
    while (from < to && tmpl_is_space((unsigned char)text->bytes[from]))
        from++;
    while (from < to && tmpl_is_space((unsigned char)text->bytes[to - 1]))
        to--;
    bool negative = from < to && text->bytes[from] == '-';
    from += from < to && (text->bytes[from] == '-' || text->bytes[from] == '+');
    if (to - from > 2 && text->bytes[from] == '0') {
        char prefix = (char)(text->bytes[from + 1] | 32);
        from += (base == 16 && prefix == 'x') || (base == 8 && prefix == 'o') ||
                (base == 2 && prefix == 'b') ? 2 : 0;
    }
    for (; from < to && n + 2 < sizeof digits; from++) {
        if (text->bytes[from] != '_')
            digits[n++] = text->bytes[from];
        else if (from + 1 == to || text->bytes[from + 1] == '_')
            return false;
    }
    digits[n] = 0;
    if (n == 0 || from < to || base < 2 || base > 36)
        return false;
    int64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        char ch = (char)(digits[i] | 32);
        int64_t digit = digits[i] >= '0' && digits[i] <= '9' ? digits[i] - '0'
                        : ch >= 'a' && ch <= 'z' ? ch - 'a' + 10 : 99;
        if (digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = negative ? -value : value;
    return true;
}

static bool parse_float(const struct tmpl_text *text, double *out)
{
    size_t from = 0, to = text->n_bytes;
    while (from < to && tmpl_is_space((unsigned char)text->bytes[from]))
        from++;
    while (from < to && tmpl_is_space((unsigned char)text->bytes[to - 1]))
        to--;
    for (size_t i = from; i < to; i++) {
        if (text->bytes[i] == 'x' || text->bytes[i] == 'X' || text->bytes[i] == '(')
            return false;    /* strtod knows more forms than Python */
    }
    return tmpl_parse_float(text->bytes + from, to - from, out);
}

static bool filter_int(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct template_value *v = &c->self;
    int64_t base, whole = 0;
    double number = NAN;
    if (v->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, v);
    if (!tmpl_arg_int(r, c, 1, 10, &base))
        return false;
    if (tmpl_is_int(v)) {
        *out = tmpl_int(tmpl_as_int(v));
    } else if (v->type == TMPL_TEXT && parse_int(v->as.text, base, &whole)) {
        *out = tmpl_int(whole);
    } else {
        if (v->type == TMPL_FLOAT)
            number = v->as.number;
        else if (v->type == TMPL_TEXT && !parse_float(v->as.text, &number))
            number = NAN;
        if (number > -9.2e18 && number < 9.2e18)
            *out = tmpl_int((int64_t)number);
        else
            *out = c->arg[0].type == TMPL_ABSENT ? tmpl_int(0) : c->arg[0];
    }
    out->untrusted = v->type == TMPL_TEXT ? tmpl_tainted(v->as.text) : v->untrusted;
    return true;
}

static bool filter_float(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct template_value *v = &c->self;
    double number;
    if (v->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, v);
    if (tmpl_is_number(v))
        *out = tmpl_float(tmpl_as_double(v));
    else if (v->type == TMPL_TEXT && parse_float(v->as.text, &number))
        *out = tmpl_float(number);
    else
        *out = c->arg[0].type == TMPL_ABSENT ? tmpl_float(0) : c->arg[0];
    out->untrusted = v->type == TMPL_TEXT ? tmpl_tainted(v->as.text) : v->untrusted;
    return true;
}

static bool filter_abs(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct template_value *v = &c->self;
    if (v->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, v);
    if (!tmpl_is_number(v))
        return tmpl_fail(r, "abs needs a number, not '%s'", tmpl_type_name(v));
    if (tmpl_as_double(v) < 0)
        return tmpl_negate(r, v, out);
    *out = v->type == TMPL_BOOL ? tmpl_int(v->as.boolean) : *v;
    return true;
}

static double round_common(double value, int64_t precision)
{
    char text[400];
    if (!isfinite(value) || precision > 300)
        return value;
    if (precision < 0) {
        double unit = pow(10, (double)(precision < -300 ? 300 : -precision));
        return rint(value / unit) * unit;
    }
    if (precision > 60)
        return value;
    snprintf(text, sizeof text, "%.*f", (int)precision, value);    /* rounds the exact value */
    return strtod(text, NULL);
}

static bool filter_round(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    static const struct tmpl_text common = { "common", NULL, 6, false };
    const struct template_value *v = &c->self;
    const struct tmpl_text *method;
    int64_t precision;
    if (v->type == TMPL_UNDEFINED)
        return tmpl_fail_undefined(r, v);
    if (!tmpl_is_number(v))
        return tmpl_fail(r, "round needs a number, not '%s'", tmpl_type_name(v));
    if (!tmpl_arg_int(r, c, 0, 0, &precision) || !tmpl_arg_text(r, c, 1, &common, &method))
        return false;
    double value = tmpl_as_double(v);
    if (tmpl_text_is(method, "common")) {
        if (v->type != TMPL_FLOAT && precision >= 0)
            *out = tmpl_int(tmpl_as_int(v));
        else
            *out = tmpl_float(round_common(value, precision));
    } else if (tmpl_text_is(method, "ceil") || tmpl_text_is(method, "floor")) {
        double unit = pow(10, (double)precision);
        value *= unit;
        *out = tmpl_float((method->bytes[0] == 'c' ? ceil(value) : floor(value)) / unit);
    } else {
        return tmpl_fail(r, "round: method must be common, ceil or floor");
    }
    out->untrusted = v->untrusted;
    return true;
}

const struct tmpl_native *tmpl_filter_find(const char *name, size_t n_bytes)
{
    static const struct tmpl_native table[] = {
        { "abs", "", 0, filter_abs },
        { "attr", "name", 1, filter_attr },
        { "capitalize", "", 0, filter_capitalize },
        { "center", "width", 0, filter_center },
        { "count", "", 0, filter_length },
        { "d", "default_value,boolean", 0, filter_default },
        { "default", "default_value,boolean", 0, filter_default },
        { "e", "", 0, filter_escape },
        { "escape", "", 0, filter_escape },
        { "float", "default", 0, filter_float },
        { "forceescape", "", 0, filter_escape },
        { "format", NULL, 0, filter_format },
        { "from_json", "", 0, tmpl_filter_from_json },
        { "fromjson", "", 0, tmpl_filter_from_json },
        { "indent", "width,first,blank", 0, filter_indent },
        { "int", "default,base", 0, filter_int },
        { "length", "", 0, filter_length },
        { "lower", "", 0, filter_lower },
        { "replace", "old,new,count", 2, filter_replace },
        { "round", "precision,method", 0, filter_round },
        { "safe", "", 0, filter_safe },
        { "string", "", 0, filter_string },
        { "title", "", 0, filter_title },
        { "tojson", "ensure_ascii,indent,separators,sort_keys", 0, tmpl_filter_tojson },
        { "trim", "chars", 0, filter_trim },
        { "truncate", "length,killwords,end,leeway", 0, filter_truncate },
        { "upper", "", 0, filter_upper },
        { "wordcount", "", 0, filter_wordcount },
    };
    return tmpl_native_find(table, sizeof table / sizeof *table, name, n_bytes);
}
