/* SPDX-License-Identifier: MIT */
#include "app/chat/transcript.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char summary_head[] = "Summary of our conversation so far:\n";

static void free_message(struct message *m)
{
    buf_finish(&m->text);
    buf_finish(&m->thinking);
    free(m->drafted);
    free(m);
}

void transcript_finish(struct transcript *t)
{
    for (int32_t i = 0; i < t->n_all; i++)
        free_message(t->all[i]);
    free(t->all);
    free(t->path);
    memset(t, 0, sizeof *t);
}

/* Room for one more pointer. */
static bool grow(struct message ***list, int32_t n, int32_t *cap)
{
    if (n < *cap)
        return true;
    int32_t wanted = *cap ? *cap * 2 : 64;
    struct message **grown = realloc(*list, sizeof *grown * (size_t)wanted);
    if (!grown)
        return false;
    *list = grown;
    *cap = wanted;
    return true;
}

struct message *transcript_add(struct transcript *t, enum message_role role, const char *text)
{
    struct message *m = calloc(1, sizeof *m);
    if (!m || !grow(&t->all, t->n_all, &t->cap_all) || !grow(&t->path, t->n_path, &t->cap_path) ||
        !buf_add_text(&m->text, text)) {
        if (m)
            free_message(m);
        return NULL;
    }
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(m->time, sizeof m->time, "%H:%M", &tm);
    m->id = (uint64_t)t->n_all + 1;
    m->parent = t->n_path ? t->path[t->n_path - 1]->id : 0;
    m->role = role;
    t->all[t->n_all++] = m;
    t->path[t->n_path++] = m;
    return m;
}

struct message *transcript_insert(struct transcript *t, uint64_t after, enum message_role role, const char *text)
{
    struct message *m = transcript_add(t, role, text);
    if (!m)
        return NULL;
    for (int32_t i = 0; i < t->n_all; i++)
        if (t->all[i] != m && t->all[i]->parent == after)
            t->all[i]->parent = m->id;
    m->parent = after;
    int32_t at = t->n_path - 1;
    while (at > 0 && t->path[at - 1]->id != after) {
        t->path[at] = t->path[at - 1];
        at--;
    }
    t->path[at] = m;
    return m;
}

struct message *transcript_find(const struct transcript *t, uint64_t id)
{
    return id >= 1 && id <= (uint64_t)t->n_all ? t->all[id - 1] : NULL;
}

/* A message has fewer ancestors than there are messages, so the path always has room. */
void transcript_rewind(struct transcript *t, uint64_t id)
{
    int32_t n = 0;
    for (struct message *m = transcript_find(t, id); m; m = transcript_find(t, m->parent))
        n++;
    while (t->cap_path < n)
        if (!grow(&t->path, t->cap_path, &t->cap_path))
            return;
    t->n_path = n;
    for (struct message *m = transcript_find(t, id); m; m = transcript_find(t, m->parent))
        t->path[--n] = m;
}

void transcript_remove(struct transcript *t, uint64_t id)
{
    struct message *m = transcript_find(t, id);
    if (!m)
        return;
    for (int32_t i = 0; i < t->n_all; i++)
        if (t->all[i]->parent == id)
            t->all[i]->parent = m->parent;
    int32_t n = 0;
    for (int32_t i = 0; i < t->n_path; i++)
        if (t->path[i] != m)
            t->path[n++] = t->path[i];
    t->n_path = n;
}

struct message *transcript_last(const struct transcript *t, enum message_role role)
{
    for (int32_t i = t->n_path - 1; i >= 0; i--)
        if (t->path[i]->role == role)
            return t->path[i];
    return NULL;
}

void message_note_draft(struct message *m, size_t from)
{
    struct text_range *last = m->n_drafted > 0 ? &m->drafted[m->n_drafted - 1] : NULL;
    if (from >= m->text.n_bytes)
        return;
    if (last && last->end == from) {
        last->end = m->text.n_bytes;
        return;
    }
    if (m->n_drafted == m->cap_drafted) {
        int32_t cap = m->cap_drafted ? m->cap_drafted * 2 : 16;
        struct text_range *grown = realloc(m->drafted, sizeof *grown * (size_t)cap);
        if (!grown)
            return;
        m->drafted = grown;
        m->cap_drafted = cap;
    }
    m->drafted[m->n_drafted++] = (struct text_range){ from, m->text.n_bytes };
}

bool message_is_read(const struct message *m)
{
    bool said = m->role == MESSAGE_USER || m->role == MESSAGE_MODEL || m->role == MESSAGE_SUMMARY;
    return said && m->state != MESSAGE_STREAMING && !m->left_out;
}

/* A text of the prompt's own, for what no message says as it stands. */
static struct buf *own_text(struct transcript_prompt *p, const char *begin)
{
    struct buf *text = &p->joined[p->n_joined++];
    buf_add_text(text, begin);
    return text;
}

static void add_read(struct transcript_prompt *p, const struct message *m)
{
    const char *role = m->role == MESSAGE_MODEL ? "assistant" : "user";
    bool summary = m->role == MESSAGE_SUMMARY;
    struct chat_message *last = p->n_messages ? &p->messages[p->n_messages - 1] : NULL;
    bool joins = last && strcmp(last->role, role) == 0;
    if (!joins) {
        last = &p->messages[p->n_messages++];
        *last = (struct chat_message){ .role = role, .content = buf_text(&m->text),
                                       .thinking = m->thinking.n_bytes > 0 ? buf_text(&m->thinking) : NULL };
    }
    if (!joins && !summary)
        return;
    struct buf *text = p->n_joined ? &p->joined[p->n_joined - 1] : NULL;
    if (!joins)
        text = own_text(p, "");
    else if (!text || text->data != last->content)
        text = own_text(p, last->content);
    if (joins)
        buf_add_text(text, "\n\n");
    if (summary)
        buf_add_text(text, summary_head);
    buf_add(text, buf_text(&m->text), m->text.n_bytes);
    last->content = buf_text(text);
    if (summary)
        last->thinking = NULL;
}

bool transcript_prompt(const struct transcript *t, const char *system, int32_t from, int32_t to,
                       struct transcript_prompt *out)
{
    memset(out, 0, sizeof *out);
    out->messages = calloc((size_t)t->n_path + 2, sizeof *out->messages);
    out->joined = calloc((size_t)t->n_path + 1, sizeof *out->joined);
    if (!out->messages || !out->joined)
        return false;
    if (system[0])
        out->messages[out->n_messages++] = (struct chat_message){ .role = "system", .content = system };
    for (int32_t i = 0; i < to; i++) {
        const struct message *m = t->path[i];
        if (message_is_read(m) && (i >= from || m->role == MESSAGE_SUMMARY))
            add_read(out, m);
    }
    bool ok = true;
    for (int32_t i = 0; i < out->n_joined; i++)
        ok = ok && buf_ok(&out->joined[i]);
    return ok;
}

void transcript_prompt_finish(struct transcript_prompt *p)
{
    for (int32_t i = 0; i < p->n_joined; i++)
        buf_finish(&p->joined[i]);
    free(p->joined);
    free(p->messages);
    memset(p, 0, sizeof *p);
}

void transcript_export(const struct transcript *t, const char *system, struct buf *out)
{
    if (system[0])
        buf_printf(out, "## System\n\n%s\n\n", system);
    for (int32_t i = 0; i < t->n_path; i++) {
        const struct message *m = t->path[i];
        if (m->role != MESSAGE_USER && m->role != MESSAGE_MODEL)
            continue;
        buf_add_text(out, m->role == MESSAGE_USER ? "## You\n\n" : "## Model\n\n");
        buf_add(out, buf_text(&m->text), m->text.n_bytes);
        buf_add_text(out, "\n\n");
    }
}
