/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_LINE_MODE_H
#define QUIP_APP_LOOP_LINE_MODE_H

#include "app/config/exit_code.h"
#include "app/config/option.h"
#include "app/config/paths.h"
#include "engine/base/err.h"

/* The chat as plain lines, for terminals that cannot place the cursor, for screen readers, and for scripts:
 * nothing is ever drawn twice, answers come sentence by sentence. The same commands as in full screen.
 * Errors as talk_create(). */
enum err_code line_mode_run(const struct config *config, const struct paths *paths, enum exit_code *code,
                            struct err *e);

#endif
