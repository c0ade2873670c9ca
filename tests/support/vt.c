/* SPDX-License-Identifier: MIT */
#include "tests/support/vt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "engine/base/utf8.h"

enum { ESC = 0x1b, MAX_PARAMS = 16 };

static struct vt_cell *cell_at(struct vt *v, int32_t row, int32_t col)
{
    return &v->cells[row * v->n_cols + col];
}

static void blank(struct vt *v, int32_t row, int32_t from, int32_t to)
{
    for (int32_t col = from < 0 ? 0 : from; col < to && col < v->n_cols; col++)
        strcpy(cell_at(v, row, col)->text, " ");
}

static void blank_rows(struct vt *v, int32_t from, int32_t to)
{
    for (int32_t row = from; row < to; row++)
        blank(v, row, 0, v->n_cols);
}

bool vt_init(struct vt *v, int32_t n_rows, int32_t n_cols)
{
    memset(v, 0, sizeof *v);
    v->caret_visible = true;
    return vt_resize(v, n_rows, n_cols);
}

void vt_finish(struct vt *v)
{
    free(v->cells);
    free(v->other);
    memset(v, 0, sizeof *v);
}

bool vt_resize(struct vt *v, int32_t n_rows, int32_t n_cols)
{
    size_t n = (size_t)n_rows * (size_t)n_cols;
    struct vt_cell *cells = calloc(n, sizeof *cells), *other = calloc(n, sizeof *other);
    if (!cells || !other) {
        free(cells);
        free(other);
        return false;
    }
    free(v->cells);
    free(v->other);
    v->n_rows = n_rows;
    v->n_cols = n_cols;
    v->other = cells;
    v->cells = other;
    blank_rows(v, 0, n_rows);
    memcpy(v->other, v->cells, n * sizeof *cells);
    v->row = v->col = v->top = 0;
    v->bottom = n_rows - 1;
    v->wrap_pending = false;
    return true;
}

/* ---- moving and erasing --------------------------------------------------------------------------- */

static int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void move(struct vt *v, int32_t row, int32_t col)
{
    v->row = clamp(row, 0, v->n_rows - 1);
    v->col = clamp(col, 0, v->n_cols - 1);
    v->wrap_pending = false;
}

/* Rows top..bottom go up by n (down when negative). */
static void scroll(struct vt *v, int32_t top, int32_t bottom, int32_t n)
{
    size_t row_bytes = (size_t)v->n_cols * sizeof *v->cells;
    int32_t height = bottom - top + 1;
    int32_t by = clamp(n < 0 ? -n : n, 0, height);
    if (n > 0) {
        memmove(cell_at(v, top, 0), cell_at(v, top + by >= v->n_rows ? top : top + by, 0),
                (size_t)(height - by) * row_bytes);
        blank_rows(v, bottom + 1 - by, bottom + 1);
    } else {
        memmove(cell_at(v, top + by > bottom ? bottom : top + by, 0), cell_at(v, top, 0),
                (size_t)(height - by) * row_bytes);
        blank_rows(v, top, top + by);
    }
}

static void line_feed(struct vt *v)
{
    if (v->row == v->bottom)
        scroll(v, v->top, v->bottom, 1);
    else if (v->row < v->n_rows - 1)
        v->row++;
    v->wrap_pending = false;
}

static void put(struct vt *v, uint32_t code_point)
{
    char bytes[4];
    int n_bytes = utf8_encode(bytes, code_point);
    int width = utf8proc_charwidth((utf8proc_int32_t)code_point);
    if (width <= 0) {    /* joins the character before */
        struct vt_cell *last = cell_at(v, v->row, v->wrap_pending || v->col == 0 ? v->col : v->col - 1);
        size_t n = strlen(last->text);
        if (n + (size_t)n_bytes < sizeof last->text) {
            memcpy(last->text + n, bytes, (size_t)n_bytes);
            last->text[n + (size_t)n_bytes] = '\0';
        }
        return;
    }
    if (v->wrap_pending || v->col + width > v->n_cols) {
        v->col = 0;
        line_feed(v);
    }
    struct vt_cell *cell = cell_at(v, v->row, v->col);
    memcpy(cell->text, bytes, (size_t)n_bytes);
    cell->text[n_bytes] = '\0';
    if (width == 2)
        cell_at(v, v->row, v->col + 1)->text[0] = '\0';
    v->last_character = code_point;
    v->col += width;
    if (v->col >= v->n_cols) {
        v->col = v->n_cols - 1;
        v->wrap_pending = true;
    }
}

static void shift_cells(struct vt *v, int32_t n)    /* positive: insert blanks, negative: delete */
{
    int32_t by = clamp(n < 0 ? -n : n, 0, v->n_cols - v->col);
    size_t keep = (size_t)(v->n_cols - v->col - by) * sizeof *v->cells;
    struct vt_cell *at = cell_at(v, v->row, v->col);
    if (n > 0) {
        memmove(at + by, at, keep);
        blank(v, v->row, v->col, v->col + by);
    } else {
        memmove(at, at + by, keep);
        blank(v, v->row, v->n_cols - by, v->n_cols);
    }
}

static void erase_screen(struct vt *v, int32_t what)
{
    if (what == 0) {
        blank(v, v->row, v->col, v->n_cols);
        blank_rows(v, v->row + 1, v->n_rows);
    } else if (what == 1) {
        blank_rows(v, 0, v->row);
        blank(v, v->row, 0, v->col + 1);
    } else {
        blank_rows(v, 0, v->n_rows);
    }
}

static void use_alternate(struct vt *v, bool alternate)
{
    if (v->alternate == alternate)
        return;
    struct vt_cell *cells = v->cells;
    v->cells = v->other;
    v->other = cells;
    v->alternate = alternate;
    if (alternate) {
        v->main_row = v->row;
        v->main_col = v->col;
        blank_rows(v, 0, v->n_rows);
    } else {
        move(v, v->main_row, v->main_col);
    }
}

/* ---- sequences ------------------------------------------------------------------------------------ */

static void unknown(struct vt *v)
{
    v->n_unknown++;
    memcpy(v->unknown, v->sequence, (size_t)v->n_sequence);
    v->unknown[v->n_sequence] = '\0';
}

static void set_mode(struct vt *v, int32_t mode, bool on)
{
    switch (mode) {
    case 1049:
    case 1047:
        use_alternate(v, on);
        break;
    case 25:
        v->caret_visible = on;
        break;
    case 2004:
        v->paste_mode = on;
        break;
    case 1004:
        v->focus_mode = on;
        break;
    default:    /* keypad, blinking, wrapping, synchronised frames: nothing to show for them */
        break;
    }
}

/* The final byte and the parameters of a CSI sequence without a private mark. */
static bool run_csi(struct vt *v, char final, const int32_t *p, int32_t n_params)
{
    int32_t n = n_params > 0 && p[0] > 0 ? p[0] : 1;
    int32_t second = n_params > 1 && p[1] > 0 ? p[1] : 1;
    switch (final) {
    case 'A': move(v, v->row - n, v->col); break;
    case 'B': move(v, v->row + n, v->col); break;
    case 'C': move(v, v->row, v->col + n); break;
    case 'D': move(v, v->row, v->col - n); break;
    case 'E': move(v, v->row + n, 0); break;
    case 'F': move(v, v->row - n, 0); break;
    case 'G': move(v, v->row, n - 1); break;
    case 'd': move(v, n - 1, v->col); break;
    case 'H':
    case 'f': move(v, n - 1, second - 1); break;
    case 'J': erase_screen(v, n_params > 0 ? p[0] : 0); break;
    case 'K':
        if (n_params == 0 || p[0] == 0)
            blank(v, v->row, v->col, v->n_cols);
        else
            blank(v, v->row, 0, p[0] == 1 ? v->col + 1 : v->n_cols);
        break;
    case 'X': blank(v, v->row, v->col, v->col + n); break;
    case '@': shift_cells(v, n); break;
    case 'P': shift_cells(v, -n); break;
    case 'L': scroll(v, v->row, v->bottom, -n); break;
    case 'M': scroll(v, v->row, v->bottom, n); break;
    case 'S': scroll(v, v->top, v->bottom, n); break;
    case 'T': scroll(v, v->top, v->bottom, -n); break;
    case 'r':
        v->top = n - 1;
        v->bottom = clamp(n_params > 1 && p[1] > 0 ? p[1] - 1 : v->n_rows - 1, v->top, v->n_rows - 1);
        move(v, 0, 0);
        break;
    case 'b':
        while (n-- > 0)
            put(v, v->last_character);
        break;
    case 'm':
    case 'l':
    case 'h':
    case 't':
    case 'c':
    case 'n': break;
    default: return false;
    }
    return true;
}

static void end_csi(struct vt *v)
{
    int32_t params[MAX_PARAMS] = { 0 }, n_params = 0;
    char mark = '\0', final = v->sequence[v->n_sequence - 1];
    bool intermediate = false;
    for (int32_t i = 2; i < v->n_sequence - 1; i++) {
        char c = v->sequence[i];
        if (c >= '0' && c <= '9') {
            if (n_params == 0)
                n_params = 1;
            if (n_params <= MAX_PARAMS && params[n_params - 1] < 100000)
                params[n_params - 1] = params[n_params - 1] * 10 + (c - '0');
        } else if (c == ';' || c == ':') {
            n_params = n_params == 0 ? 2 : n_params < MAX_PARAMS ? n_params + 1 : n_params;
        } else if (c >= '<' && c <= '?') {
            mark = c;
        } else {
            intermediate = true;
        }
    }
    if (mark == '?' && (final == 'h' || final == 'l') && !intermediate)
        for (int32_t i = 0; i < n_params; i++)
            set_mode(v, params[i], final == 'h');
    else if (mark == '\0' && !intermediate && !run_csi(v, final, params, n_params))
        unknown(v);    /* questions and key modes carry a mark and change nothing here */
}

static void end_escape(struct vt *v)
{
    char c = v->sequence[1];
    if (c == '7') {
        v->saved_row = v->row;
        v->saved_col = v->col;
    } else if (c == '8') {
        move(v, v->saved_row, v->saved_col);
    } else if (c == 'M') {
        if (v->row == v->top)
            scroll(v, v->top, v->bottom, -1);
        else
            move(v, v->row - 1, v->col);
    } else if (!strchr("()=>c", c)) {
        unknown(v);
    }
}

/* Whether the escape sequence so far is whole. */
static bool escape_complete(const struct vt *v)
{
    const char *s = v->sequence;
    int32_t n = v->n_sequence;
    if (n < 2)
        return false;
    if (s[1] == '[')
        return n > 2 && s[n - 1] >= 0x40 && s[n - 1] <= 0x7e;
    if (s[1] == ']' || s[1] == 'P' || s[1] == '_' || s[1] == '^')
        return s[n - 1] == '\a' || (n > 3 && s[n - 2] == ESC && s[n - 1] == '\\');
    if (s[1] == '(' || s[1] == ')')
        return n == 3;
    return true;
}

static void feed_escape(struct vt *v, char c)
{
    v->sequence[v->n_sequence++] = c;
    if (!escape_complete(v)) {
        if (v->n_sequence == VT_SEQUENCE_BYTES - 1) {
            unknown(v);
            v->n_sequence = 0;
        }
        return;
    }
    if (v->sequence[1] == '[')
        end_csi(v);
    else if (v->sequence[1] == ']' && strncmp(v->sequence + 2, "11;?", 4) == 0)
        ;    /* asks for the background, and gets no answer */
    else if (v->sequence[1] == ']' || v->sequence[1] == 'P' || v->sequence[1] == '_')
        unknown(v);
    else
        end_escape(v);
    v->n_sequence = 0;
}

static void feed_control(struct vt *v, char c)
{
    switch (c) {
    case '\r': move(v, v->row, 0); break;
    case '\n': line_feed(v); break;
    case '\b': move(v, v->row, v->col - 1); break;
    case '\t': move(v, v->row, (v->col / 8 + 1) * 8); break;
    case '\a':
    case '\0':
    case 0x0e:
    case 0x0f: break;
    default:
        v->sequence[0] = c;
        v->n_sequence = 1;
        unknown(v);
        v->n_sequence = 0;
        break;
    }
}

void vt_feed(struct vt *v, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        char c = bytes[i];
        if (v->n_sequence > 0 && v->sequence[0] == ESC) {
            feed_escape(v, c);
        } else if (v->n_sequence > 0) {    /* inside a character */
            v->sequence[v->n_sequence++] = c;
            if (v->n_sequence >= utf8_length((unsigned char)v->sequence[0])) {
                uint32_t code_point;
                utf8_decode(v->sequence, (size_t)v->n_sequence, &code_point);
                v->n_sequence = 0;
                put(v, code_point);
            }
        } else if (c == ESC || (unsigned char)c >= 0x80) {
            v->sequence[v->n_sequence++] = c;
        } else if ((unsigned char)c < 0x20 || c == 0x7f) {
            feed_control(v, c);
        } else {
            put(v, (unsigned char)c);
        }
    }
}

void vt_text(const struct vt *v, struct buf *out)
{
    for (int32_t row = 0; row < v->n_rows; row++) {
        size_t end = out->n_bytes;
        for (int32_t col = 0; col < v->n_cols; col++) {
            const char *text = v->cells[row * v->n_cols + col].text;
            buf_add_text(out, text);
            if (text[0] && strcmp(text, " ") != 0)
                end = out->n_bytes;
        }
        if (out->data)
            out->n_bytes = end;
        buf_add_byte(out, '\n');
    }
}
