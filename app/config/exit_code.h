/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CONFIG_EXIT_CODE_H
#define QUIP_APP_CONFIG_EXIT_CODE_H

/* What the program's exit status says; --help and the README print the same rows. */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILURE = 1,
    EXIT_CODE_USAGE = 2,
    EXIT_CODE_MODEL = 3,
    EXIT_CODE_CONTEXT = 4,
    EXIT_CODE_INTERRUPTED = 130
};

struct exit_code_row {
    enum exit_code code;
    const char *meaning;
};

/* NULL beyond the last. */
const struct exit_code_row *exit_code_row(int i);

#endif
