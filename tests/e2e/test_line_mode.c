/* SPDX-License-Identifier: MIT */
/* The program in lines, on a terminal that can do no more and from a pipe, with a tiny model that answers every question
 * with a known sentence. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/home.h"
#include "tests/support/pty.h"

#define REPLY_END "said the tiny model quietly."

static void make_home(struct test *t, struct home *h)
{
    struct tiny_model m;
    home_make(t, h, "dumb");
    tiny_model_init(&m);
    home_add_model(t, h, "small", &m);
}

TEST(line_mode_on_a_dumb_terminal)
{
    struct home h;
    struct pty p;
    static const char *const plain[] = { QUIP_BINARY, "--temp", "0", NULL };
    make_home(t, &h);
    pty_start(t, &p, plain, h.settings, 24, 80);
    PTY_WAIT(t, &p, "You:");
    pty_type(t, &p, "how are you?\r");
    PTY_WAIT(t, &p, "Model: All is well");
    PTY_WAIT(t, &p, REPLY_END "\nYou:");
    pty_type(t, &p, "/quit\r");
    CHECK_INT(t, pty_wait_end(t, &p), 0);
    CHECK(t, !pty_raw_has(&p, "\033"));
    pty_finish(&p);
}

TEST(line_mode_compares_two_levels)
{
    static const char *const argv[] = {
        "sh", "-c", "printf '/compare q8_0 blind how are you?\\n/better 3\\n/level q8_0\\nand now?\\n' | " QUIP_BINARY
        " --line --temp 0", NULL };
    struct home h;
    struct pty p;
    home_make(t, &h, "dumb");
    home_add_levels(t, &h);
    pty_start(t, &p, argv, h.settings, 40, 100);
    CHECK_INT(t, pty_wait_end(t, &p), 0, "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "): All is well here, " REPLY_END), "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "/better 1, 2 or 3 says it."), "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "found better: F16 0, Q8_0 0, neither 1"), "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "small-Q8_0 (Q8_0) answers from here on"), "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "Model: All is well here"), "%s", pty_screen(&p));
    pty_finish(&p);
}

TEST(line_mode_from_a_pipe_says_that_nobody_chose)
{
    static const char *const argv[] = {
        "sh", "-c", "printf '%0100d\\n%0120d\\n' 1 2 | " QUIP_BINARY " --line --temp 0 -c 256", NULL };
    struct home h;
    struct pty p;
    make_home(t, &h);
    pty_start(t, &p, argv, h.settings, 24, 80);
    CHECK_INT(t, pty_wait_end(t, &p), 1, "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "3  A larger context: 512 tokens instead of 256"), "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "Not sent: The context is full, and nobody chose"), "%s", pty_screen(&p));
    pty_finish(&p);
}

TEST(line_mode_asks_by_number_when_the_context_is_full)
{
    struct home h;
    struct pty p;
    struct tiny_model m;
    static const char *const argv[] = { QUIP_BINARY, "--temp", "0", "-c", "256", NULL };
    home_make(t, &h, "dumb");
    tiny_model_init(&m);
    m.n_ctx = 256;
    home_add_model(t, &h, "small", &m);
    pty_start(t, &p, argv, h.settings, 24, 80);
    PTY_WAIT(t, &p, "You:");
    pty_type(t, &p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r");
    PTY_WAIT(t, &p, REPLY_END "\nYou:");
    pty_type(t, &p, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
                    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r");
    PTY_WAIT(t, &p, "1  Leave out the oldest turns: The 2 oldest messages");
    PTY_WAIT(t, &p, "3  A larger context (not possible)");
    PTY_WAIT(t, &p, "Choose 1 to 4:");
    pty_type(t, &p, "yes\r");
    PTY_WAIT(t, &p, "A number is wanted");
    pty_type(t, &p, "1\r");
    PTY_WAIT(t, &p, "Left out: 2 messages are no longer read");
    PTY_WAIT(t, &p, REPLY_END "\nYou:");
    pty_type(t, &p, "/stats\r");
    PTY_WAIT(t, &p, "Context:");
    pty_type(t, &p, "/quit\r");
    CHECK_INT(t, pty_wait_end(t, &p), 0);
    pty_finish(&p);
}
