/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>

#include "app/term/term_input.h"
#include "app/ui/keymap.h"

static void add_event(const struct term_event *ev, struct buf *out)
{
    char name[KEYMAP_NAME_BYTES];
    if (out->n_bytes > 0)
        buf_add_byte(out, ' ');
    switch (ev->kind) {
    case TERM_EVENT_KEY:
        keymap_name(&ev->key, name);
        buf_add_text(out, name);
        break;
    case TERM_EVENT_PASTE:
        buf_printf(out, "paste(%.*s)", (int)ev->n_text, ev->text);
        break;
    case TERM_EVENT_FOCUS_IN: buf_add_text(out, "focus"); break;
    case TERM_EVENT_FOCUS_OUT: buf_add_text(out, "blur"); break;
    case TERM_EVENT_REPLY: buf_printf(out, "reply(%d,%d,%x)", ev->reply, ev->mode, ev->value); break;
    }
}

static void drain(struct term_input *in, struct buf *out)
{
    struct term_event ev;
    while (term_input_next(in, &ev))
        add_event(&ev, out);
}

/* All events of these bytes, given in pieces of n_piece, with a pause at the end. */
static const char *events(struct buf *out, const char *bytes, size_t n_bytes, size_t n_piece)
{
    struct term_input in;
    term_input_init(&in);
    buf_clear(out);
    for (size_t at = 0; at < n_bytes; at += n_piece) {
        term_input_feed(&in, bytes + at, n_bytes - at < n_piece ? n_bytes - at : n_piece);
        drain(&in, out);
    }
    term_input_timeout(&in);
    drain(&in, out);
    term_input_finish(&in);
    return buf_text(out);
}

TEST(term_input_reads_keys_of_all_dialects)
{
    static const struct { const char *bytes, *events; } cases[] = {
        { "aé日", "a é 日" },
        { "\t\r\n\x7f\x08\x1f\x01", "Tab Enter Ctrl+J Backspace Backspace Ctrl+_ Ctrl+A" },
        { "\x1b[A\x1b[B\x1b[C\x1b[D\x1b[H\x1b[F", "Up Down Right Left Home End" },
        { "\x1bOA\x1bOH\x1bOP\x1bOS", "Up Home F1 F4" },
        { "\x1b[1~\x1b[2~\x1b[3~\x1b[4~\x1b[5~\x1b[6~", "Home Ins Del End PgUp PgDn" },
        { "\x1b[11~\x1b[15~\x1b[20~\x1b[24~", "F1 F5 F9 F12" },
        { "\x1b[[A\x1b[[E", "F1 F5" },
        { "\x1b[1;5C\x1b[1;2A\x1b[3;5~\x1b[1;3D", "Ctrl+Right Shift+Up Ctrl+Del Alt+Left" },
        { "\x1b[5^\x1b[5$\x1bOc", "Ctrl+PgUp Shift+PgUp Ctrl+Right" },
        { "\x1b" "b\x1b\r\x1b\x7f\x1b日", "Alt+B Alt+Enter Alt+Backspace Alt+日" },
        { "\x1b", "Esc" },
        { "\x1b\x1b[A", "Esc Up" },
        { "\x1b[", "Alt+[" },
        { "\x1bO", "Alt+O" },
        { "\x1b[13;2u\x1b[13;2~\x1b[27;2;13~", "Shift+Enter Shift+Enter Shift+Enter" },
        { "\x1b[27u\x1b[97;5u\x1b[97;3u\x1b[99;5:1u\x1b[106;5u", "Esc Ctrl+A Alt+A Ctrl+C Ctrl+J" },
        { "\x1b[97;2u\x1b[57414u\x1b[57419u\x1b[57441u", "A Enter Up" },
        { "\x1b[27;5;106~\x1b[27;6;65~", "Ctrl+J Ctrl+A" },
        { "\x1b[Z\x1b[I\x1b[O", "Shift+Tab focus blur" },
        { "\x1b[?1u\x1b[?2026;2$y\x1b[?62;4c", "reply(1,0,1) reply(2,2026,2) reply(0,0,3e)" },
        { "\x1b]11;rgb:ffff/0000/1212\x1b\\x", "reply(3,0,ff0012) x" },
        { "\x1b]11;rgb:f/8/0\x07x", "reply(3,0,ff8800) x" },
    };
    struct buf out = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t n_piece = 1; n_piece < 40; n_piece += 19)
            CHECK_TEXT(t, events(&out, cases[i].bytes, strlen(cases[i].bytes), n_piece), cases[i].events,
                       "case %zu in pieces of %zu", i, n_piece);
    buf_finish(&out);
}

TEST(term_input_drops_what_it_does_not_know_and_goes_on)
{
    static const struct { const char *bytes, *events; } cases[] = {
        { "\x1b[99~a", "a" },
        { "\x1b[1;2;3;4;5;6;7;8;9;10;11;12zb", "b" },
        { "\x1b[12\x1b[Ac", "Up c" },                  /* broken off by the next */
        { "\x1b[12\x07" "d", "Ctrl+G d" },
        { "\x1b]0;title\x07" "e", "e" },
        { "\x1bP1$r0m\x1b\\f", "f" },
        { "\x1b]11;rgb:zz\x07g", "g" },
        { "\x1b[99999999999999999999~h", "h" },
        { "\x1b[1;1R\x1b[<0;1;1Mi", "F3 i" },
        { "\xff\xc3(", "\xef\xbf\xbd \xef\xbf\xbd (" },
        { "\xc2\x9b" "A", "A" },                       /* C1 is no key */
    };
    struct buf out = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t n_piece = 1; n_piece < 40; n_piece += 19)
            CHECK_TEXT(t, events(&out, cases[i].bytes, strlen(cases[i].bytes), n_piece), cases[i].events,
                       "case %zu in pieces of %zu", i, n_piece);
    buf_finish(&out);
}

TEST(term_input_bounds_endless_sequences)
{
    struct buf bytes = { 0 }, out = { 0 };
    buf_add_text(&bytes, "\x1b[");
    for (int i = 0; i < 5000; i++)
        buf_add_text(&bytes, "1;");
    buf_add_text(&bytes, "Ax");
    CHECK_TEXT(t, events(&out, bytes.data, bytes.n_bytes, 100), "x", "the whole sequence is dropped");
    buf_finish(&bytes);
    buf_finish(&out);
}

TEST(term_input_keeps_a_paste_together)
{
    struct buf out = { 0 };
    const char paste[] = "a\x1b[200~one\r\x1b[Atwo\x03\x1b[201~b";
    for (size_t n_piece = 1; n_piece < sizeof paste; n_piece++)
        CHECK_TEXT(t, events(&out, paste, sizeof paste - 1, n_piece), "a paste(one\r\x1b[Atwo\x03) b",
                   "pieces of %zu", n_piece);
    CHECK_TEXT(t, events(&out, "\x1b[200~no end\x1b[20", 17, 5), "paste(no end\x1b[20)",
               "an end that never comes");
    CHECK_TEXT(t, events(&out, "\x1b[200~\x1b[201~", 12, 12), "paste()");
    buf_finish(&out);
}

TEST(term_input_cuts_a_giant_paste)
{
    struct term_input in;
    struct term_event ev;
    char block[4096];
    memset(block, 'x', sizeof block);
    term_input_init(&in);
    term_input_feed(&in, "\x1b[200~", 6);
    for (int i = 0; i < 300; i++) {
        term_input_feed(&in, block, sizeof block);
        CHECK(t, !term_input_next(&in, &ev));
    }
    term_input_feed(&in, "\x1b[201~y", 7);
    CHECK(t, term_input_next(&in, &ev));
    CHECK_INT(t, ev.n_text, TERM_INPUT_PASTE_BYTES);
    CHECK(t, ev.text_cut);
    CHECK(t, term_input_next(&in, &ev) && ev.key.code == 'y');
    term_input_finish(&in);
}

TEST(term_input_says_how_long_to_wait)
{
    struct term_input in;
    struct term_event ev;
    term_input_init(&in);
    CHECK_INT(t, term_input_wait_ms(&in, 25), -1);
    term_input_feed(&in, "\x1b", 1);
    CHECK(t, !term_input_next(&in, &ev));
    CHECK_INT(t, term_input_wait_ms(&in, 25), 25);
    term_input_feed(&in, "[200~x", 6);
    CHECK(t, !term_input_next(&in, &ev));
    CHECK_INT(t, term_input_wait_ms(&in, 25), TERM_INPUT_PASTE_MS);
    term_input_timeout(&in);
    CHECK(t, term_input_next(&in, &ev) && ev.kind == TERM_EVENT_PASTE);
    CHECK(t, !term_input_next(&in, &ev));
    CHECK_INT(t, term_input_wait_ms(&in, 25), -1);
    term_input_finish(&in);
}
