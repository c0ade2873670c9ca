/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_VIEW_COMPARE_H
#define QUIP_APP_UI_VIEW_COMPARE_H

#include "app/ui/view.h"

/* Two answers side by side, what both begin with in a quieter style; the question above, what it comes to below. It takes
 * all the room there is over the conversation. */

enum { VIEW_COMPARE_LINES = 3 };

struct view_compare {
    const char *prompt;
    struct {
        const char *label, *status;
        const char *text;
        size_t n_text, n_quiet;        /* bytes; the first n_quiet are shown quietly */
        int32_t n_thoughts;            /* tokens thought before, which are not shown once there is text */
    } sides[2];
    const char *lines[VIEW_COMPARE_LINES];    /* NULL or "": none */

    /* the view's own */
    int32_t top, n_visible, n_lines;
    bool detached;                     /* the person scrolled away from the end */
};
/* key: UI_ACT_ACCEPT for Enter, UI_ACT_FIRST, UI_ACT_SECOND and UI_ACT_THIRD for 1, 2, 3, UI_ACT_KEEP_LEFT and _RIGHT for
 * l and r, UI_ACT_NEXT for n. */
extern const struct ui_view view_compare;

#endif
