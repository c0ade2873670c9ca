/* SPDX-License-Identifier: MIT */
/* The lexer walks the source once. Outside of tags it looks for the next `{{`, `{%` or `{#`; inside
 * it cuts expressions into tokens. White space around tags is settled here, so the parser never
 * sees it:
 *
 *   {%- -%}  take all white space on their side; {%+ +%} take none
 *   %} #}    also take one newline after them (trim_blocks)
 *   {% {#    also take the blanks before them when nothing else is on their line (lstrip_blocks)
 *   {{ }}    take nothing unless marked
 *
 * The end of a tag only counts outside of brackets, so that {{ {'a': {}} }} works. */
#include "engine/template/tmpl_lex.h"

#include <string.h>

#include "engine/base/utf8.h"
#include "engine/template/tmpl_run.h"

enum { MAX_SOURCE_BYTES = 4 * 1024 * 1024, MAX_BRACKETS = 256 };

struct lexer {
    struct arena *arena;
    struct err *err;
    struct tmpl_tokens *tokens;
    const char *bytes;
    size_t n;
    size_t pos;
    int32_t line;
    char brackets[MAX_BRACKETS];
    int n_brackets;
};

static enum err_code lex_error(const struct lexer *l, const char *what)
{
    return err_set(l->err, ERR_FORMAT, "template line %d: %s", (int)l->line, what);
}

static enum err_code emit(struct lexer *l, struct tmpl_token token)
{
    struct tmpl_tokens *t = l->tokens;
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        struct tmpl_token *items = arena_alloc(l->arena, cap, sizeof *items);
        if (!items)
            return err_set(l->err, ERR_NOMEM, "template: no memory for its tokens");
        if (t->n)
            memcpy(items, t->items, t->n * sizeof *items);
        t->items = items;
        t->cap = cap;
    }
    t->items[t->n++] = token;
    return ERR_OK;
}

static enum err_code emit_span(struct lexer *l, enum tmpl_token_type type, size_t from, size_t to)
{
    return emit(l, (struct tmpl_token){
        .type = type, .line = l->line, .text = l->bytes + from, .n_bytes = to - from });
}

static bool looking_at(const struct lexer *l, size_t pos, const char *literal)
{
    size_t n = strlen(literal);
    return pos <= l->n && l->n - pos >= n && memcmp(l->bytes + pos, literal, n) == 0;
}

/* First position at or after pos that is no white space. */
static size_t skip_space(const struct lexer *l, size_t pos)
{
    while (pos < l->n) {
        uint32_t cp;
        int n = utf8_decode(l->bytes + pos, l->n - pos, &cp);
        if (!tmpl_is_space(cp))
            break;
        pos += (size_t)n;
    }
    return pos;
}

/* End of [from, to) without the white space at its end. */
static size_t trim_end(const struct lexer *l, size_t from, size_t to)
{
    while (to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)l->bytes[at] & 0xC0) == 0x80)
            at--;
        uint32_t cp;
        int n = utf8_decode(l->bytes + at, to - at, &cp);
        if ((size_t)n != to - at || !tmpl_is_space(cp))
            break;
        to = at;
    }
    return to;
}

static void advance(struct lexer *l, size_t to)
{
    for (; l->pos < to; l->pos++)
        l->line += l->bytes[l->pos] == '\n';
}

/* Where the text before a tag ends, by the tag's sign. */
static size_t text_end(const struct lexer *l, size_t from, size_t tag, char sign, bool is_variable)
{
    if (sign == '-')
        return trim_end(l, from, tag);
    if (sign == '+' || is_variable)
        return tag;
    size_t line_start = tag;
    while (line_start > from && l->bytes[line_start - 1] != '\n')
        line_start--;
    bool at_line_start = line_start > 0 ? l->bytes[line_start - 1] == '\n' : true;
    if (at_line_start && skip_space(l, line_start) >= tag)
        return line_start;
    return tag;
}

/* If a tag ends at pos ("%}", "-%}", "+%}"), sets *after to where the template goes on. */
static bool tag_end(const struct lexer *l, size_t pos, const char *closing, bool takes_newline,
                    size_t *after)
{
    if (looking_at(l, pos, closing)) {
        *after = pos + 2;
        if (takes_newline && *after < l->n && l->bytes[*after] == '\n')
            ++*after;
        return true;
    }
    if (pos < l->n && l->bytes[pos] == '-' && looking_at(l, pos + 1, closing)) {
        *after = skip_space(l, pos + 3);
        return true;
    }
    if (takes_newline && pos < l->n && l->bytes[pos] == '+' && looking_at(l, pos + 1, closing)) {
        *after = pos + 3;
        return true;
    }
    return false;
}

static size_t skip_sign(const struct lexer *l, size_t pos, char *sign)
{
    *sign = 0;
    if (pos < l->n && (l->bytes[pos] == '-' || l->bytes[pos] == '+'))
        *sign = l->bytes[pos++];
    return pos;
}

static enum err_code lex_comment(struct lexer *l, size_t body)
{
    for (size_t at = body; at < l->n; at++) {
        size_t after;
        if (tag_end(l, at, "#}", true, &after)) {
            advance(l, after);
            return ERR_OK;
        }
    }
    return lex_error(l, "comment without its end '#}'");
}

/* Whether the tag at pos (behind "{%" and its sign) is `word`; sets *after behind the word. */
static bool is_word(const struct lexer *l, size_t pos, const char *word, size_t *after)
{
    pos = skip_space(l, pos);
    if (!looking_at(l, pos, word))
        return false;
    *after = skip_space(l, pos + strlen(word));
    return true;
}

static bool raw_begins(const struct lexer *l, size_t pos, size_t *after)
{
    size_t end;
    return is_word(l, pos, "raw", &end) && tag_end(l, end, "%}", false, after);
}

static enum err_code lex_raw(struct lexer *l, size_t body)
{
    advance(l, body);
    for (size_t at = body; at < l->n; at++) {
        char sign;
        size_t end, after;
        if (!looking_at(l, at, "{%"))
            continue;
        if (!is_word(l, skip_sign(l, at + 2, &sign), "endraw", &end) ||
            !tag_end(l, end, "%}", true, &after))
            continue;
        size_t stop = text_end(l, body, at, sign, false);
        enum err_code rc = stop > body ? emit_span(l, TMPL_T_DATA, body, stop) : ERR_OK;
        advance(l, after);
        return rc;
    }
    return lex_error(l, "raw block without its end");
}

static bool is_name_start(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* 0 to 15, or 99. */
static unsigned hex_digit(unsigned char c)
{
    if (is_digit(c))
        return c - (unsigned)'0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10 : 99;
}

static size_t skip_digits(const struct lexer *l, size_t pos)
{
    while (pos < l->n && (is_digit((unsigned char)l->bytes[pos]) ||
           (l->bytes[pos] == '_' && pos + 1 < l->n && is_digit((unsigned char)l->bytes[pos + 1]))))
        pos++;
    return pos;
}

static enum err_code lex_radix(struct lexer *l, unsigned radix)
{
    size_t at = l->pos + 2;
    int64_t value = 0;
    bool any = false;
    for (; at < l->n; at++) {
        unsigned char c = (unsigned char)l->bytes[at];
        unsigned digit = hex_digit(c);
        if (c == '_')
            continue;
        if (digit >= radix)
            break;
        any = true;
        if (__builtin_mul_overflow(value, (int64_t)radix, &value) ||
            __builtin_add_overflow(value, (int64_t)digit, &value))
            return lex_error(l, "number beyond 64 bits");
    }
    if (!any)
        return lex_error(l, "number without digits");
    l->pos = at;
    return emit(l, (struct tmpl_token){ .type = TMPL_T_INT, .line = l->line, .integer = value });
}

static enum err_code lex_number(struct lexer *l)
{
    if (l->bytes[l->pos] == '0' && l->pos + 1 < l->n) {
        char c = (char)(l->bytes[l->pos + 1] | 32);
        if (c == 'x' || c == 'o' || c == 'b')
            return lex_radix(l, c == 'x' ? 16 : c == 'o' ? 8 : 2);
    }
    size_t end = skip_digits(l, l->pos);
    bool is_float = false;
    /* After a point, `a.0.5` is two subscripts, no fraction. */
    bool after_point = l->pos > 0 && l->bytes[l->pos - 1] == '.';
    if (!after_point && end + 1 < l->n && l->bytes[end] == '.' &&
        is_digit((unsigned char)l->bytes[end + 1])) {
        end = skip_digits(l, end + 1);
        is_float = true;
    }
    if (!after_point && end < l->n && (l->bytes[end] | 32) == 'e') {
        size_t at = end + 1;
        if (at < l->n && (l->bytes[at] == '+' || l->bytes[at] == '-'))
            at++;
        if (at < l->n && is_digit((unsigned char)l->bytes[at])) {
            end = skip_digits(l, at);
            is_float = true;
        }
    }
    char digits[64];
    size_t n = 0;
    for (size_t at = l->pos; at < end; at++) {
        if (l->bytes[at] == '_')
            continue;
        if (n + 1 >= sizeof digits)
            return lex_error(l, "number with too many digits");
        digits[n++] = l->bytes[at];
    }
    struct tmpl_token token = { .type = TMPL_T_INT, .line = l->line };
    l->pos = end;
    if (is_float) {
        token.type = TMPL_T_FLOAT;
        if (!tmpl_parse_float(digits, n, &token.number))
            return lex_error(l, "malformed number");
        return emit(l, token);
    }
    for (size_t i = 0; i < n; i++) {
        if (__builtin_mul_overflow(token.integer, (int64_t)10, &token.integer) ||
            __builtin_add_overflow(token.integer, (int64_t)(digits[i] - '0'), &token.integer))
            return lex_error(l, "number beyond 64 bits");
    }
    return emit(l, token);
}

/* Reads up to max digits of an escape; the number read, or -1 when there are fewer than min. */
static int64_t escape_digits(const char *s, size_t n, unsigned radix, size_t min, size_t max,
                             size_t *used)
{
    int64_t value = 0;
    size_t i = 0;
    for (; i < n && i < max; i++) {
        unsigned char c = (unsigned char)s[i];
        unsigned digit = hex_digit(c);
        if (digit >= radix)
            break;
        value = value * radix + digit;
    }
    *used = i;
    return i < min ? -1 : value;
}

/* One escape at s (behind the backslash); writes its bytes and returns how many source bytes it
 * took, 0 when it is malformed. An unknown escape stays as written, as in Python. */
static size_t unescape(const char *s, size_t n, char *out, size_t *n_out)
{
    static const char plain[] = "n\nt\tr\ra\ab\bf\fv\v\\\\''\"\"";
    size_t used = 0;
    int64_t value;
    for (size_t i = 0; i + 1 < sizeof plain; i += 2) {
        if (s[0] == plain[i]) {
            out[0] = plain[i + 1];
            *n_out = 1;
            return 1;
        }
    }
    if (s[0] == '\n') {
        *n_out = 0;
        return 1;
    }
    if (s[0] >= '0' && s[0] <= '7') {
        value = escape_digits(s, n, 8, 1, 3, &used);
    } else if (s[0] == 'x' || s[0] == 'u' || s[0] == 'U') {
        size_t want = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : 8;
        value = escape_digits(s + 1, n - 1, 16, want, want, &used);
        if (value < 0 || value > 0x10FFFF)
            return 0;
        used++;
    } else {
        out[0] = '\\';
        *n_out = 1;
        return SIZE_MAX;    /* the backslash stands for itself */
    }
    *n_out = (size_t)utf8_encode(out, (uint32_t)value);
    return used;
}

static enum err_code lex_string(struct lexer *l)
{
    char quote = l->bytes[l->pos];
    size_t from = l->pos + 1, end = from;
    while (end < l->n && l->bytes[end] != quote)
        end += l->bytes[end] == '\\' ? 2 : 1;
    if (end >= l->n)
        return lex_error(l, "string without its closing quote");
    char *text = arena_alloc(l->arena, end - from + 1, 1);    /* no escape grows */
    if (!text)
        return err_set(l->err, ERR_NOMEM, "template: no memory for a string");
    size_t n = 0;
    for (size_t at = from; at < end;) {
        if (l->bytes[at] != '\\') {
            text[n++] = l->bytes[at++];
            continue;
        }
        size_t n_out = 0;
        size_t used = unescape(l->bytes + at + 1, end - at - 1, text + n, &n_out);
        if (used == 0)
            return lex_error(l, "malformed escape in a string");
        n += n_out;
        at += used == SIZE_MAX ? 1 : 1 + used;
    }
    enum err_code rc = emit(l, (struct tmpl_token){
        .type = TMPL_T_STRING, .line = l->line, .text = text, .n_bytes = n });
    advance(l, end + 1);
    return rc;
}

static enum err_code track_bracket(struct lexer *l, char c)
{
    if (c == '(' || c == '[' || c == '{') {
        if (l->n_brackets == MAX_BRACKETS)
            return lex_error(l, "brackets nested too deeply");
        l->brackets[l->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->n_brackets == 0 || l->brackets[--l->n_brackets] != c)
            return lex_error(l, "closing bracket without its opening one");
    }
    return ERR_OK;
}

static enum err_code lex_operator(struct lexer *l)
{
    static const char *const two[] = { "//", "**", "==", "!=", ">=", "<=" };
    size_t n = 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        if (looking_at(l, l->pos, two[i]))
            n = 2;
    }
    char c = l->bytes[l->pos];
    if (n == 1 && (c == 0 || !strchr("+-/*%~[](){}><=.:|,;", c)))
        return lex_error(l, "unexpected character in a tag");
    enum err_code rc = track_bracket(l, c);
    if (rc == ERR_OK)
        rc = emit_span(l, TMPL_T_OPERATOR, l->pos, l->pos + n);
    l->pos += n;
    return rc;
}

static enum err_code lex_token(struct lexer *l)
{
    unsigned char c = (unsigned char)l->bytes[l->pos];
    if (is_digit(c))
        return lex_number(l);
    if (c == '\'' || c == '"')
        return lex_string(l);
    if (is_name_start(c)) {
        size_t end = l->pos;
        while (end < l->n && (is_name_start((unsigned char)l->bytes[end]) ||
               is_digit((unsigned char)l->bytes[end])))
            end++;
        enum err_code rc = emit_span(l, TMPL_T_NAME, l->pos, end);
        l->pos = end;
        return rc;
    }
    return lex_operator(l);
}

/* The inside of {{ }} or {% %} up to its end. */
static enum err_code lex_tag(struct lexer *l, size_t body, bool is_variable)
{
    enum err_code rc = emit_span(l, is_variable ? TMPL_T_VARIABLE_BEGIN : TMPL_T_BLOCK_BEGIN,
                                 l->pos, l->pos);
    advance(l, body);
    l->n_brackets = 0;
    while (rc == ERR_OK) {
        size_t after;
        if (l->n_brackets == 0 &&
            tag_end(l, l->pos, is_variable ? "}}" : "%}", !is_variable, &after)) {
            rc = emit_span(l, is_variable ? TMPL_T_VARIABLE_END : TMPL_T_BLOCK_END, l->pos, l->pos);
            advance(l, after);
            return rc;
        }
        size_t next = skip_space(l, l->pos);
        if (next > l->pos) {
            advance(l, next);
            continue;
        }
        if (l->pos >= l->n)
            return lex_error(l, is_variable ? "'{{' without its end" : "'{%' without its end");
        rc = lex_token(l);
    }
    return rc;
}

/* Text up to the next tag, then the tag. */
static enum err_code lex_piece(struct lexer *l)
{
    size_t from = l->pos, tag = from;
    while (tag < l->n && !(l->bytes[tag] == '{' && tag + 1 < l->n &&
           strchr("{%#", l->bytes[tag + 1]) && l->bytes[tag + 1]))
        tag++;
    if (tag == l->n) {
        enum err_code rc = emit_span(l, TMPL_T_DATA, from, tag);
        advance(l, tag);
        return rc;
    }
    char kind = l->bytes[tag + 1], sign;
    size_t body = skip_sign(l, tag + 2, &sign), after = 0;
    size_t end = text_end(l, from, tag, sign, kind == '{');
    enum err_code rc = end > from ? emit_span(l, TMPL_T_DATA, from, end) : ERR_OK;
    if (rc != ERR_OK)
        return rc;
    advance(l, tag);
    if (kind == '#')
        return lex_comment(l, body);
    if (kind == '%' && raw_begins(l, body, &after))
        return lex_raw(l, after);
    return lex_tag(l, body, kind == '{');
}

enum err_code tmpl_lex(struct tmpl_tokens *out, struct arena *a, const char *source, size_t n_bytes,
                       struct err *e)
{
    if (n_bytes > MAX_SOURCE_BYTES)
        return err_set(e, ERR_FORMAT, "template: %zu bytes, at most %d allowed", n_bytes,
                       (int)MAX_SOURCE_BYTES);
    char *bytes = arena_alloc(a, n_bytes + 1, 1);
    if (!bytes)
        return err_set(e, ERR_NOMEM, "template: no memory for its text");
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (source[i] == '\r') {
            bytes[n++] = '\n';
            i += i + 1 < n_bytes && source[i + 1] == '\n';
        } else {
            bytes[n++] = source[i];
        }
    }
    if (n && bytes[n - 1] == '\n')
        n--;
    struct lexer l = { .arena = a, .err = e, .tokens = out, .bytes = bytes, .n = n, .line = 1 };
    enum err_code rc = ERR_OK;
    while (rc == ERR_OK && l.pos < l.n)
        rc = lex_piece(&l);
    if (rc == ERR_OK)
        rc = emit_span(&l, TMPL_T_END, l.n, l.n);
    return rc;
}
