/* SPDX-License-Identifier: MIT */
/* Where a model computes, and what becomes of it when that place fails.
 *
 *   at load       the device; what it does not take (no memory, a type or a shape it cannot compute) the processor does
 *   device lost   it is opened anew and the model placed there again; the second time, or when that does not work, the
 *                 processor goes on (engine_lose_device). The loss counts for all models: the others follow when they
 *                 come upon it
 *   no memory     for what the model needs to run: the processor
 *
 * Placing raises the model's generation. Pages of keys and values are lost with the place they were for, so sessions
 * evaluate again what they hold (session/session_recover.c); what is left for a person to see is a pause and a line. */
#include <stdio.h>

#include "engine/engine_impl.h"

/* The one place where a program meets a backend: what a model is divided into for several would be decided here. */
static enum err_code place_on(struct model *m, struct backend *b, struct err *e)
{
    struct engine_info before, after;
    engine_info(m->engine, &before);
    enum err_code rc = b->ops->place(b, m->program, &m->placed, e);
    engine_info(m->engine, &after);
    if (rc != ERR_OK)
        return rc;
    m->backend = b;
    m->generation++;
    /* Weights that stay in the mapped file cost no memory now, and count as free as long as others need it more. */
    m->placed_bytes = 0;
    if (after.memory_resident_bytes > before.memory_resident_bytes)
        m->placed_bytes = after.memory_resident_bytes - before.memory_resident_bytes;
    return ERR_OK;
}

/* On what the engine computes with, or on the processor. why: of the device, when it did not take the model. */
static enum err_code place_where_it_fits(struct model *m, struct err *why, struct err *e)
{
    struct engine *eng = m->engine;
    struct backend *b = eng->backend;
    why->code = ERR_OK;
    if (b == eng->cpu)
        return place_on(m, b, e);
    enum err_code rc = place_on(m, b, why);
    if (rc == ERR_DEVICE) {
        engine_lose_device(eng, b, why);
        if (eng->backend != eng->cpu)
            rc = place_on(m, eng->backend, why);
    }
    if (rc == ERR_OK) {
        why->code = ERR_OK;
        return ERR_OK;
    }
    return place_on(m, eng->cpu, e);
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
    enum err_code rc = place_where_it_fits(m, &why, e);
    if (rc == ERR_OK && why.code != ERR_OK)
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
    const struct backend *before = m->backend;
    if (lost)
        engine_lose_device(eng, before, why);
    session_caches_retire(m->caches, !lost || eng->backend == eng->cpu);
    m->backend->ops->unplace(m->placed);    /* first: there need not be memory for two */
    m->placed = NULL;
    enum err_code rc = lost ? place_where_it_fits(m, &e, why) : place_on(m, eng->cpu, why);
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

uint64_t model_scratch_bytes(const struct model *m, int32_t max_rows, int32_t max_logits, int32_t n_ctx)
{
    return m->placed ? m->backend->ops->scratch_bytes(m->placed, max_rows, max_logits, n_ctx) : 0;
}

uint64_t model_weight_bytes(const struct model *m)
{
    return m->placed ? m->backend->ops->weight_bytes(m->placed) : 0;
}
