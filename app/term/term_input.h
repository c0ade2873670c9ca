/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_TERM_TERM_INPUT_H
#define QUIP_APP_TERM_TERM_INPUT_H

#include "app/ui/cell.h"
#include "engine/base/buf.h"

/* Bytes of a terminal to keys, pastes and answers; no reading, no clock. Understands plain UTF-8, Alt as
 * ESC before a key, SS3 and CSI keys with xterm's modifiers, rxvt's and the linux console's forms, kitty's
 * CSI u, xterm's modifyOtherKeys, bracketed paste, focus, and the answers term asks for. A sequence that
 * is unknown, malformed or longer than TERM_INPUT_SEQUENCE_BYTES is dropped whole; no bytes make it fail. */

enum term_event_kind {
    TERM_EVENT_KEY,
    TERM_EVENT_PASTE,        /* text: as sent, controls included; who inserts it cleans it */
    TERM_EVENT_FOCUS_IN,
    TERM_EVENT_FOCUS_OUT,
    TERM_EVENT_REPLY         /* for term_reply() */
};

enum term_reply_kind {
    TERM_REPLY_DEVICE,       /* primary device attributes: the end of the answers */
    TERM_REPLY_KITTY,        /* value: flags in force */
    TERM_REPLY_MODE,         /* mode, value: 0 unknown, 1 set, 2 reset, 3, 4 permanently so */
    TERM_REPLY_BACKGROUND    /* value: 0xRRGGBB */
};

struct term_event {
    enum term_event_kind kind;
    struct ui_key key;
    const char *text;        /* until the next call with the input */
    size_t n_text;
    bool text_cut;           /* the paste was longer than TERM_INPUT_PASTE_BYTES */
    enum term_reply_kind reply;
    int32_t mode, value;
};

enum {
    TERM_INPUT_SEQUENCE_BYTES = 64,
    TERM_INPUT_PASTE_BYTES = 1 << 20,
    TERM_INPUT_PASTE_MS = 1000    /* a paste without an end is over after this silence */
};

struct term_input {
    struct buf bytes;        /* not yet understood, from at on */
    size_t at;
    struct buf paste;
    bool in_paste, paste_cut, skipping, timed_out;
};

void term_input_init(struct term_input *in);
void term_input_finish(struct term_input *in);
void term_input_feed(struct term_input *in, const void *bytes, size_t n_bytes);
/* False: nothing more without more bytes, or without time passing. */
bool term_input_next(struct term_input *in, struct term_event *out);
/* How long to wait for more bytes before calling term_input_timeout(): -1 when nothing is begun, escape_ms
 * after a lone ESC or a half-finished sequence, TERM_INPUT_PASTE_MS inside a paste. */
int32_t term_input_wait_ms(const struct term_input *in, int32_t escape_ms);
/* What is begun is all there is: a lone ESC is the Esc key. Then call term_input_next() again. */
void term_input_timeout(struct term_input *in);

#endif
