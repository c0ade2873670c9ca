/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_SCREEN_H
#define QUIP_APP_UI_SCREEN_H

#include "app/ui/editor.h"
#include "app/ui/view_bars.h"
#include "app/ui/view_overlay.h"
#include "app/ui/view_transcript.h"

/* The chat as a whole. The program fills the view models, calls screen_draw() when something changed, and
 * sends keys through screen_key().
 *
 *   header         1
 *   rule           1, from 16 rows on
 *   transcript     the rest
 *   rule           1
 *   editor         1 to 10, at most a third of the screen
 *   status         1
 *   keys           1
 *
 * An overlay lies centred over the transcript and has the keys while it is there. */
struct screen {
    struct view_header header;
    struct view_transcript transcript;
    struct editor *editor;            /* the caller's */
    struct view_status status;
    struct view_keys keys;
    const struct ui_view *overlay;    /* NULL: none */
    void *overlay_self;
};

/* Draws the frame into g: begins it, all views, the caret. */
void screen_draw(struct screen *s, struct ui_grid *g);
/* The overlay; without one the editor, the chat's bindings, the transcript: the first who wants the key
 * gets it.
 * UI_ACT_CLOSE has already taken the overlay away when it comes back (the caller frees what it lent);
 * UI_ACT_THINKING has already folded. */
enum ui_action screen_key(struct screen *s, const struct ui_key *key);
/* Pasted text goes to the editor, to the prompt's editor while that overlay is open, or nowhere. */
bool screen_paste(struct screen *s, const char *bytes, size_t n_bytes);

#endif
