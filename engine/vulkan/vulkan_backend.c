/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_backend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/size.h"
#include "engine/vulkan/vulkan_cache.h"
#include "engine/vulkan/vulkan_placed.h"

/* ---- placing --------------------------------------------------------------------------------------------- */

/* The embedding alone is only looked up. */
static bool is_matrix(const struct program *g, const struct tensor *t)
{
    for (int32_t i = 0; i < g->n_steps; i++)
        if (g->steps[i].kind != STEP_EMBED)
            for (int32_t j = 0; j < 3; j++)
                if (g->steps[i].w[j] == t)
                    return true;
    return false;
}

/* Shapes of attention that its shaders are not for. */
static enum err_code check_heads(const struct program *g, const struct vulkan_card *card, struct err *e)
{
    for (int32_t i = 0; i < g->n_steps; i++) {
        const struct step *s = &g->steps[i];
        if (s->kind == STEP_ATTN && !vulkan_attend_takes(s))
            return err_set(e, ERR_UNSUPPORTED, "%s: layer %d: heads of %d values, a multiple of 4 up to %d wanted",
                           card->name, s->layer, s->d_head, KV_MAX_HEAD);
    }
    return ERR_OK;
}

/* The mapped bytes are on the device now: let the system have the memory back. Reading them again is still right. */
static void forget_mapped(const struct tensor *t)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)t->data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)t->data + t->n_bytes) & ~(page - 1);
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* Where it is a matrix of the head it is there already; else it comes along when there is room, and no failure matters.
 * room: for all weights */
static void reserve_embedding(struct placed *p, uint64_t room)
{
    const struct program *g = p->program;
    const struct tensor *t = g->n_steps > 0 && g->steps[0].kind == STEP_EMBED ? g->steps[0].w[0] : NULL;
    if (!t)
        return;
    uint64_t n_bytes = vulkan_weight_bytes(t);
    struct vulkan_weight *w = &p->weights[t->index];
    if (!is_matrix(g, t)) {
        if (g->embed_on_host || p->weight_bytes + n_bytes > room ||
            vulkan_weight_reserve(p->b->d, t, w, NULL) != ERR_OK)
            return;
        p->weight_bytes += n_bytes;
    }
    p->embed = w;
}

static enum err_code reserve_weights(struct placed *p, struct err *e)
{
    const struct program *g = p->program;
    struct vulkan_device *d = p->b->d;
    for (int32_t i = 0; i < g->n_tensors; i++)
        if (is_matrix(g, &g->tensors[i]))
            p->weight_bytes += vulkan_weight_bytes(&g->tensors[i]);
    uint64_t free_bytes[VK_MAX_MEMORY_HEAPS] = { 0 };
    vulkan_card_free_bytes(&d->api, d->card, free_bytes);
    uint64_t room = free_bytes[vulkan_card_heap(d->card)];
    if (p->weight_bytes > room)    /* some drivers would take it all the same, and move it about */
        return err_set(e, ERR_NOMEM, "%s: the weights take %.0f MiB, %.0f MiB are free", d->card->name,
                       (double)p->weight_bytes / 1048576.0, (double)room / 1048576.0);
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; i < g->n_tensors && rc == ERR_OK; i++)
        if (is_matrix(g, &g->tensors[i]))
            rc = vulkan_weight_reserve(d, &g->tensors[i], &p->weights[i], e);
    if (rc == ERR_OK)
        reserve_embedding(p, room);
    return rc;
}

static enum err_code fill_weights(struct placed *p, struct err *e)
{
    const struct program *g = p->program;
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; i < g->n_tensors && rc == ERR_OK; i++) {
        const struct tensor *t = &g->tensors[i];
        if (p->weights[i].n_chunks == 0)
            continue;
        rc = vulkan_weight_fill(p->b->d, t, &p->weights[i], e);
        if (rc == ERR_OK)
            forget_mapped(t);
    }
    return rc == ERR_OK ? vulkan_flush(p->b->d, e) : rc;
}

/* A vector's place among all vectors; data NULL: it has none. */
static void take(struct vulkan_part *part, const float *data, int32_t n, uint64_t *at, const struct vulkan_device *d)
{
    uint64_t align = d->card->binding_align > 16 ? d->card->binding_align : 16;
    if (!data)
        return;
    *part = (struct vulkan_part){ .offset = *at, .n_bytes = (uint64_t)n * sizeof(float) };
    *at = (*at + part->n_bytes + align - 1) / align * align;
}

static enum err_code put(struct placed *p, struct vulkan_part *part, const float *data, struct err *e)
{
    part->buf = data ? &p->vector_bytes : NULL;
    return data ? vulkan_write(p->b->d, part->buf, part->offset, data, part->n_bytes, e) : ERR_OK;
}

static enum err_code place_vectors(struct placed *p, struct err *e)
{
    const struct program *g = p->program;
    uint64_t n_bytes = 0;
    for (int32_t i = 0; i < g->n_steps; i++) {
        const struct step *s = &g->steps[i];
        struct vulkan_vectors *v = &p->vectors[i];
        take(&v->sinks, s->sinks, s->n_head, &n_bytes, p->b->d);
        if (s->kind == STEP_EMBED || !s->w[0])
            continue;
        take(&v->norm, s->norm, s->w[0]->n_cols, &n_bytes, p->b->d);
        take(&v->post_norm, s->post_norm, s->w[0]->n_rows, &n_bytes, p->b->d);
        take(&v->gains, s->q_norm ? s->q_norm : s->k_norm, 2 * s->d_head, &n_bytes, p->b->d);
        for (int j = 0; j < 3 && s->w[j]; j++)
            take(&v->bias[j], s->bias[j], s->w[j]->n_rows, &n_bytes, p->b->d);
    }
    enum err_code rc = vulkan_buf_create(p->b->d, &p->vector_bytes, n_bytes + 16, VULKAN_LOCAL, e);
    for (int32_t i = 0; i < g->n_steps && rc == ERR_OK; i++) {
        const struct step *s = &g->steps[i];
        struct vulkan_vectors *v = &p->vectors[i];
        rc = put(p, &v->sinks, s->sinks, e);
        if (s->kind == STEP_EMBED || !s->w[0] || rc != ERR_OK)
            continue;
        struct vulkan_part q_gain = v->gains, k_gain = v->gains;
        q_gain.n_bytes = k_gain.n_bytes = v->gains.n_bytes / 2;
        k_gain.offset += k_gain.n_bytes;
        v->gains.buf = &p->vector_bytes;
        rc = put(p, &v->norm, s->norm, e);
        if (rc == ERR_OK)
            rc = put(p, &v->post_norm, s->post_norm, e);
        if (rc == ERR_OK)
            rc = put(p, &q_gain, s->q_norm, e);
        if (rc == ERR_OK)
            rc = put(p, &k_gain, s->k_norm, e);
        for (int j = 0; j < 3 && rc == ERR_OK; j++)
            rc = put(p, &v->bias[j], s->bias[j], e);
    }
    return rc;
}

static void vulkan_unplace(struct placed *p)
{
    if (!p)
        return;
    struct vulkan_device *d = p->b->d;
    vulkan_flush(d, NULL);    /* of a model placed in part copies may be on their way, or wait to be sent */
    vulkan_forget_recordings(p);
    vulkan_scratch_finish(p);
    for (int32_t i = 0; p->weights && i < p->program->n_tensors; i++)
        vulkan_weight_destroy(d, &p->weights[i]);
    vulkan_buf_destroy(d, &p->vector_bytes);
    free(p->weights);
    free(p->vectors);
    free(p->kv);
    free(p);
}

static enum err_code vulkan_place(struct backend *backend, const struct program *program, struct placed **out,
                                  struct err *e)
{
    struct placed *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "no memory to place the model");
    p->b = (struct vulkan_backend *)backend;
    p->program = program;
    p->weights = calloc((size_t)program->n_tensors, sizeof *p->weights);
    p->vectors = calloc((size_t)program->n_steps, sizeof *p->vectors);
    p->kv = calloc((size_t)program->n_layers, sizeof *p->kv);
    bool ok = p->weights && p->vectors && p->kv;
    enum err_code rc = ok ? ERR_OK : err_set(e, ERR_NOMEM, "no memory to place the model");
    if (rc == ERR_OK)
        rc = check_heads(program, p->b->d->card, e);
    if (rc == ERR_OK)
        rc = place_vectors(p, e);
    if (rc == ERR_OK)
        rc = reserve_weights(p, e);
    if (rc == ERR_OK) {
        vulkan_want_pipelines(p);    /* which are made while the weights are on their way */
        rc = fill_weights(p, e);
    }
    if (rc != ERR_OK) {
        vulkan_unplace(p);
        return rc;
    }
    *out = p;
    return ERR_OK;
}

static uint64_t vulkan_placed_bytes(const struct placed *p)
{
    return p->weight_bytes;
}

static bool vulkan_runs_ahead(const struct placed *p)
{
    return p->b->d->card->ahead && p->embed;
}

static void vulkan_plan(const struct backend *backend, const struct program *g, int32_t max_rows, int32_t max_logits,
                        int32_t n_ctx, struct backend_bytes *out)
{
    const struct tensor *embedding = g->n_steps > 0 && g->steps[0].kind == STEP_EMBED ? g->steps[0].w[0] : NULL;
    const struct vulkan_weight on_device = { 0 };
    struct placed nowhere = { .b = (struct vulkan_backend *)(uintptr_t)backend, .program = g };
    *out = (struct backend_bytes){ 0 };
    for (int32_t i = 0; i < g->n_tensors; i++)
        if (is_matrix(g, &g->tensors[i]) || (&g->tensors[i] == embedding && !g->embed_on_host))
            out->weights += vulkan_weight_bytes(&g->tensors[i]);
    if (embedding && (is_matrix(g, embedding) || !g->embed_on_host))
        nowhere.embed = &on_device;
    else if (embedding)
        out->lookups = embedding->n_bytes;
    out->scratch = vulkan_scratch_bytes(&nowhere, max_rows, max_logits, n_ctx);
}

/* ---- the backend ------------------------------------------------------------------------------------------- */

static void vulkan_destroy(struct backend *backend)
{
    struct vulkan_backend *b = (struct vulkan_backend *)backend;
    if (b->d)
        vulkan_cache_save(b->d, b->dir);
    vulkan_kv_finish(&b->kv);
    vulkan_device_close(b->d);
    free(b->dir);
    free(b);
}

static const struct backend_ops vulkan_ops = {
    .place = vulkan_place,
    .unplace = vulkan_unplace,
    .reserve = vulkan_scratch_reserve,
    .scratch_bytes = vulkan_scratch_bytes,
    .weight_bytes = vulkan_placed_bytes,
    .plan = vulkan_plan,
    .run = vulkan_run,
    .runs_ahead = vulkan_runs_ahead,
    .destroy = vulkan_destroy,
};

enum err_code vulkan_backend_create(struct backend **out, struct vulkan_list *list, const struct vulkan_card *card,
                                    const char *dir, struct err *e)
{
    struct vulkan_backend *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for the Vulkan backend");
    b->base = (struct backend){ .ops = &vulkan_ops, .name = "vulkan", .max_best = BACKEND_MAX_BEST,
                                .int8 = card->tiles == VULKAN_TILES_INT8 };
    enum err_code rc = vulkan_device_open(&b->d, list, card, e);
    if (rc == ERR_OK)
        vulkan_kv_init(&b->kv, b->d, false);
    if (rc == ERR_OK && dir && !(b->dir = strdup(dir)))
        rc = err_set(e, ERR_NOMEM, "no memory for the Vulkan backend");
    if (rc != ERR_OK) {
        vulkan_destroy(&b->base);
        return rc;
    }
    vulkan_cache_load(b->d, b->dir);
    b->base.kv_memory = &b->kv.memory;
    *out = &b->base;
    return ERR_OK;
}
