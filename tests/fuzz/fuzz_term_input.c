/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "app/term/term_input.h"
#include "app/ui/editor.h"
#include "app/ui/markdown.h"
#include "app/ui/neutral.h"
#include "engine/base/utf8.h"

/* Bytes of a terminal to events and on into an editor; the same bytes as text of a model through the
 * neutraliser, the wrapper and the markdown renderer. abort() where a promise of a header is broken. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Cut in pieces whose sizes the bytes themselves give, so that any border is tried. */
static size_t piece_at(const uint8_t *data, size_t n_bytes, size_t at)
{
    size_t n = 1 + data[at] % 23;
    return n < n_bytes - at ? n : n_bytes - at;
}

static bool is_harmless(const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes;) {
        uint32_t c;
        i += (size_t)utf8_decode(bytes + i, n_bytes - i, &c);
        if ((c < ' ' && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E))
            return false;
    }
    return utf8_valid(bytes, n_bytes);
}

static void check_neutral(const char *text, size_t n_bytes)
{
    struct neutral_iter it;
    struct neutral_glyph g;
    size_t at = 0;
    neutral_begin(&it, text, n_bytes, 0);
    while (neutral_next(&it, &g)) {
        must(g.n_cols >= 0 && g.n_cols <= 8);
        must(g.n_bytes == 0 || g.from == at);
        must(g.n_cols == 0 || (g.code_point >= ' ' && !(g.code_point >= 0x7F && g.code_point < 0xA0)));
        at += g.n_bytes;
    }
    must(at == n_bytes);
}

static void check_filter(const uint8_t *data, size_t n_bytes)
{
    struct neutral_filter f = { 0 };
    struct buf pieces = { 0 }, whole = { 0 };
    for (size_t at = 0, n; at < n_bytes; at += n) {
        n = piece_at(data, n_bytes, at);
        neutral_filter_feed(&f, &pieces, (const char *)data + at, n);
    }
    neutral_filter_end(&f, &pieces);
    f = (struct neutral_filter){ 0 };
    neutral_filter_feed(&f, &whole, (const char *)data, n_bytes);
    neutral_filter_end(&f, &whole);
    must(pieces.n_bytes == whole.n_bytes);
    must(whole.n_bytes == 0 || memcmp(pieces.data, whole.data, whole.n_bytes) == 0);
    must(is_harmless(buf_text(&whole), whole.n_bytes));
    buf_finish(&pieces);
    buf_finish(&whole);
}

static bool same_lines(const struct wrap_lines *a, const struct wrap_lines *b)
{
    if (a->n_lines != b->n_lines || a->n_runs != b->n_runs)
        return false;
    for (int32_t i = 0; i < a->n_runs; i++) {
        const struct wrap_run *x = &a->runs[i], *y = &b->runs[i];
        if (x->n_bytes != y->n_bytes || x->style != y->style || x->attrs != y->attrs
            || memcmp(a->text.data + x->from, b->text.data + y->from, x->n_bytes) != 0)
            return false;
    }
    return true;
}

static void check_markdown(const uint8_t *data, size_t n_bytes, int32_t n_cols, bool plain)
{
    struct markdown pieces = { .plain = plain }, whole = { .plain = plain };
    for (size_t at = 0; at < n_bytes; at += piece_at(data, n_bytes, at))
        markdown_update(&pieces, (const char *)data, at, n_cols, false);
    markdown_update(&pieces, (const char *)data, n_bytes, n_cols, true);
    markdown_update(&whole, (const char *)data, n_bytes, n_cols, true);
    must(same_lines(&pieces.lines, &whole.lines));

    struct ui_grid g;
    if (ui_grid_init(&g, 8, n_cols)) {
        for (int32_t i = 0; i < whole.lines.n_lines && i < 64; i++)
            must(wrap_lines_draw(&whole.lines, i, &g, i % 8, 0, n_cols, 0) <= n_cols);
        ui_grid_finish(&g);
    }
    markdown_finish(&pieces);
    markdown_finish(&whole);
}

static void check_editor(struct editor *ed, const struct term_event *ev)
{
    if (ev->kind == TERM_EVENT_PASTE)
        editor_paste(ed, ev->text, ev->n_text);
    else if (ev->kind == TERM_EVENT_KEY)
        editor_key(ed, &ev->key);
    must(editor_caret(ed) <= editor_n_bytes(ed));
    must(utf8_valid(editor_text(ed), editor_n_bytes(ed)));
    editor_layout(ed, 11, 10);
}

static void check_input(const uint8_t *data, size_t n_bytes)
{
    struct term_input in;
    struct term_event ev;
    struct editor *ed = editor_create();
    struct ui_grid g = { 0 };
    term_input_init(&in);
    for (size_t at = 0, n; at < n_bytes && ed; at += n) {
        n = piece_at(data, n_bytes, at);
        term_input_feed(&in, data + at, n);
        while (term_input_next(&in, &ev))
            check_editor(ed, &ev);
        if (n % 5 == 0) {
            term_input_timeout(&in);
            while (term_input_next(&in, &ev))
                check_editor(ed, &ev);
            must(term_input_wait_ms(&in, 25) == -1);
        }
    }
    if (ed && ui_grid_init(&g, 4, 12))
        editor_draw(ed, &g, (struct ui_rect){ 0, 0, 4, 12 }, true);
    ui_grid_finish(&g);
    editor_destroy(ed);
    term_input_finish(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes == 0 || n_bytes > 1 << 14)
        return 0;
    check_neutral((const char *)data, n_bytes);
    check_filter(data, n_bytes);
    check_markdown(data, n_bytes, 1 + data[0] % 90, false);
    check_markdown(data, n_bytes, 1 + data[0] % 90, true);
    check_input(data, n_bytes);
    return 0;
}
