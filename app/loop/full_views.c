/* SPDX-License-Identifier: MIT */
/* From the chat to what the screen shows. Nothing here is remembered between frames but storage: the view
 * models are made anew, and the grid finds out what changed. */
#include "app/loop/full_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOTED_MS = 100 };    /* time saved that a person would notice */

/* ---- messages ------------------------------------------------------------------------------------- */

static enum view_message_kind kind_of(const struct message *m)
{
    switch (m->role) {
    case MESSAGE_USER:
        return VIEW_MESSAGE_USER;
    case MESSAGE_MODEL:
        return VIEW_MESSAGE_MODEL;
    case MESSAGE_SUMMARY:
    case MESSAGE_NOTICE:
        return VIEW_MESSAGE_NOTICE;
    case MESSAGE_WARNING:
        return VIEW_MESSAGE_WARNING;
    case MESSAGE_ERROR:
        break;
    }
    return VIEW_MESSAGE_ERROR;
}

static const char *ending_of(const struct message *m)
{
    switch (m->state) {
    case MESSAGE_STOPPED:
        return "stopped";
    case MESSAGE_CUT:
        return "cut at the limit of -n";
    case MESSAGE_FULL:
        return "context full";
    case MESSAGE_DONE:
    case MESSAGE_STREAMING:
        break;
    }
    return NULL;
}

static void fill_message(const struct message *m, struct view_message *out, struct view_stats *stats)
{
    bool is_card = m->role != MESSAGE_USER && m->role != MESSAGE_MODEL;
    *out = (struct view_message){
        .id = m->id,
        .revision = m->revision,
        .kind = kind_of(m),
        .label = is_card ? m->title : NULL,
        .time = m->time,
        .text = buf_text(&m->text),
        .n_text = m->text.n_bytes,
        .streaming = m->state == MESSAGE_STREAMING,
        .left_out = m->left_out,
        .thinking = m->thinking.n_bytes > 0 || m->thinking_open ? buf_text(&m->thinking) : NULL,
        .n_thinking = m->thinking.n_bytes,
        .n_thinking_tokens = m->n_thinking_tokens,
        .thinking_s = m->thinking_s,
        .thinking_open = m->thinking_open,
        .hint = m->hint[0] ? m->hint : NULL,
        .drafted = m->drafted,
        .n_drafted = m->n_drafted,
    };
    if (m->role != MESSAGE_MODEL || m->state == MESSAGE_STREAMING)
        return;
    *stats = (struct view_stats){
        .n_generated = m->timings.n_generated,
        .tokens_per_s = m->tokens_per_s,
        .first_s = m->timings.first_ms / 1e3,
        .n_prompt = m->timings.n_prompt,
        .n_reused = m->timings.n_reused,
        .ending = ending_of(m),
    };
    out->stats = stats;
}

static bool reserve_messages(struct full *f, int32_t n)
{
    if (n <= f->cap_messages)
        return true;
    int32_t cap = n * 2 + 16;
    struct view_message *messages = realloc(f->messages, sizeof *messages * (size_t)cap);
    if (messages)
        f->messages = messages;
    struct view_stats *stats = realloc(f->stats, sizeof *stats * (size_t)cap);
    if (stats)
        f->stats = stats;
    if (messages && stats)
        f->cap_messages = cap;
    return messages && stats;
}

static void fill_messages(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    const struct transcript *t = &c->transcript;
    struct view_transcript *v = &f->screen.transcript;
    int32_t n = 0;
    bool streaming = false;
    if (!reserve_messages(f, t->n_path + 1))
        return;
    for (int32_t i = 0; i < t->n_path; i++, n++) {
        fill_message(t->path[i], &f->messages[n], &f->stats[n]);
        f->messages[n].brief = streaming && f->messages[n].kind >= VIEW_MESSAGE_NOTICE;
        streaming = streaming || f->messages[n].streaming;
    }
    if (c->waiting.n_bytes > 0)
        f->messages[n++] = (struct view_message){
            .id = UINT64_MAX, .revision = c->version, .kind = VIEW_MESSAGE_USER, .label = "You (waiting)",
            .text = buf_text(&c->waiting), .n_text = c->waiting.n_bytes };
    v->messages = f->messages;
    v->n_messages = n;
    v->show_drafts = c->show_drafts;
    if (f->think_seen != c->think_mode) {
        f->think_seen = c->think_mode;
        v->show_thinking = c->think_mode == THINK_ON;
    }
}

/* What an empty chat says: which model, what to expect of it, and how to begin. */
static void fill_empty(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    struct view_transcript *v = &f->screen.transcript;
    int32_t n = 0;
    if (c->state == CHAT_LOADING && !c->opening[0]) {
        snprintf(f->about, sizeof f->about, "Moving %s to %.60s", f->model, c->device.name);
    } else if (c->state == CHAT_LOADING) {
        snprintf(f->about, sizeof f->about, "Loading %s", f->model);
    } else if (c->model) {
        char size[24];
        chat_size_text(c->model->file_bytes, size, sizeof size);
        snprintf(f->about, sizeof f->about, "%s, %s, %d tokens of context", f->model, size, c->model->n_ctx);
    } else {
        snprintf(f->about, sizeof f->about, "There is no model yet: F2 lists those that can be fetched");
    }
    uint32_t model_version = (uint32_t)c->model_request + (c->model != NULL);
    if (f->advice_version != model_version) {    /* reads the list of models: once per model */
        f->advice_version = model_version;
        chat_advice(c, "F2", f->advice, sizeof f->advice);
    }
    f->empty_lines[n++] = f->about;
    if (f->advice[0])
        f->empty_lines[n++] = f->advice;
    f->empty_lines[n++] = "";
    f->empty_lines[n++] = "Type a message and press Enter. F1 shows all keys and commands.";
    v->empty_title = "quip";
    v->empty_lines = f->empty_lines;
    v->n_empty_lines = n;
}

/* ---- bars ----------------------------------------------------------------------------------------- */

static void fill_header(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    f->title[0] = '\0';
    for (int32_t i = 0; i < c->transcript.n_path && !f->title[0]; i++)
        if (c->transcript.path[i]->role == MESSAGE_USER)
            snprintf(f->title, sizeof f->title, "%s", buf_text(&c->transcript.path[i]->text));
    f->title[strcspn(f->title, "\n")] = '\0';
    chat_model_label(c, f->model, sizeof f->model);
    chat_device_text(c, f->device, sizeof f->device);
    chat_device_brief(c, f->device_brief, sizeof f->device_brief);
    f->screen.header = (struct view_header){ .title = f->title, .model = f->model,
                                             .level = c->model ? c->model->level : NULL, .device = f->device,
                                             .device_brief = f->device_brief };
}

static char *next_segment(struct full *f, enum ui_style style)
{
    struct view_status *s = &f->screen.status;
    if (s->n_segments == VIEW_STATUS_SEGMENTS)
        return NULL;
    char *text = f->segments[s->n_segments];
    text[0] = '\0';
    s->segments[s->n_segments++] = (struct view_segment){ .text = text, .style = style };
    return text;
}

/* A shorter way to say the segment added last. */
static void set_brief(struct full *f, const char *text)
{
    struct view_status *s = &f->screen.status;
    char *brief = f->briefs[s->n_segments - 1];
    snprintf(brief, sizeof f->briefs[0], "%s", text);
    s->segments[s->n_segments - 1].brief = brief;
}

#define SEGMENT(f, style, ...)                            \
    do {                                                  \
        char *segment_text = next_segment(f, style);      \
        if (segment_text)                                 \
            snprintf(segment_text, 64, __VA_ARGS__);      \
    } while (0)

/* While a model is switched the old one's name still stands above: this says which one comes. */
static void fill_loading(struct full *f)
{
    if (!f->talk->chat.opening[0]) {
        SEGMENT(f, UI_NOTICE, "moving to %.40s", f->talk->chat.device.name);
        return;
    }
    char name[PORT_PATH_BYTES];
    paths_model_name(f->talk->chat.opening, name, sizeof name);
    SEGMENT(f, UI_NOTICE, "loading %.40s", name);
}

static void fill_activity(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    const struct message *m = c->state == CHAT_ANSWERING ? transcript_find(&c->transcript, c->answer_id) : NULL;
    if (f->interrupted)
        SEGMENT(f, UI_WARNING, "Ctrl+C again quits");
    if (f->forgetting)
        SEGMENT(f, UI_WARNING, "Ctrl+N again drops this chat");
    if (m && c->n_repeated > 0 && !c->stopping) {
        SEGMENT(f, UI_WARNING, "repeats itself: Esc stops");
        set_brief(f, "repeats: Esc stops");
    }
    if (c->state == CHAT_LOADING || c->opening[0])
        fill_loading(f);
    else if (c->context.state == CONTEXT_COUNTING)
        SEGMENT(f, UI_NOTICE, "counting");
    else if (c->context.state == CONTEXT_GROWING)
        SEGMENT(f, UI_NOTICE, "making the context larger");
    else if (c->context.state == CONTEXT_SUMMARISING)
        SEGMENT(f, UI_NOTICE, "summarising");
    else if (memcmp(&c->session, &c->session_before, sizeof c->session) != 0)
        SEGMENT(f, UI_NOTICE, "making the cache anew");
    else if (c->stopping && m)
        SEGMENT(f, UI_NOTICE, "stopping");
    else if (m && c->n_answer == 0 && c->n_to_read > 0)
        SEGMENT(f, UI_NOTICE, "reading %d%%", (int)((int64_t)c->n_read * 100 / c->n_to_read));
    else if (m && c->n_answer == 0)
        SEGMENT(f, UI_NOTICE, "reading");
    else if (m && m->thinking_open)
        SEGMENT(f, UI_NOTICE, "thinking");
    else if (m)
        SEGMENT(f, UI_NOTICE, "answering");
    if (c->waiting.n_bytes > 0)
        SEGMENT(f, UI_NOTICE, "1 waiting");
}

/* What makes the answer faster than a token a pass. */
static void fill_drafts(struct full *f)
{
    const struct drafts *d = &f->talk->chat.drafts;
    char brief[32], saved[DRAFTS_TEXT_BYTES];
    if (d->n_drafted == 0)
        return;
    SEGMENT(f, UI_STATUS, "drafts %d%% right, %.1f a pass", drafts_percent(d), drafts_per_pass(d));
    snprintf(brief, sizeof brief, "drafts %.1f/pass", drafts_per_pass(d));
    set_brief(f, brief);
    drafts_saved_text(d, saved);
    if (d->saved_ms >= NOTED_MS || d->saved_ms <= -NOTED_MS)
        SEGMENT(f, UI_STATUS, "%.40s", saved);
}

static void fill_cache(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    char size[24], types[2 * PORT_TYPE_BYTES], text[64];
    if (c->n_prompt > 0) {
        SEGMENT(f, UI_STATUS, "reused %d/%d", c->n_reused, c->n_prompt);
        snprintf(text, sizeof text, "reused %d%%", (int)((int64_t)c->n_reused * 100 / c->n_prompt));
        set_brief(f, text);
    }
    if (c->stats.kv_type_k[0]) {
        chat_size_text(c->stats.kv_bytes, size, sizeof size);
        chat_kv_types(c, types, sizeof types);
        SEGMENT(f, UI_STATUS, "kv %s %s", size, types);
    }
}

static void fill_memory(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    char used[24], all[24], text[32];
    if (chat_device_memory(c, used, all, sizeof used)) {
        SEGMENT(f, UI_STATUS, "gpu %s of %s", used, all);
        snprintf(text, sizeof text, "gpu %s", used);
        set_brief(f, text);
    }
    if (c->stats.resident_bytes == 0)
        return;
    chat_size_text(c->stats.resident_bytes, used, sizeof used);
    chat_size_text(c->stats.total_bytes, all, sizeof all);
    SEGMENT(f, UI_STATUS, "mem %s of %s", used, all);
    snprintf(text, sizeof text, "mem %s", used);
    set_brief(f, text);
}

static void fill_status(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    f->screen.status = (struct view_status){ .n_ctx_used = c->n_ctx_used, .n_ctx = c->model ? c->model->n_ctx : 0 };
    fill_activity(f);
    if (c->tokens_per_s > 0)
        SEGMENT(f, UI_STATUS, "%.1f tok/s", c->tokens_per_s);
    fill_drafts(f);
    fill_cache(f);
    fill_memory(f);
    if (c->making[0] && c->make_total > 0)
        SEGMENT(f, UI_STATUS, "making %.12s %d%%", c->making, (int)(c->make_done * 100 / c->make_total));
    if (c->fetching[0] && c->fetch_total > 0)
        SEGMENT(f, UI_STATUS, "fetching %d%%", (int)(c->fetch_done * 100 / c->fetch_total));
    if (c->system.n_bytes > 0)
        SEGMENT(f, UI_DIM, "system prompt");
    if (c->think_mode == THINK_OFF)
        SEGMENT(f, UI_DIM, "no thinking");
    if (c->spec == SPEC_OFF)
        SEGMENT(f, UI_DIM, "no drafts");
    if (c->show_drafts)
        SEGMENT(f, UI_DIM, "drafts underlined");
    f->screen.keys = (struct view_keys){ .context = UI_CTX_GLOBAL, .busy = chat_is_busy(c) };
}

void full_views_update(struct full *f)
{
    fill_header(f);
    fill_messages(f);
    fill_empty(f);
    fill_status(f);
    full_panel_update(f);
}

void full_views_finish(struct full *f)
{
    free(f->messages);
    free(f->stats);
    view_transcript_finish(&f->screen.transcript);
}
