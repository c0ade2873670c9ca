/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_EDITOR_H
#define QUIP_APP_UI_EDITOR_H

#include "app/ui/keymap.h"
#include "engine/base/buf.h"

/* A text of several lines being written: motion and deletion by grapheme clusters, wrapped rows, one kill
 * buffer, undo, and the history of what was sent. Text is valid UTF-8 without controls but newline and
 * tab, whatever was typed or pasted. */
struct editor;

enum { EDITOR_MAX_BYTES = 1 << 20, EDITOR_MAX_HISTORY = 1000 };

struct editor *editor_create(void);    /* NULL: no memory */
void editor_destroy(struct editor *ed);

const char *editor_text(const struct editor *ed);    /* until the next change */
size_t editor_n_bytes(const struct editor *ed);
bool editor_is_empty(const struct editor *ed);
size_t editor_caret(const struct editor *ed);        /* offset in bytes */
void editor_set_text(struct editor *ed, const char *text);    /* caret at the end, one undo step */
void editor_clear(struct editor *ed);                         /* can be undone as well */
/* One line only: newlines become blanks, Up and Down go through the history at once. */
void editor_set_single_line(struct editor *ed, bool single_line);
void editor_set_placeholder(struct editor *ed, const char *text);    /* borrowed until replaced */

/* One undo step. Control characters but newline and tab are left out, CR and CRLF become newlines. False
 * when the text would pass EDITOR_MAX_BYTES; nothing is changed then. */
bool editor_paste(struct editor *ed, const char *bytes, size_t n_bytes);
bool editor_insert(struct editor *ed, const char *bytes, size_t n_bytes);    /* typed; merges for undo */

/* UI_ACT_DONE when the key was text or a binding of UI_CTX_EDITOR; UI_ACT_SEND and others of the program
 * come back as they are; UI_ACT_NONE when the editor has no use for it. */
enum ui_action editor_key(struct editor *ed, const struct ui_key *key);
bool editor_do(struct editor *ed, enum ui_action action);    /* false: no action of the editor */

/* Sent texts, newest last. Adding ends the browsing; blank texts and repetitions are not kept, an older
 * equal one moves to the end. */
void editor_history_add(struct editor *ed, const char *text);
/* One text per line, "\n" for newlines and "\\" for backslashes, for a file the caller reads and writes. */
void editor_history_read(struct editor *ed, const char *bytes, size_t n_bytes);
void editor_history_write(const struct editor *ed, struct buf *out);

/* Rows the text takes at this width (1 to max_rows); also what Up and Down go by from now on. */
int32_t editor_layout(struct editor *ed, int32_t n_cols, int32_t max_rows);
/* Draws as many rows as area has around the caret; puts the grid's caret there when focused. */
void editor_draw(struct editor *ed, struct ui_grid *g, struct ui_rect area, bool focused);

#endif
