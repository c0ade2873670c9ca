/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_WORKER_H
#define QUIP_APP_LOOP_WORKER_H

#include "app/loop/mailbox.h"

/* The engine thread: owns engine, model and session, does one thing after the other, and tells the mailbox.
 * Every call below is for the loop thread and returns at once. */
struct worker;

struct worker_options {
    struct engine_options engine;
    int32_t n_ctx;          /* 0: the engine's choice */
    const char *kv_type_k, *kv_type_v;    /* NULL: f16 */
};

/* Errors: ERR_NOMEM; ERR_UNSUPPORTED from engine_create(), which is done here so that a bad option is said
 * before there is a screen. */
enum err_code worker_start(struct worker **out, const struct worker_options *o, struct mailbox *box,
                           struct err *e);
/* Ends what it does within 100 ms, waits for the thread, gives everything back. The mailbox must be closed
 * before. Takes NULL. */
void worker_stop(struct worker *w);

/* These return false when there is no memory for the request. */
bool worker_open(struct worker *w, uint64_t id, const char *path);
bool worker_set_context(struct worker *w, uint64_t id, int32_t n_ctx);    /* answers with MAIL_MODEL too */
bool worker_answer(struct worker *w, const struct port_request *request);
/* Ends this answer and all before it, wherever they are. */
void worker_cancel(struct worker *w, uint64_t id);

void worker_info(const struct worker *w, struct engine_info *out);

#endif
