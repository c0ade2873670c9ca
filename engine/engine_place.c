/* SPDX-License-Identifier: MIT */
/* Where a model computes, and what becomes of it when that place fails.
 *
 *   at load       the device has as many of its layers as engine_layers.c says, and the processor the others; when the
 *                 device does not take them (no memory, a type or a shape it cannot compute, a self-test that comes out
 *                 wrong; or, where nobody asked for the device, because it is slower), the processor has all
 *   device lost   it is opened anew and the same layers are placed there again; the second time, or when that does not
 *                 work, the processor goes on (engine_lose_device). The loss counts for all models: the others follow
 *                 when they come upon it
 *   no memory     for what the model needs to run: the processor
 *
 * Placing raises the model's generation. Pages of keys and values are lost with the place they were for, so sessions
 * evaluate again what they hold (session/session_recover.c); what is left for a person to see is a pause and a line. */
#include <stdio.h>

#include "engine/backend/split.h"
#include "engine/engine_impl.h"

void model_unplace(struct model *m)
{
    if (m->placed)
        m->backend->ops->unplace(m->placed);
    if (m->split)
        m->split->ops->destroy(m->split);
    m->placed = NULL;
    m->split = m->device = NULL;
    m->backend = m->engine->cpu;
    m->info.n_device_layers = 0;
}

/* The backend for a model that is nowhere, when the device is to have its last n_device layers. */
static enum err_code choose_backend(struct model *m, int32_t n_device, struct err *e)
{
    struct engine *eng = m->engine;
    int32_t n_first = m->program->n_layers - n_device;
    enum err_code rc = ERR_OK;
    if (n_device > 0 && n_first > 0)
        rc = split_backend_create(&m->split, eng->cpu, eng->backend, n_first, e);
    m->device = n_device > 0 ? eng->backend : NULL;
    m->backend = m->split ? m->split : m->device ? m->device : eng->cpu;
    return rc;
}

/* The one place where a program meets backends. */
static enum err_code place_on(struct model *m, int32_t n_device, struct err *e)
{
    struct engine_info before, after;
    engine_info(m->engine, &before);
    enum err_code rc = choose_backend(m, n_device, e);
    if (rc == ERR_OK)
        rc = m->backend->ops->place(m->backend, m->program, &m->placed, e);
    engine_info(m->engine, &after);
    if (rc != ERR_OK) {
        model_unplace(m);
        return rc;
    }
    m->info.n_device_layers = n_device;
    m->generation++;
    /* Weights that stay in the mapped file cost no memory now, and count as free as long as others need it more. */
    m->placed_bytes = 0;
    if (after.memory_resident_bytes > before.memory_resident_bytes)
        m->placed_bytes = after.memory_resident_bytes - before.memory_resident_bytes;
    return ERR_OK;
}

/* The last n_device layers on the device, which may never have computed the like. */
static enum err_code place_tested(struct model *m, int32_t n_device, struct err *e)
{
    enum err_code rc = engine_selftest(m->engine, m->program, n_device, e);
    return rc == ERR_OK ? place_on(m, n_device, e) : rc;
}

/* The last n_device layers on the device, or all on the processor. why: of the device, when it did not take them. */
static enum err_code place_where_it_fits(struct model *m, int32_t n_device, struct err *why, struct err *e)
{
    struct engine *eng = m->engine;
    const struct backend *device = eng->backend;
    why->code = ERR_OK;
    if (n_device == 0 || device == eng->cpu)
        return place_on(m, 0, e);
    enum err_code rc = place_tested(m, n_device, why);
    if (rc == ERR_DEVICE) {
        engine_lose_device(eng, device, why);
        if (eng->backend != eng->cpu)
            rc = place_tested(m, n_device, why);
    }
    if (rc == ERR_OK) {
        why->code = ERR_OK;
        return ERR_OK;
    }
    return place_on(m, 0, e);
}

void model_tell_validation(struct model *m)
{
    const char *message = engine_validation(m->engine);
    if (message[0])
        model_warn(m, "Vulkan's validation layer: %s", message);
}

enum err_code model_place(struct model *m, struct err *e)
{
    struct err why;
    enum err_code rc = place_where_it_fits(m, layers_for_device(m), &why, e);
    if (rc == ERR_OK && why.code != ERR_OK && why.text[0])
        model_warn(m, "%s; this model runs on the CPU", why.text);
    model_tell_validation(m);
    return rc;
}

bool model_recover(struct model *m, struct err *why, char how[ERR_TEXT_BYTES])
{
    struct engine *eng = m->engine;
    struct err device = *why, e = { .code = ERR_OK };
    bool lost = why->code == ERR_DEVICE;
    if (!m->placed || m->backend == eng->cpu || (!lost && why->code != ERR_NOMEM && why->code != ERR_UNSUPPORTED))
        return false;
    if (gguf_changed(m->gguf, why) != ERR_OK)    /* the weights would be read from it again */
        return false;
    int32_t n_device = m->info.n_device_layers;    /* cut elsewhere, what is evaluated again would have other bits */
    if (lost)
        engine_lose_device(eng, m->device, why);
    session_caches_retire(m->caches, !lost || eng->backend == eng->cpu);
    model_unplace(m);    /* first: there need not be memory for two */
    enum err_code rc = lost ? place_where_it_fits(m, n_device, &e, why) : place_on(m, 0, why);
    if (rc != ERR_OK)
        return false;
    if (m->backend != eng->cpu)
        snprintf(how, ERR_TEXT_BYTES, "%.480s; opened again", device.text);
    else if (lost && e.code != ERR_OK)
        snprintf(how, ERR_TEXT_BYTES, "%.200s; opened again: %.200s; this chat goes on on the CPU", device.text,
                 e.text);
    else
        snprintf(how, ERR_TEXT_BYTES, "%.440s; this %s on the CPU", device.text, lost ? "chat goes on" : "model runs");
    return true;
}

/* ---- wherever it is ------------------------------------------------------------------------------------ */

enum err_code model_placed(struct model *m, struct err *e)
{
    return m->placed ? ERR_OK : model_place(m, e);
}

void model_placed_bytes(const struct model *m, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                        struct model_bytes *out)
{
    struct split_bytes b = { 0 };
    bool shares = engine_device_shares(m->engine);
    if (m->split) {
        split_bytes(m->placed, max_rows, max_logits, n_ctx, &b);
    } else if (m->placed) {
        const struct backend_ops *ops = m->backend->ops;
        int where = m->device != NULL;
        b.weight_bytes[where] = ops->weight_bytes(m->placed);
        b.scratch_bytes[where] = max_rows > 0 ? ops->scratch_bytes(m->placed, max_rows, max_logits, n_ctx) : 0;
    }
    *out = (struct model_bytes){ b.weight_bytes[0], b.scratch_bytes[0], b.weight_bytes[1], b.scratch_bytes[1],
                                 shares };
    if (!shares)
        return;
    out->host_weights += out->device_weights;
    out->host_scratch += out->device_scratch;
    out->device_weights = out->device_scratch = 0;
}
