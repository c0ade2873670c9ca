/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_PORT_H
#define QUIP_APP_CHAT_PORT_H

#include "engine/engine.h"

/* Where the chat touches the rest of the program. It asks through a table of functions that return at once
 * and hears what came of it as mails, so it can be tested without a screen, a loop or an engine. */

enum { PORT_WARNINGS = 8, PORT_TEXT_BYTES = 192, PORT_TAG_BYTES = 64, PORT_PATH_BYTES = 1024 };

/* A model that answers now, in copies of what the engine knows: the model itself stays on its thread.
 * Texts come from the file: not safe for a terminal. */
struct port_model {
    char path[PORT_PATH_BYTES];
    char name[PORT_TEXT_BYTES], level[PORT_TEXT_BYTES], architecture[PORT_TEXT_BYTES];
    char cpu_tier[PORT_TEXT_BYTES];
    char think_open[PORT_TAG_BYTES], think_close[PORT_TAG_BYTES];
    char warnings[PORT_WARNINGS][ERR_TEXT_BYTES];
    int32_t n_warnings;
    int32_t n_ctx, n_ctx_train, n_threads;
    uint64_t file_bytes;
    struct sampler_params sampling;    /* the model's own recommendation */
    double load_s;
};

struct port_stats {
    int32_t n_held;                    /* tokens in the cache */
    uint64_t resident_bytes, available_bytes, total_bytes;
};

enum mail_kind {
    MAIL_MODEL,           /* model: in use from now on; stats */
    MAIL_MODEL_FAILED,    /* text: why; the model before stays */
    MAIL_PROMPT,          /* prompt: the conversation as tokens, about to be evaluated */
    MAIL_TOO_LONG,        /* prompt: it does not fit, nothing was evaluated */
    MAIL_EVENT,           /* event; stats with EVENT_DONE */
    MAIL_FAILED           /* text: no answer, and why */
};

/* Mails cross threads by value; the model is too big for that and comes as a pointer. */
struct mail {
    enum mail_kind kind;
    uint64_t request;     /* of the answer or the model it is about */
    union {
        struct port_model *model;    /* malloc; the receiver's */
        struct {
            int32_t n_prompt, n_ctx;
            bool opens_thinking;
        } prompt;
        struct eng_event event;
        char text[ERR_TEXT_BYTES];
    };
    struct port_stats stats;
};

/* An answer that is wanted. Fields as in engine.h; everything is borrowed for the call. */
struct port_request {
    uint64_t id;            /* larger than any before */
    const struct chat_message *messages;
    int32_t n_messages;
    int32_t enable_thinking;
    struct generate_options generate;
    int32_t n_reserve;      /* tokens that must be left for the answer, or it is MAIL_TOO_LONG */
};

enum port_panel { PANEL_HELP, PANEL_MODELS, PANEL_SETTINGS };

/* self comes first in every call. Those that return bool say false when there is no memory. */
struct port {
    void *self;
    bool (*open_model)(void *self, uint64_t id, const char *path);
    bool (*set_context)(void *self, uint64_t id, int32_t n_ctx);
    bool (*answer)(void *self, const struct port_request *request);
    void (*cancel)(void *self, uint64_t id);
    /* Fetches a model of the list; the chat hears of its end through chat_fetched(). */
    bool (*fetch)(void *self, const char *name);
    void (*stop_fetch)(void *self);
    void (*show)(void *self, enum port_panel panel);
    void (*give_back)(void *self, const char *text);    /* a draft that was not sent */
    void (*quit)(void *self);
    double (*now_s)(void *self);                        /* a steady clock */
};

#endif
