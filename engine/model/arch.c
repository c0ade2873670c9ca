/* SPDX-License-Identifier: MIT */
#include "engine/model/arch.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/model/build.h"
#include "engine/quant/quant.h"

enum { STEPS_PER_LAYER = 8, MAX_ROPES = 8 };

static const struct {
    const char *name;
    void (*build)(struct build *b);
} archs[] = {
    { "llama", arch_llama_build },
    { "qwen2", arch_qwen2_build },
    { "qwen3", arch_qwen3_build },
    { "gemma3", arch_gemma3_build },
};
enum { N_ARCHS = sizeof archs / sizeof *archs };

static enum err_code unknown_arch(const char *name, struct err *e)
{
    struct buf list = { 0 };
    for (int i = 0; i < N_ARCHS; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", archs[i].name);
    enum err_code rc = err_set(e, ERR_UNSUPPORTED, "architecture '%s' is not supported; supported: %s", name,
                               buf_text(&list));
    buf_finish(&list);
    return rc;
}

static enum err_code list_tensors(struct build *b)
{
    uint32_t n = gguf_n_tensors(b->gguf);
    b->tensors = arena_alloc(b->arena, n, sizeof *b->tensors);
    b->used = arena_alloc(b->arena, n, sizeof *b->used);
    b->cap_steps = (int32_t)b->h->n_layers * STEPS_PER_LAYER + 2;
    b->steps = arena_alloc(b->arena, (size_t)b->cap_steps, sizeof *b->steps);
    b->cap_ropes = MAX_ROPES;
    b->ropes = arena_alloc(b->arena, MAX_ROPES, sizeof *b->ropes);
    if (!b->tensors || !b->used || !b->steps || !b->ropes)
        return err_set(b->err, ERR_NOMEM, "no memory for a list of %u tensors", n);
    for (uint32_t i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(b->gguf, i);
        b->tensors[i] = (struct tensor){ .name = t->name, .index = (int32_t)i, .type = t->type,
                                         .n_cols = (int32_t)t->ne[0], .n_rows = (int32_t)t->ne[1],
                                         .data = t->data, .n_bytes = t->n_bytes, .row_bytes = t->row_bytes };
    }
    return ERR_OK;
}

/* A tensor nobody asked for is a part of the model that would be left out in silence. */
static enum err_code check_all_used(const struct build *b)
{
    for (uint32_t i = 0; i < gguf_n_tensors(b->gguf); i++)
        if (!b->used[i])
            return err_set(b->err, ERR_UNSUPPORTED, "tensor '%s' is not part of %s as it is known here",
                           b->tensors[i].name, b->h->arch);
    return ERR_OK;
}

static enum err_code check_embedding(const struct build *b)
{
    const struct tensor *t = b->steps[0].w[0];
    const struct quant_format *format = quant_format(t->type);
    if (!format || !format->to_f32)
        return err_set(b->err, ERR_UNSUPPORTED, "tensor '%s': type %s cannot be computed here", t->name,
                       format ? format->name : "unknown");
    return ERR_OK;
}

static void max_of(int32_t *most, int64_t value)
{
    if (value > *most)
        *most = (int32_t)value;
}

static enum err_code finish(struct build *b, struct program **out)
{
    struct program *p = arena_alloc(b->arena, 1, sizeof *p);
    struct kv_layer *kv = arena_alloc(b->arena, b->h->n_layers, sizeof *kv);
    if (!p || !kv)
        return err_set(b->err, ERR_NOMEM, "no memory for the program");
    *p = (struct program){ .steps = b->steps, .n_steps = b->n_steps, .tensors = b->tensors,
                           .n_tensors = (int32_t)gguf_n_tensors(b->gguf), .ropes = b->ropes,
                           .n_ropes = b->n_ropes, .n_layers = (int32_t)b->h->n_layers,
                           .n_embd = (int32_t)b->h->n_embd, .n_vocab = (int32_t)b->h->n_vocab,
                           .kv = kv };
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        for (int j = 0; j < 3 && s->w[j]; j++)
            max_of(&p->max_cols, s->w[j]->n_cols);
        if (s->kind == STEP_ATTN) {
            max_of(&p->max_q, (int64_t)s->n_head * s->d_head);
            max_of(&p->max_kv, (int64_t)s->n_kv_head * s->d_head);
            kv[s->layer] = (struct kv_layer){ .k = KV_F16, .v = KV_F16, .n_head = s->n_kv_head,
                                              .d_head = s->d_head, .window = s->window };
        }
        if (s->kind == STEP_FFN_IN)
            max_of(&p->max_ff, s->w[0]->n_rows);
    }
    *out = p;
    return ERR_OK;
}

enum err_code arch_build(const struct gguf *g, struct arena *arena, struct program **out, struct hparams *h,
                         struct err *e)
{
    enum err_code rc = hparams_read(h, g, e);
    int which = 0;
    if (!h->arch[0])
        return rc;
    while (which < N_ARCHS && strcmp(archs[which].name, h->arch) != 0)
        which++;
    if (which == N_ARCHS)    /* says more than a key that architecture does not have */
        return unknown_arch(h->arch, e);
    if (rc != ERR_OK)
        return rc;
    const struct gguf_tensor *embd = gguf_tensor_find(g, "token_embd.weight");
    if (!embd)
        return err_set(e, ERR_FORMAT, "tensor 'token_embd.weight' is missing");
    h->n_vocab = (uint32_t)embd->ne[1];

    struct build b = { .gguf = g, .arena = arena, .h = h, .err = e };
    rc = list_tensors(&b);
    if (rc != ERR_OK)
        return rc;
    archs[which].build(&b);
    rc = b.rc;
    if (rc == ERR_OK)
        rc = check_embedding(&b);
    if (rc == ERR_OK)
        rc = check_all_used(&b);
    return rc == ERR_OK ? finish(&b, out) : rc;
}
