/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_VIEW_OVERLAY_H
#define QUIP_APP_UI_VIEW_OVERLAY_H

#include "app/ui/editor.h"
#include "app/ui/view.h"

/* What lies over the chat while it is needed. Esc closes each (UI_ACT_CLOSE). The layout functions give
 * the rows of the whole box. */

/* ---- a list to choose from: models, chats --------------------------------------------------------- */

enum { VIEW_LIST_COLUMNS = 8, VIEW_LIST_FILTER_BYTES = 64 };

struct view_column {
    const char *title;
    bool right;          /* numbers */
    int32_t drop;        /* 0: always there; else columns with the highest number go first when narrow */
};

struct view_row {
    uint64_t id;                           /* keeps the choice when rows are replaced; not 0 */
    const char *cells[VIEW_LIST_COLUMNS];
    enum ui_style style;                   /* UI_TEXT; UI_DIM for what is not there yet */
    bool current;                          /* in use: marked with a dot */
    double progress;                       /* 0 to 1: a bar in a line below; negative: none */
    const char *progress_text;             /* "42 of 98 MB, 3.1 MB/s" */
};

struct view_list {
    const char *title;
    const char *summary;                   /* right of the title; may be NULL */
    struct view_column columns[VIEW_LIST_COLUMNS];
    int32_t n_columns;
    const struct view_row *rows;
    int32_t n_rows;
    const char *detail;                    /* a line about the chosen row, filled by the caller; may be NULL */
    const char *footer;                    /* "Enter switch · Del cancel · Esc close" */
    const char *empty;                     /* said when there is no row, or none passes the filter */

    /* the view's own */
    uint64_t chosen_id;                    /* 0: the current row, else the first */
    int32_t top;
    int32_t n_visible;
    char filter[VIEW_LIST_FILTER_BYTES];   /* typed text; rows with it in any cell stay */
};
/* key: UI_ACT_ACCEPT for Enter, UI_ACT_REMOVE for Del, UI_ACT_MEASURE for F3, UI_ACT_COMPARE for F6, all about
 * view_list_chosen(). */
extern const struct ui_view view_list;
const struct view_row *view_list_chosen(const struct view_list *v);    /* NULL: nothing to choose */

/* ---- text to read: help --------------------------------------------------------------------------- */

struct view_text_row {
    const char *key;     /* left column; NULL and text: a heading; both NULL: an empty line */
    const char *text;
};

struct view_text {
    const char *title;
    const struct view_text_row *rows;
    int32_t n_rows;
    int32_t top;         /* the view's own */
    int32_t n_visible, n_lines;
};
extern const struct ui_view view_text;

/* Help rows made of the key table, for the contexts a person meets in the chat, followed by more rows
 * (slash commands). They borrow the texts. */
struct view_help {
    struct view_text_row *rows;
    int32_t n_rows;
    char *names;         /* storage of key names */
};
bool view_help_make(struct view_help *out, const char *more_title, const struct view_text_row *more,
                    int32_t n_more);
void view_help_finish(struct view_help *h);

/* ---- one line to type: a file's path -------------------------------------------------------------- */

struct view_prompt {
    const char *title;
    const char *label;         /* above the line; may be NULL */
    const char *message;       /* below it: what went wrong, or candidates; may be NULL */
    bool message_is_error;
    struct editor *editor;     /* the caller's, set to a single line */
};
/* key: UI_ACT_ACCEPT for Enter, UI_ACT_COMPLETE for Tab. */
extern const struct ui_view view_prompt;

/* ---- a question ----------------------------------------------------------------------------------- */

enum { VIEW_CONFIRM_CHOICES = 4 };

struct view_confirm {
    const char *title;
    const char *text;
    struct {
        uint32_t letter;       /* 'y' */
        const char *label;     /* "yes, switch" */
    } choices[VIEW_CONFIRM_CHOICES];
    int32_t n_choices;
    int32_t chosen;            /* where Enter goes; set to the answer when UI_ACT_ACCEPT comes */
};
extern const struct ui_view view_confirm;

/* ---- a question whose answers need a line each ---------------------------------------------------- */

enum { VIEW_CHOICES = 8 };

/* Answers have the numbers 1, 2 ... as keys. One that is not possible can be looked at and not taken. */
struct view_choice {
    const char *title;
    const char *text;
    struct {
        const char *label;     /* "Leave out the oldest turns" */
        const char *text;      /* below it: what it does, or why it cannot be */
        bool possible;
    } choices[VIEW_CHOICES];
    int32_t n_choices;
    int32_t chosen;            /* where Enter goes; set to the answer when UI_ACT_ACCEPT comes */
    int32_t top;               /* the view's own: the first line in sight */
    bool seen;                 /* the view's own: it was drawn; keys typed before that were for something else */
};
extern const struct ui_view view_choice;

#endif
