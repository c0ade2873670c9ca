/* SPDX-License-Identifier: MIT */
#include "tests/support/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/buf.h"

enum { SHELL_WAIT_MS = 60000 };

static void become(const char *const *argv, const char *const *settings, const int *in, const int *out,
                   const int *err)
{
    int null = open("/dev/null", O_RDONLY);
    dup2(in ? in[0] : null, STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    close(out[0]);
    close(err[0]);
    if (in)
        close(in[1]);
    for (; settings && *settings; settings++)
        putenv((char *)*settings);
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

/* Feeds and reads until both outputs are closed. */
static void converse(struct test *t, pid_t child, int in, int out, int err, const struct shell_options *o,
                     struct buf *out_text, struct buf *err_text)
{
    const char *left = o->input ? o->input : "";
    bool signalled = o->signal_at == NULL;
    struct buf *texts[2] = { out_text, err_text };
    struct pollfd polls[3] = { { out, POLLIN, 0 }, { err, POLLIN, 0 }, { in, POLLOUT, 0 } };
    while (polls[0].fd >= 0 || polls[1].fd >= 0) {
        if (polls[2].fd >= 0 && !left[0]) {
            close(polls[2].fd);
            polls[2].fd = -1;
        }
        CHECK(t, poll(polls, 3, SHELL_WAIT_MS) > 0, "the program neither ends nor says anything");
        for (int i = 0; i < 2; i++) {
            char bytes[4096];
            if (polls[i].fd < 0 || !polls[i].revents)
                continue;
            ssize_t n = read(polls[i].fd, bytes, sizeof bytes);
            if (n > 0)
                buf_add(texts[i], bytes, (size_t)n);
            else
                polls[i].fd = -1;
        }
        if (polls[2].fd >= 0 && polls[2].revents) {
            ssize_t n = write(polls[2].fd, left, strlen(left));
            left += n > 0 ? (size_t)n : strlen(left);    /* a reader that went away reads no more */
        }
        if (!signalled && (strstr(buf_text(out_text), o->signal_at) || strstr(buf_text(err_text), o->signal_at))) {
            kill(child, o->signal_number);
            signalled = true;
        }
    }
    if (polls[2].fd >= 0)
        close(polls[2].fd);
}

void shell_run(struct test *t, struct shell *s, const char *const *argv, const struct shell_options *o)
{
    int in[2], out[2], err[2], status;
    struct buf out_text = { 0 }, err_text = { 0 };
    signal(SIGPIPE, SIG_IGN);
    CHECK(t, pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0 && pipe2(in, O_CLOEXEC) == 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(t, child >= 0, "%s", strerror(errno));
    if (child == 0) {
        signal(SIGPIPE, SIG_DFL);
        become(argv, o->settings, o->input ? in : NULL, out, err);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    converse(t, child, in[1], out[0], err[0], o, &out_text, &err_text);
    close(out[0]);
    close(err[0]);
    CHECK(t, waitpid(child, &status, 0) == child);
    s->code = WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
    s->n_out = out_text.n_bytes;
    buf_add_text(&out_text, "");
    buf_add_text(&err_text, "");
    s->out = out_text.data ? buf_take(&out_text) : strdup("");
    s->err = err_text.data ? buf_take(&err_text) : strdup("");
}

void shell_finish(struct shell *s)
{
    free(s->out);
    free(s->err);
    memset(s, 0, sizeof *s);
}
