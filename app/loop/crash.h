/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_CRASH_H
#define QUIP_APP_LOOP_CRASH_H

#include "app/term/term.h"

/* A crash must not leave the terminal in raw mode on the alternate screen: handlers of the fatal signals
 * put it back and let the signal do what it does. */
void crash_guard(const struct term_emergency *em);    /* NULL: nothing to put back any more */

#endif
