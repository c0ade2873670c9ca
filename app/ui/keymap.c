/* SPDX-License-Identifier: MIT */
#include "app/ui/keymap.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

#define CTRL(letter) { letter, UI_CTRL }
#define ALT(letter) { letter, UI_ALT }
#define PLAIN(code) { code, 0 }

/* The order is that of the help and of the bar. */
static const struct ui_binding bindings[] = {
    { UI_CTX_GLOBAL, PLAIN(UI_KEY_F1), UI_ACT_HELP, "Help", "this help" },
    { UI_CTX_GLOBAL, PLAIN(UI_KEY_F1 + 1), UI_ACT_MODELS, "Model", "models: choose, switch, fetch" },
    { UI_CTX_GLOBAL, PLAIN(UI_KEY_F1 + 3), UI_ACT_SETTINGS, NULL, "settings: sampling, KV cache, device" },
    { UI_CTX_GLOBAL, PLAIN(UI_KEY_F1 + 4), UI_ACT_FIGURES, "Stats", "figures: context, KV cache, speeds" },
    { UI_CTX_GLOBAL, PLAIN(UI_KEY_F1 + 5), UI_ACT_COMPARE, "Compare", "two levels answer the draft, or the last question" },
    { UI_CTX_GLOBAL, PLAIN(UI_KEY_F1 + 8), UI_ACT_SYSTEM_FILE, "System", "load a system prompt from a file" },
    { UI_CTX_GLOBAL, CTRL('n'), UI_ACT_NEW_CHAT, "New", "new chat (twice to confirm)" },
    { UI_CTX_GLOBAL, CTRL('t'), UI_ACT_THINKING, "Think", "fold or unfold thinking" },
    { UI_CTX_GLOBAL, ALT('u'), UI_ACT_DRAFTS, NULL, "underline what came from drafts" },
    { UI_CTX_GLOBAL, ALT('r'), UI_ACT_REGENERATE, NULL, "answer again" },
    { UI_CTX_GLOBAL, ALT('z'), UI_ACT_MODEL_BACK, NULL, "back to the model before this one" },
    { UI_CTX_GLOBAL, PLAIN(UI_KEY_ESC), UI_ACT_STOP, "Stop", "stop the answer and keep what came" },
    { UI_CTX_GLOBAL, CTRL('c'), UI_ACT_INTERRUPT, NULL, "clear the draft, else stop, twice: quit" },
    { UI_CTX_GLOBAL, CTRL('d'), UI_ACT_END_INPUT, "Quit", "quit, when the draft is empty" },
    { UI_CTX_GLOBAL, CTRL('z'), UI_ACT_SUSPEND, NULL, "suspend to the shell" },
    { UI_CTX_GLOBAL, CTRL('l'), UI_ACT_REDRAW, NULL, "draw the screen again" },

    { UI_CTX_EDITOR, PLAIN(UI_KEY_ENTER), UI_ACT_SEND, NULL, "send" },
    { UI_CTX_EDITOR, CTRL('j'), UI_ACT_EDIT_NEWLINE, "Newline", "new line" },
    { UI_CTX_EDITOR, ALT(UI_KEY_ENTER), UI_ACT_EDIT_NEWLINE, NULL, NULL },
    { UI_CTX_EDITOR, { UI_KEY_ENTER, UI_SHIFT }, UI_ACT_EDIT_NEWLINE, NULL, NULL },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_TAB), UI_ACT_COMPLETE, NULL, "complete a command" },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_UP), UI_ACT_EDIT_UP, NULL, "row up; above the first: sent before" },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_DOWN), UI_ACT_EDIT_DOWN, NULL, "row down; below the last: sent after" },
    { UI_CTX_EDITOR, { UI_KEY_UP, UI_CTRL }, UI_ACT_EDIT_HISTORY_BACK, NULL, "what was sent before" },
    { UI_CTX_EDITOR, { UI_KEY_DOWN, UI_CTRL }, UI_ACT_EDIT_HISTORY_FORWARD, NULL, "what was sent after" },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_LEFT), UI_ACT_EDIT_LEFT, NULL, "character left" },
    { UI_CTX_EDITOR, CTRL('b'), UI_ACT_EDIT_LEFT, NULL, NULL },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_RIGHT), UI_ACT_EDIT_RIGHT, NULL, "character right" },
    { UI_CTX_EDITOR, CTRL('f'), UI_ACT_EDIT_RIGHT, NULL, NULL },
    { UI_CTX_EDITOR, { UI_KEY_LEFT, UI_CTRL }, UI_ACT_EDIT_WORD_LEFT, NULL, "word left" },
    { UI_CTX_EDITOR, ALT('b'), UI_ACT_EDIT_WORD_LEFT, NULL, NULL },
    { UI_CTX_EDITOR, ALT(UI_KEY_LEFT), UI_ACT_EDIT_WORD_LEFT, NULL, NULL },
    { UI_CTX_EDITOR, { UI_KEY_RIGHT, UI_CTRL }, UI_ACT_EDIT_WORD_RIGHT, NULL, "word right" },
    { UI_CTX_EDITOR, ALT('f'), UI_ACT_EDIT_WORD_RIGHT, NULL, NULL },
    { UI_CTX_EDITOR, ALT(UI_KEY_RIGHT), UI_ACT_EDIT_WORD_RIGHT, NULL, NULL },
    { UI_CTX_EDITOR, CTRL('a'), UI_ACT_EDIT_LINE_START, NULL, "start of the line" },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_HOME), UI_ACT_EDIT_LINE_START, NULL, NULL },
    { UI_CTX_EDITOR, CTRL('e'), UI_ACT_EDIT_LINE_END, NULL, "end of the line" },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_END), UI_ACT_EDIT_LINE_END, NULL, NULL },
    { UI_CTX_EDITOR, ALT('<'), UI_ACT_EDIT_TEXT_START, NULL, "start of the draft" },
    { UI_CTX_EDITOR, ALT('>'), UI_ACT_EDIT_TEXT_END, NULL, "end of the draft" },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_BACKSPACE), UI_ACT_EDIT_BACKSPACE, NULL, "delete to the left" },
    { UI_CTX_EDITOR, { UI_KEY_BACKSPACE, UI_SHIFT }, UI_ACT_EDIT_BACKSPACE, NULL, NULL },
    { UI_CTX_EDITOR, PLAIN(UI_KEY_DELETE), UI_ACT_EDIT_DELETE, NULL, "delete to the right" },
    { UI_CTX_EDITOR, CTRL('d'), UI_ACT_EDIT_DELETE, NULL, NULL },
    { UI_CTX_EDITOR, CTRL('w'), UI_ACT_EDIT_KILL_WORD_LEFT, NULL, "cut the word to the left" },
    { UI_CTX_EDITOR, ALT(UI_KEY_BACKSPACE), UI_ACT_EDIT_KILL_WORD_LEFT, NULL, NULL },
    { UI_CTX_EDITOR, { UI_KEY_BACKSPACE, UI_CTRL }, UI_ACT_EDIT_KILL_WORD_LEFT, NULL, NULL },
    { UI_CTX_EDITOR, ALT('d'), UI_ACT_EDIT_KILL_WORD_RIGHT, NULL, "cut the word to the right" },
    { UI_CTX_EDITOR, { UI_KEY_DELETE, UI_CTRL }, UI_ACT_EDIT_KILL_WORD_RIGHT, NULL, NULL },
    { UI_CTX_EDITOR, CTRL('u'), UI_ACT_EDIT_KILL_LINE_START, NULL, "cut to the start of the line" },
    { UI_CTX_EDITOR, CTRL('k'), UI_ACT_EDIT_KILL_LINE_END, NULL, "cut to the end of the line" },
    { UI_CTX_EDITOR, CTRL('y'), UI_ACT_EDIT_YANK, NULL, "insert what was cut" },
    { UI_CTX_EDITOR, CTRL('_'), UI_ACT_EDIT_UNDO, NULL, "undo" },

    { UI_CTX_TRANSCRIPT, PLAIN(UI_KEY_PAGE_UP), UI_ACT_SCROLL_PAGE_UP, NULL, "page up" },
    { UI_CTX_TRANSCRIPT, PLAIN(UI_KEY_PAGE_DOWN), UI_ACT_SCROLL_PAGE_DOWN, NULL, "page down" },
    { UI_CTX_TRANSCRIPT, { UI_KEY_UP, UI_SHIFT }, UI_ACT_SCROLL_LINE_UP, NULL, "line up" },
    { UI_CTX_TRANSCRIPT, { UI_KEY_DOWN, UI_SHIFT }, UI_ACT_SCROLL_LINE_DOWN, NULL, "line down" },
    { UI_CTX_TRANSCRIPT, { UI_KEY_HOME, UI_CTRL }, UI_ACT_SCROLL_TOP, NULL, "beginning of the chat" },
    { UI_CTX_TRANSCRIPT, { UI_KEY_END, UI_CTRL }, UI_ACT_SCROLL_END, NULL, "end of the chat, and follow it" },

    { UI_CTX_LIST, PLAIN(UI_KEY_ENTER), UI_ACT_ACCEPT, "Choose", NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_UP), UI_ACT_ITEM_UP, NULL, NULL },
    { UI_CTX_LIST, CTRL('p'), UI_ACT_ITEM_UP, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_DOWN), UI_ACT_ITEM_DOWN, NULL, NULL },
    { UI_CTX_LIST, CTRL('n'), UI_ACT_ITEM_DOWN, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_PAGE_UP), UI_ACT_SCROLL_PAGE_UP, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_PAGE_DOWN), UI_ACT_SCROLL_PAGE_DOWN, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_HOME), UI_ACT_SCROLL_TOP, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_END), UI_ACT_SCROLL_END, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_DELETE), UI_ACT_REMOVE, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_F1 + 2), UI_ACT_MEASURE, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_F1 + 5), UI_ACT_COMPARE, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_ESC), UI_ACT_CLOSE, "Close", NULL },
    { UI_CTX_LIST, CTRL('c'), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_LIST, PLAIN(UI_KEY_F1 + 1), UI_ACT_CLOSE, NULL, NULL },

    { UI_CTX_TEXT, PLAIN(UI_KEY_UP), UI_ACT_SCROLL_LINE_UP, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_DOWN), UI_ACT_SCROLL_LINE_DOWN, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_PAGE_UP), UI_ACT_SCROLL_PAGE_UP, "Up", NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_PAGE_DOWN), UI_ACT_SCROLL_PAGE_DOWN, "Down", NULL },
    { UI_CTX_TEXT, PLAIN(' '), UI_ACT_SCROLL_PAGE_DOWN, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_HOME), UI_ACT_SCROLL_TOP, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_END), UI_ACT_SCROLL_END, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_ESC), UI_ACT_CLOSE, "Close", NULL },
    { UI_CTX_TEXT, PLAIN('q'), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_ENTER), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_TEXT, CTRL('c'), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_F1), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_F1 + 3), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_TEXT, PLAIN(UI_KEY_F1 + 4), UI_ACT_CLOSE, NULL, NULL },

    { UI_CTX_PROMPT, PLAIN(UI_KEY_ENTER), UI_ACT_ACCEPT, "Accept", NULL },
    { UI_CTX_PROMPT, PLAIN(UI_KEY_TAB), UI_ACT_COMPLETE, "Complete", NULL },
    { UI_CTX_PROMPT, PLAIN(UI_KEY_ESC), UI_ACT_CLOSE, "Cancel", NULL },
    { UI_CTX_PROMPT, CTRL('c'), UI_ACT_CLOSE, NULL, NULL },

    { UI_CTX_CONFIRM, PLAIN(UI_KEY_ENTER), UI_ACT_ACCEPT, "Choose", NULL },
    { UI_CTX_CONFIRM, PLAIN(UI_KEY_LEFT), UI_ACT_ITEM_UP, NULL, NULL },
    { UI_CTX_CONFIRM, PLAIN(UI_KEY_UP), UI_ACT_ITEM_UP, NULL, NULL },
    { UI_CTX_CONFIRM, PLAIN(UI_KEY_RIGHT), UI_ACT_ITEM_DOWN, NULL, NULL },
    { UI_CTX_CONFIRM, PLAIN(UI_KEY_DOWN), UI_ACT_ITEM_DOWN, NULL, NULL },
    { UI_CTX_CONFIRM, PLAIN(UI_KEY_TAB), UI_ACT_ITEM_DOWN, NULL, NULL },
    { UI_CTX_CONFIRM, PLAIN(UI_KEY_ESC), UI_ACT_CLOSE, "Cancel", NULL },
    { UI_CTX_CONFIRM, CTRL('c'), UI_ACT_CLOSE, NULL, NULL },

    { UI_CTX_COMPARE, PLAIN(UI_KEY_ENTER), UI_ACT_ACCEPT, "Enough", NULL },
    { UI_CTX_COMPARE, PLAIN('n'), UI_ACT_NEXT, "Next", NULL },
    { UI_CTX_COMPARE, PLAIN('l'), UI_ACT_KEEP_LEFT, "Keep left", NULL },
    { UI_CTX_COMPARE, PLAIN('r'), UI_ACT_KEEP_RIGHT, "Keep right", NULL },
    { UI_CTX_COMPARE, PLAIN('1'), UI_ACT_FIRST, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN('2'), UI_ACT_SECOND, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN('3'), UI_ACT_THIRD, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_UP), UI_ACT_SCROLL_LINE_UP, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_DOWN), UI_ACT_SCROLL_LINE_DOWN, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_PAGE_UP), UI_ACT_SCROLL_PAGE_UP, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_PAGE_DOWN), UI_ACT_SCROLL_PAGE_DOWN, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(' '), UI_ACT_SCROLL_PAGE_DOWN, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_HOME), UI_ACT_SCROLL_TOP, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_END), UI_ACT_SCROLL_END, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_ESC), UI_ACT_CLOSE, "Close", NULL },
    { UI_CTX_COMPARE, PLAIN('q'), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_COMPARE, CTRL('c'), UI_ACT_CLOSE, NULL, NULL },
    { UI_CTX_COMPARE, PLAIN(UI_KEY_F1 + 5), UI_ACT_CLOSE, NULL, NULL },
};

enum { N_BINDINGS = sizeof bindings / sizeof bindings[0] };

enum ui_action keymap_find(enum ui_context context, const struct ui_key *key)
{
    for (int32_t i = 0; i < N_BINDINGS; i++) {
        const struct ui_binding *b = &bindings[i];
        if (b->context == context && b->key.code == key->code && b->key.mods == key->mods)
            return b->action;
    }
    return UI_ACT_NONE;
}

const struct ui_binding *keymap_binding(int32_t i)
{
    return i >= 0 && i < N_BINDINGS ? &bindings[i] : NULL;
}

static const char *special_name(uint32_t code)
{
    switch (code) {
    case UI_KEY_TAB: return "Tab";
    case UI_KEY_ENTER: return "Enter";
    case UI_KEY_ESC: return "Esc";
    case UI_KEY_BACKSPACE: return "Backspace";
    case UI_KEY_UP: return "Up";
    case UI_KEY_DOWN: return "Down";
    case UI_KEY_RIGHT: return "Right";
    case UI_KEY_LEFT: return "Left";
    case UI_KEY_HOME: return "Home";
    case UI_KEY_END: return "End";
    case UI_KEY_INSERT: return "Ins";
    case UI_KEY_DELETE: return "Del";
    case UI_KEY_PAGE_UP: return "PgUp";
    case UI_KEY_PAGE_DOWN: return "PgDn";
    case ' ': return "Space";
    default: return NULL;
    }
}

void keymap_name(const struct ui_key *key, char name[KEYMAP_NAME_BYTES])
{
    char character[5] = { 0 };
    const char *base = special_name(key->code);
    if (key->code >= UI_KEY_F1 && key->code <= UI_KEY_F12) {
        snprintf(character, sizeof character, "F%u", (unsigned)(key->code - UI_KEY_F1 + 1) % 100);
        base = character;
    } else if (!base) {
        uint32_t c = key->code;
        if (key->mods & (UI_CTRL | UI_ALT) && c >= 'a' && c <= 'z')
            c -= 'a' - 'A';
        utf8_encode(character, c);
        base = character;
    }
    snprintf(name, KEYMAP_NAME_BYTES, "%s%s%s%s", key->mods & UI_CTRL ? "Ctrl+" : "",
             key->mods & UI_ALT ? "Alt+" : "", key->mods & UI_SHIFT ? "Shift+" : "", base);
}

void keymap_names(enum ui_context context, enum ui_action action, char *out, size_t out_bytes)
{
    size_t n = 0;
    if (out_bytes == 0)
        return;
    out[0] = '\0';
    for (int32_t i = 0; i < N_BINDINGS; i++) {
        const struct ui_binding *b = &bindings[i];
        char name[KEYMAP_NAME_BYTES];
        if (b->context != context || b->action != action)
            continue;
        keymap_name(&b->key, name);
        int more = snprintf(out + n, out_bytes - n, "%s%s", n ? " / " : "", name);
        if (more < 0 || (size_t)more >= out_bytes - n) {
            out[n] = '\0';    /* only whole names */
            return;
        }
        n += (size_t)more;
    }
}

bool keymap_is_text(const struct ui_key *key)
{
    return key->mods == 0 && key->code >= ' ' && key->code != UI_KEY_BACKSPACE
        && (key->code < 0x80 || key->code >= 0xA0) && key->code < UI_KEY_UP;
}
