/* SPDX-License-Identifier: MIT */
#include "app/ui/markdown.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line-oriented renderer. Every source line is rendered on its own from the state that the lines before
 * it left (an open fence, open lists, a waiting empty line), so that
 *
 *   - a closed line never changes again, and streaming costs only the open last line;
 *   - any cutting of the stream into pieces gives the same lines.
 *
 * The open line is rendered from a copy of the state and cut off again. In it an unclosed `**` counts as
 * closed at the end, so that text does not jump when its closing mark arrives. Inline marks do not reach
 * over line ends, which is the price, and models do not write such. */

enum {
    INLINE_LIMIT = 16 << 10,    /* longer lines are shown without inline markup */
    INLINE_REACH = 2000,        /* a closing mark is looked for this far */
    PREFIX_BYTES = 96
};

/* ---- inline --------------------------------------------------------------------------------------- */

struct pieces {
    struct wrap_piece *all;
    int32_t n, cap;
};

static void add_piece(struct pieces *p, const char *text, size_t n_bytes, uint8_t style, uint8_t attrs)
{
    if (n_bytes == 0)
        return;
    if (p->n == p->cap) {
        int32_t cap = p->cap ? p->cap * 2 : 16;
        struct wrap_piece *all = realloc(p->all, (size_t)cap * sizeof *all);
        if (!all)
            return;    /* a piece is missing on the screen; the text itself is elsewhere */
        p->all = all;
        p->cap = cap;
    }
    p->all[p->n++] = (struct wrap_piece){ text, n_bytes, style, attrs };
}

struct inline_parser {
    const char *text;
    size_t n, at, from;          /* [from, at) is not given out yet */
    struct pieces pieces;
    uint8_t style, attrs;        /* around everything */
    char bold, italic, strike;   /* the character that opened it, or 0 */
    bool open_line;
};

static void give(struct inline_parser *p, const char *text, size_t n_bytes, uint8_t style, uint8_t attrs)
{
    if (p->bold)
        attrs |= UI_BOLD;
    if (p->italic)
        attrs |= UI_ITALIC;
    if (p->strike)
        attrs |= UI_FAINT;
    add_piece(&p->pieces, text, n_bytes, style, (uint8_t)(attrs | p->attrs));
}

static void give_text(struct inline_parser *p)
{
    give(p, p->text + p->from, p->at - p->from, p->style, 0);
    p->from = p->at;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
        || (unsigned char)c >= 0x80;
}

static bool is_punctuation(char c)
{
    return c > ' ' && c < 0x7F && !is_word(c);
}

static size_t run_length(const char *text, size_t n, size_t at)
{
    size_t end = at;
    while (end < n && text[end] == text[at])
        end++;
    return end - at;
}

/* A run of exactly length backticks after at; n when there is none within reach. */
static size_t find_backticks(const struct inline_parser *p, size_t at, size_t length)
{
    size_t end = p->n - at > INLINE_REACH ? at + INLINE_REACH : p->n;
    while (at < end) {
        const char *hit = memchr(p->text + at, '`', end - at);
        if (!hit)
            break;
        at = (size_t)(hit - p->text);
        size_t run = run_length(p->text, p->n, at);
        if (run == length)
            return at;
        at += run;
    }
    return p->n;
}

static void parse_code(struct inline_parser *p)
{
    size_t length = run_length(p->text, p->n, p->at);
    size_t begin = p->at + length;
    size_t end = find_backticks(p, begin, length);
    if (end == p->n && (!p->open_line || begin == p->n)) {
        p->at = begin;
        return;
    }
    give_text(p);
    size_t after = end == p->n ? p->n : end + length;
    if (end - begin > 2 && p->text[begin] == ' ' && p->text[end - 1] == ' ') {
        begin++;
        end--;
    }
    give(p, p->text + begin, end - begin, UI_CODE, 0);
    p->at = p->from = after;
}

/* Is there a mark of this kind ahead that may close one opened here? */
static bool closes_ahead(const struct inline_parser *p, size_t at, char mark, size_t length)
{
    size_t end = p->n - at > INLINE_REACH ? at + INLINE_REACH : p->n;
    bool in_code = false;
    for (size_t i = at; i < end; i++) {
        char c = p->text[i];
        if (c == '\\')
            i++;
        else if (c == '`')
            in_code = !in_code;
        else if (c == mark && !in_code) {
            size_t run = run_length(p->text, p->n, i);
            bool ends_word = mark != '_' || i + run == p->n || !is_word(p->text[i + run]);
            if (run >= length && !is_space(p->text[i - 1]) && ends_word)
                return true;
            i += run - 1;
        }
    }
    return false;
}

/* Bold (two), italic (one) and strike-through (two tildes) open or close, or stay characters. */
static void parse_emphasis(struct inline_parser *p)
{
    char mark = p->text[p->at];
    size_t run = run_length(p->text, p->n, p->at);
    char before = p->at ? p->text[p->at - 1] : ' ';
    char after = p->at + run < p->n ? p->text[p->at + run] : ' ';
    bool may_open = !is_space(after) && (mark != '_' || !is_word(before));
    bool may_close = !is_space(before) && (mark != '_' || !is_word(after));
    char *twice = mark == '~' ? &p->strike : &p->bold;
    bool ahead = may_open && (p->open_line || closes_ahead(p, p->at + run, mark, run > 1 ? 2 : 1));
    size_t used = run;

    give_text(p);
    if (p->open_line && p->at + run == p->n) {
        p->at = p->from = p->n;    /* what it means shows with the next character */
        return;
    }
    if (run >= 2 && *twice == mark && may_close) {
        *twice = 0;
        used = 2;
    } else if (mark != '~' && p->italic == mark && may_close) {
        p->italic = 0;
        used = 1;
    } else if (run >= 2 && !*twice && ahead) {
        *twice = mark;
        used = 2;
    } else if (run != 2 && mark != '~' && !p->italic && ahead) {
        p->italic = mark;
        used = 1;
    } else {
        p->at += run;    /* characters like others */
        return;
    }
    p->at += used;
    p->from = p->at;
}

/* [text](address): the text as a link, and the address behind it where it says something else. */
static bool parse_link(struct inline_parser *p)
{
    size_t begin = p->at + 1;
    size_t end = p->n - p->at > INLINE_REACH ? p->at + INLINE_REACH : p->n;
    size_t close = begin;
    while (close < end && p->text[close] != ']' && p->text[close] != '[')
        close++;
    if (close == begin || close + 1 >= end || p->text[close] != ']' || p->text[close + 1] != '(')
        return false;
    size_t address = close + 2;
    size_t stop = address;
    while (stop < end && p->text[stop] != ')' && !is_space(p->text[stop]))
        stop++;
    if (stop == address || stop >= end || p->text[stop] != ')')
        return false;

    give_text(p);
    give(p, p->text + begin, close - begin, UI_LINK, 0);
    if (close - begin != stop - address || memcmp(p->text + begin, p->text + address, stop - address)) {
        give(p, " (", 2, UI_DIM, 0);
        give(p, p->text + address, stop - address, UI_DIM, 0);
        give(p, ")", 1, UI_DIM, 0);
    }
    p->at = p->from = stop + 1;
    return true;
}

static void parse_inline(struct inline_parser *p)
{
    if (p->n > INLINE_LIMIT)
        p->at = p->n;
    while (p->at < p->n) {
        char c = p->text[p->at];
        if (c == '\\' && p->at + 1 < p->n && is_punctuation(p->text[p->at + 1])) {
            give_text(p);
            p->from = p->at + 1;
            p->at += 2;
        } else if (c == '`') {
            parse_code(p);
        } else if (c == '*' || c == '_' || (c == '~' && run_length(p->text, p->n, p->at) == 2)) {
            parse_emphasis(p);
        } else if (c != '[' || !parse_link(p)) {
            p->at++;
        }
    }
    give_text(p);
}

/* ---- lines ---------------------------------------------------------------------------------------- */

struct source {
    const char *text;
    size_t n;
    bool closed;      /* its newline has come, or nothing more will */
};

/* What stands before the text on its first line and on the others. */
struct prefix {
    char first[PREFIX_BYTES], rest[PREFIX_BYTES];
    uint8_t style;
};

static void pad(char text[PREFIX_BYTES], int32_t n_cols)
{
    size_t n = strlen(text);
    while (n_cols-- > 0 && n + 1 < PREFIX_BYTES)
        text[n++] = ' ';
    text[n] = '\0';
}

static void append(char text[PREFIX_BYTES], const char *more)
{
    size_t n = strlen(text), n_more = strlen(more);
    if (n + n_more < PREFIX_BYTES)
        memcpy(text + n, more, n_more + 1);
}

static void prefix_indent(struct prefix *p, int32_t n_cols)
{
    pad(p->first, n_cols);
    pad(p->rest, n_cols);
}

static struct wrap_options options_of(const struct markdown *m, const struct prefix *p, enum wrap_mode mode)
{
    return (struct wrap_options){
        .n_cols = m->n_cols, .mode = mode,
        .first = { p->first, strlen(p->first), p->style, 0 },
        .rest = { p->rest, strlen(p->rest), p->style, 0 } };
}

/* The first part to underline that ends behind this byte. */
static int32_t find_underlined(const struct markdown *m, size_t at)
{
    int32_t low = 0, high = m->n_underlined;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (m->underlined[middle].end > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* A piece in parts, underlined and not. What is left of the text without its markup still lies where it was; signs
 * that were put in lie elsewhere. */
static void split_piece(const struct markdown *m, const struct wrap_piece *piece, struct pieces *out)
{
    uintptr_t offset = (uintptr_t)piece->text - (uintptr_t)m->source;
    if (offset > m->n_source || piece->n_bytes > m->n_source - offset) {
        add_piece(out, piece->text, piece->n_bytes, piece->style, piece->attrs);
        return;
    }
    size_t at = offset, end = at + piece->n_bytes;
    for (int32_t i = find_underlined(m, at); at < end; i++) {
        struct text_range r = i < m->n_underlined ? m->underlined[i] : (struct text_range){ end, end };
        size_t from = r.from < at ? at : r.from < end ? r.from : end;
        size_t to = r.end < end ? r.end : end;
        add_piece(out, m->source + at, from - at, piece->style, piece->attrs);
        add_piece(out, m->source + from, to - from, piece->style, piece->attrs | UI_UNDERLINE);
        at = to;
    }
}

static void put_pieces(struct markdown *m, const struct pieces *pieces, const struct wrap_options *o)
{
    struct pieces split = { 0 };
    if (m->n_underlined == 0) {
        wrap_paragraph(&m->lines, pieces->all, pieces->n, o);
        return;
    }
    for (int32_t i = 0; i < pieces->n; i++)
        split_piece(m, &pieces->all[i], &split);
    wrap_paragraph(&m->lines, split.all, split.n, o);
    free(split.all);
}

static void put_inline(struct markdown *m, const struct source *s, const struct prefix *prefix,
                       uint8_t style, uint8_t attrs)
{
    struct wrap_options o = options_of(m, prefix, WRAP_WORDS);
    struct inline_parser p = { .text = s->text, .n = s->n, .style = style, .attrs = attrs,
                               .open_line = !s->closed };
    parse_inline(&p);
    put_pieces(m, &p.pieces, &o);
    free(p.pieces.all);
}

static void put_plain(struct markdown *m, const struct source *s, const struct prefix *prefix,
                      enum wrap_mode mode, uint8_t style, uint8_t attrs)
{
    struct wrap_options o = options_of(m, prefix, mode);
    struct wrap_piece piece = { s->text, s->n, style, attrs };
    put_pieces(m, &(struct pieces){ &piece, 1, 1 }, &o);
}

/* A waiting empty line comes out before what follows it, so that none is left at the end. */
static void begin_block(struct markdown *m)
{
    if (m->state.blank && m->state.begun)
        wrap_lines_add(&m->lines);
    m->state.blank = false;
    m->state.begun = true;
}

static void skip_bytes(struct source *s, size_t n)
{
    s->text += n;
    s->n -= n;
}

/* Takes blanks from the front, tabs as four; returns the columns they were. */
static int32_t take_blanks(struct source *s)
{
    int32_t cols = 0;
    while (s->n > 0 && is_space(s->text[0]) && cols < 1000) {
        cols += s->text[0] == '\t' ? 4 - cols % 4 : 1;
        skip_bytes(s, 1);
    }
    return cols;
}

static bool is_blank(struct source s)
{
    while (s.n > 0 && (is_space(s.text[0]) || s.text[0] == '\r'))
        skip_bytes(&s, 1);
    return s.n == 0;
}

/* ---- fences --------------------------------------------------------------------------------------- */

/* Three or more backticks or tildes; what follows may not hold a backtick. Returns their number or 0. */
static int32_t fence_of(const struct source *s)
{
    if (s->n < 3 || (s->text[0] != '`' && s->text[0] != '~'))
        return 0;
    size_t run = run_length(s->text, s->n, 0);
    if (run < 3 || (s->text[0] == '`' && memchr(s->text + run, '`', s->n - run)))
        return 0;
    return run < 1000 ? (int32_t)run : 1000;
}

static void put_fence_edge(struct markdown *m, const char *corner, const char *label, size_t n_label)
{
    struct prefix p = { .style = UI_BORDER };
    pad(p.first, m->state.fence_col);
    wrap_lines_add(&m->lines);
    wrap_lines_append(&m->lines, p.first, strlen(p.first), UI_BORDER, 0);
    wrap_lines_append(&m->lines, corner, strlen(corner), UI_BORDER, 0);
    if (n_label > 0)
        wrap_lines_append(&m->lines, label, n_label, UI_DIM, 0);
}

static void open_fence(struct markdown *m, struct source s, int32_t indent, int32_t length)
{
    struct markdown_state *st = &m->state;
    begin_block(m);
    st->in_fence = true;
    st->fence_char = s.text[0];
    st->fence_length = length;
    st->fence_indent = indent;
    st->fence_col = indent > 0 && st->n_lists > 0 ? st->list_col[st->n_lists - 1] : 0;
    skip_bytes(&s, run_length(s.text, s.n, 0));
    take_blanks(&s);
    size_t n_label = 0;
    while (n_label < s.n && !is_space(s.text[n_label]) && s.text[n_label] != '\r')
        n_label++;
    put_fence_edge(m, n_label ? "╭ " : "╭", s.text,
                   n_label < MARKDOWN_LABEL_BYTES ? n_label : MARKDOWN_LABEL_BYTES);
}

static void close_fence(struct markdown *m)
{
    put_fence_edge(m, "╰", "", 0);
    m->state.in_fence = false;
}

static void put_code_line(struct markdown *m, struct source s)
{
    struct markdown_state *st = &m->state;
    struct source mark = s;
    take_blanks(&mark);
    size_t run = mark.n > 0 && mark.text[0] == st->fence_char ? run_length(mark.text, mark.n, 0) : 0;
    struct source after = mark;
    skip_bytes(&after, run);
    if (run >= (size_t)st->fence_length && is_blank(after)) {
        close_fence(m);
        return;
    }
    if (!s.closed && run > 0 && after.n == 0)
        return;    /* may become the closing fence */

    for (int32_t i = 0; i < st->fence_indent && s.n > 0 && s.text[0] == ' '; i++)
        skip_bytes(&s, 1);
    if (s.n > 0 && s.text[s.n - 1] == '\r')
        s.n--;
    struct prefix p = { .style = UI_BORDER };
    prefix_indent(&p, st->fence_col);
    append(p.first, "│ ");
    append(p.rest, "│ ");
    put_plain(m, &s, &p, WRAP_HARD, UI_CODE, 0);
}

/* ---- the kinds of lines --------------------------------------------------------------------------- */

static bool put_heading(struct markdown *m, struct source s)
{
    size_t level = s.n > 0 && s.text[0] == '#' ? run_length(s.text, s.n, 0) : 0;
    if (level == 0 || level > 6 || (level < s.n && !is_space(s.text[level])) || (level == s.n && !s.closed))
        return false;
    skip_bytes(&s, level);
    take_blanks(&s);
    while (s.closed && s.n > 0 && (s.text[s.n - 1] == '#' || is_space(s.text[s.n - 1])))
        s.n--;
    m->state.n_lists = 0;
    m->state.blank = true;    /* a heading stands apart, whatever the source does */
    begin_block(m);
    put_inline(m, &s, &(struct prefix){ 0 }, UI_HEADING, level < 3 ? UI_BOLD : 0);
    return true;
}

static bool put_rule(struct markdown *m, const struct source *s)
{
    size_t marks = 0;
    char mark = s->n ? s->text[0] : 0;
    if (mark != '-' && mark != '*' && mark != '_')
        return false;
    for (size_t i = 0; i < s->n; i++) {
        if (s->text[i] == mark)
            marks++;
        else if (!is_space(s->text[i]) && s->text[i] != '\r')
            return false;
    }
    if (marks < 3)
        return false;
    m->state.n_lists = 0;
    begin_block(m);
    wrap_lines_add(&m->lines);
    for (int32_t i = 0; i < m->n_cols && i < 40; i++)
        wrap_lines_append(&m->lines, "─", 3, UI_BORDER, 0);
    return true;
}

/* Length of "- ", "* ", "+ ", "12. " or "3) " without its blanks; 0: no list item. */
static size_t marker_of(const struct source *s)
{
    size_t n = 0;
    if (s->n == 0)
        return 0;
    if (strchr("-*+", s->text[0])) {
        n = 1;
    } else {
        while (n < s->n && n < 9 && s->text[n] >= '0' && s->text[n] <= '9')
            n++;
        if (n == 0 || n == s->n || (s->text[n] != '.' && s->text[n] != ')'))
            return 0;
        n++;
    }
    return n < s->n && is_space(s->text[n]) ? n : 0;
}

/* Opens the list this marker belongs to: a deeper one when it stands to the right of the last. */
static int32_t enter_list(struct markdown_state *st, int32_t marker_col)
{
    while (st->n_lists > 0 && st->list_marker[st->n_lists - 1] > marker_col)
        st->n_lists--;
    bool deeper = st->n_lists == 0 || marker_col >= st->list_marker[st->n_lists - 1] + 2;
    if (deeper && st->n_lists < MARKDOWN_LIST_DEPTH)
        st->list_marker[st->n_lists++] = marker_col;
    return st->n_lists > 1 ? st->list_col[st->n_lists - 2] : 0;
}

static void put_item(struct markdown *m, struct source s, int32_t indent, size_t n_marker,
                     struct prefix *prefix)
{
    static const char *const bullets[] = { "•", "◦", "▪" };
    struct markdown_state *st = &m->state;
    char number[16];
    int32_t col = enter_list(st, indent);
    const char *marker = bullets[(st->n_lists - 1) % 3];
    int32_t marker_cols = 1;
    if (s.text[n_marker - 1] == '.' || s.text[n_marker - 1] == ')') {
        snprintf(number, sizeof number, "%.*s", (int)n_marker, s.text);
        marker = number;
        marker_cols = (int32_t)n_marker;
    }
    skip_bytes(&s, n_marker);
    take_blanks(&s);
    if (s.n >= 4 && s.text[0] == '[' && s.text[2] == ']' && s.text[3] == ' ' && strchr(" xX", s.text[1])) {
        marker = s.text[1] == ' ' ? "☐" : "☑";
        marker_cols = 1;
        skip_bytes(&s, 4);
    }
    st->list_col[st->n_lists - 1] = col + marker_cols + 1;
    prefix_indent(prefix, col);
    append(prefix->first, marker);
    append(prefix->first, " ");
    pad(prefix->rest, marker_cols + 1);
    if (!prefix->style)
        prefix->style = UI_ACCENT;
    begin_block(m);
    put_inline(m, &s, prefix, prefix->style == UI_QUOTE ? UI_QUOTE : UI_TEXT, 0);
}

/* Text that is none of the above: inside an open list it stands under the item's text. */
static void put_text(struct markdown *m, struct source s, int32_t indent, struct prefix *prefix)
{
    struct markdown_state *st = &m->state;
    while (st->n_lists > 0 && indent < st->list_marker[st->n_lists - 1] + 2)
        st->n_lists--;
    if (st->n_lists > 0)
        prefix_indent(prefix, st->list_col[st->n_lists - 1]);
    else if (indent >= 4)
        prefix_indent(prefix, indent < m->n_cols / 2 ? indent : m->n_cols / 2);
    begin_block(m);
    if (s.n > 0 && s.text[0] == '|')
        put_plain(m, &s, prefix, WRAP_HARD, UI_TEXT, 0);
    else
        put_inline(m, &s, prefix, prefix->style == UI_QUOTE ? UI_QUOTE : UI_TEXT, 0);
}

static void put_line(struct markdown *m, struct source s)
{
    struct prefix prefix = { 0 };
    if (m->state.in_fence) {
        put_code_line(m, s);
        return;
    }
    if (is_blank(s)) {
        m->state.blank = true;
        return;
    }
    if (s.text[s.n - 1] == '\r')
        s.n--;
    int32_t indent = take_blanks(&s);
    for (int32_t depth = 0; s.n > 0 && s.text[0] == '>' && depth < 6; depth++) {
        append(prefix.first, "▎ ");
        append(prefix.rest, "▎ ");
        prefix.style = UI_QUOTE;
        skip_bytes(&s, 1);
        indent = take_blanks(&s);
        indent -= indent > 0;
    }
    int32_t length = fence_of(&s);
    if (length > 0 && !prefix.style) {
        open_fence(m, s, indent, length);
        return;
    }
    if (!s.closed && !prefix.style && s.n < 3 && run_length(s.text, s.n, 0) == s.n && s.text[0] == '`')
        return;    /* may become a fence */
    if (prefix.style ? false : put_heading(m, s) || put_rule(m, &s))
        return;
    size_t n_marker = marker_of(&s);
    if (n_marker > 0)
        put_item(m, s, indent, n_marker, &prefix);
    else
        put_text(m, s, indent, &prefix);
}

/* ---- the stream ----------------------------------------------------------------------------------- */

static void put_any(struct markdown *m, struct source s)
{
    if (!m->plain) {
        put_line(m, s);
    } else if (is_blank(s)) {
        m->state.blank = true;
    } else {
        begin_block(m);
        put_plain(m, &s, &(struct prefix){ 0 }, WRAP_WORDS, m->style, m->attrs);
    }
}

void markdown_update(struct markdown *m, const char *text, size_t n_bytes, int32_t n_cols, bool finished)
{
    if (n_cols < 1)
        n_cols = 1;
    if (n_cols != m->n_cols || n_bytes < m->done_bytes)
        markdown_reset(m);
    m->n_cols = n_cols;
    m->source = text;
    m->n_source = n_bytes;
    wrap_lines_cut(&m->lines, m->mark);
    while (m->done_bytes < n_bytes) {
        const char *line = text + m->done_bytes;
        const char *newline = memchr(line, '\n', n_bytes - m->done_bytes);
        if (!newline)
            break;
        put_any(m, (struct source){ line, (size_t)(newline - line), true });
        m->done_bytes += (size_t)(newline - line) + 1;
    }
    m->mark = wrap_lines_mark(&m->lines);

    struct markdown_state saved = m->state;
    if (m->done_bytes < n_bytes)
        put_any(m, (struct source){ text + m->done_bytes, n_bytes - m->done_bytes, finished });
    if (finished && m->state.in_fence)
        close_fence(m);
    m->state = saved;
}

void markdown_reset(struct markdown *m)
{
    wrap_lines_clear(&m->lines);
    m->mark = (struct wrap_mark){ 0 };
    m->done_bytes = 0;
    m->state = (struct markdown_state){ 0 };
}

void markdown_finish(struct markdown *m)
{
    wrap_lines_finish(&m->lines);
    markdown_reset(m);
}
