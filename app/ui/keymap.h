/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_KEYMAP_H
#define QUIP_APP_UI_KEYMAP_H

#include "app/ui/cell.h"

/* The one table of keys. What a key does, the bar at the bottom and the help are read from it. */

enum ui_action {
    UI_ACT_NONE,    /* the key means nothing here: the next one may have it */
    UI_ACT_DONE,    /* the view dealt with it; draw again */

    /* for the program */
    UI_ACT_SEND,
    UI_ACT_STOP,          /* Esc without an overlay */
    UI_ACT_INTERRUPT,     /* Ctrl+C: clear the draft, else stop, else (twice) quit */
    UI_ACT_END_INPUT,     /* Ctrl+D on an empty draft */
    UI_ACT_HELP,
    UI_ACT_MODELS,
    UI_ACT_SETTINGS,
    UI_ACT_FIGURES,
    UI_ACT_COMPARE,
    UI_ACT_SYSTEM_FILE,
    UI_ACT_NEW_CHAT,
    UI_ACT_REGENERATE,
    UI_ACT_MODEL_BACK,
    UI_ACT_THINKING,      /* fold or unfold; the transcript does it, the program may remember it */
    UI_ACT_DRAFTS,        /* underline what came from drafts, or not */
    UI_ACT_COMPLETE,      /* Tab */
    UI_ACT_SUSPEND,
    UI_ACT_REDRAW,

    /* for the editor */
    UI_ACT_EDIT_NEWLINE,
    UI_ACT_EDIT_LEFT, UI_ACT_EDIT_RIGHT, UI_ACT_EDIT_UP, UI_ACT_EDIT_DOWN,
    UI_ACT_EDIT_WORD_LEFT, UI_ACT_EDIT_WORD_RIGHT,
    UI_ACT_EDIT_LINE_START, UI_ACT_EDIT_LINE_END, UI_ACT_EDIT_TEXT_START, UI_ACT_EDIT_TEXT_END,
    UI_ACT_EDIT_BACKSPACE, UI_ACT_EDIT_DELETE,
    UI_ACT_EDIT_KILL_WORD_LEFT, UI_ACT_EDIT_KILL_WORD_RIGHT,
    UI_ACT_EDIT_KILL_LINE_START, UI_ACT_EDIT_KILL_LINE_END,
    UI_ACT_EDIT_YANK, UI_ACT_EDIT_UNDO,
    UI_ACT_EDIT_HISTORY_BACK, UI_ACT_EDIT_HISTORY_FORWARD,

    /* for the transcript, and for whatever else scrolls */
    UI_ACT_SCROLL_LINE_UP, UI_ACT_SCROLL_LINE_DOWN,
    UI_ACT_SCROLL_PAGE_UP, UI_ACT_SCROLL_PAGE_DOWN,
    UI_ACT_SCROLL_TOP, UI_ACT_SCROLL_END,

    /* for overlays; ACCEPT and REMOVE come back to the program */
    UI_ACT_CLOSE,
    UI_ACT_ACCEPT,
    UI_ACT_REMOVE,
    UI_ACT_MEASURE,
    UI_ACT_FIRST, UI_ACT_SECOND, UI_ACT_THIRD,
    UI_ACT_KEEP_LEFT, UI_ACT_KEEP_RIGHT,
    UI_ACT_NEXT,
    UI_ACT_ITEM_UP, UI_ACT_ITEM_DOWN
};

/* Where a binding holds. A look-up takes one context at a time; the caller goes from the inside out. */
enum ui_context {
    UI_CTX_GLOBAL,        /* the chat, whatever has the focus inside it */
    UI_CTX_TRANSCRIPT,
    UI_CTX_EDITOR,
    UI_CTX_LIST,
    UI_CTX_TEXT,
    UI_CTX_PROMPT,
    UI_CTX_CONFIRM,
    UI_CTX_COMPARE
};

struct ui_binding {
    enum ui_context context;
    struct ui_key key;
    enum ui_action action;
    const char *bar;     /* word for the bar at the bottom; NULL: not there */
    const char *help;    /* for the help; NULL: a second key for the action above it */
};

enum ui_action keymap_find(enum ui_context context, const struct ui_key *key);
/* The i-th binding; NULL beyond the last. */
const struct ui_binding *keymap_binding(int32_t i);
/* "Ctrl+J", "F1", "PgUp"; at most 31 bytes and a NUL. */
enum { KEYMAP_NAME_BYTES = 32 };
void keymap_name(const struct ui_key *key, char name[KEYMAP_NAME_BYTES]);
/* "Enter / Ctrl+J": all keys of an action in a context, for help and hints; "" when there is none. */
void keymap_names(enum ui_context context, enum ui_action action, char *out, size_t out_bytes);
/* True for a character that should be typed: no control, no Ctrl, no Alt. */
bool keymap_is_text(const struct ui_key *key);

#endif
