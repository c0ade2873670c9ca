/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_WORKER_H
#define QUIP_APP_LOOP_WORKER_H

#include "app/config/option.h"
#include "app/loop/mailbox.h"

/* The engine thread: owns engine, model and session, does one thing after the other, and tells the mailbox.
 * Every call below is for the loop thread and returns at once. */
struct worker;

struct worker_options {
    struct engine_options engine;
    struct port_session session;
    bool keep_kv_type;
    const char *cache_dir;      /* NULL: nothing is kept in files; lives as long as the worker */
    uint64_t cache_ram_bytes, cache_disk_bytes;
    const char *measure_text;   /* file of the text that levels are measured with; "": there is none */
    const char *models;         /* folder in which levels of the model are looked for; "": none */
    const char *figures;        /* file of figures that were measured here (level/figures.h); NULL: nothing is measured */
    const struct config_texts *draft_files;    /* NULL: none; lives as long as the worker */
    bool draft_from_chats;
};

/* Errors: ERR_NOMEM; ERR_UNSUPPORTED from engine_create(), which is done here so that a bad option is said
 * before there is a screen. */
enum err_code worker_start(struct worker **out, const struct worker_options *o, struct mailbox *box,
                           struct err *e);
/* Ends what it does within 100 ms, waits up to 2 s for files being written, then for the thread, and gives
 * everything back. The mailbox must be closed before. Takes NULL. */
void worker_stop(struct worker *w);

/* These return false when there is no memory for the request. */
bool worker_open(struct worker *w, uint64_t id, const char *path);
bool worker_set_session(struct worker *w, uint64_t id, const struct port_session *session);
bool worker_set_device(struct worker *w, uint64_t id, const struct port_device *device);
bool worker_list_devices(struct worker *w);
bool worker_want_levels(struct worker *w);
/* base NULL: none. MAIL_MEASURED, or MAIL_NOT_MEASURED. */
bool worker_measure(struct worker *w, uint64_t id, const char *path, const char *base);
/* The messages, enable_thinking and generate of the request count. MAIL_COMPARED, or MAIL_NOT_COMPARED. */
bool worker_compare(struct worker *w, const struct port_request *request, const struct port_pair *pair);
void worker_end_answers(struct worker *w, uint64_t id);    /* of a comparison */
/* Ends this measure or comparison and all before it. */
void worker_stop_aside(struct worker *w, uint64_t id);
bool worker_answer(struct worker *w, const struct port_request *request);
bool worker_count(struct worker *w, uint64_t id, const struct port_prompt *prompts, int32_t n,
                  int32_t enable_thinking);
bool worker_prepare(struct worker *w, const struct port_prompt *prompt, int32_t enable_thinking);
bool worker_close_chat(struct worker *w);
bool worker_want_stats(struct worker *w);
/* Ends this answer or count and all before it, wherever they are. */
void worker_cancel(struct worker *w, uint64_t id);

#endif
