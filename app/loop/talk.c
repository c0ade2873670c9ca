/* SPDX-License-Identifier: MIT */
#include "app/loop/talk.h"

#include <stdlib.h>
#include <string.h>

/* ---- what the chat asks for ----------------------------------------------------------------------- */

static bool port_open_model(void *self, uint64_t id, const char *path)
{
    return worker_open(((struct talk *)self)->worker, id, path);
}

static bool port_set_context(void *self, uint64_t id, int32_t n_ctx)
{
    return worker_set_context(((struct talk *)self)->worker, id, n_ctx);
}

static bool port_answer(void *self, const struct port_request *request)
{
    return worker_answer(((struct talk *)self)->worker, request);
}

static void port_cancel(void *self, uint64_t id)
{
    worker_cancel(((struct talk *)self)->worker, id);
}

static bool port_fetch(void *self, const char *name)
{
    struct talk *t = self;
    return fetch_start(&t->fetch, t->paths->fetch_script, name);
}

static void port_stop_fetch(void *self)
{
    fetch_stop(&((struct talk *)self)->fetch);
}

static void port_show(void *self, enum port_panel panel)
{
    struct talk *t = self;
    t->front.show(t->front.self, panel);
}

static void port_give_back(void *self, const char *text)
{
    struct talk *t = self;
    t->front.give_back(t->front.self, text);
}

static void port_quit(void *self)
{
    struct talk *t = self;
    t->front.quit(t->front.self);
}

static double port_now_s(void *self)
{
    (void)self;
    return (double)uv_hrtime() * 1e-9;
}

/* ---- what the chat hears -------------------------------------------------------------------------- */

/* Wakes may merge, so the box is emptied each time instead of counting. */
static void on_mail(uv_async_t *wake)
{
    struct talk *t = wake->data;
    struct mail mails[16];
    int n;
    while ((n = mailbox_take(&t->box, mails, 16)) > 0)
        for (int i = 0; i < n; i++)
            chat_take(&t->chat, &mails[i]);
    t->front.changed(t->front.self);
}

static void on_fetch_progress(void *data, uint64_t done, uint64_t total)
{
    struct talk *t = data;
    chat_fetch_progress(&t->chat, done, total);
    t->front.changed(t->front.self);
}

static void on_fetch_end(void *data, const char *error)
{
    struct talk *t = data;
    chat_fetched(&t->chat, error);
    t->front.changed(t->front.self);
}

/* ---- life ----------------------------------------------------------------------------------------- */

static void close_loop(struct talk *t)
{
    uv_run(&t->loop, UV_RUN_DEFAULT);    /* close callbacks, and the end of a fetch */
    uv_loop_close(&t->loop);
}

enum err_code talk_create(struct talk **out, const struct config *config, const struct paths *paths,
                          const struct talk_front *front, struct err *e)
{
    struct worker_options options = { .engine = { .n_threads = config->n_threads, .cpu_tier = config->cpu_tier },
                                      .n_ctx = config->n_ctx, .kv_type_k = config->kv_type_k,
                                      .kv_type_v = config->kv_type_v };
    struct talk *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "no memory for the chat");
    int error = uv_loop_init(&t->loop);
    if (error == 0 && (error = mailbox_init(&t->box, &t->loop, on_mail, t)) != 0)
        uv_loop_close(&t->loop);
    if (error != 0) {
        free(t);
        return err_set(e, ERR_NOMEM, "the event loop could not be made: %s", uv_strerror(error));
    }
    enum err_code rc = worker_start(&t->worker, &options, &t->box, e);
    if (rc != ERR_OK) {
        uv_close((uv_handle_t *)&t->box.wake, NULL);
        close_loop(t);
        mailbox_finish(&t->box);
        free(t);
        return rc;
    }
    t->paths = paths;
    t->front = *front;
    fetch_init(&t->fetch, &t->loop, t);
    t->fetch.on_progress = on_fetch_progress;
    t->fetch.on_end = on_fetch_end;
    struct port port = { .self = t, .open_model = port_open_model, .set_context = port_set_context,
                         .answer = port_answer, .cancel = port_cancel, .fetch = port_fetch,
                         .stop_fetch = port_stop_fetch, .show = port_show, .give_back = port_give_back,
                         .quit = port_quit, .now_s = port_now_s };
    chat_init(&t->chat, config, paths, &port);
    *out = t;
    return ERR_OK;
}

void talk_destroy(struct talk *t)
{
    if (!t)
        return;
    mailbox_close(&t->box);
    uv_close((uv_handle_t *)&t->box.wake, NULL);
    worker_stop(t->worker);
    t->fetch.on_end = NULL;
    t->fetch.on_progress = NULL;
    fetch_stop(&t->fetch);
    close_loop(t);
    for (struct mail mail; mailbox_take(&t->box, &mail, 1) == 1;)
        if (mail.kind == MAIL_MODEL)
            free(mail.model);
    mailbox_finish(&t->box);
    chat_finish(&t->chat);
    free(t);
}

bool talk_begin(struct talk *t)
{
    const struct config *config = t->chat.config;
    char path[PATHS_BYTES];
    struct err e;
    enum err_code rc = config->system_file ? chat_system_file(&t->chat, config->system_file, &e) : ERR_OK;
    transcript_rewind(&t->chat.transcript, 0);    /* no card for what was asked for on the command line */
    if (rc != ERR_OK)
        chat_card(&t->chat, MESSAGE_ERROR, "No system prompt", "F9 or /system @FILE loads one", "%s", e.text);
    if (model_table_choose(t->paths, config->model, path, &e) != ERR_OK)
        return false;
    chat_open_model(&t->chat, path, false);
    return true;
}
