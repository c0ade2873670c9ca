/* SPDX-License-Identifier: MIT */
#include "app/chat/transcript.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void free_message(struct message *m)
{
    buf_finish(&m->text);
    buf_finish(&m->thinking);
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

static bool is_sent(const struct message *m)
{
    return (m->role == MESSAGE_USER || m->role == MESSAGE_MODEL) && m->state != MESSAGE_STREAMING;
}

static void add_sent(struct transcript_prompt *p, const struct message *m)
{
    const char *role = m->role == MESSAGE_USER ? "user" : "assistant";
    struct chat_message *last = p->n_messages ? &p->messages[p->n_messages - 1] : NULL;
    if (!last || strcmp(last->role, role) != 0) {
        p->messages[p->n_messages++] = (struct chat_message){
            .role = role, .content = buf_text(&m->text),
            .thinking = m->thinking.n_bytes > 0 ? buf_text(&m->thinking) : NULL };
        return;
    }
    struct buf *text = p->n_joined ? &p->joined[p->n_joined - 1] : NULL;
    if (!text || text->data != last->content) {
        text = &p->joined[p->n_joined++];
        buf_add_text(text, last->content);
    }
    buf_add_text(text, "\n\n");
    buf_add(text, buf_text(&m->text), m->text.n_bytes);
    last->content = buf_text(text);
}

bool transcript_prompt(const struct transcript *t, const char *system, struct transcript_prompt *out)
{
    memset(out, 0, sizeof *out);
    out->messages = calloc((size_t)t->n_path + 1, sizeof *out->messages);
    out->joined = calloc((size_t)t->n_path + 1, sizeof *out->joined);
    if (!out->messages || !out->joined)
        return false;
    if (system[0])
        out->messages[out->n_messages++] = (struct chat_message){ .role = "system", .content = system };
    for (int32_t i = 0; i < t->n_path; i++)
        if (is_sent(t->path[i]))
            add_sent(out, t->path[i]);
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
