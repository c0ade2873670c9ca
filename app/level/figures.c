/* SPDX-License-Identifier: MIT */
#include "app/level/figures.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "app/config/paths.h"
#include "engine/base/file.h"

enum { VERSION = 1, MOST_FILE_BYTES = 1 << 20 };

/* ---- reading ---------------------------------------------------------------------------------------- */

static bool read_text(const json_t *o, const char *key, char *out, size_t n_bytes)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text && strlen(text) < n_bytes && snprintf(out, n_bytes, "%s", text) >= 0;
}

static bool read_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const json_t *value = json_object_get(o, key);
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= min && *out <= max;
}

static bool read_real(const json_t *o, const char *key, double min, double max, double *out)
{
    const json_t *value = json_object_get(o, key);
    *out = json_number_value(value);
    return json_is_number(value) && *out >= min && *out <= max;    /* JSON has no NaN */
}

static bool read_key(const json_t *o, const char *key, uint8_t out[ORIGIN_KEY_BYTES])
{
    const char *text = json_string_value(json_object_get(o, key));
    if (!text || strlen(text) != 2 * ORIGIN_KEY_BYTES || strspn(text, "0123456789abcdef") != 2 * ORIGIN_KEY_BYTES)
        return false;
    for (int i = 0; i < ORIGIN_KEY_BYTES; i++) {
        const char pair[3] = { text[2 * i], text[2 * i + 1], '\0' };
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static bool read_file(const json_t *o, struct figures_file *out)
{
    int64_t n_bytes;
    bool ok = read_key(o, "content", out->content) && read_int(o, "bytes", 1, INT64_MAX, &n_bytes) &&
              read_text(o, "file", out->name, sizeof out->name);
    out->n_bytes = ok ? (uint64_t)n_bytes : 0;
    return ok;
}

static bool read_speed(const json_t *o, struct figures_speed *out)
{
    int64_t n_held = 0;
    bool ok = read_file(o, &out->file) && read_text(o, "place", out->place, sizeof out->place) &&
              read_text(o, "kv", out->kv_types, sizeof out->kv_types) && read_int(o, "held", 0, 1 << 24, &n_held) &&
              read_real(o, "tokens_per_s", 1e-6, 1e9, &out->tokens_per_s) &&
              read_int(o, "time", 0, INT64_MAX, &out->time_s);
    out->n_held = (int32_t)n_held;
    return ok;
}

static bool read_quality(const json_t *o, struct figures_quality *out)
{
    int64_t n_tokens = 0;
    bool ok = read_file(o, &out->file) && read_key(o, "base", out->base) &&
              read_text(o, "base_level", out->base_level, sizeof out->base_level) &&
              read_real(o, "kl", -1, 1e6, &out->kl) && read_real(o, "kl_error", 0, 1e6, &out->kl_error) &&
              read_real(o, "same_top", 0, 1, &out->same_top) && read_int(o, "tokens", 1, INT32_MAX, &n_tokens) &&
              read_int(o, "time", 0, INT64_MAX, &out->time_s);
    out->n_tokens = (int32_t)n_tokens;
    return ok;
}

static bool read_bandwidth(const json_t *o, struct figures_bandwidth *out)
{
    return read_text(o, "place", out->place, sizeof out->place) &&
           read_real(o, "bytes_per_s", 1e6, 1e15, &out->bytes_per_s) &&
           read_int(o, "time", 0, INT64_MAX, &out->time_s);
}

static void read_all(struct figures *out, const json_t *root)
{
    size_t i;
    const json_t *o;
    json_array_foreach(json_object_get(root, "speeds"), i, o)
        if (out->n_speeds < FIGURES_MAX && read_speed(o, &out->speeds[out->n_speeds]))
            out->n_speeds++;
    json_array_foreach(json_object_get(root, "qualities"), i, o)
        if (out->n_qualities < FIGURES_MAX && read_quality(o, &out->qualities[out->n_qualities]))
            out->n_qualities++;
    json_array_foreach(json_object_get(root, "bandwidths"), i, o)
        if (out->n_bandwidths < FIGURES_MAX && read_bandwidth(o, &out->bandwidths[out->n_bandwidths]))
            out->n_bandwidths++;
}

void figures_read(struct figures *out, const char *path)
{
    struct buf text = { 0 };
    int64_t version;
    memset(out, 0, sizeof *out);
    if (!path[0] || access(path, F_OK) != 0)
        return;
    bool ok = file_read(path, MOST_FILE_BYTES, &text);
    out->file_bytes = ok ? text.n_bytes : 1;
    json_t *root = ok ? json_loadb(text.data, text.n_bytes, 0, NULL) : NULL;
    out->damaged = !read_int(root, "version", VERSION, VERSION, &version);
    if (!out->damaged)
        read_all(out, root);
    json_decref(root);
    buf_finish(&text);
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static json_t *key_json(const uint8_t key[ORIGIN_KEY_BYTES])
{
    char text[2 * ORIGIN_KEY_BYTES + 1];
    for (int i = 0; i < ORIGIN_KEY_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", key[i]);
    return json_string(text);
}

/* A file's name may have any bytes. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    return value ? value : json_string("?");
}

static json_t *file_json(const struct figures_file *f)
{
    return json_pack("{so sI so}", "content", key_json(f->content), "bytes", (json_int_t)f->n_bytes, "file",
                     text_json(f->name));
}

static json_t *speed_json(const struct figures_speed *s)
{
    json_t *o = file_json(&s->file);
    json_object_update_new(o, json_pack("{so ss si sf sI}", "place", text_json(s->place), "kv", s->kv_types, "held",
                                        (int)s->n_held, "tokens_per_s", s->tokens_per_s, "time",
                                        (json_int_t)s->time_s));
    return o;
}

static json_t *quality_json(const struct figures_quality *q)
{
    json_t *o = file_json(&q->file);
    json_object_update_new(o, json_pack("{so ss sf sf sf si sI}", "base", key_json(q->base), "base_level",
                                        q->base_level, "kl", q->kl, "kl_error", q->kl_error, "same_top", q->same_top,
                                        "tokens", (int)q->n_tokens, "time", (json_int_t)q->time_s));
    return o;
}

static json_t *bandwidth_json(const struct figures_bandwidth *b)
{
    return json_pack("{so sf sI}", "place", text_json(b->place), "bytes_per_s", b->bytes_per_s, "time",
                     (json_int_t)b->time_s);
}

static bool write_all(const struct figures *f, const char *path)
{
    json_t *speeds = json_array(), *qualities = json_array(), *bandwidths = json_array();
    for (int32_t i = 0; i < f->n_speeds; i++)
        json_array_append_new(speeds, speed_json(&f->speeds[i]));
    for (int32_t i = 0; i < f->n_qualities; i++)
        json_array_append_new(qualities, quality_json(&f->qualities[i]));
    for (int32_t i = 0; i < f->n_bandwidths; i++)
        json_array_append_new(bandwidths, bandwidth_json(&f->bandwidths[i]));
    json_t *root = json_pack("{si so so so}", "version", VERSION, "speeds", speeds, "qualities", qualities,
                             "bandwidths", bandwidths);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    bool ok = text && file_replace(path, text, strlen(text));
    free(text);
    json_decref(root);
    return ok;
}

/* ---- one figure ------------------------------------------------------------------------------------- */

static bool same_file(const struct figures_file *a, const uint8_t content[ORIGIN_KEY_BYTES], uint64_t n_bytes)
{
    return a->n_bytes == n_bytes && memcmp(a->content, content, ORIGIN_KEY_BYTES) == 0;
}

const struct figures_speed *figures_find_speed(const struct figures *f, const uint8_t content[ORIGIN_KEY_BYTES],
                                               uint64_t n_bytes, const char *place, const char *kv_types)
{
    for (int32_t i = 0; i < f->n_speeds; i++) {
        const struct figures_speed *s = &f->speeds[i];
        if (same_file(&s->file, content, n_bytes) && strcmp(s->place, place) == 0 &&
            strcmp(s->kv_types, kv_types) == 0)
            return s;
    }
    return NULL;
}

const struct figures_quality *figures_find_quality(const struct figures *f, const uint8_t content[ORIGIN_KEY_BYTES],
                                                   uint64_t n_bytes, const uint8_t *base)
{
    const struct figures_quality *best = NULL;
    for (int32_t i = 0; i < f->n_qualities; i++) {
        const struct figures_quality *q = &f->qualities[i];
        if (same_file(&q->file, content, n_bytes) && (!base || memcmp(q->base, base, ORIGIN_KEY_BYTES) == 0) &&
            (!best || q->time_s > best->time_s))
            best = q;
    }
    return best;
}

const struct figures_bandwidth *figures_find_bandwidth(const struct figures *f, const char *place)
{
    for (int32_t i = 0; i < f->n_bandwidths; i++)
        if (strcmp(f->bandwidths[i].place, place) == 0)
            return &f->bandwidths[i];
    return NULL;
}

static void drop(void *items, int32_t *n, size_t item_bytes, int32_t at)
{
    char *bytes = (char *)items + (size_t)at * item_bytes;
    --*n;
    memmove(bytes, bytes + item_bytes, (size_t)(*n - at) * item_bytes);
}

/* Room for one more at the end, in the order they were made: the one it replaces goes (-1: none), or the oldest where
 * there are too many. */
static void *append(void *items, int32_t *n, size_t item_bytes, int32_t replaced)
{
    if (replaced >= 0 || *n == FIGURES_MAX)
        drop(items, n, item_bytes, replaced >= 0 ? replaced : 0);
    return (char *)items + (size_t)(*n)++ * item_bytes;
}

static struct figures *read_new(const char *path)
{
    struct figures *f = path[0] ? malloc(sizeof *f) : NULL;
    if (f)
        figures_read(f, path);
    return f;
}

static bool write_old(struct figures *f, const char *path)
{
    bool ok = write_all(f, path);
    free(f);
    return ok;
}

bool figures_add_speed(const char *path, const struct figures_speed *s)
{
    struct figures *f = read_new(path);
    if (!f)
        return false;
    const struct figures_speed *old = figures_find_speed(f, s->file.content, s->file.n_bytes, s->place, s->kv_types);
    struct figures_speed *to = append(f->speeds, &f->n_speeds, sizeof *s, old ? (int32_t)(old - f->speeds) : -1);
    *to = *s;
    return write_old(f, path);
}

bool figures_add_quality(const char *path, const struct figures_quality *q)
{
    struct figures *f = read_new(path);
    if (!f)
        return false;
    const struct figures_quality *old = figures_find_quality(f, q->file.content, q->file.n_bytes, q->base);
    struct figures_quality *to = append(f->qualities, &f->n_qualities, sizeof *q,
                                        old ? (int32_t)(old - f->qualities) : -1);
    *to = *q;
    return write_old(f, path);
}

bool figures_add_bandwidth(const char *path, const struct figures_bandwidth *b)
{
    struct figures *f = read_new(path);
    if (!f)
        return false;
    const struct figures_bandwidth *old = figures_find_bandwidth(f, b->place);
    struct figures_bandwidth *to = append(f->bandwidths, &f->n_bandwidths, sizeof *b,
                                          old ? (int32_t)(old - f->bandwidths) : -1);
    *to = *b;
    return write_old(f, path);
}

enum err_code figures_clear(const char *path, const char *name, int32_t *n, struct err *e)
{
    *n = 0;
    struct figures *f = read_new(path);
    if (!f || f->file_bytes == 0) {
        free(f);
        return ERR_OK;
    }
    int32_t n_all = f->n_speeds + f->n_qualities + f->n_bandwidths;
    for (int32_t i = f->n_speeds - 1; name && i >= 0; i--)
        if (strcasecmp(f->speeds[i].file.name, name) == 0)
            drop(f->speeds, &f->n_speeds, sizeof f->speeds[0], i);
    for (int32_t i = f->n_qualities - 1; name && i >= 0; i--)
        if (strcasecmp(f->qualities[i].file.name, name) == 0)
            drop(f->qualities, &f->n_qualities, sizeof f->qualities[0], i);
    *n = name ? n_all - f->n_speeds - f->n_qualities - f->n_bandwidths : n_all;
    bool ok = name ? *n == 0 || write_all(f, path) : unlink(path) == 0;
    free(f);
    return ok ? ERR_OK : err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
}

/* ---- places ------------------------------------------------------------------------------------------ */

bool figures_file_of(const struct model *m, struct figures_file *out)
{
    struct err ignored;
    *out = (struct figures_file){ .n_bytes = model_info(m)->file_bytes };
    paths_model_name(model_info(m)->path, out->name, sizeof out->name);
    return model_content(m, out->content, &ignored) == ERR_OK;
}

void figures_kv_types(const char *k, const char *v, char out[FIGURES_TYPES_BYTES])
{
    bool same = strcmp(k, v) == 0;
    snprintf(out, FIGURES_TYPES_BYTES, "%s%s%s", k, same ? "" : "/", same ? "" : v);
}

void figures_place(const struct engine_info *info, int32_t n_layers, int32_t n_device_layers,
                   char out[FIGURES_TEXT_BYTES])
{
    if (n_device_layers == 0)
        snprintf(out, FIGURES_TEXT_BYTES, "%.60s, %s, %d threads", info->cpu, info->cpu_tier, info->n_threads);
    else if (n_device_layers == n_layers)
        snprintf(out, FIGURES_TEXT_BYTES, "%.60s, %.40s", info->device, info->device_driver);
    else
        snprintf(out, FIGURES_TEXT_BYTES, "%.50s %d/%d, %.30s, %s, %d threads", info->device, n_device_layers, n_layers,
                 info->cpu, info->cpu_tier, info->n_threads);
}

double figures_memory_bandwidth(const char *path, struct engine *eng, bool again)
{
    struct engine_info info;
    struct figures_bandwidth b = { .time_s = (int64_t)time(NULL) };
    struct figures *f = malloc(sizeof *f);
    engine_info(eng, &info);
    snprintf(b.place, sizeof b.place, "%.60s, %d threads", info.cpu, info.n_threads);
    if (f)
        figures_read(f, path);
    const struct figures_bandwidth *known = f ? figures_find_bandwidth(f, b.place) : NULL;
    double kept = known ? known->bytes_per_s : 0;
    free(f);
    if (kept > 0 && !again)
        return kept;
    b.bytes_per_s = engine_read_bandwidth(eng);
    if (b.bytes_per_s <= kept)
        return kept;
    figures_add_bandwidth(path, &b);
    return b.bytes_per_s;
}
