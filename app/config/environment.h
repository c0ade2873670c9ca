/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CONFIG_ENVIRONMENT_H
#define QUIP_APP_CONFIG_ENVIRONMENT_H

#include <stdbool.h>

/* What the program asks of its surroundings, read once; no other file calls getenv. An unset variable is
 * "". Texts live as long as the process's environment. */
struct environment {
    const char *home;
    const char *data_home, *state_home, *cache_home;    /* XDG_DATA_HOME ...; "" unless absolute paths */
    const char *root;                      /* QUIP_ROOT: a folder with assets/ and app/, in place of the tree's */
    const char *term;
    bool no_color;                         /* NO_COLOR is set and not empty */
    bool accessible;                       /* ACCESSIBLE is set and not empty or 0: a screen reader */
    bool over_ssh;
};

void environment_read(struct environment *env);

/* Takes the locale for text from the environment. Where that names no UTF-8 (a bare container says
 * nothing at all), C.UTF-8 is taken, since quip speaks UTF-8 alone. False when the system has none. */
bool environment_use_utf8(void);
/* Whether the environment itself names a locale with UTF-8. */
bool environment_is_utf8(void);

#endif
