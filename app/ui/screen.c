/* SPDX-License-Identifier: MIT */
#include "app/ui/screen.h"

enum {
    MAX_EDITOR_ROWS = 10,
    RULED_ROWS = 16,         /* lower screens give the upper rule to the conversation */
    PROMPT_COLS = 3,         /* " › " before the draft */
    WIDE_COLS = 60           /* narrower screens have overlays from edge to edge */
};

static void draw_view(const struct ui_view *view, void *self, struct ui_grid *g, int32_t row, int32_t n_rows)
{
    if (n_rows > 0 && row >= 0 && row < g->n_rows)
        view->draw(self, g, (struct ui_rect){ row, 0, n_rows, g->n_cols });
}

static int32_t overlay_cols(const struct ui_view *view, int32_t n_cols)
{
    if (view->context == UI_CTX_COMPARE)
        return n_cols;
    int32_t most = view->context == UI_CTX_LIST ? 104 : view->context == UI_CTX_TEXT ? 92 : 68;
    int32_t cols = n_cols >= WIDE_COLS ? n_cols - 4 : n_cols;
    return cols < most ? cols : most;
}

/* Centred over the rows of the conversation. */
static void draw_overlay(struct screen *s, struct ui_grid *g, int32_t row, int32_t n_rows)
{
    int32_t n_cols = overlay_cols(s->overlay, g->n_cols);
    int32_t rows = s->overlay->layout(s->overlay_self, n_cols, n_rows);
    struct ui_rect area = { row + (n_rows - rows) / 2, (g->n_cols - n_cols) / 2, rows, n_cols };
    s->overlay->draw(s->overlay_self, g, area);
}

void screen_draw(struct screen *s, struct ui_grid *g)
{
    int32_t editor_cols = g->n_cols > PROMPT_COLS + 1 ? g->n_cols - PROMPT_COLS - 1 : 1;
    int32_t most = g->n_rows / 3 < MAX_EDITOR_ROWS ? g->n_rows / 3 : MAX_EDITOR_ROWS;
    int32_t editor_rows = editor_layout(s->editor, editor_cols, most > 1 ? most : 1);
    int32_t rule = g->n_rows >= RULED_ROWS;
    int32_t top = 1 + rule;
    int32_t keys_row = g->n_rows - 1, status_row = keys_row - 1, editor_row = status_row - editor_rows;
    int32_t bottom = editor_row - 1;    /* of the conversation: the lower rule */

    ui_grid_begin(g);
    draw_view(&view_header, &s->header, g, 0, 1);
    if (rule)
        ui_hline(g, 1, 0, g->n_cols, UI_BORDER);
    draw_view(&view_transcript, &s->transcript, g, top, bottom - top);
    if (bottom > 0)
        ui_hline(g, bottom, 0, g->n_cols, UI_BORDER);
    if (editor_row >= 0) {
        ui_label(g, editor_row, 1, 1, "›", UI_ACCENT, UI_BOLD);
        editor_draw(s->editor, g, (struct ui_rect){ editor_row, PROMPT_COLS, editor_rows, editor_cols },
                    !s->overlay);
    }
    draw_view(&view_status, &s->status, g, status_row, 1);
    if (s->overlay) {
        draw_overlay(s, g, top, bottom > top + 2 ? bottom - top : g->n_rows - top);
        struct view_keys keys = { .context = s->overlay->context };
        draw_view(&view_keys, &keys, g, keys_row, 1);
    } else {
        draw_view(&view_keys, &s->keys, g, keys_row, 1);
    }
}

enum ui_action screen_key(struct screen *s, const struct ui_key *key)
{
    enum ui_action action;
    if (s->overlay) {
        action = s->overlay->key(s->overlay_self, key);
        if (action == UI_ACT_CLOSE) {
            s->overlay = NULL;
            s->overlay_self = NULL;
        } else if (action == UI_ACT_NONE) {
            action = keymap_find(UI_CTX_GLOBAL, key);
            if (action != UI_ACT_SUSPEND && action != UI_ACT_REDRAW)
                action = UI_ACT_NONE;
        }
        return action;
    }
    action = editor_key(s->editor, key);
    if (action == UI_ACT_NONE)
        action = keymap_find(UI_CTX_GLOBAL, key);
    if (action == UI_ACT_NONE)
        action = view_transcript.key(&s->transcript, key);
    if (action == UI_ACT_THINKING)
        s->transcript.show_thinking = !s->transcript.show_thinking;
    return action;
}

bool screen_paste(struct screen *s, const char *bytes, size_t n_bytes)
{
    if (!s->overlay)
        return editor_paste(s->editor, bytes, n_bytes);
    if (s->overlay->context != UI_CTX_PROMPT)
        return false;
    return editor_paste(((struct view_prompt *)s->overlay_self)->editor, bytes, n_bytes);
}
