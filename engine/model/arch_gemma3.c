/* SPDX-License-Identifier: MIT */
/* Gemma 3, text: four norms a layer, norms of q and k per head, GELU; five layers of six see a window and
 * have a rotary base of their own without scaling. */
#include "engine/model/build.h"

#include <math.h>

enum { PERIOD = 6, LAYERS_27B = 62 };

static bool is_local(const struct hparams *h, int32_t i)
{
    uint32_t period = h->window_period ? h->window_period : PERIOD;
    return h->window > 0 && (uint32_t)i % period < period - 1;
}

static void layer(struct build *b, int32_t i, int32_t rope, float scale)
{
    const struct hparams *h = b->h;
    uint32_t n_q = h->n_head[i] * h->d_head, n_kv = h->n_kv_head[i] * h->d_head, n_ff = h->n_ff[i];

    struct step *s = build_step(b, STEP_ATTN_IN, i);
    s->norm = build_gain(b, i, "attn_norm", h->n_embd);
    s->w[0] = build_matrix(b, i, "attn_q", h->n_embd, n_q);
    s->w[1] = build_matrix(b, i, "attn_k", h->n_embd, n_kv);
    s->w[2] = build_matrix(b, i, "attn_v", h->n_embd, n_kv);
    s->q_norm = build_gain(b, i, "attn_q_norm", h->d_head);
    s->k_norm = build_gain(b, i, "attn_k_norm", h->d_head);
    s->rope = rope;
    s->scale = scale;
    s = build_attn(b, s);
    s->window = is_local(h, i) ? (int32_t)h->window : 0;
    s->cap = h->attention_cap;

    s = build_step(b, STEP_ATTN_OUT, i);
    s->w[0] = build_matrix(b, i, "attn_output", n_q, h->n_embd);
    s->post_norm = build_gain(b, i, "post_attention_norm", h->n_embd);

    s = build_step(b, STEP_FFN_IN, i);
    s->norm = build_gain(b, i, "ffn_norm", h->n_embd);
    s->w[0] = build_matrix(b, i, "ffn_gate", h->n_embd, n_ff);
    s->w[1] = build_matrix(b, i, "ffn_up", h->n_embd, n_ff);
    s->act = STEP_GELU;

    s = build_step(b, STEP_FFN_OUT, i);
    s->w[0] = build_matrix(b, i, "ffn_down", n_ff, h->n_embd);
    s->post_norm = build_gain(b, i, "post_ffw_norm", h->n_embd);
}

void arch_gemma3_build(struct build *b)
{
    const struct hparams *h = b->h;
    int32_t global = build_rope(b, h->rope_base, true, true, NULL);
    int32_t local = build_rope(b, h->rope_base_local > 0 ? h->rope_base_local : 10000.0f, true, false, NULL);
    float scale = h->attention_scale;
    if (h->n_layers == LAYERS_27B)    /* no key says so; the 27B divides by its width per head instead */
        scale = 1.0f / sqrtf((float)h->n_embd / (float)h->n_head[0]);

    build_embed(b, sqrtf((float)h->n_embd));
    for (uint32_t i = 0; i < h->n_layers; i++)
        layer(b, (int32_t)i, is_local(h, (int32_t)i) ? local : global, scale);
    build_head(b);
}
