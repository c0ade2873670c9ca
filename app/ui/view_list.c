/* SPDX-License-Identifier: MIT */
#include "app/ui/view_overlay.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

/* The rows of the box, from the top: edge, summary and filter, column titles, rows, detail, footer, edge.
 * Places in the list count the rows that pass the filter. */

enum {
    MARKER_COLS = 4,       /* "▸● " and a blank */
    GAP_COLS = 2,
    MAX_COLUMN_COLS = 44,
    PROGRESS_COLS = 24,
    FIXED_ROWS = 6         /* edges, summary, titles, detail, footer */
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool contains(const char *text, const char *part)
{
    for (; *text; text++) {
        size_t n = 0;
        while (part[n] && lower(text[n]) == lower(part[n]))
            n++;
        if (!part[n])
            return true;
    }
    return !part[0];
}

static bool passes(const struct view_list *v, const struct view_row *row)
{
    if (!v->filter[0])
        return true;
    for (int32_t c = 0; c < v->n_columns; c++)
        if (row->cells[c] && contains(row->cells[c], v->filter))
            return true;
    return false;
}

const struct view_row *view_list_chosen(const struct view_list *v)
{
    const struct view_row *first = NULL, *current = NULL;
    for (int32_t i = 0; i < v->n_rows; i++) {
        const struct view_row *row = &v->rows[i];
        if (!passes(v, row))
            continue;
        if (row->id == v->chosen_id)
            return row;
        if (!first)
            first = row;
        if (!current && row->current)
            current = row;
    }
    return current ? current : first;
}

/* Number of rows that pass, and the place of the chosen one. */
static int32_t count(const struct view_list *v, int32_t *chosen_place)
{
    const struct view_row *chosen = view_list_chosen(v);
    int32_t n = 0;
    *chosen_place = 0;
    for (int32_t i = 0; i < v->n_rows; i++) {
        if (!passes(v, &v->rows[i]))
            continue;
        if (&v->rows[i] == chosen)
            *chosen_place = n;
        n++;
    }
    return n;
}

static const struct view_row *row_at(const struct view_list *v, int32_t place)
{
    for (int32_t i = 0; i < v->n_rows; i++)
        if (passes(v, &v->rows[i]) && place-- == 0)
            return &v->rows[i];
    return NULL;
}

static int32_t lines_of(const struct view_row *row)
{
    return row->progress >= 0 ? 2 : 1;
}

static void choose(struct view_list *v, int32_t place)
{
    int32_t chosen, n = count(v, &chosen);
    place = place >= n ? n - 1 : place;
    const struct view_row *row = row_at(v, place > 0 ? place : 0);
    if (row)
        v->chosen_id = row->id;
}

/* ---- columns -------------------------------------------------------------------------------------- */

/* Widths that fit: content first, then columns go by their drop number, then the first one shrinks. A
 * column of no width is not drawn. */
static void fit_columns(const struct view_list *v, int32_t n_cols, int32_t widths[VIEW_LIST_COLUMNS])
{
    int32_t total = MARKER_COLS - GAP_COLS;
    for (int32_t c = 0; c < v->n_columns; c++) {
        int32_t widest = ui_text_cols(v->columns[c].title);
        for (int32_t i = 0; i < v->n_rows; i++) {
            int32_t cols = v->rows[i].cells[c] ? ui_text_cols(v->rows[i].cells[c]) : 0;
            if (cols > widest)
                widest = cols;
        }
        widths[c] = widest < MAX_COLUMN_COLS ? widest : MAX_COLUMN_COLS;
        total += widths[c] + GAP_COLS;
    }
    while (total > n_cols) {
        int32_t victim = -1;
        for (int32_t c = 0; c < v->n_columns; c++)
            if (widths[c] > 0 && v->columns[c].drop > 0
                && (victim < 0 || v->columns[c].drop >= v->columns[victim].drop))
                victim = c;
        if (victim < 0)
            break;
        total -= widths[victim] + GAP_COLS;
        widths[victim] = 0;
    }
    if (total > n_cols)
        widths[0] = widths[0] - (total - n_cols) > 6 ? widths[0] - (total - n_cols) : 6;
}

static void draw_cells(const struct view_list *v, const char *const cells[VIEW_LIST_COLUMNS],
                       const int32_t widths[VIEW_LIST_COLUMNS], enum ui_style style, struct ui_grid *g,
                       struct ui_rect line)
{
    int32_t col = line.col + MARKER_COLS, end = line.col + line.n_cols;
    for (int32_t c = 0; c < v->n_columns; c++) {
        if (widths[c] == 0)
            continue;
        int32_t cols = widths[c] < end - col ? widths[c] : end - col;
        if (cells[c] && v->columns[c].right)
            ui_label_right(g, line.row, col + cols, cols, cells[c], style, 0);
        else if (cells[c])
            ui_label(g, line.row, col, cols, cells[c], style, 0);
        col += widths[c] + GAP_COLS;
    }
}

static void draw_titles(const struct view_list *v, const int32_t widths[VIEW_LIST_COLUMNS],
                        struct ui_grid *g, struct ui_rect line)
{
    const char *titles[VIEW_LIST_COLUMNS] = { 0 };
    for (int32_t c = 0; c < v->n_columns; c++)
        titles[c] = v->columns[c].title;
    draw_cells(v, titles, widths, UI_HEADING, g, line);
}

/* ---- drawing -------------------------------------------------------------------------------------- */

static void draw_progress(const struct view_row *row, struct ui_grid *g, struct ui_rect line)
{
    char percent[16];
    int32_t col = line.col + MARKER_COLS, end = line.col + line.n_cols - 1;
    int32_t n_cols = PROGRESS_COLS < (end - col) / 2 ? PROGRESS_COLS : (end - col) / 2;
    ui_gauge(g, line.row, col, n_cols, row->progress, UI_BAR_LOW);
    col += n_cols + 1;
    double share = row->progress < 1 ? row->progress : 1;
    snprintf(percent, sizeof percent, "%d%%  ", (int)(share * 100));
    col += ui_label(g, line.row, col, end - col, percent, UI_STATUS, 0);
    if (row->progress_text)
        ui_label(g, line.row, col, end - col, row->progress_text, UI_DIM, 0);
}

static void draw_rows(struct view_list *v, const int32_t widths[VIEW_LIST_COLUMNS], struct ui_grid *g,
                      struct ui_rect area)
{
    const struct view_row *chosen = view_list_chosen(v), *row;
    int32_t line = 0;
    for (int32_t place = v->top; line < area.n_rows && (row = row_at(v, place)); place++) {
        struct ui_rect at = { area.row + line, area.col, 1, area.n_cols };
        draw_cells(v, row->cells, widths, row->style, g, at);
        if (row->current)
            ui_put(g, at.row, at.col + 2, 0x25CF, UI_GOOD, 0);
        if (row == chosen) {
            ui_put(g, at.row, at.col + 1, 0x25B8, UI_ACCENT, 0);
            ui_highlight(g, at, UI_SELECTION, 0);
        }
        line++;
        if (row->progress >= 0 && line < area.n_rows) {
            at.row++;
            draw_progress(row, g, at);
            line++;
        }
    }
    if (line == 0 && v->empty)
        ui_label(g, area.row, area.col + MARKER_COLS, area.n_cols - MARKER_COLS - 1, v->empty, UI_DIM, 0);
}

static void draw_summary(const struct view_list *v, struct ui_grid *g, struct ui_rect line)
{
    char text[VIEW_LIST_FILTER_BYTES + 16];
    int32_t end = line.col + line.n_cols - 1, used;
    if (v->filter[0]) {
        snprintf(text, sizeof text, "filter: %s", v->filter);
        used = ui_label_right(g, line.row, end, line.n_cols / 2, text, UI_ACCENT, 0);
    } else {
        used = ui_label_right(g, line.row, end, line.n_cols / 2, "type to filter", UI_DIM, 0);
    }
    if (v->summary)
        ui_label(g, line.row, line.col + 1, line.n_cols - used - 3, v->summary, UI_DIM, 0);
}

/* Moves the window so that the chosen row is in it, whole. */
static void keep_in_sight(struct view_list *v, int32_t n_lines)
{
    int32_t chosen, n = count(v, &chosen);
    if (v->top > chosen)
        v->top = chosen;
    for (int32_t lines = n_lines + 1; lines > n_lines && v->top < chosen; v->top += lines > n_lines) {
        lines = 0;
        for (int32_t place = v->top; place <= chosen; place++)
            lines += lines_of(row_at(v, place));
    }
    if (v->top >= n)
        v->top = 0;
}

static int32_t list_layout(void *self, int32_t n_cols, int32_t max_rows)
{
    const struct view_list *v = self;
    (void)n_cols;
    int32_t n = FIXED_ROWS;
    for (int32_t i = 0; i < v->n_rows; i++)
        n += lines_of(&v->rows[i]);    /* all of them, so that filtering leaves the box where it is */
    n += v->n_rows == 0;
    return n < max_rows ? n : max_rows;
}

static void list_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    struct view_list *v = self;
    int32_t widths[VIEW_LIST_COLUMNS] = { 0 };
    struct ui_rect in = ui_box(g, area, v->title, UI_BORDER);
    struct ui_rect line = { in.row, in.col, 1, in.n_cols };
    int32_t n_lines = in.n_rows - 4;
    if (in.n_rows < 2 || in.n_cols < 8)
        return;
    bool tight = n_lines < 1 || (n_lines < 2 && v->n_rows > 1);    /* too low for the lines around the list */
    n_lines = tight ? in.n_rows : n_lines;
    v->n_visible = n_lines;
    fit_columns(v, in.n_cols - 1, widths);
    keep_in_sight(v, n_lines);
    draw_rows(v, widths, g,
              (struct ui_rect){ in.row + (tight ? 0 : 2), in.col, n_lines, in.n_cols });
    if (tight)
        return;
    draw_summary(v, g, line);
    line.row++;
    draw_titles(v, widths, g, line);
    line.row = in.row + in.n_rows - 2;
    if (v->detail)
        ui_label(g, line.row, in.col + 1, in.n_cols - 2, v->detail, UI_TEXT, 0);
    if (v->footer)
        ui_label(g, line.row + 1, in.col + 1, in.n_cols - 2, v->footer, UI_DIM, 0);
}

/* ---- keys ----------------------------------------------------------------------------------------- */

static bool edit_filter(struct view_list *v, const struct ui_key *key)
{
    size_t n = strlen(v->filter);
    char bytes[4];
    if (key->code == UI_KEY_BACKSPACE && key->mods == 0) {
        while (n > 0 && utf8_length((unsigned char)v->filter[n - 1]) == 0)
            n--;
        v->filter[n > 0 ? n - 1 : 0] = '\0';
        return true;
    }
    if (!keymap_is_text(key))
        return false;
    size_t n_more = (size_t)utf8_encode(bytes, key->code);
    if (n + n_more < sizeof v->filter) {
        memcpy(v->filter + n, bytes, n_more);
        v->filter[n + n_more] = '\0';
    }
    return true;
}

static enum ui_action list_key(void *self, const struct ui_key *key)
{
    struct view_list *v = self;
    int32_t place, n = count(v, &place);
    int32_t page = v->n_visible > 1 ? v->n_visible - 1 : 1;
    enum ui_action action = keymap_find(UI_CTX_LIST, key);
    switch (action) {
    case UI_ACT_ITEM_UP: choose(v, place - 1); break;
    case UI_ACT_ITEM_DOWN: choose(v, place + 1); break;
    case UI_ACT_SCROLL_PAGE_UP: choose(v, place - page); break;
    case UI_ACT_SCROLL_PAGE_DOWN: choose(v, place + page); break;
    case UI_ACT_SCROLL_TOP: choose(v, 0); break;
    case UI_ACT_SCROLL_END: choose(v, n - 1); break;
    case UI_ACT_ACCEPT:
    case UI_ACT_MEASURE:
    case UI_ACT_COMPARE:
    case UI_ACT_REMOVE: return n > 0 ? action : UI_ACT_DONE;
    case UI_ACT_CLOSE: return action;
    default: return edit_filter(v, key) ? UI_ACT_DONE : UI_ACT_NONE;
    }
    return UI_ACT_DONE;
}

const struct ui_view view_list = { "list", UI_CTX_LIST, list_layout, list_draw, list_key };
