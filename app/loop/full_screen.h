/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_FULL_SCREEN_H
#define QUIP_APP_LOOP_FULL_SCREEN_H

#include "app/config/environment.h"
#include "app/config/exit_code.h"
#include "app/config/option.h"
#include "app/config/paths.h"
#include "engine/base/err.h"

/* The chat on the whole terminal, until the person leaves; the last exchange is then printed below the
 * shell's prompt. *code is the program's exit status.
 *
 * Errors  ERR_UNSUPPORTED when the terminal cannot place the cursor: line mode is the way then; others as
 *         talk_create() and term_open_ncurses()
 * Signals ends by the signal that ended it, after the terminal is as it was */
enum err_code full_screen_run(const struct config *config, const struct environment *env,
                              const struct paths *paths, enum exit_code *code, struct err *e);

#endif
