/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "app/ui/view_overlay.h"
#include "app/ui/wrap.h"

/* The text, an empty line, then for each answer its number with its label and what it does below. When the
 * box is too low the answers scroll, the chosen one in sight as a whole. */

struct choice_lines {
    struct wrap_lines all;
    int32_t first[VIEW_CHOICES + 1];    /* line of each answer, and the end */
};

static void add_text(struct wrap_lines *out, const char *text, enum ui_style style, const char *indent,
                     int32_t n_cols)
{
    struct wrap_piece piece = { text, strlen(text), style, 0 }, margin = { indent, strlen(indent), style, 0 };
    wrap_paragraph(out, &piece, 1, &(struct wrap_options){ .n_cols = n_cols, .first = margin, .rest = margin });
}

static void make_lines(const struct view_choice *v, int32_t n_cols, struct choice_lines *out)
{
    *out = (struct choice_lines){ 0 };
    add_text(&out->all, v->text, UI_TEXT, "", n_cols);
    wrap_lines_add(&out->all);
    for (int32_t i = 0; i < v->n_choices; i++) {
        char number[16];
        bool possible = v->choices[i].possible;
        out->first[i] = out->all.n_lines;
        snprintf(number, sizeof number, "  %d  ", (int)(i + 1));
        struct wrap_piece label = { v->choices[i].label, strlen(v->choices[i].label),
                                    possible ? UI_TEXT : UI_DIM, possible ? UI_BOLD : 0 };
        wrap_paragraph(&out->all, &label, 1, &(struct wrap_options){
            .n_cols = n_cols,
            .first = { number, strlen(number), possible ? UI_KEY : UI_DIM, 0 },
            .rest = { "     ", 5, UI_TEXT, 0 } });
        add_text(&out->all, v->choices[i].text, UI_DIM, "     ", n_cols);
    }
    out->first[v->n_choices] = out->all.n_lines;
}

static int32_t choice_layout(void *self, int32_t n_cols, int32_t max_rows)
{
    struct choice_lines lines;
    make_lines(self, n_cols - 4, &lines);
    int32_t n = lines.all.n_lines + 2;
    wrap_lines_finish(&lines.all);
    return n < max_rows ? n : max_rows;
}

static void choice_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    struct view_choice *v = self;
    struct ui_rect in = ui_box(g, area, v->title, UI_BORDER);
    struct choice_lines lines;
    v->seen = true;
    if (v->n_choices == 0 || in.n_rows < 1)
        return;
    make_lines(v, in.n_cols - 2, &lines);
    int32_t from = lines.first[v->chosen], to = lines.first[v->chosen + 1];
    if (v->top + in.n_rows < to)
        v->top = to - in.n_rows;
    if (v->top > from || lines.all.n_lines <= in.n_rows)
        v->top = lines.all.n_lines <= in.n_rows ? 0 : from;
    for (int32_t i = 0; i < in.n_rows && v->top + i < lines.all.n_lines; i++) {
        int32_t line = v->top + i;
        wrap_lines_draw(&lines.all, line, g, in.row + i, in.col + 1, in.n_cols - 2, 0);
        if (line == from)
            ui_put(g, in.row + i, in.col + 1, 0x25B8, UI_ACCENT, 0);
        if (line >= from && line < to)
            ui_highlight(g, (struct ui_rect){ in.row + i, in.col, 1, in.n_cols }, UI_SELECTION, 0);
    }
    wrap_lines_finish(&lines.all);
}

static enum ui_action choice_key(void *self, const struct ui_key *key)
{
    struct view_choice *v = self;
    enum ui_action action = keymap_find(UI_CTX_CONFIRM, key);
    int32_t n = v->n_choices > 0 ? v->n_choices : 1;
    if (!v->seen)
        return UI_ACT_DONE;
    if (action == UI_ACT_ITEM_UP)
        v->chosen = (v->chosen + n - 1) % n;
    else if (action == UI_ACT_ITEM_DOWN)
        v->chosen = (v->chosen + 1) % n;
    else if (action != UI_ACT_NONE)
        return action == UI_ACT_ACCEPT && !v->choices[v->chosen].possible ? UI_ACT_DONE : action;
    else if (keymap_is_text(key) && key->code >= '1' && key->code < '1' + (uint32_t)v->n_choices) {
        v->chosen = (int32_t)(key->code - '1');
        return v->choices[v->chosen].possible ? UI_ACT_ACCEPT : UI_ACT_DONE;
    } else if (!keymap_is_text(key))
        return UI_ACT_NONE;
    return UI_ACT_DONE;
}

const struct ui_view view_choice = { "choice", UI_CTX_CONFIRM, choice_layout, choice_draw, choice_key };
