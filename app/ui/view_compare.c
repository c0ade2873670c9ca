/* SPDX-License-Identifier: MIT */
#include "app/ui/view_compare.h"

#include <stdio.h>
#include <string.h>

#include "app/ui/wrap.h"

enum { ROOMY_ROWS = 10 };    /* lower boxes have neither the question nor rules */

static void scroll(struct view_compare *v, int32_t n)
{
    int32_t last = v->n_lines > v->n_visible ? v->n_lines - v->n_visible : 0;
    v->top += n;
    v->top = v->top < 0 ? 0 : v->top > last ? last : v->top;
    v->detached = v->top < last;
}

static int32_t compare_layout(void *self, int32_t n_cols, int32_t max_rows)
{
    (void)self, (void)n_cols;
    return max_rows;
}

static void side_lines(const struct view_compare *v, int i, int32_t n_cols, struct wrap_lines *out)
{
    const struct wrap_options o = { .n_cols = n_cols };
    size_t n_quiet = v->sides[i].n_quiet;
    if (v->sides[i].n_thoughts > 0) {
        char thought[48];
        int n = snprintf(thought, sizeof thought, "thought, %d token%s", (int)v->sides[i].n_thoughts,
                         v->sides[i].n_thoughts == 1 ? "" : "s");
        wrap_paragraph(out, &(struct wrap_piece){ thought, (size_t)n, UI_THINKING, 0 }, 1, &o);
    }
    const struct wrap_piece pieces[] = { { v->sides[i].text, n_quiet, UI_DIM, 0 },
                                         { v->sides[i].text + n_quiet, v->sides[i].n_text - n_quiet, UI_TEXT, 0 } };
    if (v->sides[i].n_text > 0)
        wrap_paragraph(out, pieces, 2, &o);
}

static void draw_head(const struct view_compare *v, int i, struct ui_grid *g, int32_t row, int32_t col, int32_t n_cols)
{
    int32_t used = ui_label(g, row, col, n_cols, v->sides[i].label, UI_MODEL, UI_BOLD);
    if (used + 2 < n_cols)
        ui_label_right(g, row, col + n_cols, n_cols - used - 2, v->sides[i].status, UI_DIM, 0);
}

static void compare_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    struct view_compare *v = self;
    struct ui_rect in = ui_box(g, area, "Compare", UI_BORDER);
    struct wrap_lines sides[2] = { 0 }, below = { 0 };
    int32_t n_cols = (in.n_cols - 5) / 2, right = in.col + in.n_cols - 1 - n_cols;
    bool roomy = in.n_rows >= ROOMY_ROWS;
    int32_t n_head = roomy ? 3 : 1;    /* the question, the labels, a rule */
    if (n_cols < 4 || in.n_rows < 2)
        return;
    for (int32_t i = 0; i < VIEW_COMPARE_LINES; i++)
        if (v->lines[i] && v->lines[i][0])
            wrap_paragraph(&below, &(struct wrap_piece){ v->lines[i], strlen(v->lines[i]), UI_STATUS, 0 }, 1,
                           &(struct wrap_options){ .n_cols = in.n_cols - 2 });
    int32_t room = in.n_rows - n_head, n_below = below.n_lines > 0 ? below.n_lines + roomy : 0;
    if (n_below > room / 2)
        n_below = room / 2;
    for (int i = 0; i < 2; i++)
        side_lines(v, i, n_cols, &sides[i]);
    v->n_visible = room - n_below;
    v->n_lines = sides[0].n_lines > sides[1].n_lines ? sides[0].n_lines : sides[1].n_lines;
    scroll(v, v->detached ? 0 : v->n_lines);

    if (roomy) {
        int32_t used = ui_label(g, in.row, in.col + 1, in.n_cols - 2, "Question: ", UI_DIM, 0);
        ui_label(g, in.row, in.col + 1 + used, in.n_cols - 2 - used, v->prompt, UI_TEXT, 0);
        ui_hline(g, in.row + 2, in.col, in.n_cols, UI_BORDER);
    }
    draw_head(v, 0, g, in.row + roomy, in.col + 1, n_cols);
    draw_head(v, 1, g, in.row + roomy, right, n_cols);
    for (int32_t i = 0; i < v->n_visible; i++) {
        int32_t row = in.row + n_head + i;
        if (v->top + i < sides[0].n_lines)
            wrap_lines_draw(&sides[0], v->top + i, g, row, in.col + 1, n_cols, 0);
        ui_put(g, row, right - 2, 0x2502, UI_BORDER, 0);
        if (v->top + i < sides[1].n_lines)
            wrap_lines_draw(&sides[1], v->top + i, g, row, right, n_cols, 0);
    }
    if (n_below > 0 && roomy)
        ui_hline(g, in.row + in.n_rows - n_below, in.col, in.n_cols, UI_BORDER);
    for (int32_t i = 0; i + roomy < n_below; i++)
        wrap_lines_draw(&below, i, g, in.row + in.n_rows - n_below + roomy + i, in.col + 1, in.n_cols - 2, 0);
    for (int i = 0; i < 2; i++)
        wrap_lines_finish(&sides[i]);
    wrap_lines_finish(&below);
}

static enum ui_action compare_key(void *self, const struct ui_key *key)
{
    struct view_compare *v = self;
    enum ui_action action = keymap_find(UI_CTX_COMPARE, key);
    switch (action) {
    case UI_ACT_SCROLL_LINE_UP: scroll(v, -1); break;
    case UI_ACT_SCROLL_LINE_DOWN: scroll(v, 1); break;
    case UI_ACT_SCROLL_PAGE_UP: scroll(v, 1 - v->n_visible); break;
    case UI_ACT_SCROLL_PAGE_DOWN: scroll(v, v->n_visible - 1); break;
    case UI_ACT_SCROLL_TOP: scroll(v, -v->n_lines); break;
    case UI_ACT_SCROLL_END: scroll(v, v->n_lines); break;
    default: return action;
    }
    return UI_ACT_DONE;
}

const struct ui_view view_compare = { "compare", UI_CTX_COMPARE, compare_layout, compare_draw, compare_key };
