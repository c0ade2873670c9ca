/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_VT_H
#define QUIP_TESTS_SUPPORT_VT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"

/* A terminal good enough for what ncurses sends to TERM=xterm-256color: cursor motion, erasing, inserting
 * and deleting, a scrolling region, the alternate screen. Looks are read and forgotten. Sequences it does
 * not know are counted, so that a test notices when something else arrives. */

enum { VT_CELL_BYTES = 24, VT_SEQUENCE_BYTES = 256 };

struct vt_cell {
    char text[VT_CELL_BYTES];    /* UTF-8; "" in the right half of a wide character */
};

struct vt {
    int32_t n_rows, n_cols;
    struct vt_cell *cells;       /* [n_rows][n_cols] of the screen in use */
    struct vt_cell *other;       /* of the one that is not */
    int32_t row, col, top, bottom;
    int32_t saved_row, saved_col, main_row, main_col;
    bool wrap_pending;
    bool alternate, caret_visible, paste_mode, focus_mode;
    uint32_t last_character;
    char sequence[VT_SEQUENCE_BYTES];    /* bytes of what is begun: an escape sequence or a character */
    int32_t n_sequence;
    int32_t n_unknown;
    char unknown[VT_SEQUENCE_BYTES];     /* the last of them */
};

bool vt_init(struct vt *v, int32_t n_rows, int32_t n_cols);
void vt_finish(struct vt *v);
bool vt_resize(struct vt *v, int32_t n_rows, int32_t n_cols);    /* empties the screen */
void vt_feed(struct vt *v, const char *bytes, size_t n_bytes);
/* Rows without blanks at their ends. */
void vt_text(const struct vt *v, struct buf *out);

#endif
