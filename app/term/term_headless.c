/* SPDX-License-Identifier: MIT */
#include "app/term/term_ops.h"

#include <stdlib.h>
#include <string.h>

/* A terminal made of memory. It takes damage only, as the real one does, so a grid that reports too little
 * shows up in the golden screens. */
struct headless {
    struct term term;
    int32_t n_rows, n_cols;
    struct ui_cell *cells;
};

static void headless_close(struct term *t)
{
    struct headless *h = (struct headless *)t;
    free(h->cells);
    free(h);
}

static void headless_info(const struct term *t, struct term_info *out)
{
    (void)t;
    *out = (struct term_info){ .n_colors = 256, .utf8 = true };
}

static void headless_size(const struct term *t, int32_t *n_rows, int32_t *n_cols)
{
    const struct headless *h = (const struct headless *)t;
    *n_rows = h->n_rows;
    *n_cols = h->n_cols;
}

static void headless_draw(struct term *t, struct ui_grid *g)
{
    struct headless *h = (struct headless *)t;
    int32_t from, to;
    for (int32_t row = 0; row < g->n_rows && row < h->n_rows; row++) {
        if (!ui_grid_damage(g, row, &from, &to))
            continue;
        for (int32_t col = from; col < to && col < h->n_cols; col++)
            h->cells[(size_t)row * (size_t)h->n_cols + (size_t)col] = *ui_grid_at(g, row, col);
    }
    ui_grid_settle(g);
}

static const struct term_ops headless_ops = {
    .close = headless_close, .info = headless_info, .size = headless_size, .draw = headless_draw };

void term_headless_set_size(struct term *t, int32_t n_rows, int32_t n_cols)
{
    struct headless *h = (struct headless *)t;
    struct ui_cell *cells = calloc((size_t)n_rows * (size_t)n_cols, sizeof *cells);
    if (!cells)
        return;
    free(h->cells);
    h->cells = cells;
    h->n_rows = n_rows;
    h->n_cols = n_cols;
}

enum err_code term_open_headless(struct term **out, int32_t n_rows, int32_t n_cols, struct err *e)
{
    struct headless *h = calloc(1, sizeof *h);
    if (!h)
        return err_set(e, ERR_NOMEM, "no memory for a screen of %d x %d", (int)n_cols, (int)n_rows);
    h->term.ops = &headless_ops;
    term_headless_set_size(&h->term, n_rows, n_cols);
    if (!h->cells) {
        free(h);
        return err_set(e, ERR_NOMEM, "no memory for a screen of %d x %d", (int)n_cols, (int)n_rows);
    }
    *out = &h->term;
    return ERR_OK;
}

static void trim_blanks(struct buf *out, size_t from)
{
    while (out->n_bytes > from && out->data[out->n_bytes - 1] == ' ')
        out->n_bytes--;
}

static void add_cell(const struct ui_cell *c, struct buf *out)
{
    if (c->width == 0)
        return;    /* the right half, or never drawn */
    buf_add_utf8(out, c->code_point ? c->code_point : ' ');
    for (int i = 0; i < UI_MARKS && c->marks[i]; i++)
        buf_add_utf8(out, c->marks[i]);
}

/* 'a' for the first style and so on; a blank for plain text, capitals for reversed cells. */
static char style_letter(const struct ui_cell *c)
{
    if (c->style == UI_TEXT && !(c->attrs & UI_REVERSE))
        return c->attrs & UI_BOLD ? '#' : c->attrs & UI_ITALIC ? '/' : ' ';
    return (char)((c->attrs & UI_REVERSE ? 'A' : 'a') + c->style);
}

void term_headless_text(const struct term *t, bool with_styles, struct buf *out)
{
    const struct headless *h = (const struct headless *)t;
    for (int32_t block = 0; block < 1 + with_styles; block++) {
        if (block)
            buf_add_text(out, "-- styles --\n");
        for (int32_t row = 0; row < h->n_rows; row++) {
            size_t from = out->n_bytes;
            for (int32_t col = 0; col < h->n_cols; col++) {
                const struct ui_cell *c = &h->cells[(size_t)row * (size_t)h->n_cols + (size_t)col];
                if (block)
                    buf_add_byte(out, (unsigned char)style_letter(c));
                else
                    add_cell(c, out);
            }
            trim_blanks(out, from);
            buf_add_byte(out, '\n');
        }
    }
}
