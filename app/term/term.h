/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_TERM_TERM_H
#define QUIP_APP_TERM_TERM_H

#include <sys/types.h>

#include "app/term/term_input.h"
#include "app/ui/cell.h"
#include "engine/base/buf.h"
#include "engine/base/err.h"

/* A terminal that shows grids and gives bytes: the real one through ncurses, or none at all for tests.
 *
 *   open -> draw, read + term_input -> suspend -> (stopped) -> resume -> ... -> close
 *
 * Threads  the thread of the screen, but for term_emergency_restore()
 * Signals  none is caught here: the program handles SIGWINCH (term_resize), SIGTSTP and SIGCONT
 *          (term_suspend, term_resume) and the fatal ones (term_emergency_restore), and must have set its
 *          handlers before term_open_ncurses() */
struct term;

struct term_options {
    int32_t max_colors;    /* -1: as many as the terminal has; 0: mono (NO_COLOR) */
    bool ascii;            /* draw with ASCII alone, whatever the locale */
};

struct term_info {
    int32_t n_colors;
    bool utf8;
    bool kitty_keys;          /* the terminal tells Shift+Enter from Enter, and Esc needs no timeout */
    bool synchronized;        /* frames appear whole */
    bool background_known, background_light;    /* once the terminal answered */
};

/* Errors: ERR_IO when there is no terminal, ERR_UNSUPPORTED when it cannot place the cursor (TERM=dumb). */
enum err_code term_open_ncurses(struct term **out, const struct term_options *o, struct err *e);
/* Keeps what was drawn; reads nothing. */
enum err_code term_open_headless(struct term **out, int32_t n_rows, int32_t n_cols, struct err *e);
void term_close(struct term *t);    /* everything as it was, in reverse order; takes NULL */

/* A terminal of its own for polling; -1: none. Never blocks. */
int term_fd(const struct term *t);
/* As read(2): 0 at the end (the terminal is gone), -1 with errno. What was typed before an open or a resume
 * comes first, with Enter as Enter, and polling does not tell of it: read once after each. */
ssize_t term_read(struct term *t, void *bytes, size_t n_bytes);
/* Takes answers of the terminal (TERM_EVENT_REPLY): asks for the keys it offers, notes its colours.
 * True when term_info() changed. */
bool term_reply(struct term *t, const struct term_event *event);
void term_info(const struct term *t, struct term_info *out);

void term_size(const struct term *t, int32_t *n_rows, int32_t *n_cols);
/* Asks the terminal for its size again (after SIGWINCH); true when it differs. Then ui_grid_resize(). */
bool term_resize(struct term *t);
void term_set_theme(struct term *t, const struct ui_theme *theme);
/* Sends what differs from what is shown, settles the grid, leaves the cursor at the caret. */
void term_draw(struct term *t, struct ui_grid *g);
void term_bell(struct term *t);

/* Gives the terminal back, for Ctrl+Z, an external editor, or raw text; and takes it again. After a resume
 * the caller asks for the size (term_resize), forgets the grid (ui_grid_forget) and draws. */
void term_suspend(struct term *t);
void term_resume(struct term *t);

/* For a handler of fatal signals: puts the terminal back with write() and tcsetattr() alone, both
 * async-signal-safe. Does nothing when the terminal is not ours at the moment. The struct lives as long as
 * the terminal. */
struct term_emergency;
const struct term_emergency *term_emergency(const struct term *t);    /* NULL: nothing to restore */
void term_emergency_restore(const struct term_emergency *em);

/* Headless only: what is on the screen, a line per row without blanks at the end; with styles, a second
 * block has a letter per cell for its style. */
void term_headless_text(const struct term *t, bool with_styles, struct buf *out);
void term_headless_set_size(struct term *t, int32_t n_rows, int32_t n_cols);

#endif
