/* SPDX-License-Identifier: MIT */
/* The real program on a pseudo-terminal, typed into, with a tiny model that answers every question with a
 * known sentence. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/home.h"
#include "tests/support/pty.h"

#define ENTER "\r"
#define ESCAPE "\033"
#define CTRL_C "\003"
#define CTRL_D "\004"
#define CTRL_Z "\032"
#define F1 "\033OP"
#define F2 "\033OQ"
#define F4 "\033OS"
#define F5 "\033[15~"
#define F6 "\033[17~"
#define F9 "\033[20~"
#define CTRL_HOME "\033[1;5H"
#define DOWN "\033[B"
#define UP "\033[A"
#define DELETE "\033[3~"
#define UNDERLINE "\033[0;4m"
#define GREEDY "--temp", "0"
#define REPLY_END "said the tiny model quietly."
#define EMPTY "Type a message"

static const char *const plain[] = { QUIP_BINARY, GREEDY, NULL };
static const char *const long_context[] = { QUIP_BINARY, GREEDY, "-c", "65536", "-n", "-1", NULL };    /* endless */

/* A home with a default model that answers with the reply, or for ever. */
static void make_home(struct test *t, struct home *h, const char *reply, bool endless)
{
    struct tiny_model m;
    home_make(t, h, "xterm-256color");
    tiny_model_init(&m);
    if (reply)
        m.reply = reply;
    m.endless = endless;
    if (endless)
        m.n_ctx = 65536;
    home_add_model(t, h, "small", &m);
}

/* The program with its first screen up, and a model. */
static void start(struct test *t, struct pty *p, const struct home *h, const char *const *argv)
{
    pty_start(t, p, argv, h->settings, 24, 80);
    PTY_WAIT(t, p, EMPTY);
    PTY_WAIT(t, p, "tokens of context");
}

/* Leaves by Ctrl+D, and finds everything as it was. */
static void leave(struct test *t, struct pty *p)
{
    pty_type(t, p, CTRL_D);
    CHECK_INT(t, pty_wait_end(t, p), 0, "%s", pty_screen(p));
    CHECK(t, pty_is_restored(p));
    CHECK(t, !p->vt.alternate && p->vt.caret_visible && !p->vt.paste_mode && !p->vt.focus_mode);
    CHECK_INT(t, p->vt.n_unknown, 0, "%s", p->vt.unknown);
    pty_finish(p);
}

TEST(full_screen_answers_and_leaves_the_exchange_behind)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    CHECK(t, p.vt.alternate && p.vt.paste_mode);
    pty_type(t, &p, "how are you?" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "tok/s");
    PTY_WAIT(t, &p, "how are you?");
    pty_type(t, &p, "and again?" ENTER);
    PTY_WAIT(t, &p, "and again?");
    PTY_WAIT(t, &p, "prompt tokens reused");
    pty_type(t, &p, CTRL_D);
    CHECK_INT(t, pty_wait_end(t, &p), 0);
    CHECK(t, pty_shows(&p, "and again?") && pty_shows(&p, REPLY_END), "%s", pty_screen(&p));
    CHECK(t, pty_is_restored(&p));
    pty_finish(&p);
}

TEST(full_screen_what_was_typed_before_it_came_up_is_sent)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    pty_start(t, &p, plain, h.settings, 24, 80);
    pty_type(t, &p, "too early" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "tok/s");
    PTY_WAIT(t, &p, "too early");
    leave(t, &p);
}

TEST(full_screen_esc_stops_and_keeps_what_came)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, true);
    start(t, &p, &h, long_context);
    pty_type(t, &p, "go on" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "answering");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT(t, &p, "stopped");
    PTY_WAIT_GONE(t, &p, "answering");
    PTY_WAIT(t, &p, "All is well here");
    leave(t, &p);
}

TEST(full_screen_offers_to_stop_an_answer_that_repeats_itself)
{
    static const char *const argv[] = { QUIP_BINARY, "--spec", "8", GREEDY, "-c", "65536", "-n", "-1", NULL };
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, true);
    start(t, &p, &h, argv);
    pty_type(t, &p, "go on" ENTER);
    PTY_WAIT(t, &p, "repeats: Esc stops");
    PTY_WAIT(t, &p, "answering");    /* nothing is cut */
    pty_type(t, &p, ESCAPE);
    PTY_WAIT(t, &p, "stopped");
    PTY_WAIT_GONE(t, &p, "repeats: Esc stops");
    PTY_WAIT(t, &p, "/pass");
    pty_type(t, &p, F5);
    PTY_WAIT(t, &p, "tokens a pass");
    PTY_WAIT(t, &p, "up to 8 tokens at a time");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "tokens a pass");
    CHECK(t, !pty_raw_has(&p, UNDERLINE));
    pty_type(t, &p, ESCAPE "ux");
    PTY_WAIT(t, &p, "\xe2\x80\xba x");
    CHECK(t, pty_raw_has(&p, UNDERLINE));
    pty_type(t, &p, CTRL_C "/spec show" ENTER);
    PTY_WAIT(t, &p, "no longer underlined");
    leave(t, &p);
}

TEST(full_screen_what_is_typed_while_it_answers_waits)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, true);
    start(t, &p, &h, long_context);
    pty_type(t, &p, "first" ENTER);
    PTY_WAIT(t, &p, "answering");
    pty_type(t, &p, "second" ENTER);
    PTY_WAIT(t, &p, "You (waiting)");
    pty_type(t, &p, ESCAPE);    /* stops the answer, and the waiting message is a draft again */
    PTY_WAIT_GONE(t, &p, "You (waiting)");
    PTY_WAIT(t, &p, "stopped");
    PTY_WAIT(t, &p, "\xe2\x80\xba second");
    pty_type(t, &p, CTRL_C);
    PTY_WAIT(t, &p, "Message, or /");
    leave(t, &p);
}

TEST(full_screen_one_key_does_not_throw_a_chat_away)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    pty_type(t, &p, "keep this" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "tok/s");
    pty_type(t, &p, "\x0e");
    PTY_WAIT(t, &p, "Ctrl+N again drops this chat");
    pty_type(t, &p, "x");
    PTY_WAIT_GONE(t, &p, "Ctrl+N again");
    pty_type(t, &p, CTRL_C);
    PTY_WAIT_GONE(t, &p, "\xe2\x80\xba x");
    pty_type(t, &p, "\x0e");
    PTY_WAIT(t, &p, "Ctrl+N again drops this chat");
    PTY_WAIT(t, &p, REPLY_END);
    pty_type(t, &p, "\x0e");
    PTY_WAIT(t, &p, EMPTY);
    leave(t, &p);
}

TEST(full_screen_ctrl_c_clears_then_stops_then_asks_then_leaves)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, true);
    start(t, &p, &h, long_context);
    pty_type(t, &p, "go on" ENTER);
    PTY_WAIT(t, &p, "answering");
    pty_type(t, &p, "a draft");
    PTY_WAIT(t, &p, "a draft");
    pty_type(t, &p, CTRL_C);
    PTY_WAIT_GONE(t, &p, "a draft");
    PTY_WAIT(t, &p, "answering");
    pty_type(t, &p, CTRL_C);
    PTY_WAIT(t, &p, "stopped");
    pty_type(t, &p, CTRL_C);
    PTY_WAIT(t, &p, "Ctrl+C again quits");
    pty_type(t, &p, CTRL_C);
    CHECK_INT(t, pty_wait_end(t, &p), 0);
    CHECK(t, pty_is_restored(&p));
    pty_finish(&p);
}

TEST(full_screen_takes_every_size)
{
    static const int32_t sizes[][2] = { { 12, 40 }, { 40, 120 }, { 5, 20 }, { 1, 1 }, { 60, 300 }, { 24, 80 } };
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    pty_type(t, &p, "how are you?" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pty_resize(t, &p, sizes[i][0], sizes[i][1]);
        if (sizes[i][0] >= 12)
            PTY_WAIT(t, &p, "All is well");
    }
    PTY_WAIT(t, &p, REPLY_END);
    leave(t, &p);
}

TEST(full_screen_help_lists_keys_and_commands)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    pty_type(t, &p, F1);
    PTY_WAIT(t, &p, "this help");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "this help");
    pty_type(t, &p, "/he\t");
    PTY_WAIT(t, &p, "/help");
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "this help");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "this help");
    leave(t, &p);
}

TEST(full_screen_switches_the_model_and_keeps_the_chat)
{
    struct home h;
    struct pty p;
    struct tiny_model m;
    make_home(t, &h, NULL, false);
    tiny_model_init(&m);
    m.reply = "Another voice speaks now.";
    home_add_model(t, &h, "other", &m);
    start(t, &p, &h, plain);
    pty_type(t, &p, "how are you?" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "tok/s");
    pty_type(t, &p, F2);
    PTY_WAIT(t, &p, "in use");
    PTY_WAIT(t, &p, "fetch");
    pty_type(t, &p, "other" ENTER);    /* the filter leaves one row */
    PTY_WAIT(t, &p, "answers from here on");
    PTY_WAIT(t, &p, "how are you?");
    pty_type(t, &p, "who is it?" ENTER);
    PTY_WAIT(t, &p, "Another voice speaks now.");
    pty_type(t, &p, "/model small" ENTER);
    PTY_WAIT(t, &p, "small (");
    pty_type(t, &p, "/model nosuch" ENTER);
    PTY_WAIT(t, &p, "no model or file 'nosuch'");
    leave(t, &p);
}

/* The answer goes on through all of it. */
TEST(full_screen_makes_a_level_and_goes_on_with_it)
{
    struct home h;
    struct pty p;
    struct tiny_model m;
    home_make(t, &h, "xterm-256color");
    tiny_model_init(&m);
    m.weight_type = QUANT_F16;
    m.endless = true;
    m.n_ctx = 65536;
    home_add_model(t, &h, "small", &m);
    static const char *const slow[] = { QUIP_BINARY, GREEDY, "-c", "65536", "-n", "-1", "--spec", "off", NULL };
    start(t, &p, &h, slow);
    pty_type(t, &p, "talk" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    pty_type(t, &p, F2 "q8");
    PTY_WAIT(t, &p, "Q8_0");
    PTY_WAIT(t, &p, "Enter makes it from small.gguf");
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "tokens are read again");
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "Q8_0  cpu");
    PTY_WAIT(t, &p, "answering");
    pty_type(t, &p, ESCAPE "z");
    PTY_WAIT(t, &p, "F16  cpu");
    PTY_WAIT(t, &p, "answering");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "answering");
    leave(t, &p);
}

TEST(full_screen_compares_two_levels)
{
    struct home h;
    struct pty p;
    home_make(t, &h, "xterm-256color");
    home_add_levels(t, &h);
    start(t, &p, &h, plain);
    pty_type(t, &p, F6);
    PTY_WAIT(t, &p, "with F16, which is in use");
    PTY_WAIT(t, &p, "Q8_0");
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "There is no question yet");
    pty_type(t, &p, "how are you?" F6);
    PTY_WAIT(t, &p, "Q8_0");
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "Question: how are you?");
    PTY_WAIT(t, &p, "the same to the end");
    PTY_WAIT(t, &p, "KL from F16");
    PTY_WAIT(t, &p, "times as fast");
    pty_resize(t, &p, 12, 40);
    PTY_WAIT_GONE(t, &p, "Question:");
    PTY_WAIT(t, &p, "1  F16");
    PTY_WAIT(t, &p, "quietly.");
    PTY_WAIT(t, &p, "the same to the end");
    pty_resize(t, &p, 24, 80);
    pty_type(t, &p, "n");
    PTY_WAIT(t, &p, "Next question");
    pty_type(t, &p, "and now?" ENTER);
    PTY_WAIT(t, &p, "Question: and now?");
    PTY_WAIT(t, &p, "KL from F16");
    pty_type(t, &p, "n");
    PTY_WAIT(t, &p, "Next question");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "Next question");
    pty_type(t, &p, "r");
    PTY_WAIT(t, &p, "Q8_0  cpu");
    PTY_WAIT(t, &p, "how are you?");    /* the draft is still there */

    pty_type(t, &p, F6);
    PTY_WAIT(t, &p, "with Q8_0, which is in use");
    PTY_WAIT(t, &p, "best");
    pty_type(t, &p, F6);
    PTY_WAIT(t, &p, "Which is better");
    CHECK(t, !pty_shows(&p, "KL from"), "%s", pty_screen(&p));
    pty_type(t, &p, "3");
    PTY_WAIT(t, &p, "found better: Q8_0 0, F16 0, neither 1");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "Question:");
    pty_type(t, &p, CTRL_C);
    PTY_WAIT_GONE(t, &p, "how are you?");
    leave(t, &p);
}

TEST(full_screen_fetches_a_model_with_progress_and_cancel)
{
    struct home h;
    struct pty p;
    struct tiny_model m;
    char fetched[HOME_PATH_BYTES];
    make_home(t, &h, NULL, false);
    tiny_model_init(&m);
    m.reply = "Fetched and ready.";
    home_path(&h, "fetched.gguf", fetched);
    struct err e;
    CHECK(t, tiny_model_write(&m, fetched, &e) == ERR_OK, "%s", e.text);
    start(t, &p, &h, plain);

    pty_type(t, &p, F2);
    PTY_WAIT(t, &p, "4.0 MB");
    pty_type(t, &p, DOWN ENTER);
    PTY_WAIT(t, &p, "1.0 MB of 4.0 MB");
    pty_type(t, &p, DELETE);
    PTY_WAIT_GONE(t, &p, "1.0 MB of 4.0 MB");
    PTY_WAIT(t, &p, "not whole yet");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "type to filter");

    home_write(t, &h, "fail", "");
    pty_type(t, &p, "/pull big" ENTER);
    PTY_WAIT(t, &p, "no network for this test");

    char path[HOME_PATH_BYTES];
    home_path(&h, "fail", path);
    unlink(path);
    pty_type(t, &p, "/pull big" ENTER);
    PTY_WAIT(t, &p, "fetching 25%");
    home_write(t, &h, "go", "");
    PTY_WAIT(t, &p, "big is here now");
    pty_type(t, &p, "/model big" ENTER);
    PTY_WAIT(t, &p, "answers from here on");
    pty_type(t, &p, "well?" ENTER);
    PTY_WAIT(t, &p, "Fetched and ready.");
    leave(t, &p);
}

TEST(full_screen_without_a_model_offers_the_list)
{
    struct home h;
    struct pty p;
    home_make(t, &h, "xterm-256color");
    pty_start(t, &p, plain, h.settings, 24, 80);
    PTY_WAIT(t, &p, "Models");
    PTY_WAIT(t, &p, "small");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT(t, &p, "no model yet");
    leave(t, &p);

    struct tiny_model m;
    struct err e;
    char fetched[HOME_PATH_BYTES];
    tiny_model_init(&m);
    home_path(&h, "fetched.gguf", fetched);
    CHECK(t, tiny_model_write(&m, fetched, &e) == ERR_OK, "%s", e.text);
    home_write(t, &h, "go", "");
    pty_start(t, &p, plain, h.settings, 24, 80);
    PTY_WAIT(t, &p, "Models");
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "tokens of context");    /* fetched, opened, and the list made room */
    PTY_WAIT_GONE(t, &p, "Models");
    pty_type(t, &p, "hello" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    leave(t, &p);
}

TEST(full_screen_paste_with_newlines_is_not_sent)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    pty_type(t, &p, "\033[200~one\rtwo\x1b]0;title\x07three\033[201~");
    PTY_WAIT(t, &p, "one");
    PTY_WAIT(t, &p, "three");
    pty_listen(&p, 100);
    CHECK(t, !pty_shows(&p, "All is well"), "%s", pty_screen(&p));
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    leave(t, &p);
}

TEST(full_screen_neutralises_what_the_model_says)
{
    struct home h;
    struct pty p;
    make_home(t, &h, "Look \033[2J\033[31mred \033]0;owned\007 done.", false);
    start(t, &p, &h, plain);
    pty_type(t, &p, "speak" ENTER);
    PTY_WAIT(t, &p, "done.");
    CHECK(t, !pty_raw_has(&p, "\033]0;owned") && !pty_raw_has(&p, "\033[2J\033[31mred"));
    PTY_WAIT(t, &p, "\xe2\x90\x9b[31mred");    /* the picture of ESC */
    pty_type(t, &p, CTRL_D);
    CHECK_INT(t, pty_wait_end(t, &p), 0);
    CHECK(t, !pty_raw_has(&p, "\033]0;owned"));
    pty_finish(&p);
}

TEST(full_screen_says_a_full_context_before_sending)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    char text[1200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    pty_type(t, &p, text);
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "the context would overflow");
    PTY_WAIT(t, &p, "has 1217 tokens");
    PTY_WAIT(t, &p, "512, of which 64 are kept");
    PTY_WAIT(t, &p, "xxxxxxxx");    /* the draft is still there */
    CHECK(t, !pty_shows(&p, "All is well"));
    pty_type(t, &p, "\025" CTRL_C "short" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    leave(t, &p);
}

/* ---- a context that fills up ---------------------------------------------------------------------- */

enum { SMALL_CTX = 512 };
static const char *const small_context[] = { QUIP_BINARY, GREEDY, "-c", "512", NULL };

/* A chat whose last message does not fit: the question is on the screen. */
static void fill_context(struct test *t, struct pty *p, struct home *h, int32_t n_ctx_train)
{
    struct tiny_model m;
    home_make(t, h, "xterm-256color");
    tiny_model_init(&m);
    m.n_ctx = (uint32_t)n_ctx_train;
    home_add_model(t, h, "small", &m);
    start(t, p, h, small_context);
    char text[160];
    for (int i = 0; i < 3; i++) {
        int n = snprintf(text, sizeof text, "question %d: ", i + 1);
        memset(text + n, 'a' + i, 90);
        snprintf(text + n + 90, sizeof text - (size_t)n - 90, ENTER);
        pty_type(t, p, text);
        text[10] = '\0';
        PTY_WAIT_AFTER(t, p, text, " tokens \xc2\xb7 first ");    /* what is typed before it has ended waits */
    }
    memset(text, 'd', 140);
    snprintf(text + 140, sizeof text - 140, ENTER);
    pty_type(t, p, text);
    PTY_WAIT(t, p, "The context is full");
    PTY_WAIT(t, p, "Leave out the oldest turns");
}

TEST(full_screen_a_full_context_asks_before_anything_is_dropped)
{
    struct home h;
    struct pty p;
    fill_context(t, &p, &h, SMALL_CTX);
    PTY_WAIT(t, &p, "The model was made for 512 tokens");
    PTY_WAIT(t, &p, "tokens freed");
    pty_type(t, &p, "3");    /* not possible: the question stays */
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "Leave out the oldest turns");
    PTY_WAIT(t, &p, "\xe2\x80\xba dddd");    /* a draft again */
    CHECK(t, !pty_shows(&p, "no longer read"), "%s", pty_screen(&p));
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "Leave out the oldest turns");
    pty_type(t, &p, ENTER);
    PTY_WAIT(t, &p, "are no longer read by the model");
    PTY_WAIT(t, &p, "You ");
    PTY_WAIT(t, &p, "prompt tokens reused");
    pty_type(t, &p, CTRL_HOME);
    PTY_WAIT(t, &p, "You \xc2\xb7 no longer read by the model");
    PTY_WAIT(t, &p, "question 1");
    leave(t, &p);
}

TEST(full_screen_a_full_context_can_be_summarised)
{
    struct home h;
    struct pty p;
    fill_context(t, &p, &h, SMALL_CTX);
    pty_type(t, &p, "2");
    PTY_WAIT(t, &p, "stand in the prompt as a summary of");
    PTY_WAIT(t, &p, REPLY_END);
    pty_type(t, &p, CTRL_HOME);
    PTY_WAIT(t, &p, "You \xc2\xb7 no longer read by the model");
    pty_type(t, &p, "/new" ENTER);
    PTY_WAIT(t, &p, EMPTY);
    leave(t, &p);
}

TEST(full_screen_a_full_context_can_become_larger)
{
    struct home h;
    struct pty p;
    fill_context(t, &p, &h, 4 * SMALL_CTX);
    PTY_WAIT(t, &p, "1024 tokens instead of 512");
    pty_type(t, &p, "3");
    PTY_WAIT(t, &p, "The context holds 1024 tokens now");
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT_GONE(t, &p, "answering");
    CHECK(t, !pty_shows(&p, "no longer read"), "%s", pty_screen(&p));
    leave(t, &p);
}

TEST(full_screen_an_answer_that_fills_the_context_goes_on_in_a_larger_one)
{
    static const char *const argv[] = { QUIP_BINARY, GREEDY, "-c", "128", "-n", "-1", NULL };
    struct home h;
    struct pty p;
    struct tiny_model m;
    home_make(t, &h, "xterm-256color");
    tiny_model_init(&m);
    m.endless = true;
    m.n_ctx = 256;
    home_add_model(t, &h, "small", &m);
    start(t, &p, &h, argv);
    pty_type(t, &p, "go on" ENTER);
    PTY_WAIT(t, &p, "all 128 tokens of the context are used");
    PTY_WAIT(t, &p, "There is no turn before the last one");
    pty_type(t, &p, "3");
    PTY_WAIT(t, &p, "The context holds 256 tokens now");
    PTY_WAIT(t, &p, "/continue goes on where the answer stopped");
    pty_type(t, &p, "/continue" ENTER);
    PTY_WAIT(t, &p, "The context is full");    /* and now there is nothing to choose any more */
    PTY_WAIT(t, &p, "all 256 tokens of the context are used");
    leave(t, &p);
}

TEST(full_screen_figures_and_settings_tell_of_the_cache)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    pty_type(t, &p, "how are you?" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "tok/s");
    pty_type(t, &p, F5);
    PTY_WAIT(t, &p, "Figures");
    PTY_WAIT(t, &p, "Pages of 64 tokens");
    PTY_WAIT(t, &p, "Kept on disk");
    PTY_WAIT(t, &p, "Last prompt");
    pty_type(t, &p, F5);
    PTY_WAIT_GONE(t, &p, "Pages of 64 tokens");
    pty_type(t, &p, "/stats" ENTER);
    PTY_WAIT(t, &p, "Pages of 64 tokens");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "Pages of 64 tokens");
    pty_type(t, &p, F4);
    PTY_WAIT(t, &p, "kv-type-k");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "kv-type-k");
    pty_type(t, &p, "/set kv-type-k f32" ENTER);
    PTY_WAIT(t, &p, "no type of the KV cache");
    pty_type(t, &p, CTRL_C "/set kv-type-k q8_0" ENTER);
    PTY_WAIT(t, &p, "cached as q8_0/f16 now");
    leave(t, &p);
}

TEST(full_screen_loads_a_system_prompt)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    home_write(t, &h, "persona.txt", "You are a lighthouse keeper.\n");
    start(t, &p, &h, plain);
    pty_type(t, &p, F9);
    PTY_WAIT(t, &p, "File to load it from");
    pty_type(t, &p, "~/nosuch" ENTER);
    PTY_WAIT(t, &p, "No such file");
    pty_type(t, &p, "\025~/pers\t" ENTER);
    PTY_WAIT(t, &p, "persona.txt (29 bytes)");
    pty_type(t, &p, "/system" ENTER);
    PTY_WAIT(t, &p, "lighthouse keeper");
    leave(t, &p);
}

TEST(full_screen_remembers_what_was_sent)
{
    struct home h;
    struct pty p;
    struct stat st;
    char path[HOME_PATH_BYTES];
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    pty_type(t, &p, "a question to keep" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "tok/s");
    leave(t, &p);
    home_path(&h, "state/quip/history", path);
    CHECK(t, stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "%s", path);
    start(t, &p, &h, plain);
    pty_type(t, &p, UP);
    PTY_WAIT(t, &p, "a question to keep");
    pty_type(t, &p, CTRL_C);
    leave(t, &p);
}

TEST(full_screen_stops_for_ctrl_z_and_goes_on)
{
    static const char *const shell[] = { "bash", "--norc", "--noprofile", "-i", NULL };
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    pty_start(t, &p, shell, h.settings, 24, 80);
    pty_type(t, &p, "PS1='ready> '\r");
    PTY_WAIT(t, &p, "ready> ");
    pty_type(t, &p, QUIP_BINARY " --temp 0\r");
    PTY_WAIT(t, &p, EMPTY);
    PTY_WAIT(t, &p, "tokens of context");
    pty_type(t, &p, "half a dr" CTRL_Z);
    PTY_WAIT(t, &p, "Stopped");
    PTY_WAIT(t, &p, "ready> ");
    CHECK(t, !p.vt.alternate, "%s", pty_screen(&p));    /* bash turns pastes on for itself */
    pty_type(t, &p, "echo typed-in-the-shell\r");
    PTY_WAIT(t, &p, "\ntyped-in-the-shell");
    pty_type(t, &p, "fg\r");
    PTY_WAIT(t, &p, "half a dr");
    CHECK(t, p.vt.alternate, "%s", pty_screen(&p));
    CHECK(t, p.vt.paste_mode, "%s", pty_screen(&p));
    pty_type(t, &p, "aft" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    pty_type(t, &p, CTRL_D);
    PTY_WAIT(t, &p, "ready>");
    PTY_WAIT(t, &p, "half a draft");
    CHECK(t, !p.vt.alternate);
    pty_finish(&p);
}

TEST(full_screen_every_signal_leaves_the_terminal_as_it_was)
{
    static const int numbers[] = { SIGTERM, SIGHUP, SIGINT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    struct home h;
    make_home(t, &h, NULL, true);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct pty p;
        start(t, &p, &h, long_context);
        pty_type(t, &p, "go on" ENTER);
        PTY_WAIT(t, &p, "answering");
        pty_signal(&p, numbers[i]);
        CHECK_INT(t, pty_wait_end(t, &p), 256 + numbers[i], "signal %d", numbers[i]);
        CHECK(t, pty_is_restored(&p), "signal %d", numbers[i]);
        CHECK(t, !p.vt.alternate && p.vt.caret_visible && !p.vt.paste_mode, "signal %d", numbers[i]);
        pty_finish(&p);
    }
}

/* Processor time of the program so far, in hundredths of a second. */
static unsigned long cpu_ticks(struct test *t, const struct pty *p)
{
    char path[64], line[1024] = "";
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)p->child);
    FILE *f = fopen(path, "r");
    CHECK(t, f && fgets(line, sizeof line, f), "%s", path);
    fclose(f);
    const char *rest = strrchr(line, ')');
    CHECK(t, rest && sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2,
          "%s", line);
    return user + system;
}

TEST(full_screen_an_idle_chat_costs_nothing)
{
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    start(t, &p, &h, plain);
    pty_type(t, &p, "how are you?" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "tok/s");
    pty_listen(&p, 1000);    /* what a pass costs is found out once, in 400 ms */

    unsigned long before = cpu_ticks(t, &p);
    CHECK_INT(t, pty_listen(&p, 2000), 0, "bytes drawn");
    unsigned long spent = cpu_ticks(t, &p) - before;
    CHECK(t, spent <= 1, "%lu ticks in two seconds", spent);
    leave(t, &p);
}

TEST(full_screen_a_bad_model_is_said_without_a_screen)
{
    static const char *const argv[] = { QUIP_BINARY, "-m", "nosuch.gguf", NULL };
    struct home h;
    struct pty p;
    make_home(t, &h, NULL, false);
    pty_start(t, &p, argv, h.settings, 24, 80);
    CHECK_INT(t, pty_wait_end(t, &p), 3);
    CHECK(t, pty_shows(&p, "nosuch.gguf: no such file"), "%s", pty_screen(&p));
    CHECK(t, !pty_raw_has(&p, "\033["));
    pty_finish(&p);
}

TEST(full_screen_a_file_that_is_no_model_is_a_card)
{
    struct home h;
    struct pty p;
    char path[HOME_PATH_BYTES];
    make_home(t, &h, NULL, false);
    home_write(t, &h, "junk.gguf", "this is no model");
    home_path(&h, "junk.gguf", path);
    const char *const argv[] = { QUIP_BINARY, "-m", path, NULL };
    pty_start(t, &p, argv, h.settings, 24, 80);
    PTY_WAIT(t, &p, "could not be opened");
    pty_type(t, &p, "/model small" ENTER);
    PTY_WAIT(t, &p, "small");
    pty_type(t, &p, "hello" ENTER);
    PTY_WAIT(t, &p, "All is well");
    leave(t, &p);
}
