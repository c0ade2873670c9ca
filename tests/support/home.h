/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_HOME_H
#define QUIP_TESTS_SUPPORT_HOME_H

#include "tests/support/test.h"
#include "tests/support/tiny_model.h"

/* A home of its own for the program under test: model folder, history, a list of models and a script that
 * fetches them, all below the case's folder, so that nothing of the person's is read or written. */
enum { HOME_PATH_BYTES = 512, HOME_SETTINGS = 8 };

struct home {
    char folder[HOME_PATH_BYTES];
    char texts[HOME_SETTINGS][HOME_PATH_BYTES + 32];
    const char *settings[HOME_SETTINGS + 1];    /* for pty_start() and shell_run() */
};

/* term: what TERM says. The list of models knows `small` (default) and `big` (recommended), neither here. */
void home_make(struct test *t, struct home *h, const char *term);
/* NAME.gguf in the model folder. */
void home_add_model(struct test *t, const struct home *h, const char *name, const struct tiny_model *m);
/* Two levels of one tiny model, which answers with its reply: `small` at F16, the default, and `small-Q8_0`. */
void home_add_levels(struct test *t, const struct home *h);
void home_path(const struct home *h, const char *below, char out[HOME_PATH_BYTES]);
void home_write(struct test *t, const struct home *h, const char *below, const char *text);

#endif
