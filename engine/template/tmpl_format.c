/* SPDX-License-Identifier: MIT */
/* The three ways templates format: '%s' % x, '{}'.format(x) and strftime_now('%d %B'). Names of
 * months and days are English whatever the locale, as models were trained on them. */
#include "engine/template/tmpl_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/base/utf8.h"

enum { MAX_WIDTH = 4096 };

struct spec {
    const struct tmpl_text *fill;    /* NULL: blanks */
    char align;                      /* '<' '>' '^' '=', 0: by type */
    char sign;                       /* '-' '+' ' ' */
    bool alternate;
    bool thousands;
    int width;
    int precision;                   /* -1: none */
    char type;                       /* 0: by value */
};

/* ---- one value ---- */

static void add_thousands(struct tmpl_sb *sb, const char *digits, bool mark)
{
    size_t n = strspn(digits, "0123456789");
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            tmpl_sb_add(sb, ",", 1, mark);
        tmpl_sb_add(sb, digits + i, 1, mark);
    }
    tmpl_sb_add_literal(sb, digits + n, mark);
}

/* Digits of a number without its sign; false for a type that does not fit. */
static bool number_digits(struct tmpl_run *r, const struct spec *s, const struct template_value *v,
                          char *text, size_t n_text, bool *negative)
{
    char type = s->type ? s->type : v->type == TMPL_FLOAT ? 'r' : 'd';
    bool whole = strchr("dixXob", type) != NULL;
    if (whole) {
        if (v->type == TMPL_FLOAT && type != 'd' && type != 'i')
            return tmpl_fail(r, "format '%c' needs an integer", type);
        if (v->type == TMPL_FLOAT && !(fabs(v->as.number) < 9.2e18))
            return tmpl_fail(r, "format '%c' needs a finite number", type);
        int64_t i = v->type == TMPL_FLOAT ? (int64_t)v->as.number : tmpl_as_int(v);
        uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        *negative = i < 0;
        size_t at = n_text;
        unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
        char reversed[72];
        at = 0;
        do {
            unsigned digit = (unsigned)(magnitude % base);
            reversed[at++] = (char)(digit < 10 ? '0' + digit : (type == 'X' ? 'A' : 'a') + digit - 10);
            magnitude /= base;
        } while (magnitude);
        size_t n = 0;
        if (s->alternate && base != 10)
            n = (size_t)snprintf(text, n_text, "0%c", type);
        while (at > 0)
            text[n++] = reversed[--at];
        text[n] = 0;
        return true;
    }
    double number = tmpl_as_double(v);
    int precision = s->precision < 0 ? 6 : s->precision > 60 ? 60 : s->precision;
    *negative = signbit(number) && !isnan(number);
    number = fabs(number);
    if (type == 'r' && s->precision < 0) {
        tmpl_format_float(text, number);
        return true;
    }
    if (type == 'f' || type == 'F' || type == '%')
        snprintf(text, n_text, "%.*f", precision, type == '%' ? number * 100 : number);
    else if (type == 'e')
        snprintf(text, n_text, "%.*e", precision, number);
    else
        snprintf(text, n_text, "%.*g", precision ? precision : 1, number);
    char *comma = strchr(text, ',');    /* a locale's decimal point */
    if (comma)
        *comma = '.';
    if (type == '%')
        strcat(text, "%");
    return true;
}

static bool format_number(struct tmpl_run *r, struct tmpl_sb *sb, const struct spec *s,
                          const struct template_value *v, struct template_value *out, size_t *n_sign)
{
    char text[512];
    bool negative = false;
    if (!number_digits(r, s, v, text, sizeof text - 2, &negative))
        return false;
    char sign = negative ? '-' : s->sign == '+' || s->sign == ' ' ? s->sign : 0;
    *n_sign = sign != 0;
    if (sign)
        tmpl_sb_add(sb, &sign, 1, v->untrusted);
    if (s->thousands)
        add_thousands(sb, text, v->untrusted);
    else
        tmpl_sb_add_literal(sb, text, v->untrusted);
    return tmpl_sb_finish(sb, out);
}

/* Appends body with the filling its spec asks for. */
static void add_padded(struct tmpl_sb *sb, const struct spec *s, const struct tmpl_text *body,
                       size_t n_sign, char default_align)
{
    size_t n = tmpl_count_chars(body), room = (size_t)s->width > n ? (size_t)s->width - n : 0;
    char align = s->align ? s->align : default_align;
    size_t left = align == '>' ? room : align == '^' ? room / 2 : 0;
    size_t right = align == '<' ? room : align == '^' ? room - room / 2 : 0;
    size_t head = align == '=' ? n_sign : 0;    /* what stands before the filling */
    if (align == '=')
        left = room;
    tmpl_sb_add_slice(sb, body, 0, head);
    for (size_t i = 0; i < left + right; i++) {
        if (i == left)
            tmpl_sb_add_slice(sb, body, head, body->n_bytes - head);
        if (s->fill)
            tmpl_sb_add_text(sb, s->fill);
        else
            tmpl_sb_add(sb, " ", 1, tmpl_tainted(body));
    }
    if (right == 0)
        tmpl_sb_add_slice(sb, body, head, body->n_bytes - head);
}

static bool format_value(struct tmpl_run *r, struct tmpl_sb *sb, const struct spec *s,
                         const struct template_value *v)
{
    struct template_value body;
    struct tmpl_sb part;
    size_t n_sign = 0;
    bool number = tmpl_is_number(v) && (s->type ? s->type != 's' : v->type != TMPL_BOOL);
    tmpl_sb_init(&part, r);
    if (s->type && s->type != 's' && !tmpl_is_number(v))
        return tmpl_fail(r, "format '%c' needs a number, not '%s'", s->type, tmpl_type_name(v));
    if (number) {
        if (!format_number(r, &part, s, v, &body, &n_sign))
            return false;
    } else {
        if (!tmpl_to_text(r, v, &body))
            return false;
        if (s->precision >= 0) {
            struct template_value bounds[3] = { { .type = TMPL_ABSENT } };
            struct template_value whole = body;
            bounds[1] = tmpl_int(s->precision);
            if (!tmpl_get_slice(r, &whole, bounds, &body))
                return false;
        }
    }
    add_padded(sb, s, body.as.text, n_sign, number ? '>' : '<');
    return !sb->failed;
}

/* Digits at *at; false when the number is beyond what anybody pads to. */
static bool read_number(const struct tmpl_text *f, size_t *at, int *out)
{
    int n = 0;
    for (; *at < f->n_bytes && f->bytes[*at] >= '0' && f->bytes[*at] <= '9'; ++*at) {
        n = n * 10 + (f->bytes[*at] - '0');
        if (n > MAX_WIDTH)
            return false;
    }
    *out = n;
    return true;
}

/* ---- percent ---- */

/* %(name)s takes from a dict, others from the tuple in order. */
struct percent_args {
    const struct template_value *value;
    size_t next;
};

static bool next_argument(struct tmpl_run *r, struct percent_args *a, struct template_value *out)
{
    bool tuple = a->value->type == TMPL_LIST && a->value->as.list->kind == TMPL_LIST_TUPLE;
    size_t n = tuple ? a->value->as.list->n : 1;
    if (a->next >= n)
        return tmpl_fail(r, "not enough values for the format");
    *out = tuple ? a->value->as.list->items[a->next] : *a->value;
    a->next++;
    return true;
}

static bool named_argument(struct tmpl_run *r, const struct percent_args *a, const struct tmpl_text *f,
                           size_t *at, struct template_value *out)
{
    const char *close = memchr(f->bytes + *at, ')', f->n_bytes - *at);
    if (!close)
        return tmpl_fail(r, "'%%(' without its ')'");
    if (a->value->type != TMPL_DICT)
        return tmpl_fail(r, "%%(name) needs a dict");
    size_t n = (size_t)(close - f->bytes) - *at;
    struct template_value *place = tmpl_dict_find_bytes(a->value->as.dict, f->bytes + *at, n);
    if (!place)
        return tmpl_fail(r, "the format names a key that is not there");
    *out = *place;
    *at += n + 1;
    return true;
}

static void read_flags(const struct tmpl_text *f, size_t *at, struct spec *s, bool *zero)
{
    for (; *at < f->n_bytes && strchr("-+ #0", f->bytes[*at]) && f->bytes[*at]; ++*at) {
        char c = f->bytes[*at];
        if (c == '-')
            s->align = '<';
        else if (c == '#')
            s->alternate = true;
        else if (c == '0')
            *zero = true;
        else
            s->sign = c;
    }
}

static bool percent_one(struct tmpl_run *r, struct tmpl_sb *sb, const struct tmpl_text *f, size_t *at,
                        struct percent_args *args)
{
    static const struct tmpl_text zeros = { "0", NULL, 1, false };
    struct spec s = { .precision = -1 };
    struct template_value v = { .type = TMPL_ABSENT }, repr;
    bool zero = false;
    if (*at < f->n_bytes && f->bytes[*at] == '(') {
        ++*at;
        if (!named_argument(r, args, f, at, &v))
            return false;
    }
    read_flags(f, at, &s, &zero);
    if (!read_number(f, at, &s.width))
        return tmpl_fail(r, "a width of more than %d", (int)MAX_WIDTH);
    if (*at < f->n_bytes && f->bytes[*at] == '.') {
        ++*at;
        if (!read_number(f, at, &s.precision))
            return tmpl_fail(r, "a precision of more than %d", (int)MAX_WIDTH);
    }
    if (*at >= f->n_bytes)
        return tmpl_fail(r, "the format ends inside '%%'");
    char type = f->bytes[(*at)++];
    if (type == '%') {
        tmpl_sb_add(sb, "%", 1, tmpl_tainted(f));
        return true;
    }
    if (v.type == TMPL_ABSENT && !next_argument(r, args, &v))
        return false;
    if (!strchr("srdiufFeEgGxXo", type) || !type)
        return tmpl_fail(r, "unknown format '%%%c'", type);
    s.type = type == 'r' ? 's' : type == 'u' || type == 'i' ? 'd' : type;
    if (type == 'r') {
        struct tmpl_sb part;
        tmpl_sb_init(&part, r);
        tmpl_print_repr(&part, &v, TMPL_VALUE_DEPTH);
        if (!tmpl_sb_finish(&part, &repr))
            return false;
        v = repr;
    }
    if (s.type != 's' && zero && !s.align) {
        s.fill = &zeros;
        s.align = '=';
    }
    if (!s.align)
        s.align = '>';
    return format_value(r, sb, &s, &v);
}

bool tmpl_format_percent(struct tmpl_run *r, const struct tmpl_text *format,
                         const struct template_value *values, struct template_value *out)
{
    struct percent_args args = { .value = values };
    struct tmpl_sb sb;
    tmpl_sb_init(&sb, r);
    for (size_t at = 0; at < format->n_bytes;) {
        const char *percent = memchr(format->bytes + at, '%', format->n_bytes - at);
        size_t end = percent ? (size_t)(percent - format->bytes) : format->n_bytes;
        tmpl_sb_add_slice(&sb, format, at, end - at);
        at = end;
        if (!percent)
            break;
        at++;
        if (!percent_one(r, &sb, format, &at, &args))
            return false;
    }
    bool tuple = values->type == TMPL_LIST && values->as.list->kind == TMPL_LIST_TUPLE;
    size_t n = tuple ? values->as.list->n : values->type == TMPL_DICT || values->type == TMPL_LIST ? 0 : 1;
    if (args.next < n)
        return tmpl_fail(r, "more values than the format takes");
    return tmpl_sb_finish(&sb, out);
}

/* ---- braces ---- */

/* name, then .attribute and [item] any number of times. */
static bool resolve_field(struct tmpl_run *r, const struct tmpl_text *f, size_t from, size_t to,
                          const struct tmpl_args *args, int *next, struct template_value *out)
{
    size_t end = from;
    while (end < to && f->bytes[end] != '.' && f->bytes[end] != '[')
        end++;
    bool digits = end > from && end - from < 6;
    int index = 0;
    for (size_t i = from; i < end; i++) {
        digits = digits && f->bytes[i] >= '0' && f->bytes[i] <= '9';
        index = digits ? index * 10 + (f->bytes[i] - '0') : 0;
    }
    if (end == from || digits) {
        index = end == from ? (*next)++ : index;
        if ((size_t)index >= args->n_items)
            return tmpl_fail(r, "format has no argument %d", index);
        *out = args->items[index];
    } else {
        size_t i = 0;
        while (i < args->n_keywords && !(args->keywords[i].name->n_bytes == end - from &&
               memcmp(args->keywords[i].name->bytes, f->bytes + from, end - from) == 0))
            i++;
        if (i == args->n_keywords)
            return tmpl_fail(r, "format has no argument '%.*s'", (int)(end - from < 60 ? end - from : 60),
                             f->bytes + from);
        *out = args->keywords[i].value;
    }
    while (end < to) {
        bool item = f->bytes[end] == '[';
        size_t start = ++end;
        while (end < to && (item ? f->bytes[end] != ']' : f->bytes[end] != '.' && f->bytes[end] != '['))
            end++;
        struct template_value key, x = *out;
        if (!tmpl_slice_text(r, f, start, end - start, &key))
            return false;
        if (item && end - start < 9 && end > start &&
            strspn(f->bytes + start, "0123456789") >= end - start) {
            int64_t number = 0;
            for (size_t i = start; i < end; i++)
                number = number * 10 + (f->bytes[i] - '0');
            key = tmpl_int(number);
        }
        if (!(item ? tmpl_get_item(r, &x, &key, out) : tmpl_get_attribute(r, &x, key.as.text, out)))
            return false;
        end += item;
    }
    return true;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static bool read_spec(struct tmpl_run *r, const struct tmpl_text *f, size_t at, size_t to, struct spec *s)
{
    static const struct tmpl_text zeros = { "0", NULL, 1, false };
    struct template_value fill;
    uint32_t cp;
    struct tmpl_text part = *f;
    part.n_bytes = to;
    size_t n = at < to ? (size_t)utf8_decode(f->bytes + at, to - at, &cp) : 0;
    if (n && at + n < to && strchr("<>^=", f->bytes[at + n])) {
        if (!tmpl_slice_text(r, f, at, n, &fill))
            return false;
        s->fill = fill.as.text;
        at += n;
    }
    if (at < to && strchr("<>^=", f->bytes[at]))
        s->align = f->bytes[at++];
    if (at < to && strchr("+- ", f->bytes[at]))
        s->sign = f->bytes[at++];
    if (at < to && f->bytes[at] == '#') {
        s->alternate = true;
        at++;
    }
    if (at < to && f->bytes[at] == '0' && !s->fill) {
        s->fill = &zeros;
        s->align = s->align ? s->align : '=';
        at++;
    }
    if (!read_number(&part, &at, &s->width))
        return tmpl_fail(r, "a width of more than %d", (int)MAX_WIDTH);
    if (at < to && f->bytes[at] == ',') {
        s->thousands = true;
        at++;
    }
    if (at < to && f->bytes[at] == '.') {
        at++;
        if (!read_number(&part, &at, &s->precision))
            return tmpl_fail(r, "a precision of more than %d", (int)MAX_WIDTH);
    }
    if (at < to)
        s->type = f->bytes[at++];
    if (at < to || (s->type && !strchr("sdxXobfFeg%", s->type)))
        return tmpl_fail(r, "unknown format specification");
    return true;
}

static bool braces_one(struct tmpl_run *r, struct tmpl_sb *sb, const struct tmpl_text *f, size_t from,
                       size_t to, const struct tmpl_args *args, int *next)
{
    struct spec s = { .precision = -1 };
    struct template_value v;
    const char *colon = memchr(f->bytes + from, ':', to - from);
    size_t name_end = colon ? (size_t)(colon - f->bytes) : to;
    char conversion = 0;
    if (name_end >= from + 2 && f->bytes[name_end - 2] == '!') {
        conversion = f->bytes[name_end - 1];
        name_end -= 2;
    }
    if (!resolve_field(r, f, from, name_end, args, next, &v))
        return false;
    if (conversion == 'r') {
        struct tmpl_sb part;
        struct template_value repr;
        tmpl_sb_init(&part, r);
        tmpl_print_repr(&part, &v, TMPL_VALUE_DEPTH);
        if (!tmpl_sb_finish(&part, &repr))
            return false;
        v = repr;
    }
    if (colon && !read_spec(r, f, (size_t)(colon - f->bytes) + 1, to, &s))
        return false;
    return format_value(r, sb, &s, &v);
}

bool tmpl_format_braces(struct tmpl_run *r, const struct tmpl_text *format,
                        const struct tmpl_args *args, struct template_value *out)
{
    struct tmpl_sb sb;
    int next = 0;
    tmpl_sb_init(&sb, r);
    for (size_t at = 0; at < format->n_bytes && !sb.failed;) {
        char c = format->bytes[at];
        size_t end = at;
        while (end < format->n_bytes && format->bytes[end] != '{' && format->bytes[end] != '}')
            end++;
        if (end > at) {
            tmpl_sb_add_slice(&sb, format, at, end - at);
            at = end;
            continue;
        }
        if (at + 1 < format->n_bytes && format->bytes[at + 1] == c) {
            tmpl_sb_add_slice(&sb, format, at, 1);
            at += 2;
            continue;
        }
        const char *close = c == '{' ? memchr(format->bytes + at, '}', format->n_bytes - at) : NULL;
        if (!close)
            return tmpl_fail(r, "format: a single '%c'", c);
        end = (size_t)(close - format->bytes);
        if (!braces_one(r, &sb, format, at + 1, end, args, &next))
            return false;
        at = end + 1;
    }
    return tmpl_sb_finish(&sb, out);
}

/* ---- time ---- */

/* "2026-07-31", "2026-07-31 18:30:00" or with a T between. */
static bool read_time(const struct tmpl_text *text, struct tm *tm)
{
    char copy[32];
    if (text->n_bytes >= sizeof copy)
        return false;
    memcpy(copy, text->bytes, text->n_bytes);
    copy[text->n_bytes] = 0;
    memset(tm, 0, sizeof *tm);
    char separator;
    int n = sscanf(copy, "%4d-%2d-%2d%c%2d:%2d:%2d", &tm->tm_year, &tm->tm_mon, &tm->tm_mday,
                   &separator, &tm->tm_hour, &tm->tm_min, &tm->tm_sec);
    if (n < 3 || n == 4 || tm->tm_mon < 1 || tm->tm_mon > 12 || tm->tm_mday < 1 || tm->tm_mday > 31)
        return false;
    tm->tm_year -= 1900;
    tm->tm_mon -= 1;
    time_t seconds = timegm(tm);
    return gmtime_r(&seconds, tm) != NULL;
}

static bool now(struct tmpl_run *r, struct tm *tm)
{
    const struct template_value *given = tmpl_dict_find_bytes(r->inputs, "now", 3);
    time_t seconds = time(NULL);
    if (!given || given->type == TMPL_NONE || given->type == TMPL_UNDEFINED)
        return localtime_r(&seconds, tm) || tmpl_fail(r, "the system's clock cannot be read");
    if (given->type == TMPL_TEXT && read_time(given->as.text, tm))
        return true;
    if (tmpl_is_number(given) && fabs(tmpl_as_double(given)) < 2e11) {
        seconds = (time_t)tmpl_as_double(given);
        if (gmtime_r(&seconds, tm))
            return true;
    }
    return tmpl_fail(r, "now must be seconds since 1970 or \"YYYY-MM-DD HH:MM:SS\"");
}

static void add_time_field(struct tmpl_sb *sb, const struct tm *tm, char field, bool bare, bool mark)
{
    static const char *const months[] = { "January", "February", "March", "April", "May", "June",
                                          "July", "August", "September", "October", "November",
                                          "December" };
    static const char *const days[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday",
                                        "Friday", "Saturday" };
    char text[64];
    int hour12 = tm->tm_hour % 12 ? tm->tm_hour % 12 : 12, year = tm->tm_year + 1900;
    int number = field == 'd' ? tm->tm_mday : field == 'm' ? tm->tm_mon + 1 : field == 'H' ? tm->tm_hour
                 : field == 'I' ? hour12 : field == 'M' ? tm->tm_min : field == 'S' ? tm->tm_sec
                 : field == 'y' ? year % 100 : -1;
    if (number >= 0)
        snprintf(text, sizeof text, bare ? "%d" : "%02d", number);
    else if (field == 'Y')
        snprintf(text, sizeof text, "%d", year);
    else if (field == 'B' || field == 'b' || field == 'h')
        snprintf(text, sizeof text, "%.*s", field == 'B' ? 20 : 3, months[tm->tm_mon]);
    else if (field == 'A' || field == 'a')
        snprintf(text, sizeof text, "%.*s", field == 'A' ? 20 : 3, days[tm->tm_wday]);
    else if (field == 'e')
        snprintf(text, sizeof text, bare ? "%d" : "%2d", tm->tm_mday);
    else if (field == 'j')
        snprintf(text, sizeof text, bare ? "%d" : "%03d", tm->tm_yday + 1);
    else if (field == 'p')
        snprintf(text, sizeof text, "%s", tm->tm_hour < 12 ? "AM" : "PM");
    else if (field == 'F')
        snprintf(text, sizeof text, "%d-%02d-%02d", year, tm->tm_mon + 1, tm->tm_mday);
    else if (field == 'D')
        snprintf(text, sizeof text, "%02d/%02d/%02d", tm->tm_mon + 1, tm->tm_mday, year % 100);
    else if (field == 'T' || field == 'X')
        snprintf(text, sizeof text, "%02d:%02d:%02d", tm->tm_hour, tm->tm_min, tm->tm_sec);
    else if (field == 'R')
        snprintf(text, sizeof text, "%02d:%02d", tm->tm_hour, tm->tm_min);
    else if (field == 'w' || field == 'u')
        snprintf(text, sizeof text, "%d", field == 'u' && tm->tm_wday == 0 ? 7 : tm->tm_wday);
    else if (field == 'f')
        snprintf(text, sizeof text, "000000");
    else if (field == 'Z' || field == 'z')
        text[0] = 0;    /* a time without zone, as datetime.now() gives */
    else
        snprintf(text, sizeof text, "%s%c", field == '%' ? "" : "%", field);
    tmpl_sb_add_literal(sb, text, mark);
}

bool tmpl_format_time(struct tmpl_run *r, const struct tmpl_text *format, struct template_value *out)
{
    struct tmpl_sb sb;
    struct tm tm;
    if (!now(r, &tm))
        return false;
    tmpl_sb_init(&sb, r);
    for (size_t at = 0; at < format->n_bytes; at++) {
        if (format->bytes[at] != '%' || at + 1 >= format->n_bytes) {
            tmpl_sb_add_slice(&sb, format, at, 1);
            continue;
        }
        at++;
        bool bare = format->bytes[at] == '-' && at + 1 < format->n_bytes;
        at += bare;
        add_time_field(&sb, &tm, format->bytes[at], bare, tmpl_mark_at(format, at));
    }
    return tmpl_sb_finish(&sb, out);
}
