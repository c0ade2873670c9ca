/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_FULL_IMPL_H
#define QUIP_APP_LOOP_FULL_IMPL_H

#include "app/config/environment.h"
#include "app/loop/talk.h"
#include "app/term/term.h"
#include "app/ui/screen.h"
#include "app/ui/view_compare.h"

/* The full screen, shared by its files: full_screen.c runs it, full_views.c turns the chat into view
 * models, full_panels.c has the overlays. */

enum {
    FULL_SIGNALS = 6,
    FULL_TEXT_BYTES = 160,
    FULL_MODEL_ROWS = MODEL_TABLE_MAX + PORT_LEVELS,
    FULL_SETTING_ROWS = 48,
    FULL_EMPTY_LINES = 5
};

enum full_panel { FULL_NONE, FULL_HELP, FULL_MODELS, FULL_SETTINGS, FULL_SYSTEM, FULL_FIGURES, FULL_CONTEXT,
                  FULL_COMPARE_WITH, FULL_COMPARE, FULL_COMPARE_NEXT };

/* A row of the list of models: a level of the one in use, or another. */
struct full_model_text {
    char name[MODEL_ROW_NAME_BYTES];
    char size[24], where[24], progress[64];
    struct chat_level_texts figures;
    int32_t level, model;    /* place among the chat's levels, or in the table of models; -1: it is the other */
};

struct full {
    struct talk *talk;
    const struct environment *env;
    const struct paths *paths;

    struct term *term;
    struct ui_grid grid;
    struct ui_theme theme;
    struct term_input input;
    struct editor *editor;
    struct screen screen;

    uv_poll_t tty;
    uv_timer_t paint, escape;
    uv_signal_t signals[FULL_SIGNALS];
    uint64_t painted_ms;
    bool leaving;
    bool choosing_first;          /* the list of models is there because there is no model */
    bool continued;               /* by the SIGCONT that is still to be told: suspend() has dealt with it */
    bool interrupted;             /* the last key was Ctrl+C on an empty draft: once more quits */
    bool forgetting;              /* the last key was Ctrl+N with answers there: once more empties the chat */
    int ending_signal;            /* to die of when the terminal is back, 0: none */
    uint32_t think_seen;          /* the mode that the transcript shows */

    /* View models and the texts they borrow, made anew for each frame. */
    struct view_message *messages;
    struct view_stats *stats;
    int32_t cap_messages;
    char title[FULL_TEXT_BYTES], model[FULL_TEXT_BYTES], device[FULL_TEXT_BYTES], device_brief[32];
    char segments[VIEW_STATUS_SEGMENTS][64], briefs[VIEW_STATUS_SEGMENTS][32];
    char advice[FULL_TEXT_BYTES], about[FULL_TEXT_BYTES];
    const char *empty_lines[FULL_EMPTY_LINES];
    uint32_t advice_version;      /* of the model that the advice is about */

    /* Overlays. */
    enum full_panel panel;
    struct view_list models;
    struct model_table table;
    struct view_row *model_rows;
    struct full_model_text *model_texts;
    char model_detail[PATHS_BYTES + 2 * MODEL_ROW_TEXT_BYTES + PORT_TEXT_BYTES];
    char models_summary[128];
    char levels_asked[PORT_PATH_BYTES];    /* the model whose levels were asked for */
    uint64_t fetch_start_ms, fetch_start_bytes;
    struct view_text text;
    struct view_help help;
    struct view_text_row *slash_rows;
    char (*slash_names)[64];
    struct view_text_row setting_rows[FULL_SETTING_ROWS];
    char setting_texts[FULL_SETTING_ROWS][FULL_TEXT_BYTES];
    struct chat_figure figures[CHAT_FIGURES];
    struct view_text_row figure_rows[CHAT_FIGURES];
    struct view_choice choice;
    struct view_prompt prompt;
    struct editor *prompt_editor;
    char prompt_message[ERR_TEXT_BYTES];
    struct view_compare compare;
    struct chat_compare_texts compare_texts;
};

/* full_views.c: fills screen from the chat. */
void full_views_update(struct full *f);
void full_views_finish(struct full *f);

/* full_panels.c */
void full_panel_open(struct full *f, enum full_panel panel);
void full_panel_close(struct full *f);    /* gives back what the overlay borrowed */
void full_panel_update(struct full *f);   /* before a frame */
/* What a key in the open overlay came to. */
void full_panel_action(struct full *f, enum ui_action action);

/* full_compare.c: panels of a comparison */
void full_compare_open_choice(struct full *f);
void full_compare_accept_choice(struct full *f, bool blind);
void full_compare_open(struct full *f);
void full_compare_action(struct full *f, enum ui_action action);
void full_compare_open_next(struct full *f);
void full_compare_accept_next(struct full *f);
void full_compare_update(struct full *f);

#endif
