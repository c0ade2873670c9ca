/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session/session_impl.h"

enum { BOUNDARY_LAYERS = 2, TYPE_OPEN = KV_N_TYPES };

static bool find_type(enum kv_type *out, const char *name)
{
    *out = name && strcmp(name, "auto") == 0 ? TYPE_OPEN : KV_F16;
    return !name || *out == (enum kv_type)TYPE_OPEN || kv_type_find(out, name);
}

enum err_code session_types_find(struct session_types *out, const char *type_k, const char *type_v,
                                 struct err *e)
{
    bool k = find_type(&out->k, type_k);
    if (!k || !find_type(&out->v, type_v))
        return err_set(e, ERR_UNSUPPORTED, "KV cache type '%s': auto, f16, q8_0, q4_0, kv4, kv3 or f32 wanted",
                       k ? type_v : type_k);
    if ((out->k == KV_F32) != (out->v == KV_F32))
        return err_set(e, ERR_UNSUPPORTED, "KV cache types %s and %s: f32 goes with f32 alone",
                       type_k ? type_k : "f16", type_v ? type_v : "f16");
    return ERR_OK;
}

/* The layers at both ends suffer most from few bits, and are few. */
static enum kv_type type_of_layer(enum kv_type type, int32_t layer, int32_t n_layers)
{
    bool boundary = layer < BOUNDARY_LAYERS || layer >= n_layers - BOUNDARY_LAYERS;
    return type == KV_KV3 && boundary ? KV_KV4 : type;
}

void session_layers_of(struct kv_layer *out, const struct program *p, struct session_types types)
{
    for (int32_t i = 0; i < p->n_layers; i++) {
        out[i] = p->kv[i];
        out[i].k = type_of_layer(types.k, i, p->n_layers);
        out[i].v = type_of_layer(types.v, i, p->n_layers);
    }
}

void session_layers(struct kv_layer *out, const struct model *m, struct session_types types)
{
    const struct program *p = m->program;
    session_layers_of(out, p, types);
    for (int32_t i = 0; i < p->n_layers; i++)
        out[i].memory = backend_kv_memory(m->backend, i);
}

static void fit(enum kv_type *type, const struct program *p, char *note, size_t note_bytes)
{
    for (int32_t i = 0; *type != (enum kv_type)TYPE_OPEN && i < p->n_layers; i++)
        if (!kv_type_fits(*type, p->kv[i].d_head)) {
            snprintf(note, note_bytes, "heads of %d values cannot be kept as %s: f16 taken", p->kv[i].d_head,
                     kv_type_name(*type));
            *type = KV_F16;
        }
}

void session_types_fit(struct session_types *types, const struct program *p, char *note, size_t note_bytes)
{
    fit(&types->k, p, note, note_bytes);
    fit(&types->v, p, note, note_bytes);
}

/* Of layers [first, end) of the model. */
static uint64_t kv_bytes(const struct model *m, struct session_types types, int32_t n_ctx, int32_t n_seqs,
                         int32_t first, int32_t end)
{
    struct kv_layer *layers = calloc((size_t)m->program->n_layers, sizeof *layers);
    if (!layers)
        return 0;
    session_layers(layers, m, types);
    uint64_t bytes = (uint64_t)n_seqs * kv_cache_estimate(layers + first, end - first, n_ctx);
    free(layers);
    return bytes;
}

uint64_t session_kv_bytes(const struct model *m, struct session_types types, int32_t n_ctx, int32_t n_seqs)
{
    return kv_bytes(m, types, n_ctx, n_seqs, 0, m->program->n_layers);
}

/* ---- by the memory there is ------------------------------------------------------------------------ */

struct session_bytes session_memory_available(const struct model *m)
{
    struct engine_info info;
    struct model_bytes own;
    struct session_bytes caches = { 0 };
    engine_info(m->engine, &info);
    model_placed_bytes(m, 0, 0, 0, &own);
    for (const struct session_cache *c = m->caches ? m->caches->first : NULL; c; c = c->next) {
        struct kv_stats kv;    /* of all caches: a session made anew mostly takes the place of the one there is */
        kv_cache_stats(c->kv, &kv);
        uint64_t on_device = info.device_shares ? 0 : kv.device_bytes;
        caches.host += kv.used_bytes + kv.cached_bytes - on_device;
        caches.device += on_device;
    }
    return (struct session_bytes){ info.memory_available_bytes + m->placed_bytes + caches.host,
                                   engine_device_room(&info) + own.device_weights + caches.device };
}

/* Weights, scratch and pages. */
static struct session_bytes needed(const struct model *m, struct session_types types, int32_t n_ctx, int32_t n_seqs,
                                   int32_t n_batch)
{
    int32_t n_layers = m->program->n_layers;
    struct model_bytes own;
    model_placed_bytes(m, n_batch, n_seqs, n_ctx, &own);
    int32_t n_host = own.shares ? n_layers : n_layers - m->info.n_device_layers;
    return (struct session_bytes){
        own.host_weights + own.host_scratch + kv_bytes(m, types, n_ctx, n_seqs, 0, n_host),
        own.device_weights + own.device_scratch + kv_bytes(m, types, n_ctx, n_seqs, n_host, n_layers),
    };
}

uint64_t session_cache_budget(const struct session *s, uint64_t asked_bytes)
{
    struct session_bytes all = needed(s->model, s->types, s->n_ctx, s->n_seqs, s->n_batch);
    if (all.device == 0)
        return asked_bytes;
    uint64_t room = session_memory_available(s->model).device, left = room > all.device ? room - all.device : 0;
    return left < asked_bytes ? left : asked_bytes;
}

void session_types_decide(struct session_types *types, const struct model *m, int32_t n_ctx, int32_t n_seqs,
                          int32_t n_batch, struct session_bytes available, char *note, size_t note_bytes)
{
    static const enum kv_type choices[] = { KV_F16, KV_Q8_0, KV_KV4 };
    enum { N_CHOICES = sizeof choices / sizeof *choices };
    const struct session_types asked = *types;
    if (asked.k != (enum kv_type)TYPE_OPEN && asked.v != (enum kv_type)TYPE_OPEN)
        return;
    uint64_t host_room = engine_host_room(available.host);
    struct session_bytes first = { 0 };
    for (int32_t i = 0; i < N_CHOICES; i++) {
        types->k = asked.k == (enum kv_type)TYPE_OPEN ? choices[i] : asked.k;
        types->v = asked.v == (enum kv_type)TYPE_OPEN ? choices[i] : asked.v;
        struct session_bytes bytes = needed(m, *types, n_ctx, n_seqs, n_batch);
        if (i == 0)
            first = bytes;
        if ((bytes.host > host_room || bytes.device > available.device) && i < N_CHOICES - 1)
            continue;
        bool device = first.device > available.device;
        if (i > 0)
            snprintf(note, note_bytes, "%s taken: with f16 %.1f GiB%s would be needed, %.1f GiB may be used",
                     kv_type_name(choices[i]), (double)(device ? first.device : first.host) / (1u << 30),
                     device ? " of the device" : "", (double)(device ? available.device : host_room) / (1u << 30));
        return;
    }
}

void session_layers_by_name(struct kv_layer *out, const struct model *m, const char *type_k, const char *type_v,
                            int32_t n_ctx, int32_t n_seqs)
{
    struct session_types types;
    char ignored[8];
    if (session_types_find(&types, type_k, type_v, NULL) != ERR_OK)
        types = (struct session_types){ KV_F16, KV_F16 };
    session_types_decide(&types, m, n_ctx, n_seqs, DEFAULT_BATCH, session_memory_available(m), ignored,
                         sizeof ignored);
    session_types_fit(&types, m->program, ignored, sizeof ignored);
    session_layers(out, m, types);
}
