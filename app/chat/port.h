/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_PORT_H
#define QUIP_APP_CHAT_PORT_H

#include "engine/engine.h"

/* Where the chat touches the rest of the program. It asks through a table of functions that return at once
 * and hears what came of it as mails, so it can be tested without a screen, a loop or an engine. */

enum {
    PORT_WARNINGS = 8,
    PORT_TEXT_BYTES = 192,
    PORT_TAG_BYTES = 64,
    PORT_PATH_BYTES = 1024,
    PORT_TYPE_BYTES = 8,
    PORT_PROMPTS = 32,    /* counted at once */
    PORT_SIZES = 8,
    PORT_DEVICES = 17,    /* the processor, and others */
    PORT_PARKED = 3       /* models that were left, and know the chat as it was then */
};

/* A model that answers now, in copies of what the engine knows: the model itself stays on its thread.
 * Texts come from the file: not safe for a terminal. */
struct port_model {
    char path[PORT_PATH_BYTES];
    char name[PORT_TEXT_BYTES], level[PORT_TEXT_BYTES], architecture[PORT_TEXT_BYTES];
    char cpu_tier[PORT_TEXT_BYTES];
    char device[PORT_TEXT_BYTES], device_driver[PORT_TEXT_BYTES];    /* as placed; "": the processor computes */
    char device_note[ERR_TEXT_BYTES];
    char think_open[PORT_TAG_BYTES], think_close[PORT_TAG_BYTES];
    char warnings[PORT_WARNINGS][ERR_TEXT_BYTES];
    int32_t n_warnings;
    int32_t n_ctx, n_ctx_train, n_threads;
    int32_t n_layers;
    int32_t n_again;                   /* tokens that were held where it was before, and are to be read again */
    uint64_t file_bytes;
    struct sampler_params sampling;    /* the model's own recommendation */
    double load_s;                     /* that opening took, or moving */
    bool in_answer;                    /* it came in mid-answer and goes on with that */
    bool is_back;                      /* it was parked: what it held then (stats) is not read again */
    char parked[PORT_PARKED][PORT_PATH_BYTES];
    int32_t n_parked;
};

/* Fields as in struct session_stats. */
struct port_stats {
    int32_t n_held;                    /* tokens in the cache */
    uint64_t resident_bytes, available_bytes, total_bytes;
    uint64_t device_free_bytes, device_total_bytes;
    bool device_shares;
    int32_t n_device_layers;           /* of the model, where it computes now */
    uint64_t device_bytes;
    uint64_t kv_bytes, kv_full_bytes;
    char kv_type_k[PORT_TYPE_BYTES], kv_type_v[PORT_TYPE_BYTES];    /* "" before there is a session */
    char kv_note[PORT_TEXT_BYTES];
    int32_t n_open, n_sealed, n_shared;
    uint64_t cached_bytes, cache_ram_bytes;
    int32_t n_disk_files, n_disk_writing;
    uint64_t disk_bytes;
    int32_t n_passes, n_drafted, n_accepted;
    double saved_ms;
    char spec_note[PORT_TEXT_BYTES];
    uint64_t token_bytes;              /* read for the next token */
    double memory_bytes_per_s;         /* what the processor's threads read of the machine's memory; 0: not known */
};

/* What there is to compute on, the processor first. Names as in port_model. */
struct port_devices {
    struct port_device_row {
        char id[16];                   /* "cpu", "vulkan:0" */
        char name[PORT_TEXT_BYTES];
        char kind[16];                 /* as in struct engine_device */
        uint64_t n_bytes, free_bytes;  /* of its memory; 0: nobody knows */
        bool in_use;                   /* has layers of the model, or, the processor, all */
        char problem[PORT_TEXT_BYTES]; /* why it cannot be used; "" */
    } rows[PORT_DEVICES];
    int32_t n;
    char problem[ERR_TEXT_BYTES];      /* why there is no other; "" */
};

/* A figure that was measured on this machine, or is a rough estimate. */
enum port_figure { PORT_UNKNOWN, PORT_ESTIMATED, PORT_MEASURED };

enum { PORT_LEVELS = 64 };

/* Levels of the model in use, the best first: those that are here, and those that can be made. Fields as in
 * app/level/ladder.h. */
struct port_levels {
    struct port_level {
        char level[24];
        char path[PORT_PATH_BYTES];    /* where it is, or would be; "": no place for it */
        bool is_here, is_best;
        char problem[PORT_TEXT_BYTES], warning[PORT_TEXT_BYTES];    /* "": none */
        uint64_t file_bytes;
        double bits;                   /* per weight */
        bool is_priced, fits;          /* with the context and types now in force; */
        uint64_t needed_bytes;
        int64_t spare_bytes;           /* below 0: so much more than there is room for, */
        char instead[PORT_TEXT_BYTES]; /* and this would fit: "a context of 4096 tokens (-c 4096): 1.20 GB"; "" */
        enum port_figure speed, quality;
        double tokens_per_s, kl;
    } rows[PORT_LEVELS];
    int32_t n;
    char source[PORT_PATH_BYTES];      /* of what can be made */
    char problem[ERR_TEXT_BYTES];      /* why there are none; "" */
};

/* Lengths of some prompts, and what larger contexts would take. */
struct port_counts {
    int32_t tokens[PORT_PROMPTS];
    int32_t n;
    struct {
        int32_t n_ctx;
        uint64_t kv_bytes;             /* full, with the types in force */
    } sizes[PORT_SIZES];               /* twice the context in force, four times ... up to the model's own */
    int32_t n_sizes;
};

enum { PORT_SIDES = 2 };

/* Two levels that are to answer one prompt: side 0 is the one in use, side 1 the other. */
struct port_pair {
    char paths[PORT_SIDES][PORT_PATH_BYTES];
    int32_t base;                  /* the better level, which KL is measured from */
    int32_t first;                 /* has the first turn */
};

/* What came of it. Fields as in struct beside_result (app/measure/beside.h). */
struct port_compared {
    struct {
        int32_t n_tokens;
        double answer_per_s;
        bool is_whole;
        int32_t n_device_layers;   /* where it computed */
    } sides[PORT_SIDES];
    int32_t n_same, n_judged;
    bool differ;
    double kl, kl_low, kl_high, same_top;
};

enum mail_kind {
    MAIL_MODEL,           /* model: in use from now on, as it is now; stats */
    MAIL_MODEL_FAILED,    /* text: why; the model before stays, and where it was */
    MAIL_DEVICES,         /* devices */
    MAIL_LEVELS,          /* levels: of the model in use */
    MAIL_MEASURED,        /* measured: a level, as far as it is */
    MAIL_NOT_MEASURED,    /* text: why; "": it was stopped */
    MAIL_COMPARE_PROMPT,  /* prompt: what two levels are about to answer; both are there */
    MAIL_COMPARE_EVENT,   /* event: of the answer of `side` */
    MAIL_COMPARED,        /* compared */
    MAIL_NOT_COMPARED,    /* text: why; "": it was stopped */
    MAIL_PROMPT,          /* prompt: the conversation as tokens, about to be evaluated */
    MAIL_TOO_LONG,        /* prompt: it does not fit, nothing was evaluated */
    MAIL_EVENT,           /* event; stats with EVENT_DONE */
    MAIL_FAILED,          /* text: no answer, and why */
    MAIL_WARNING,         /* text: what came to light about the model since it was opened */
    MAIL_COUNTS,          /* counts; stats */
    MAIL_STATS            /* stats alone; of no request */
};

/* Mails cross threads by value; what is too big for that comes as a pointer. */
struct mail {
    enum mail_kind kind;
    uint64_t request;     /* of the answer or the model it is about */
    int32_t side;         /* of a comparison */
    union {
        struct port_model *model;    /* malloc; the receiver's */
        struct port_devices *devices;    /* likewise */
        struct port_levels *levels;      /* likewise */
        struct {
            bool is_over;                /* else only share counts */
            double share;                /* done, 0 to 1 */
            double prompt_per_s, answer_per_s;    /* tokens; 0: not known */
            double kl, kl_low, kl_high;  /* mean KL divergence from the base, and its 95 % interval, */
            double same_top;             /* 0 to 1, */
            int32_t n_tokens;            /* over so many; 0: there was no base */
        } measured;
        struct {
            int32_t n_prompt, n_ctx;
            int32_t n_reused;    /* as far as memory tells; what files add is known at the end */
            bool opens_thinking;
        } prompt;
        struct port_counts counts;
        struct port_compared compared;
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
    const char *begun;      /* the answer so far, to be gone on with; NULL: a new one */
    const char *begun_thinking;    /* with begun: thoughts before it, over if text follows them; NULL: none */
};

/* Messages whose length as a prompt is wanted. */
struct port_prompt {
    const struct chat_message *messages;
    int32_t n_messages;
};

/* What is to compute, as in engine_options. */
struct port_device {
    char name[PORT_TEXT_BYTES];
    int32_t n_gpu_layers;
};

/* What a session is made with. */
struct port_session {
    int32_t n_ctx;                               /* 0: the engine's choice */
    char kv_type_k[PORT_TYPE_BYTES], kv_type_v[PORT_TYPE_BYTES];
};

enum port_panel { PANEL_HELP, PANEL_MODELS, PANEL_SETTINGS, PANEL_STATS, PANEL_CONTEXT, PANEL_COMPARE };

/* self comes first in every call. Those that return bool say false when there is no memory. */
struct port {
    void *self;
    bool (*open_model)(void *self, uint64_t id, const char *path);
    /* The model in use with another session; the chat stays. Answers with MAIL_MODEL too. */
    bool (*set_session)(void *self, uint64_t id, const struct port_session *session);
    /* The model in use on another device, or with other layers there. Answers with MAIL_MODEL too. */
    bool (*set_device)(void *self, uint64_t id, const struct port_device *device);
    bool (*list_devices)(void *self);                   /* MAIL_DEVICES when there is time */
    bool (*want_levels)(void *self);                    /* MAIL_LEVELS when there is time */
    /* Makes the file target, a level, from source; the chat hears of its end through chat_made(). */
    bool (*make_level)(void *self, const char *source, const char *target, const char *level, bool allow_requantize);
    void (*stop_making)(void *self);
    /* Measures a level, against the file base ("": speed alone), while nobody asks for an answer. MAIL_MEASURED */
    bool (*measure)(void *self, uint64_t id, const char *path, const char *base);
    /* Two levels answer side by side, while nobody asks for an answer. Of the request count the messages, enable_thinking
     * and generate, whose n_predict is above 0. */
    bool (*compare)(void *self, const struct port_request *request, const struct port_pair *pair);
    void (*end_answers)(void *self, uint64_t id);       /* of a comparison: what is there is judged */
    void (*stop_aside)(void *self, uint64_t id);        /* a measure or a comparison */
    bool (*answer)(void *self, const struct port_request *request);
    bool (*count)(void *self, uint64_t id, const struct port_prompt *prompts, int32_t n, int32_t enable_thinking);
    /* Evaluates what the next prompt will begin with, while nothing else is to be done; gives way to anything. */
    bool (*prepare)(void *self, const struct port_prompt *prompt, int32_t enable_thinking);
    void (*close_chat)(void *self);                     /* what was said last is over and may be kept in a file */
    void (*want_stats)(void *self);                     /* MAIL_STATS when there is time */
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
