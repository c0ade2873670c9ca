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

/* The message that the answer streams into, and what was asked for; false: no memory. */
static bool start_answer(struct chat *c, const struct port_request *request)
{
    struct message *m = transcript_add(&c->transcript, MESSAGE_MODEL, "");
    if (!m)
        return false;
    m->state = MESSAGE_STREAMING;
    c->answer_id = m->id;
    c->answer_request = request->id;
    c->stopping = c->paused = false;
    c->n_read = c->n_to_read = c->n_answer = 0;
    c->tokens_per_s = 0;
    c->state = CHAT_ANSWERING;
    if (c->port.answer(c->port.self, request))
        return true;
    c->state = CHAT_READY;
    transcript_remove(&c->transcript, m->id);
    return false;
}

/* Asks for an answer to the path as it is. */
static void ask(struct chat *c)
{
    chat_system_refresh(c);
    struct transcript_prompt prompt;
    struct port_request request = {
        .id = ++c->last_id,
        .n_reserve = chat_reserve(c),
        .enable_thinking = c->think_mode == THINK_OFF ? 0 : c->think_mode == THINK_ON ? 1 : -1,
        .generate.n_predict = c->config->n_predict,
    };
    chat_sampling(c, &request.generate.sampling);
    request.generate.sampling.seed += c->seed_shift;
    bool ok = transcript_prompt(&c->transcript, buf_text(&c->system), &prompt);
    request.messages = prompt.messages;
    request.n_messages = prompt.n_messages;
    if (!ok || !start_answer(c, &request))
        chat_no_memory(c);
    transcript_prompt_finish(&prompt);
    c->version++;
}

void chat_send_waiting(struct chat *c)
{
    if (c->waiting.n_bytes == 0 || c->state != CHAT_READY)
        return;
    struct message *m = transcript_add(&c->transcript, MESSAGE_USER, buf_text(&c->waiting));
    if (!m) {
        chat_no_memory(c);
        return;
    }
    buf_clear(&c->waiting);
    c->seed_shift = 0;
    ask(c);
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

bool chat_enter(struct chat *c, const char *text)
{
    if (strspn(text, " \t\n") == strlen(text))
        return false;
    if (slash_is_command(text))
        return slash_run(c, text);
    chat_send(c, text[0] == '/' && text[1] == '/' ? text + 1 : text);
    return true;
}

void chat_regenerate(struct chat *c)
{
    struct message *answer = transcript_last(&c->transcript, MESSAGE_MODEL);
    struct message *question = transcript_last(&c->transcript, MESSAGE_USER);
    if (c->state != CHAT_READY || !question) {
        chat_card(c, MESSAGE_NOTICE, "Nothing to do again", NULL, "%s",
                  c->state == CHAT_ANSWERING ? "The answer is still being written; Esc stops it."
                                             : "There is no answer to make again.");
        return;
    }
    transcript_rewind(&c->transcript, answer && answer->id > question->id ? answer->parent : question->id);
    c->seed_shift++;
    ask(c);
}

void chat_new(struct chat *c)
{
    chat_stop(c);
    transcript_rewind(&c->transcript, 0);
    c->n_ctx_used = 0;
    c->version++;
}

/* ---- stopping ------------------------------------------------------------------------------------- */

bool chat_is_busy(const struct chat *c)
{
    return c->state == CHAT_ANSWERING || c->waiting.n_bytes > 0;
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
    c->version++;
}

void chat_note_pause(struct chat *c)
{
    c->paused = true;
}
