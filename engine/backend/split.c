/* SPDX-License-Identifier: MIT */
#include "engine/backend/split.h"

#include <stdlib.h>
#include <string.h>

struct split_backend {
    struct backend base;
    struct backend *first, *last;
    int32_t n_first;
};

struct placed {
    struct split_backend *b;
    struct program programs[2];
    struct step *steps;          /* of both */
    struct placed *halves[2];    /* each its backend's own */
    float *x;                    /* [max_rows][n_embd], what crosses */
    int32_t max_rows;
};

static const struct backend *half(const struct split_backend *b, int i)
{
    return i == 0 ? b->first : b->last;
}

static bool is_first(const struct split_backend *b, const struct step *s)
{
    return s->kind == STEP_EMBED || (s->kind != STEP_HEAD && s->layer < b->n_first);
}

static void split_unplace(struct placed *p)
{
    if (!p)
        return;
    for (int i = 0; i < 2; i++)
        if (p->halves[i])
            half(p->b, i)->ops->unplace(p->halves[i]);
    free(p->steps);
    free(p->x);
    free(p);
}

static enum err_code split_place(struct backend *backend, const struct program *program, struct placed **out,
                                 struct err *e)
{
    struct split_backend *b = (struct split_backend *)backend;
    struct placed *p = calloc(1, sizeof *p);
    struct step *steps = calloc((size_t)program->n_steps, sizeof *steps);
    if (!p || !steps) {
        free(p);
        free(steps);
        return err_set(e, ERR_NOMEM, "no memory to place the model");
    }
    p->b = b;
    p->steps = steps;
    int32_t n = 0;
    for (int i = 0; i < 2; i++) {
        p->programs[i] = *program;
        p->programs[i].steps = steps + n;
        for (int32_t j = 0; j < program->n_steps; j++)
            if (is_first(b, &program->steps[j]) == (i == 0))
                steps[n++] = program->steps[j];
        p->programs[i].n_steps = n - (i == 0 ? 0 : p->programs[0].n_steps);
    }
    enum err_code rc = ERR_OK;
    for (int i = 1; i >= 0 && rc == ERR_OK; i--) {    /* the one that may not fit before the one that always does */
        struct backend *on = i == 0 ? b->first : b->last;
        rc = on->ops->place(on, &p->programs[i], &p->halves[i], e);
    }
    if (rc != ERR_OK) {
        split_unplace(p);
        return rc;
    }
    *out = p;
    return ERR_OK;
}

static enum err_code split_reserve(struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                                   struct err *e)
{
    if (max_rows > p->max_rows) {
        float *x = realloc(p->x, (size_t)max_rows * (size_t)p->programs[0].n_embd * sizeof *x);
        if (!x)
            return err_set(e, ERR_NOMEM, "no memory for %d rows", max_rows);
        p->x = x;
        p->max_rows = max_rows;
    }
    enum err_code rc = ERR_OK;
    for (int i = 0; i < 2 && rc == ERR_OK; i++)
        rc = half(p->b, i)->ops->reserve(p->halves[i], max_rows, max_logits, n_ctx, e);
    return rc;
}

static uint64_t split_scratch_bytes(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx)
{
    uint64_t bytes = (uint64_t)max_rows * (uint64_t)p->programs[0].n_embd * sizeof(float);
    for (int i = 0; i < 2; i++)
        bytes += half(p->b, i)->ops->scratch_bytes(p->halves[i], max_rows, max_logits, n_ctx);
    return bytes;
}

static uint64_t split_weight_bytes(const struct placed *p)
{
    return p->b->first->ops->weight_bytes(p->halves[0]) + p->b->last->ops->weight_bytes(p->halves[1]);
}

static enum err_code split_run(struct placed *p, const struct batch *batch, struct err *e)
{
    struct batch batches[2] = { *batch, *batch };
    batches[0].x_out = p->x;
    batches[1].x_in = p->x;
    enum err_code rc = ERR_OK;
    for (int i = 0; i < 2 && rc == ERR_OK; i++)
        rc = half(p->b, i)->ops->run(p->halves[i], &batches[i], e);
    return rc;
}

static void split_destroy(struct backend *b)
{
    free(b);
}

static const struct backend_ops split_ops = {
    .place = split_place,
    .unplace = split_unplace,
    .reserve = split_reserve,
    .scratch_bytes = split_scratch_bytes,
    .weight_bytes = split_weight_bytes,
    .run = split_run,
    .destroy = split_destroy,
};

enum err_code split_backend_create(struct backend **out, struct backend *first, struct backend *last, int32_t n_first,
                                   struct err *e)
{
    struct split_backend *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for a split backend");
    b->base = (struct backend){ .ops = &split_ops, .name = last->name };
    b->first = first;
    b->last = last;
    b->n_first = n_first;
    *out = &b->base;
    return ERR_OK;
}
