/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_WORKER_IMPL_H
#define QUIP_APP_LOOP_WORKER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "app/loop/worker.h"

/* The engine thread, shared by its files: worker.c has the jobs, models and sessions, worker_device.c what they
 * compute on, worker_answer.c what is done with a conversation. */

enum job_kind {
    JOB_OPEN, JOB_SESSION, JOB_DEVICE, JOB_DEVICES, JOB_ANSWER, JOB_COUNT, JOB_PREPARE, JOB_CLOSE, JOB_STATS
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
    struct port_session session;
    struct port_device device;
    struct port_request request;    /* of an answer; its messages are the first prompt */
    char *begun, *begun_thinking;
    struct job_prompt *prompts;
    int32_t n_prompts;
    int32_t enable_thinking;
};

struct worker {
    struct engine *eng;
    struct mailbox *box;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, **last;        /* under lock, like quit */
    bool quit;
    bool idle;                        /* under lock: what is done is nobody's wish, and gives way to any job */
    struct session *cancellable;      /* under lock: the session, for the loop thread to cancel */
    _Atomic uint64_t cancelled;       /* answers up to this one are not wanted */

    /* The engine thread's own. */
    struct worker_options options;    /* session: as in force */
    struct model *model;
    struct session *session;
    bool unmeasured;     /* what passes of the session cost is still to be found out */
    int32_t n_warned;    /* of the model's warnings, how many were told */
    double stats_s;                   /* clock of the last figures */
};

/* All of this is the engine thread's. */
double worker_now_s(void);
void worker_fill_stats(struct worker *w, struct port_stats *out);
void worker_post_stats(struct worker *w);
void worker_post_failure(struct worker *w, enum mail_kind kind, uint64_t id, const struct err *e);

/* The model in use, as it is now. */
void worker_post_model(struct worker *w, uint64_t id, double load_s, int32_t n_again);
/* Another session for a model, as wanted; and in place of the one in use, which may come back to what it holds. */
enum err_code worker_create_session(struct worker *w, struct model *m, const struct port_session *wanted,
                                    struct session **out, struct err *e);
void worker_change_session(struct worker *w, struct session *s);

void worker_do_device(struct worker *w, const struct job *j);
void worker_do_devices(struct worker *w);
void worker_do_answer(struct worker *w, const struct job *j);
void worker_do_count(struct worker *w, const struct job *j);
void worker_do_prepare(struct worker *w, const struct job *j);

/* Around what gives way. False: somebody waits, nothing is begun. From true on every new job cancels the session. */
bool worker_begin_idle(struct worker *w);
void worker_end_idle(struct worker *w);

#endif
