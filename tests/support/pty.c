/* SPDX-License-Identifier: MIT */
#include "tests/support/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void become(const char *const *argv, const char *const *settings)
{
    const char *path = getenv("PATH");
    char keep[4096];
    snprintf(keep, sizeof keep, "%s", path ? path : "/usr/bin:/bin");
    const char *asan = getenv("ASAN_OPTIONS"), *lsan = getenv("LSAN_OPTIONS");
    char options[2][512];
    snprintf(options[0], sizeof options[0], "%s", asan ? asan : "");
    snprintf(options[1], sizeof options[1], "%s", lsan ? lsan : "");
    clearenv();
    setenv("PATH", keep, 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    if (options[0][0])
        setenv("ASAN_OPTIONS", options[0], 1);
    if (options[1][0])
        setenv("LSAN_OPTIONS", options[1], 1);
    for (; settings && *settings; settings++)
        putenv((char *)*settings);
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

void pty_start(struct test *t, struct pty *p, const char *const *argv, const char *const *settings,
               int32_t n_rows, int32_t n_cols)
{
    memset(p, 0, sizeof *p);
    CHECK(t, vt_init(&p->vt, n_rows, n_cols));
    struct winsize size = { .ws_row = (unsigned short)n_rows, .ws_col = (unsigned short)n_cols };
    int slave;
    CHECK(t, openpty(&p->fd, &slave, NULL, NULL, &size) == 0, "%s", strerror(errno));
    tcgetattr(slave, &p->before);
    fflush(NULL);
    p->child = fork();
    CHECK(t, p->child >= 0, "%s", strerror(errno));
    if (p->child == 0) {
        close(p->fd);
        if (login_tty(slave) != 0)
            _exit(126);
        become(argv, settings);
    }
    close(slave);
}

void pty_finish(struct pty *p)
{
    if (!p->ended && p->child > 0) {
        kill(-p->child, SIGKILL);
        kill(p->child, SIGKILL);
        waitpid(p->child, &p->status, 0);
    }
    close(p->fd);
    vt_finish(&p->vt);
    buf_finish(&p->raw);
    buf_finish(&p->screen);
}

/* One read of what is there within ms; false when nothing came or the other side is closed. */
static bool read_some(struct pty *p, int ms)
{
    struct pollfd poller = { .fd = p->fd, .events = POLLIN };
    char bytes[4096];
    if (poll(&poller, 1, ms) <= 0 || !(poller.revents & (POLLIN | POLLHUP)))
        return false;
    ssize_t n = read(p->fd, bytes, sizeof bytes);
    if (n <= 0)
        return false;
    buf_add(&p->raw, bytes, (size_t)n);
    vt_feed(&p->vt, bytes, (size_t)n);
    return true;
}

size_t pty_listen(struct pty *p, int ms)
{
    size_t before = p->raw.n_bytes;
    for (int64_t end = now_ms() + ms, left; (left = end - now_ms()) > 0;)
        if (!read_some(p, (int)left)) {
            struct pollfd none = { .fd = -1 };
            poll(&none, 1, (int)(end - now_ms() > 0 ? end - now_ms() : 0));
        }
    return p->raw.n_bytes - before;
}

void pty_send(struct test *t, struct pty *p, const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        struct pollfd poller = { .fd = p->fd, .events = POLLIN | POLLOUT };
        CHECK(t, poll(&poller, 1, PTY_WAIT_MS) > 0, "the program takes no keys");
        if (poller.revents & POLLIN)
            read_some(p, 0);
        if (!(poller.revents & POLLOUT))
            continue;
        /* A terminal takes a few kilobytes at a time; more would block while its output waits for us. */
        ssize_t n = write(p->fd, bytes, n_bytes < 512 ? n_bytes : 512);
        CHECK(t, n > 0, "%s", strerror(errno));
        bytes += n;
        n_bytes -= (size_t)n;
    }
}

void pty_type(struct test *t, struct pty *p, const char *keys)
{
    pty_send(t, p, keys, strlen(keys));
}

void pty_resize(struct test *t, struct pty *p, int32_t n_rows, int32_t n_cols)
{
    while (read_some(p, 0))
        ;
    struct winsize size = { .ws_row = (unsigned short)n_rows, .ws_col = (unsigned short)n_cols };
    CHECK(t, vt_resize(&p->vt, n_rows, n_cols));
    CHECK(t, ioctl(p->fd, TIOCSWINSZ, &size) == 0, "%s", strerror(errno));
}

void pty_signal(struct pty *p, int number)
{
    kill(p->child, number);
}

const char *pty_screen(struct pty *p)
{
    buf_clear(&p->screen);
    vt_text(&p->vt, &p->screen);
    return buf_text(&p->screen);
}

static bool shows_after(struct pty *p, const char *mark, const char *text)
{
    const char *at = strstr(pty_screen(p), mark);
    return at && strstr(at + strlen(mark), text);
}

bool pty_shows(struct pty *p, const char *text)
{
    return shows_after(p, "", text);
}

bool pty_raw_has(const struct pty *p, const char *bytes)
{
    return p->raw.n_bytes > 0 && memmem(p->raw.data, p->raw.n_bytes, bytes, strlen(bytes)) != NULL;
}

static void wait_until(struct test *t, struct pty *p, const char *mark, const char *text, bool there, const char *file,
                       int line)
{
    int64_t end = now_ms() + PTY_WAIT_MS;
    while (shows_after(p, mark, text) != there) {
        int64_t left = end - now_ms();
        if (left > 0 && read_some(p, left < 100 ? (int)left : 100))
            continue;
        if (left > 0 && waitpid(p->child, &p->status, WNOHANG) == 0)
            continue;
        while (read_some(p, 0))
            ;
        if (shows_after(p, mark, text) == there)
            return;
        fputs(pty_screen(p), stderr);    /* whole; a check's message is cut */
        test_check(t, false, file, line, there ? "the screen shows" : "the screen no longer shows", "%s", text);
    }
}

void pty_wait(struct test *t, struct pty *p, const char *text, bool there, const char *file, int line)
{
    wait_until(t, p, "", text, there, file, line);
}

void pty_wait_after(struct test *t, struct pty *p, const char *mark, const char *text, const char *file, int line)
{
    wait_until(t, p, mark, text, true, file, line);
}

int pty_wait_end(struct test *t, struct pty *p)
{
    int64_t end = now_ms() + PTY_WAIT_MS;
    while (waitpid(p->child, &p->status, WNOHANG) == 0) {
        CHECK(t, now_ms() < end, "the program does not end\n%s", pty_screen(p));
        read_some(p, 20);
    }
    p->ended = true;
    while (read_some(p, 0))
        ;
    return WIFSIGNALED(p->status) ? 256 + WTERMSIG(p->status) : WEXITSTATUS(p->status);
}

bool pty_is_restored(const struct pty *p)
{
    struct termios now;
    return tcgetattr(p->fd, &now) == 0 && now.c_iflag == p->before.c_iflag && now.c_oflag == p->before.c_oflag &&
           now.c_cflag == p->before.c_cflag && now.c_lflag == p->before.c_lflag &&
           memcmp(now.c_cc, p->before.c_cc, sizeof now.c_cc) == 0;
}
