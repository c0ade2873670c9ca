/* SPDX-License-Identifier: MIT */
#include "app/ui/wrap.h"

#include <stdlib.h>
#include <string.h>

#include "app/ui/neutral.h"
#include "engine/base/utf8.h"

/* The text of a paragraph is stored once, with its pieces one after the other; a line is a list of runs
 * into it, and prefixes are stored once per paragraph too. So wrapping copies every byte exactly once. */

enum { TAB_COLS = 8, TEXT_LIMIT = 1 << 30 };

void wrap_lines_finish(struct wrap_lines *l)
{
    buf_finish(&l->text);
    free(l->runs);
    free(l->lines);
    *l = (struct wrap_lines){ 0 };
}

void wrap_lines_clear(struct wrap_lines *l)
{
    wrap_lines_cut(l, (struct wrap_mark){ 0 });
    l->failed = false;
}

struct wrap_mark wrap_lines_mark(const struct wrap_lines *l)
{
    return (struct wrap_mark){ l->text.n_bytes, l->n_runs, l->n_lines };
}

void wrap_lines_cut(struct wrap_lines *l, struct wrap_mark mark)
{
    l->text.n_bytes = mark.text_bytes;
    l->text.failed = false;
    l->n_runs = mark.n_runs;
    l->n_lines = mark.n_lines;
    l->failed = false;
}

static void *grown(void *items, int32_t n, int32_t *cap, size_t item_bytes)
{
    if (n < *cap)
        return items;
    int32_t more = *cap ? *cap * 2 : 32;
    if (*cap > INT32_MAX / 4)
        return NULL;
    void *bigger = realloc(items, (size_t)more * item_bytes);
    if (bigger)
        *cap = more;
    return bigger;
}

void wrap_lines_add(struct wrap_lines *l)
{
    struct wrap_line *lines = grown(l->lines, l->n_lines, &l->cap_lines, sizeof *l->lines);
    if (!lines) {
        l->failed = true;
        return;
    }
    l->lines = lines;
    l->lines[l->n_lines++] = (struct wrap_line){ .first_run = (uint32_t)l->n_runs };
}

/* More of the last line: bytes that already lie in the text. */
static void add_run(struct wrap_lines *l, size_t from, size_t n_bytes, uint8_t style, uint8_t attrs)
{
    if (n_bytes == 0 || l->n_lines == 0 || l->failed)
        return;
    struct wrap_run *runs = grown(l->runs, l->n_runs, &l->cap_runs, sizeof *l->runs);
    if (!runs) {
        l->failed = true;
        return;
    }
    l->runs = runs;
    l->runs[l->n_runs++] = (struct wrap_run){ (uint32_t)from, (uint32_t)n_bytes, style, attrs };
    l->lines[l->n_lines - 1].n_runs++;
}

static bool add_bytes(struct wrap_lines *l, const char *text, size_t n_bytes)
{
    if (n_bytes > TEXT_LIMIT - l->text.n_bytes || !buf_add(&l->text, text, n_bytes))
        l->failed = true;
    return !l->failed;
}

void wrap_lines_append(struct wrap_lines *l, const char *text, size_t n_bytes, enum ui_style style,
                       unsigned attrs)
{
    size_t from = l->text.n_bytes;
    if (!l->failed && add_bytes(l, text, n_bytes))
        add_run(l, from, n_bytes, (uint8_t)style, (uint8_t)attrs);
}

int32_t wrap_lines_draw(const struct wrap_lines *l, int32_t i, struct ui_grid *g, int32_t row, int32_t col,
                        int32_t max_cols, unsigned base_attrs)
{
    int32_t used = 0;
    if (i < 0 || i >= l->n_lines)
        return 0;
    for (uint32_t r = 0; r < l->lines[i].n_runs; r++) {
        const struct wrap_run *run = &l->runs[l->lines[i].first_run + r];
        used += ui_text(g, row, col + used, max_cols - used, l->text.data + run->from, run->n_bytes,
                        (enum ui_style)run->style, run->attrs | base_attrs);
    }
    return used;
}

/* ---- where a line ends ---------------------------------------------------------------------------- */

static bool is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Closing marks that must not begin a line of CJK text. */
static bool sticks_to_left(uint32_t c)
{
    static const uint32_t closing[] = { 0x3001, 0x3002, 0x3009, 0x300B, 0x300D, 0x300F, 0x3011, 0x3015,
                                        0xFF01, 0xFF09, 0xFF0C, 0xFF0E, 0xFF1A, 0xFF1B, 0xFF1F, 0x30FC };
    for (size_t i = 0; i < sizeof closing / sizeof closing[0]; i++)
        if (closing[i] == c)
            return true;
    return false;
}

struct cluster {
    uint32_t code_point;
    size_t from, end;
    int32_t n_cols;
};

/* The glyphs of a cluster stay together. */
static bool next_cluster(struct neutral_iter *it, struct cluster *out)
{
    struct neutral_glyph g;
    if (!neutral_next(it, &g))
        return false;
    *out = (struct cluster){ g.code_point, g.from, g.from + g.n_bytes, g.n_cols };
    while (it->queue_at < it->n_queue && neutral_next(it, &g))
        out->n_cols += g.n_cols;
    return true;
}

size_t wrap_break(const char *bytes, size_t n_bytes, int32_t n_cols, enum wrap_mode mode)
{
    struct neutral_iter it;
    struct cluster c;
    size_t chance = 0;          /* where the line may end: 0 nowhere yet */
    int32_t cols = 0;
    bool word_seen = false, wide_before = false;

    neutral_begin(&it, bytes, n_bytes, 0);
    while (next_cluster(&it, &c)) {
        if (mode == WRAP_WORDS && c.code_point == ' ') {
            cols += c.n_cols;
            wide_before = false;
            if (word_seen)
                chance = c.end;
            continue;
        }
        if (wide_before && c.n_cols == 2 && !sticks_to_left(c.code_point))
            chance = c.from;
        if (cols + c.n_cols > n_cols && c.from > 0)
            return mode == WRAP_WORDS && chance > 0 ? chance : c.from;
        cols += c.n_cols;
        word_seen = true;
        wide_before = c.n_cols == 2;
        if (c.code_point == '-' && c.from > 0 && c.end < n_bytes
            && is_letter((unsigned char)bytes[c.from - 1]) && is_letter((unsigned char)bytes[c.end]))
            chance = c.end;
    }
    return n_bytes;
}

/* ---- paragraphs ----------------------------------------------------------------------------------- */

/* Tabs become blanks here, where the column is known; later a line may begin anywhere. *line_from is where
 * the source line began in the text. */
static bool add_expanded(struct wrap_lines *l, const char *text, size_t n_bytes, size_t *line_from)
{
    for (size_t at = 0; at < n_bytes; at++) {
        size_t n = 0;
        while (at + n < n_bytes && text[at + n] != '\t' && text[at + n] != '\n')
            n++;
        if (!add_bytes(l, text + at, n))
            return false;
        at += n;
        if (at == n_bytes)
            break;
        if (text[at] == '\n') {
            if (!add_bytes(l, "\n", 1))
                return false;
            *line_from = l->text.n_bytes;
            continue;
        }
        struct neutral_iter it;
        struct neutral_glyph g;
        size_t n_line = l->text.n_bytes - *line_from;
        neutral_begin(&it, n_line ? l->text.data + *line_from : "", n_line < 1024 ? n_line : 0, 0);
        while (neutral_next(&it, &g))    /* far out, exact columns matter little */
            ;
        if (!add_bytes(l, "        ", (size_t)(TAB_COLS - it.col % TAB_COLS)))
            return false;
    }
    return true;
}

struct paragraph {
    struct wrap_lines *out;
    const struct wrap_piece *pieces;
    int32_t n_pieces;
    const size_t *ends;          /* where each piece ends in out->text */
    int32_t piece;               /* the piece the next run is in */
    size_t prefix_from[2];       /* of the first line, of the others */
    const struct wrap_options *o;
    bool began;
};

/* One line of the bytes [from, to) of the text. */
static void add_line(struct paragraph *p, size_t from, size_t to)
{
    const struct wrap_piece *prefix = p->began ? &p->o->rest : &p->o->first;
    wrap_lines_add(p->out);
    add_run(p->out, p->prefix_from[p->began], prefix->n_bytes, prefix->style, prefix->attrs);
    p->began = true;
    while (from < to && p->piece < p->n_pieces) {
        size_t end = p->ends[p->piece] < to ? p->ends[p->piece] : to;
        if (end > from)
            add_run(p->out, from, end - from, p->pieces[p->piece].style, p->pieces[p->piece].attrs);
        if (p->ends[p->piece] <= to)
            p->piece++;
        from = end > from ? end : from;
    }
}

/* Pieces that end before a line that begins at from have nothing more to say. */
static void skip_pieces(struct paragraph *p, size_t from)
{
    while (p->piece < p->n_pieces && p->ends[p->piece] <= from)
        p->piece++;
}

static void add_source_line(struct paragraph *p, size_t from, size_t end)
{
    do {
        int32_t prefix_cols = 0;
        const struct wrap_piece *prefix = p->began ? &p->o->rest : &p->o->first;
        struct neutral_iter it;
        struct neutral_glyph g;
        neutral_begin(&it, prefix->text, prefix->n_bytes, 0);
        while (neutral_next(&it, &g))
            prefix_cols += g.n_cols;
        int32_t n_cols = p->o->n_cols - prefix_cols;

        const char *text = p->out->text.data ? p->out->text.data + from : "";
        size_t n = end > from ? wrap_break(text, end - from, n_cols > 0 ? n_cols : 1, p->o->mode) : 0;
        size_t shown = n;
        while (p->o->mode == WRAP_WORDS && shown > 0 && text[shown - 1] == ' ')
            shown--;
        skip_pieces(p, from);
        add_line(p, from, from + shown);
        from += n;
    } while (from < end && !p->out->failed);
}

void wrap_paragraph(struct wrap_lines *out, const struct wrap_piece *pieces, int32_t n_pieces,
                    const struct wrap_options *o)
{
    size_t few[16], *ends = few;
    if (out->failed)
        return;
    if (n_pieces > 16 && !(ends = malloc((size_t)n_pieces * sizeof *ends))) {
        out->failed = true;
        return;
    }
    struct paragraph p = { .out = out, .pieces = pieces, .n_pieces = n_pieces, .ends = ends, .o = o };
    p.prefix_from[0] = out->text.n_bytes;
    bool ok = add_bytes(out, o->first.text, o->first.n_bytes);
    p.prefix_from[1] = out->text.n_bytes;
    ok = ok && add_bytes(out, o->rest.text, o->rest.n_bytes);
    size_t from = out->text.n_bytes;
    size_t line_from = from;
    for (int32_t i = 0; i < n_pieces && ok; i++) {
        ok = add_expanded(out, pieces[i].text, pieces[i].n_bytes, &line_from);
        ends[i] = out->text.n_bytes;
    }
    while (ok) {
        size_t end = out->text.n_bytes;
        const char *newline = end > from ? memchr(out->text.data + from, '\n', end - from) : NULL;
        size_t stop = newline ? (size_t)(newline - out->text.data) : end;
        add_source_line(&p, from, stop);
        if (!newline || out->failed)
            break;
        from = stop + 1;
    }
    if (ends != few)
        free(ends);
}
