/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_PTY_H
#define QUIP_TESTS_SUPPORT_PTY_H

#include <sys/types.h>
#include <termios.h>

#include "tests/support/test.h"
#include "tests/support/vt.h"

/* A program on a pseudo-terminal, as a person has it: keys in, a screen out. Waiting is for something to be
 * so, with a deadline; what was on the screen is in the message when it does not come to be. */
struct pty {
    int fd;
    pid_t child;
    struct vt vt;
    struct buf raw;              /* every byte that came */
    struct buf screen;           /* of the last pty_screen() */
    struct termios before;       /* of the terminal, before the program had it */
    bool ended;
    int status;                  /* as of waitpid(), once it ended */
};

enum { PTY_WAIT_MS = 20000 };

/* argv[0] is looked up in PATH; settings are "NAME=value" for the environment, NULL-ended like argv, added
 * to PATH and LC_ALL=C.UTF-8 alone. */
void pty_start(struct test *t, struct pty *p, const char *const *argv, const char *const *settings,
               int32_t n_rows, int32_t n_cols);
void pty_finish(struct pty *p);    /* kills what still runs */

void pty_type(struct test *t, struct pty *p, const char *keys);
void pty_send(struct test *t, struct pty *p, const char *bytes, size_t n_bytes);
void pty_resize(struct test *t, struct pty *p, int32_t n_rows, int32_t n_cols);
void pty_signal(struct pty *p, int number);    /* to the process started */

/* These fail the case at the deadline. */
#define PTY_WAIT(t, p, text) pty_wait((t), (p), (text), true, __FILE__, __LINE__)
#define PTY_WAIT_GONE(t, p, text) pty_wait((t), (p), (text), false, __FILE__, __LINE__)
/* Until the text stands below the mark. */
#define PTY_WAIT_AFTER(t, p, mark, text) pty_wait_after((t), (p), (mark), (text), __FILE__, __LINE__)
void pty_wait(struct test *t, struct pty *p, const char *text, bool there, const char *file, int line);
void pty_wait_after(struct test *t, struct pty *p, const char *mark, const char *text, const char *file, int line);
/* Until the program has ended; its exit status, or 256 + the signal. */
int pty_wait_end(struct test *t, struct pty *p);
/* Reads for this long, whatever comes; how many bytes did. */
size_t pty_listen(struct pty *p, int ms);

const char *pty_screen(struct pty *p);    /* until the next call */
bool pty_shows(struct pty *p, const char *text);
bool pty_raw_has(const struct pty *p, const char *bytes);
/* The settings of the terminal are what they were at the start. */
bool pty_is_restored(const struct pty *p);

#endif
