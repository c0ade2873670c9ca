/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "app/term/term.h"
#include "app/ui/theme.h"

/* The real terminal half on a pseudo-terminal: a child draws, this side plays the terminal. Waits are for
 * bytes to come, with a deadline, never for time to pass. */

enum { DEADLINE_MS = 20000 };

struct rig {
    pid_t child;
    int fd;
    struct termios before;
    struct buf seen;
};

static const struct term_emergency *emergency;

static void on_term(int number)
{
    term_emergency_restore(emergency);
    (void)!write(STDOUT_FILENO, "<restored>", 10);
    signal(number, SIG_DFL);
    raise(number);
}

static void draw_text(struct term *term, struct ui_grid *g, const char *text)
{
    ui_grid_begin(g);
    ui_label(g, 1, 2, g->n_cols - 2, text, UI_ACCENT, 0);
    ui_caret(g, 1, 4);
    term_draw(term, g);
}

/* Draws what is typed; 's' gives the terminal back and takes it again, 'q' ends. */
static int child_main(void)
{
    struct term *term;
    struct ui_grid g;
    struct ui_theme theme;
    struct term_input in;
    struct term_event ev;
    struct err e;
    char bytes[256];
    setenv("TERM", "xterm-256color", 1);
    signal(SIGTERM, on_term);
    if (term_open_ncurses(&term, &(struct term_options){ .max_colors = -1 }, &e) != ERR_OK)
        return 3;
    emergency = term_emergency(term);
    theme_make(&theme, 256, false);
    term_set_theme(term, &theme);
    int32_t n_rows, n_cols;
    term_size(term, &n_rows, &n_cols);
    if (!ui_grid_init(&g, n_rows, n_cols))
        return 4;
    term_input_init(&in);
    draw_text(term, &g, "ready 日本");
    for (bool done = false; !done;) {
        struct pollfd p = { .fd = term_fd(term), .events = POLLIN };
        ssize_t n = term_read(term, bytes, sizeof bytes);
        if (n <= 0) {
            if (poll(&p, 1, DEADLINE_MS) <= 0)
                return 5;
            n = term_read(term, bytes, sizeof bytes);
        }
        if (n > 0)
            term_input_feed(&in, bytes, (size_t)n);
        while (term_input_next(&in, &ev)) {
            struct term_info info;
            char text[64];
            if (term_reply(term, &ev) || ev.kind != TERM_EVENT_KEY)
                continue;
            if (ev.key.code == 's') {
                term_suspend(term);
                if (write(STDOUT_FILENO, "<shell>", 7) != 7)
                    return 6;
                term_resume(term);
                ui_grid_forget(&g);
            }
            if (term_resize(term)) {
                term_size(term, &n_rows, &n_cols);
                ui_grid_resize(&g, n_rows, n_cols);
            }
            term_info(term, &info);
            int shown = ev.key.code == UI_KEY_ENTER ? 'E' : (int)ev.key.code;
            snprintf(text, sizeof text, "key %c %dx%d %d%d%d", shown, (int)n_cols, (int)n_rows,
                     info.kitty_keys, info.synchronized, info.background_light);
            draw_text(term, &g, text);
            done = ev.key.code == 'q';
        }
    }
    term_close(term);
    term_input_finish(&in);
    ui_grid_finish(&g);
    return 0;
}

/* early: typed before the program has the terminal. */
static void rig_start_late(struct test *t, struct rig *r, const char *early)
{
    struct winsize size = { .ws_row = 10, .ws_col = 40 };
    int inner;
    *r = (struct rig){ 0 };
    CHECK_INT(t, openpty(&r->fd, &inner, NULL, NULL, &size), 0);
    tcgetattr(r->fd, &r->before);
    CHECK_INT(t, write(r->fd, early, strlen(early)), strlen(early));
    r->child = fork();
    CHECK(t, r->child >= 0);
    if (r->child == 0) {
        close(r->fd);
        _exit(login_tty(inner) == 0 ? child_main() : 7);
    }
    close(inner);
}

static void rig_start(struct test *t, struct rig *r)
{
    rig_start_late(t, r, "");
}

/* Reads until text has come; what was read before it is forgotten. */
static void expect(struct test *t, struct rig *r, const char *text, size_t n_text)
{
    for (;;) {
        char *hit = r->seen.n_bytes ? memmem(r->seen.data, r->seen.n_bytes, text, n_text) : NULL;
        if (hit) {
            size_t end = (size_t)(hit - r->seen.data) + n_text;
            memmove(r->seen.data, r->seen.data + end, r->seen.n_bytes - end);
            r->seen.n_bytes -= end;
            return;
        }
        char bytes[1024];
        struct pollfd p = { .fd = r->fd, .events = POLLIN };
        ssize_t n = poll(&p, 1, DEADLINE_MS) > 0 ? read(r->fd, bytes, sizeof bytes) : 0;
        CHECK(t, n > 0, "waiting for '%s', got '%s'", text, buf_text(&r->seen));
        buf_add(&r->seen, bytes, (size_t)n);
    }
}

static void expect_text(struct test *t, struct rig *r, const char *text)
{
    expect(t, r, text, strlen(text));
}

static void send_text(struct test *t, struct rig *r, const char *text)
{
    CHECK_INT(t, write(r->fd, text, strlen(text)), strlen(text));
}

static int rig_end(struct rig *r)
{
    int status = -1;
    char bytes[1024];
    while (read(r->fd, bytes, sizeof bytes) > 0)    /* so that the child can finish writing */
        ;
    waitpid(r->child, &status, 0);
    close(r->fd);
    buf_finish(&r->seen);
    return status;
}

static void check_settings(struct test *t, struct rig *r)
{
    struct termios now;
    tcgetattr(r->fd, &now);
    CHECK_INT(t, now.c_lflag, r->before.c_lflag);
    CHECK_INT(t, now.c_iflag, r->before.c_iflag);
    CHECK_INT(t, now.c_oflag, r->before.c_oflag);
}

TEST(term_ncurses_asks_draws_and_gives_everything_back)
{
    struct rig r;
    rig_start(t, &r);
    expect_text(t, &r, "\x1b[?1049h");
    expect_text(t, &r, "ready 日本");
    send_text(t, &r, "\x1b[?0u\x1b[?2026;2$y\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b[?62;4c");
    expect_text(t, &r, "\x1b[>1u");
    send_text(t, &r, "a");
    expect_text(t, &r, "\x1b[?2026h");
    expect_text(t, &r, "key a 40x10 111");
    expect_text(t, &r, "\x1b[?2026l");
    send_text(t, &r, "q");
    expect_text(t, &r, "\x1b[<u\x1b[?1004l\x1b[?2004l");
    expect_text(t, &r, "\x1b[?1049l");
    CHECK_INT(t, rig_end(&r), 0);
}

TEST(term_ncurses_takes_xterm_keys_where_there_are_no_better)
{
    struct rig r;
    rig_start(t, &r);
    expect_text(t, &r, "ready");
    send_text(t, &r, "\x1b[?62;4c");
    expect_text(t, &r, "\x1b[>4;1m");
    send_text(t, &r, "a");
    expect_text(t, &r, "key a 40x10 000");
    send_text(t, &r, "q");
    expect_text(t, &r, "\x1b[>4m\x1b[?1004l\x1b[?2004l");
    CHECK_INT(t, rig_end(&r), 0);
}

TEST(term_ncurses_suspends_and_comes_back_at_another_size)
{
    struct rig r;
    rig_start(t, &r);
    expect_text(t, &r, "ready");
    ioctl(r.fd, TIOCSWINSZ, &(struct winsize){ .ws_row = 12, .ws_col = 50 });
    send_text(t, &r, "s");
    expect_text(t, &r, "\x1b[?2004l");
    expect_text(t, &r, "\x1b[?1049l");
    expect_text(t, &r, "<shell>");
    expect_text(t, &r, "\x1b[?2004h");
    expect_text(t, &r, "key s 50x12");
    send_text(t, &r, "q");
    CHECK_INT(t, rig_end(&r), 0);
}

TEST(term_ncurses_restores_the_terminal_from_a_signal)
{
    struct rig r;
    rig_start(t, &r);
    expect_text(t, &r, "ready");
    send_text(t, &r, "\x1b[?0u\x1b[?62c");
    expect_text(t, &r, "\x1b[>1u");
    int held = open(ptsname(r.fd), O_RDWR | O_NOCTTY);    /* settings go with the last one who has it open */
    kill(r.child, SIGTERM);
    expect_text(t, &r, "\x1b[<u\x1b[?1004l\x1b[?2004l");
    expect_text(t, &r, "\x1b[?1049l");
    expect_text(t, &r, "<restored>");
    check_settings(t, &r);
    close(held);
    int status = rig_end(&r);
    CHECK(t, WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST(term_ncurses_keeps_what_was_typed_before_with_enter_as_enter)
{
    struct rig r;
    rig_start_late(t, &r, "a\rb\r");
    expect_text(t, &r, "ready");
    expect_text(t, &r, "key a 40x10");
    expect_text(t, &r, "E");
    expect_text(t, &r, "b");
    expect_text(t, &r, "E");
    send_text(t, &r, "\x0a");
    expect_text(t, &r, "j");    /* from here on a line feed is Ctrl+J again */
    send_text(t, &r, "q");
    CHECK_INT(t, rig_end(&r), 0);
}
