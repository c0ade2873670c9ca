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

void session_layers(struct kv_layer *out, const struct program *p, struct session_types types)
{
    for (int32_t i = 0; i < p->n_layers; i++) {
        out[i] = p->kv[i];
        out[i].k = type_of_layer(types.k, i, p->n_layers);
        out[i].v = type_of_layer(types.v, i, p->n_layers);
    }
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

uint64_t session_kv_bytes(const struct program *p, struct session_types types, int32_t n_ctx, int32_t n_seqs)
{
    struct kv_layer *layers = calloc((size_t)p->n_layers, sizeof *layers);
    if (!layers)
        return 0;
    session_layers(layers, p, types);
    uint64_t bytes = (uint64_t)n_seqs * kv_cache_estimate(layers, p->n_layers, n_ctx);
    free(layers);
    return bytes;
}

uint64_t session_memory_available(const struct model *m)
{
    struct engine_info info;
    engine_info(m->engine, &info);
    return info.memory_available_bytes + m->placed_bytes;
}

void session_types_decide(struct session_types *types, const struct model *m, int32_t n_ctx, int32_t n_seqs,
                          int32_t n_batch, uint64_t available_bytes, char *note, size_t note_bytes)
{
    static const enum kv_type choices[] = { KV_F16, KV_Q8_0, KV_KV4 };
    enum { N_CHOICES = sizeof choices / sizeof *choices };
    const struct session_types asked = *types;
    if (asked.k != (enum kv_type)TYPE_OPEN && asked.v != (enum kv_type)TYPE_OPEN)
        return;
    uint64_t others = model_weight_bytes(m) + model_scratch_bytes(m, n_batch, n_seqs, n_ctx);
    uint64_t room = available_bytes / 5 * 4, first = 0;    /* a machine needs some memory for everything else */
    for (int32_t i = 0; i < N_CHOICES; i++) {
        types->k = asked.k == (enum kv_type)TYPE_OPEN ? choices[i] : asked.k;
        types->v = asked.v == (enum kv_type)TYPE_OPEN ? choices[i] : asked.v;
        uint64_t bytes = others + session_kv_bytes(m->program, *types, n_ctx, n_seqs);
        if (i == 0)
            first = bytes;
        if (bytes <= room || i == N_CHOICES - 1) {
            if (i > 0)
                snprintf(note, note_bytes, "%s taken: with f16 %.1f GiB would be needed, %.1f GiB may be used",
                         kv_type_name(choices[i]), (double)first / (1u << 30), (double)room / (1u << 30));
            return;
        }
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
    session_layers(out, m->program, types);
}
