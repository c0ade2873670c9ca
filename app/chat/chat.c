/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/chat/chat_impl.h"
#include "app/chat/slash.h"

void chat_init(struct chat *c, const struct config *config, const struct paths *paths, const struct port *port)
{
    memset(c, 0, sizeof *c);
    c->config = config;
    c->paths = paths;
    c->port = *port;
    c->think_mode = config->think;
    c->spec = config->spec;
    c->session.n_ctx = config->n_ctx;
    snprintf(c->session.kv_type_k, PORT_TYPE_BYTES, "%s", config->kv_type_k ? config->kv_type_k : "auto");
    snprintf(c->session.kv_type_v, PORT_TYPE_BYTES, "%s", config->kv_type_v ? config->kv_type_v : "auto");
    c->session_before = c->session;
    snprintf(c->device.name, sizeof c->device.name, "%s",
             config->n_gpu_layers == 0 ? "cpu" : config->device ? config->device : "auto");
    c->device.n_gpu_layers = config->n_gpu_layers > 0 ? config->n_gpu_layers : 0;
    c->device_before = c->device;
    if (config->system)
        buf_add_text(&c->system, config->system);
}

void chat_finish(struct chat *c)
{
    transcript_finish(&c->transcript);
    think_finish(&c->think);
    buf_finish(&c->system);
    buf_finish(&c->waiting);
    free(c->model);
    free(c->levels);
    chat_compare_forget(c);
    memset(c, 0, sizeof *c);
}

void chat_card(struct chat *c, enum message_role role, const char *title, const char *hint, const char *format,
               ...)
{
    char text[ERR_TEXT_BYTES + 256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    chat_card_text(c, role, title, hint, text);
}

void chat_card_text(struct chat *c, enum message_role role, const char *title, const char *hint, const char *text)
{
    struct message *m = transcript_add(&c->transcript, role, text);
    if (m) {
        snprintf(m->title, sizeof m->title, "%s", title);
        snprintf(m->hint, sizeof m->hint, "%s", hint ? hint : "");
    }
    c->version++;
}

void chat_no_memory(struct chat *c)
{
    chat_card(c, MESSAGE_ERROR, "No memory", NULL, "The system has no memory left for this.");
}

/* ---- asking --------------------------------------------------------------------------------------- */

int32_t chat_reserve(const struct chat *c)
{
    int32_t n = c->model->n_ctx / 8 < CHAT_RESERVE ? c->model->n_ctx / 8 : CHAT_RESERVE;
    return c->config->n_predict > 0 && c->config->n_predict < n ? c->config->n_predict : n;
}

bool chat_start_answer(struct chat *c, struct message *m, const struct port_request *request)
{
    enum message_state before = m->state;
    m->state = MESSAGE_STREAMING;
    c->answer_id = m->id;
    c->answer_request = request->id;
    c->stopping = c->paused = false;
    c->n_read = c->n_to_read = c->n_answer = c->n_repeated = 0;
    c->tokens_per_s = 0;
    c->drafts = (struct drafts){ 0 };
    c->drafted = false;
    c->spec_asked = request->generate.spec;
    c->begun_bytes = m->text.n_bytes;
    c->begun_thinking_bytes = m->thinking.n_bytes;
    c->state = CHAT_ANSWERING;
    if (c->port.answer(c->port.self, request))
        return true;
    c->state = CHAT_READY;
    m->state = before;
    return false;
}

void chat_fill_request(struct chat *c, struct port_request *out)
{
    *out = (struct port_request){
        .id = ++c->last_id,
        .n_reserve = chat_reserve(c),
        .enable_thinking = c->think_mode == THINK_OFF ? 0 : c->think_mode == THINK_ON ? 1 : -1,
        .generate.n_predict = c->config->n_predict,
        .generate.spec = c->spec,
    };
    chat_sampling(c, &out->generate.sampling);
    out->generate.sampling.seed += c->seed_shift;
}

void chat_ask(struct chat *c)
{
    chat_system_refresh(c);
    struct transcript_prompt prompt;
    struct port_request request;
    chat_fill_request(c, &request);
    bool ok = transcript_prompt(&c->transcript, buf_text(&c->system), 0, c->transcript.n_path, &prompt);
    request.messages = prompt.messages;
    request.n_messages = prompt.n_messages;
    struct message *m = ok ? transcript_add(&c->transcript, MESSAGE_MODEL, "") : NULL;
    if (!m || !chat_start_answer(c, m, &request)) {
        if (m)
            transcript_remove(&c->transcript, m->id);
        chat_no_memory(c);
    }
    transcript_prompt_finish(&prompt);
    c->version++;
}

void chat_prepare(struct chat *c)
{
    struct transcript_prompt prompt;
    if (c->state != CHAT_READY || c->context.state != CONTEXT_IDLE || c->waiting.n_bytes > 0)
        return;
    bool ok = transcript_prompt(&c->transcript, buf_text(&c->system), 0, c->transcript.n_path, &prompt);
    /* A question without an answer would be joined by what comes next. */
    bool open = ok && prompt.n_messages > 0 && strcmp(prompt.messages[prompt.n_messages - 1].role, "user") == 0;
    if (ok && prompt.n_messages > 0 && !open)
        c->port.prepare(c->port.self, &(struct port_prompt){ prompt.messages, prompt.n_messages },
                        c->think_mode == THINK_OFF ? 0 : c->think_mode == THINK_ON ? 1 : -1);
    transcript_prompt_finish(&prompt);
}

void chat_send_waiting(struct chat *c)
{
    if (c->waiting.n_bytes == 0 || c->state != CHAT_READY || c->context.state != CONTEXT_IDLE)
        return;
    struct message *m = transcript_add(&c->transcript, MESSAGE_USER, buf_text(&c->waiting));
    if (!m) {
        chat_no_memory(c);
        return;
    }
    buf_clear(&c->waiting);
    c->seed_shift = 0;
    chat_ask(c);
}

void chat_send(struct chat *c, const char *text)
{
    if (c->waiting.n_bytes > 0)    /* one message waits; more text joins it */
        buf_add_text(&c->waiting, "\n\n");
    if (!buf_add_text(&c->waiting, text)) {
        buf_clear(&c->waiting);
        c->port.give_back(c->port.self, text);
        chat_no_memory(c);
        return;
    }
    c->version++;
    if (c->state == CHAT_EMPTY)
        chat_card(c, MESSAGE_NOTICE, "No model yet", "F2 or /model lists models",
                  "The message is sent as soon as a model is there.");
    chat_send_waiting(c);
}

/* The answer to the question of a full context, where it is asked in lines. */
static bool choose_by_number(struct chat *c, const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (n >= 1 && n <= CHAT_ROOMS && end[strspn(end, " .)\t\n")] == '\0')
        return chat_make_room(c, (enum chat_room)(n - 1));
    chat_card(c, MESSAGE_NOTICE, "A number is wanted", NULL, "1 to %d: what to do about the full context.",
              CHAT_ROOMS);
    return false;
}

bool chat_enter(struct chat *c, const char *text)
{
    if (strspn(text, " \t\n") == strlen(text))
        return false;
    if (slash_is_command(text))
        return slash_run(c, text);
    if (c->context.state == CONTEXT_ASKING)
        return choose_by_number(c, text);
    chat_send(c, text[0] == '/' && text[1] == '/' ? text + 1 : text);
    return true;
}

static bool is_free(struct chat *c, const char *title, const char *otherwise)
{
    if (c->state == CHAT_READY && c->context.state == CONTEXT_IDLE && !otherwise)
        return true;
    chat_card(c, MESSAGE_NOTICE, title, NULL, "%s",
              c->state == CHAT_ANSWERING ? "The answer is still being written; Esc stops it." :
              c->state == CHAT_LOADING ? "The model is not ready yet." :
              c->context.state != CONTEXT_IDLE ? "What to do about the full context comes first." :
              otherwise ? otherwise : "There is no model yet.");
    return false;
}

void chat_regenerate(struct chat *c)
{
    struct message *answer = transcript_last(&c->transcript, MESSAGE_MODEL);
    struct message *question = transcript_last(&c->transcript, MESSAGE_USER);
    if (!is_free(c, "Nothing to do again", question ? NULL : "There is no answer to make again."))
        return;
    transcript_rewind(&c->transcript, answer && answer->id > question->id ? answer->parent : question->id);
    c->seed_shift++;
    chat_ask(c);
}

/* Place of the answer on the path that can be gone on with, or -1. */
static int32_t unfinished(const struct chat *c)
{
    const struct transcript *t = &c->transcript;
    int32_t i = t->n_path - 1;
    while (i >= 0 && !message_is_read(t->path[i]))
        i--;
    const struct message *m = i >= 0 ? t->path[i] : NULL;
    bool said = m && m->role == MESSAGE_MODEL && (m->text.n_bytes > 0 || m->thinking.n_bytes > 0);
    return said && m->state != MESSAGE_DONE ? i : -1;
}

void chat_continue(struct chat *c)
{
    int32_t at = unfinished(c);
    if (!is_free(c, "Nothing to go on with", at >= 0 ? NULL : "The last answer is whole."))
        return;
    struct transcript_prompt prompt;
    struct port_request request;
    struct message *m = c->transcript.path[at];
    chat_fill_request(c, &request);
    bool ok = transcript_prompt(&c->transcript, buf_text(&c->system), 0, at, &prompt);
    request.messages = prompt.messages;
    request.n_messages = prompt.n_messages;
    request.begun = buf_text(&m->text);
    request.begun_thinking = m->thinking.n_bytes > 0 ? buf_text(&m->thinking) : NULL;
    if (ok && chat_start_answer(c, m, &request))
        m->revision++;    /* its end is open again */
    else
        chat_no_memory(c);
    transcript_prompt_finish(&prompt);
    c->version++;
}

void chat_new(struct chat *c)
{
    chat_stop(c);
    chat_context_forget(c);
    if (c->model && c->transcript.n_path > 0)
        c->port.close_chat(c->port.self);
    transcript_rewind(&c->transcript, 0);
    c->n_ctx_used = c->n_prompt = c->n_reused = 0;
    c->drafts = (struct drafts){ 0 };
    c->version++;
    chat_prepare(c);
}

/* ---- stopping ------------------------------------------------------------------------------------- */

bool chat_is_busy(const struct chat *c)
{
    enum chat_context_state context = c->context.state;
    if (context == CONTEXT_ASKING)    /* it is the person's turn */
        return c->state == CHAT_ANSWERING;
    return c->state == CHAT_ANSWERING || context != CONTEXT_IDLE || c->waiting.n_bytes > 0;
}

void chat_cancel(struct chat *c)
{
    if (c->state != CHAT_ANSWERING || c->stopping)
        return;
    c->stopping = true;
    c->port.cancel(c->port.self, c->answer_request);
}

void chat_stop(struct chat *c)
{
    if (c->waiting.n_bytes > 0) {
        c->port.give_back(c->port.self, buf_text(&c->waiting));
        buf_clear(&c->waiting);
    }
    chat_cancel(c);
    if (c->context.state != CONTEXT_IDLE && c->context.state != CONTEXT_SUMMARISING)
        chat_make_room(c, ROOM_STOP);
    c->version++;
}

void chat_note_pause(struct chat *c)
{
    c->paused = true;
}
