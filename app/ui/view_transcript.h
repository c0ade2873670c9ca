/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_VIEW_TRANSCRIPT_H
#define QUIP_APP_UI_VIEW_TRANSCRIPT_H

#include "app/ui/text_range.h"
#include "app/ui/view.h"

/* The conversation. Rendered lines are kept per message and width; only messages that are looked at are
 * rendered. The place is kept by message, not by line number, so that a new width leaves the message at
 * the top edge where it was. */

enum view_message_kind {
    VIEW_MESSAGE_USER,
    VIEW_MESSAGE_MODEL,
    VIEW_MESSAGE_SYSTEM,
    VIEW_MESSAGE_NOTICE,     /* cards: title, text, hints */
    VIEW_MESSAGE_WARNING,
    VIEW_MESSAGE_ERROR
};

/* Numbers of one answer; what is 0 or negative is left out of the line. */
struct view_stats {
    int32_t n_generated;
    double tokens_per_s;
    double first_s;                 /* to the first token */
    int32_t n_prompt, n_reused;
    const char *ending;             /* "stopped", "context full"; NULL: the model ended its answer */
};

struct view_message {
    uint64_t id;              /* never 0; names the message for as long as it exists */
    uint32_t revision;        /* another number when text changed other than by growing at the end */
    enum view_message_kind kind;
    const char *label;        /* NULL: "You", "Model", "System"; cards: the title */
    const char *time;         /* "14:02"; may be NULL */
    const char *text;
    size_t n_text;
    bool streaming;           /* more is coming */
    bool left_out;            /* the model reads it no longer: dim, and marked; part of the revision */
    const char *thinking;     /* NULL: none */
    size_t n_thinking;
    int32_t n_thinking_tokens;
    double thinking_s;
    bool thinking_open;       /* still thinking: the text has not begun */
    const struct view_stats *stats;    /* may be NULL */
    const struct text_range *drafted;    /* of the text, what came from drafts */
    int32_t n_drafted;
    const char *hint;         /* cards: what can be done about it, "F2 choose a smaller model"; may be NULL */
    bool brief;               /* cards: one line for now, as the message above it is still being written */
};

struct view_transcript_cache;

struct view_transcript {
    const struct view_message *messages;
    int32_t n_messages;
    const char *empty_title;      /* shown while there is no message */
    const char *const *empty_lines;
    int32_t n_empty_lines;
    bool show_thinking;           /* unfolded */
    bool show_drafts;             /* what came from drafts is underlined */

    /* the view's own; zero at first */
    struct view_transcript_cache *cache;
    int32_t n_cache;
    int32_t n_rows, n_cols;       /* of the last draw */
    bool detached;                /* the person scrolled away from the end */
    uint64_t top_id;              /* message at the top edge while detached */
    int32_t top_line;             /* its line there, of so many */
    int32_t top_of;
    uint64_t seen_id;             /* the end of the conversation when the person left it */
    size_t seen_bytes;
};
extern const struct ui_view view_transcript;

/* Also done by view_transcript.key. */
void view_transcript_scroll(struct view_transcript *v, int32_t n_lines);    /* negative: up */
void view_transcript_top(struct view_transcript *v);
void view_transcript_follow(struct view_transcript *v);    /* to the end, and stay there */
void view_transcript_finish(struct view_transcript *v);    /* gives back the rendered lines */

#endif
