/* SPDX-License-Identifier: MIT */
#include "engine/model/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/quant/quant.h"

enum { NAME_BYTES = 128 };

void build_fail(struct build *b, enum err_code code, const char *format, ...)
{
    if (b->rc != ERR_OK)
        return;
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    b->rc = err_set(b->err, code, "%s", text);
}

static const char *full_name(char out[NAME_BYTES], int32_t layer, const char *name, const char *suffix)
{
    if (layer == BUILD_NO_LAYER)
        snprintf(out, NAME_BYTES, "%s.%s", name, suffix);
    else
        snprintf(out, NAME_BYTES, "blk.%d.%s.%s", layer, name, suffix);
    return out;
}

/* The tensor of that name with that shape; NULL with the failure noted when it is needed and absent, or
 * misshapen. A vector is [n][1]. */
static const struct tensor *find(struct build *b, const char *name, uint32_t n_cols, uint32_t n_rows,
                                 bool needed)
{
    if (b->rc != ERR_OK)
        return NULL;
    const struct gguf_tensor *t = gguf_tensor_find(b->gguf, name);
    if (!t) {
        if (needed)
            build_fail(b, ERR_FORMAT, "tensor '%s' is missing, %s needs it as [%u, %u]", name, b->h->arch, n_cols,
                       n_rows);
        return NULL;
    }
    if (t->ne[0] != n_cols || t->ne[1] != n_rows || t->ne[2] != 1 || t->ne[3] != 1) {
        build_fail(b, ERR_FORMAT, "tensor '%s': shape [%llu, %llu, %llu, %llu], %s needs [%u, %u]", name,
                   (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], (unsigned long long)t->ne[2],
                   (unsigned long long)t->ne[3], b->h->arch, n_cols, n_rows);
        return NULL;
    }
    int32_t index = -1;
    for (uint32_t i = 0; i < gguf_n_tensors(b->gguf); i++)
        if (gguf_tensor_at(b->gguf, i) == t)
            index = (int32_t)i;
    b->used[index] = true;
    return &b->tensors[index];
}

const struct tensor *build_matrix(struct build *b, int32_t layer, const char *name, uint32_t n_cols,
                                  uint32_t n_rows)
{
    char full[NAME_BYTES];
    return find(b, full_name(full, layer, name, "weight"), n_cols, n_rows, true);
}

const struct tensor *build_matrix_optional(struct build *b, int32_t layer, const char *name, uint32_t n_cols,
                                           uint32_t n_rows)
{
    char full[NAME_BYTES];
    return find(b, full_name(full, layer, name, "weight"), n_cols, n_rows, false);
}

static const float *vector(struct build *b, int32_t layer, const char *name, const char *suffix, uint32_t n,
                           bool needed)
{
    char full[NAME_BYTES];
    const struct tensor *t = find(b, full_name(full, layer, name, suffix), n, 1, needed);
    if (!t)
        return NULL;
    const struct quant_format *format = quant_format(t->type);
    if (!format || !format->to_f32) {
        build_fail(b, ERR_UNSUPPORTED, "tensor '%s': type %s cannot be computed here", full,
                   format ? format->name : "unknown");
        return NULL;
    }
    float *values = arena_alloc(b->arena, n, sizeof *values);
    if (!values) {
        build_fail(b, ERR_NOMEM, "tensor '%s': no memory for %u values", full, n);
        return NULL;
    }
    format->to_f32(values, t->data, n);
    return values;
}

const float *build_gain(struct build *b, int32_t layer, const char *name, uint32_t n)
{
    return vector(b, layer, name, "weight", n, true);
}

const float *build_gain_optional(struct build *b, int32_t layer, const char *name, uint32_t n)
{
    return vector(b, layer, name, "weight", n, false);
}

const float *build_bias(struct build *b, int32_t layer, const char *name, uint32_t n)
{
    return vector(b, layer, name, "bias", n, true);
}

const float *build_bias_optional(struct build *b, int32_t layer, const char *name, uint32_t n)
{
    return vector(b, layer, name, "bias", n, false);
}

struct step *build_step(struct build *b, enum step_kind kind, int32_t layer)
{
    if (b->n_steps == b->cap_steps) {
        build_fail(b, ERR_UNSUPPORTED, "%s: more than %d steps", b->h->arch, b->cap_steps);
        b->n_steps--;    /* the last one takes what is still to come; the build has failed */
    }
    struct step *s = &b->steps[b->n_steps++];
    *s = (struct step){ .kind = kind, .layer = layer, .eps = b->h->eps, .scale = 1, .rope = -1 };
    return s;
}

struct step *build_attn(struct build *b, struct step *in)
{
    struct step *s = build_step(b, STEP_ATTN, in->layer);
    in->n_head = s->n_head = (int32_t)b->h->n_head[in->layer];
    in->n_kv_head = s->n_kv_head = (int32_t)b->h->n_kv_head[in->layer];
    in->d_head = s->d_head = (int32_t)b->h->d_head;
    s->sinks = build_gain_optional(b, in->layer, "attn_sinks", b->h->n_head[in->layer]);
    return s;
}

void build_embed(struct build *b, float scale)
{
    struct step *s = build_step(b, STEP_EMBED, 0);
    s->w[0] = build_matrix(b, BUILD_NO_LAYER, "token_embd", b->h->n_embd, b->h->n_vocab);
    s->scale = scale;
}

void build_head(struct build *b)
{
    struct step *s = build_step(b, STEP_HEAD, (int32_t)b->h->n_layers);
    s->norm = build_gain(b, BUILD_NO_LAYER, "output_norm", b->h->n_embd);
    s->w[0] = build_matrix_optional(b, BUILD_NO_LAYER, "output", b->h->n_embd, b->h->n_vocab);
    if (!s->w[0])
        s->w[0] = build_matrix(b, BUILD_NO_LAYER, "token_embd", b->h->n_embd, b->h->n_vocab);
    s->cap = b->h->final_cap;
}
