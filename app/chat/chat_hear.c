/* SPDX-License-Identifier: MIT */
/* What comes back from the engine's thread, and what it does to the chat. */
#include "app/chat/chat_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct message *current_answer(const struct chat *c)
{
    return c->state == CHAT_ANSWERING ? transcript_find(&c->transcript, c->answer_id) : NULL;
}

/* The answer leaves the path when nothing came of it; true then. */
static bool drop_empty_answer(struct chat *c, const struct message *m)
{
    if (m->text.n_bytes > 0 || m->thinking.n_bytes > 0)
        return false;
    transcript_remove(&c->transcript, m->id);
    return true;
}

static void end_answer(struct chat *c)
{
    c->state = c->model ? CHAT_READY : CHAT_EMPTY;
    if (c->opening[0])
        c->state = CHAT_LOADING;
    c->n_read = c->n_to_read = 0;
    think_finish(&c->think);
}

static void close_thinking(struct chat *c, struct message *m)
{
    if (!m->thinking_open)
        return;
    m->thinking_open = false;
    m->thinking_s = c->port.now_s(c->port.self) - c->think_start_s;
}

static void take_token(struct chat *c, struct message *m, const struct eng_event *ev)
{
    double now = c->port.now_s(c->port.self);
    bool was_inside = think_is_inside(&c->think);
    think_feed(&c->think, ev->text, (size_t)ev->n_text, &m->thinking, &m->text);
    if (think_is_inside(&c->think)) {
        if (!was_inside || c->n_answer == 0)
            c->think_start_s = now;
        m->thinking_open = true;
        m->thinking_s = now - c->think_start_s;
        m->n_thinking_tokens += ev->token >= 0;
    } else {
        close_thinking(c, m);
    }
    if (ev->token < 0)
        return;
    c->n_ctx_used++;
    if (c->n_answer++ == 0)
        c->first_s = now;
    else if (now > c->first_s && !c->paused)
        c->tokens_per_s = (c->n_answer - 1) / (now - c->first_s);
}

static void take_done(struct chat *c, struct message *m, const struct eng_event *ev)
{
    static const enum message_state states[] = { [DONE_END] = MESSAGE_DONE, [DONE_LENGTH] = MESSAGE_CUT,
                                                 [DONE_CONTEXT] = MESSAGE_FULL, [DONE_CANCELLED] = MESSAGE_STOPPED,
                                                 [DONE_ERROR] = MESSAGE_STOPPED };
    think_end(&c->think, &m->thinking, &m->text);
    close_thinking(c, m);
    m->state = states[ev->reason];
    m->timings = ev->timings;
    int32_t n_after_first = ev->timings.n_generated - 1;
    c->tokens_per_s = 0;
    if (ev->timings.generate_ms > 0 && n_after_first > 0 && !c->paused)
        c->tokens_per_s = n_after_first * 1e3 / ev->timings.generate_ms;
    m->tokens_per_s = c->tokens_per_s;
    if (c->paused)
        m->timings.first_ms = 0;
    end_answer(c);
    bool dropped = drop_empty_answer(c, m);
    if (dropped && ev->reason == DONE_CANCELLED)
        chat_card(c, MESSAGE_NOTICE, "Stopped before the first word", "Alt+R or /regen answers it after all",
                  "What is sent next joins the message above.");
    else if (ev->reason == DONE_ERROR)
        chat_card(c, MESSAGE_ERROR, "The answer ended in an error", "Alt+R or /regen tries again", "%.*s", ev->n_text,
                  ev->text);
    else if (ev->reason == DONE_CONTEXT)
        chat_card(c, MESSAGE_WARNING, "The context is full", "/new starts an empty chat; /ctx N makes the context larger",
                  "The answer stops here: all %d tokens of the context are used.", c->model ? c->model->n_ctx : 0);
    chat_send_waiting(c);
}

static void take_event(struct chat *c, const struct mail *mail)
{
    const struct eng_event *ev = &mail->event;
    struct message *m = current_answer(c);
    if (!m)
        return;
    switch (ev->kind) {
    case EVENT_PROGRESS:
        c->n_read = ev->n_done;
        c->n_to_read = ev->n_total;
        break;
    case EVENT_TOKEN:
        take_token(c, m, ev);
        break;
    case EVENT_DONE:
        if (mail->stats.resident_bytes > 0)
            c->stats = mail->stats;
        take_done(c, m, ev);
        break;
    }
}

/* Nothing was evaluated: the message becomes a draft again, and both numbers are said. */
static void take_too_long(struct chat *c, const struct mail *mail)
{
    struct message *m = current_answer(c);
    if (!m)
        return;
    int32_t n_prompt = mail->prompt.n_prompt, n_ctx = mail->prompt.n_ctx, wanted = n_ctx;
    end_answer(c);
    drop_empty_answer(c, m);
    struct message *question = transcript_find(&c->transcript, m->parent);
    if (question && question->role == MESSAGE_USER) {
        c->port.give_back(c->port.self, buf_text(&question->text));
        transcript_remove(&c->transcript, question->id);
    }
    while (wanted < n_prompt + chat_reserve(c) && wanted < c->model->n_ctx_train)
        wanted = wanted * 2 < c->model->n_ctx_train ? wanted * 2 : c->model->n_ctx_train;
    char hint[160];
    if (wanted >= n_prompt + chat_reserve(c))
        snprintf(hint, sizeof hint, "/ctx %d makes the context larger; /new starts an empty chat", wanted);
    else
        snprintf(hint, sizeof hint, "Shorten the message, or start an empty chat with /new");
    chat_card(c, MESSAGE_ERROR, "Not sent: the context would overflow", hint,
              "With this message the conversation has %d tokens. The context holds %d, of which %d are kept for "
              "the answer.", n_prompt, n_ctx, chat_reserve(c));
}

static void take_model(struct chat *c, struct mail *mail)
{
    bool first = c->model == NULL;
    bool same = c->model && strcmp(c->model->path, mail->model->path) == 0;
    free(c->model);
    c->model = mail->model;
    c->stats = mail->stats;
    c->n_ctx_used = 0;
    if (!same)
        c->tokens_per_s = 0;    /* the speed shown was the other model's */
    if (mail->request == c->model_request)
        c->opening[0] = '\0';
    if (c->state != CHAT_ANSWERING)
        c->state = c->opening[0] ? CHAT_LOADING : CHAT_READY;
    char label[PORT_TEXT_BYTES];
    chat_model_label(c, label, sizeof label);
    if (same)
        chat_card(c, MESSAGE_NOTICE, "Context", NULL, "The context holds %d tokens now.", c->model->n_ctx);
    else if (!first)
        chat_card(c, MESSAGE_NOTICE, "Model", NULL, "%s (%s) answers from here on; it reads the chat again with the "
                  "next message.", label, c->model->level);
    for (int32_t i = 0; !same && i < c->model->n_warnings; i++)
        chat_card(c, MESSAGE_WARNING, label, NULL, "%s", c->model->warnings[i]);
    c->version++;
    chat_send_waiting(c);
}

static void take_failure(struct chat *c, const struct mail *mail)
{
    if (mail->kind == MAIL_MODEL_FAILED) {
        if (mail->request == c->model_request)
            c->opening[0] = '\0';
        if (c->state == CHAT_LOADING)
            c->state = c->model ? CHAT_READY : CHAT_EMPTY;
        chat_card(c, MESSAGE_ERROR, "The model could not be opened", "F2 or /model lists models", "%s", mail->text);
        chat_send_waiting(c);
        return;
    }
    struct message *m = current_answer(c);
    if (!m)
        return;
    m->state = MESSAGE_STOPPED;
    close_thinking(c, m);
    end_answer(c);
    drop_empty_answer(c, m);
    chat_card(c, MESSAGE_ERROR, "No answer", "Alt+R or /regen tries again", "%s", mail->text);
}

void chat_take(struct chat *c, struct mail *mail)
{
    bool is_answer = mail->kind != MAIL_MODEL && mail->kind != MAIL_MODEL_FAILED;
    c->version++;
    if (is_answer && mail->request != c->answer_request)    /* of an answer that is no longer there */
        return;
    switch (mail->kind) {
    case MAIL_MODEL:
        take_model(c, mail);
        break;
    case MAIL_PROMPT:
        c->n_ctx_used = mail->prompt.n_prompt;
        think_init(&c->think, c->model ? c->model->think_open : "", c->model ? c->model->think_close : "",
                   mail->prompt.opens_thinking);
        break;
    case MAIL_TOO_LONG:
        take_too_long(c, mail);
        break;
    case MAIL_EVENT:
        take_event(c, mail);
        break;
    case MAIL_MODEL_FAILED:
    case MAIL_FAILED:
        take_failure(c, mail);
        break;
    }
}
