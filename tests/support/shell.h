/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_SHELL_H
#define QUIP_TESTS_SUPPORT_SHELL_H

#include "tests/support/test.h"

/* A program with pipes instead of a terminal, run to its end. */
struct shell {
    char *out, *err;    /* NUL-terminated; n_out counts bytes, for output that has NULs */
    size_t n_out;
    int code;           /* exit status, or 256 + the signal */
};

/* argv[0] is a path; settings as for pty_start(). input NULL: stdin is /dev/null. When signal_at is not
 * NULL, the program gets signal_number as soon as that text stands in what it has written. */
struct shell_options {
    const char *const *settings;
    const char *input;
    const char *signal_at;
    int signal_number;
};
void shell_run(struct test *t, struct shell *s, const char *const *argv, const struct shell_options *o);
void shell_finish(struct shell *s);

#endif
