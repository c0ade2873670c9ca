/* SPDX-License-Identifier: MIT */
#include "engine/model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* No model known is wider than a quarter of MAX_WIDTH. Products of two of these figures fit 32 bits, and a file
 * of a few megabytes (one column, a million rows) cannot ask for gigabytes of scratch. */
enum { KEY_BYTES = 160, MAX_WIDTH = 1 << 18, MAX_CTX = 1 << 30 };

const char *hparams_key(const struct hparams *h, const char *name, char *out, int32_t n_bytes)
{
    snprintf(out, (size_t)n_bytes, "%s.%s", h->arch, name);
    return out;
}

static enum err_code read_arch(struct hparams *h, const struct gguf *g, struct err *e)
{
    struct gguf_text arch = { 0 };
    enum err_code rc = gguf_need_text(g, "general.architecture", &arch, e);
    if (rc != ERR_OK)
        return rc;
    if (arch.n_bytes == 0 || arch.n_bytes >= sizeof h->arch)
        return err_set(e, ERR_FORMAT, "general.architecture: %zu bytes, 1 to %zu allowed", arch.n_bytes,
                       sizeof h->arch - 1);
    for (size_t i = 0; i < arch.n_bytes; i++)
        if (arch.bytes[i] <= ' ' || arch.bytes[i] > '~')
            return err_set(e, ERR_FORMAT, "general.architecture: byte 0x%02x, printable ASCII wanted",
                           (unsigned char)arch.bytes[i]);
    memcpy(h->arch, arch.bytes, arch.n_bytes);
    return ERR_OK;
}

static enum err_code read_heads(struct hparams *h, const struct gguf *g, struct err *e)
{
    char key[KEY_BYTES];
    enum err_code rc = gguf_need_u32_each(g, hparams_key(h, "attention.head_count", key, KEY_BYTES),
                                          h->n_layers, 1, HPARAMS_MAX_HEADS, h->n_head, e);
    if (rc != ERR_OK)
        return rc;
    memcpy(h->n_kv_head, h->n_head, sizeof h->n_kv_head);
    rc = gguf_opt_u32_each(g, hparams_key(h, "attention.head_count_kv", key, KEY_BYTES), h->n_layers, 1,
                           HPARAMS_MAX_HEADS, h->n_kv_head, e);
    for (uint32_t i = 0; rc == ERR_OK && i < h->n_layers; i++)
        if (h->n_head[i] % h->n_kv_head[i] != 0)
            rc = err_set(e, ERR_FORMAT, "layer %u: %u query heads, a multiple of its %u KV heads wanted", i,
                         h->n_head[i], h->n_kv_head[i]);
    if (rc != ERR_OK)
        return rc;
    h->d_head = h->n_embd / h->n_head[0];
    uint32_t d_value;
    rc = gguf_opt_u32(g, hparams_key(h, "attention.key_length", key, KEY_BYTES), 1, 1024, &h->d_head, e);
    d_value = h->d_head;
    if (rc == ERR_OK)
        rc = gguf_opt_u32(g, hparams_key(h, "attention.value_length", key, KEY_BYTES), 1, 1024, &d_value, e);
    if (rc == ERR_OK && h->d_head == 0)
        rc = err_set(e, ERR_FORMAT, "%s.embedding_length: %u, at least the %u heads wanted", h->arch, h->n_embd,
                     h->n_head[0]);
    if (rc == ERR_OK && d_value != h->d_head)
        rc = err_set(e, ERR_UNSUPPORTED, "%s.attention.value_length: %u, only the key length (%u) is supported",
                     h->arch, d_value, h->d_head);
    for (uint32_t i = 0; rc == ERR_OK && i < h->n_layers; i++)
        if (h->n_head[i] * h->d_head > MAX_WIDTH)
            rc = err_set(e, ERR_FORMAT, "layer %u: %u heads of %u components, at most %d together allowed", i,
                         h->n_head[i], h->d_head, MAX_WIDTH);
    return rc;
}

static enum err_code read_rope_scaling(struct hparams *h, const struct gguf *g, struct err *e)
{
    char key[KEY_BYTES];
    struct gguf_text type = { 0 };
    h->rope_factor = 0;
    enum err_code rc = gguf_opt_f32(g, hparams_key(h, "rope.scaling.factor", key, KEY_BYTES), &h->rope_factor, e);
    if (rc == ERR_OK)
        rc = gguf_opt_text(g, hparams_key(h, "rope.scaling.type", key, KEY_BYTES), &type, e);
    if (rc != ERR_OK)
        return rc;
    if (type.n_bytes == 0)
        h->rope_scaling = h->rope_factor > 0 ? ROPE_SCALING_LINEAR : ROPE_SCALING_NONE;
    else if (type.n_bytes == 4 && memcmp(type.bytes, "none", 4) == 0)
        h->rope_scaling = ROPE_SCALING_NONE;
    else if (type.n_bytes == 6 && memcmp(type.bytes, "linear", 6) == 0)
        h->rope_scaling = ROPE_SCALING_LINEAR;
    else if (type.n_bytes == 4 && memcmp(type.bytes, "yarn", 4) == 0)
        h->rope_scaling = ROPE_SCALING_YARN;
    else
        return err_set(e, ERR_UNSUPPORTED, "%s.rope.scaling.type: '%.*s', none, linear or yarn supported",
                       h->arch, (int)(type.n_bytes < 32 ? type.n_bytes : 32), type.bytes);
    if (h->rope_factor == 0)
        h->rope_factor = 1;
    if (!(h->rope_factor > 0))
        return err_set(e, ERR_FORMAT, "%s.rope.scaling.factor: %g, more than 0 wanted", h->arch,
                       (double)h->rope_factor);
    h->rope_orig_ctx = h->n_ctx_train;
    rc = gguf_opt_u32(g, hparams_key(h, "rope.scaling.original_context_length", key, KEY_BYTES), 1, MAX_CTX,
                      &h->rope_orig_ctx, e);
    h->rope_attn_factor = 1;
    if (rc == ERR_OK)
        rc = gguf_opt_f32(g, hparams_key(h, "rope.scaling.attn_factor", key, KEY_BYTES), &h->rope_attn_factor, e);
    if (rc == ERR_OK)
        rc = gguf_opt_f32(g, hparams_key(h, "rope.scaling.yarn_log_multiplier", key, KEY_BYTES),
                          &h->yarn_log_multiplier, e);
    return rc;
}

static enum err_code read_rope(struct hparams *h, const struct gguf *g, struct err *e)
{
    char key[KEY_BYTES];
    h->n_rot = h->d_head;
    h->rope_base = 10000;
    enum err_code rc = gguf_opt_u32(g, hparams_key(h, "rope.dimension_count", key, KEY_BYTES), 0, 1024, &h->n_rot, e);
    if (rc == ERR_OK)
        rc = gguf_opt_f32(g, hparams_key(h, "rope.freq_base", key, KEY_BYTES), &h->rope_base, e);
    if (rc == ERR_OK)
        rc = gguf_opt_f32(g, hparams_key(h, "rope.freq_base_swa", key, KEY_BYTES), &h->rope_base_local, e);
    if (rc != ERR_OK)
        return rc;
    if (h->n_rot % 2 != 0 || h->n_rot > h->d_head)
        return err_set(e, ERR_FORMAT, "%s.rope.dimension_count: %u, an even number up to the head size %u wanted",
                       h->arch, h->n_rot, h->d_head);
    if (!(h->rope_base > 1) || (h->rope_base_local != 0 && !(h->rope_base_local > 1)))
        return err_set(e, ERR_FORMAT, "%s.rope.freq_base: %g, more than 1 wanted", h->arch, (double)h->rope_base);
    return read_rope_scaling(h, g, e);
}

static enum err_code read_attention(struct hparams *h, const struct gguf *g, struct err *e)
{
    char key[KEY_BYTES];
    h->attention_scale = 1.0f / sqrtf((float)h->d_head);
    enum err_code rc = gguf_opt_f32(g, hparams_key(h, "attention.scale", key, KEY_BYTES), &h->attention_scale, e);
    if (rc == ERR_OK)
        rc = gguf_opt_f32(g, hparams_key(h, "attn_logit_softcapping", key, KEY_BYTES), &h->attention_cap, e);
    if (rc == ERR_OK)
        rc = gguf_opt_f32(g, hparams_key(h, "final_logit_softcapping", key, KEY_BYTES), &h->final_cap, e);
    if (rc == ERR_OK)
        rc = gguf_opt_u32(g, hparams_key(h, "attention.sliding_window", key, KEY_BYTES), 0, MAX_CTX, &h->window, e);
    if (rc == ERR_OK)
        rc = gguf_opt_u32(g, hparams_key(h, "attention.sliding_window_pattern", key, KEY_BYTES), 1,
                          HPARAMS_MAX_LAYERS, &h->window_period, e);
    if (rc == ERR_OK && (h->attention_cap < 0 || h->final_cap < 0))
        rc = err_set(e, ERR_FORMAT, "%s: a soft cap of %g, 0 or more wanted", h->arch,
                     (double)(h->attention_cap < 0 ? h->attention_cap : h->final_cap));
    return rc;
}

enum err_code hparams_read(struct hparams *h, const struct gguf *g, struct err *e)
{
    char key[KEY_BYTES];
    *h = (struct hparams){ 0 };
    enum err_code rc = read_arch(h, g, e);
    if (rc == ERR_OK)
        rc = gguf_need_u32(g, hparams_key(h, "block_count", key, KEY_BYTES), 1, HPARAMS_MAX_LAYERS, &h->n_layers, e);
    if (rc == ERR_OK)
        rc = gguf_need_u32(g, hparams_key(h, "embedding_length", key, KEY_BYTES), 1, MAX_WIDTH, &h->n_embd, e);
    if (rc == ERR_OK)
        rc = gguf_need_u32(g, hparams_key(h, "context_length", key, KEY_BYTES), 1, MAX_CTX, &h->n_ctx_train, e);
    if (rc == ERR_OK)
        rc = gguf_need_u32_each(g, hparams_key(h, "feed_forward_length", key, KEY_BYTES), h->n_layers, 1, MAX_WIDTH,
                                h->n_ff, e);
    if (rc == ERR_OK)
        rc = gguf_need_f32(g, hparams_key(h, "attention.layer_norm_rms_epsilon", key, KEY_BYTES), &h->eps, e);
    if (rc == ERR_OK && !(h->eps >= 0 && h->eps < 1))
        rc = err_set(e, ERR_FORMAT, "%s.attention.layer_norm_rms_epsilon: %g, 0 to 1 wanted", h->arch, (double)h->eps);
    if (rc == ERR_OK)
        rc = gguf_opt_u32(g, hparams_key(h, "expert_count", key, KEY_BYTES), 0, 1024, &h->n_experts, e);
    if (rc == ERR_OK)
        rc = read_heads(h, g, e);
    if (rc == ERR_OK)
        rc = read_rope(h, g, e);
    if (rc == ERR_OK)
        rc = read_attention(h, g, e);
    return rc;
}
