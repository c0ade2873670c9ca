/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdlib.h>

#include "app/ui/editor.h"
#include "engine/base/utf8.h"

enum { L = UI_KEY_LEFT, R = UI_KEY_RIGHT, U = UI_KEY_UP, D = UI_KEY_DOWN };

static void key(struct editor *ed, uint32_t code, unsigned mods)
{
    editor_key(ed, &(struct ui_key){ code, (uint8_t)mods });
}

static void type(struct editor *ed, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += (size_t)utf8_decode(text + i, n - i, &c);
        key(ed, c, 0);
    }
}

static struct editor *with(const char *text)
{
    struct editor *ed = editor_create();
    editor_set_text(ed, text);
    return ed;
}

TEST(editor_moves_and_deletes_by_what_a_person_sees)
{
    struct editor *ed = with("a👩‍🚀e\xcc\x81🇯🇵");
    key(ed, L, 0);
    key(ed, UI_KEY_BACKSPACE, 0);
    CHECK_TEXT(t, editor_text(ed), "a👩‍🚀🇯🇵");
    key(ed, UI_KEY_BACKSPACE, 0);
    CHECK_TEXT(t, editor_text(ed), "a🇯🇵");
    key(ed, UI_KEY_DELETE, 0);
    CHECK_TEXT(t, editor_text(ed), "a");
    editor_destroy(ed);
}

TEST(editor_knows_the_readline_keys)
{
    struct editor *ed = with("one two/three four");
    key(ed, 'w', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "one two/three ");
    key(ed, 'w', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "one ");
    key(ed, 'y', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "one two/three four", "cuts in a row come back in one piece");
    key(ed, 'a', UI_CTRL);
    key(ed, 'f', UI_ALT);
    CHECK_INT(t, editor_caret(ed), 3);
    key(ed, 'f', UI_ALT);
    CHECK_INT(t, editor_caret(ed), 7);
    key(ed, 'b', UI_ALT);
    CHECK_INT(t, editor_caret(ed), 4);
    key(ed, 'd', UI_ALT);
    CHECK_TEXT(t, editor_text(ed), "one /three four");
    key(ed, 'k', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "one ");
    key(ed, 'u', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "");
    key(ed, 'y', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "one two/three four");
    key(ed, 'b', UI_CTRL);
    key(ed, 't', 0);
    key(ed, 'e', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "one two/three foutr");
    CHECK_INT(t, editor_caret(ed), editor_n_bytes(ed));
    editor_destroy(ed);
}

TEST(editor_undoes_by_what_was_done)
{
    struct editor *ed = editor_create();
    type(ed, "hello");
    editor_paste(ed, " pasted\r\ntext", 13);
    type(ed, "!");
    CHECK_TEXT(t, editor_text(ed), "hello pasted\ntext!");
    key(ed, '_', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "hello pasted\ntext");
    key(ed, '_', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "hello", "a paste is one step");
    key(ed, '_', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "", "so is a run of typing");
    key(ed, '_', UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "");
    editor_destroy(ed);
}

TEST(editor_cleans_what_is_pasted)
{
    struct editor *ed = editor_create();
    editor_paste(ed, "a\x1b[31m\x07\tb\rc\xff\xc2\x9b", 14);
    CHECK_TEXT(t, editor_text(ed), "a[31m\tb\nc\xef\xbf\xbd");
    editor_clear(ed);
    editor_set_single_line(ed, true);
    editor_paste(ed, "a\nb", 3);
    CHECK_TEXT(t, editor_text(ed), "a b");
    editor_destroy(ed);
}

TEST(editor_refuses_more_than_its_limit_and_keeps_the_text)
{
    struct editor *ed = editor_create();
    char *big = calloc(1, EDITOR_MAX_BYTES + 1);
    memset(big, 'x', EDITOR_MAX_BYTES);
    type(ed, "keep");
    CHECK(t, !editor_paste(ed, big, EDITOR_MAX_BYTES));
    CHECK_TEXT(t, editor_text(ed), "keep");
    CHECK(t, editor_paste(ed, big, EDITOR_MAX_BYTES - 4));
    type(ed, "y");
    CHECK_INT(t, editor_n_bytes(ed), EDITOR_MAX_BYTES);
    key(ed, L, UI_CTRL);
    CHECK_INT(t, editor_caret(ed), 0, "one word, and quickly");
    key(ed, R, UI_CTRL);
    CHECK_INT(t, editor_caret(ed), EDITOR_MAX_BYTES);
    free(big);
    editor_destroy(ed);
}

TEST(editor_goes_up_and_down_by_rows)
{
    struct editor *ed = with("aaaa bbbb cccc\ndd\n日本語x");
    CHECK_INT(t, editor_layout(ed, 11, 10), 4, "aaaa bbbb / cccc / dd / rest");
    CHECK_INT(t, editor_layout(ed, 11, 2), 2);
    editor_layout(ed, 11, 10);
    key(ed, L, 0);    /* column 6 */
    key(ed, U, 0);
    CHECK_INT(t, editor_caret(ed), 17, "the end of a shorter row");
    key(ed, U, 0);
    CHECK_INT(t, editor_caret(ed), 14);
    key(ed, U, 0);
    CHECK_INT(t, editor_caret(ed), 6, "the column is remembered");
    key(ed, D, 0);
    key(ed, D, 0);
    key(ed, D, 0);
    CHECK_INT(t, editor_caret(ed), 18 + 9);
    editor_set_text(ed, "xxxxxxxxxxyyyyyyyyyy");
    editor_layout(ed, 11, 10);
    key(ed, U, 0);
    CHECK_INT(t, editor_caret(ed), 9, "the place behind a broken row is on the next one");
    editor_destroy(ed);
}

TEST(editor_finds_what_was_sent)
{
    struct editor *ed = editor_create();
    struct buf saved = { 0 };
    editor_layout(ed, 40, 10);
    editor_history_add(ed, "first");
    editor_history_add(ed, "two\nlines \\n");
    editor_history_add(ed, "first");    /* moves to the end */
    editor_history_add(ed, "  ");
    type(ed, "draft");
    key(ed, U, 0);
    CHECK_TEXT(t, editor_text(ed), "first");
    key(ed, U, 0);
    CHECK_TEXT(t, editor_text(ed), "two\nlines \\n");
    key(ed, U, 0);
    CHECK_TEXT(t, editor_text(ed), "two\nlines \\n", "up to its first row");
    key(ed, U, 0);
    CHECK_TEXT(t, editor_text(ed), "two\nlines \\n", "there is nothing older");
    key(ed, D, UI_CTRL);
    key(ed, D, UI_CTRL);
    CHECK_TEXT(t, editor_text(ed), "draft", "the draft is not lost");
    editor_history_write(ed, &saved);
    CHECK_TEXT(t, buf_text(&saved), "two\\nlines \\\\n\nfirst\n");
    struct editor *other = editor_create();
    struct buf again = { 0 };
    editor_history_read(other, saved.data, saved.n_bytes);
    editor_history_write(other, &again);
    CHECK_TEXT(t, buf_text(&again), saved.data);
    buf_finish(&again);
    buf_finish(&saved);
    editor_destroy(other);
    editor_destroy(ed);
}

TEST(editor_leaves_keys_of_the_program_alone)
{
    struct editor *ed = editor_create();
    CHECK_INT(t, editor_key(ed, &(struct ui_key){ 'd', UI_CTRL }), UI_ACT_NONE, "ends the program");
    type(ed, "x");
    CHECK_INT(t, editor_key(ed, &(struct ui_key){ 'd', UI_CTRL }), UI_ACT_DONE);
    CHECK_INT(t, editor_key(ed, &(struct ui_key){ UI_KEY_ENTER, 0 }), UI_ACT_SEND);
    CHECK_INT(t, editor_key(ed, &(struct ui_key){ 'j', UI_CTRL }), UI_ACT_DONE);
    CHECK_INT(t, editor_key(ed, &(struct ui_key){ UI_KEY_F1, 0 }), UI_ACT_NONE);
    CHECK_TEXT(t, editor_text(ed), "x\n");
    editor_destroy(ed);
}

TEST(editor_puts_the_caret_where_the_text_goes)
{
    struct ui_grid g;
    struct editor *ed = with("日本\nab");
    CHECK(t, ui_grid_init(&g, 3, 20));
    editor_draw(ed, &g, (struct ui_rect){ 1, 4, 2, 10 }, true);
    CHECK_INT(t, g.caret_row, 2);
    CHECK_INT(t, g.caret_col, 6);
    key(ed, U, 0);
    ui_grid_begin(&g);
    editor_draw(ed, &g, (struct ui_rect){ 1, 4, 1, 10 }, true);
    CHECK_INT(t, g.caret_row, 1, "one row shows the caret's");
    CHECK_INT(t, g.caret_col, 6);
    CHECK_INT(t, ui_grid_at(&g, 1, 4)->code_point, 0x65E5);
    ui_grid_begin(&g);
    editor_draw(ed, &g, (struct ui_rect){ 1, 4, 1, 10 }, false);
    CHECK(t, !g.caret_visible);
    ui_grid_finish(&g);
    editor_destroy(ed);
}

TEST(editor_survives_random_keys)
{
    struct editor *ed = editor_create();
    struct ui_grid g;
    static const char *const pieces[] = { "x", "日", "👩‍🚀", "\xcc\x81", " ", "\n", "word ", "\t" };
    CHECK(t, ui_grid_init(&g, 4, 9));
    for (int i = 0; i < 20000; i++) {
        uint32_t what = test_below(t, 40);
        if (what < 8)
            editor_paste(ed, pieces[what], strlen(pieces[what]));
        else
            editor_do(ed, UI_ACT_EDIT_NEWLINE + what % (UI_ACT_EDIT_HISTORY_FORWARD - UI_ACT_EDIT_NEWLINE + 1));
        if (what == 39)
            editor_history_add(ed, editor_text(ed));
        CHECK(t, editor_caret(ed) <= editor_n_bytes(ed) && utf8_valid(editor_text(ed), editor_n_bytes(ed)),
              "step %d", i);
        if (i % 16 == 0) {
            ui_grid_begin(&g);
            editor_draw(ed, &g, (struct ui_rect){ 0, 0, 4, 9 }, true);
            CHECK(t, g.caret_visible && g.caret_row < 4 && g.caret_col < 9);
        }
    }
    ui_grid_finish(&g);
    editor_destroy(ed);
}
