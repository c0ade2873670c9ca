/* SPDX-License-Identifier: MIT */
#include "app/term/term_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#define NCURSES_WIDECHAR 1
#include <ncurses.h>

/* ncurses knows what the terminal can do and what it shows, and sends the difference. Everything else is
 * done here, because ncurses would block on a lone ESC, hide pastes, and catch signals:
 *
 *   - /dev/tty is opened twice. The descriptor for input does not block and is polled; as it has an open
 *     file description of its own, output stays blocking and the shell's descriptors are left alone.
 *   - Modes go on in this order and off in the reverse: line settings (termios), alternate screen, paste
 *     brackets, focus reports, then one of kitty's keys or xterm's modifyOtherKeys, once the terminal has
 *     said what it has. The answers come through term_input and term_reply().
 *   - What was typed before that is in the terminal driver already, with Enter turned into a line feed. It
 *     is taken out when the line settings change and Enter made of it again; Ctrl+J came to the same byte
 *     and is lost.
 *   - The way back is prebuilt as one string for each set of modes, so that a signal handler needs only
 *     write() and tcsetattr().
 *
 * A character whose width the C library sees otherwise than we do would shift the rest of its line; it is
 * drawn as a replacement of our width. Without UTF-8, lines and marks become ASCII. */

enum key_mode { KEYS_PLAIN, KEYS_KITTY, KEYS_XTERM, KEY_MODES };

enum { RESTORE_BYTES = 256, MAX_COLORS = 256, EARLY_BYTES = 4096, REPLACEMENT = 0xFFFD };

struct term_emergency {
    int fd;
    struct termios saved;
    char restore[KEY_MODES][RESTORE_BYTES];
    size_t n_restore[KEY_MODES];
    volatile sig_atomic_t keys;      /* enum key_mode in force */
    volatile sig_atomic_t active;    /* the terminal is ours at the moment */
};

struct curses_term {
    struct term term;
    struct term_options options;
    int in_fd, out_fd;
    FILE *in, *out;
    SCREEN *screen;
    int32_t n_rows, n_cols;
    struct term_info info;
    bool asks;                       /* understands the questions we send */
    bool resized;                    /* by a resume; the next term_resize() says so */
    enum key_mode keys;
    char early[EARLY_BYTES];         /* typed before the line settings were ours; [early_at, n_early) waits */
    size_t early_at, n_early;
    attr_t looks[UI_STYLE_COUNT];
    struct term_emergency emergency;
};

static const char modes_on[] = "\x1b[?2004h\x1b[?1004h";
static const char modes_off[] = "\x1b[?1004l\x1b[?2004l";
static const char *const keys_on[KEY_MODES] = { "", "\x1b[>1u", "\x1b[>4;1m" };
static const char *const keys_off[KEY_MODES] = { "", "\x1b[<u", "\x1b[>4m" };

/* Flags of the keyboard, synchronized frames, background colour; device attributes come last because
 * every terminal answers those. */
static const char questions[] = "\x1b[?u\x1b[?2026$p\x1b]11;?\x1b\\\x1b[c";

/* ---- bytes past ncurses --------------------------------------------------------------------------- */

static void write_all(int fd, const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        ssize_t n = write(fd, bytes, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        bytes += n;
        n_bytes -= (size_t)n;
    }
}

static void write_text(const struct curses_term *c, const char *text)
{
    write_all(c->out_fd, text, strlen(text));
}

void term_emergency_restore(const struct term_emergency *em)
{
    if (!em || !em->active)
        return;
    int saved_errno = errno;
    write_all(em->fd, em->restore[em->keys], em->n_restore[em->keys]);
    tcsetattr(em->fd, TCSANOW, &em->saved);
    errno = saved_errno;
}

/* A capability without the delays it may ask for ("$<5>"). */
static void add_capability(char *out, size_t *n, const char *name)
{
    const char *text = tigetstr(name);
    if (!text || text == (const char *)-1)
        return;
    for (; *text && *n + 1 < RESTORE_BYTES; text++) {
        if (text[0] == '$' && text[1] == '<') {
            const char *end = strchr(text, '>');
            if (!end)
                break;
            text = end;
            continue;
        }
        out[(*n)++] = *text;
    }
}

static void add_text(char *out, size_t *n, const char *text)
{
    size_t length = strlen(text);
    if (*n + length < RESTORE_BYTES) {
        memcpy(out + *n, text, length);
        *n += length;
    }
}

static void build_emergency(struct curses_term *c)
{
    for (int k = 0; k < KEY_MODES; k++) {
        char *out = c->emergency.restore[k];
        size_t *n = &c->emergency.n_restore[k];
        *n = 0;
        if (c->asks) {
            add_text(out, n, "\x1b[?2026l");
            add_text(out, n, keys_off[k]);
            add_text(out, n, modes_off);
        }
        add_capability(out, n, "sgr0");
        add_capability(out, n, "cnorm");
        add_capability(out, n, "rmcup");
    }
    c->emergency.fd = c->out_fd;
}

static void set_keys(struct curses_term *c, enum key_mode keys)
{
    write_text(c, keys_off[c->keys]);
    c->keys = keys;
    c->emergency.keys = (sig_atomic_t)keys;
    write_text(c, keys_on[keys]);
}

/* ---- opening -------------------------------------------------------------------------------------- */

/* The linux console and its like have none of the modes and may print what they do not understand. */
static bool understands_questions(void)
{
    const char *name = termname();
    static const char *const plain[] = { "linux", "vt", "ansi", "cons", "sun", "wsvt" };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (strncmp(name, plain[i], strlen(plain[i])) == 0)
            return false;
    return true;
}

/* Wide characters follow the locale. A program started without one (LANG unset) still sits in a terminal
 * that speaks UTF-8 nowadays. */
static bool choose_locale(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
        return true;
    const char *name = setlocale(LC_CTYPE, NULL);
    if (name && strcmp(name, "C") != 0 && strcmp(name, "POSIX") != 0)
        return false;
    return setlocale(LC_CTYPE, "C.UTF-8") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static void read_size(struct curses_term *c)
{
    struct winsize size;
    if (ioctl(c->out_fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
        c->n_rows = size.ws_row < UI_MAX_ROWS ? size.ws_row : UI_MAX_ROWS;
        c->n_cols = size.ws_col < UI_MAX_COLS ? size.ws_col : UI_MAX_COLS;
    } else if (c->n_rows == 0) {
        c->n_rows = LINES > 0 ? LINES : 24;
        c->n_cols = COLS > 0 ? COLS : 80;
    }
}

/* newterm() installs handlers of its own for these; they are put back. */
static SCREEN *open_screen(FILE *out, FILE *in)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGTSTP, SIGWINCH };
    enum { N = sizeof signals / sizeof signals[0] };
    struct sigaction before[N];
    for (int i = 0; i < N; i++)
        sigaction(signals[i], NULL, &before[i]);
    SCREEN *screen = newterm(NULL, out, in);
    for (int i = 0; i < N; i++)
        sigaction(signals[i], &before[i], NULL);
    return screen;
}

static enum err_code open_files(struct curses_term *c, struct err *e)
{
    c->in_fd = open("/dev/tty", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    c->out_fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (c->in_fd < 0 || c->out_fd < 0)
        return err_set(e, ERR_IO, "/dev/tty: %s", strerror(errno));
    if (tcgetattr(c->out_fd, &c->emergency.saved) != 0)
        return err_set(e, ERR_IO, "/dev/tty: no line settings: %s", strerror(errno));
    /* ncurses wants streams; it reads nothing from the first and writes to the descriptor of the second. */
    c->in = fdopen(dup(c->in_fd), "r");
    c->out = fdopen(dup(c->out_fd), "w");
    if (!c->in || !c->out)
        return err_set(e, ERR_IO, "/dev/tty: %s", strerror(errno));
    return ERR_OK;
}

static void close_files(struct curses_term *c)
{
    if (c->in)
        fclose(c->in);
    if (c->out)
        fclose(c->out);
    if (c->in_fd >= 0)
        close(c->in_fd);
    if (c->out_fd >= 0)
        close(c->out_fd);
}

static void start_colors(struct curses_term *c)
{
    int32_t n = 0;
    if (c->options.max_colors != 0 && has_colors()) {
        start_color();
        use_default_colors();
        n = COLORS < MAX_COLORS ? COLORS : MAX_COLORS;
        if (c->options.max_colors > 0 && n > c->options.max_colors)
            n = c->options.max_colors;
    }
    c->info.n_colors = n;
}

static void take_early(struct curses_term *c)
{
    if (c->early_at < c->n_early)    /* a suspend came before anybody read */
        return;
    ssize_t n = read(c->in_fd, c->early, sizeof c->early);
    c->early_at = 0;
    c->n_early = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < c->n_early && c->emergency.saved.c_iflag & ICRNL; i++)
        if (c->early[i] == '\n')
            c->early[i] = '\r';
}

/* Line settings: every byte as it comes, signals as bytes, no echo. */
static void enter_modes(struct curses_term *c)
{
    raw();
    noecho();
    nonl();
    take_early(c);
    if (c->asks) {
        write_text(c, modes_on);
        write_text(c, keys_on[c->keys]);
    }
    c->emergency.active = 1;
}

static void leave_modes(struct curses_term *c)
{
    if (c->asks) {
        write_text(c, keys_off[c->keys]);
        write_text(c, modes_off);
    }
    curs_set(1);
    endwin();
    c->emergency.active = 0;
    tcsetattr(c->out_fd, TCSANOW, &c->emergency.saved);
}

static void curses_close(struct term *t)
{
    struct curses_term *c = (struct curses_term *)t;
    if (c->screen) {
        if (c->emergency.active)
            leave_modes(c);
        tcflush(c->in_fd, TCIFLUSH);    /* answers that came too late are not for the shell */
        delscreen(c->screen);
    }
    close_files(c);
    free(c);
}

/* ---- drawing -------------------------------------------------------------------------------------- */

static attr_t attrs_of(unsigned attrs)
{
    attr_t a = A_NORMAL;
    a |= attrs & UI_BOLD ? A_BOLD : 0;
    a |= attrs & UI_ITALIC ? A_ITALIC : 0;
    a |= attrs & UI_UNDERLINE ? A_UNDERLINE : 0;
    a |= attrs & UI_REVERSE ? A_REVERSE : 0;
    a |= attrs & UI_FAINT ? A_DIM : 0;
    return a;
}

static void curses_set_theme(struct term *t, const struct ui_theme *theme)
{
    struct curses_term *c = (struct curses_term *)t;
    for (int i = 0; i < UI_STYLE_COUNT; i++) {
        const struct ui_look *look = &theme->looks[i];
        c->looks[i] = attrs_of(look->attrs);
        if (c->info.n_colors >= 8) {
            int foreground = look->foreground < c->info.n_colors ? look->foreground : -1;
            int background = look->background < c->info.n_colors ? look->background : -1;
            init_pair((short)(i + 1), (short)foreground, (short)background);
        }
    }
}

/* ASCII for what the screen draws with. */
static uint32_t ascii_of(uint32_t c)
{
    if (c >= 0x2580 && c <= 0x2590)
        return '#';
    switch (c) {
    case 0x2500: return '-';
    case 0x2502: case 0x250A: case 0x258E: return '|';
    case 0x256D: case 0x256E: case 0x256F: case 0x2570: return '+';
    case 0x2591: return '.';
    case 0x2022: case 0x25E6: case 0x25AA: case 0x25CF: return '*';
    case 0x203A: case 0x25B8: return '>';
    case 0x25BE: case 0x2193: return 'v';
    case 0x00B7: return '-';
    case 0x00D7: return 'x';
    case 0x2026: return '~';
    default: return '?';
    }
}

static void put_cell(const struct curses_term *c, const struct ui_cell *cell)
{
    wchar_t text[CCHARW_MAX] = { 0 };
    uint32_t point = cell->code_point ? cell->code_point : ' ';
    bool replaced = false;
    int n = 0;
    if (point >= 0x7F && !c->info.utf8) {
        point = ascii_of(point);
        replaced = true;
    } else if (point >= 0x7F && wcwidth((wchar_t)point) != cell->width) {
        point = REPLACEMENT;
        replaced = true;
    }
    text[n++] = (wchar_t)point;
    for (int i = 0; i < UI_MARKS && cell->marks[i] && !replaced; i++)
        if (wcwidth((wchar_t)cell->marks[i]) == 0)
            text[n++] = (wchar_t)cell->marks[i];

    cchar_t complex;
    int style = cell->style < UI_STYLE_COUNT ? cell->style : 0;
    short pair = (short)(c->info.n_colors >= 8 ? style + 1 : 0);
    setcchar(&complex, text, c->looks[style] | attrs_of(cell->attrs), pair, NULL);
    add_wch(&complex);    /* fails in the last column of the last row after drawing it */
    if (replaced && cell->width == 2) {
        text[0] = L' ';
        text[1] = 0;
        setcchar(&complex, text, c->looks[style], pair, NULL);
        add_wch(&complex);
    }
}

static void draw_row(const struct curses_term *c, const struct ui_grid *g, int32_t row)
{
    int32_t from, to;
    if (row >= c->n_rows || !ui_grid_damage(g, row, &from, &to) || from >= c->n_cols)
        return;
    move(row, from);
    for (int32_t col = from; col < to && col < c->n_cols; col++) {
        const struct ui_cell *cell = ui_grid_at(g, row, col);
        if (cell->width > 0 && col + cell->width <= c->n_cols)
            put_cell(c, cell);
    }
}

static void curses_draw(struct term *t, struct ui_grid *g)
{
    struct curses_term *c = (struct curses_term *)t;
    if (!c->emergency.active)
        return;
    for (int32_t row = 0; row < g->n_rows; row++)
        draw_row(c, g, row);
    ui_grid_settle(g);
    curs_set(g->caret_visible);
    if (g->caret_visible)
        move(g->caret_row, g->caret_col);
    if (c->info.synchronized)
        write_text(c, "\x1b[?2026h");
    refresh();
    if (c->info.synchronized)
        write_text(c, "\x1b[?2026l");
}

static void curses_bell(struct term *t)
{
    write_text((struct curses_term *)t, "\a");
}

/* ---- the rest of the interface -------------------------------------------------------------------- */

static int curses_fd(const struct term *t)
{
    return ((const struct curses_term *)t)->in_fd;
}

static ssize_t curses_read(struct term *t, void *bytes, size_t n_bytes)
{
    struct curses_term *c = (struct curses_term *)t;
    size_t n = c->n_early - c->early_at;
    if (n == 0)
        return read(c->in_fd, bytes, n_bytes);
    if (n > n_bytes)
        n = n_bytes;
    memcpy(bytes, c->early + c->early_at, n);
    c->early_at += n;
    return (ssize_t)n;
}

/* Kitty's flags are answered before the device attributes or not at all. */
static bool curses_reply(struct term *t, const struct term_event *event)
{
    struct curses_term *c = (struct curses_term *)t;
    if (event->kind != TERM_EVENT_REPLY || !c->emergency.active)
        return false;
    switch (event->reply) {
    case TERM_REPLY_KITTY:
        if (c->keys == KEYS_KITTY)
            return false;
        set_keys(c, KEYS_KITTY);
        c->info.kitty_keys = true;
        return true;
    case TERM_REPLY_DEVICE:
        if (c->keys == KEYS_PLAIN)
            set_keys(c, KEYS_XTERM);
        return false;
    case TERM_REPLY_MODE:
        if (event->mode != 2026)
            return false;
        c->info.synchronized = event->value == 1 || event->value == 2;
        return true;
    case TERM_REPLY_BACKGROUND: {
        int32_t red = event->value >> 16 & 255, green = event->value >> 8 & 255, blue = event->value & 255;
        c->info.background_known = true;
        c->info.background_light = red * 299 + green * 587 + blue * 114 > 128 * 1000;
        return true;
    }
    default:
        return false;
    }
}

static void curses_info(const struct term *t, struct term_info *out)
{
    *out = ((const struct curses_term *)t)->info;
}

static void curses_size(const struct term *t, int32_t *n_rows, int32_t *n_cols)
{
    const struct curses_term *c = (const struct curses_term *)t;
    *n_rows = c->n_rows;
    *n_cols = c->n_cols;
}

static bool curses_resize(struct term *t)
{
    struct curses_term *c = (struct curses_term *)t;
    int32_t n_rows = c->n_rows, n_cols = c->n_cols;
    bool changed = c->resized;
    c->resized = false;
    read_size(c);
    if (n_rows == c->n_rows && n_cols == c->n_cols)
        return changed;
    resizeterm(c->n_rows, c->n_cols);
    return true;
}

static void curses_suspend(struct term *t)
{
    struct curses_term *c = (struct curses_term *)t;
    if (c->emergency.active)
        leave_modes(c);
}

static void curses_resume(struct term *t)
{
    struct curses_term *c = (struct curses_term *)t;
    if (c->emergency.active)
        return;
    /* The shell may have changed its line settings meanwhile; these are what we must leave behind. */
    tcgetattr(c->out_fd, &c->emergency.saved);
    def_shell_mode();
    reset_prog_mode();
    c->resized = curses_resize(t);
    enter_modes(c);
    clearok(curscr, TRUE);
    refresh();
}

static const struct term_emergency *curses_emergency(const struct term *t)
{
    return &((const struct curses_term *)t)->emergency;
}

static const struct term_ops curses_ops = {
    .close = curses_close, .fd = curses_fd, .read = curses_read, .reply = curses_reply,
    .info = curses_info, .size = curses_size, .resize = curses_resize, .set_theme = curses_set_theme,
    .draw = curses_draw, .bell = curses_bell, .suspend = curses_suspend, .resume = curses_resume,
    .emergency = curses_emergency };

enum err_code term_open_ncurses(struct term **out, const struct term_options *o, struct err *e)
{
    struct curses_term *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for the terminal");
    c->term.ops = &curses_ops;
    c->options = *o;
    c->in_fd = c->out_fd = -1;
    enum err_code rc = open_files(c, e);
    if (rc != ERR_OK)
        goto fail;
    c->info.utf8 = choose_locale() && !o->ascii;
    c->screen = open_screen(c->out, c->in);
    if (!c->screen) {
        rc = err_set(e, ERR_UNSUPPORTED, "this kind of terminal is not known to ncurses");
        goto fail;
    }
    if (!tigetstr("cup") || tigetflag("gn") > 0) {
        endwin();
        rc = err_set(e, ERR_UNSUPPORTED, "terminal '%s' cannot place its cursor", termname());
        goto fail;
    }
    c->asks = understands_questions();
    read_size(c);
    resizeterm(c->n_rows, c->n_cols);
    start_colors(c);
    build_emergency(c);
    enter_modes(c);
    if (c->asks)
        write_text(c, questions);
    *out = &c->term;
    return ERR_OK;
fail:
    curses_close(&c->term);
    return rc;
}
