/* SPDX-License-Identifier: MIT */
/* Texts: the builder that grows one with its marks, and the operations of Python's str that need
 * nothing but texts. Positions are bytes inside, code points outside. */
#include "engine/template/tmpl_run.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

/* ---- builder ---- */

void tmpl_sb_init(struct tmpl_sb *sb, struct tmpl_run *r)
{
    *sb = (struct tmpl_sb){ .run = r };
}

static bool sb_reserve(struct tmpl_sb *sb, size_t n_more)
{
    struct tmpl_run *r = sb->run;
    if (sb->failed)
        return false;
    if (n_more > r->limits.output_bytes || sb->n_bytes > r->limits.output_bytes - n_more) {
        tmpl_fail(r, "makes a text of more than %zu bytes", r->limits.output_bytes);
        goto fail;
    }
    size_t need = sb->n_bytes + n_more;
    if (need <= sb->cap_bytes)
        return true;
    size_t cap = sb->cap_bytes * 2 > need ? sb->cap_bytes * 2 : need < 32 ? 32 : need;
    char *bytes = tmpl_alloc(r, cap, 2);
    if (!bytes)
        goto fail;
    uint8_t *marks = (uint8_t *)bytes + cap;
    if (sb->n_bytes) {
        memcpy(bytes, sb->bytes, sb->n_bytes);
        memcpy(marks, sb->marks, sb->n_bytes);
    }
    sb->bytes = bytes;
    sb->marks = marks;
    sb->cap_bytes = cap;
    return true;
fail:
    sb->failed = true;
    return false;
}

void tmpl_sb_add(struct tmpl_sb *sb, const char *bytes, size_t n_bytes, bool untrusted)
{
    if (n_bytes == 0 || !sb_reserve(sb, n_bytes))
        return;
    memcpy(sb->bytes + sb->n_bytes, bytes, n_bytes);
    memset(sb->marks + sb->n_bytes, untrusted, n_bytes);
    sb->n_bytes += n_bytes;
}

void tmpl_sb_add_literal(struct tmpl_sb *sb, const char *literal, bool untrusted)
{
    tmpl_sb_add(sb, literal, strlen(literal), untrusted);
}

void tmpl_sb_add_slice(struct tmpl_sb *sb, const struct tmpl_text *text, size_t offset, size_t n)
{
    if (n == 0 || !sb_reserve(sb, n))
        return;
    memcpy(sb->bytes + sb->n_bytes, text->bytes + offset, n);
    if (text->marks)
        memcpy(sb->marks + sb->n_bytes, text->marks + offset, n);
    else
        memset(sb->marks + sb->n_bytes, text->untrusted, n);
    sb->n_bytes += n;
}

void tmpl_sb_add_text(struct tmpl_sb *sb, const struct tmpl_text *text)
{
    tmpl_sb_add_slice(sb, text, 0, text->n_bytes);
}

void tmpl_sb_add_code_point(struct tmpl_sb *sb, uint32_t code_point, bool untrusted)
{
    char bytes[4];
    tmpl_sb_add(sb, bytes, (size_t)utf8_encode(bytes, code_point), untrusted);
}

void tmpl_sb_fill(struct tmpl_sb *sb, char byte, size_t n, bool untrusted)
{
    if (n == 0 || !sb_reserve(sb, n))
        return;
    memset(sb->bytes + sb->n_bytes, byte, n);
    memset(sb->marks + sb->n_bytes, untrusted, n);
    sb->n_bytes += n;
}

bool tmpl_sb_finish(struct tmpl_sb *sb, struct template_value *out)
{
    struct tmpl_run *r = sb->run;
    if (sb->failed || !tmpl_charge(r, sb->n_bytes))
        return false;
    struct tmpl_text *text = tmpl_alloc(r, 1, sizeof *text);
    if (!text)
        return false;
    *text = (struct tmpl_text){ .bytes = sb->bytes ? sb->bytes : "", .n_bytes = sb->n_bytes };
    if (sb->n_bytes) {
        text->untrusted = sb->marks[0];
        if (memchr(sb->marks, !sb->marks[0], sb->n_bytes))
            text->marks = sb->marks;
    }
    *out = tmpl_text_value(text);
    return true;
}

/* ---- looking ---- */

bool tmpl_mark_at(const struct tmpl_text *text, size_t offset)
{
    return text->marks ? text->marks[offset] : text->untrusted;
}

bool tmpl_tainted(const struct tmpl_text *text)
{
    return text->marks ? true : text->untrusted;
}

size_t tmpl_count_chars(const struct tmpl_text *text)
{
    size_t n = 0;
    uint32_t cp;
    for (size_t at = 0; at < text->n_bytes; n++)
        at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
    return n;
}

size_t tmpl_find(const struct tmpl_text *text, const struct tmpl_text *needle, size_t from)
{
    if (from > text->n_bytes)
        return SIZE_MAX;
    if (needle->n_bytes == 0)
        return from;
    const char *hit = memmem(text->bytes + from, text->n_bytes - from, needle->bytes, needle->n_bytes);
    return hit ? (size_t)(hit - text->bytes) : SIZE_MAX;
}

bool tmpl_is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

/* ---- making ---- */

bool tmpl_slice_text(struct tmpl_run *r, const struct tmpl_text *text, size_t offset, size_t n,
                     struct template_value *out)
{
    struct tmpl_text *slice = tmpl_alloc(r, 1, sizeof *slice);
    if (!slice)
        return false;
    *slice = *text;
    slice->bytes += offset;
    slice->n_bytes = n;
    if (text->marks) {
        slice->marks = text->marks + offset;
        slice->untrusted = n ? slice->marks[0] : false;
        if (n == 0 || !memchr(slice->marks, !slice->marks[0], n))
            slice->marks = NULL;
    }
    *out = tmpl_text_value(slice);
    return tmpl_charge(r, 0);
}

static bool in_set(uint32_t cp, const struct tmpl_text *chars)
{
    if (!chars)
        return tmpl_is_space(cp);
    uint32_t c;
    for (size_t at = 0; at < chars->n_bytes;) {
        at += (size_t)utf8_decode(chars->bytes + at, chars->n_bytes - at, &c);
        if (c == cp)
            return true;
    }
    return false;
}

bool tmpl_strip_text(struct tmpl_run *r, const struct tmpl_text *text, const struct tmpl_text *chars,
                     enum tmpl_strip sides, struct template_value *out)
{
    size_t from = 0, to = text->n_bytes;
    uint32_t cp;
    while ((sides & TMPL_STRIP_LEFT) && from < to) {
        int n = utf8_decode(text->bytes + from, to - from, &cp);
        if (!in_set(cp, chars))
            break;
        from += (size_t)n;
    }
    while ((sides & TMPL_STRIP_RIGHT) && from < to) {
        size_t at = to - 1;
        while (at > from && to - at < 4 && ((unsigned char)text->bytes[at] & 0xC0) == 0x80)
            at--;
        if ((size_t)utf8_decode(text->bytes + at, to - at, &cp) != to - at) {
            at = to - 1;    /* no well-formed character: a byte by itself */
            cp = UTF8_REPLACEMENT;
        }
        if (!in_set(cp, chars))
            break;
        to = at;
    }
    size_t work = (text->n_bytes - (to - from)) * (1 + (chars ? chars->n_bytes : 0));
    return tmpl_charge(r, work) && tmpl_slice_text(r, text, from, to - from, out);
}

bool tmpl_replace_text(struct tmpl_run *r, const struct tmpl_text *text, const struct tmpl_text *old,
                       const struct tmpl_text *with, int64_t max, struct template_value *out)
{
    struct tmpl_sb sb;
    size_t from = 0, at = 0;
    tmpl_sb_init(&sb, r);
    for (; max != 0 && !sb.failed; max--) {
        at = tmpl_find(text, old, at);
        if (at == SIZE_MAX)
            break;
        tmpl_sb_add_slice(&sb, text, from, at - from);
        tmpl_sb_add_text(&sb, with);
        from = at;
        if (old->n_bytes) {
            from = at += old->n_bytes;
        } else {    /* between all characters, and at both ends */
            uint32_t cp;
            if (at == text->n_bytes)
                break;
            at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        }
    }
    tmpl_sb_add_slice(&sb, text, from, text->n_bytes - from);
    return tmpl_sb_finish(&sb, out);
}

/* Upper case may be longer than one character; these are all that European text meets. */
static void add_upper(struct tmpl_sb *sb, uint32_t cp, bool title, bool untrusted)
{
    static const struct {
        uint32_t from;
        const char *upper;
        const char *title;
    } special[] = { { 0xDF, "SS", "Ss" },     { 0x149, "\xCA\xBCN", "\xCA\xBCN" },
                    { 0xFB00, "FF", "Ff" },   { 0xFB01, "FI", "Fi" },
                    { 0xFB02, "FL", "Fl" },   { 0xFB03, "FFI", "Ffi" },
                    { 0xFB04, "FFL", "Ffl" }, { 0xFB05, "ST", "St" },
                    { 0xFB06, "ST", "St" } };
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (special[i].from == cp) {
            tmpl_sb_add_literal(sb, title ? special[i].title : special[i].upper, untrusted);
            return;
        }
    }
    int32_t to = title ? utf8proc_totitle((int32_t)cp) : utf8proc_toupper((int32_t)cp);
    tmpl_sb_add_code_point(sb, (uint32_t)to, untrusted);
}

static bool is_cased(uint32_t cp)
{
    int category = utf8proc_category((int32_t)cp);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT;
}

static void add_lower(struct tmpl_sb *sb, const struct tmpl_text *text, size_t at, uint32_t cp,
                      bool after_cased, bool untrusted)
{
    if (cp == 0x130) {    /* I with dot: i and a combining dot */
        tmpl_sb_add_literal(sb, "i\xCC\x87", untrusted);
        return;
    }
    if (cp == 0x3A3 && after_cased) {    /* sigma at the end of a word */
        uint32_t next = ' ';
        if (at < text->n_bytes)
            utf8_decode(text->bytes + at, text->n_bytes - at, &next);
        tmpl_sb_add_code_point(sb, is_cased(next) ? 0x3C3 : 0x3C2, untrusted);
        return;
    }
    tmpl_sb_add_code_point(sb, (uint32_t)utf8proc_tolower((int32_t)cp), untrusted);
}

bool tmpl_change_case(struct tmpl_run *r, const struct tmpl_text *text, enum tmpl_case to,
                      struct template_value *out)
{
    struct tmpl_sb sb;
    tmpl_sb_init(&sb, r);
    bool after_cased = false;
    for (size_t at = 0, next; at < text->n_bytes && !sb.failed; at = next) {
        uint32_t cp;
        int n = utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        next = at + (size_t)n;
        bool untrusted = tmpl_mark_at(text, at);
        bool big = to == TMPL_CASE_UPPER || (to == TMPL_CASE_CAPITAL && at == 0) ||
                   (to == TMPL_CASE_TITLE && !after_cased);
        if (cp == UTF8_REPLACEMENT && n == 1)
            tmpl_sb_add_slice(&sb, text, at, 1);
        else if (big)
            add_upper(&sb, cp, to != TMPL_CASE_UPPER, untrusted);
        else
            add_lower(&sb, text, next, cp, after_cased, untrusted);
        after_cased = is_cased(cp);
    }
    return tmpl_sb_finish(&sb, out);
}

static bool is_line_end(uint32_t cp)
{
    return (cp >= 0x0A && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 ||
           cp == 0x2028 || cp == 0x2029;
}

bool tmpl_split_lines(struct tmpl_run *r, const struct tmpl_text *text, bool keep_ends,
                      struct template_value *out)
{
    size_t from = 0;
    if (!tmpl_make_list(r, TMPL_LIST_PLAIN, 0, out))
        return false;
    for (size_t at = 0; at < text->n_bytes;) {
        uint32_t cp;
        size_t end = at;
        at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        if (is_line_end(cp)) {
            if (cp == '\r' && at < text->n_bytes && text->bytes[at] == '\n')
                at++;
            end = keep_ends ? at : end;
        } else if (at == text->n_bytes) {
            end = at;
        } else {
            continue;
        }
        struct template_value line;
        if (!tmpl_slice_text(r, text, from, end - from, &line) || !tmpl_push(r, out, line))
            return false;
        from = at;
    }
    return tmpl_charge(r, text->n_bytes);
}
