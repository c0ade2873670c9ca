/* SPDX-License-Identifier: MIT */
#include "app/ui/neutral.h"

#include <string.h>

#include <utf8proc.h>

#include "engine/base/utf8.h"

enum {
    CLUSTER_POINTS = 16,        /* code points of a cluster that are looked at; more are passed over */
    TAB_COLS = 8,
    HIDDEN = 0x2426,            /* shown where something invisible stands */
    DOTTED_CIRCLE = 0x25CC,     /* carries marks that have no base */
    ZWJ = 0x200D
};

static bool between(uint32_t c, uint32_t first, uint32_t last)
{
    return c >= first && c <= last;
}

/* Could move the cursor, change a mode, reorder text or hide it. */
static bool is_dangerous(uint32_t c)
{
    return c < 0x20 || between(c, 0x7F, 0x9F)
        || c == 0x061C || c == 0x200E || c == 0x200F || between(c, 0x202A, 0x202E)
        || between(c, 0x2066, 0x2069)                               /* bidi */
        || c == 0x2028 || c == 0x2029 || between(c, 0xFFF9, 0xFFFB)
        || between(c, 0xE0000, 0xE007F);                            /* tags */
}

static bool is_noncharacter(uint32_t c)
{
    return between(c, 0xFDD0, 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

static bool is_flag_letter(uint32_t c)
{
    return between(c, 0x1F1E6, 0x1F1FF);
}

/* Changes how another character looks, or nothing; terminals disagree about all of these. */
static bool is_left_out(uint32_t c)
{
    return c == 0x00AD || c == 0x034F || c == 0x180E || between(c, 0x200B, 0x200D)
        || between(c, 0x2060, 0x2065) || c == 0xFEFF || between(c, 0xFE00, 0xFE0F)
        || between(c, 0xE0100, 0xE01EF) || c == 0x20E3 || between(c, 0x180B, 0x180D)
        || between(c, 0x206A, 0x206F);
}

/* What stands on the screen for a dangerous character. */
static uint32_t visible(uint32_t c)
{
    if (c < 0x20)
        return 0x2400 + c;
    return c == 0x7F ? 0x2421 : HIDDEN;
}

/* The code points of one cluster as they will be shown, before marks are put on their bases. */
static int32_t show_points(const uint32_t *points, int32_t n, utf8proc_int32_t out[CLUSTER_POINTS])
{
    uint32_t base = points[0];
    bool pictographic = utf8proc_get_property((utf8proc_int32_t)base)->boundclass
                        == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC;
    int32_t n_out = 0;
    for (int32_t i = 0; i < n; i++) {
        uint32_t c = points[i];
        if (i > 0 && pictographic && c == ZWJ)
            break;
        if (is_left_out(c) || (i > 0 && between(c, 0x1F3FB, 0x1F3FF)))
            continue;
        if (i > 0 && base == 0x1F3F4 && between(c, 0xE0020, 0xE007F))
            continue;    /* regional flags are a black flag and tags */
        if (is_dangerous(c))
            c = visible(c);
        else if (is_flag_letter(c))
            c = 'A' + (c - 0x1F1E6);
        else if (is_noncharacter(c) || utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_CN)
            c = UTF8_REPLACEMENT;
        out[n_out++] = (utf8proc_int32_t)c;
    }
    if (n_out > 1) {
        utf8proc_ssize_t composed = utf8proc_normalize_utf32(out, n_out, UTF8PROC_COMPOSE);
        if (composed > 0)
            n_out = (int32_t)composed;
    }
    return n_out;
}

static void queue_glyph(struct neutral_iter *it, uint32_t code_point, int32_t n_cols, size_t from,
                        size_t n_bytes)
{
    if (it->n_queue == NEUTRAL_CLUSTER_GLYPHS)
        return;
    it->queue[it->n_queue] = (struct neutral_glyph){
        .code_point = code_point, .n_cols = n_cols, .from = from,
        .n_bytes = it->n_queue == 0 ? n_bytes : 0 };
    it->n_queue++;
}

static void queue_mark(struct neutral_iter *it, uint32_t mark)
{
    struct neutral_glyph *g = &it->queue[it->n_queue - 1];
    for (int32_t i = 0; i < UI_MARKS; i++)
        if (g->marks[i] == 0) {
            g->marks[i] = mark;
            return;
        }
}

/* Reads the cluster at offset at: its bytes, and its first code points. */
static size_t read_cluster(const char *bytes, size_t n_bytes, size_t at, uint32_t points[CLUSTER_POINTS],
                           int32_t *n_points)
{
    uint32_t c;
    utf8proc_int32_t state = 0;
    size_t end = at + (size_t)utf8_decode(bytes + at, n_bytes - at, &c);
    *n_points = 0;
    points[(*n_points)++] = c;
    while (end < n_bytes) {
        uint32_t next;
        int length = utf8_decode(bytes + end, n_bytes - end, &next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
            break;
        if (*n_points < CLUSTER_POINTS)
            points[(*n_points)++] = next;
        end += (size_t)length;
        c = next;
    }
    return end - at;
}

static void fill_queue(struct neutral_iter *it)
{
    uint32_t points[CLUSTER_POINTS];
    utf8proc_int32_t shown[CLUSTER_POINTS];
    int32_t n_points;
    size_t from = it->at;
    size_t n_bytes = read_cluster(it->bytes, it->n_bytes, from, points, &n_points);

    it->at += n_bytes;
    it->n_queue = it->queue_at = 0;
    if (points[0] == '\t') {
        queue_glyph(it, ' ', TAB_COLS - it->col % TAB_COLS, from, n_bytes);
        return;
    }
    int32_t n_shown = show_points(points, n_points, shown);
    for (int32_t i = 0; i < n_shown; i++) {
        int n_cols = utf8proc_charwidth(shown[i]);
        if (n_cols > 0) {
            queue_glyph(it, (uint32_t)shown[i], n_cols > 2 ? 2 : n_cols, from, n_bytes);
        } else {
            if (it->n_queue == 0)
                queue_glyph(it, DOTTED_CIRCLE, 1, from, n_bytes);
            queue_mark(it, (uint32_t)shown[i]);
        }
    }
    if (it->n_queue == 0)
        queue_glyph(it, 0, 0, from, n_bytes);
}

void neutral_begin(struct neutral_iter *it, const char *bytes, size_t n_bytes, int32_t col)
{
    it->bytes = bytes;
    it->n_bytes = n_bytes;
    it->at = 0;
    it->col = col;
    it->n_queue = it->queue_at = 0;
}

bool neutral_next(struct neutral_iter *it, struct neutral_glyph *out)
{
    if (it->queue_at == it->n_queue) {
        if (it->at >= it->n_bytes)
            return false;
        unsigned char c = (unsigned char)it->bytes[it->at];
        bool last = it->at + 1 == it->n_bytes;
        if (c >= 0x20 && c < 0x7F && (last || (unsigned char)it->bytes[it->at + 1] < 0x80)) {
            *out = (struct neutral_glyph){ .code_point = c, .n_cols = 1, .from = it->at, .n_bytes = 1 };
            it->at++;
            it->col++;
            return true;
        }
        fill_queue(it);
    }
    *out = it->queue[it->queue_at++];
    it->col += out->n_cols;
    return true;
}

size_t neutral_cluster(const char *bytes, size_t n_bytes)
{
    uint32_t points[CLUSTER_POINTS];
    int32_t n_points;
    return read_cluster(bytes, n_bytes, 0, points, &n_points);
}

size_t neutral_cluster_before(const char *bytes, size_t from, size_t at)
{
    size_t start = from;
    while (start < at) {
        size_t end = start + neutral_cluster(bytes + start, at - start);
        if (end >= at)
            return start;
        start = end;
    }
    return from;
}

/* ---- line mode ------------------------------------------------------------------------------------ */

static void filter_point(const struct neutral_filter *f, struct buf *out, uint32_t c)
{
    if ((c == '\n' || c == '\t') && !f->one_line)
        buf_add_byte(out, (unsigned char)c);
    else if (is_dangerous(c))
        buf_add_utf8(out, visible(c));
    else
        buf_add_utf8(out, is_noncharacter(c) ? UTF8_REPLACEMENT : c);
}

/* Writes what is held as far as it is decided; last: nothing follows. */
static void filter_held(struct neutral_filter *f, struct buf *out, bool last)
{
    while (f->n_held > 0) {
        uint32_t c;
        int n;
        if (f->held[0] == '\r' && !f->one_line) {
            if (f->n_held == 1 && !last)
                return;
            n = 1;
            if (f->n_held == 1 || f->held[1] != '\n')
                filter_point(f, out, '\r');
        } else {
            if (!last && utf8_incomplete_tail(f->held, (size_t)f->n_held) == (size_t)f->n_held)
                return;
            n = utf8_decode(f->held, (size_t)f->n_held, &c);
            filter_point(f, out, c);
        }
        f->n_held -= n;
        memmove(f->held, f->held + n, (size_t)f->n_held);
    }
}

void neutral_filter_feed(struct neutral_filter *f, struct buf *out, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        f->held[f->n_held++] = bytes[i];    /* at most three are held from before */
        filter_held(f, out, false);
    }
}

void neutral_filter_end(struct neutral_filter *f, struct buf *out)
{
    filter_held(f, out, true);
}

void neutral_line(struct buf *out, const char *text)
{
    struct neutral_filter f = { .one_line = true };
    neutral_filter_feed(&f, out, text, strlen(text));
    neutral_filter_end(&f, out);
}
