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
 *   moved         to where somebody wants it (engine_move): all models, or none. To another device each goes while it
 *                 still is where it was, so that nothing is lost by an error; on its own device, where there need not be
 *                 memory for two, it leaves first, and is placed again as it was. Only where nobody names the device,
 *                 what it does not take is the processor's, as at load
 *
 *   resting       nowhere, its caches kept; where it is placed next it has the same generation if that is where it was,
 *                 so that what they hold stands
 *
 * Placing raises the model's generation. Pages of keys and values are lost with the place they were for, so sessions
 * evaluate again what they hold (session/session_recover.c); what is left for a person to see is a pause and a line. */
#include <stdio.h>

#include "engine/backend/split.h"
#include "engine/engine_impl.h"

static struct model_place place_of(const struct model *m)
{
    return (struct model_place){ m->backend, m->device, m->split, m->placed, m->info.n_device_layers, m->generation,
                                 m->placed_bytes };
}

/* Nothing that is there now is unplaced. */
static void set_place(struct model *m, const struct model_place *p)
{
    m->backend = p->backend;
    m->device = p->device;
    m->split = p->split;
    m->placed = p->placed;
    m->info.n_device_layers = p->n_device_layers;
    m->generation = p->generation;
    m->placed_bytes = p->placed_bytes;
}

static void set_nowhere(struct model *m)
{
    const struct model_place nowhere = { .backend = m->engine ? m->engine->cpu : NULL, .generation = m->generation };
    set_place(m, &nowhere);
}

static void leave_place(const struct model_place *p)
{
    if (p->placed)
        p->backend->ops->unplace(p->placed);
    if (p->split)
        p->split->ops->destroy(p->split);
}

void model_unplace(struct model *m)
{
    const struct model_place here = place_of(m);
    leave_place(&here);
    set_nowhere(m);
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

/* It has been placed. Pages of what was before a rest stand in the same place. */
static void count_placing(struct model *m, int32_t n_device)
{
    bool is_back = m->rests && m->rested_device == m->device && m->rested_layers == n_device;
    if (!is_back) {
        if (m->rests)
            session_caches_retire(m->caches, true);
        m->generation++;
    }
    m->rests = false;
    m->n_placings++;
    m->info.n_device_layers = n_device;
}

void model_drop_aside(struct model *m)
{
    if (m->aside)
        m->engine->cpu->ops->unplace(m->aside);
    m->aside = NULL;
}

/* The one place where a program meets backends, but for model_place_aside(). */
static enum err_code place_on(struct model *m, int32_t n_device, struct err *e)
{
    struct engine_info before, after;
    engine_info(m->engine, &before);
    m->program->embed_on_host = !layers_leave_room_to_embed(m->program, layers_context(m), engine_device_room(&before));
    enum err_code rc = choose_backend(m, n_device, e);
    if (rc == ERR_OK)
        rc = m->backend->ops->place(m->backend, m->program, &m->placed, e);
    engine_info(m->engine, &after);
    if (rc != ERR_OK) {
        model_unplace(m);
        return rc;
    }
    count_placing(m, n_device);
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
    if (m->aside && m->engine->backend == m->engine->cpu) {
        set_nowhere(m);
        m->placed = m->aside;
        m->aside = NULL;
        m->placed_bytes = m->aside_bytes;
        count_placing(m, 0);
        return ERR_OK;
    }
    model_drop_aside(m);    /* a device has been chosen meanwhile */
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

/* ---- beside another, and resting --------------------------------------------------------------------- */

void model_expect(struct model *m)
{
    m->expects_cpu = m->engine->backend == m->engine->cpu && m->engine->cpu->ops->place_aside;
}

/* So that the disk is not waited for in the engine's thread. */
static enum err_code read_through(const struct program *p, const atomic_bool *cancel, struct err *e)
{
    enum { STRIDE = 4096, PIECE = 1 << 22 };
    for (int32_t i = 0; i < p->n_tensors; i++) {
        const volatile uint8_t *bytes = p->tensors[i].data;
        for (uint64_t at = 0; at < p->tensors[i].n_bytes; at += STRIDE) {
            (void)bytes[at];
            if (at % PIECE == 0 && cancel && atomic_load(cancel))
                return err_set(e, ERR_CANCELLED, "cancelled");
        }
    }
    return ERR_OK;
}

enum err_code model_place_aside(struct model *m, const atomic_bool *cancel, struct err *e)
{
    struct backend *cpu = m->engine->cpu;
    uint64_t before = engine_resident_bytes(), after;
    if (!m->expects_cpu)
        return read_through(m->program, cancel, e);
    model_drop_aside(m);
    enum err_code rc = cpu->ops->place_aside(cpu, m->program, cancel, &m->aside, e);
    after = engine_resident_bytes();    /* what answers meanwhile takes little beside that */
    m->aside_bytes = after > before ? after - before : 0;
    return rc;
}

void model_rest(struct model *m)
{
    if (m->rests)
        return;
    m->rests = true;
    m->rested_device = m->device;
    m->rested_layers = m->info.n_device_layers;
    model_unplace(m);
}

void model_wake(struct model *m)
{
    model_expect(m);
}

/* ---- moved -------------------------------------------------------------------------------------------- */

void model_join(struct model *m)
{
    for (const struct model *known = m->engine->models; known; known = known->next)
        if (known == m)
            return;
    m->next = m->engine->models;
    m->engine->models = m;
}

void model_part(struct model *m)
{
    if (!m->engine)
        return;
    struct model **at = &m->engine->models;
    while (*at && *at != m)
        at = &(*at)->next;
    if (*at)
        *at = m->next;
    engine_close_left(m->engine);
}

/* Whether it is where it would be placed. */
static bool is_there(const struct model *m, bool layers_as_before)
{
    const struct engine *eng = m->engine;
    if (!m->placed || eng->backend == eng->cpu)
        return m->placed && m->backend == eng->cpu;
    return m->device == eng->backend && (layers_as_before || layers_asked_for(m) == m->info.n_device_layers);
}

/* As at load. Where that is the processor again, nothing has changed. */
static enum err_code move_by_itself(struct model *m, struct err *e)
{
    enum err_code rc = model_place(m, e);
    if (rc == ERR_OK && !m->device && m->before.placed && m->before.backend == m->backend) {
        model_unplace(m);
        set_place(m, &m->before);
        m->before = (struct model_place){ 0 };
    }
    return rc;
}

static enum err_code move(struct model *m, struct err *e)
{
    struct engine *eng = m->engine;
    int32_t n_device;
    enum err_code rc = gguf_changed(m->gguf, e);
    if (rc != ERR_OK)
        return rc;
    m->before = place_of(m);
    if (m->device && m->device == eng->backend) {
        model_unplace(m);
        m->before.placed = NULL;
        m->before.split = NULL;
    } else
        set_nowhere(m);
    if (eng->backend == eng->cpu)
        return place_on(m, 0, e);
    if (eng->automatic)
        return move_by_itself(m, e);
    rc = layers_to_move(m, &n_device, e);
    return rc == ERR_OK ? place_tested(m, n_device, e) : rc;
}

/* As it was, or, when it had to leave first, placed there again. */
static void move_back(struct model *m)
{
    const struct model_place before = m->before;
    struct err why, ignored;
    if (!before.backend)
        return;
    m->before = (struct model_place){ 0 };
    model_unplace(m);
    if (before.placed || !before.device) {
        set_place(m, &before);
        return;
    }
    enum err_code rc = place_where_it_fits(m, before.n_device_layers, &why, &ignored);
    if (rc == ERR_OK && why.code != ERR_OK)
        model_warn(m, "%s; this model runs on the CPU", why.text);
    if (m->device != before.device || m->info.n_device_layers != before.n_device_layers)
        session_caches_retire(m->caches, true);
}

static void end_move(struct model *m)
{
    session_caches_retire(m->caches, true);
    leave_place(&m->before);
    m->before = (struct model_place){ 0 };
}

enum err_code engine_move(struct engine *eng, const struct engine_options *o, int32_t *n_moved, struct err *e)
{
    const struct engine_target before = engine_target(eng);
    int32_t layers_before = eng->n_gpu_layers, n_ctx_before = eng->n_ctx;
    int32_t n_lost_before = eng->n_lost;
    struct engine_target target;
    struct err note;
    *n_moved = 0;
    enum err_code rc = engine_find_target(eng, o->device, &target, &note, e);
    if (rc != ERR_OK)
        return rc;
    bool another = target.backend != before.backend, same_layers = o->n_gpu_layers == layers_before;
    bool same = !another && same_layers && target.automatic == before.automatic;
    engine_set_target(eng, &target);
    if (another)
        eng->n_lost = 0;
    eng->n_gpu_layers = o->n_gpu_layers;
    eng->n_ctx = o->n_ctx;
    for (struct model *m = eng->models; m && rc == ERR_OK; m = m->next)
        if (!m->rests && !is_there(m, same_layers) && !(same && target.automatic))
            rc = move(m, e);
    if (rc == ERR_OK) {
        for (struct model *m = eng->models; m; m = m->next)
            if (m->before.backend) {
                end_move(m);
                ++*n_moved;
            }
        if (note.text[0] || eng->backend == target.backend)    /* else it was lost since */
            engine_note_device(eng, &note);
    } else {
        if (another) {
            const struct engine_target now = engine_target(eng);
            engine_set_target(eng, &before);
            engine_leave_target(eng, &now);
            eng->n_lost = n_lost_before;
        } else if (rc == ERR_DEVICE)
            engine_lose_device(eng, before.backend, e);
        eng->automatic = before.automatic;
        eng->n_gpu_layers = layers_before;
        eng->n_ctx = n_ctx_before;
        for (struct model *m = eng->models; m; m = m->next)
            move_back(m);
    }
    if (another && rc == ERR_OK)
        engine_leave_target(eng, &before);
    engine_close_left(eng);
    return rc;
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
    *out = (struct model_bytes){ .host_weights = b.weight_bytes[0], .host_scratch = b.scratch_bytes[0],
                                 .device_weights = b.weight_bytes[1], .device_scratch = b.scratch_bytes[1],
                                 .there = b.weight_bytes[1] + b.scratch_bytes[1], .shares = shares };
    if (!shares)
        return;
    out->host_weights += out->device_weights;
    out->host_scratch += out->device_scratch;
    out->device_weights = out->device_scratch = 0;
}
