/* SPDX-License-Identifier: MIT */
#include "app/ui/view_overlay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/ui/wrap.h"

/* ---- text ----------------------------------------------------------------------------------------- */

enum {
    MAX_KEY_COLS = 34,
    MIN_TEXT_COLS = 24    /* with less room beside the keys there are no columns */
};

static int32_t key_cols(const struct view_text *v)
{
    int32_t widest = 0;
    for (int32_t i = 0; i < v->n_rows; i++) {
        int32_t cols = v->rows[i].key && v->rows[i].text ? ui_text_cols(v->rows[i].key) : 0;
        if (cols > widest)
            widest = cols;
    }
    return widest < MAX_KEY_COLS ? widest : MAX_KEY_COLS;
}

/* Text in a column of its own beside the key; right behind the key where there is little room. */
static void text_row_lines(const struct view_text_row *row, int32_t n_key_cols, int32_t n_cols,
                           struct wrap_lines *out)
{
    char first[256], rest[MAX_KEY_COLS + 8];
    int32_t cols = ui_text_cols(row->key);
    bool columns = n_cols - n_key_cols - 2 >= MIN_TEXT_COLS;
    int32_t gap = columns && cols <= n_key_cols ? n_key_cols + 2 - cols : 2;
    int n_first = snprintf(first, sizeof first, "%s%*s", row->key, (int)gap, "");
    int n_rest = snprintf(rest, sizeof rest, "%*s", columns ? (int)n_key_cols + 2 : 4, "");
    if (n_first < 0 || (size_t)n_first >= sizeof first || n_rest < 0)
        return;
    struct wrap_piece text = { row->text, strlen(row->text), UI_TEXT, 0 };
    wrap_paragraph(out, &text, 1, &(struct wrap_options){
        .n_cols = n_cols,
        .first = { first, (size_t)n_first, UI_KEY, 0 },
        .rest = { rest, (size_t)n_rest, UI_TEXT, 0 } });
}

static void text_lines(const struct view_text *v, int32_t n_cols, struct wrap_lines *out)
{
    int32_t n_key_cols = key_cols(v);
    for (int32_t i = 0; i < v->n_rows; i++) {
        const struct view_text_row *row = &v->rows[i];
        if (row->key && row->text) {
            text_row_lines(row, n_key_cols, n_cols, out);
        } else if (row->key || row->text) {
            const char *text = row->key ? row->key : row->text;
            struct wrap_piece piece = { text, strlen(text), row->key ? UI_KEY : UI_HEADING, 0 };
            wrap_paragraph(out, &piece, 1, &(struct wrap_options){ .n_cols = n_cols });
        } else {
            wrap_lines_add(out);
        }
    }
}

static int32_t text_layout(void *self, int32_t n_cols, int32_t max_rows)
{
    struct wrap_lines lines = { 0 };
    text_lines(self, n_cols - 4, &lines);
    int32_t n = lines.n_lines + 2;
    wrap_lines_finish(&lines);
    return n < max_rows ? n : max_rows;
}

static void text_scroll(struct view_text *v, int32_t n)
{
    int32_t last = v->n_lines > v->n_visible ? v->n_lines - v->n_visible : 0;
    v->top += n;
    v->top = v->top < 0 ? 0 : v->top > last ? last : v->top;
}

static void text_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    struct view_text *v = self;
    struct ui_rect in = ui_box(g, area, v->title, UI_BORDER);
    struct wrap_lines lines = { 0 };
    text_lines(v, in.n_cols - 2, &lines);
    v->n_lines = lines.n_lines;
    v->n_visible = in.n_rows > 0 ? in.n_rows : 1;
    text_scroll(v, 0);
    for (int32_t i = 0; i < in.n_rows; i++)
        wrap_lines_draw(&lines, v->top + i, g, in.row + i, in.col + 1, in.n_cols - 2, 0);
    if (v->n_lines > v->n_visible) {
        char place[48];
        snprintf(place, sizeof place, " %d-%d of %d ", v->top + 1, v->top + v->n_visible, v->n_lines);
        ui_label_right(g, area.row + area.n_rows - 1, area.col + area.n_cols - 2, area.n_cols - 4, place,
                       UI_DIM, 0);
    }
    wrap_lines_finish(&lines);
}

static enum ui_action text_key(void *self, const struct ui_key *key)
{
    struct view_text *v = self;
    enum ui_action action = keymap_find(UI_CTX_TEXT, key);
    switch (action) {
    case UI_ACT_SCROLL_LINE_UP: text_scroll(v, -1); break;
    case UI_ACT_SCROLL_LINE_DOWN: text_scroll(v, 1); break;
    case UI_ACT_SCROLL_PAGE_UP: text_scroll(v, 1 - v->n_visible); break;
    case UI_ACT_SCROLL_PAGE_DOWN: text_scroll(v, v->n_visible - 1); break;
    case UI_ACT_SCROLL_TOP: v->top = 0; break;
    case UI_ACT_SCROLL_END: text_scroll(v, v->n_lines); break;
    default: return action;
    }
    return UI_ACT_DONE;
}

const struct ui_view view_text = { "text", UI_CTX_TEXT, text_layout, text_draw, text_key };

/* ---- help ----------------------------------------------------------------------------------------- */

enum { HELP_NAMES_BYTES = 24 };    /* two keys are enough to remember */

static const struct {
    enum ui_context context;
    const char *title;
} help_parts[] = {
    { UI_CTX_GLOBAL, "Keys" },
    { UI_CTX_TRANSCRIPT, "Reading back" },
    { UI_CTX_EDITOR, "Writing" },
};

static void add_help_row(struct view_help *h, const char *key, const char *text)
{
    h->rows[h->n_rows++] = (struct view_text_row){ key, text };
}

static void add_help_part(struct view_help *h, enum ui_context context, const char *title, char **names)
{
    const struct ui_binding *b;
    if (h->n_rows > 0)
        add_help_row(h, NULL, NULL);
    add_help_row(h, NULL, title);
    for (int32_t i = 0; (b = keymap_binding(i)); i++) {
        if (b->context != context || !b->help)
            continue;
        keymap_names(context, b->action, *names, HELP_NAMES_BYTES);
        add_help_row(h, *names, b->help);
        *names += HELP_NAMES_BYTES;
    }
}

bool view_help_make(struct view_help *out, const char *more_title, const struct view_text_row *more,
                    int32_t n_more)
{
    int32_t n_bindings = 0;
    while (keymap_binding(n_bindings))
        n_bindings++;
    *out = (struct view_help){ 0 };
    out->rows = calloc((size_t)(n_bindings + n_more + 16), sizeof *out->rows);
    out->names = calloc((size_t)n_bindings, HELP_NAMES_BYTES);
    if (!out->rows || !out->names) {
        view_help_finish(out);
        return false;
    }
    char *names = out->names;
    add_help_part(out, help_parts[0].context, help_parts[0].title, &names);
    if (n_more > 0) {
        add_help_row(out, NULL, NULL);
        add_help_row(out, NULL, more_title);
        for (int32_t i = 0; i < n_more; i++)
            out->rows[out->n_rows++] = more[i];
    }
    for (size_t i = 1; i < sizeof help_parts / sizeof help_parts[0]; i++)
        add_help_part(out, help_parts[i].context, help_parts[i].title, &names);
    return true;
}

void view_help_finish(struct view_help *h)
{
    free(h->rows);
    free(h->names);
    *h = (struct view_help){ 0 };
}

/* ---- prompt --------------------------------------------------------------------------------------- */

enum { MAX_MESSAGE_LINES = 4 };

static void plain_lines(const char *text, int32_t n_cols, enum ui_style style, struct wrap_lines *out)
{
    struct wrap_piece piece = { text, strlen(text), (uint8_t)style, 0 };
    wrap_paragraph(out, &piece, 1, &(struct wrap_options){ .n_cols = n_cols });
}

static int32_t message_lines(const char *text, int32_t n_cols)
{
    struct wrap_lines lines = { 0 };
    if (text)
        plain_lines(text, n_cols, UI_TEXT, &lines);
    int32_t n = lines.n_lines < MAX_MESSAGE_LINES ? lines.n_lines : MAX_MESSAGE_LINES;
    wrap_lines_finish(&lines);
    return n;
}

static int32_t prompt_layout(void *self, int32_t n_cols, int32_t max_rows)
{
    const struct view_prompt *v = self;
    int32_t n = 3 + (v->label ? 1 : 0) + message_lines(v->message, n_cols - 4);
    return n < max_rows ? n : max_rows;
}

static void prompt_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    struct view_prompt *v = self;
    struct ui_rect in = ui_box(g, area, v->title, UI_BORDER);
    int32_t row = in.row, end = in.row + in.n_rows;
    if (v->label && in.n_rows > 1)
        ui_label(g, row++, in.col + 1, in.n_cols - 2, v->label, UI_DIM, 0);
    if (row < end) {
        ui_label(g, row, in.col + 1, 2, "› ", UI_ACCENT, UI_BOLD);
        editor_draw(v->editor, g, (struct ui_rect){ row++, in.col + 3, 1, in.n_cols - 4 }, true);
    }
    if (v->message) {
        struct wrap_lines lines = { 0 };
        plain_lines(v->message, in.n_cols - 2, v->message_is_error ? UI_ERROR : UI_DIM, &lines);
        for (int32_t i = 0; i < lines.n_lines && row < end; i++)
            wrap_lines_draw(&lines, i, g, row++, in.col + 1, in.n_cols - 2, 0);
        wrap_lines_finish(&lines);
    }
}

static enum ui_action prompt_key(void *self, const struct ui_key *key)
{
    struct view_prompt *v = self;
    enum ui_action action = keymap_find(UI_CTX_PROMPT, key);
    if (action != UI_ACT_NONE)
        return action;
    action = editor_key(v->editor, key);
    return action == UI_ACT_DONE ? UI_ACT_DONE : UI_ACT_NONE;
}

const struct ui_view view_prompt = { "prompt", UI_CTX_PROMPT, prompt_layout, prompt_draw, prompt_key };

/* ---- confirm -------------------------------------------------------------------------------------- */

static int32_t confirm_layout(void *self, int32_t n_cols, int32_t max_rows)
{
    const struct view_confirm *v = self;
    struct wrap_lines lines = { 0 };
    plain_lines(v->text, n_cols - 4, UI_TEXT, &lines);
    int32_t n = lines.n_lines + 4;
    wrap_lines_finish(&lines);
    return n < max_rows ? n : max_rows;
}

static void confirm_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    struct view_confirm *v = self;
    struct ui_rect in = ui_box(g, area, v->title, UI_BORDER);
    struct wrap_lines lines = { 0 };
    int32_t last = in.row + in.n_rows - 1, col = in.col + 1, end = in.col + in.n_cols - 1;
    plain_lines(v->text, in.n_cols - 2, UI_TEXT, &lines);
    for (int32_t i = 0; i < lines.n_lines && in.row + i < last; i++)
        wrap_lines_draw(&lines, i, g, in.row + i, in.col + 1, in.n_cols - 2, 0);
    wrap_lines_finish(&lines);
    for (int32_t i = 0; i < v->n_choices && col < end; i++) {
        int32_t from = col;
        ui_put(g, last, col + 1, v->choices[i].letter, UI_KEY, 0);
        col += 3 + ui_label(g, last, col + 3, end - col - 3, v->choices[i].label, UI_TEXT, 0) + 1;
        if (i == v->chosen)
            ui_highlight(g, (struct ui_rect){ last, from, 1, (col < end ? col : end) - from }, UI_SELECTION,
                         0);
        col += 2;
    }
}

static enum ui_action confirm_key(void *self, const struct ui_key *key)
{
    struct view_confirm *v = self;
    enum ui_action action = keymap_find(UI_CTX_CONFIRM, key);
    int32_t n = v->n_choices > 0 ? v->n_choices : 1;
    if (action == UI_ACT_ITEM_UP)
        v->chosen = (v->chosen + n - 1) % n;
    else if (action == UI_ACT_ITEM_DOWN)
        v->chosen = (v->chosen + 1) % n;
    else if (action != UI_ACT_NONE)
        return action;
    else if (keymap_is_text(key)) {
        for (int32_t i = 0; i < v->n_choices; i++)
            if (v->choices[i].letter == key->code) {
                v->chosen = i;
                return UI_ACT_ACCEPT;
            }
    }
    return UI_ACT_DONE;
}

const struct ui_view view_confirm = { "confirm", UI_CTX_CONFIRM, confirm_layout, confirm_draw, confirm_key };
