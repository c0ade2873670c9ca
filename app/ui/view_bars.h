/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_VIEW_BARS_H
#define QUIP_APP_UI_VIEW_BARS_H

#include "app/ui/view.h"

/* The line at the top: name and title on the left; model, level and device on the right, where the title gives
 * way when it gets narrow, then the device becomes brief, and then it gives way too. Any text may be NULL. */
struct view_header {
    const char *title;     /* of the chat */
    const char *model;
    const char *level;     /* "Q4_K_M" */
    const char *device;    /* "cpu avx2", "NVIDIA H200 12/30 layers" */
    const char *device_brief;    /* "gpu 12/30" */
};
extern const struct ui_view view_header;

/* The line above the keys: the context gauge, then segments in the order of their importance; where they do
 * not all fit they become brief from the right, then are dropped from the right. */
enum { VIEW_STATUS_SEGMENTS = 16 };

struct view_segment {
    const char *text;       /* "mem 412 MB of 7.61 GB" */
    enum ui_style style;    /* UI_STATUS in most cases */
    const char *brief;      /* "412 MB"; NULL: there is no shorter way to say it */
};

struct view_status {
    int32_t n_ctx_used, n_ctx;    /* tokens; n_ctx 0: no model, no gauge */
    struct view_segment segments[VIEW_STATUS_SEGMENTS];
    int32_t n_segments;
};
extern const struct ui_view view_status;
/* 75 % and 90 %: from here on the gauge warns, in colour and with a sign. */
enum ui_style view_status_level(int32_t n_used, int32_t n_ctx);

/* The last line: keys of a context that have a word for the bar, in the order of the table. */
struct view_keys {
    enum ui_context context;
    bool busy;    /* an answer is being written: Esc stops it */
};
extern const struct ui_view view_keys;

#endif
