/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_WORKER_IMPL_H
#define QUIP_APP_LOOP_WORKER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "app/loop/worker.h"
#include "app/measure/beside.h"
#include "app/measure/measure.h"

/* The engine thread, shared by its files: worker.c has the jobs, models and sessions, worker_device.c what they
 * compute on, worker_answer.c what is done with a conversation. */

/* Which file a model was opened from. */
struct worker_file {
    uint64_t device, inode;
    int64_t n_bytes, time_ns;
};

/* A model with what it knows of the chat. */
struct worker_place {
    struct model *model;
    struct session *session;
    struct port_session wanted;     /* what the session was made with */
    struct worker_file file;
};

enum { WORKER_MAX_PARKED = PORT_PARKED };

/* A thread that opens a model beside the one in use (worker_open.c). The engine thread's, but for what load() touches
 * until done. */
struct loader {
    pthread_t thread;
    struct worker_place place;
    uint64_t id;                    /* of the wish */
    double start_s;
    enum err_code rc;
    struct err why;
    atomic_bool cancel, done;
    bool busy;                      /* there is a model under way, */
    bool started;                   /* placed, with a session */
    bool kept;                      /* the one it had before */
};

/* What is done with a level, or two, while nobody asks for an answer (worker_aside.c): one is measured, and maybe a base
 * beside it (worker_measure.c), or two answer one prompt (worker_compare.c). Models are the one in use, or opened for
 * this. */
struct aside {
    struct measure *m;              /* one of these; both NULL: nothing is done */
    struct beside *b;
    uint64_t id;                    /* set under lock, like sessions */
    atomic_bool cancel;             /* of a model that is opened for it; likewise */
    enum mail_kind failure;
    struct model *models[2], *opened[2];
    struct session *sessions[2];
    double posted_s;                /* clock of the last progress */
};

enum job_kind {
    JOB_OPEN, JOB_SESSION, JOB_DEVICE, JOB_DEVICES, JOB_LEVELS, JOB_MEASURE, JOB_COMPARE, JOB_ANSWER, JOB_COUNT,
    JOB_PREPARE, JOB_CLOSE, JOB_STATS
};

/* Messages of the job's own. */
struct job_prompt {
    struct chat_message *messages;
    int32_t n_messages;
};

struct job {
    struct job *next;
    enum job_kind kind;
    uint64_t id;
    char *path;
    char base[PORT_PATH_BYTES];     /* of a measure; "": none */
    struct port_pair pair;          /* of a comparison */
    struct port_session session;
    struct port_device device;
    struct port_request request;    /* of an answer; its messages are the first prompt */
    char *begun, *begun_thinking;
    struct job_prompt *prompts;
    int32_t n_prompts;
    int32_t enable_thinking;
};

/* What is done only while there is no job, and gives way to one: in the chat's session, or in those aside. */
enum worker_idle { IDLE_NOT, IDLE_CHAT, IDLE_ASIDE };

struct worker {
    struct engine *eng;
    struct mailbox *box;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, **last;        /* under lock, like quit */
    bool quit;
    bool loaded;                      /* under lock: the loader is done */
    enum worker_idle idle;            /* under lock */
    struct session *cancellable;      /* under lock: the session, for the loop thread to cancel */
    _Atomic uint64_t cancelled;       /* answers up to this one are not wanted */

    /* The engine thread's own. */
    struct worker_options options;    /* session: as in force */
    struct worker_place here;         /* in use; no model before the first */
    struct worker_place parked[WORKER_MAX_PARKED];    /* left, the one used last comes last; they rest */
    int32_t n_parked;
    struct loader loader;
    struct aside aside;
    _Atomic uint64_t aside_stopped;      /* those up to this one are not wanted */
    _Atomic uint64_t answers_ended;      /* of comparisons up to this one */
    bool unmeasured;     /* what passes of the session cost is still to be found out */
    int32_t n_warned;    /* of the model's warnings, how many were told */
    double stats_s;                   /* clock of the last figures */
    double memory_bytes_per_s;        /* 0: not measured yet, */
    bool bandwidth_sought;            /* or it cannot be */
};

/* All of this is the engine thread's. */
double worker_now_s(void);
void worker_fill_stats(struct worker *w, struct port_stats *out);
void worker_post_stats(struct worker *w);
void worker_post_failure(struct worker *w, enum mail_kind kind, uint64_t id, const struct err *e);

/* The model in use, as it is now. */
void worker_post_model(struct worker *w, uint64_t id, double load_s, int32_t n_again);
/* Another session for a model, as wanted; and in place of the one in use. */
enum err_code worker_create_session(struct worker *w, struct model *m, const struct port_session *wanted,
                                    struct session **out, struct err *e);
void worker_change_session(struct worker *w, struct session *s);

void worker_do_open(struct worker *w, const struct job *j);
void worker_do_loaded(struct worker *w);
void worker_do_meanwhile(struct worker *w);        /* these two between two steps of an answer */
void worker_arrive_in_answer(struct worker *w);
void worker_push_loaded(struct worker *w);         /* the loader's */
void worker_stop_loading(struct worker *w);
void worker_forget_parked(struct worker *w);
void worker_close_all(struct worker *w);
void worker_do_device(struct worker *w, const struct job *j);
void worker_do_devices(struct worker *w);
void worker_do_levels(struct worker *w);
void worker_do_measure(struct worker *w, const struct job *j);
void worker_measure_step(struct worker *w);
void worker_do_compare(struct worker *w, const struct job *j);
void worker_compare_step(struct worker *w);
/* Before something is begun aside: what was, ends. */
void worker_begin_aside(struct worker *w, uint64_t id, enum mail_kind failure);    /* how it is told */
/* Model i of it, with a session of its own. */
enum err_code worker_take_aside(struct worker *w, int i, const char *path, int32_t n_ctx, struct err *e);
void worker_aside_step(struct worker *w);
bool worker_has_aside(const struct worker *w);
void worker_finish_aside(struct worker *w);                         /* gives everything back */
void worker_fail_aside(struct worker *w, const struct err *e);      /* and says why it ends */
void worker_end_aside(struct worker *w, const char *why);           /* where there is any; "": it was asked for */
/* The messages as tokens. Errors: ERR_UNSUPPORTED without a model; of model_chat() */
enum err_code worker_render(struct worker *w, const struct job_prompt *p, int32_t enable_thinking,
                            struct token_list *tokens, struct chat_prompt *prompt, struct err *e);
void worker_do_answer(struct worker *w, const struct job *j);
void worker_do_count(struct worker *w, const struct job *j);
void worker_do_prepare(struct worker *w, const struct job *j);

/* Whether somebody waits for what is only preparation to end. */
bool worker_is_wanted(struct worker *w);
/* Around what gives way. False: somebody waits, nothing is begun. From true on every new job cancels the chat's session,
 * or those aside. */
bool worker_begin_idle(struct worker *w, bool aside);
void worker_end_idle(struct worker *w);

#endif
