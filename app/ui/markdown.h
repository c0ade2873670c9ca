/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_MARKDOWN_H
#define QUIP_APP_UI_MARKDOWN_H

#include "app/ui/text_range.h"
#include "app/ui/wrap.h"

/* Markdown that is still being written, as lines for one width. Each source line is a unit: a closed line
 * is rendered once and never again, only the open last line is made anew, so a stream costs what came.
 * Known: headings, lists, quotes, rules, fenced code, inline code, bold, italics, strike-through, links.
 * A line break in the source stays one (models mean it); tables stay as written. */

enum { MARKDOWN_LABEL_BYTES = 24, MARKDOWN_LIST_DEPTH = 8 };

struct markdown {
    struct wrap_lines lines;     /* what to draw */
    int32_t n_cols;
    bool plain;                  /* set before the first update: no markup is read, one style for all */
    uint8_t style, attrs;        /* of plain text; UI_TEXT for a zeroed struct */
    /* Set before an update: parts of the text to underline. A list for a longer text begins with the one before, where
     * the last may have become longer. */
    const struct text_range *underlined;
    int32_t n_underlined;

    /* The stable part: everything up to done_bytes is in the lines up to the mark. */
    struct wrap_mark mark;
    size_t done_bytes;
    const char *source;          /* the text, while it is updated */
    size_t n_source;
    struct markdown_state {
        bool in_fence;
        char fence_char;
        int32_t fence_length, fence_indent, fence_col;
        bool begun;              /* something was rendered */
        bool blank;              /* an empty line waits for the next text */
        int32_t n_lists;         /* open lists: column of their markers in the source, of their text here */
        int32_t list_marker[MARKDOWN_LIST_DEPTH], list_col[MARKDOWN_LIST_DEPTH];
    } state;
};

/* Brings the lines up to date with a text that begins with the text of the last call (else call
 * markdown_reset first). A new width starts over. finished: no more will come, so an unclosed `**` is two
 * asterisks and an unclosed fence ends. */
void markdown_update(struct markdown *m, const char *text, size_t n_bytes, int32_t n_cols, bool finished);
void markdown_reset(struct markdown *m);
void markdown_finish(struct markdown *m);

#endif
