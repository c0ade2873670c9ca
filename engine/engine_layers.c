/* SPDX-License-Identifier: MIT */
/* Which layers of a model a device is to have; engine_place.c places them. A person says how many, or as many are taken
 * as fit: the last ones, with the head, for the rows that want logits end there, and all of a model is the same as its
 * last n layers.
 *
 *     free memory of the device - reserve >= weights of the last n layers and the head + their keys and values as f16
 *                                            at the context wanted + scratch
 *
 * An embedding that is no matrix of the head comes along where the device has all layers and room is left; else the
 * processor looks tokens up, which costs little.
 *
 * What a device computes crosses back once per batch, so a few layers on it cost more than they bring: below a third
 * of them the processor has all. */
#include <stdio.h>

#include "engine/engine_impl.h"
#include "engine/kv/kv_cache.h"

enum { LEAST_PART = 3 };

/* The weights of the last n layers and the head. */
static uint64_t weight_bytes(const struct program *p, int32_t n)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        bool there = s->kind == STEP_HEAD || (s->kind != STEP_EMBED && s->layer >= p->n_layers - n);
        for (int j = 0; there && j < 3 && s->w[j]; j++)
            bytes += s->w[j]->n_bytes;
    }
    return bytes;
}

/* Before anything is placed no backend can say: rows of DEFAULT_BATCH, some logits, partial attention. */
static uint64_t scratch_bytes(const struct program *p)
{
    static const uint64_t PARTS = 64 << 20;
    enum { N_LOGITS = 40 };
    uint64_t row = 4 * (uint64_t)p->n_embd + (uint64_t)p->max_cols + 3 * (uint64_t)p->max_q +
                   2 * (uint64_t)p->max_kv + 2 * (uint64_t)p->max_ff;
    return (DEFAULT_BATCH * row + N_LOGITS * (uint64_t)p->n_vocab) * sizeof(float) + PARTS;
}

int32_t layers_that_fit(const struct program *p, int32_t n_ctx, uint64_t room, uint64_t *all)
{
    int32_t fit = 0;
    for (int32_t n = 1; n <= p->n_layers; n++) {
        *all = weight_bytes(p, n) + kv_cache_estimate(p->kv + (p->n_layers - n), n, n_ctx) + scratch_bytes(p);
        if (*all <= room)
            fit = n;
    }
    return fit;
}

int32_t layers_context(const struct model *m)
{
    int32_t train = m->info.n_ctx_train;
    return m->engine->n_ctx ? m->engine->n_ctx : train < DEFAULT_CTX ? train : DEFAULT_CTX;
}

bool layers_leave_room_to_embed(const struct program *p, int32_t n_ctx, uint64_t room)
{
    uint64_t all = 0;
    int32_t fit = layers_that_fit(p, n_ctx, room, &all);
    return fit == p->n_layers && p->steps[0].w[0]->n_bytes <= room - all;
}

static int32_t asked_for(const struct engine *eng, int32_t n_layers)
{
    int32_t asked = eng->n_gpu_layers;
    return asked <= 0 ? -1 : asked < n_layers ? asked : n_layers;
}

static bool too_few(int32_t n, const struct program *p)
{
    return n * LEAST_PART < p->n_layers;
}

int32_t layers_planned(const struct engine *eng, const struct program *p, int32_t n_ctx, uint64_t room)
{
    uint64_t all;
    int32_t asked = asked_for(eng, p->n_layers), fit;
    if (eng->backend == eng->cpu)
        return 0;
    if (asked > 0)
        return asked;
    fit = layers_that_fit(p, n_ctx, room, &all);
    return too_few(fit, p) ? 0 : fit;
}

/* None where they are too few. text: what is to be said where it is not all; "". */
static int32_t choose(const struct model *m, const struct engine_info *info, const char *none_fit,
                      char text[ERR_TEXT_BYTES])
{
    const struct program *p = m->program;
    uint64_t all = 0;
    int32_t n_ctx = layers_context(m);
    uint64_t room = engine_device_room(info);
    int32_t fit = layers_that_fit(p, n_ctx, room, &all);
    bool none = too_few(fit, p);
    double gib = 1u << 30;
    text[0] = '\0';
    if (fit < p->n_layers)
        snprintf(text, ERR_TEXT_BYTES, "%s: %d of %d layers %s; all take %.1f GiB with a context of %d tokens, %.1f GiB "
                 "may be used%s", info->device, fit, p->n_layers, none ? none_fit : "fit, the processor has the others",
                 (double)all / gib, n_ctx, (double)room / gib, none ? "" : ": a smaller context or level would fit");
    return none ? 0 : fit;
}

int32_t layers_choose(struct model *m, const struct engine_info *info)
{
    char text[ERR_TEXT_BYTES];
    int32_t n = choose(m, info, "would fit, so all are on the processor", text);
    if (text[0])
        model_warn(m, "%s", text);
    return n;
}

int32_t layers_asked_for(const struct model *m)
{
    return asked_for(m->engine, m->program->n_layers);
}

int32_t layers_for_device(struct model *m)
{
    const struct engine *eng = m->engine;
    int32_t asked = layers_asked_for(m);
    struct engine_info info;
    if (eng->backend == eng->cpu)
        return 0;
    if (asked > 0)
        return asked;
    engine_info(eng, &info);
    return layers_choose(m, &info);
}

enum err_code layers_to_move(struct model *m, int32_t *n, struct err *e)
{
    char text[ERR_TEXT_BYTES];
    struct engine_info info;
    *n = layers_asked_for(m);
    if (*n > 0)
        return ERR_OK;
    engine_info(m->engine, &info);
    *n = choose(m, &info, "would fit, too few to gain by", text);
    if (*n == 0)
        return err_set(e, ERR_NOMEM, "%s", text);
    if (text[0])
        model_warn(m, "%s", text);
    return ERR_OK;
}
