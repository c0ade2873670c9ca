/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_TRANSCRIPT_H
#define QUIP_APP_CHAT_TRANSCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "app/ui/text_range.h"
#include "engine/base/buf.h"
#include "engine/engine.h"

/* The messages of a chat. Every message names the one it follows, so that they form a tree; what is shown
 * and sent is the path from the first one to the head. A second answer to the same question becomes
 * another child of it, and nothing said is ever lost. */

enum message_role {
    MESSAGE_USER,
    MESSAGE_MODEL,
    MESSAGE_SUMMARY,    /* of messages before it that are left out; read in their place */
    MESSAGE_NOTICE,     /* cards of the program; never part of a prompt */
    MESSAGE_WARNING,
    MESSAGE_ERROR
};

enum message_state {
    MESSAGE_DONE,
    MESSAGE_STREAMING,
    MESSAGE_STOPPED,      /* by the person: what came is kept */
    MESSAGE_CUT,          /* the token limit was reached */
    MESSAGE_FULL          /* the context was */
};

struct message {
    uint64_t id, parent;        /* parent 0: the first */
    uint32_t revision;          /* another number when text changed other than by growing */
    enum message_role role;
    enum message_state state;
    struct buf text, thinking;
    struct text_range *drafted; /* of the text, what came from drafts */
    int32_t n_drafted, cap_drafted;
    char title[64];             /* of cards */
    char hint[160];             /* of cards: what can be done about it */
    char time[8];               /* "14:02" */
    bool left_out;              /* stays to be seen, the model does not read it any more */
    bool thinking_open;
    int32_t n_thinking_tokens;
    double thinking_s;
    struct eng_timings timings; /* of an answer that ended */
    double tokens_per_s;        /* 0: not known */
};

struct transcript {
    struct message **all;
    int32_t n_all, cap_all;
    struct message **path;      /* first to head */
    int32_t n_path, cap_path;
};

void transcript_finish(struct transcript *t);    /* takes a zeroed one, which is empty */

/* A new message after the head, which it becomes. NULL: no memory. */
struct message *transcript_add(struct transcript *t, enum message_role role, const char *text);
/* The path ends with this message from now on; 0: it is empty. */
void transcript_rewind(struct transcript *t, uint64_t id);
/* A new message on the path right after this one (0: before all), whose followers follow it from now on. */
struct message *transcript_insert(struct transcript *t, uint64_t after, enum message_role role, const char *text);
/* Takes one message out; what followed it follows its parent. It still exists and can be found. */
void transcript_remove(struct transcript *t, uint64_t id);
struct message *transcript_find(const struct transcript *t, uint64_t id);
/* The last message of this role on the path, or NULL. */
struct message *transcript_last(const struct transcript *t, enum message_role role);

/* The path as a model gets it: a system message if system is not "", then users and answers in turn;
 * neighbours of one role are joined by a blank line, because templates insist on turns. A summary is text of
 * the user. Texts are borrowed from the transcript and from out. False: no memory.
 *
 * Of the path, messages from `from` to before `to` take part, and summaries before `from`; those left out
 * never do. */
struct transcript_prompt {
    struct chat_message *messages;    /* has room for one more */
    int32_t n_messages;
    struct buf *joined;         /* one for each message that had to be joined */
    int32_t n_joined;
};
bool transcript_prompt(const struct transcript *t, const char *system, int32_t from, int32_t to,
                       struct transcript_prompt *out);
void transcript_prompt_finish(struct transcript_prompt *p);

/* The end of the text, from this byte on, came from drafts. Without memory it stays unknown. */
void message_note_draft(struct message *m, size_t from);

/* Whether a model reads it: said by somebody, whole, and not left out. */
bool message_is_read(const struct message *m);

/* The path as text to keep: a heading for each message, its text as it was. */
void transcript_export(const struct transcript *t, const char *system, struct buf *out);

#endif
