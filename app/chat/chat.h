/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_CHAT_H
#define QUIP_APP_CHAT_CHAT_H

#include "app/chat/port.h"
#include "app/chat/think.h"
#include "app/chat/transcript.h"
#include "app/config/model_table.h"
#include "app/config/option.h"
#include "app/config/paths.h"

/* A chat as a state machine that knows no screen. Full screen and line mode show the same struct and call
 * the same functions.
 *
 *   CHAT_EMPTY --open--> CHAT_LOADING --MAIL_MODEL--> CHAT_READY --send--> CHAT_ANSWERING --DONE--> CHAT_READY
 *
 * What is typed while the model loads or answers waits and is sent as soon as possible. Opening another model in mid-chat stops the answer, keeps the messages, and the next answer
 * reads them all again. */

enum chat_state { CHAT_EMPTY, CHAT_LOADING, CHAT_READY, CHAT_ANSWERING };

enum { CHAT_MAX_SETTINGS = 48, CHAT_RESERVE = 256, CHAT_SYSTEM_MAX_BYTES = 1 << 20 };

struct chat_setting {
    char name[32], value[32];
};

struct chat {
    const struct config *config;
    const struct paths *paths;
    struct port port;

    enum chat_state state;
    struct transcript transcript;
    struct buf waiting;             /* typed while the model was busy, sent when it is free */
    uint32_t version;               /* counts changes: who draws compares it */

    struct port_model *model;       /* NULL until one answered */
    struct port_stats stats;
    int32_t n_ctx_used;             /* tokens of the conversation, as far as known */
    char opening[PORT_PATH_BYTES];  /* the model being opened */
    uint64_t last_id;               /* of requests */
    uint64_t model_request;

    /* The answer being written. */
    uint64_t answer_request, answer_id;
    struct think think;
    bool stopping;                  /* stop was asked for, DONE has not come */
    bool paused;                    /* the process was stopped meanwhile: its speed means nothing */
    int32_t n_read, n_to_read;      /* prompt tokens, while they are read */
    int32_t n_answer;               /* tokens so far */
    double first_s, think_start_s;  /* clock at the first token, at the start of thinking */
    double tokens_per_s;            /* live, then of the last answer */
    uint64_t seed_shift;            /* added to the seed when an answer is made again */

    struct buf system;              /* system prompt */
    char system_file[PATHS_BYTES];  /* where it came from, "" for typed text */
    int64_t system_changed_ns;      /* when that file was changed last */
    enum think_mode think_mode;
    struct chat_setting settings[CHAT_MAX_SETTINGS];
    int32_t n_settings;

    char fetching[MODEL_ROW_NAME_BYTES];    /* the model being fetched, "" for none */
    uint64_t fetch_done, fetch_total;
};

void chat_init(struct chat *c, const struct config *config, const struct paths *paths, const struct port *port);
void chat_finish(struct chat *c);

/* What a person enters: a command ("/..."), or a message to send. False: it was not taken and stays a
 * draft; a card says why. */
bool chat_enter(struct chat *c, const char *text);
void chat_send(struct chat *c, const char *text);
void chat_stop(struct chat *c);          /* keeps what came; what waits becomes a draft again */
bool chat_is_busy(const struct chat *c); /* something that chat_stop() would stop */
void chat_regenerate(struct chat *c);
void chat_new(struct chat *c);
void chat_note_pause(struct chat *c);    /* the process was stopped and goes on now */

/* A path or a name of the list. A model of the list that is not here is fetched when fetch is set. */
void chat_open_model(struct chat *c, const char *name, bool fetch);
/* After an error (ERR_IO, ERR_FORMAT, ERR_NOMEM) the old prompt still holds. */
enum err_code chat_system_file(struct chat *c, const char *path, struct err *e);
void chat_system_text(struct chat *c, const char *text);    /* "": none */
void chat_set_context(struct chat *c, int32_t n_ctx);
void chat_set_think(struct chat *c, enum think_mode mode);
bool chat_set(struct chat *c, const char *name, const char *value);
/* What sampling is in force. */
void chat_sampling(const struct chat *c, struct sampler_params *out);
bool chat_save(struct chat *c, const char *path);

/* A mail for the chat; its model, if any, is taken. */
void chat_take(struct chat *c, struct mail *mail);
void chat_fetch_progress(struct chat *c, uint64_t done, uint64_t total);
/* error NULL: it is here; "": it was stopped. */
void chat_fetched(struct chat *c, const char *error);

/* A card in the flow. hint may be NULL. */
void chat_card(struct chat *c, enum message_role role, const char *title, const char *hint, const char *format,
               ...) __attribute__((format(printf, 5, 6)));

/* Name for the model that a person would type, else the file's name. */
void chat_model_label(const struct chat *c, char *out, size_t n_bytes);
/* What a person should know about the model in use, "" mostly. how: what lists the models, "F2". */
void chat_advice(const struct chat *c, const char *how, char *out, size_t n_bytes);

#endif
