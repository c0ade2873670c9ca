/* SPDX-License-Identifier: MIT */
#include "app/config/exit_code.h"

#include <stddef.h>

static const struct exit_code_row rows[] = {
    { EXIT_CODE_OK, "done" },
    { EXIT_CODE_FAILURE, "something failed on the way; stderr says what" },
    { EXIT_CODE_USAGE, "the command line makes no sense" },
    { EXIT_CODE_MODEL, "the model could not be found or opened" },
    { EXIT_CODE_CONTEXT, "the prompt or the answer does not fit into the context" },
    { EXIT_CODE_INTERRUPTED, "stopped by Ctrl+C; what came until then was printed" },
};

const struct exit_code_row *exit_code_row(int i)
{
    return i >= 0 && i < (int)(sizeof rows / sizeof rows[0]) ? &rows[i] : NULL;
}
