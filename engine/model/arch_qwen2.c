/* SPDX-License-Identifier: MIT */
/* Qwen2 and 2.5 and what is distilled into them: Llama's plan with biases on q, k and v, and rotary
 * embedding on halves. */
#include "engine/model/build.h"

static void layer(struct build *b, int32_t i, int32_t rope)
{
    const struct hparams *h = b->h;
    uint32_t n_q = h->n_head[i] * h->d_head, n_kv = h->n_kv_head[i] * h->d_head, n_ff = h->n_ff[i];

    struct step *s = build_step(b, STEP_ATTN_IN, i);
    s->norm = build_gain(b, i, "attn_norm", h->n_embd);
    s->w[0] = build_matrix(b, i, "attn_q", h->n_embd, n_q);
    s->w[1] = build_matrix(b, i, "attn_k", h->n_embd, n_kv);
    s->w[2] = build_matrix(b, i, "attn_v", h->n_embd, n_kv);
    s->bias[0] = build_bias(b, i, "attn_q", n_q);
    s->bias[1] = build_bias(b, i, "attn_k", n_kv);
    s->bias[2] = build_bias(b, i, "attn_v", n_kv);
    s->rope = rope;
    s->scale = h->attention_scale;
    build_attn(b, s);

    s = build_step(b, STEP_ATTN_OUT, i);
    s->w[0] = build_matrix(b, i, "attn_output", n_q, h->n_embd);

    s = build_step(b, STEP_FFN_IN, i);
    s->norm = build_gain(b, i, "ffn_norm", h->n_embd);
    s->w[0] = build_matrix(b, i, "ffn_gate", h->n_embd, n_ff);
    s->w[1] = build_matrix(b, i, "ffn_up", h->n_embd, n_ff);

    s = build_step(b, STEP_FFN_OUT, i);
    s->w[0] = build_matrix(b, i, "ffn_down", n_ff, h->n_embd);
}

void arch_qwen2_build(struct build *b)
{
    const struct hparams *h = b->h;
    int32_t rope = build_rope(b, h->rope_base, true, true, NULL);

    build_embed(b, 1);
    for (uint32_t i = 0; i < h->n_layers; i++)
        layer(b, (int32_t)i, rope);
    build_head(b);
}
