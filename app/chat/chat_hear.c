/* SPDX-License-Identifier: MIT */
/* What comes back from the engine's thread, and what it does to the chat. */
#include "app/chat/chat_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double NOTED_S = 0.1;    /* that a person would notice */
enum { LEAST_READ = 32 };             /* tokens that tell a speed */

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

/* The chat was emptied while the answer was written: nobody wants to hear of it. */
static bool is_forgotten(const struct chat *c, const struct message *m)
{
    for (int32_t i = c->transcript.n_path - 1; i >= 0; i--)
        if (c->transcript.path[i] == m)
            return false;
    return true;
}

static bool is_awaited(const struct chat *c)
{
    return (c->opening[0] && !c->model) || c->moving;
}

static void end_answer(struct chat *c)
{
    c->state = is_awaited(c) ? CHAT_LOADING : c->model ? CHAT_READY : CHAT_EMPTY;
    c->n_read = c->n_to_read = c->n_repeated = 0;
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
    size_t from = m->text.n_bytes;
    think_feed(&c->think, ev->text, (size_t)ev->n_text, &m->thinking, &m->text);
    if (ev->token >= 0)    /* else more text of the same token */
        c->drafted = ev->drafted;
    if (c->drafted)
        message_note_draft(m, from);
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
    c->n_ctx_used += !is_forgotten(c, m);
    c->n_repeated = ev->n_repeated;
    if (c->n_answer++ == 0)
        c->first_s = now;
    else if (now > c->first_s && !c->paused)
        c->tokens_per_s = (c->n_answer - 1) / (now - c->first_s);
}

/* The answer that was to be a summary. */
static void take_summary(struct chat *c, struct message *m, const struct eng_event *ev)
{
    char text[EVENT_TEXT_BYTES + 1];
    snprintf(text, sizeof text, "%.*s", ev->n_text, ev->text);
    if (ev->reason != DONE_CANCELLED) {
        chat_context_summarised(c, m, ev->reason == DONE_ERROR ? text : NULL);
        return;
    }
    transcript_remove(&c->transcript, m->id);
    chat_make_room(c, ROOM_STOP);
}

static void take_done(struct chat *c, struct message *m, const struct eng_event *ev)
{
    static const enum message_state states[] = { [DONE_END] = MESSAGE_DONE, [DONE_LENGTH] = MESSAGE_CUT,
                                                 [DONE_CONTEXT] = MESSAGE_FULL, [DONE_CANCELLED] = MESSAGE_STOPPED,
                                                 [DONE_ERROR] = MESSAGE_STOPPED };
    int32_t n_read = ev->timings.n_prompt - ev->timings.n_reused;
    if (n_read >= LEAST_READ && ev->timings.prompt_ms > 0 && ev->timings.n_generated > 0 && !c->paused)
        c->read_per_s = n_read * 1e3 / ev->timings.prompt_ms;
    think_end(&c->think, &m->thinking, &m->text);
    close_thinking(c, m);
    m->state = states[ev->reason];
    m->timings = ev->timings;
    c->drafts = drafts_of(&ev->timings);
    int32_t n_after_first = ev->timings.n_generated - 1;
    c->tokens_per_s = 0;
    if (ev->timings.generate_ms > 0 && n_after_first > 0 && !c->paused)
        c->tokens_per_s = n_after_first * 1e3 / ev->timings.generate_ms;
    m->tokens_per_s = c->tokens_per_s;
    if (c->paused)
        m->timings.first_ms = 0;
    if (is_forgotten(c, m)) {
        end_answer(c);
        chat_send_waiting(c);
        chat_prepare(c);
        return;
    }
    c->n_prompt = ev->timings.n_prompt ? ev->timings.n_prompt : c->n_prompt;
    c->n_reused = ev->timings.n_prompt ? ev->timings.n_reused : c->n_reused;
    end_answer(c);
    if (c->context.state == CONTEXT_SUMMARISING) {
        take_summary(c, m, ev);
        return;
    }
    bool dropped = drop_empty_answer(c, m);
    if (dropped && ev->reason == DONE_CANCELLED)
        chat_card(c, MESSAGE_NOTICE, "Stopped before the first word", "Alt+R or /regen answers it after all",
                  "What is sent next joins the message above.");
    else if (ev->reason == DONE_ERROR)
        chat_card(c, MESSAGE_ERROR, "The answer ended in an error", "Alt+R or /regen tries again", "%.*s", ev->n_text,
                  ev->text);
    else if (ev->reason == DONE_CONTEXT && c->waiting.n_bytes == 0)    /* else the message asks for room */
        chat_context_full(c, CONTEXT_ANSWER, 0);
    else
        chat_context_warn(c);
    chat_send_waiting(c);
    chat_prepare(c);
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

/* Nothing was evaluated. The message waits while the person is asked; an answer that was to go on is as it
 * was. */
static void take_too_long(struct chat *c)
{
    struct message *m = current_answer(c);
    if (!m)
        return;
    end_answer(c);
    if (is_forgotten(c, m))
        return;
    if (c->context.state == CONTEXT_SUMMARISING) {
        chat_context_summary_too_long(c, m);
        return;
    }
    m->state = MESSAGE_FULL;
    bool dropped = drop_empty_answer(c, m);
    const struct message *question = dropped ? transcript_last(&c->transcript, MESSAGE_USER) : NULL;
    chat_context_full(c, question ? CONTEXT_MESSAGE : CONTEXT_ANSWER, question ? question->id : 0);
}

/* What is new about the session, and why its cache is as it is. */
static void say_session(struct chat *c, const struct port_stats *before, int32_t n_ctx_before)
{
    char types[2 * PORT_TYPE_BYTES];
    chat_kv_types(c, types, sizeof types);
    if (c->model->n_ctx != n_ctx_before)
        chat_card(c, MESSAGE_NOTICE, "Context", chat_context_hint(c), "The context holds %d tokens now.",
                  c->model->n_ctx);
    if (strcmp(before->kv_type_k, c->stats.kv_type_k) != 0 || strcmp(before->kv_type_v, c->stats.kv_type_v) != 0)
        chat_card(c, MESSAGE_NOTICE, "KV cache", NULL, "Keys and values are cached as %s now.", types);
}

/* moved: it was elsewhere before. */
static void say_place(struct chat *c, bool moved)
{
    char place[PORT_TEXT_BYTES], again[64] = "", time[48] = "";
    chat_place_text(c, place, sizeof place);
    if (!moved) {
        chat_card(c, MESSAGE_NOTICE, "Device", "/device lists the devices", "The model is on %s already.", place);
        return;
    }
    if (c->model->load_s >= NOTED_S)
        snprintf(time, sizeof time, ", after %.1f s", c->model->load_s);
    if (c->model->n_again > 0)
        snprintf(again, sizeof again, "; %d token%s of the chat %s read again", c->model->n_again,
                 c->model->n_again == 1 ? "" : "s", c->model->n_again == 1 ? "is" : "are");
    chat_card(c, MESSAGE_NOTICE, "Device", NULL, "Now on %s%s%s.", place, time, again);
}

/* Of an answer before this one they may still speak until its first token is there. */
static void take_stats(struct chat *c, const struct port_stats *s)
{
    c->stats = *s;
    if (c->state == CHAT_ANSWERING && c->n_answer > 0)
        c->drafts = (struct drafts){ s->n_passes, s->n_drafted, s->n_accepted, s->saved_ms };
}

/* Which model it is from here on, and what that costs. */
static void say_model(struct chat *c, const char *label)
{
    const struct port_model *m = c->model;
    char time[48] = "", cost[96] = "it reads the chat again with the next message";
    if (m->load_s >= NOTED_S)
        snprintf(time, sizeof time, ", after %.1f s", m->load_s);
    if (m->is_back && m->in_answer)
        snprintf(cost, sizeof cost, "it reads what was said since it left, and goes on");
    else if (m->in_answer)
        snprintf(cost, sizeof cost, "it reads the chat and goes on");
    else if (m->is_back)
        snprintf(cost, sizeof cost, "it still has the chat as it was when it left");
    else if (c->transcript.n_path == 0)
        cost[0] = '\0';
    chat_card(c, MESSAGE_NOTICE, "Model", "Alt+Z or /model - goes back", "%s (%s) answers from here on%s%s%s.", label,
              m->level, time, cost[0] ? "; " : "", cost);
}

static void take_model(struct chat *c, struct mail *mail)
{
    bool first = c->model == NULL;
    bool same = c->model && strcmp(c->model->path, mail->model->path) == 0;
    bool noted = same && strcmp(c->stats.kv_note, mail->stats.kv_note) == 0;
    int32_t n_ctx_before = c->model ? c->model->n_ctx : 0;
    struct port_stats before = c->stats;
    bool has_moved = c->moving && mail->request == c->device_request, goes_on = mail->model->in_answer;
    if (c->model && !same)
        snprintf(c->model_before, sizeof c->model_before, "%s", c->model->path);
    free(c->model);
    c->model = mail->model;
    c->stats = mail->stats;
    if (!goes_on)
        c->n_prompt = c->n_reused = 0;
    if (!same && !goes_on)
        c->n_ctx_used = c->model->is_back ? c->stats.n_held : 0;
    if (!same) {
        free(c->levels);
        c->levels = NULL;
    }
    if (!same || has_moved)
        c->tokens_per_s = 0;    /* the speed shown was the other model's, or the other device's */
    if (mail->request == c->model_request) {
        c->opening[0] = '\0';
        c->session_before = c->session;
    }
    if (has_moved) {
        c->moving = false;
        c->device_before = c->device;
    }
    if (c->state != CHAT_ANSWERING)
        c->state = is_awaited(c) ? CHAT_LOADING : CHAT_READY;
    char label[PORT_TEXT_BYTES];
    chat_model_label(c, label, sizeof label);
    if (has_moved)
        say_place(c, c->model->n_again >= 0);
    if (same)
        say_session(c, &before, n_ctx_before);
    else if (!first)
        say_model(c, label);
    for (int32_t i = 0; !same && i < c->model->n_warnings; i++)
        chat_card(c, MESSAGE_WARNING, label, NULL, "%s", c->model->warnings[i]);
    if ((first || has_moved) && c->model->device_note[0])
        chat_card(c, MESSAGE_NOTICE, "Device", "quip doctor shows the devices there are", "%s", c->model->device_note);
    if (!noted && c->stats.kv_note[0])
        chat_card(c, MESSAGE_NOTICE, "KV cache", "/set kv-type-k and /set kv-type-v choose others", "%s",
                  c->stats.kv_note);
    if (c->levels)    /* another context, other types, another device: other prices */
        chat_want_levels(c);
    c->version++;
    chat_context_session(c, NULL);
    chat_send_waiting(c);
    chat_prepare(c);
}

static void take_warning(struct chat *c, const struct mail *mail)
{
    char label[PORT_TEXT_BYTES];
    chat_model_label(c, label, sizeof label);
    chat_card(c, MESSAGE_WARNING, label, NULL, "%s", mail->text);
}

/* Something that was waited for did not come. */
static void end_waiting(struct chat *c)
{
    if (c->state == CHAT_LOADING && !is_awaited(c))
        c->state = c->model ? CHAT_READY : CHAT_EMPTY;
}

static void take_move_failure(struct chat *c, const struct mail *mail)
{
    char place[PORT_TEXT_BYTES];
    c->moving = false;
    c->device = c->device_before;
    chat_place_text(c, place, sizeof place);
    if (c->model)
        chat_card(c, MESSAGE_ERROR, "Not moved", "/device lists the devices", "%s. The model stays on %s.", mail->text,
                  place);
    end_waiting(c);
    chat_send_waiting(c);
    chat_prepare(c);    /* it may have left and come back, with nothing */
}

/* Rows as `quip doctor` has them, in short. */
static void take_devices(struct chat *c, struct port_devices *devices)
{
    struct buf text = { 0 };
    bool on_device = c->model && c->stats.n_device_layers > 0;
    for (int32_t i = 0; i < devices->n; i++) {
        const struct port_device_row *row = &devices->rows[i];
        char size[24], left[24];
        buf_printf(&text, "%s%s: %s", i > 0 ? "\n" : "", row->id, row->name);
        if (row->kind[0])
            buf_printf(&text, ", %s", row->kind);
        chat_size_text(row->n_bytes, size, sizeof size);
        chat_size_text(row->free_bytes, left, sizeof left);
        if (row->n_bytes > 0)
            buf_printf(&text, ", %s", size);
        if (row->free_bytes > 0)
            buf_printf(&text, " (%s free)", left);
        if (row->problem[0])
            buf_printf(&text, "; cannot be used: %s", row->problem);
        if (row->in_use)
            buf_add_text(&text, "; in use");
        if (row->in_use && on_device)
            buf_printf(&text, " for %d of %d layers", c->stats.n_device_layers, c->model->n_layers);
    }
    if (devices->problem[0])
        buf_printf(&text, "\n%s", devices->problem);
    if (buf_ok(&text))
        chat_card_text(c, MESSAGE_NOTICE, "Devices", "/device NAME switches, the chat stays", buf_text(&text));
    else
        chat_no_memory(c);
    buf_finish(&text);
    free(devices);
}

static void take_failure(struct chat *c, const struct mail *mail)
{
    if (mail->kind == MAIL_MODEL_FAILED && c->moving && mail->request == c->device_request) {
        take_move_failure(c, mail);
        return;
    }
    if (mail->kind == MAIL_MODEL_FAILED) {
        if (mail->request == c->model_request) {
            c->opening[0] = '\0';
            c->session = c->session_before;
        }
        end_waiting(c);
        if (c->context.state == CONTEXT_GROWING && mail->request == c->model_request) {
            chat_context_session(c, mail->text);
            return;
        }
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
    if (is_forgotten(c, m))
        return;
    if (c->context.state == CONTEXT_SUMMARISING) {
        chat_context_summarised(c, m, mail->text);
        return;
    }
    drop_empty_answer(c, m);
    chat_card(c, MESSAGE_ERROR, "No answer", "Alt+R or /regen tries again", "%s", mail->text);
}

static void take_prompt(struct chat *c, const struct mail *mail)
{
    const struct message *m = current_answer(c);
    if (m && !is_forgotten(c, m)) {
        c->n_ctx_used = c->n_prompt = mail->prompt.n_prompt;
        c->n_reused = mail->prompt.n_reused;
    }
    think_init(&c->think, c->model ? c->model->think_open : "", c->model ? c->model->think_close : "",
               mail->prompt.opens_thinking);
}

/* Mails about an answer count while that answer is the one that is written. */
static bool is_current(const struct chat *c, const struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_MODEL:
    case MAIL_MODEL_FAILED:
    case MAIL_WARNING:    /* of the model */
    case MAIL_DEVICES:
    case MAIL_LEVELS:
    case MAIL_MEASURED:
    case MAIL_NOT_MEASURED:
    case MAIL_COMPARE_PROMPT:
    case MAIL_COMPARE_EVENT:
    case MAIL_COMPARED:
    case MAIL_NOT_COMPARED:
    case MAIL_COUNTS:
    case MAIL_STATS:
        return true;
    default:
        return mail->request == c->answer_request;
    }
}

void chat_take(struct chat *c, struct mail *mail)
{
    c->version++;
    if (mail->kind == MAIL_FAILED && c->context.state == CONTEXT_COUNTING && mail->request == c->context.request)
        chat_context_not_counted(c, mail->text);
    if (!is_current(c, mail))
        return;
    switch (mail->kind) {
    case MAIL_MODEL:
        take_model(c, mail);
        break;
    case MAIL_PROMPT:
        take_prompt(c, mail);
        break;
    case MAIL_TOO_LONG:
        take_too_long(c);
        break;
    case MAIL_EVENT:
        take_event(c, mail);
        break;
    case MAIL_MODEL_FAILED:
    case MAIL_FAILED:
        take_failure(c, mail);
        break;
    case MAIL_WARNING:
        take_warning(c, mail);
        break;
    case MAIL_DEVICES:
        take_devices(c, mail->devices);
        break;
    case MAIL_LEVELS:
        chat_take_levels(c, mail->levels);
        break;
    case MAIL_MEASURED:
    case MAIL_NOT_MEASURED:
        chat_take_measured(c, mail);
        break;
    case MAIL_COMPARE_PROMPT:
    case MAIL_COMPARE_EVENT:
    case MAIL_COMPARED:
    case MAIL_NOT_COMPARED:
        chat_take_compare(c, mail);
        break;
    case MAIL_COUNTS:
        chat_context_counted(c, mail);
        break;
    case MAIL_STATS:
        take_stats(c, &mail->stats);
        break;
    }
}
