/* SPDX-License-Identifier: MIT */
#include "app/ui/cell.h"

#include <stdlib.h>
#include <string.h>

#include "app/ui/neutral.h"

enum { WIDTH_UNKNOWN = 255 };

static const struct ui_cell blank = { .code_point = ' ', .width = 1 };

static int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static struct ui_cell *cell_at(struct ui_grid *g, int32_t row, int32_t col)
{
    return &g->cells[(size_t)row * (size_t)g->n_cols + (size_t)col];
}

bool ui_grid_init(struct ui_grid *g, int32_t n_rows, int32_t n_cols)
{
    *g = (struct ui_grid){ 0 };
    return ui_grid_resize(g, n_rows, n_cols);
}

void ui_grid_finish(struct ui_grid *g)
{
    free(g->cells);
    free(g->shown);
    *g = (struct ui_grid){ 0 };
}

bool ui_grid_resize(struct ui_grid *g, int32_t n_rows, int32_t n_cols)
{
    ui_grid_finish(g);
    n_rows = clamp(n_rows, 1, UI_MAX_ROWS);
    n_cols = clamp(n_cols, 1, UI_MAX_COLS);
    size_t n = (size_t)n_rows * (size_t)n_cols;
    g->cells = calloc(n, sizeof *g->cells);
    g->shown = calloc(n, sizeof *g->shown);
    if (!g->cells || !g->shown) {
        ui_grid_finish(g);
        return false;
    }
    g->n_rows = n_rows;
    g->n_cols = n_cols;
    ui_grid_begin(g);
    ui_grid_forget(g);
    return true;
}

void ui_grid_begin(struct ui_grid *g)
{
    size_t n = (size_t)g->n_rows * (size_t)g->n_cols;
    for (size_t i = 0; i < n; i++)
        g->cells[i] = blank;
    g->caret_visible = false;
}

static bool same(const struct ui_cell *a, const struct ui_cell *b)
{
    return a->code_point == b->code_point && a->width == b->width && a->style == b->style
        && a->attrs == b->attrs && memcmp(a->marks, b->marks, sizeof a->marks) == 0;
}

bool ui_grid_damage(const struct ui_grid *g, int32_t row, int32_t *from, int32_t *to)
{
    if (row < 0 || row >= g->n_rows)
        return false;
    const struct ui_cell *cells = g->cells + (size_t)row * (size_t)g->n_cols;
    const struct ui_cell *shown = g->shown + (size_t)row * (size_t)g->n_cols;
    int32_t a = 0, b = g->n_cols;
    while (a < b && same(&cells[a], &shown[a]))
        a++;
    if (a == b)
        return false;
    while (same(&cells[b - 1], &shown[b - 1]))
        b--;
    if (a > 0 && (cells[a].width == 0 || shown[a].width == 0))
        a--;
    if (b < g->n_cols && (cells[b].width == 0 || shown[b].width == 0))
        b++;
    *from = a;
    *to = b;
    return true;
}

void ui_grid_settle(struct ui_grid *g)
{
    if (g->cells)
        memcpy(g->shown, g->cells, (size_t)g->n_rows * (size_t)g->n_cols * sizeof *g->cells);
}

void ui_grid_forget(struct ui_grid *g)
{
    size_t n = (size_t)g->n_rows * (size_t)g->n_cols;
    for (size_t i = 0; i < n; i++)
        g->shown[i] = (struct ui_cell){ .width = WIDTH_UNKNOWN };
}

const struct ui_cell *ui_grid_at(const struct ui_grid *g, int32_t row, int32_t col)
{
    if (row < 0 || row >= g->n_rows || col < 0 || col >= g->n_cols)
        return &blank;
    return &g->cells[(size_t)row * (size_t)g->n_cols + (size_t)col];
}

/* ---- drawing -------------------------------------------------------------------------------------- */

/* A character that loses one half becomes blank. */
static void take_cell(struct ui_grid *g, int32_t row, int32_t col)
{
    struct ui_cell *c = cell_at(g, row, col);
    if (c->width == 0 && col > 0) {
        c[-1].code_point = ' ';
        c[-1].width = 1;
    } else if (c->width == 2 && col + 1 < g->n_cols) {
        c[1].code_point = ' ';
        c[1].width = 1;
    }
}

static void put_glyph(struct ui_grid *g, int32_t row, int32_t col, const struct ui_cell *what)
{
    if (row < 0 || row >= g->n_rows || col < 0 || col + what->width > g->n_cols)
        return;
    take_cell(g, row, col);
    if (what->width == 2)
        take_cell(g, row, col + 1);
    *cell_at(g, row, col) = *what;
    if (what->width == 2)
        *cell_at(g, row, col + 1) = (struct ui_cell){ .style = what->style, .attrs = what->attrs };
}

void ui_put(struct ui_grid *g, int32_t row, int32_t col, uint32_t code_point, enum ui_style style,
            unsigned attrs)
{
    put_glyph(g, row, col, &(struct ui_cell){ .code_point = code_point, .width = 1,
                                              .style = (uint8_t)style, .attrs = (uint8_t)attrs });
}

static size_t line_bytes(const char *text, size_t n_bytes)
{
    const char *end = n_bytes ? memchr(text, '\n', n_bytes) : NULL;
    return end ? (size_t)(end - text) : n_bytes;
}

int32_t ui_text(struct ui_grid *g, int32_t row, int32_t col, int32_t max_cols, const char *text,
                size_t n_bytes, enum ui_style style, unsigned attrs)
{
    if (row < 0 || row >= g->n_rows || max_cols <= 0)
        return 0;
    struct neutral_iter it;
    struct neutral_glyph glyph;
    int32_t used = 0;
    neutral_begin(&it, text, line_bytes(text, n_bytes), 0);
    while (neutral_next(&it, &glyph)) {
        if (glyph.n_cols > max_cols - used) {
            if (glyph.code_point != ' ')
                break;
            glyph.n_cols = max_cols - used;    /* a tab may be cut */
        }
        struct ui_cell cell = { .code_point = glyph.code_point, .width = (uint8_t)glyph.n_cols,
                                .style = (uint8_t)style, .attrs = (uint8_t)attrs };
        memcpy(cell.marks, glyph.marks, sizeof cell.marks);
        if (glyph.code_point == ' ') {
            for (int32_t i = 0; i < glyph.n_cols; i++)
                ui_put(g, row, col + used + i, ' ', style, attrs);
        } else if (glyph.n_cols > 0) {
            put_glyph(g, row, col + used, &cell);
        }
        used += glyph.n_cols;
    }
    return used;
}

static int32_t text_cols(const char *text, size_t n_bytes)
{
    struct neutral_iter it;
    struct neutral_glyph glyph;
    int32_t cols = 0;
    neutral_begin(&it, text, line_bytes(text, n_bytes), 0);
    while (cols < UI_MAX_COLS && neutral_next(&it, &glyph))
        cols += glyph.n_cols;
    return cols;
}

int32_t ui_text_cols(const char *text)
{
    return text_cols(text, strlen(text));
}

int32_t ui_label(struct ui_grid *g, int32_t row, int32_t col, int32_t max_cols, const char *text,
                 enum ui_style style, unsigned attrs)
{
    size_t n_bytes = strlen(text);
    if (max_cols <= 0)
        return 0;
    if (text_cols(text, n_bytes) <= max_cols)
        return ui_text(g, row, col, max_cols, text, n_bytes, style, attrs);
    int32_t used = ui_text(g, row, col, max_cols - 1, text, n_bytes, style, attrs);
    ui_put(g, row, col + used, 0x2026, style, attrs);
    return used + 1;
}

int32_t ui_label_right(struct ui_grid *g, int32_t row, int32_t end_col, int32_t max_cols, const char *text,
                       enum ui_style style, unsigned attrs)
{
    int32_t cols = ui_text_cols(text);
    if (cols > max_cols)
        cols = max_cols;
    return ui_label(g, row, end_col - cols, cols, text, style, attrs);
}

void ui_fill(struct ui_grid *g, struct ui_rect area, enum ui_style style, unsigned attrs)
{
    for (int32_t r = 0; r < area.n_rows; r++)
        for (int32_t c = 0; c < area.n_cols; c++)
            ui_put(g, area.row + r, area.col + c, ' ', style, attrs);
}

void ui_hline(struct ui_grid *g, int32_t row, int32_t col, int32_t n_cols, enum ui_style style)
{
    for (int32_t i = 0; i < n_cols; i++)
        ui_put(g, row, col + i, 0x2500, style, 0);
}

struct ui_rect ui_box(struct ui_grid *g, struct ui_rect area, const char *title, enum ui_style style)
{
    int32_t last_row = area.row + area.n_rows - 1, last_col = area.col + area.n_cols - 1;
    ui_fill(g, area, UI_TEXT, 0);
    ui_hline(g, area.row, area.col + 1, area.n_cols - 2, style);
    ui_hline(g, last_row, area.col + 1, area.n_cols - 2, style);
    for (int32_t row = area.row + 1; row < last_row; row++) {
        ui_put(g, row, area.col, 0x2502, style, 0);
        ui_put(g, row, last_col, 0x2502, style, 0);
    }
    ui_put(g, area.row, area.col, 0x256D, style, 0);
    ui_put(g, area.row, last_col, 0x256E, style, 0);
    ui_put(g, last_row, area.col, 0x2570, style, 0);
    ui_put(g, last_row, last_col, 0x256F, style, 0);
    if (title && area.n_cols > 6) {
        ui_put(g, area.row, area.col + 1, ' ', style, 0);
        int32_t used = ui_label(g, area.row, area.col + 2, area.n_cols - 4, title,
                                style == UI_BORDER ? UI_TITLE : style, UI_BOLD);
        ui_put(g, area.row, area.col + 2 + used, ' ', style, 0);
    }
    return (struct ui_rect){ area.row + 1, area.col + 1, area.n_rows - 2, area.n_cols - 2 };
}

void ui_gauge(struct ui_grid *g, int32_t row, int32_t col, int32_t n_cols, double share,
              enum ui_style style)
{
    share = share > 0 ? share < 1 ? share : 1 : 0;    /* NaN is 0 */
    int32_t eighths = (int32_t)(share * n_cols * 8 + 0.5);
    if (share > 0 && eighths == 0)
        eighths = 1;
    for (int32_t i = 0; i < n_cols; i++) {
        int32_t here = clamp(eighths - i * 8, 0, 8);
        if (here > 0)
            ui_put(g, row, col + i, 0x2590u - (uint32_t)here, style, 0);    /* U+2588 is a full block */
        else
            ui_put(g, row, col + i, 0x2591, UI_BAR_EMPTY, 0);
    }
}

void ui_highlight(struct ui_grid *g, struct ui_rect area, enum ui_style style, unsigned attrs)
{
    for (int32_t row = area.row; row < area.row + area.n_rows; row++)
        for (int32_t col = area.col; col < area.col + area.n_cols; col++)
            if (row >= 0 && row < g->n_rows && col >= 0 && col < g->n_cols) {
                cell_at(g, row, col)->style = (uint8_t)style;
                cell_at(g, row, col)->attrs |= (uint8_t)attrs;
            }
}

void ui_caret(struct ui_grid *g, int32_t row, int32_t col)
{
    g->caret_row = clamp(row, 0, g->n_rows > 0 ? g->n_rows - 1 : 0);
    g->caret_col = clamp(col, 0, g->n_cols > 0 ? g->n_cols - 1 : 0);
    g->caret_visible = true;
}
