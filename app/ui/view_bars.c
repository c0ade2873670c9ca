/* SPDX-License-Identifier: MIT */
#include "app/ui/view_bars.h"

#include <stdio.h>
#include <string.h>

static int32_t one_row(void *self, int32_t n_cols, int32_t max_rows)
{
    (void)self, (void)n_cols, (void)max_rows;
    return 1;
}

/* ---- header --------------------------------------------------------------------------------------- */

static int32_t cols_of(const char *text)
{
    return text && text[0] ? ui_text_cols(text) + 2 : 0;
}

static void header_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    const struct view_header *v = self;
    int32_t left = area.col + 1, right = area.col + area.n_cols - 1;
    left += ui_label(g, area.row, left, right - left, "quip", UI_ACCENT, UI_BOLD) + 2;

    int32_t room = right - left - 12 - cols_of(v->model) - cols_of(v->level);
    const char *device = cols_of(v->device) <= room ? v->device : v->device_brief;
    if (cols_of(device) > 0 && cols_of(device) <= room)
        right -= ui_label_right(g, area.row, right, right - left, device, UI_DIM, 0) + 2;
    if (cols_of(v->level))
        right -= ui_label_right(g, area.row, right, right - left, v->level, UI_STATUS, 0) + 2;
    if (cols_of(v->model))
        right -= ui_label_right(g, area.row, right, right - left, v->model, UI_MODEL, 0) + 2;
    if (cols_of(v->title) && right - left >= 8)
        ui_label(g, area.row, left, right - left, v->title, UI_DIM, 0);
}

const struct ui_view view_header = { "header", UI_CTX_GLOBAL, one_row, header_draw, NULL };

/* ---- status --------------------------------------------------------------------------------------- */

enum { MID_PERCENT = 75, HIGH_PERCENT = 90 };

static int32_t percent_of(int32_t n_used, int32_t n_ctx)
{
    return n_ctx > 0 ? (int32_t)((int64_t)n_used * 100 / n_ctx) : 0;
}

enum ui_style view_status_level(int32_t n_used, int32_t n_ctx)
{
    int32_t percent = percent_of(n_used, n_ctx);
    return percent >= HIGH_PERCENT ? UI_BAR_HIGH : percent >= MID_PERCENT ? UI_BAR_MID : UI_BAR_LOW;
}

/* "ctx ███░░░░░ 31 % of 4096", shorter when narrow; returns the columns used. */
static int32_t draw_context(const struct view_status *v, struct ui_grid *g, struct ui_rect area)
{
    enum ui_style level = view_status_level(v->n_ctx_used, v->n_ctx);
    int32_t gauge_cols = area.n_cols >= 60 ? 10 : 5;
    int32_t col = area.col;
    char text[48];
    col += ui_label(g, area.row, col, area.n_cols, "ctx ", UI_DIM, 0);
    ui_gauge(g, area.row, col, gauge_cols, (double)v->n_ctx_used / v->n_ctx, level);
    col += gauge_cols + 1;
    snprintf(text, sizeof text, "%d%%%s", percent_of(v->n_ctx_used, v->n_ctx),
             level == UI_BAR_HIGH ? "!!" : level == UI_BAR_MID ? "!" : "");
    col += ui_label(g, area.row, col, area.col + area.n_cols - col, text,
                    level == UI_BAR_LOW ? UI_STATUS : level, 0);
    if (area.n_cols >= 100) {
        snprintf(text, sizeof text, " %d of %d", v->n_ctx_used, v->n_ctx);
        col += ui_label(g, area.row, col, area.col + area.n_cols - col, text, UI_DIM, 0);
    }
    return col - area.col;
}

static const char *text_of(const struct view_segment *s, bool brief)
{
    return brief && s->brief ? s->brief : s->text ? s->text : "";
}

/* From which segment on they are brief, so that all fit; none when not even that is enough. */
static int32_t first_brief(const struct view_status *v, int32_t n_cols, bool first)
{
    for (int32_t from = v->n_segments; from >= 0; from--) {
        int32_t total = 0;
        bool alone = first;
        for (int32_t i = 0; i < v->n_segments; i++) {
            int32_t cols = ui_text_cols(text_of(&v->segments[i], i >= from));
            if (cols == 0)
                continue;
            total += cols + (alone ? 0 : 3);
            alone = false;
        }
        if (total <= n_cols)
            return from;
    }
    return 0;
}

static void status_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    const struct view_status *v = self;
    int32_t col = area.col + 1, end = area.col + area.n_cols - 1;
    bool first = true;
    if (v->n_ctx > 0) {
        col += draw_context(v, g, (struct ui_rect){ area.row, col, 1, end - col });
        first = false;
    }
    int32_t brief_from = first_brief(v, end - col, first);
    for (int32_t i = 0; i < v->n_segments; i++) {
        const char *text = text_of(&v->segments[i], i >= brief_from);
        int32_t cols = ui_text_cols(text);
        int32_t gap = first ? 0 : 3;
        if (cols == 0)
            continue;
        if (col + gap + cols > end && !first)
            break;
        if (!first)
            ui_label(g, area.row, col, gap, " · ", UI_BORDER, 0);
        col += gap + ui_label(g, area.row, col + gap, end - col - gap, text, v->segments[i].style, 0);
        first = false;
    }
}

const struct ui_view view_status = { "status", UI_CTX_GLOBAL, one_row, status_draw, NULL };

/* ---- keys ----------------------------------------------------------------------------------------- */

/* "F1 Help" at *col when it fits whole before end. */
static bool draw_key(const struct ui_binding *b, struct ui_grid *g, int32_t row, int32_t *col, int32_t end)
{
    char name[KEYMAP_NAME_BYTES];
    char shown[KEYMAP_NAME_BYTES];
    keymap_name(&b->key, name);
    bool ctrl = strncmp(name, "Ctrl+", 5) == 0;
    snprintf(shown, sizeof shown, "%s%s", ctrl ? "^" : "", ctrl ? name + 5 : name);
    int32_t cols = ui_text_cols(shown) + 1 + ui_text_cols(b->bar);
    if (*col + cols > end)
        return false;
    *col += ui_label(g, row, *col, end - *col, shown, UI_KEY, 0) + 1;
    *col += ui_label(g, row, *col, end - *col, b->bar, UI_DIM, 0) + 2;
    return true;
}

static bool in_bar(const struct view_keys *v, const struct ui_binding *b)
{
    bool here = b->context == v->context || (v->context == UI_CTX_GLOBAL && b->context == UI_CTX_EDITOR);
    return here && b->bar && b->action != UI_ACT_STOP;
}

static void keys_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    const struct view_keys *v = self;
    const struct ui_binding *b;
    int32_t col = area.col + 1, end = area.col + area.n_cols;
    for (int32_t i = 0; v->busy && v->context == UI_CTX_GLOBAL && (b = keymap_binding(i)); i++)
        if (b->action == UI_ACT_STOP)
            draw_key(b, g, area.row, &col, end);
    for (int32_t i = 0; (b = keymap_binding(i)); i++)
        if (in_bar(v, b) && !draw_key(b, g, area.row, &col, end))
            break;
}

const struct ui_view view_keys = { "keys", UI_CTX_GLOBAL, one_row, keys_draw, NULL };
