/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include "app/ui/cell.h"
#include "app/ui/markdown.h"
#include "app/ui/neutral.h"
#include "app/ui/theme.h"
#include "app/ui/wrap.h"

/* From bytes to cells: the neutraliser, the grid, wrapping and markdown. */

/* What the neutraliser shows, and its columns. */
static void shown(const char *text, struct buf *out, int32_t *n_cols)
{
    struct neutral_iter it;
    struct neutral_glyph g;
    buf_clear(out);
    neutral_begin(&it, text, strlen(text), 0);
    while (neutral_next(&it, &g)) {
        if (g.n_cols > 0)
            buf_add_utf8(out, g.code_point);
        for (int32_t i = 0; i < UI_MARKS && g.marks[i]; i++)
            buf_add_utf8(out, g.marks[i]);
    }
    *n_cols = it.col;
}

TEST(neutral_shows_every_text_in_known_columns)
{
    static const struct { const char *text, *shown; int32_t n_cols; } cases[] = {
        { "plain", "plain", 5 },
        { "\x1b[31m", "␛[31m", 5 },
        { "a\x7f\x01", "a␡␁", 3 },
        { "\xc2\x9b" "2J", "␦2J", 3 },                                    /* C1 CSI */
        { "a\xe2\x80\xae" "b", "a␦b", 3 },                                /* right-to-left override */
        { "\xe2\x80\xa8\xf3\xa0\x81\x81", "␦␦", 2 },                      /* line separator, a tag */
        { "\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd", 2 },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3 },    /* a surrogate */
        { "日本", "日本", 4 },
        { "e\xcc\x81", "é", 1 },                                          /* composed */
        { "x\xcc\x81\xcc\x82\xcc\x83", "x\xcc\x81\xcc\x82", 1 },        /* a pile is cut */
        { "\xcc\x81", "\xe2\x97\x8c\xcc\x81", 1 },                        /* a mark without a base */
        { "👩‍🚀!", "👩!", 3 },                                            /* first part of a sequence */
        { "👍🏽", "👍", 2 },                                               /* skin tone */
        { "❤\xef\xb8\x8f", "❤", 1 },                                      /* variation selector */
        { "🇯🇵", "JP", 2 },
        { "1\xef\xb8\x8f\xe2\x83\xa3", "1", 1 },                          /* keycap */
        { "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "각", 2 },              /* jamo to a syllable */
        { "a\xe2\x80\x8b\xc2\xad" "b", "ab", 2 },                         /* zero width space, soft hyphen */
        { "a\tb", "a b", 9 },
    };
    struct buf out = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int32_t n_cols;
        shown(cases[i].text, &out, &n_cols);
        CHECK_TEXT(t, buf_text(&out), cases[i].shown, "case %zu", i);
        CHECK_INT(t, n_cols, cases[i].n_cols, "case %zu", i);
    }
    buf_finish(&out);
}

TEST(neutral_filter_keeps_lines_and_disarms_the_rest)
{
    struct buf out = { 0 };
    struct neutral_filter f = { 0 };
    const char text[] = "a\tb\r\nc\rd\x1b]0;t\x07\xc2\x9b\xe2\x80\xae 日本 👩‍🚀\xff";
    for (size_t i = 0; i + 1 < sizeof text; i++)    /* byte by byte: characters arrive in halves */
        neutral_filter_feed(&f, &out, text + i, 1);
    neutral_filter_end(&f, &out);
    CHECK_TEXT(t, buf_text(&out), "a\tb\nc␍d␛]0;t␇␦␦ 日本 👩‍🚀\xef\xbf\xbd");
    buf_clear(&out);
    neutral_line(&out, "name\nwith\tlines\r");
    CHECK_TEXT(t, buf_text(&out), "name␊with␉lines␍");
    buf_finish(&out);
}

TEST(neutral_cluster_steps_over_what_belongs_together)
{
    const char text[] = "a👩‍🚀🇯🇵e\xcc\x81";
    size_t at = 0, steps[8];
    int n = 0;
    for (; at < sizeof text - 1; at += neutral_cluster(text + at, sizeof text - 1 - at))
        steps[n++] = at;
    CHECK_INT(t, n, 4);
    for (int i = n - 1; i > 0; i--)
        CHECK_INT(t, neutral_cluster_before(text, 0, steps[i]), steps[i - 1], "step %d", i);
}

/* ---- grid ----------------------------------------------------------------------------------------- */

TEST(grid_reports_only_what_differs)
{
    struct ui_grid g;
    int32_t from, to;
    CHECK(t, ui_grid_init(&g, 2, 10));
    CHECK(t, ui_grid_damage(&g, 0, &from, &to) && from == 0 && to == 10, "a new grid is all damage");
    ui_label(&g, 0, 2, 8, "abc", UI_TEXT, 0);
    ui_grid_settle(&g);
    CHECK(t, !ui_grid_damage(&g, 0, &from, &to));
    ui_grid_begin(&g);
    ui_label(&g, 0, 2, 8, "aXc", UI_TEXT, 0);
    CHECK(t, ui_grid_damage(&g, 0, &from, &to));
    CHECK_INT(t, from, 3);
    CHECK_INT(t, to, 4);
    CHECK(t, !ui_grid_damage(&g, 1, &from, &to));
    ui_grid_finish(&g);
}

TEST(grid_never_leaves_half_a_wide_character)
{
    struct ui_grid g;
    int32_t from, to;
    CHECK(t, ui_grid_init(&g, 1, 6));
    CHECK_INT(t, ui_label(&g, 0, 0, 6, "日本語", UI_TEXT, 0), 6);
    ui_grid_settle(&g);
    ui_put(&g, 0, 3, 'x', UI_TEXT, 0);    /* the right half of the second */
    CHECK_INT(t, ui_grid_at(&g, 0, 2)->code_point, ' ');
    CHECK_INT(t, ui_grid_at(&g, 0, 2)->width, 1);
    CHECK(t, ui_grid_damage(&g, 0, &from, &to) && from == 2 && to == 4);
    CHECK_INT(t, ui_label(&g, 0, 0, 3, "日本語", UI_TEXT, 0), 3, "one wide and an ellipsis");
    ui_grid_begin(&g);
    ui_label(&g, 0, 0, 6, "日本語", UI_TEXT, 0);
    ui_grid_settle(&g);
    ui_highlight(&g, (struct ui_rect){ 0, 3, 1, 2 }, UI_SELECTION, 0);    /* two halves */
    CHECK(t, ui_grid_damage(&g, 0, &from, &to) && from == 2 && to == 6);
    ui_grid_begin(&g);
    ui_text(&g, 0, 5, 6, "日", 3, UI_TEXT, 0);
    CHECK_INT(t, ui_grid_at(&g, 0, 5)->code_point, ' ', "not even half of it at the edge");
    ui_grid_finish(&g);
}

TEST(theme_says_by_attributes_what_it_cannot_say_by_colour)
{
    struct ui_theme th;
    static const int32_t n_colors[] = { 0, 8, 16, 256 };
    for (size_t i = 0; i < 8; i++) {
        theme_make(&th, n_colors[i / 2], i % 2);
        for (int32_t s = 0; s < UI_STYLE_COUNT; s++) {
            CHECK(t, th.looks[s].background == -1, "style %d paints a background", s);
            CHECK(t, th.looks[s].foreground < (n_colors[i / 2] ? n_colors[i / 2] : 1));
        }
        CHECK(t, th.looks[UI_SELECTION].attrs & UI_REVERSE);
        CHECK(t, i > 1 || th.looks[UI_ERROR].attrs & UI_BOLD, "mono");
        CHECK(t, i > 1 || th.looks[UI_ERROR].foreground == -1, "mono");
    }
}

/* ---- wrapping ------------------------------------------------------------------------------------- */

static void add_lines(const struct wrap_lines *l, struct buf *out)
{
    for (int32_t i = 0; i < l->n_lines; i++) {
        for (uint32_t r = 0; r < l->lines[i].n_runs; r++) {
            const struct wrap_run *run = &l->runs[l->lines[i].first_run + r];
            buf_add(out, l->text.data + run->from, run->n_bytes);
        }
        buf_add_byte(out, '|');
    }
}

static const char *wrapped(struct buf *out, const char *text, int32_t n_cols, enum wrap_mode mode)
{
    struct wrap_lines l = { 0 };
    struct wrap_piece piece = { text, strlen(text), UI_TEXT, 0 };
    buf_clear(out);
    wrap_paragraph(&l, &piece, 1, &(struct wrap_options){ .n_cols = n_cols, .mode = mode });
    add_lines(&l, out);
    wrap_lines_finish(&l);
    return buf_text(out);
}

TEST(wrap_breaks_at_words_and_between_wide_characters)
{
    struct buf out = { 0 };
    CHECK_TEXT(t, wrapped(&out, "one two three", 8, WRAP_WORDS), "one two|three|");
    CHECK_TEXT(t, wrapped(&out, "one two   three", 7, WRAP_WORDS), "one two|three|");
    CHECK_TEXT(t, wrapped(&out, "  one two", 5, WRAP_WORDS), "  one|two|");
    CHECK_TEXT(t, wrapped(&out, "abcdefghij kl", 4, WRAP_WORDS), "abcd|efgh|ij|kl|");
    CHECK_TEXT(t, wrapped(&out, "well-known word", 8, WRAP_WORDS), "well-|known|word|");
    CHECK_TEXT(t, wrapped(&out, "x -1 -2", 4, WRAP_WORDS), "x -1|-2|");
    CHECK_TEXT(t, wrapped(&out, "日本語、です", 6, WRAP_WORDS), "日本|語、で|す|");
    CHECK_TEXT(t, wrapped(&out, "a日本", 4, WRAP_WORDS), "a日|本|");
    CHECK_TEXT(t, wrapped(&out, "日", 1, WRAP_WORDS), "日|");
    CHECK_TEXT(t, wrapped(&out, "", 5, WRAP_WORDS), "|");
    CHECK_TEXT(t, wrapped(&out, "a\n\nb", 5, WRAP_WORDS), "a||b|");
    CHECK_TEXT(t, wrapped(&out, "if x:  # y", 5, WRAP_HARD), "if x:|  # y|");
    CHECK_TEXT(t, wrapped(&out, "a\tb", 20, WRAP_HARD), "a       b|");
    buf_finish(&out);
}

TEST(wrap_keeps_styles_and_prefixes)
{
    struct buf out = { 0 };
    struct wrap_lines l = { 0 };
    struct wrap_piece pieces[] = { { "aa ", 3, UI_TEXT, 0 }, { "bb cc", 5, UI_CODE, UI_BOLD },
                                   { " dd", 3, UI_TEXT, 0 } };
    struct wrap_options o = { .n_cols = 7, .first = { "* ", 2, UI_ACCENT, 0 }, .rest = { "  ", 2, 0, 0 } };
    wrap_paragraph(&l, pieces, 3, &o);
    add_lines(&l, &out);
    CHECK_TEXT(t, buf_text(&out), "* aa bb|  cc dd|");
    CHECK_INT(t, l.runs[0].style, UI_ACCENT);
    CHECK_INT(t, l.runs[2].style, UI_CODE);
    CHECK_INT(t, l.runs[4].attrs, UI_BOLD);
    CHECK_INT(t, l.runs[5].style, UI_TEXT);
    wrap_lines_finish(&l);
    buf_finish(&out);
}

/* ---- markdown ------------------------------------------------------------------------------------- */

static const char *rendered(struct buf *out, const char *text, int32_t n_cols, bool finished)
{
    struct markdown m = { 0 };
    buf_clear(out);
    markdown_update(&m, text, strlen(text), n_cols, finished);
    add_lines(&m.lines, out);
    markdown_finish(&m);
    return buf_text(out);
}

TEST(markdown_renders_the_common_blocks)
{
    static const struct { const char *source, *lines; } cases[] = {
        { "# Title\ntext", "Title|text|" },
        { "text\n## Two ##\n", "text||Two|" },
        { "#hashtag", "#hashtag|" },
        { "a\n\n\n\nb\n\n", "a||b|" },
        { "- one\n- two\n  - deep\n- three", "• one|• two|  ◦ deep|• three|" },
        { "1. a\n   more\n\n   par\n10) b", "1. a|   more||   par|10) b|" },
        { "- [ ] open\n- [x] done", "☐ open|☑ done|" },
        { "> said\n> > again", "▎ said|▎ ▎ again|" },
        { "```py\nx  = 1\n\n```\nafter", "╭ py|│ x  = 1|│ |╰|after|" },
        { "~~~\n```\n~~~", "╭|│ ```|╰|" },
        { "- item\n  ```\n  code\n  ```", "• item|  ╭|  │ code|  ╰|" },
        { "| a | *b* |\n|---|---|", "| a | *b* ||" "|---|---||" },
        { "a **b** `c*d*` *e* __f__ snake_case_name 2 * 3", "a b c*d* e f snake_case_name 2 * 3|" },
        { "***both*** ~~gone~~ \\*kept\\*", "both gone *kept*|" },
        { "**unclosed and `open", "**unclosed and `open|" },
        { "[text](http://a.b) [x] (y)", "text (http://a.b) [x] (y)|" },
        { "line one\r\nline two\r\n", "line one|line two|" },
    };
    struct buf out = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_TEXT(t, rendered(&out, cases[i].source, 60, true), cases[i].lines, "case %zu", i);
    CHECK_TEXT(t, rendered(&out, "```\nopen", 60, true), "╭|│ open|╰|", "an unclosed fence ends");
    CHECK_TEXT(t, rendered(&out, "text\n---\nmore", 3, true), "tex|t|───|mor|e|");
    buf_finish(&out);
}

TEST(markdown_copes_with_the_half_that_came)
{
    static const struct { const char *source, *lines; } cases[] = {
        { "a **bo", "a bo|" },
        { "a **", "a|" },
        { "a `co", "a co|" },
        { "text\n``", "text|" },
        { "text\n```", "text|╭|" },
        { "```py\nx = 1\n``", "╭ py|│ x = 1|" },
        { "text\n#", "text|#|" },
    };
    struct buf out = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_TEXT(t, rendered(&out, cases[i].source, 60, false), cases[i].lines, "case %zu", i);
    buf_finish(&out);
}

/* Stretches of four bytes with three between them, as far as the text goes. */
static int32_t underline_some(struct text_range *out, int32_t cap, size_t n_bytes)
{
    int32_t n = 0;
    for (size_t from = 0; from < n_bytes && n < cap; from += 7)
        out[n++] = (struct text_range){ from, from + 4 < n_bytes ? from + 4 : n_bytes };
    return n;
}

/* Underlining moves nothing either. */
TEST(markdown_streams_to_the_same_lines_whatever_the_pieces)
{
    struct text_range drafted[128];
    static const char *const words[] = { "word ", "**", "*", "`", "\n", "\n\n", "```\n", "- ", "1. ", "> ",
                                         "# ", "日本", "| ", "  ", "~~", "[a](b)", "\t", "---\n", "long" };
    for (int round = 0; round < 300; round++) {
        struct buf text = { 0 }, want = { 0 }, got = { 0 };
        struct markdown m = { .underlined = drafted }, whole = { 0 };
        int32_t n_cols = 1 + (int32_t)test_below(t, 40);
        for (uint32_t n = test_below(t, 60) + 1; n > 0; n--)
            buf_add_text(&text, words[test_below(t, sizeof words / sizeof words[0])]);
        for (size_t n = 0; n < text.n_bytes; n += 1 + test_below(t, 9)) {
            m.n_underlined = underline_some(drafted, 128, n);
            markdown_update(&m, text.data, n, n_cols, false);
        }
        m.n_underlined = underline_some(drafted, 128, text.n_bytes);
        markdown_update(&m, text.data, text.n_bytes, n_cols, true);
        markdown_update(&whole, text.data, text.n_bytes, n_cols, true);
        add_lines(&m.lines, &got);
        add_lines(&whole.lines, &want);
        CHECK_TEXT(t, buf_text(&got), buf_text(&want), "round %d, %d columns, source:\n%s", round, n_cols,
                   text.data);
        markdown_finish(&m);
        markdown_finish(&whole);
        buf_finish(&text);
        buf_finish(&want);
        buf_finish(&got);
    }
}

TEST(markdown_renders_a_closed_line_once)
{
    struct markdown m = { 0 };
    const char text[] = "one\ntwo\nthree";
    markdown_update(&m, text, 5, 40, false);
    CHECK_INT(t, m.done_bytes, 4);
    CHECK_INT(t, m.mark.n_lines, 1);
    CHECK_INT(t, m.lines.n_lines, 2);
    markdown_update(&m, text, sizeof text - 1, 40, false);
    CHECK_INT(t, m.mark.n_lines, 2);
    markdown_update(&m, text, sizeof text - 1, 3, true);
    CHECK_INT(t, m.lines.n_lines, 4, "a new width starts over");
    markdown_finish(&m);
}
