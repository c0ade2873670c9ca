/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_TERM_TERM_OPS_H
#define QUIP_APP_TERM_TERM_OPS_H

#include "app/term/term.h"

/* What a kind of terminal can do; term.h says what each means. Entries that are NULL do nothing. */
struct term_ops {
    void (*close)(struct term *t);
    int (*fd)(const struct term *t);
    ssize_t (*read)(struct term *t, void *bytes, size_t n_bytes);
    bool (*reply)(struct term *t, const struct term_event *event);
    void (*info)(const struct term *t, struct term_info *out);
    void (*size)(const struct term *t, int32_t *n_rows, int32_t *n_cols);
    bool (*resize)(struct term *t);
    void (*set_theme)(struct term *t, const struct ui_theme *theme);
    void (*draw)(struct term *t, struct ui_grid *g);
    void (*bell)(struct term *t);
    void (*suspend)(struct term *t);
    void (*resume)(struct term *t);
    const struct term_emergency *(*emergency)(const struct term *t);
};

/* The first member of each kind. */
struct term {
    const struct term_ops *ops;
};

#endif
