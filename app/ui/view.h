/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_VIEW_H
#define QUIP_APP_UI_VIEW_H

#include "app/ui/keymap.h"

/* What every part of the screen can do. self is the view's own struct: plain data the caller fills (the
 * view model) followed by what the view remembers (scrolling, the chosen row). Texts in it are borrowed
 * and must live until the next draw. */
struct ui_view {
    const char *name;
    enum ui_context context;    /* whose bindings the bar at the bottom shows */
    /* Rows wanted at this width, at most max_rows. */
    int32_t (*layout)(void *self, int32_t n_cols, int32_t max_rows);
    void (*draw)(void *self, struct ui_grid *g, struct ui_rect area);
    /* UI_ACT_NONE: not mine; UI_ACT_DONE: dealt with; others are for the program. NULL: takes no keys. */
    enum ui_action (*key)(void *self, const struct ui_key *key);
};

#endif
