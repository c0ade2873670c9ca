/* SPDX-License-Identifier: MIT */
#include "app/loop/talk.h"

#include <stdlib.h>
#include <string.h>

/* ---- what the chat asks for ----------------------------------------------------------------------- */

static bool port_open_model(void *self, uint64_t id, const char *path)
{
    return worker_open(((struct talk *)self)->worker, id, path);
}

static bool port_set_session(void *self, uint64_t id, const struct port_session *session)
{
    return worker_set_session(((struct talk *)self)->worker, id, session);
}

static bool port_set_device(void *self, uint64_t id, const struct port_device *device)
{
    return worker_set_device(((struct talk *)self)->worker, id, device);
}

static bool port_list_devices(void *self)
{
    return worker_list_devices(((struct talk *)self)->worker);
}

static bool port_answer(void *self, const struct port_request *request)
{
    return worker_answer(((struct talk *)self)->worker, request);
}

static bool port_count(void *self, uint64_t id, const struct port_prompt *prompts, int32_t n,
                       int32_t enable_thinking)
{
    return worker_count(((struct talk *)self)->worker, id, prompts, n, enable_thinking);
}

static bool port_prepare(void *self, const struct port_prompt *prompt, int32_t enable_thinking)
{
    return worker_prepare(((struct talk *)self)->worker, prompt, enable_thinking);
}

static void port_close_chat(void *self)
{
    worker_close_chat(((struct talk *)self)->worker);    /* without memory for that nothing is kept: no harm */
}

static void port_want_stats(void *self)
{
    worker_want_stats(((struct talk *)self)->worker);
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

static bool port_want_levels(void *self)
{
    return worker_want_levels(((struct talk *)self)->worker);
}

static bool port_make_level(void *self, const char *source, const char *target, const char *level, bool allow_requantize)
{
    return make_start(&((struct talk *)self)->make, source, target, level, allow_requantize);
}

static bool port_measure(void *self, uint64_t id, const char *path, const char *base)
{
    return worker_measure(((struct talk *)self)->worker, id, path, base);
}

static bool port_compare(void *self, const struct port_request *request, const struct port_pair *pair)
{
    return worker_compare(((struct talk *)self)->worker, request, pair);
}

static void port_end_answers(void *self, uint64_t id)
{
    worker_end_answers(((struct talk *)self)->worker, id);
}

static void port_stop_aside(void *self, uint64_t id)
{
    worker_stop_aside(((struct talk *)self)->worker, id);
}

static void port_stop_making(void *self)
{
    make_stop(&((struct talk *)self)->make);
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

static void on_make_progress(void *data, uint64_t done, uint64_t total)
{
    struct talk *t = data;
    chat_make_progress(&t->chat, done, total);
    t->front.changed(t->front.self);
}

static void on_make_end(void *data, const char *error)
{
    struct talk *t = data;
    chat_made(&t->chat, error);
    t->front.changed(t->front.self);
}

/* ---- life ----------------------------------------------------------------------------------------- */

static void close_loop(struct talk *t)
{
    uv_run(&t->loop, UV_RUN_DEFAULT);    /* close callbacks, and the end of a fetch or of a level being made */
    uv_loop_close(&t->loop);
}

static void init_chat(struct talk *t, const struct config *config)
{
    struct port port = {
        .self = t,
        .open_model = port_open_model, .set_session = port_set_session,
        .set_device = port_set_device, .list_devices = port_list_devices, .answer = port_answer,
        .count = port_count, .prepare = port_prepare, .close_chat = port_close_chat,
        .want_stats = port_want_stats, .cancel = port_cancel, .fetch = port_fetch,
        .stop_fetch = port_stop_fetch, .want_levels = port_want_levels, .make_level = port_make_level,
        .stop_making = port_stop_making, .measure = port_measure, .compare = port_compare,
        .end_answers = port_end_answers, .stop_aside = port_stop_aside,
        .show = port_show, .give_back = port_give_back, .quit = port_quit,
        .now_s = port_now_s
    };
    chat_init(&t->chat, config, t->paths, &port);
}

enum err_code talk_create(struct talk **out, const struct config *config, const struct paths *paths,
                          const struct talk_front *front, struct err *e)
{
    struct worker_options options = {
        .engine = { .n_threads = config->n_threads, .cpu_tier = config->cpu_tier,
                    .n_ctx = config->n_ctx, .cache_dir = paths->kv_cache[0] ? paths->kv_cache : NULL },
        .keep_kv_type = config->keep_kv_type,
        .cache_dir = config->cache_disk_mib > 0 && paths->kv_cache[0] ? paths->kv_cache : NULL,
        .measure_text = paths->measure_text,
        .models = paths->models,
        .figures = paths->figures[0] ? paths->figures : NULL,
        .cache_ram_bytes = (uint64_t)config->cache_ram_mib << 20,
        .cache_disk_bytes = (uint64_t)config->cache_disk_mib << 20,
        .draft_files = &config->spec_files,
        .draft_from_chats = config->spec_chats,
    };
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
    t->paths = paths;
    t->front = *front;
    init_chat(t, config);
    options.session = t->chat.session;
    options.engine.device = t->chat.device.name;
    options.engine.n_gpu_layers = t->chat.device.n_gpu_layers;
    enum err_code rc = worker_start(&t->worker, &options, &t->box, e);
    if (rc != ERR_OK) {
        uv_close((uv_handle_t *)&t->box.wake, NULL);
        close_loop(t);
        mailbox_finish(&t->box);
        chat_finish(&t->chat);
        free(t);
        return rc;
    }
    fetch_init(&t->fetch, &t->loop, t);
    t->fetch.on_progress = on_fetch_progress;
    t->fetch.on_end = on_fetch_end;
    make_init(&t->make, &t->loop, t);
    t->make.on_progress = on_make_progress;
    t->make.on_end = on_make_end;
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
    t->make.on_end = NULL;
    t->make.on_progress = NULL;
    make_stop(&t->make);
    close_loop(t);
    for (struct mail mail; mailbox_take(&t->box, &mail, 1) == 1;)
        if (mail.kind == MAIL_MODEL)
            free(mail.model);
        else if (mail.kind == MAIL_DEVICES)
            free(mail.devices);
        else if (mail.kind == MAIL_LEVELS)
            free(mail.levels);
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
