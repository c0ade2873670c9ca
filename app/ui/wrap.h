/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_WRAP_H
#define QUIP_APP_UI_WRAP_H

#include "app/ui/cell.h"
#include "engine/base/buf.h"

/* Text to lines of at most so many columns. Lines keep the bytes as they were; ui_text() neutralises. */

/* A stretch of bytes in one style. */
struct wrap_piece {
    const char *text;
    size_t n_bytes;
    uint8_t style, attrs;
};

struct wrap_run {
    uint32_t from, n_bytes;    /* in wrap_lines.text */
    uint8_t style, attrs;
};

struct wrap_line {
    uint32_t first_run, n_runs;
};

/* Lines that grow at the end and can be cut back to a mark: closed paragraphs stay, the open one is made
 * again. A zeroed struct is empty. */
struct wrap_lines {
    struct buf text;
    struct wrap_run *runs;
    struct wrap_line *lines;
    int32_t n_runs, cap_runs, n_lines, cap_lines;
    bool failed;    /* out of memory or past 4 GiB: the lines that exist are good, more are not added */
};

struct wrap_mark {
    size_t text_bytes;
    int32_t n_runs, n_lines;
};

void wrap_lines_finish(struct wrap_lines *l);
void wrap_lines_clear(struct wrap_lines *l);
struct wrap_mark wrap_lines_mark(const struct wrap_lines *l);
void wrap_lines_cut(struct wrap_lines *l, struct wrap_mark mark);
/* An empty line, and more of the last line, for those who lay out by hand. */
void wrap_lines_add(struct wrap_lines *l);
void wrap_lines_append(struct wrap_lines *l, const char *text, size_t n_bytes, enum ui_style style,
                       unsigned attrs);
/* Draws line i; returns the columns used. base_attrs is added to every run. */
int32_t wrap_lines_draw(const struct wrap_lines *l, int32_t i, struct ui_grid *g, int32_t row, int32_t col,
                        int32_t max_cols, unsigned base_attrs);

enum wrap_mode {
    WRAP_WORDS,    /* after blanks and hyphens and between CJK characters; long words are broken hard */
    WRAP_HARD      /* at the column, blanks kept: code */
};

struct wrap_options {
    int32_t n_cols;              /* width of the whole line, prefixes included; at least 1 is used */
    enum wrap_mode mode;
    struct wrap_piece first;     /* before the first line ("• ") */
    struct wrap_piece rest;      /* before the others ("  ") */
};

/* Adds a paragraph; newlines inside it break lines. An empty one is one line. */
void wrap_paragraph(struct wrap_lines *out, const struct wrap_piece *pieces, int32_t n_pieces,
                    const struct wrap_options *o);

/* How many bytes of a text without newlines go on a line of n_cols columns: never 0, never part of a
 * cluster. With WRAP_WORDS blanks at the end of the line hang over its edge. */
size_t wrap_break(const char *bytes, size_t n_bytes, int32_t n_cols, enum wrap_mode mode);

#endif
