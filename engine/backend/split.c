/* SPDX-License-Identifier: MIT */
#include "engine/backend/split.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct split_backend {
    struct backend base;
    struct backend *halves[2];
    int32_t n_first;
    char name[64];
};

struct placed {
    struct split_backend *b;
    struct program programs[2];
    struct step *steps;          /* of both */
    struct placed *halves[2];    /* each its backend's own */
    float *x;                    /* [max_rows][n_embd], what crosses */
    struct batch_row *rows;      /* [max_rows], with the pages of the last layers */
    int32_t max_rows;
};

static const struct backend_ops *ops_of(const struct placed *p, int i)
{
    return p->b->halves[i]->ops;
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
            ops_of(p, i)->unplace(p->halves[i]);
    free(p->steps);
    free(p->x);
    free(p->rows);
    free(p);
}

/* The programs of the halves; their steps, as many as the program has, at out. */
static void cut(const struct split_backend *b, const struct program *program, struct step *out,
                struct program halves[2])
{
    for (int half = 0; half < 2; half++) {
        int32_t n_first = b->n_first, n = 0;
        halves[half] = *program;
        halves[half].steps = out;
        for (int32_t i = 0; i < program->n_steps; i++) {
            const struct step *s = &program->steps[i];
            if (is_first(b, s) != (half == 0))
                continue;
            out[n] = *s;
            out[n++].layer -= half == 1 && s->kind != STEP_HEAD ? n_first : 0;
        }
        halves[half].n_steps = n;
        halves[half].n_layers = half == 0 ? n_first : program->n_layers - n_first;
        halves[half].kv += half == 0 ? 0 : n_first;
        out += n;
    }
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
    assert(b->n_first > 0 && b->n_first < program->n_layers);
    p->b = b;
    p->steps = steps;
    cut(b, program, steps, p->programs);
    enum err_code rc = ERR_OK;
    for (int i = 1; i >= 0 && rc == ERR_OK; i--)    /* the one that may not fit before the one that always does */
        rc = b->halves[i]->ops->place(b->halves[i], &p->programs[i], &p->halves[i], e);
    if (rc != ERR_OK) {
        split_unplace(p);
        return rc;
    }
    *out = p;
    return ERR_OK;
}

/* The first half has no head, and so no logits. */
static enum err_code split_reserve(struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                                   struct err *e)
{
    if (max_rows > p->max_rows) {
        float *x = calloc((size_t)max_rows * (size_t)p->programs[0].n_embd, sizeof *x);
        struct batch_row *rows = calloc((size_t)max_rows, sizeof *rows);
        if (!x || !rows) {
            free(x);
            free(rows);
            return err_set(e, ERR_NOMEM, "no memory for %d rows", max_rows);
        }
        free(p->x);
        free(p->rows);
        p->x = x;
        p->rows = rows;
        p->max_rows = max_rows;
    }
    enum err_code rc = ERR_OK;
    for (int i = 0; i < 2 && rc == ERR_OK; i++)
        rc = ops_of(p, i)->reserve(p->halves[i], max_rows, i == 0 ? 0 : max_logits, n_ctx, e);
    return rc;
}

/* What crosses, and the rows of the second half. */
static uint64_t crossing_bytes(const struct program *g, int32_t max_rows)
{
    return (uint64_t)max_rows * ((uint64_t)g->n_embd * sizeof(float) + sizeof(struct batch_row));
}

void split_bytes(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx, struct split_bytes *out)
{
    for (int i = 0; i < 2; i++) {
        out->weight_bytes[i] = ops_of(p, i)->weight_bytes(p->halves[i]);
        out->scratch_bytes[i] = 0;
        if (max_rows > 0)
            out->scratch_bytes[i] = ops_of(p, i)->scratch_bytes(p->halves[i], max_rows, i == 0 ? 0 : max_logits, n_ctx);
    }
    out->scratch_bytes[0] += crossing_bytes(&p->programs[0], max_rows);
}

static uint64_t split_scratch_bytes(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx)
{
    struct split_bytes bytes;
    split_bytes(p, max_rows, max_logits, n_ctx, &bytes);
    return bytes.scratch_bytes[0] + bytes.scratch_bytes[1];
}

static uint64_t split_weight_bytes(const struct placed *p)
{
    return ops_of(p, 0)->weight_bytes(p->halves[0]) + ops_of(p, 1)->weight_bytes(p->halves[1]);
}

enum err_code split_plan(struct backend *first, struct backend *last, int32_t n_first, const struct program *program,
                         int32_t max_rows, int32_t max_logits, int32_t n_ctx, struct backend_bytes out[2],
                         struct err *e)
{
    const struct split_backend b = { .n_first = n_first };
    struct backend *const halves[2] = { first, last };
    struct program programs[2];
    struct step *steps = calloc((size_t)program->n_steps, sizeof *steps);
    if (!steps)
        return err_set(e, ERR_NOMEM, "no memory to plan %d steps", program->n_steps);
    cut(&b, program, steps, programs);
    for (int i = 0; i < 2; i++)
        halves[i]->ops->plan(halves[i], &programs[i], max_rows, i == 0 ? 0 : max_logits, n_ctx, &out[i]);
    out[0].scratch += crossing_bytes(program, max_rows);
    free(steps);
    return ERR_OK;
}

static void split_plan_sum(const struct backend *backend, const struct program *program, int32_t max_rows,
                           int32_t max_logits, int32_t n_ctx, struct backend_bytes *out)
{
    const struct split_backend *b = (const struct split_backend *)backend;
    struct backend_bytes bytes[2] = { 0 };
    split_plan(b->halves[0], b->halves[1], b->n_first, program, max_rows, max_logits, n_ctx, bytes, NULL);
    *out = (struct backend_bytes){ bytes[0].weights + bytes[1].weights, bytes[0].scratch + bytes[1].scratch,
                                   bytes[0].lookups };
}

static enum err_code split_run(struct placed *p, const struct batch *batch, struct err *e)
{
    int32_t n_first = p->b->n_first;
    struct batch first = *batch, last = *batch;
    assert(batch->n_rows <= p->max_rows);
    first.n_logits = first.n_best = 0;
    first.ahead = last.ahead = false;
    first.logits = NULL;
    first.x_out = p->x;
    last.x_in = p->x;
    last.kv += n_first;
    last.rows = p->rows;
    for (int32_t r = 0; r < batch->n_rows; r++) {
        p->rows[r] = batch->rows[r];
        p->rows[r].pages += (int64_t)n_first * batch->table_stride;
    }
    enum err_code rc = ops_of(p, 0)->run(p->halves[0], &first, e);
    return rc == ERR_OK ? ops_of(p, 1)->run(p->halves[1], &last, e) : rc;
}

static struct kv_memory *split_kv_memory(const struct backend *backend, int32_t layer)
{
    const struct split_backend *b = (const struct split_backend *)backend;
    return layer < b->n_first ? b->halves[0]->kv_memory : b->halves[1]->kv_memory;
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
    .plan = split_plan_sum,
    .run = split_run,
    .kv_memory_of = split_kv_memory,
    .destroy = split_destroy,
};

enum err_code split_backend_create(struct backend **out, struct backend *first, struct backend *last, int32_t n_first,
                                   struct err *e)
{
    struct split_backend *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for a split backend");
    snprintf(b->name, sizeof b->name, "%s:%d+%s", first->name, n_first, last->name);
    b->base = (struct backend){ .ops = &split_ops, .name = b->name, .max_best = last->max_best,
                                .sums_inputs = first->sums_inputs && last->sums_inputs };
    b->halves[0] = first;
    b->halves[1] = last;
    b->n_first = n_first;
    *out = &b->base;
    return ERR_OK;
}
