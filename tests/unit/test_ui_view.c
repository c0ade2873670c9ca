/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/ui/screen.h"
#include "engine/base/buf.h"

/* What views do with keys and with time; how they look is in the golden screens. */

enum { N_MESSAGES = 30, N_TEXT = 64 };

struct chat {
    struct view_message messages[N_MESSAGES];
    char texts[N_MESSAGES][N_TEXT];
    struct view_transcript view;
    struct ui_grid grid;
};

/* Thirty messages of two lines each: head, "text i", an empty line. */
static void chat_init(struct chat *c)
{
    *c = (struct chat){ 0 };
    for (int i = 0; i < N_MESSAGES; i++) {
        snprintf(c->texts[i], N_TEXT, "text %d", i);
        c->messages[i] = (struct view_message){ .id = (uint64_t)i + 1, .kind = i % 2, .text = c->texts[i],
                                                .n_text = strlen(c->texts[i]) };
    }
    c->view.messages = c->messages;
    c->view.n_messages = N_MESSAGES;
    ui_grid_init(&c->grid, 10, 60);
}

static void chat_finish(struct chat *c)
{
    view_transcript_finish(&c->view);
    ui_grid_finish(&c->grid);
}

static void draw(struct chat *c)
{
    ui_grid_begin(&c->grid);
    view_transcript.draw(&c->view, &c->grid, (struct ui_rect){ 0, 0, c->grid.n_rows, c->grid.n_cols });
}

static const char *row_text(const struct ui_grid *g, int32_t row)
{
    static char text[256];
    int32_t n = 0;
    for (int32_t col = 0; col < g->n_cols && n < 255; col++) {
        uint32_t c = ui_grid_at(g, row, col)->code_point;
        text[n++] = c < 0x80 && c ? (char)c : '#';
    }
    while (n > 0 && text[n - 1] == ' ')
        n--;
    text[n] = '\0';
    return text;
}

static void press(struct chat *c, uint32_t code, unsigned mods)
{
    view_transcript.key(&c->view, &(struct ui_key){ code, (uint8_t)mods });
    draw(c);
}

TEST(transcript_follows_the_end_until_scrolled)
{
    struct chat c;
    chat_init(&c);
    c.view.n_messages = 20;
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 9), "   text 19");
    c.view.n_messages = 21;
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 9), "   text 20");
    press(&c, UI_KEY_PAGE_UP, 0);
    CHECK_TEXT(t, row_text(&c.grid, 2), "   text 15");
    CHECK(t, strstr(row_text(&c.grid, 9), "more below") != NULL);
    c.view.n_messages = 22;
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 2), "   text 15", "what is read stays where it is");
    CHECK(t, strstr(row_text(&c.grid, 9), "new lines below") != NULL);
    press(&c, UI_KEY_PAGE_DOWN, 0);
    press(&c, UI_KEY_PAGE_DOWN, 0);
    CHECK_TEXT(t, row_text(&c.grid, 9), "   text 21");
    CHECK(t, !c.view.detached);
    chat_finish(&c);
}

TEST(transcript_scrolls_to_both_ends_and_no_further)
{
    struct chat c;
    chat_init(&c);
    draw(&c);
    press(&c, UI_KEY_HOME, UI_CTRL);
    CHECK_TEXT(t, row_text(&c.grid, 1), "   text 0");
    press(&c, UI_KEY_UP, UI_SHIFT);
    CHECK_TEXT(t, row_text(&c.grid, 1), "   text 0");
    press(&c, UI_KEY_DOWN, UI_SHIFT);
    CHECK_TEXT(t, row_text(&c.grid, 0), "   text 0");
    for (int i = 0; i < 40; i++)
        press(&c, UI_KEY_PAGE_DOWN, 0);
    CHECK_TEXT(t, row_text(&c.grid, 9), "   text 29");
    for (int i = 0; i < 200; i++)
        press(&c, UI_KEY_UP, UI_SHIFT);
    CHECK_TEXT(t, row_text(&c.grid, 1), "   text 0");
    press(&c, UI_KEY_END, UI_CTRL);
    CHECK_TEXT(t, row_text(&c.grid, 9), "   text 29");
    chat_finish(&c);
}

TEST(transcript_keeps_the_top_message_at_a_new_width)
{
    struct chat c;
    static const char text[] = "a long message that takes several rows when the screen is narrow and few when "
                               "it is wide, so that line numbers change and the message does not";
    chat_init(&c);
    for (int i = 0; i < N_MESSAGES; i++) {
        c.messages[i].text = text;
        c.messages[i].n_text = sizeof text - 1;
    }
    draw(&c);
    press(&c, UI_KEY_PAGE_UP, 0);
    press(&c, UI_KEY_PAGE_UP, 0);
    uint64_t top = c.view.top_id;
    for (int32_t n_cols = 20; n_cols < 200; n_cols += 30) {
        ui_grid_resize(&c.grid, 10, n_cols);
        draw(&c);
        CHECK_INT(t, c.view.top_id, top, "%d columns", n_cols);
    }
    chat_finish(&c);
}

TEST(transcript_keeps_the_place_in_a_long_message_at_a_new_width)
{
    struct chat c;
    struct buf text = { 0 };
    int before = 0, after = 0;
    for (int i = 1000; i < 2000; i++)
        buf_printf(&text, "%d ", i);
    chat_init(&c);
    c.messages[10].text = text.data;
    c.messages[10].n_text = text.n_bytes;
    draw(&c);
    while (c.view.top_id != 11 || sscanf(row_text(&c.grid, 0), "%d", &before) != 1 || before > 1500)
        press(&c, UI_KEY_UP, UI_SHIFT);
    ui_grid_resize(&c.grid, 10, 30);
    draw(&c);
    CHECK_INT(t, sscanf(row_text(&c.grid, 0), "%d", &after), 1);
    CHECK(t, after > before - 25 && after < before + 25, "top was at %d and is at %d", before, after);
    buf_finish(&text);
    chat_finish(&c);
}

TEST(transcript_renders_what_it_shows_alone)
{
    struct chat c;
    chat_init(&c);
    enum { MANY = 10000 };
    struct view_message *many = calloc(MANY, sizeof *many);
    for (int i = 0; i < MANY; i++)
        many[i] = (struct view_message){ .id = (uint64_t)i + 1, .text = "x", .n_text = 1 };
    c.view.messages = many;
    c.view.n_messages = MANY;
    draw(&c);
    many[0].text = NULL;    /* would fault if it were looked at */
    many[0].n_text = 100;
    press(&c, UI_KEY_PAGE_UP, 0);
    CHECK(t, c.view.detached);
    chat_finish(&c);
    free(many);
}

TEST(transcript_folds_thinking)
{
    struct chat c;
    chat_init(&c);
    c.view.n_messages = 2;
    c.messages[1].thinking = "deep thought";
    c.messages[1].n_thinking = 12;
    c.messages[1].n_thinking_tokens = 7;
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 4), "   # thought 7 tokens");
    CHECK_TEXT(t, row_text(&c.grid, 5), "   text 1");
    c.view.show_thinking = true;
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 5), "   # deep thought");
    CHECK_TEXT(t, row_text(&c.grid, 7), "   text 1");
    chat_finish(&c);
}

TEST(transcript_notices_another_text_under_the_same_id)
{
    struct chat c;
    chat_init(&c);
    c.view.n_messages = 1;
    draw(&c);
    c.messages[0].text = "edit 0";
    c.messages[0].revision++;
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 1), "   edit 0");
    chat_finish(&c);
}

/* What came while an answer is written leaves it in sight. */
TEST(transcript_has_cards_in_a_line_while_the_answer_above_is_written)
{
    struct chat c;
    chat_init(&c);
    c.view.n_messages = 4;
    c.messages[1].streaming = true;
    for (int i = 2; i < 4; i++) {
        c.messages[i].kind = VIEW_MESSAGE_NOTICE;
        c.messages[i].label = "Model";
        c.messages[i].hint = "F2 goes back";
        c.messages[i].brief = true;
    }
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 3), " Model");
    CHECK_TEXT(t, row_text(&c.grid, 4), "   text 1#");
    CHECK_TEXT(t, row_text(&c.grid, 6), "   i Model: text 2");
    CHECK_TEXT(t, row_text(&c.grid, 7), "   i Model: text 3");
    CHECK_TEXT(t, row_text(&c.grid, 8), "");
    c.messages[1].streaming = c.messages[2].brief = c.messages[3].brief = false;
    draw(&c);    /* whole again, and the end in sight */
    CHECK(t, strstr(row_text(&c.grid, 7), "text 3") && strstr(row_text(&c.grid, 8), "F2 goes back"), "%s",
          row_text(&c.grid, 7));
    chat_finish(&c);
}

/* 'u' for each underlined cell of a row, '.' for the others. */
static const char *row_underlined(const struct ui_grid *g, int32_t row)
{
    static char text[256];
    int32_t n = 0, end = 0;
    for (int32_t col = 0; col < g->n_cols && n < 255; col++) {
        text[n++] = ui_grid_at(g, row, col)->attrs & UI_UNDERLINE ? 'u' : '.';
        end = text[n - 1] == 'u' ? n : end;
    }
    text[end] = '\0';
    return text;
}

TEST(transcript_underlines_drafts_on_demand)
{
    static const char text[] = "a **bold word** and `code`\n- an item that is long enough for two lines of this screen";
    struct chat c;
    struct text_range drafted[] = { { 5, 11 }, { 22, 32 }, { 57, 64 } };    /* "old wo", "ode`" to "an ", "for two" */
    chat_init(&c);
    c.view.n_messages = 2;
    c.messages[1].text = text;
    c.messages[1].n_text = sizeof text - 1;
    c.messages[1].drafted = drafted;
    c.messages[1].n_drafted = 3;
    draw(&c);
    for (int32_t row = 0; row < 10; row++)
        CHECK_TEXT(t, row_underlined(&c.grid, row), "", "row %d", row);
    c.view.show_drafts = true;
    draw(&c);
    CHECK_TEXT(t, row_text(&c.grid, 4), "   a bold word and code");
    CHECK_TEXT(t, row_underlined(&c.grid, 4), "......uuuuuu........uuu");
    CHECK_TEXT(t, row_text(&c.grid, 5), "   # an item that is long enough for two lines of this");
    CHECK_TEXT(t, row_underlined(&c.grid, 5), ".....uuu.........................uuuuuuu");
    CHECK_TEXT(t, row_underlined(&c.grid, 6), "");
    c.view.show_drafts = false;
    draw(&c);
    CHECK_TEXT(t, row_underlined(&c.grid, 4), "");
    chat_finish(&c);
}

TEST(transcript_underlines_drafts_as_they_come)
{
    static const char text[] = "one two\nthree four";
    static const struct {
        size_t n_text, end;    /* the range that begins with "two" */
        const char *first, *second;
    } steps[] = { { 3, 4, "", "" }, { 7, 7, ".......uuu", "" }, { 13, 13, ".......uuu", "...uuuuu" },
                  { 18, 13, ".......uuu", "...uuuuu" } };
    struct chat c;
    chat_init(&c);
    c.view.n_messages = 2;
    c.view.show_drafts = true;
    c.messages[1].text = text;
    c.messages[1].streaming = true;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct text_range drafted = { 4, steps[i].end };
        c.messages[1].n_text = steps[i].n_text;
        c.messages[1].drafted = &drafted;
        c.messages[1].n_drafted = steps[i].end > 4;
        draw(&c);
        CHECK_TEXT(t, row_underlined(&c.grid, 4), steps[i].first, "step %zu", i);
        CHECK_TEXT(t, row_underlined(&c.grid, 5), steps[i].second, "step %zu", i);
    }
    chat_finish(&c);
}

/* What the program shows while an answer with drafts repeats itself. */
TEST(status_says_what_fits)
{
    struct view_status status = {
        .n_ctx_used = 534, .n_ctx = 8192, .n_segments = 6,
        .segments = { { "repeats itself: Esc stops", UI_WARNING, "repeats: Esc stops" }, { "answering", UI_NOTICE, NULL },
                      { "38.1 tok/s", UI_STATUS, NULL },
                      { "drafts 71% right, 2.3 a pass", UI_STATUS, "drafts 2.3/pass" }, { "3.2 s saved", UI_STATUS, NULL },
                      { "kv 38.2 MB kv4", UI_STATUS, NULL } } };
    static const struct {
        int32_t n_cols;
        const char *text;
    } cases[] = {
        { 150, "6% 534 of 8192 # repeats itself: Esc stops # answering # 38.1 tok/s # drafts 71% right, 2.3 a pass # "
               "3.2 s saved # kv 38.2 MB kv4" },
        { 120, "6% 534 of 8192 # repeats: Esc stops # answering # 38.1 tok/s # drafts 2.3/pass # 3.2 s saved" },
        { 80, "6% # repeats: Esc stops # answering # 38.1 tok/s" },
        { 40, "6% # repeats: Esc stops" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ui_grid g;
        CHECK(t, ui_grid_init(&g, 1, cases[i].n_cols));
        ui_grid_begin(&g);
        view_status.draw(&status, &g, (struct ui_rect){ 0, 0, 1, cases[i].n_cols });
        const char *text = strstr(row_text(&g, 0), "6%");
        CHECK_TEXT(t, text ? text : "", cases[i].text, "%d columns", cases[i].n_cols);
        ui_grid_finish(&g);
    }
}

/* ---- lists and questions -------------------------------------------------------------------------- */

TEST(list_filters_and_keeps_its_choice)
{
    struct view_row rows[] = { { .id = 10, .cells = { "alpha" }, .progress = -1 },
                               { .id = 20, .cells = { "Beta" }, .progress = -1, .current = true },
                               { .id = 30, .cells = { "gamma" }, .progress = -1 } };
    struct view_list v = { .columns = { { "Name", false, 0 } }, .n_columns = 1, .rows = rows, .n_rows = 3 };
    CHECK_INT(t, view_list_chosen(&v)->id, 20, "the current one at first");
    CHECK_INT(t, view_list.key(&v, &(struct ui_key){ UI_KEY_DOWN, 0 }), UI_ACT_DONE);
    CHECK_INT(t, view_list_chosen(&v)->id, 30);
    CHECK_INT(t, view_list.key(&v, &(struct ui_key){ UI_KEY_DOWN, 0 }), UI_ACT_DONE);
    CHECK_INT(t, view_list_chosen(&v)->id, 30);
    rows[0] = rows[2];    /* rows change, the choice stays */
    rows[2].id = 40;
    CHECK_INT(t, view_list_chosen(&v)->id, 30);
    view_list.key(&v, &(struct ui_key){ 'B', 0 });
    view_list.key(&v, &(struct ui_key){ 'e', 0 });
    CHECK_INT(t, view_list_chosen(&v)->id, 20, "the only one with 'be'");
    CHECK_INT(t, view_list.key(&v, &(struct ui_key){ UI_KEY_ENTER, 0 }), UI_ACT_ACCEPT);
    view_list.key(&v, &(struct ui_key){ 'x', 0 });
    CHECK(t, view_list_chosen(&v) == NULL);
    CHECK_INT(t, view_list.key(&v, &(struct ui_key){ UI_KEY_ENTER, 0 }), UI_ACT_DONE, "nothing to take");
    view_list.key(&v, &(struct ui_key){ UI_KEY_BACKSPACE, 0 });
    CHECK_TEXT(t, v.filter, "Be");
    CHECK_INT(t, view_list.key(&v, &(struct ui_key){ UI_KEY_ESC, 0 }), UI_ACT_CLOSE);
}

TEST(choice_takes_numbers_and_refuses_what_is_not_possible)
{
    struct view_choice v = { .title = "", .text = "", .n_choices = 3,
                             .choices = { { "one", "", true }, { "two", "why not", false }, { "three", "", true } } };
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ '1', 0 }), UI_ACT_DONE, "typed before it was to be seen");
    v.seen = true;
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ '2', 0 }), UI_ACT_DONE);
    CHECK_INT(t, v.chosen, 1);    /* it can be looked at */
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ UI_KEY_ENTER, 0 }), UI_ACT_DONE);
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ UI_KEY_DOWN, 0 }), UI_ACT_DONE);
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ UI_KEY_ENTER, 0 }), UI_ACT_ACCEPT);
    CHECK_INT(t, v.chosen, 2);
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ '4', 0 }), UI_ACT_DONE);
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ 'x', 0 }), UI_ACT_DONE);
    CHECK_INT(t, v.chosen, 2);
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ '1', 0 }), UI_ACT_ACCEPT);
    CHECK_INT(t, v.chosen, 0);
    CHECK_INT(t, view_choice.key(&v, &(struct ui_key){ UI_KEY_ESC, 0 }), UI_ACT_CLOSE);
}

TEST(confirm_takes_letters_and_arrows)
{
    struct view_confirm v = { .text = "", .choices = { { 'y', "yes" }, { 'n', "no" } }, .n_choices = 2 };
    CHECK_INT(t, view_confirm.key(&v, &(struct ui_key){ UI_KEY_LEFT, 0 }), UI_ACT_DONE);
    CHECK_INT(t, v.chosen, 1);
    CHECK_INT(t, view_confirm.key(&v, &(struct ui_key){ 'x', 0 }), UI_ACT_DONE);
    CHECK_INT(t, view_confirm.key(&v, &(struct ui_key){ 'y', 0 }), UI_ACT_ACCEPT);
    CHECK_INT(t, v.chosen, 0);
    CHECK_INT(t, view_confirm.key(&v, &(struct ui_key){ UI_KEY_ESC, 0 }), UI_ACT_CLOSE);
}

TEST(keymap_binds_each_key_once)
{
    const struct ui_binding *a, *b;
    for (int32_t i = 0; (a = keymap_binding(i)); i++)
        for (int32_t k = 0; k < i && (b = keymap_binding(k)); k++)
            CHECK(t, a->context != b->context || a->key.code != b->key.code || a->key.mods != b->key.mods,
                  "bindings %d and %d", k, i);
    char names[64];
    keymap_names(UI_CTX_EDITOR, UI_ACT_EDIT_NEWLINE, names, sizeof names);
    CHECK_TEXT(t, names, "Ctrl+J / Alt+Enter / Shift+Enter");
    keymap_names(UI_CTX_EDITOR, UI_ACT_EDIT_NEWLINE, names, 20);
    CHECK_TEXT(t, names, "Ctrl+J / Alt+Enter");
}

TEST(screen_gives_keys_to_the_overlay_first)
{
    struct screen s = { .editor = editor_create() };
    struct view_text help = { .title = "Help" };
    struct view_list list = { .title = "List" };
    struct ui_grid g;
    CHECK(t, ui_grid_init(&g, 24, 80));
    CHECK_INT(t, screen_key(&s, &(struct ui_key){ 'q', 0 }), UI_ACT_DONE);
    CHECK_TEXT(t, editor_text(s.editor), "q");
    CHECK_INT(t, screen_key(&s, &(struct ui_key){ UI_KEY_F1, 0 }), UI_ACT_HELP);
    CHECK_INT(t, screen_key(&s, &(struct ui_key){ UI_KEY_ESC, 0 }), UI_ACT_STOP);
    CHECK_INT(t, screen_key(&s, &(struct ui_key){ 't', UI_CTRL }), UI_ACT_THINKING);
    CHECK(t, s.transcript.show_thinking);
    s.overlay = &view_text;
    s.overlay_self = &help;
    screen_draw(&s, &g);
    CHECK(t, !g.caret_visible);
    CHECK_INT(t, screen_key(&s, &(struct ui_key){ 'z', UI_CTRL }), UI_ACT_SUSPEND);
    CHECK(t, !screen_paste(&s, "x", 1), "nowhere to go");
    CHECK_INT(t, screen_key(&s, &(struct ui_key){ 'q', 0 }), UI_ACT_CLOSE);
    CHECK(t, s.overlay == NULL);
    s.overlay = &view_list;
    s.overlay_self = &list;
    screen_draw(&s, &g);
    CHECK_INT(t, screen_key(&s, &(struct ui_key){ UI_KEY_F1, 0 }), UI_ACT_NONE);
    CHECK_TEXT(t, editor_text(s.editor), "q");
    ui_grid_finish(&g);
    editor_destroy(s.editor);
}

TEST(screen_draws_at_any_size)
{
    struct screen s = { .editor = editor_create() };
    struct chat c;
    struct view_help help;
    struct view_row rows[] = { { .id = 1, .cells = { "日本語", "b", "c" }, .progress = 0.5 } };
    struct view_list list = { .title = "List", .n_columns = 3,
                              .columns = { { "A", false, 0 }, { "B", true, 1 }, { "C", false, 2 } },
                              .rows = rows, .n_rows = 1, .summary = "s", .footer = "f" };
    struct view_prompt prompt = { .title = "P", .label = "l", .message = "m", .editor = editor_create() };
    struct view_choice choice = { .title = "Q", .text = "which one of these?", .n_choices = 2, .chosen = 1,
                                  .choices = { { "this", "does this", true }, { "that", "does that", false } } };
    struct view_confirm confirm = { .title = "C", .text = "sure?", .choices = { { 'y', "yes" } },
                                    .n_choices = 1 };
    CHECK(t, view_help_make(&help, "Commands", NULL, 0));
    struct view_text text = { .title = "Help", .rows = help.rows, .n_rows = help.n_rows };
    const struct { const struct ui_view *view; void *self; } overlays[] = {
        { NULL, NULL }, { &view_list, &list }, { &view_text, &text }, { &view_prompt, &prompt },
        { &view_confirm, &confirm }, { &view_choice, &choice } };
    chat_init(&c);
    c.messages[29].kind = VIEW_MESSAGE_ERROR;
    c.messages[29].hint = "do something";
    s.transcript = c.view;
    s.status = (struct view_status){ .n_ctx_used = 9, .n_ctx = 10, .n_segments = 1,
                                     .segments = { { "x", UI_STATUS } } };
    for (int i = 0; i < 3000; i++) {
        struct ui_grid g;
        int32_t n_rows = 1 + (int32_t)test_below(t, 30), n_cols = 1 + (int32_t)test_below(t, 130);
        size_t o = test_below(t, sizeof overlays / sizeof overlays[0]);
        CHECK(t, ui_grid_init(&g, n_rows, n_cols));
        s.overlay = overlays[o].view;
        s.overlay_self = overlays[o].self;
        editor_paste(s.editor, "word ", 5);
        screen_draw(&s, &g);
        screen_key(&s, &(struct ui_key){ UI_KEY_UP + test_below(t, 10), (uint8_t)test_below(t, 3) });
        ui_grid_finish(&g);
    }
    view_transcript_finish(&s.transcript);
    chat_finish(&c);
    view_help_finish(&help);
    editor_destroy(s.editor);
    editor_destroy(prompt.editor);
}
