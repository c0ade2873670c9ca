/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_CHAT_H
#define QUIP_APP_CHAT_CHAT_H

#include "app/chat/drafts.h"
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
 * What is typed while the first model loads, or an answer is written, waits and is sent as soon as possible. While
 * another model is opened the one there is answers; then the new one goes on with that answer (two levels of a model)
 * or answers what comes next, and reads the chat again, but for what it knows of it from before. Moving a model to
 * another device stops the answer, keeps the messages, and the next answer reads them all again. A context that is
 * full is a question to the person (chat_context.c). */

enum chat_state { CHAT_EMPTY, CHAT_LOADING, CHAT_READY, CHAT_ANSWERING };

enum { CHAT_MAX_SETTINGS = 48, CHAT_RESERVE = 256, CHAT_SYSTEM_MAX_BYTES = 1 << 20 };

struct chat_setting {
    char name[32], value[32];
};

/* ---- a full context ------------------------------------------------------------------------------- */

enum chat_room { ROOM_DROP, ROOM_SUMMARISE, ROOM_LARGER, ROOM_STOP, CHAT_ROOMS };

struct chat_choice {
    const char *label;
    char text[224];      /* what it would do, in numbers; or why it cannot be done */
    bool possible;
};

enum chat_context_state {
    CONTEXT_IDLE,
    CONTEXT_COUNTING,       /* the engine counts what each choice would leave */
    CONTEXT_ASKING,         /* the choices are there */
    CONTEXT_SUMMARISING,    /* an answer that becomes the summary */
    CONTEXT_GROWING         /* a larger context is being made */
};

enum chat_context_cause {
    CONTEXT_MESSAGE,    /* a message does not fit; it waits for room */
    CONTEXT_ANSWER,     /* an answer was cut */
    CONTEXT_WISH        /* the person asked */
};

struct chat_context {
    enum chat_context_state state;
    enum chat_context_cause cause;
    bool warned;                      /* said that it is nearly full, and it still is */
    uint64_t request;                 /* of the count */
    uint64_t question;                /* the message that waits for room; 0: none */
    const char *title;                /* of the question to the person */
    char text[224];
    struct chat_choice choices[CHAT_ROOMS];
    struct port_counts counts;
    int32_t cuts[PORT_PROMPTS];       /* where on the path each counted prompt begins; the first is all of it */
    int32_t n_cuts;
    int32_t cut;                      /* the one that the choices are about */
    int32_t n_ctx_wanted;             /* of the larger context */
    int32_t summary_from;             /* the cut from which on the summary reads */
    int32_t n_summary;                /* its tokens at most */
};

/* ---- two levels side by side ---------------------------------------------------------------------- */

enum compare_state { COMPARE_NONE, COMPARE_OPENING, COMPARE_ANSWERING, COMPARE_JUDGING, COMPARE_DONE, COMPARE_FAILED };

/* Of the answers as they are shown. */
enum compare_verdict { COMPARE_UNSAID, COMPARE_LEFT, COMPARE_RIGHT, COMPARE_NEITHER };

enum { COMPARE_LINES = 3 };

struct chat_compare {
    enum compare_state state;
    uint64_t request;
    struct buf prompt;                /* what both answer */
    bool blind;
    int left;                         /* the side that is shown on the left; side 0 is the level in use */
    int base;                         /* the better level */
    enum compare_verdict verdict;     /* of a blind one */
    int32_t won[PORT_SIDES + 1];      /* verdicts for each side of this pair, and for neither */
    struct compare_side {
        char level[24], path[PORT_PATH_BYTES];
        uint64_t needed_bytes, file_bytes;    /* 0: not known */
        struct think think;
        struct buf text, thoughts;
        int32_t n_tokens, n_thoughts, n_read, n_to_read;
        bool is_over;
    } sides[PORT_SIDES];
    struct port_compared result;      /* in COMPARE_DONE */
    char problem[ERR_TEXT_BYTES];     /* in COMPARE_FAILED */
};

/* What to do with a level when the list of them has come. */
enum level_wish { LEVEL_SWITCH, LEVEL_MEASURE, LEVEL_COMPARE };

struct chat {
    const struct config *config;
    const struct paths *paths;
    struct port port;

    enum chat_state state;
    struct transcript transcript;
    struct buf waiting;             /* typed while the model was busy, sent when it is free */
    uint32_t version;               /* counts changes: who draws compares it */

    struct port_model *model;       /* NULL until one answered */
    struct port_session session, session_before;    /* as asked for; as it was, should that fail */
    struct port_device device, device_before;       /* likewise */
    struct port_stats stats;
    struct chat_context context;
    int32_t n_ctx_used;             /* tokens of the conversation, as far as known */
    int32_t n_prompt, n_reused;     /* of the prompt read last; 0: none yet */
    char opening[PORT_PATH_BYTES];  /* the model being opened; "": none. The one in use answers meanwhile */
    char model_before[PORT_PATH_BYTES];    /* in use before this one; "": none was */
    bool moving;                    /* the model is on its way to a device */
    uint64_t last_id;               /* of requests */
    uint64_t model_request, device_request;

    /* The answer being written. */
    uint64_t answer_request, answer_id;
    struct think think;
    bool stopping;                  /* stop was asked for, DONE has not come */
    bool paused;                    /* the process was stopped meanwhile: its speed means nothing */
    int32_t n_read, n_to_read;      /* prompt tokens, while they are read */
    int32_t n_answer;               /* tokens so far */
    double first_s, think_start_s;  /* clock at the first token, at the start of thinking */
    double tokens_per_s;            /* live, then of the last answer */
    struct drafts drafts;           /* so far, then of the last answer */
    int32_t spec_asked;             /* c->spec when it was asked for */
    int32_t n_repeated;             /* it says so many tokens over and over; 0: it does not */
    bool drafted;                   /* its last token came from a draft */
    uint64_t seed_shift;            /* added to the seed when an answer is made again */
    size_t begun_bytes, begun_thinking_bytes;    /* of an answer that is gone on with: there before */

    struct buf system;              /* system prompt */
    char system_file[PATHS_BYTES];  /* where it came from, "" for typed text */
    int64_t system_changed_ns;      /* when that file was changed last */
    enum think_mode think_mode;
    int32_t spec;                   /* drafts for the next answer, as in struct generate_options */
    bool show_drafts;               /* text that came from drafts is underlined */
    struct chat_setting settings[CHAT_MAX_SETTINGS];
    int32_t n_settings;

    char fetching[MODEL_ROW_NAME_BYTES];    /* the model being fetched, "" for none */
    uint64_t fetch_done, fetch_total;

    struct port_levels *levels;     /* of the model in use, as they were when last asked for; NULL: not yet */
    char level_wanted[24];          /* what to do with them when they come: a name to switch to, "?": list them */
    enum level_wish level_wish;
    char making[24];                /* the level being made, "" for none */
    char making_path[PORT_PATH_BYTES];
    uint64_t make_done, make_total; /* bytes of the source */
    double make_start_s;
    char measuring[24];             /* the level being measured, "" for none */
    char measuring_path[PORT_PATH_BYTES];
    uint64_t measure_request;
    double measure_share;           /* 0 to 1 */
    double read_per_s;              /* tokens of a prompt, as last measured; 0: not yet */
    struct chat_compare compare;
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
void chat_continue(struct chat *c);      /* goes on with an answer that was stopped or cut */
void chat_new(struct chat *c);
void chat_note_pause(struct chat *c);    /* the process was stopped and goes on now */

/* A path or a name of the list. A model of the list that is not here is fetched when fetch is set. */
void chat_open_model(struct chat *c, const char *name, bool fetch);
/* To the model before this one; while another is being opened, that is not to come. */
void chat_model_back(struct chat *c);
/* chat_levels.c: the levels of the model in use (chat.levels) are asked for, by name or row switched to, or made. */
void chat_want_levels(struct chat *c);
void chat_level(struct chat *c, const char *name);    /* "": lists them */
void chat_choose_level(struct chat *c, const struct port_level *row);
void chat_make_progress(struct chat *c, uint64_t done, uint64_t total);
/* error NULL: it is there; "": stopped */
void chat_made(struct chat *c, const char *error);
/* Speed, and KL divergence from the best level, measured while nobody asks for an answer; some 20 seconds. */
void chat_measure_level(struct chat *c, const struct port_level *row);
void chat_measure(struct chat *c, const char *name);    /* "": the level in use */
/* A row for a person; "~" marks an estimate. */
struct chat_level_texts {
    char size[24], bits[16], memory[32], speed[16], quality[16], where[16];
    bool in_use;
};
void chat_level_texts(const struct chat *c, const struct port_level *row, struct chat_level_texts *out);
/* What it would cost to go there, in a line. */
void chat_level_detail(const struct chat *c, const struct port_level *row, char *out, size_t n_bytes);
/* chat_compare.c: the level in use and that of the row answer a question ("": the last one of the chat) side by side.
 * False: a card says why not. Blind: which is which is told after chat_compare_say(). */
bool chat_compare_begin(struct chat *c, const struct port_level *row, const char *question, bool blind);
bool chat_compare_again(struct chat *c, const char *question);    /* the same two */
void chat_compare(struct chat *c, const char *argument);          /* "LEVEL [blind] [QUESTION]" */
void chat_compare_stop(struct chat *c);                           /* nothing is kept of it */
void chat_compare_enough(struct chat *c);                         /* of the answers: they are judged as they are */
bool chat_compare_is_busy(const struct chat *c);
bool chat_compare_is_hidden(const struct chat *c);                /* which side is which is not told yet */
void chat_compare_say(struct chat *c, enum compare_verdict verdict);
void chat_compare_keep(struct chat *c, bool right);               /* that level answers from now on */
/* As it is shown, left and right. */
struct chat_compare_texts {
    char labels[PORT_SIDES][32], status[PORT_SIDES][64];
    const struct buf *texts[PORT_SIDES];    /* while there is none: thoughts */
    int32_t n_thoughts[PORT_SIDES];   /* tokens that were thought before the text */
    size_t n_quiet[PORT_SIDES];       /* bytes of it that say nothing of the difference: both begin with them, or thoughts */
    char lines[COMPARE_LINES][ERR_TEXT_BYTES];    /* what it comes to; "" for fewer */
};
void chat_compare_texts(const struct chat *c, struct chat_compare_texts *out);
/* After an error (ERR_IO, ERR_FORMAT, ERR_NOMEM) the old prompt still holds. */
enum err_code chat_system_file(struct chat *c, const char *path, struct err *e);
void chat_system_text(struct chat *c, const char *text);    /* "": none */
void chat_set_context(struct chat *c, int32_t n_ctx);
/* What cached keys and values are asked to be. keys or values may be NULL: as before. False: no such type. */
bool chat_set_kv_types(struct chat *c, const char *keys, const char *values);
/* What computes from now on: "cpu", "auto", a device's name or a part of it, "vulkan:1". */
bool chat_set_device(struct chat *c, const char *name);
/* How many of the model's layers the device has: a number, "0" for none, "auto" for as many as fit. */
bool chat_set_gpu_layers(struct chat *c, const char *value);
/* Shows the devices there are, in a card, when the engine has the time to look. */
void chat_list_devices(struct chat *c);
/* Shows how full the context is and what can be done about it. */
void chat_show_context(struct chat *c);
/* The answer to that, while context.state is CONTEXT_ASKING; ROOM_STOP also earlier. False: not possible. */
bool chat_make_room(struct chat *c, enum chat_room choice);
void chat_set_think(struct chat *c, enum think_mode mode);
/* Drafts for the answers to come, as in struct generate_options. */
void chat_set_spec(struct chat *c, int32_t spec);
void chat_show_drafts(struct chat *c, bool show);
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

/* What the program knows about the model, its cache and the last answer, row by row. */
enum { CHAT_FIGURES = 16 };
struct chat_figure {
    const char *name;
    char text[PORT_TEXT_BYTES];
};
int32_t chat_figures(const struct chat *c, struct chat_figure out[CHAT_FIGURES]);
/* What becomes of drafts now: "as many as pay", "off, because nothing repeats here". */
void chat_drafts_text(const struct chat *c, char *out, size_t out_bytes);
/* "98.4 MB" */
void chat_size_text(uint64_t n_bytes, char *out, size_t out_bytes);
/* "kv4", or "kv4/q8_0" for keys and values that differ; "" before there is a cache. */
void chat_kv_types(const struct chat *c, char *out, size_t out_bytes);

/* What computes: "cpu avx512", or the device's name without what stands in brackets, "NVIDIA H200 22/30 layers" where
 * the processor has some; "" before there is a model. Brief: "gpu", "gpu 22/30". */
void chat_device_text(const struct chat *c, char *out, size_t out_bytes);
void chat_device_brief(const struct chat *c, char *out, size_t out_bytes);
/* "llvmpipe, 30 of 30 layers, 312 MB", or "the processor (cpu avx512)". */
void chat_place_text(const struct chat *c, char *out, size_t out_bytes);
/* What the model takes of the device's own memory, "3.10 GB", and all of that. False: nothing. */
bool chat_device_memory(const struct chat *c, char *used, char *all, size_t out_bytes);
/* "auto", or how many layers the device was asked to have. */
void chat_gpu_layers_text(const struct chat *c, char *out, size_t out_bytes);

/* Name for the model that a person would type, else the file's name. */
void chat_model_label(const struct chat *c, char *out, size_t n_bytes);
/* What a person should know about the model in use, "" mostly. how: what lists the models, "F2". */
void chat_advice(const struct chat *c, const char *how, char *out, size_t n_bytes);

#endif
