/* SPDX-License-Identifier: MIT */
#include "tests/support/chat_rig.h"

#include <stdio.h>
#include <stdlib.h>

static bool rig_open(void *self, uint64_t id, const char *path)
{
    struct chat_rig *r = self;
    r->opened = id;
    snprintf(r->path, sizeof r->path, "%s", path);
    return true;
}

static bool rig_session(void *self, uint64_t id, const struct port_session *session)
{
    struct chat_rig *r = self;
    r->opened = id;
    r->set_ctx = session->n_ctx;
    r->session = *session;
    return true;
}

static bool rig_device(void *self, uint64_t id, const struct port_device *device)
{
    struct chat_rig *r = self;
    r->opened = id;
    r->device = *device;
    return true;
}

static bool rig_list_devices(void *self)
{
    ((struct chat_rig *)self)->n_listed++;
    return true;
}

static bool rig_want_levels(void *self)
{
    ((struct chat_rig *)self)->n_levels_wanted++;
    return true;
}

static bool rig_make_level(void *self, const char *source, const char *target, const char *level, bool allow_requantize)
{
    struct chat_rig *r = self;
    snprintf(r->made_from, sizeof r->made_from, "%s", source);
    snprintf(r->made, sizeof r->made, "%s", target);
    snprintf(r->made_level, sizeof r->made_level, "%s", level);
    r->made_requantized = allow_requantize;
    return true;
}

static void rig_stop_making(void *self)
{
    ((struct chat_rig *)self)->n_stopped_making++;
}

static bool rig_measure(void *self, uint64_t id, const char *path, const char *base)
{
    struct chat_rig *r = self;
    r->measured_id = id;
    snprintf(r->measured, sizeof r->measured, "%s", path);
    snprintf(r->measured_base, sizeof r->measured_base, "%s", base);
    return true;
}

static void rig_stop_aside(void *self, uint64_t id)
{
    struct chat_rig *r = self;
    r->n_stopped += id == r->measured_id || id == r->compared_id;
}

static void keep_prompt(struct chat_rig *r, const struct port_request *request)
{
    r->enable_thinking = request->enable_thinking;
    r->generate = request->generate;
    buf_clear(&r->prompt);
    for (int32_t i = 0; i < request->n_messages; i++)
        buf_printf(&r->prompt, "%s: %s\n", request->messages[i].role, request->messages[i].content);
}

static bool rig_compare(void *self, const struct port_request *request, const struct port_pair *pair)
{
    struct chat_rig *r = self;
    r->compared_id = request->id;
    r->pair = *pair;
    keep_prompt(r, request);
    return true;
}

static void rig_end_answers(void *self, uint64_t id)
{
    struct chat_rig *r = self;
    r->n_ended += id == r->compared_id;
}

static bool rig_count(void *self, uint64_t id, const struct port_prompt *prompts, int32_t n,
                      int32_t enable_thinking)
{
    struct chat_rig *r = self;
    (void)enable_thinking;
    r->counted = id;
    r->n_counted = n;
    for (int32_t i = 0; i < n; i++)
        r->counts[i] = prompts[i].n_messages;
    return true;
}

static bool rig_prepare(void *self, const struct port_prompt *prompt, int32_t enable_thinking)
{
    struct chat_rig *r = self;
    (void)enable_thinking;
    r->n_prepared = prompt->n_messages;
    return true;
}

static bool rig_answer(void *self, const struct port_request *request)
{
    struct chat_rig *r = self;
    r->answered = request->id;
    r->n_answers++;
    r->n_reserve = request->n_reserve;
    snprintf(r->begun, sizeof r->begun, "%s", request->begun ? request->begun : "-");
    keep_prompt(r, request);
    return true;
}

static void rig_cancel(void *self, uint64_t id)
{
    ((struct chat_rig *)self)->cancelled = id;
}

static bool rig_fetch(void *self, const char *name)
{
    struct chat_rig *r = self;
    snprintf(r->fetching, sizeof r->fetching, "%s", name);
    return true;
}

static void rig_nothing(void *self)
{
    (void)self;
}

static void rig_close(void *self)
{
    ((struct chat_rig *)self)->n_closed++;
}

static void rig_show(void *self, enum port_panel panel)
{
    ((struct chat_rig *)self)->shown = panel;
}

static void rig_give_back(void *self, const char *text)
{
    struct chat_rig *r = self;
    snprintf(r->given_back, sizeof r->given_back, "%s", text);
}

static void rig_quit(void *self)
{
    ((struct chat_rig *)self)->n_quits++;
}

static double rig_now(void *self)
{
    return ((struct chat_rig *)self)->now_s;
}

void chat_rig_put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
}

void chat_rig_begin(struct test *t, struct chat_rig *r)
{
    memset(r, 0, sizeof *r);
    r->config.n_predict = r->config.n_gpu_layers = -1;
    snprintf(r->paths.models, sizeof r->paths.models, "%s", test_folder(t));
    snprintf(r->paths.home, sizeof r->paths.home, "%s", test_folder(t));
    struct port port = { .self = r, .open_model = rig_open, .set_session = rig_session,
                         .set_device = rig_device, .list_devices = rig_list_devices, .want_levels = rig_want_levels,
                         .make_level = rig_make_level, .stop_making = rig_stop_making,
                         .measure = rig_measure, .compare = rig_compare, .end_answers = rig_end_answers,
                         .stop_aside = rig_stop_aside, .answer = rig_answer,
                         .count = rig_count, .prepare = rig_prepare, .close_chat = rig_close,
                         .want_stats = rig_nothing, .cancel = rig_cancel, .fetch = rig_fetch,
                         .stop_fetch = rig_nothing, .show = rig_show,
                         .give_back = rig_give_back, .quit = rig_quit, .now_s = rig_now };
    chat_init(&r->chat, &r->config, &r->paths, &port);
}

void chat_rig_end(struct chat_rig *r)
{
    chat_finish(&r->chat);
    buf_finish(&r->prompt);
}

void chat_rig_model(struct chat_rig *r, const char *path)
{
    struct mail mail = { .kind = MAIL_MODEL, .request = r->opened, .model = calloc(1, sizeof *mail.model) };
    snprintf(mail.model->path, sizeof mail.model->path, "%s", path);
    snprintf(mail.model->think_open, sizeof mail.model->think_open, "<think>");
    snprintf(mail.model->think_close, sizeof mail.model->think_close, "</think>");
    mail.model->n_ctx = r->n_ctx ? r->n_ctx : 4096;
    mail.model->n_ctx_train = r->n_ctx_train ? r->n_ctx_train : 32768;
    if (r->device_note)
        snprintf(mail.model->device_note, sizeof mail.model->device_note, "%s", r->device_note);
    mail.stats = r->stats;
    sampler_params_default(&mail.model->sampling);
    chat_take(&r->chat, &mail);
}

void chat_rig_ready(struct test *t, struct chat_rig *r)
{
    char path[PATHS_BYTES];
    chat_rig_begin(t, r);
    snprintf(path, sizeof path, "%s/m.gguf", test_folder(t));
    chat_rig_put_file(path, "x");
    chat_open_model(&r->chat, path, false);
    CHECK_INT(t, r->chat.state, CHAT_LOADING);
    chat_rig_model(r, path);
    CHECK_INT(t, r->chat.state, CHAT_READY);
}

void chat_rig_event(struct chat_rig *r, const struct eng_event *event)
{
    struct mail mail = { .kind = MAIL_EVENT, .request = r->answered, .event = *event };
    mail.event.n_text = (int32_t)strlen(event->text);
    r->now_s += 0.5;
    chat_take(&r->chat, &mail);
}

void chat_rig_tokens(struct chat_rig *r, const char *text)
{
    struct eng_event event = { .kind = EVENT_TOKEN, .token = 5 };
    snprintf(event.text, sizeof event.text, "%s", text);
    chat_rig_event(r, &event);
}

void chat_rig_prompt(struct chat_rig *r, int32_t n_prompt)
{
    struct mail mail = { .kind = MAIL_PROMPT, .request = r->answered };
    mail.prompt.n_prompt = n_prompt;
    chat_take(&r->chat, &mail);
}

void chat_rig_done(struct chat_rig *r, enum done_reason reason)
{
    struct mail mail = { .kind = MAIL_EVENT, .request = r->answered,
                         .event = { .kind = EVENT_DONE, .reason = reason,
                                    .timings = { .n_prompt = 10, .n_generated = 5, .generate_ms = 2000 } } };
    chat_take(&r->chat, &mail);
}

const struct message *chat_rig_last(const struct chat_rig *r)
{
    return r->chat.transcript.path[r->chat.transcript.n_path - 1];
}

void chat_rig_exchange(struct chat_rig *r, const char *question, const char *answer)
{
    chat_enter(&r->chat, question);
    chat_rig_prompt(r, 10);
    chat_rig_tokens(r, answer);
    chat_rig_done(r, DONE_END);
}

const char *chat_rig_text(const struct chat_rig *r)
{
    return buf_text(&chat_rig_last(r)->text);
}

int32_t chat_rig_cards(const struct chat_rig *r, const char *title)
{
    int32_t n = 0;
    for (int32_t i = 0; i < r->chat.transcript.n_path; i++)
        n += strcmp(r->chat.transcript.path[i]->title, title) == 0;
    return n;
}
