/* SPDX-License-Identifier: MIT */
/* A program recorded for a number of rows.
 *
 * A dense layer, a line for each LEVEL (what stands between two barriers); before the first the rows of the embedding are
 * looked up, behind the last come the head and, where the host wants no more than those, the best of the logits:
 *
 *     norm      h = norm(x)        (*)
 *     q, k, v   from h
 *     heads     norm per head, RoPE, keys and values into their pages
 *     seal      pages that are complete; only where the cache has sealed types
 *     attend    parts of the pages
 *     merge     of the parts
 *     o         x += W attn
 *     norm      h = norm(x)        (*)
 *     gate, up  with the activation
 *     down      x += W gate
 *
 * (*) Products of few rows norm x on the way (vulkan_product.h), where that is not slower: a graphics card waits for
 * weights then, and a level costs it more than the squares. In software those are what takes time.
 *
 * Where products take activations in eight bits (vulkan_product.h), a level before them rounds those, once for all that
 * share them. Where a model has a norm behind a matrix, the product goes to branch and one level more adds it to x. */
#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vulkan_best.h"
#include "engine/vulkan/vulkan_embed.h"
#include "engine/vulkan/vulkan_placed.h"
#include "engine/vulkan/vulkan_product.h"
#include "engine/vulkan/vulkan_seal.h"
#include "shaders/include/push.h"

enum { NORM_LANES = 128 };

static void norm(struct vulkan_recording *r, const struct vulkan_buf *x, struct vulkan_part gain,
                 const struct vulkan_buf *y, int32_t n_rows, int32_t n_cols, float eps)
{
    const uint32_t spec[] = { NORM_LANES, 0, 0 };
    const struct vulkan_part parts[] = { vulkan_all(x), gain, vulkan_all(y), gain };
    const struct push_norm push = { (uint32_t)n_cols, eps, 1 };
    vulkan_record_shader(r, "norm", spec, 3, parts, &push, sizeof push, (uint32_t)n_rows, 1, 1);
    vulkan_record_barrier(r);
}

/* What a step's matrices are multiplied with, as their products take it. */
struct input {
    const struct vulkan_buf *x, *acts;
    struct vulkan_rows rows;
    struct vulkan_part norm;    /* of no buffer: done */
    float eps;
};

/* Rounds x where one of the step's matrices wants it rounded. */
static struct input input(struct vulkan_recording *r, const struct placed *p, const struct step *s,
                          const struct vulkan_buf *x, struct vulkan_rows rows)
{
    bool wanted = false;
    for (int i = 0; i < 3 && s->w[i]; i++)
        wanted |= rows.many && vulkan_weight_takes_acts(p->b->d, &p->weights[s->w[i]->index]);
    if (wanted) {
        vulkan_record_acts(r, x, &p->scratch.acts, rows.n, s->w[0]->n_cols);
        vulkan_record_barrier(r);
    }
    return (struct input){ .x = x, .acts = wanted ? &p->scratch.acts : NULL, .rows = rows };
}

static struct input normed(struct vulkan_recording *r, const struct placed *p, const struct step *s,
                           const struct vulkan_vectors *v, const struct vulkan_buf *x, struct vulkan_rows rows)
{
    if (!s->norm)
        return input(r, p, s, x, rows);
    if (!rows.many && p->b->d->card->tiles != VULKAN_TILES_NONE)
        return (struct input){ .x = x, .rows = rows, .norm = v->norm, .eps = s->eps };
    norm(r, x, v->norm, &p->scratch.h, rows.n, s->w[0]->n_cols, s->eps);
    return input(r, p, s, &p->scratch.h, rows);
}

static struct vulkan_product product_of(const struct placed *p, const struct tensor *w, struct vulkan_part bias,
                                        const struct input *in, const struct vulkan_buf *y)
{
    return (struct vulkan_product){ .w = &p->weights[w->index], .x = in->x, .acts = in->acts, .y = y, .bias = bias,
                                    .norm = in->norm, .eps = in->eps, .n = in->rows.n, .many = in->rows.many,
                                    .scale = 1 };
}

static void product(struct vulkan_recording *r, const struct placed *p, const struct tensor *w,
                    struct vulkan_part bias, const struct input *in, const struct vulkan_buf *y)
{
    struct vulkan_product one = product_of(p, w, bias, in, y);
    vulkan_record_product(r, &one);
}

struct vulkan_attention vulkan_attention_of(const struct placed *p, const struct step *s,
                                            const struct vulkan_vectors *v, const struct kv_layer *kv,
                                            struct vulkan_rows rows)
{
    const struct vulkan_scratch *b = &p->scratch;
    const struct vulkan_set *set = &b->sets[rows.set];
    return (struct vulkan_attention){
        .kv = &kv[s->layer], .rope = s->rope >= 0 ? &p->program->ropes[s->rope] : NULL,
        .q = vulkan_all(&b->q), .turned = vulkan_all(&b->turned), .k = vulkan_all(&b->k), .v = vulkan_all(&b->v),
        .out = vulkan_all(&b->attn), .gains = v->gains, .sinks = v->sinks, .cos_sin = vulkan_all(&set->cos_sin),
        .cos_sin_at = s->rope * p->max_rows * p->max_rot, .cos_sin_stride = p->max_rot,
        .rows = vulkan_all(&set->rows), .table = vulkan_all(&b->table), .table_stride = p->stride, .n_rows = rows.n,
        .scratch = vulkan_all(&b->parts), .slice_rows = p->slice_rows, .max_parts = p->max_parts,
        .counts = &set->counts, .counts_offset = ((uint64_t)s->layer * COUNT_WORDS + COUNT_ATTEND) * 4,
    };
}

static void attn_in(struct vulkan_recording *r, const struct placed *p, const struct step *s,
                    const struct vulkan_vectors *v, const struct kv_layer *kv, struct vulkan_rows rows)
{
    const struct vulkan_scratch *b = &p->scratch;
    const struct vulkan_set *set = &b->sets[rows.set];
    const struct vulkan_attention a = vulkan_attention_of(p, s, v, kv, rows);
    const struct input in = normed(r, p, s, v, &b->x, rows);
    product(r, p, s->w[0], v->bias[0], &in, &b->q);
    product(r, p, s->w[1], v->bias[1], &in, &b->k);
    product(r, p, s->w[2], v->bias[2], &in, &b->v);
    vulkan_record_barrier(r);
    vulkan_record_attn_in(r, s, &a);
    vulkan_record_barrier(r);
    if (!kv_layer_seals(a.kv))
        return;
    const struct vulkan_seal seal = {
        .layer = *a.kv, .table = a.table,
        .list = { &set->seals, (uint64_t)s->layer * p->seals_bytes, p->seals_bytes },
        .counts = &set->counts, .counts_offset = ((uint64_t)s->layer * COUNT_WORDS + COUNT_SEAL) * 4,
    };
    vulkan_record_seal(r, &seal);
    vulkan_record_barrier(r);
}

static void attend(struct vulkan_recording *r, const struct placed *p, const struct step *s,
                   const struct vulkan_vectors *v, const struct kv_layer *kv, struct vulkan_rows rows)
{
    const struct vulkan_attention a = vulkan_attention_of(p, s, v, kv, rows);
    vulkan_record_attend(r, s, &a);
    vulkan_record_barrier(r);
}

static void onto_residual(struct vulkan_recording *r, const struct placed *p, const struct step *s,
                          const struct vulkan_vectors *v, const struct vulkan_buf *src, struct vulkan_rows rows)
{
    const struct vulkan_scratch *b = &p->scratch;
    const struct input in = normed(r, p, s, v, src, rows);
    if (!s->post_norm) {
        struct vulkan_product add = product_of(p, s->w[0], v->bias[0], &in, &b->x);
        add.mode = VULKAN_ADD;
        add.scale = s->scale;
        vulkan_record_product(r, &add);
        vulkan_record_barrier(r);
        return;
    }
    product(r, p, s->w[0], v->bias[0], &in, &b->branch);
    vulkan_record_barrier(r);
    const uint32_t spec[] = { NORM_LANES, 1, 0 };
    const struct vulkan_part parts[] = { vulkan_all(&b->branch), v->post_norm, vulkan_all(&b->x), v->post_norm };
    const struct push_norm push = { (uint32_t)s->w[0]->n_rows, s->eps, s->scale };
    vulkan_record_shader(r, "norm", spec, 3, parts, &push, sizeof push, (uint32_t)rows.n, 1, 1);
    vulkan_record_barrier(r);
}

static void ffn_in(struct vulkan_recording *r, const struct placed *p, const struct step *s,
                   const struct vulkan_vectors *v, struct vulkan_rows rows)
{
    const struct vulkan_scratch *b = &p->scratch;
    const struct input in = normed(r, p, s, v, &b->x, rows);
    const struct tensor *gate = s->w[0], *up = s->w[1];
    if (gate->type == up->type) {
        struct vulkan_product pair = product_of(p, gate, v->bias[0], &in, &b->gate);
        pair.mode = VULKAN_PAIR;
        pair.w2 = &p->weights[up->index];
        pair.bias2 = v->bias[1];
        pair.act = s->act;
        vulkan_record_product(r, &pair);
        vulkan_record_barrier(r);
        return;
    }
    product(r, p, gate, v->bias[0], &in, &b->gate);
    product(r, p, up, v->bias[1], &in, &b->up);
    vulkan_record_barrier(r);
    uint32_t n = (uint32_t)gate->n_rows;
    const uint32_t spec[] = { NORM_LANES, s->act };
    const struct vulkan_part parts[] = { vulkan_all(&b->gate), vulkan_all(&b->up) };
    vulkan_record_shader(r, "glu", spec, 2, parts, &(struct push_glu){ n }, sizeof(struct push_glu),
                         (n + NORM_LANES - 1) / NORM_LANES, (uint32_t)rows.n, 1);
    vulkan_record_barrier(r);
}

static void embed(struct vulkan_recording *r, const struct placed *p, const struct step *s, struct vulkan_rows rows)
{
    const struct vulkan_set *sets = p->scratch.sets;
    if (p->embed)    /* else the host looked the rows up */
        vulkan_record_embed(r, &(struct vulkan_embed){ .w = p->embed, .rows = &sets[rows.set].rows,
                                                       .best = &sets[1 - rows.set].best, .x = &p->scratch.x,
                                                       .n = rows.n, .scale = s->scale });
}

static void record_body(struct vulkan_recording *r, const struct placed *p, const struct kv_layer *kv,
                        struct vulkan_rows rows)
{
    const struct vulkan_scratch *b = &p->scratch;
    if (!p->embed)
        vulkan_record_copy(r, &b->x, &b->in, (uint64_t)rows.n * (uint64_t)p->program->n_embd * sizeof(float));
    for (int32_t i = 0; i < p->program->n_steps; i++) {
        const struct step *s = &p->program->steps[i];
        const struct vulkan_vectors *v = &p->vectors[i];
        switch (s->kind) {
        case STEP_EMBED: embed(r, p, s, rows); break;
        case STEP_ATTN_IN: attn_in(r, p, s, v, kv, rows); break;
        case STEP_ATTN: attend(r, p, s, v, kv, rows); break;
        case STEP_ATTN_OUT: onto_residual(r, p, s, v, &b->attn, rows); break;
        case STEP_FFN_IN: ffn_in(r, p, s, v, rows); break;
        case STEP_FFN_OUT: onto_residual(r, p, s, v, &b->gate, rows); break;
        case STEP_HEAD: break;    /* has a recording of its own */
        }
    }
}

/* Logits go to the host where it wants them all, else stay with the device. */
static void record_head(struct vulkan_recording *r, const struct placed *p, struct vulkan_rows rows)
{
    const struct vulkan_scratch *b = &p->scratch;
    const struct vulkan_set *set = &b->sets[rows.set];
    const struct vulkan_buf *logits = rows.n_best > 0 ? &b->logits : &b->all_logits;
    for (int32_t i = 0; i < p->program->n_steps; i++) {
        const struct step *s = &p->program->steps[i];
        const struct vulkan_vectors *v = &p->vectors[i];
        if (s->kind != STEP_HEAD)
            continue;
        const uint32_t spec[] = { NORM_LANES, 0, 1 };
        const struct vulkan_part parts[] = { vulkan_all(&b->x), v->norm, vulkan_all(&b->picked),
                                             vulkan_all(&set->wanted) };
        const struct push_norm push = { (uint32_t)s->w[0]->n_cols, s->eps, 1 };
        vulkan_record_shader(r, "norm", spec, 3, parts, &push, sizeof push, (uint32_t)rows.n, 1, 1);
        vulkan_record_barrier(r);
        const struct input in = input(r, p, s, &b->picked, rows);
        struct vulkan_product head = product_of(p, s->w[0], v->bias[0], &in, logits);
        head.scale = s->scale;
        head.cap = s->cap;
        vulkan_record_product(r, &head);
        vulkan_record_barrier(r);
        if (rows.n_best > 0)
            vulkan_record_best(r, &(struct vulkan_best){ .logits = logits, .parts = &b->best_parts, .out = &set->best,
                                                         .n_rows = rows.n, .n_logits = p->program->n_vocab,
                                                         .n_best = rows.n_best });
    }
}

/* ---- which there are ----------------------------------------------------------------------------------- */

static void forget(struct vulkan_body **list)
{
    while (*list) {
        struct vulkan_body *b = *list;
        *list = b->next;
        vulkan_recording_destroy(&b->recording);
        free(b);
    }
}

void vulkan_forget_recordings(struct placed *p)
{
    vulkan_ahead_end(p, NULL);
    forget(&p->bodies);
    forget(&p->heads);
}

static void rehearse(const struct placed *p, const struct kv_layer *kv, struct vulkan_rows rows)
{
    struct vulkan_recording r = vulkan_rehearsal(p->b->d);
    if (kv)
        record_body(&r, p, kv, rows);
    else
        record_head(&r, p, rows);
}

/* An answer, the end and the middle of a prompt, and a long one's, which may have larger tiles. */
void vulkan_want_pipelines(const struct placed *p)
{
    static const int32_t rows[] = { 1, 8, 64, VULKAN_MAX_ROWS };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        rehearse(p, p->program->kv, (struct vulkan_rows){ .n = rows[i], .many = vulkan_product_many(p->b->d, rows[i]) });
    rehearse(p, NULL, (struct vulkan_rows){ .n = 1, .n_best = BACKEND_MAX_BEST });    /* samplers, unless told otherwise */
    vulkan_pipelines_start(p->b->d);
}

static bool same_rows(struct vulkan_rows a, struct vulkan_rows b)
{
    return a.n == b.n && a.set == b.set && a.many == b.many && a.n_best == b.n_best;
}

static enum err_code find(struct placed *p, struct vulkan_body **list, const struct kv_layer *kv,
                          struct vulkan_rows rows, VkCommandBuffer *out, struct err *e)
{
    for (struct vulkan_body *b = *list; b; b = b->next)
        if (same_rows(b->rows, rows)) {
            *out = b->recording.cmd;
            return ERR_OK;
        }
    struct vulkan_body *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for a recording");
    b->rows = rows;
    rehearse(p, kv, rows);
    vulkan_pipelines_start(p->b->d);
    enum err_code rc = vulkan_record_begin(&b->recording, p->b->d, e);
    if (rc == ERR_OK) {
        if (kv)
            record_body(&b->recording, p, kv, rows);
        else
            record_head(&b->recording, p, rows);
        rc = vulkan_record_end(&b->recording, e);
    }
    if (rc != ERR_OK) {
        free(b);
        return rc;
    }
    b->next = *list;
    *list = b;
    *out = b->recording.cmd;
    return ERR_OK;
}

static bool same_types(const struct placed *p, const struct kv_layer *kv)
{
    int32_t i = 0;
    while (i < p->program->n_layers && p->kv[i].k == kv[i].k && p->kv[i].v == kv[i].v)
        i++;
    return i == p->program->n_layers;
}

enum err_code vulkan_body_for(struct placed *p, const struct kv_layer *kv, struct vulkan_rows rows,
                              VkCommandBuffer *out, struct err *e)
{
    if (!same_types(p, kv)) {    /* another session's */
        forget(&p->bodies);
        memcpy(p->kv, kv, (size_t)p->program->n_layers * sizeof *kv);
    }
    return find(p, &p->bodies, kv, rows, out, e);
}

enum err_code vulkan_head_for(struct placed *p, struct vulkan_rows rows, VkCommandBuffer *out, struct err *e)
{
    return find(p, &p->heads, NULL, rows, out, e);
}
