/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_NEUTRAL_H
#define QUIP_APP_UI_NEUTRAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/ui/cell.h"
#include "engine/base/buf.h"

/* The one way from bytes of models, files and people to a terminal: any bytes in, harmless characters of
 * known width out. The true bytes stay where they are; this is only what is shown.
 *
 *   C0, DEL               control pictures (ESC is U+241B)
 *   C1, bidi controls,
 *   tags, line separators U+2426: something invisible stands here
 *   not UTF-8, nonchar.   U+FFFD, one per byte
 *   tab                   blanks to the next multiple of 8 columns
 *   ZWJ sequences         their first part; skin tones and variation selectors are left out
 *   flags                 their two letters
 *   base + marks          composed where Unicode has a character for it, else at most UI_MARKS marks
 *
 * Terminals disagree about the width of emoji sequences and agree about their first part alone, so lines
 * stay aligned. Width is utf8proc's (Unicode 15); characters of ambiguous width count as one column. */

struct neutral_glyph {
    uint32_t code_point;
    uint32_t marks[UI_MARKS];
    int32_t n_cols;      /* 1 or 2; a tab is a blank of 1 to 8; 0: nothing to show (a lone ZWJ) */
    size_t from;         /* offset of the grapheme cluster */
    size_t n_bytes;      /* length of the cluster; 0: a further glyph of the cluster before */
};

enum { NEUTRAL_CLUSTER_GLYPHS = 8 };

struct neutral_iter {
    const char *bytes;
    size_t n_bytes, at;
    int32_t col;                                          /* where the next glyph goes; for tabs */
    struct neutral_glyph queue[NEUTRAL_CLUSTER_GLYPHS];   /* rest of the current cluster */
    int32_t n_queue, queue_at;
};

void neutral_begin(struct neutral_iter *it, const char *bytes, size_t n_bytes, int32_t col);
/* False at the end. A newline comes out as U+240A; who treats newlines stops before them. */
bool neutral_next(struct neutral_iter *it, struct neutral_glyph *out);

/* Bytes of the grapheme cluster that starts at bytes; n_bytes at least 1. The cluster before offset at is
 * found from from, which must be a border. */
size_t neutral_cluster(const char *bytes, size_t n_bytes);
size_t neutral_cluster_before(const char *bytes, size_t from, size_t at);

/* For writing to a terminal line by line: keeps newline and tab, makes everything above visible that could
 * move the cursor, change a mode or reorder text, and leaves the rest as it is. */
struct neutral_filter {
    char held[4];       /* the beginning of a character, or a CR */
    int32_t n_held;
    bool one_line;      /* newline and tab are shown too: titles, file names, metadata */
};

void neutral_filter_feed(struct neutral_filter *f, struct buf *out, const char *bytes, size_t n_bytes);
void neutral_filter_end(struct neutral_filter *f, struct buf *out);
/* A whole text at once, for one line. */
void neutral_line(struct buf *out, const char *text);

#endif
