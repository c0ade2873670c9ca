/* SPDX-License-Identifier: MIT */
#include "app/ui/view_transcript.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/ui/markdown.h"

/* A message is a stack of parts, each some lines high:
 *
 *   head        " Model                               14:02"
 *   fold        "   ▸ thought 214 tokens 3.1 s"               when there is thinking
 *   thinking    its lines and an empty one                    unfolded only
 *   body        the rendered text
 *   stats       "   38.1 tok/s · first 0.21 s"
 *   gap         one empty line, not after the last message
 *
 * Cards have a frame instead of head and stats, and a hint where the others have thinking. A place in the
 * conversation is a message and a line of it; there is no global line number, so nothing above the screen
 * needs to be rendered. */

enum {
    MAX_TEXT_COLS = 100,     /* longer lines are hard to read */
    NARROW_COLS = 50,
    KEPT_AROUND = 200        /* messages beside the visible ones whose lines are kept */
};

struct view_transcript_cache {
    uint64_t id;
    uint32_t revision;
    bool drafts;              /* underlined */
    struct markdown body;
    struct markdown extra;    /* thinking, or the hint of a card */
};

struct place {
    int32_t message, line;
};

struct parts {
    int32_t head, fold, thinking, body, stats, gap;
    int32_t total;
};

static bool is_card(const struct view_message *m)
{
    return m->kind >= VIEW_MESSAGE_NOTICE;
}

static int32_t text_col(int32_t n_cols)
{
    return n_cols >= NARROW_COLS ? 3 : 1;
}

static int32_t text_cols(int32_t n_cols)
{
    int32_t cols = n_cols - 2 * text_col(n_cols) + 1;
    return cols < 8 ? 8 : cols > MAX_TEXT_COLS ? MAX_TEXT_COLS : cols;
}

static bool has_stats(const struct view_message *m)
{
    const struct view_stats *s = m->stats;
    return s && !m->streaming && (s->tokens_per_s > 0 || s->n_generated > 0 || s->ending);
}

/* ---- rendered lines ------------------------------------------------------------------------------- */

static void forget(struct view_transcript_cache *c)
{
    markdown_finish(&c->body);
    markdown_finish(&c->extra);
    *c = (struct view_transcript_cache){ 0 };
}

static bool grow_cache(struct view_transcript *v)
{
    if (v->n_cache >= v->n_messages)
        return true;
    int32_t n = v->n_messages + v->n_messages / 2 + 16;
    struct view_transcript_cache *cache = realloc(v->cache, (size_t)n * sizeof *cache);
    if (!cache)
        return false;
    memset(cache + v->n_cache, 0, (size_t)(n - v->n_cache) * sizeof *cache);
    v->cache = cache;
    v->n_cache = n;
    return true;
}

static void set_styles(struct view_transcript_cache *c, const struct view_message *m)
{
    c->body.plain = m->kind != VIEW_MESSAGE_MODEL;
    c->body.style = m->kind == VIEW_MESSAGE_SYSTEM || m->left_out ? UI_DIM : UI_TEXT;
    c->extra.plain = true;
    c->extra.style = is_card(m) ? UI_ACCENT : UI_THINKING;
}

/* The message's lines at this width; NULL when there is no memory. */
static struct view_transcript_cache *render(struct view_transcript *v, int32_t i, int32_t n_cols)
{
    const struct view_message *m = &v->messages[i];
    if (!grow_cache(v))
        return NULL;
    struct view_transcript_cache *c = &v->cache[i];
    if (c->id != m->id || c->revision != m->revision || c->drafts != v->show_drafts) {
        forget(c);
        c->id = m->id;
        c->revision = m->revision;
        c->drafts = v->show_drafts;
        set_styles(c, m);
    }
    int32_t cols = text_cols(n_cols);
    c->body.underlined = m->drafted;
    c->body.n_underlined = v->show_drafts ? m->n_drafted : 0;
    if (is_card(m)) {
        markdown_update(&c->body, m->text ? m->text : "", m->text ? m->n_text : 0, cols - 4, true);
        markdown_update(&c->extra, m->hint ? m->hint : "", m->hint ? strlen(m->hint) : 0, cols - 4, true);
    } else {
        markdown_update(&c->body, m->text ? m->text : "", m->text ? m->n_text : 0, cols, !m->streaming);
        if (v->show_thinking && m->thinking)
            markdown_update(&c->extra, m->thinking, m->n_thinking, cols - 2, !m->thinking_open);
    }
    return c;
}

static struct parts measure(struct view_transcript *v, int32_t i, int32_t n_cols)
{
    struct parts p = { 0 };
    const struct view_message *m = &v->messages[i];
    const struct view_transcript_cache *c = render(v, i, n_cols);
    if (!c)
        return p;
    p.head = 1;
    p.body = c->body.lines.n_lines;
    if (m->brief) {
        p.body = 0;
    } else if (is_card(m)) {
        p.thinking = c->extra.lines.n_lines;
        p.stats = 1;    /* the lower edge */
    } else {
        bool waiting = m->streaming && !m->thinking_open && p.body == 0;
        p.fold = m->n_thinking > 0 || m->thinking_open;
        if (p.fold && v->show_thinking && c->extra.lines.n_lines > 0)
            p.thinking = c->extra.lines.n_lines + 1;
        p.body += waiting;
        p.stats = has_stats(m);
    }
    p.gap = i + 1 < v->n_messages && !(m->brief && m[1].brief);
    p.total = p.head + p.fold + p.thinking + p.body + p.stats + p.gap;
    return p;
}

static int32_t lines_of(struct view_transcript *v, int32_t i)
{
    return measure(v, i, v->n_cols).total;
}

/* Lines of messages far from the screen are made again when they are looked at. */
static void forget_far(struct view_transcript *v, int32_t first, int32_t last)
{
    for (int32_t i = 0; i < v->n_cache; i++)
        if ((i < first - KEPT_AROUND || i > last + KEPT_AROUND) && v->cache[i].id)
            forget(&v->cache[i]);
}

void view_transcript_finish(struct view_transcript *v)
{
    for (int32_t i = 0; i < v->n_cache; i++)
        forget(&v->cache[i]);
    free(v->cache);
    v->cache = NULL;
    v->n_cache = 0;
}

/* ---- places --------------------------------------------------------------------------------------- */

static bool before(struct place a, struct place b)
{
    return a.message < b.message || (a.message == b.message && a.line < b.line);
}

/* Lines up or down, within the conversation. */
static struct place moved(struct view_transcript *v, struct place p, int32_t n)
{
    p.line += n;
    while (p.line < 0 && p.message > 0)
        p.line += lines_of(v, --p.message);
    if (p.line < 0)
        p.line = 0;
    for (int32_t total; p.line >= (total = lines_of(v, p.message)) && p.message + 1 < v->n_messages;) {
        p.line -= total;
        p.message++;
    }
    return p;
}

/* The top of the screen when the end is in sight. */
static struct place tail_top(struct view_transcript *v)
{
    struct place p = { v->n_messages - 1, 0 };
    p.line = lines_of(v, p.message) - v->n_rows;
    return moved(v, p, 0);
}

static size_t end_bytes(const struct view_transcript *v)
{
    const struct view_message *last = &v->messages[v->n_messages - 1];
    return last->n_text + last->n_thinking;
}

static void detach(struct view_transcript *v, struct place p)
{
    if (!v->detached) {
        v->seen_id = v->messages[v->n_messages - 1].id;
        v->seen_bytes = end_bytes(v);
    }
    v->detached = true;
    v->top_id = v->messages[p.message].id;
    v->top_line = p.line;
    v->top_of = lines_of(v, p.message);
}

/* The top of the screen as the person left it; at the end when the message is gone. rescaled: the width
 * is another than when the place was noted. */
static struct place current_top(struct view_transcript *v, bool rescaled)
{
    if (v->detached) {
        for (int32_t i = v->n_messages - 1; i >= 0; i--) {
            if (v->messages[i].id != v->top_id)
                continue;
            int32_t total = lines_of(v, i);
            int64_t line = v->top_line;
            if (rescaled && v->top_of > 0)
                line = line * total / v->top_of;
            struct place p = { i, line < total ? (int32_t)line : total - 1 };
            struct place tail = tail_top(v);
            return before(p, tail) ? p : tail;
        }
        v->detached = false;
    }
    return tail_top(v);
}

void view_transcript_scroll(struct view_transcript *v, int32_t n_lines)
{
    if (v->n_messages == 0 || v->n_rows == 0)
        return;
    struct place p = moved(v, current_top(v, false), n_lines);
    if (before(p, tail_top(v)))
        detach(v, p);
    else
        v->detached = false;
}

void view_transcript_top(struct view_transcript *v)
{
    if (v->n_messages > 0 && v->n_rows > 0 && before((struct place){ 0, 0 }, tail_top(v)))
        detach(v, (struct place){ 0, 0 });
}

void view_transcript_follow(struct view_transcript *v)
{
    v->detached = false;
}

/* ---- drawing -------------------------------------------------------------------------------------- */

static const char *label_of(const struct view_message *m)
{
    static const char *const labels[] = {
        [VIEW_MESSAGE_USER] = "You", [VIEW_MESSAGE_MODEL] = "Model", [VIEW_MESSAGE_SYSTEM] = "System",
        [VIEW_MESSAGE_NOTICE] = "Note", [VIEW_MESSAGE_WARNING] = "Warning", [VIEW_MESSAGE_ERROR] = "Error" };
    return m->label ? m->label : labels[m->kind];
}

static enum ui_style style_of(const struct view_message *m)
{
    static const enum ui_style styles[] = {
        [VIEW_MESSAGE_USER] = UI_USER, [VIEW_MESSAGE_MODEL] = UI_MODEL, [VIEW_MESSAGE_SYSTEM] = UI_SYSTEM,
        [VIEW_MESSAGE_NOTICE] = UI_NOTICE, [VIEW_MESSAGE_WARNING] = UI_WARNING,
        [VIEW_MESSAGE_ERROR] = UI_ERROR };
    return styles[m->kind];
}

static void draw_head(const struct view_message *m, struct ui_grid *g, struct ui_rect line)
{
    int32_t col = line.col + 1, right = line.col + line.n_cols - 1;
    col += ui_label(g, line.row, col, right - col, label_of(m), m->left_out ? UI_DIM : style_of(m), 0);
    const char *mark = line.n_cols >= NARROW_COLS ? " · no longer read by the model" : " · not read";
    if (m->left_out)
        ui_label(g, line.row, col, right - col, mark, UI_WARNING, 0);
    if (m->time)
        ui_label_right(g, line.row, right, line.n_cols / 2, m->time, UI_DIM, 0);
}

static void draw_fold(const struct view_message *m, bool unfolded, struct ui_grid *g, struct ui_rect line)
{
    char text[96];
    size_t n = (size_t)snprintf(text, sizeof text, "%s %s", unfolded ? "▾" : "▸",
                                m->thinking_open ? "thinking" : "thought");
    if (m->n_thinking_tokens > 0)
        n += (size_t)snprintf(text + n, sizeof text - n, " %d tokens", m->n_thinking_tokens);
    if (m->thinking_s > 0 && m->thinking_s < 1e6)
        snprintf(text + n, sizeof text - n, " %.1f s", m->thinking_s);
    int32_t col = line.col + text_col(line.n_cols);
    ui_label(g, line.row, col, line.col + line.n_cols - col, text, UI_THINKING, 0);
}

/* 1204 -> "1,204" */
static void group_digits(int32_t n, char out[16])
{
    char digits[16];
    int length = snprintf(digits, sizeof digits, "%d", n);
    int at = 0;
    for (int i = 0; i < length && at < 14; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

/* The numbers of an answer, most telling first; what does not fit goes from the right. */
static void draw_stats(const struct view_stats *s, struct ui_grid *g, struct ui_rect line)
{
    char parts[5][64] = { { 0 } };
    char a[16], b[16];
    if (s->ending)
        snprintf(parts[0], sizeof parts[0], "%s", s->ending);
    if (s->tokens_per_s > 0)
        snprintf(parts[1], sizeof parts[1], "%.1f tok/s", s->tokens_per_s < 1e6 ? s->tokens_per_s : 1e6);
    if (s->n_generated > 0) {
        group_digits(s->n_generated, a);
        snprintf(parts[2], sizeof parts[2], "%s token%s", a, s->n_generated == 1 ? "" : "s");
    }
    if (s->first_s > 0)
        snprintf(parts[3], sizeof parts[3], "first %.2f s", s->first_s < 1e6 ? s->first_s : 1e6);
    if (s->n_prompt > 0 && s->n_reused > 0) {
        group_digits(s->n_reused, a);
        group_digits(s->n_prompt, b);
        snprintf(parts[4], sizeof parts[4], "%s of %s prompt tokens reused", a, b);
    }
    int32_t col = line.col + text_col(line.n_cols), end = line.col + line.n_cols;
    bool first = true;
    for (int32_t i = 0; i < 5; i++) {
        int32_t cols = ui_text_cols(parts[i]);
        if (cols == 0)
            continue;
        if (!first && col + 3 + cols > end)
            break;
        if (!first)
            col += ui_label(g, line.row, col, end - col, " · ", UI_BORDER, 0);
        col += ui_label(g, line.row, col, end - col, parts[i], i == 0 ? UI_WARNING : UI_DIM, 0);
        first = false;
    }
}

static void draw_body(const struct view_transcript_cache *c, const struct view_message *m, int32_t i,
                      struct ui_grid *g, struct ui_rect line)
{
    int32_t col = line.col + text_col(line.n_cols);
    int32_t n_cols = line.col + line.n_cols - col;
    int32_t used = wrap_lines_draw(&c->body.lines, i, g, line.row, col, n_cols, 0);
    bool last = i + 1 >= c->body.lines.n_lines;
    if (m->streaming && last)
        ui_put(g, line.row, col + used, 0x258D, UI_ACCENT, 0);
}

static const char *const signs[] = { [VIEW_MESSAGE_NOTICE] = "i", [VIEW_MESSAGE_WARNING] = "!",
                                     [VIEW_MESSAGE_ERROR] = "×" };

static void draw_brief(const struct view_message *m, struct ui_grid *g, struct ui_rect line)
{
    char title[256];
    int32_t col = line.col + text_col(line.n_cols), end = col + text_cols(line.n_cols);
    snprintf(title, sizeof title, "%s %s: ", signs[m->kind], label_of(m));
    col += ui_label(g, line.row, col, end - col, title, style_of(m), UI_BOLD);
    if (m->text)
        ui_label(g, line.row, col, end - col, m->text, UI_TEXT, 0);
}

/* Line i of a card: a frame with its own lines inside. */
static void draw_card(const struct view_transcript_cache *c, const struct view_message *m,
                      const struct parts *p, int32_t i, struct ui_grid *g, struct ui_rect line)
{
    int32_t col = line.col + text_col(line.n_cols), n_cols = text_cols(line.n_cols);
    enum ui_style style = style_of(m);
    int32_t last = p->head + p->body + p->thinking;
    if (i == 0 || i == last) {
        ui_hline(g, line.row, col + 1, n_cols - 2, style);
        ui_put(g, line.row, col, i ? 0x2570 : 0x256D, style, 0);
        ui_put(g, line.row, col + n_cols - 1, i ? 0x256F : 0x256E, style, 0);
        if (i == 0) {
            char title[256];
            snprintf(title, sizeof title, " %s %s%s ", signs[m->kind], label_of(m),
                     m->left_out ? " · no longer read" : "");
            ui_label(g, line.row, col + 2, n_cols - 4, title, style, UI_BOLD);
        }
        return;
    }
    ui_put(g, line.row, col, 0x2502, style, 0);
    ui_put(g, line.row, col + n_cols - 1, 0x2502, style, 0);
    if (i - 1 < p->body)
        wrap_lines_draw(&c->body.lines, i - 1, g, line.row, col + 2, n_cols - 4, 0);
    else
        wrap_lines_draw(&c->extra.lines, i - 1 - p->body, g, line.row, col + 2, n_cols - 4, 0);
}

static void draw_line(struct view_transcript *v, struct place at, const struct parts *p, struct ui_grid *g,
                      struct ui_rect line)
{
    const struct view_message *m = &v->messages[at.message];
    const struct view_transcript_cache *c = &v->cache[at.message];
    int32_t i = at.line;
    if (i >= p->total - p->gap)
        return;
    if (is_card(m)) {
        if (m->brief)
            draw_brief(m, g, line);
        else
            draw_card(c, m, p, i, g, line);
        return;
    }
    if (i < p->head)
        draw_head(m, g, line);
    else if ((i -= p->head) < p->fold)
        draw_fold(m, v->show_thinking, g, line);
    else if ((i -= p->fold) < p->thinking) {
        int32_t col = line.col + text_col(line.n_cols);
        if (i + 1 == p->thinking)
            return;
        ui_put(g, line.row, col, 0x250A, UI_BORDER, 0);
        wrap_lines_draw(&c->extra.lines, i, g, line.row, col + 2, line.n_cols - col - 2, 0);
    } else if ((i -= p->thinking) < p->body)
        draw_body(c, m, i, g, line);
    else
        draw_stats(m->stats, g, line);
}

static void draw_empty(const struct view_transcript *v, struct ui_grid *g, struct ui_rect area)
{
    int32_t n = v->n_empty_lines + (v->empty_title ? 2 : 0);
    int32_t row = area.row + (area.n_rows > n ? (area.n_rows - n) / 2 : 0);
    int32_t widest = v->empty_title ? ui_text_cols(v->empty_title) : 0;
    for (int32_t i = 0; i < v->n_empty_lines; i++)
        if (ui_text_cols(v->empty_lines[i]) > widest)
            widest = ui_text_cols(v->empty_lines[i]);
    int32_t col = area.col + (area.n_cols > widest + 2 ? (area.n_cols - widest) / 2 : 1);
    int32_t n_cols = area.col + area.n_cols - 1 - col;
    if (v->empty_title && row < area.row + area.n_rows) {
        ui_label(g, row, col, n_cols, v->empty_title, UI_ACCENT, UI_BOLD);
        row += 2;
    }
    for (int32_t i = 0; i < v->n_empty_lines && row < area.row + area.n_rows; i++)
        ui_label(g, row++, col, n_cols, v->empty_lines[i], UI_DIM, 0);
}

/* Says that the end is elsewhere, in the last row. */
static void draw_more(const struct view_transcript *v, struct ui_grid *g, struct ui_rect area)
{
    char text[96], keys[KEYMAP_NAME_BYTES];
    bool grown = v->seen_id != v->messages[v->n_messages - 1].id || v->seen_bytes != end_bytes(v);
    keymap_names(UI_CTX_TRANSCRIPT, UI_ACT_SCROLL_END, keys, sizeof keys);
    snprintf(text, sizeof text, " ↓ %s · %s ", grown ? "new lines below" : "more below", keys);
    ui_label_right(g, area.row + area.n_rows - 1, area.col + area.n_cols - 1, area.n_cols - 2, text,
                   grown ? UI_ACCENT : UI_DIM, UI_REVERSE);
}

static int32_t transcript_layout(void *self, int32_t n_cols, int32_t max_rows)
{
    (void)self, (void)n_cols;
    return max_rows;
}

static void transcript_draw(void *self, struct ui_grid *g, struct ui_rect area)
{
    struct view_transcript *v = self;
    bool rescaled = v->n_cols != area.n_cols;
    v->n_rows = area.n_rows;
    v->n_cols = area.n_cols;
    if (area.n_rows < 1 || area.n_cols < 1)
        return;
    if (v->n_messages == 0) {
        draw_empty(v, g, area);
        return;
    }
    struct place at = current_top(v, rescaled);
    if (rescaled && v->detached)
        detach(v, at);
    int32_t first = at.message;
    for (int32_t row = 0; row < area.n_rows && at.message < v->n_messages; at.message++, at.line = 0) {
        struct parts p = measure(v, at.message, area.n_cols);
        for (; at.line < p.total && row < area.n_rows; at.line++, row++)
            draw_line(v, at, &p, g, (struct ui_rect){ area.row + row, area.col, 1, area.n_cols });
    }
    if (v->detached)
        draw_more(v, g, area);
    forget_far(v, first, at.message);
}

static enum ui_action transcript_key(void *self, const struct ui_key *key)
{
    struct view_transcript *v = self;
    int32_t page = v->n_rows > 3 ? v->n_rows - 2 : 1;
    switch (keymap_find(UI_CTX_TRANSCRIPT, key)) {
    case UI_ACT_SCROLL_LINE_UP: view_transcript_scroll(v, -1); break;
    case UI_ACT_SCROLL_LINE_DOWN: view_transcript_scroll(v, 1); break;
    case UI_ACT_SCROLL_PAGE_UP: view_transcript_scroll(v, -page); break;
    case UI_ACT_SCROLL_PAGE_DOWN: view_transcript_scroll(v, page); break;
    case UI_ACT_SCROLL_TOP: view_transcript_top(v); break;
    case UI_ACT_SCROLL_END: view_transcript_follow(v); break;
    default: return UI_ACT_NONE;
    }
    return UI_ACT_DONE;
}

const struct ui_view view_transcript = {
    "transcript", UI_CTX_TRANSCRIPT, transcript_layout, transcript_draw, transcript_key };
