/* SPDX-License-Identifier: MIT */
#include "app/ui/editor.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "app/ui/neutral.h"
#include "app/ui/wrap.h"
#include "engine/base/utf8.h"

/* The text is one run of bytes and every change goes through replace(). Undo keeps whole texts: drafts
 * are small, and nothing can go out of step. Rows are found again after a change or at a new width; they
 * hold every byte of the text, newlines aside, so a caret offset and a place on the screen are one thing
 * seen twice. When memory runs out a change does not happen; nothing is lost. */

enum { UNDO_STEPS = 100, UNDO_BYTES = 4 << 20 };

/* What the last change was: changes of one kind in a row are one undo step, cuts in a row one piece. */
enum change { CHANGE_NONE, CHANGE_TYPING, CHANGE_ERASING, CHANGE_CUT, CHANGE_OTHER };

struct state {
    char *text;
    size_t n_bytes, caret;
};

struct editor {
    struct buf text;
    size_t caret;
    bool single_line;
    const char *placeholder;
    struct buf cut;
    enum change last;

    struct state undo[UNDO_STEPS];
    int32_t n_undo;

    char **history;      /* newest last */
    int32_t n_history;
    int32_t browsing;    /* entry shown; n_history: the draft */
    char *draft;         /* what was there before browsing */

    size_t *rows;        /* where each row begins */
    int32_t n_rows, cap_rows;
    int32_t n_cols;      /* 0: not laid out yet */
    bool stale;          /* rows are of another text */
    int32_t top;         /* first row drawn */
    int32_t goal_col;    /* column Up and Down aim at; -1: that of the caret */
};

struct editor *editor_create(void)
{
    struct editor *ed = calloc(1, sizeof *ed);
    if (!ed)
        return NULL;
    ed->stale = true;
    ed->goal_col = -1;
    return ed;
}

void editor_destroy(struct editor *ed)
{
    if (!ed)
        return;
    for (int32_t i = 0; i < ed->n_undo; i++)
        free(ed->undo[i].text);
    for (int32_t i = 0; i < ed->n_history; i++)
        free(ed->history[i]);
    free(ed->history);
    free(ed->draft);
    free(ed->rows);
    buf_finish(&ed->text);
    buf_finish(&ed->cut);
    free(ed);
}

const char *editor_text(const struct editor *ed)
{
    return buf_text(&ed->text);
}

size_t editor_n_bytes(const struct editor *ed)
{
    return ed->text.n_bytes;
}

bool editor_is_empty(const struct editor *ed)
{
    return ed->text.n_bytes == 0;
}

size_t editor_caret(const struct editor *ed)
{
    return ed->caret;
}

void editor_set_single_line(struct editor *ed, bool single_line)
{
    ed->single_line = single_line;
}

void editor_set_placeholder(struct editor *ed, const char *text)
{
    ed->placeholder = text;
}

/* ---- changes and undo ----------------------------------------------------------------------------- */

static void drop_oldest_undo(struct editor *ed)
{
    free(ed->undo[0].text);
    memmove(ed->undo, ed->undo + 1, (size_t)(--ed->n_undo) * sizeof *ed->undo);
}

/* Remembers the text as it is, before a change of this kind. */
static void remember(struct editor *ed, enum change kind)
{
    bool merges = kind == ed->last && (kind == CHANGE_TYPING || kind == CHANGE_ERASING);
    ed->last = kind;
    if (merges)
        return;
    size_t held = ed->text.n_bytes;
    for (int32_t i = 0; i < ed->n_undo; i++)
        held += ed->undo[i].n_bytes;
    while (ed->n_undo > 0 && (ed->n_undo == UNDO_STEPS || held > UNDO_BYTES)) {
        held -= ed->undo[0].n_bytes;
        drop_oldest_undo(ed);
    }
    char *copy = malloc(ed->text.n_bytes + 1);
    if (!copy)
        return;
    memcpy(copy, buf_text(&ed->text), ed->text.n_bytes + 1);
    ed->undo[ed->n_undo++] = (struct state){ copy, ed->text.n_bytes, ed->caret };
}

/* The bytes [from, to) become others; the caret goes behind them. */
static bool replace(struct editor *ed, size_t from, size_t to, const char *bytes, size_t n_bytes)
{
    size_t rest = ed->text.n_bytes - to;
    if (from + rest + n_bytes > EDITOR_MAX_BYTES || !buf_reserve(&ed->text, n_bytes + 1)) {
        ed->text.failed = false;
        return false;
    }
    char *data = ed->text.data;
    memmove(data + from + n_bytes, data + to, rest);
    if (n_bytes)
        memcpy(data + from, bytes, n_bytes);
    ed->text.n_bytes = from + n_bytes + rest;
    data[ed->text.n_bytes] = '\0';
    ed->caret = from + n_bytes;
    ed->stale = true;
    ed->goal_col = -1;
    return true;
}

static void undo(struct editor *ed)
{
    if (ed->n_undo == 0)
        return;
    struct state s = ed->undo[--ed->n_undo];
    if (replace(ed, 0, ed->text.n_bytes, s.text, s.n_bytes))
        ed->caret = s.caret;
    free(s.text);
    ed->last = CHANGE_OTHER;
}

/* What may stand in a draft: newlines and tabs, no other controls, only valid UTF-8. */
static bool clean(const struct editor *ed, const char *bytes, size_t n_bytes, struct buf *out)
{
    for (size_t i = 0; i < n_bytes;) {
        uint32_t c;
        size_t length = (size_t)utf8_decode(bytes + i, n_bytes - i, &c);
        if (c == '\r') {
            length += i + 1 < n_bytes && bytes[i + 1] == '\n';
            c = '\n';
        }
        if (c == '\n' && ed->single_line)
            c = ' ';
        if (c == '\n' || c == '\t' || (c >= ' ' && c < 0x7F) || c >= 0xA0)
            buf_add_utf8(out, c);
        i += length;
    }
    return buf_ok(out);
}

static bool insert_clean(struct editor *ed, const char *bytes, size_t n_bytes, enum change kind)
{
    struct buf cleaned = { .max_bytes = EDITOR_MAX_BYTES };
    bool ok = clean(ed, bytes, n_bytes, &cleaned)
        && ed->text.n_bytes + cleaned.n_bytes <= EDITOR_MAX_BYTES;
    if (ok && cleaned.n_bytes > 0) {
        remember(ed, kind);
        ok = replace(ed, ed->caret, ed->caret, cleaned.data, cleaned.n_bytes);
    }
    buf_finish(&cleaned);
    return ok;
}

bool editor_paste(struct editor *ed, const char *bytes, size_t n_bytes)
{
    return insert_clean(ed, bytes, n_bytes, CHANGE_OTHER);
}

bool editor_insert(struct editor *ed, const char *bytes, size_t n_bytes)
{
    return insert_clean(ed, bytes, n_bytes, CHANGE_TYPING);
}

void editor_set_text(struct editor *ed, const char *text)
{
    struct buf cleaned = { .max_bytes = EDITOR_MAX_BYTES };
    if (clean(ed, text, strlen(text), &cleaned)) {
        remember(ed, CHANGE_OTHER);
        replace(ed, 0, ed->text.n_bytes, cleaned.data, cleaned.n_bytes);
        ed->browsing = ed->n_history;
    }
    buf_finish(&cleaned);
}

void editor_clear(struct editor *ed)
{
    if (!editor_is_empty(ed))
        editor_set_text(ed, "");
}

/* ---- places --------------------------------------------------------------------------------------- */

static size_t line_start(const struct editor *ed, size_t at)
{
    while (at > 0 && ed->text.data[at - 1] != '\n')
        at--;
    return at;
}

static size_t line_end(const struct editor *ed, size_t at)
{
    while (at < ed->text.n_bytes && ed->text.data[at] != '\n')
        at++;
    return at;
}

/* Clusters are looked for this far, so that a step in an endless line stays a step. */
enum { CLUSTER_REACH = 256 };

static size_t step_left(const struct editor *ed, size_t at)
{
    const char *text = ed->text.data;
    if (at == 0 || text[at - 1] == '\n')
        return at > 0 ? at - 1 : 0;
    size_t limit = at > CLUSTER_REACH ? at - CLUSTER_REACH : 0;
    size_t start = at - 1;
    /* Between two ASCII characters there is always a border. */
    while (start > limit && ((unsigned char)text[start] >= 0x80 || (unsigned char)text[start - 1] >= 0x80))
        start--;
    while (start > 0 && utf8_length((unsigned char)text[start]) == 0)
        start--;
    return neutral_cluster_before(text, start, at);
}

static size_t step_right(const struct editor *ed, size_t at)
{
    size_t rest = ed->text.n_bytes - at;
    if (rest == 0)
        return at;
    return at + neutral_cluster(ed->text.data + at, rest < CLUSTER_REACH ? rest : CLUSTER_REACH);
}

/* Letters, digits and marks make words. */
static bool is_word_at(const struct editor *ed, size_t at)
{
    uint32_t c;
    utf8_decode(ed->text.data + at, ed->text.n_bytes - at, &c);
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

static bool is_blank_at(const struct editor *ed, size_t at)
{
    return strchr(" \t\n", ed->text.data[at]) != NULL;
}

static size_t word_left(const struct editor *ed, size_t at)
{
    while (at > 0 && !is_word_at(ed, step_left(ed, at)))
        at = step_left(ed, at);
    while (at > 0 && is_word_at(ed, step_left(ed, at)))
        at = step_left(ed, at);
    return at;
}

static size_t word_right(const struct editor *ed, size_t at)
{
    while (at < ed->text.n_bytes && !is_word_at(ed, at))
        at = step_right(ed, at);
    while (at < ed->text.n_bytes && is_word_at(ed, at))
        at = step_right(ed, at);
    return at;
}

/* As ^W cuts: back to a blank, so that a path goes in one piece. */
static size_t blank_left(const struct editor *ed, size_t at)
{
    while (at > 0 && is_blank_at(ed, at - 1))
        at--;
    while (at > 0 && !is_blank_at(ed, at - 1))
        at--;
    return at;
}

/* ---- rows ----------------------------------------------------------------------------------------- */

static bool add_row(struct editor *ed, size_t from)
{
    if (ed->n_rows == ed->cap_rows) {
        int32_t cap = ed->cap_rows ? ed->cap_rows * 2 : 16;
        size_t *rows = realloc(ed->rows, (size_t)cap * sizeof *rows);
        if (!rows)
            return false;
        ed->rows = rows;
        ed->cap_rows = cap;
    }
    ed->rows[ed->n_rows++] = from;
    return true;
}

/* One column less than there is: the caret needs a place behind the last character. */
static int32_t text_cols(const struct editor *ed)
{
    return ed->n_cols > 1 ? ed->n_cols - 1 : 1;
}

static void find_rows(struct editor *ed)
{
    if (!ed->stale && ed->n_rows > 0)
        return;
    ed->n_rows = 0;
    ed->stale = false;
    size_t from = 0;
    bool ok = add_row(ed, 0);
    while (ok && from < ed->text.n_bytes) {
        size_t end = line_end(ed, from);
        while (ok && from < end) {
            from += wrap_break(ed->text.data + from, end - from, text_cols(ed), WRAP_WORDS);
            ok = from == end || add_row(ed, from);
        }
        if (from < ed->text.n_bytes) {
            from++;
            ok = ok && add_row(ed, from);
        }
    }
}

static int32_t row_of(const struct editor *ed, size_t at)
{
    int32_t low = 0, high = ed->n_rows - 1;
    while (low < high) {
        int32_t mid = (low + high + 1) / 2;
        if (ed->rows[mid] <= at)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

/* End of what the row shows, its newline not counted. */
static size_t row_end(const struct editor *ed, int32_t row)
{
    if (row + 1 >= ed->n_rows)
        return ed->text.n_bytes;
    size_t end = ed->rows[row + 1];
    return end > 0 && ed->text.data[end - 1] == '\n' ? end - 1 : end;
}

static int32_t cols_between(const struct editor *ed, size_t from, size_t to)
{
    struct neutral_iter it;
    struct neutral_glyph g;
    neutral_begin(&it, buf_text(&ed->text) + from, to - from, 0);
    while (neutral_next(&it, &g))
        ;
    return it.col;
}

/* The last place in a row at or before a column. In a row that was broken, the place behind its last
 * character belongs to the next row. */
static size_t place_at(const struct editor *ed, int32_t row, int32_t col)
{
    size_t from = ed->rows[row], at = from, end = row_end(ed, row);
    bool broken = row + 1 < ed->n_rows && end == ed->rows[row + 1];
    struct neutral_iter it;
    struct neutral_glyph g;
    neutral_begin(&it, buf_text(&ed->text) + from, end - from, 0);
    while (neutral_next(&it, &g)) {
        if (it.queue_at < it.n_queue)
            continue;
        if (it.col > col || (broken && from + it.at >= end))
            break;
        at = from + it.at;
    }
    return at;
}

static bool move_rows(struct editor *ed, int32_t n)
{
    find_rows(ed);
    if (ed->n_rows == 0)
        return false;
    int32_t row = row_of(ed, ed->caret);
    if (row + n < 0 || row + n >= ed->n_rows)
        return false;
    int32_t col = ed->goal_col >= 0 ? ed->goal_col : cols_between(ed, ed->rows[row], ed->caret);
    ed->caret = place_at(ed, row + n, col);
    ed->goal_col = col;
    return true;
}

/* ---- history -------------------------------------------------------------------------------------- */

/* Shows an entry instead of the draft, without an undo step: the draft is kept apart. */
static void show_entry(struct editor *ed, int32_t entry)
{
    if (ed->browsing == ed->n_history) {
        free(ed->draft);
        ed->draft = strdup(editor_text(ed));
        if (!ed->draft)
            return;
    }
    const char *text = entry == ed->n_history ? ed->draft : ed->history[entry];
    ed->browsing = entry;
    replace(ed, 0, ed->text.n_bytes, text, strlen(text));
    ed->last = CHANGE_OTHER;
}

static void browse(struct editor *ed, int32_t n)
{
    int32_t entry = ed->browsing + n;
    if (entry >= 0 && entry <= ed->n_history)
        show_entry(ed, entry);
}

void editor_history_add(struct editor *ed, const char *text)
{
    bool blank = text[strspn(text, " \t\n")] == '\0';
    for (int32_t i = ed->n_history - 1; i >= 0 && !blank; i--)
        if (strcmp(ed->history[i], text) == 0) {
            free(ed->history[i]);
            memmove(ed->history + i, ed->history + i + 1,
                    (size_t)(ed->n_history - i - 1) * sizeof *ed->history);
            ed->n_history--;
            break;
        }
    if (!blank) {
        if (!ed->history)
            ed->history = calloc(EDITOR_MAX_HISTORY, sizeof *ed->history);
        char *copy = ed->history ? strdup(text) : NULL;
        if (copy && ed->n_history == EDITOR_MAX_HISTORY) {
            free(ed->history[0]);
            memmove(ed->history, ed->history + 1, (size_t)--ed->n_history * sizeof *ed->history);
        }
        if (copy)
            ed->history[ed->n_history++] = copy;
    }
    ed->browsing = ed->n_history;
}

void editor_history_read(struct editor *ed, const char *bytes, size_t n_bytes)
{
    struct buf entry = { .max_bytes = EDITOR_MAX_BYTES };
    for (size_t i = 0; i <= n_bytes; i++) {
        if (i == n_bytes || bytes[i] == '\n') {
            struct buf cleaned = { .max_bytes = EDITOR_MAX_BYTES };
            if (buf_ok(&entry) && clean(ed, buf_text(&entry), entry.n_bytes, &cleaned))
                editor_history_add(ed, buf_text(&cleaned));
            buf_finish(&cleaned);
            buf_clear(&entry);
        } else if (bytes[i] == '\\' && i + 1 < n_bytes && strchr("n\\", bytes[i + 1])) {
            i++;
            buf_add_byte(&entry, bytes[i] == 'n' ? '\n' : '\\');
        } else {
            buf_add_byte(&entry, (unsigned char)bytes[i]);
        }
    }
    buf_finish(&entry);
}

void editor_history_write(const struct editor *ed, struct buf *out)
{
    for (int32_t i = 0; i < ed->n_history; i++) {
        for (const char *c = ed->history[i]; *c; c++) {
            if (*c == '\n' || *c == '\\')
                buf_add_byte(out, '\\');
            buf_add_byte(out, *c == '\n' ? 'n' : (unsigned char)*c);
        }
        buf_add_byte(out, '\n');
    }
}

/* ---- keys ----------------------------------------------------------------------------------------- */

static void move_to(struct editor *ed, size_t at)
{
    ed->caret = at;
    ed->goal_col = -1;
    ed->last = CHANGE_NONE;
}

static void erase(struct editor *ed, size_t from, size_t to)
{
    if (from < to) {
        remember(ed, CHANGE_ERASING);
        replace(ed, from, to, "", 0);
    }
}

/* Cuts in a row gather in one piece, in the order of the text. */
static void cut(struct editor *ed, size_t from, size_t to)
{
    if (from == to)
        return;
    struct buf piece = { 0 };
    bool gathers = ed->last == CHANGE_CUT, leftwards = to == ed->caret;
    if (gathers && !leftwards)
        buf_add(&piece, buf_text(&ed->cut), ed->cut.n_bytes);
    buf_add(&piece, ed->text.data + from, to - from);
    if (gathers && leftwards)
        buf_add(&piece, buf_text(&ed->cut), ed->cut.n_bytes);
    if (!buf_ok(&piece)) {
        buf_finish(&piece);
        return;
    }
    buf_finish(&ed->cut);
    ed->cut = piece;
    remember(ed, CHANGE_CUT);
    replace(ed, from, to, "", 0);
}

static void row_or_history(struct editor *ed, int32_t n)
{
    if (ed->single_line || !move_rows(ed, n)) {
        if (ed->browsing == ed->n_history && n > 0)
            move_to(ed, ed->text.n_bytes);
        else
            browse(ed, n);
    }
    ed->last = CHANGE_NONE;
}

bool editor_do(struct editor *ed, enum ui_action action)
{
    size_t at = ed->caret;
    if (action < UI_ACT_EDIT_NEWLINE || action > UI_ACT_EDIT_HISTORY_FORWARD)
        return false;
    if (!ed->text.data && !buf_reserve(&ed->text, 1)) {
        ed->text.failed = false;
        return true;
    }
    ed->text.data[ed->text.n_bytes] = '\0';
    switch (action) {
    case UI_ACT_EDIT_NEWLINE: insert_clean(ed, "\n", 1, CHANGE_OTHER); break;
    case UI_ACT_EDIT_LEFT: move_to(ed, step_left(ed, at)); break;
    case UI_ACT_EDIT_RIGHT: move_to(ed, step_right(ed, at)); break;
    case UI_ACT_EDIT_UP: row_or_history(ed, -1); break;
    case UI_ACT_EDIT_DOWN: row_or_history(ed, 1); break;
    case UI_ACT_EDIT_WORD_LEFT: move_to(ed, word_left(ed, at)); break;
    case UI_ACT_EDIT_WORD_RIGHT: move_to(ed, word_right(ed, at)); break;
    case UI_ACT_EDIT_LINE_START: move_to(ed, line_start(ed, at)); break;
    case UI_ACT_EDIT_LINE_END: move_to(ed, line_end(ed, at)); break;
    case UI_ACT_EDIT_TEXT_START: move_to(ed, 0); break;
    case UI_ACT_EDIT_TEXT_END: move_to(ed, ed->text.n_bytes); break;
    case UI_ACT_EDIT_BACKSPACE: erase(ed, step_left(ed, at), at); break;
    case UI_ACT_EDIT_DELETE: erase(ed, at, step_right(ed, at)); break;
    case UI_ACT_EDIT_KILL_WORD_LEFT: cut(ed, blank_left(ed, at), at); break;
    case UI_ACT_EDIT_KILL_WORD_RIGHT: cut(ed, at, word_right(ed, at)); break;
    case UI_ACT_EDIT_KILL_LINE_START: cut(ed, line_start(ed, at), at); break;
    case UI_ACT_EDIT_KILL_LINE_END:
        cut(ed, at, line_end(ed, at) > at ? line_end(ed, at) : step_right(ed, at));
        break;
    case UI_ACT_EDIT_YANK: insert_clean(ed, buf_text(&ed->cut), ed->cut.n_bytes, CHANGE_OTHER); break;
    case UI_ACT_EDIT_UNDO: undo(ed); break;
    case UI_ACT_EDIT_HISTORY_BACK: browse(ed, -1); break;
    case UI_ACT_EDIT_HISTORY_FORWARD: browse(ed, 1); break;
    default: break;
    }
    return true;
}

enum ui_action editor_key(struct editor *ed, const struct ui_key *key)
{
    if (keymap_is_text(key)) {
        char bytes[4];
        editor_insert(ed, bytes, (size_t)utf8_encode(bytes, key->code));
        return UI_ACT_DONE;
    }
    enum ui_action action = keymap_find(UI_CTX_EDITOR, key);
    if (action == UI_ACT_EDIT_DELETE && key->code == 'd' && editor_is_empty(ed))
        return UI_ACT_NONE;    /* Ctrl+D on an empty draft ends the program */
    return editor_do(ed, action) ? UI_ACT_DONE : action;
}

/* ---- the screen ----------------------------------------------------------------------------------- */

int32_t editor_layout(struct editor *ed, int32_t n_cols, int32_t max_rows)
{
    if (n_cols != ed->n_cols) {
        ed->n_cols = n_cols;
        ed->stale = true;
        ed->goal_col = -1;
    }
    find_rows(ed);
    int32_t n = ed->single_line || ed->n_rows < 1 ? 1 : ed->n_rows;
    return n < max_rows ? n : max_rows > 0 ? max_rows : 1;
}

void editor_draw(struct editor *ed, struct ui_grid *g, struct ui_rect area, bool focused)
{
    if (area.n_rows < 1 || area.n_cols < 1)
        return;
    editor_layout(ed, area.n_cols, area.n_rows);
    int32_t caret_row = ed->n_rows ? row_of(ed, ed->caret) : 0;
    if (ed->top > caret_row)
        ed->top = caret_row;
    if (ed->top < caret_row - area.n_rows + 1)
        ed->top = caret_row - area.n_rows + 1;
    if (ed->top > 0 && ed->top > ed->n_rows - area.n_rows)
        ed->top = ed->n_rows > area.n_rows ? ed->n_rows - area.n_rows : 0;
    for (int32_t i = 0; i < area.n_rows && ed->top + i < ed->n_rows; i++) {
        int32_t row = ed->top + i;
        size_t from = ed->rows[row];
        ui_text(g, area.row + i, area.col, area.n_cols, buf_text(&ed->text) + from,
                row_end(ed, row) - from, UI_TEXT, 0);
    }
    int32_t caret_col = 0;
    if (editor_is_empty(ed)) {
        if (ed->placeholder)
            ui_label(g, area.row, area.col, area.n_cols, ed->placeholder, UI_DIM, 0);
    } else if (ed->n_rows > 0) {
        caret_col = cols_between(ed, ed->rows[caret_row], ed->caret);
    }
    if (focused)
        ui_caret(g, area.row + caret_row - ed->top,
                 area.col + (caret_col < area.n_cols ? caret_col : area.n_cols - 1));
}
