/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_CELL_H
#define QUIP_APP_UI_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the screen half (app/ui) and the terminal half (app/term) share: cells with a meaning instead of
 * a colour, the looks a meaning gets, and keys. Views draw into a grid and never to a terminal.
 *
 *     view -> ui_grid.cells      what the screen should show, drawn whole each time
 *             ui_grid.shown      what the terminal was given last
 *     term -> the difference of both, once per turn of the loop, then ui_grid_settle()
 *
 * Drawing everything and comparing afterwards keeps views free of bookkeeping: a screen of 120x40 is
 * compared in microseconds, and only cells that differ reach the terminal. */

/* ---- styles --------------------------------------------------------------------------------------- */

/* What a cell means. Colours are chosen per theme (theme.h); meaning never rests on colour alone. */
enum ui_style {
    UI_TEXT,
    UI_DIM,          /* there to be found, not to be read first */
    UI_TITLE,
    UI_HEADING,      /* of markdown, of columns, of help sections */
    UI_USER,         /* label of the person's messages */
    UI_MODEL,        /* label of the model's messages */
    UI_SYSTEM,       /* label of system prompts */
    UI_ACCENT,       /* keys, bullets, the prompt sign */
    UI_KEY,          /* key names in bars and help */
    UI_NOTICE,
    UI_WARNING,
    UI_ERROR,
    UI_GOOD,
    UI_THINKING,
    UI_CODE,         /* code blocks and inline code */
    UI_QUOTE,
    UI_LINK,
    UI_STATUS,       /* values of the status bar */
    UI_BAR_LOW,      /* gauges: plenty left, getting full, nearly full, the empty rest */
    UI_BAR_MID,
    UI_BAR_HIGH,
    UI_BAR_EMPTY,
    UI_SELECTION,    /* the chosen row of a list */
    UI_BORDER,
    UI_STYLE_COUNT
};

/* Added to whatever the style brings. */
enum ui_attr {
    UI_BOLD = 1,
    UI_ITALIC = 2,
    UI_UNDERLINE = 4,
    UI_REVERSE = 8,
    UI_FAINT = 16
};

/* The look of one style: indexes into the terminal's palette, -1 for its own colour. */
struct ui_look {
    int16_t foreground, background;
    uint8_t attrs;    /* enum ui_attr */
};

struct ui_theme {
    struct ui_look looks[UI_STYLE_COUNT];
};

/* ---- cells ---------------------------------------------------------------------------------------- */

enum { UI_MARKS = 2 };    /* combining marks kept per cell; the rest of a pile is not shown */

/* One column. A wide character fills a cell of width 2 and the one after it, which has width 0. */
struct ui_cell {
    uint32_t code_point;
    uint32_t marks[UI_MARKS];    /* 0: none */
    uint8_t width;               /* 1, 2, or 0 for the right half */
    uint8_t style;               /* enum ui_style */
    uint8_t attrs;               /* enum ui_attr */
};

struct ui_rect {
    int32_t row, col, n_rows, n_cols;
};

struct ui_grid {
    int32_t n_rows, n_cols;
    struct ui_cell *cells;      /* [n_rows][n_cols] */
    struct ui_cell *shown;      /* same shape; width 255: unknown */
    int32_t caret_row, caret_col;
    bool caret_visible;
};

enum { UI_MAX_ROWS = 1000, UI_MAX_COLS = 2000 };

/* False when there is no memory; the grid is then empty and drawing does nothing. Sizes are held within
 * 1 and the limits above. */
bool ui_grid_init(struct ui_grid *g, int32_t n_rows, int32_t n_cols);
void ui_grid_finish(struct ui_grid *g);
/* Empties the cells; everything counts as damaged. */
bool ui_grid_resize(struct ui_grid *g, int32_t n_rows, int32_t n_cols);

/* The start of a frame: all blank, no caret. */
void ui_grid_begin(struct ui_grid *g);
/* The columns [from, to) of a row that differ from what is shown, never half a wide character; false
 * when none do. */
bool ui_grid_damage(const struct ui_grid *g, int32_t row, int32_t *from, int32_t *to);
/* The terminal has it all now. */
void ui_grid_settle(struct ui_grid *g);
/* What the terminal shows is unknown (after a resume, for a redraw). */
void ui_grid_forget(struct ui_grid *g);
const struct ui_cell *ui_grid_at(const struct ui_grid *g, int32_t row, int32_t col);

/* ---- drawing -------------------------------------------------------------------------------------- */

/* All of these clip to the grid, and take text that may hold anything: it passes neutral.h. Text ends at
 * its first newline. They return the columns used. */

/* At most max_cols columns; a wide character that does not fit whole is left out. */
int32_t ui_text(struct ui_grid *g, int32_t row, int32_t col, int32_t max_cols, const char *text,
                size_t n_bytes, enum ui_style style, unsigned attrs);
/* The same for a NUL-terminated text; what does not fit ends in an ellipsis. */
int32_t ui_label(struct ui_grid *g, int32_t row, int32_t col, int32_t max_cols, const char *text,
                 enum ui_style style, unsigned attrs);
/* Ends before column end_col. */
int32_t ui_label_right(struct ui_grid *g, int32_t row, int32_t end_col, int32_t max_cols, const char *text,
                       enum ui_style style, unsigned attrs);
void ui_put(struct ui_grid *g, int32_t row, int32_t col, uint32_t code_point, enum ui_style style,
            unsigned attrs);
void ui_fill(struct ui_grid *g, struct ui_rect area, enum ui_style style, unsigned attrs);    /* blanks */
void ui_hline(struct ui_grid *g, int32_t row, int32_t col, int32_t n_cols, enum ui_style style);
/* A frame of rounded lines inside the edge of area, with a title (NULL: none) in its top line, its inside
 * blanked. Returns the inside. */
struct ui_rect ui_box(struct ui_grid *g, struct ui_rect area, const char *title, enum ui_style style);
/* A gauge of n_cols columns filled to share (0 to 1) in eighths of a column. */
void ui_gauge(struct ui_grid *g, int32_t row, int32_t col, int32_t n_cols, double share,
              enum ui_style style);
/* Attributes added to whatever the area holds, and its style replaced: the chosen row of a list. */
void ui_highlight(struct ui_grid *g, struct ui_rect area, enum ui_style style, unsigned attrs);
void ui_caret(struct ui_grid *g, int32_t row, int32_t col);
/* Columns a text takes, up to its first newline. */
int32_t ui_text_cols(const char *text);

/* ---- keys ----------------------------------------------------------------------------------------- */

enum ui_mod { UI_SHIFT = 1, UI_ALT = 2, UI_CTRL = 4 };

/* Keys without a character stand above Unicode. */
enum ui_key_code {
    UI_KEY_NONE = 0,
    UI_KEY_TAB = '\t',
    UI_KEY_ENTER = '\r',
    UI_KEY_ESC = 0x1b,
    UI_KEY_BACKSPACE = 0x7f,
    UI_KEY_UP = 0x110000,
    UI_KEY_DOWN,
    UI_KEY_RIGHT,
    UI_KEY_LEFT,
    UI_KEY_HOME,
    UI_KEY_END,
    UI_KEY_INSERT,
    UI_KEY_DELETE,
    UI_KEY_PAGE_UP,
    UI_KEY_PAGE_DOWN,
    UI_KEY_F1,    /* to UI_KEY_F1 + 11 */
    UI_KEY_F12 = UI_KEY_F1 + 11
};

/* Control keys come as the letter with UI_CTRL ('j' for Ctrl+J, '_' for Ctrl+_, ' ' for Ctrl+Space);
 * UI_SHIFT is set only where the character does not show it (arrows, Enter, Tab). */
struct ui_key {
    uint32_t code;    /* a code point or enum ui_key_code */
    uint8_t mods;     /* enum ui_mod */
};

#endif
