/* SPDX-License-Identifier: MIT */
/* What there is to know in numbers, as rows of text: the same for every front end. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "app/chat/chat.h"

void chat_size_text(uint64_t n_bytes, char *out, size_t out_bytes)
{
    double mb = (double)n_bytes / 1e6;
    if (mb >= 999.5)
        snprintf(out, out_bytes, "%.2f GB", mb / 1e3);
    else
        snprintf(out, out_bytes, mb >= 99.95 ? "%.0f MB" : "%.1f MB", mb);
}

void chat_kv_types(const struct chat *c, char *out, size_t out_bytes)
{
    const struct port_stats *s = &c->stats;
    bool same = strcmp(s->kv_type_k, s->kv_type_v) == 0;
    snprintf(out, out_bytes, "%s%s%s", s->kv_type_k, same ? "" : "/", same ? "" : s->kv_type_v);
}

/* ---- what computes -------------------------------------------------------------------------------- */

/* A model may have left its device since it was opened: the newest figures say. */
static bool on_device(const struct chat *c)
{
    return c->model && c->model->device[0] && c->stats.n_device_layers > 0;
}

/* Without what stands in brackets. */
static int name_bytes(const struct port_model *m)
{
    const char *brackets = strstr(m->device, " (");
    return brackets ? (int)(brackets - m->device) : (int)strlen(m->device);
}

void chat_device_text(const struct chat *c, char *out, size_t out_bytes)
{
    const struct port_model *m = c->model;
    int32_t n = c->stats.n_device_layers;
    char layers[40] = "";
    if (m && n < m->n_layers)
        snprintf(layers, sizeof layers, " %d/%d layers", n, m->n_layers);
    if (!m)
        out[0] = '\0';
    else if (!on_device(c))
        snprintf(out, out_bytes, "cpu %s", m->cpu_tier);
    else
        snprintf(out, out_bytes, "%.*s%s", name_bytes(m), m->device, layers);
}

void chat_device_brief(const struct chat *c, char *out, size_t out_bytes)
{
    int32_t n = c->stats.n_device_layers;
    if (!on_device(c))
        chat_device_text(c, out, out_bytes);
    else if (n < c->model->n_layers)
        snprintf(out, out_bytes, "gpu %d/%d", n, c->model->n_layers);
    else
        snprintf(out, out_bytes, "gpu");
}

void chat_place_text(const struct chat *c, char *out, size_t out_bytes)
{
    char size[24];
    chat_size_text(c->stats.device_bytes, size, sizeof size);
    if (!c->model)
        out[0] = '\0';
    else if (!on_device(c))
        snprintf(out, out_bytes, "the processor (cpu %.20s)", c->model->cpu_tier);
    else
        snprintf(out, out_bytes, "%.*s, %d of %d layers, %s", name_bytes(c->model), c->model->device,
                 c->stats.n_device_layers, c->model->n_layers, size);
}

bool chat_device_memory(const struct chat *c, char *used, char *all, size_t out_bytes)
{
    if (!on_device(c) || c->stats.device_shares || c->stats.device_total_bytes == 0)
        return false;
    chat_size_text(c->stats.device_bytes, used, out_bytes);
    chat_size_text(c->stats.device_total_bytes, all, out_bytes);
    return true;
}

void chat_gpu_layers_text(const struct chat *c, char *out, size_t out_bytes)
{
    if (c->device.n_gpu_layers > 0)
        snprintf(out, out_bytes, "%d", c->device.n_gpu_layers);
    else
        snprintf(out, out_bytes, "auto");
}

/* ---- rows ----------------------------------------------------------------------------------------- */

struct rows {
    struct chat_figure *all;
    int32_t n;
};

static void row(struct rows *r, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void row(struct rows *r, const char *name, const char *format, ...)
{
    va_list args;
    if (r->n == CHAT_FIGURES)
        return;
    struct chat_figure *f = &r->all[r->n++];
    f->name = name;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
}

static void add_model(const struct chat *c, struct rows *r)
{
    char label[PORT_TEXT_BYTES], device[PORT_TEXT_BYTES];
    chat_model_label(c, label, sizeof label);
    chat_device_text(c, device, sizeof device);
    row(r, "Model", "%.80s, %.20s, %d threads, %.60s", label, c->model->level, c->model->n_threads, device);
    if (on_device(c)) {
        char free_text[24], all[24], size[24];
        chat_size_text(c->stats.device_free_bytes, free_text, sizeof free_text);
        chat_size_text(c->stats.device_total_bytes, all, sizeof all);
        chat_size_text(c->stats.device_bytes, size, sizeof size);
        row(r, "Device", "%.80s; %d of %d layers, %s; %s of %s free", c->model->device_driver,
            c->stats.n_device_layers, c->model->n_layers, size, free_text, all);
    }
    int32_t n_left_out = 0;
    for (int32_t i = 0; i < c->transcript.n_path; i++)
        n_left_out += c->transcript.path[i]->left_out;
    char out[64] = "";
    if (n_left_out > 0)
        snprintf(out, sizeof out, "; %d messages no longer read", n_left_out);
    row(r, "Context", "%d of %d tokens (%d %%)%s", c->n_ctx_used, c->model->n_ctx,
        (int)((int64_t)c->n_ctx_used * 100 / c->model->n_ctx), out);
}

static void add_cache(const struct chat *c, struct rows *r)
{
    const struct port_stats *s = &c->stats;
    char a[24], b[24], writing[40] = "";
    row(r, "KV types", "keys %s, values %s (asked for: %s, %s)", s->kv_type_k, s->kv_type_v, c->session.kv_type_k,
        c->session.kv_type_v);
    if (s->kv_note[0])
        row(r, "", "%s", s->kv_note);
    row(r, "Pages of 64 tokens", "%d open, %d sealed, %d of them shared", s->n_open, s->n_sealed, s->n_shared);
    chat_size_text(s->kv_bytes, a, sizeof a);
    chat_size_text(s->kv_full_bytes, b, sizeof b);
    row(r, "KV memory", "%s now, %s with a full context", a, b);
    chat_size_text(s->cached_bytes, a, sizeof a);
    chat_size_text(s->cache_ram_bytes, b, sizeof b);
    row(r, "Kept in memory", "%s of %s, for prompts to come", a, b);
    chat_size_text(s->disk_bytes, a, sizeof a);
    if (s->n_disk_writing > 0)
        snprintf(writing, sizeof writing, "; %d being written", s->n_disk_writing);
    row(r, "Kept on disk", "%d file%s of this model and these types; %s in all%s", s->n_disk_files,
        s->n_disk_files == 1 ? "" : "s", a, writing);
}

static const struct message *last_answer(const struct chat *c)
{
    for (int32_t i = c->transcript.n_path - 1; i >= 0; i--) {
        const struct message *m = c->transcript.path[i];
        if (m->role == MESSAGE_MODEL && m->state != MESSAGE_STREAMING && m->timings.n_prompt > 0)
            return m;
    }
    return NULL;
}

static void add_answer(const struct chat *c, struct rows *r)
{
    const struct message *m = last_answer(c);
    if (!m) {
        row(r, "Last answer", "none yet");
        return;
    }
    const struct eng_timings *t = &m->timings;
    int32_t n_read = t->n_prompt - t->n_reused;
    char speed[40] = "", loaded[40] = "";
    if (t->n_loaded > 0)
        snprintf(loaded, sizeof loaded, " (%d of these from a file)", t->n_loaded);
    if (t->prompt_ms > 0 && n_read > 0)
        snprintf(speed, sizeof speed, " (%.0f per second)", n_read * 1e3 / t->prompt_ms);
    row(r, "Last prompt", "%d tokens: %d reused%s, %d read in %.2f s%s", t->n_prompt, t->n_reused, loaded, n_read,
        t->prompt_ms / 1e3, speed);
    row(r, "Last answer", "%d tokens, %.1f per second; the first after %.2f s", t->n_generated, m->tokens_per_s,
        t->first_ms / 1e3);
}

/* What a token reads, and how much of what the memory gives the last answer used: bytes of a pass times passes a second.
 * A device's own memory is not measured. */
static void add_reads(const struct chat *c, struct rows *r)
{
    const struct message *m = last_answer(c);
    const struct port_stats *s = &c->stats;
    char size[24];
    if (s->token_bytes == 0)
        return;
    chat_size_text(s->token_bytes, size, sizeof size);
    double used = m && m->timings.generate_ms > 0
                      ? (double)s->token_bytes * m->timings.n_passes / m->timings.generate_ms / 1e6 : 0;
    double all = s->memory_bytes_per_s / 1e9;
    if (used <= 0)
        row(r, "Reads", "%s for a token", size);
    else if (all <= 0 || on_device(c))
        row(r, "Reads", "%s for a token, %.1f GB/s in the last answer", size, used);
    else
        row(r, "Reads", "%s for a token, %.1f GB/s in the last answer: %.0f %% of the memory's %.1f", size, used,
            100 * used / all, all);
}

void chat_drafts_text(const struct chat *c, char *out, size_t out_bytes)
{
    char asked[64] = "as many as pay";
    if (c->spec > 0)
        snprintf(asked, sizeof asked, "up to %d token%s at a time", c->spec, c->spec == 1 ? "" : "s");
    if (c->spec == SPEC_OFF)
        snprintf(out, out_bytes, "switched off; /spec auto switches them on");
    else if (c->n_answer > 0 && c->spec != c->spec_asked)
        snprintf(out, out_bytes, "%s, from the next answer on", asked);
    else if (c->n_answer > 0 && c->stats.spec_note[0])
        snprintf(out, out_bytes, "off, because %s", c->stats.spec_note);
    else
        snprintf(out, out_bytes, "%s", asked);
}

static void add_drafts(const struct chat *c, struct rows *r)
{
    char last[DRAFTS_TEXT_BYTES], now[PORT_TEXT_BYTES];
    drafts_text(&c->drafts, last);
    if (c->drafts.n_passes > 0)
        row(r, "Drafts", "%s", last);
    chat_drafts_text(c, now, sizeof now);
    row(r, "Drafts now", "%s", now);
}

int32_t chat_figures(const struct chat *c, struct chat_figure out[CHAT_FIGURES])
{
    struct rows r = { .all = out };
    if (!c->model) {
        row(&r, "Model", "none yet");
        return r.n;
    }
    add_model(c, &r);
    add_cache(c, &r);
    add_answer(c, &r);
    add_reads(c, &r);
    add_drafts(c, &r);
    char a[24], b[24], all[24];
    chat_size_text(c->stats.resident_bytes, a, sizeof a);
    chat_size_text(c->stats.available_bytes, b, sizeof b);
    chat_size_text(c->stats.total_bytes, all, sizeof all);
    row(&r, "Memory", "%s of this program; %s of %s free", a, b, all);
    return r.n;
}
