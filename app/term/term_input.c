/* SPDX-License-Identifier: MIT */
#include "app/term/term_input.h"

#include <string.h>

#include "engine/base/utf8.h"

/* States, by what the next unread byte is taken for:
 *
 *   ground    a character, a control key, or ESC
 *   ESC       alone for too long: the Esc key. Else [ begins CSI, O begins SS3, ] P X ^ _ begin a string,
 *             anything else is that key with Alt
 *   CSI       parameters 0x30-0x3F, intermediates 0x20-0x2F, one final byte 0x40-0x7E; any other byte ends
 *             it as malformed and is read again from ground, so a broken sequence never eats what follows
 *   string    up to BEL or ST; OSC 11 is an answer, all others are dropped
 *   paste     bytes as they are up to CSI 201 ~
 *   skipping  the rest of a sequence that grew too long
 *
 * Unread bytes stay in one buffer; a sequence is only taken out of it whole. */

enum { MAX_PARAMS = 8, MAX_STRING_BYTES = 256, MAX_WAITING_BYTES = 1 << 20 };

static const char paste_end[] = "\x1b[201~";
enum { PASTE_END_BYTES = 6 };

void term_input_init(struct term_input *in)
{
    *in = (struct term_input){ .paste = { .max_bytes = TERM_INPUT_PASTE_BYTES + 16 } };
}

void term_input_finish(struct term_input *in)
{
    buf_finish(&in->bytes);
    buf_finish(&in->paste);
    *in = (struct term_input){ 0 };
}

void term_input_feed(struct term_input *in, const void *bytes, size_t n_bytes)
{
    if (in->at > 0 && in->bytes.n_bytes > 0) {
        size_t rest = in->bytes.n_bytes - in->at;
        memmove(in->bytes.data, in->bytes.data + in->at, rest);
        in->bytes.n_bytes = rest;
    }
    in->at = 0;
    if (n_bytes > 0)
        in->timed_out = false;
    if (in->bytes.n_bytes > MAX_WAITING_BYTES)
        return;    /* nobody takes events; the rest is lost rather than memory */
    buf_add(&in->bytes, bytes, n_bytes);
    in->bytes.failed = false;
}

/* ---- keys ----------------------------------------------------------------------------------------- */

static bool key_event(struct term_event *out, uint32_t code, unsigned mods)
{
    *out = (struct term_event){ .kind = TERM_EVENT_KEY, .key = { code, (uint8_t)mods } };
    return true;
}

/* A byte below 0x20, or DEL, as the key that sends it. */
static bool control_event(struct term_event *out, unsigned char c, unsigned mods)
{
    switch (c) {
    case '\t': return key_event(out, UI_KEY_TAB, mods);
    case '\r': return key_event(out, UI_KEY_ENTER, mods);
    case 0x1b: return key_event(out, UI_KEY_ESC, mods);
    case 0x08:
    case 0x7f: return key_event(out, UI_KEY_BACKSPACE, mods);
    case 0: return key_event(out, ' ', mods | UI_CTRL);
    default: break;
    }
    uint32_t letter = c <= 26 ? (uint32_t)c - 1 + 'a' : (uint32_t)c - 28 + '\\';
    return key_event(out, letter, mods | UI_CTRL);    /* 28 to 31 are \ ] ^ _ */
}

/* xterm's parameter: 1 + shift 1 + alt 2 + ctrl 4; super, hyper and locks are left out. */
static unsigned mods_of(int32_t param)
{
    unsigned bits = param > 1 ? (unsigned)param - 1 : 0;
    return (bits & 1 ? UI_SHIFT : 0u) | (bits & 2 ? UI_ALT : 0u) | (bits & 4 ? UI_CTRL : 0u);
}

/* A code point with modifiers, from CSI u or modifyOtherKeys, in the form the plain bytes would give. */
static bool code_point_event(struct term_event *out, int32_t code, unsigned mods)
{
    /* kitty's names for the keypad, from 57399 on; its other private keys mean nothing here. */
    static const uint32_t keypad[] = {
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '.', '/', '*', '-', '+', UI_KEY_ENTER, '=', ',',
        UI_KEY_LEFT, UI_KEY_RIGHT, UI_KEY_UP, UI_KEY_DOWN, UI_KEY_PAGE_UP, UI_KEY_PAGE_DOWN, UI_KEY_HOME,
        UI_KEY_END, UI_KEY_INSERT, UI_KEY_DELETE };
    if (code >= 57399 && code < 57399 + (int32_t)(sizeof keypad / sizeof keypad[0]))
        return key_event(out, keypad[code - 57399], mods);
    if (code < 0 || code > 0x10FFFF || (code >= 0xE000 && code < 0xF900))
        return false;
    if (code < ' ' || code == 0x7f) {
        if (code == '\t' || code == '\r' || code == 0x1b || code == 0x7f || code == 0x08)
            return control_event(out, (unsigned char)code, mods);
        return control_event(out, (unsigned char)code, mods & ~(unsigned)UI_CTRL);
    }
    if (code >= 0x80 && code < 0xA0)
        return false;
    if (mods & (UI_CTRL | UI_ALT) && code >= 'A' && code <= 'Z')
        code += 'a' - 'A';
    else if (mods & UI_SHIFT && !(mods & (UI_CTRL | UI_ALT)) && code >= 'a' && code <= 'z')
        code -= 'a' - 'A';
    return key_event(out, (uint32_t)code, mods & ~(unsigned)UI_SHIFT);
}

static uint32_t letter_key(char final)
{
    switch (final) {
    case 'A': return UI_KEY_UP;
    case 'B': return UI_KEY_DOWN;
    case 'C': return UI_KEY_RIGHT;
    case 'D': return UI_KEY_LEFT;
    case 'F': return UI_KEY_END;
    case 'H': return UI_KEY_HOME;
    case 'P': return UI_KEY_F1;
    case 'Q': return UI_KEY_F1 + 1;
    case 'R': return UI_KEY_F1 + 2;
    case 'S': return UI_KEY_F1 + 3;
    default: return UI_KEY_NONE;
    }
}

static uint32_t tilde_key(int32_t number)
{
    static const uint32_t keys[] = {
        [1] = UI_KEY_HOME, [2] = UI_KEY_INSERT, [3] = UI_KEY_DELETE, [4] = UI_KEY_END,
        [5] = UI_KEY_PAGE_UP, [6] = UI_KEY_PAGE_DOWN, [7] = UI_KEY_HOME, [8] = UI_KEY_END,
        [11] = UI_KEY_F1, [12] = UI_KEY_F1 + 1, [13] = UI_KEY_F1 + 2, [14] = UI_KEY_F1 + 3,
        [15] = UI_KEY_F1 + 4, [17] = UI_KEY_F1 + 5, [18] = UI_KEY_F1 + 6, [19] = UI_KEY_F1 + 7,
        [20] = UI_KEY_F1 + 8, [21] = UI_KEY_F1 + 9, [23] = UI_KEY_F1 + 10, [24] = UI_KEY_F1 + 11 };
    return number >= 0 && number < (int32_t)(sizeof keys / sizeof keys[0]) ? keys[number] : 0;
}

/* ---- CSI ------------------------------------------------------------------------------------------ */

struct csi {
    char prefix;                   /* one of < = > ?, or 0 */
    char intermediate, final;
    int32_t params[MAX_PARAMS];    /* missing: -1; after a colon come sub-parameters, which are left out */
    int32_t n_params;
};

static int32_t param(const struct csi *c, int32_t i, int32_t missing)
{
    return i < c->n_params && c->params[i] >= 0 ? c->params[i] : missing;
}

static void read_params(struct csi *c, const char *bytes, size_t n_bytes)
{
    bool sub = false;
    size_t i = 0;
    if (n_bytes > 0 && strchr("<=>?", bytes[0]))
        c->prefix = bytes[i++];
    c->params[0] = -1;
    c->n_params = 1;
    for (; i < n_bytes; i++) {
        int32_t *p = &c->params[c->n_params - 1];
        if (bytes[i] == ';') {
            sub = false;
            if (c->n_params == MAX_PARAMS)
                return;
            c->params[c->n_params++] = -1;
        } else if (bytes[i] == ':') {
            sub = true;
        } else if (bytes[i] >= '0' && bytes[i] <= '9' && !sub && *p < 100000000) {
            *p = (*p < 0 ? 0 : *p * 10) + (bytes[i] - '0');
        } else if (bytes[i] >= 0x20 && bytes[i] <= 0x2f) {
            c->intermediate = bytes[i];
        }
    }
}

static bool reply_event(struct term_event *out, enum term_reply_kind reply, int32_t mode, int32_t value)
{
    *out = (struct term_event){ .kind = TERM_EVENT_REPLY, .reply = reply, .mode = mode, .value = value };
    return true;
}

static bool private_event(const struct csi *c, struct term_event *out)
{
    if (c->prefix != '?')
        return false;
    if (c->final == 'c')
        return reply_event(out, TERM_REPLY_DEVICE, 0, param(c, 0, 0));
    if (c->final == 'u')
        return reply_event(out, TERM_REPLY_KITTY, 0, param(c, 0, 0));
    if (c->final == 'y' && c->intermediate == '$')
        return reply_event(out, TERM_REPLY_MODE, param(c, 0, 0), param(c, 1, 0));
    return false;
}

static bool focus_event(struct term_event *out, enum term_event_kind kind)
{
    *out = (struct term_event){ .kind = kind };
    return true;
}

/* False: nothing for the program in it. */
static bool csi_event(struct term_input *in, const struct csi *c, struct term_event *out)
{
    unsigned mods = mods_of(param(c, 1, 1));
    if (c->prefix)
        return private_event(c, out);
    if (c->intermediate)
        return false;
    switch (c->final) {
    case '~':
        if (param(c, 0, 0) == 200) {
            in->in_paste = true;
            in->paste_cut = false;
            buf_clear(&in->paste);
            return false;
        }
        if (param(c, 0, 0) == 27)
            return code_point_event(out, param(c, 2, -1), mods);
        /* "CSI 13;2~" is how some terminals are set up to send Shift+Enter; F3 is never sent so with it. */
        if (param(c, 0, 0) == 13 && c->n_params > 1)
            return key_event(out, UI_KEY_ENTER, mods);
        return tilde_key(param(c, 0, 0)) && key_event(out, tilde_key(param(c, 0, 0)), mods);
    case 'u': return code_point_event(out, param(c, 0, -1), mods);
    case 'Z': return key_event(out, UI_KEY_TAB, mods | UI_SHIFT);
    case 'I': return focus_event(out, TERM_EVENT_FOCUS_IN);
    case 'O': return focus_event(out, TERM_EVENT_FOCUS_OUT);
    default:
        return letter_key(c->final) && key_event(out, letter_key(c->final), mods);
    }
}

/* ---- sequences ------------------------------------------------------------------------------------ */

/* What a reader made of the bytes at the front. */
enum found {
    FOUND_EVENT,      /* taken, *out is set */
    FOUND_NOTHING,    /* taken, nothing to tell */
    FOUND_HALF        /* not taken: the rest is missing */
};

static enum found took(struct term_input *in, size_t n_bytes, bool event)
{
    in->at += n_bytes;
    return event ? FOUND_EVENT : FOUND_NOTHING;
}

/* ESC [ ...; p is at ESC. */
static enum found read_csi(struct term_input *in, const char *p, size_t n, struct term_event *out)
{
    size_t i = 2;
    if (n > 2 && p[2] == '[') {    /* the linux console: ESC [ [ A to E are F1 to F5 */
        if (n == 3)
            return FOUND_HALF;
        bool known = p[3] >= 'A' && p[3] <= 'E';
        return took(in, known ? 4 : 3, known && key_event(out, UI_KEY_F1 + (uint32_t)(p[3] - 'A'), 0));
    }
    bool plain = n > 2 && p[2] >= '0' && p[2] <= '9';
    while (i < n && p[i] >= 0x20 && p[i] <= 0x3f && !(plain && p[i] == '$'))    /* rxvt ends with it */
        i++;
    if (i > TERM_INPUT_SEQUENCE_BYTES) {
        in->skipping = true;
        return took(in, i, false);
    }
    if (i == n)
        return FOUND_HALF;
    struct csi c = { 0 };
    read_params(&c, p + 2, i - 2);
    c.final = p[i];
    if (strchr("$^@", c.final) && c.final) {    /* rxvt: shift, ctrl, both */
        uint32_t key = tilde_key(param(&c, 0, 0));
        unsigned mods = c.final == '^' ? UI_CTRL : c.final == '@' ? UI_CTRL | UI_SHIFT : UI_SHIFT;
        return took(in, i + 1, key && key_event(out, key, mods));
    }
    if (c.final < 0x40 || c.final > 0x7e)
        return took(in, i, false);    /* malformed; what broke it is read on its own */
    return took(in, i + 1, csi_event(in, &c, out));
}

/* ESC O x, with a modifier digit between in some terminals. */
static enum found read_ss3(struct term_input *in, const char *p, size_t n, struct term_event *out)
{
    size_t i = 2;
    int32_t modifier = 1;
    if (i < n && p[i] >= '1' && p[i] <= '9')
        modifier = p[i++] - '0';
    if (i == n)
        return FOUND_HALF;
    if (p[i] == 'M')
        return took(in, i + 1, key_event(out, UI_KEY_ENTER, mods_of(modifier)));
    uint32_t key = letter_key(p[i]);
    if (!key && p[i] >= 'a' && p[i] <= 'd') {    /* rxvt: Ctrl and an arrow */
        key = letter_key((char)(p[i] - 'a' + 'A'));
        modifier = 5;
    }
    if (p[i] < 0x40 || p[i] > 0x7e)
        return took(in, i, false);
    return took(in, i + 1, key && key_event(out, key, mods_of(modifier)));
}

/* One to four hexadecimal digits as eight bits; moves *p on. */
static int32_t read_channel(const char **p, const char *end)
{
    int32_t value = 0, digits = 0;
    for (; *p < end && digits < 4; (*p)++, digits++) {
        char c = **p;
        int32_t digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            break;
        value = value * 16 + digit;
    }
    static const int32_t most[] = { 1, 15, 255, 4095, 65535 };
    return digits ? value * 255 / most[digits] : -1;
}

/* "11;rgb:ffff/ffff/ffff", the answer to what colour the background has. */
static bool string_event(const char *text, size_t n, struct term_event *out)
{
    static const char start[] = "11;rgb:";
    size_t n_start = sizeof start - 1;
    int32_t rgb[3];
    if (n < n_start || memcmp(text, start, n_start) != 0)
        return false;
    const char *p = text + n_start, *end = text + n;
    for (int32_t i = 0; i < 3; i++) {
        rgb[i] = read_channel(&p, end);
        if (rgb[i] < 0 || (i < 2 && (p == end || *p++ != '/')))
            return false;
    }
    return reply_event(out, TERM_REPLY_BACKGROUND, 0, rgb[0] << 16 | rgb[1] << 8 | rgb[2]);
}

/* ESC ] ... up to BEL or ESC \ (the other strings alike). */
static enum found read_string(struct term_input *in, const char *p, size_t n, struct term_event *out)
{
    for (size_t i = 2; i < n; i++) {
        bool st = p[i] == 0x1b && i + 1 < n && p[i + 1] == '\\';
        if (p[i] == 0x07 || st)
            return took(in, i + 1 + st, p[1] == ']' && string_event(p + 2, i - 2, out));
        if (p[i] == 0x1b && i + 1 < n)
            return took(in, i, false);    /* malformed; another sequence begins */
        if (i > MAX_STRING_BYTES) {
            in->skipping = true;
            return took(in, i, false);
        }
    }
    return FOUND_HALF;
}

/* The end of a sequence that is dropped: its final byte, or a control that begins something else. */
static enum found skip(struct term_input *in, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x20 || c >= 0x40) {
            in->skipping = false;
            return took(in, i + (c >= 0x40 && c < 0x80), false);
        }
    }
    return took(in, n, false);
}

/* ---- paste ---------------------------------------------------------------------------------------- */

static void add_paste(struct term_input *in, const char *bytes, size_t n_bytes)
{
    size_t room = TERM_INPUT_PASTE_BYTES - in->paste.n_bytes;
    if (n_bytes > room) {
        n_bytes = room;
        in->paste_cut = true;
    }
    if (!buf_add(&in->paste, bytes, n_bytes)) {
        in->paste.failed = false;
        in->paste_cut = true;
    }
}

static bool paste_event(struct term_input *in, struct term_event *out)
{
    in->in_paste = false;
    size_t n = in->paste.n_bytes;
    if (in->paste_cut)
        n -= utf8_incomplete_tail(buf_text(&in->paste), n);
    *out = (struct term_event){ .kind = TERM_EVENT_PASTE, .text = buf_text(&in->paste), .n_text = n,
                                .text_cut = in->paste_cut };
    return true;
}

static enum found read_paste(struct term_input *in, const char *p, size_t n, struct term_event *out)
{
    size_t i = 0;
    while (i < n) {
        const char *esc = memchr(p + i, 0x1b, n - i);
        size_t at = esc ? (size_t)(esc - p) : n;
        add_paste(in, p + i, at - i);
        i = at;
        if (!esc)
            break;
        size_t n_same = n - i < PASTE_END_BYTES ? n - i : PASTE_END_BYTES;
        if (memcmp(p + i, paste_end, n_same) == 0) {
            in->at += i;
            if (n_same < PASTE_END_BYTES)
                return FOUND_HALF;
            return took(in, PASTE_END_BYTES, paste_event(in, out));
        }
        add_paste(in, p + i, 1);
        i++;
    }
    in->at += i;
    return FOUND_HALF;
}

/* ---- one event ------------------------------------------------------------------------------------ */

static enum found read_character(struct term_input *in, const char *p, size_t n, unsigned mods,
                                 size_t n_before, struct term_event *out)
{
    uint32_t c;
    unsigned char first = (unsigned char)p[0];
    if (first < 0x20 || first == 0x7f)
        return took(in, n_before + 1, control_event(out, first, mods));
    if (!in->timed_out && utf8_incomplete_tail(p, n < 4 ? n : 4) == n)
        return FOUND_HALF;
    size_t length = (size_t)utf8_decode(p, n, &c);
    bool shown = c >= ' ' && (c < 0x80 || c >= 0xA0);
    return took(in, n_before + length, shown && key_event(out, c, mods));
}

static enum found read_escape(struct term_input *in, const char *p, size_t n, struct term_event *out)
{
    bool begins = n > 1 && strchr("[O]PX^_", p[1]) && p[1];
    if (n == 1)
        return in->timed_out ? took(in, 1, key_event(out, UI_KEY_ESC, 0)) : FOUND_HALF;
    if (p[1] == 0x1b)    /* the first stands alone; the second may begin something */
        return took(in, 1, key_event(out, UI_KEY_ESC, 0));
    if (begins && in->timed_out && n == 2)    /* nothing followed: Alt and that character */
        return took(in, 2, key_event(out, (unsigned char)p[1], UI_ALT));
    enum found found;
    if (p[1] == '[')
        found = read_csi(in, p, n, out);
    else if (p[1] == 'O')
        found = read_ss3(in, p, n, out);
    else if (begins)
        found = read_string(in, p, n, out);
    else
        found = read_character(in, p + 1, n - 1, UI_ALT, 1, out);
    if (found == FOUND_HALF && in->timed_out)
        return took(in, n, false);
    return found;
}

bool term_input_next(struct term_input *in, struct term_event *out)
{
    while (in->at < in->bytes.n_bytes || (in->in_paste && in->timed_out)) {
        const char *p = buf_text(&in->bytes) + in->at;
        size_t n = in->bytes.n_bytes - in->at;
        enum found found;
        if (in->in_paste)
            found = read_paste(in, p, n, out);
        else if (in->skipping)
            found = skip(in, p, n);
        else if (p[0] == 0x1b)
            found = read_escape(in, p, n, out);
        else
            found = read_character(in, p, n, 0, 0, out);
        if (found == FOUND_EVENT)
            return true;
        if (found == FOUND_HALF) {
            if (!in->in_paste || !in->timed_out)
                return false;
            add_paste(in, buf_text(&in->bytes) + in->at, in->bytes.n_bytes - in->at);
            in->at = in->bytes.n_bytes;
            in->timed_out = false;
            return paste_event(in, out);
        }
    }
    in->timed_out = false;
    return false;
}

int32_t term_input_wait_ms(const struct term_input *in, int32_t escape_ms)
{
    if (in->in_paste)
        return TERM_INPUT_PASTE_MS;
    return in->at < in->bytes.n_bytes || in->skipping ? escape_ms : -1;
}

void term_input_timeout(struct term_input *in)
{
    in->timed_out = true;
    in->skipping = false;
}
