/* SPDX-License-Identifier: MIT */
/* Llama 1 to 3, Mistral, SmolLM2, TinyLlama and all that share their plan: pre-norm blocks, rotary embedding
 * on neighbouring pairs, SwiGLU, biases where the file has them, factors on the rotary frequencies
 * (Llama 3.1) when `rope_freqs.weight` is there. */
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
    s->bias[0] = build_bias_optional(b, i, "attn_q", n_q);
    s->bias[1] = build_bias_optional(b, i, "attn_k", n_kv);
    s->bias[2] = build_bias_optional(b, i, "attn_v", n_kv);
    s->rope = rope;
    s->scale = h->attention_scale;
    build_attn(b, s);

    s = build_step(b, STEP_ATTN_OUT, i);
    s->w[0] = build_matrix(b, i, "attn_output", n_q, h->n_embd);
    s->bias[0] = build_bias_optional(b, i, "attn_output", h->n_embd);

    s = build_step(b, STEP_FFN_IN, i);
    s->norm = build_gain(b, i, "ffn_norm", h->n_embd);
    s->w[0] = build_matrix(b, i, "ffn_gate", h->n_embd, n_ff);
    s->w[1] = build_matrix(b, i, "ffn_up", h->n_embd, n_ff);
    s->bias[0] = build_bias_optional(b, i, "ffn_gate", n_ff);
    s->bias[1] = build_bias_optional(b, i, "ffn_up", n_ff);

    s = build_step(b, STEP_FFN_OUT, i);
    s->w[0] = build_matrix(b, i, "ffn_down", n_ff, h->n_embd);
    s->bias[0] = build_bias_optional(b, i, "ffn_down", h->n_embd);
}

void arch_llama_build(struct build *b)
{
    const struct hparams *h = b->h;
    if (h->n_experts > 0)
        build_fail(b, ERR_UNSUPPORTED, "llama.expert_count: %u, files with experts are not supported", h->n_experts);
    const float *factors = build_gain_optional(b, BUILD_NO_LAYER, "rope_freqs", h->n_rot / 2);
    int32_t rope = build_rope(b, h->rope_base, false, true, factors);

    build_embed(b, 1);
    for (uint32_t i = 0; i < h->n_layers; i++)
        layer(b, (int32_t)i, rope);
    build_head(b);
}
