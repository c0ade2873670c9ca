/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_MODEL_HPARAMS_H
#define QUIP_ENGINE_MODEL_HPARAMS_H

#include <stdint.h>

#include "engine/base/err.h"
#include "engine/gguf/gguf.h"

enum { HPARAMS_MAX_LAYERS = 512, HPARAMS_MAX_HEADS = 1024, HPARAMS_ARCH_BYTES = 64 };

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

/* What the metadata says about a model, with the fallbacks of the format filled in. */
struct hparams {
    char arch[HPARAMS_ARCH_BYTES];
    uint32_t n_layers, n_embd, n_vocab, n_ctx_train;
    uint32_t n_head[HPARAMS_MAX_LAYERS], n_kv_head[HPARAMS_MAX_LAYERS], n_ff[HPARAMS_MAX_LAYERS];
    uint32_t d_head;
    float eps;
    float attention_scale;      /* on q . k */
    float attention_cap, final_cap;    /* 0: none */
    uint32_t window;            /* 0: none */
    uint32_t window_period;     /* layer i is local when i mod period < period - 1; 0: not said */
    uint32_t n_rot;
    float rope_base, rope_base_local;   /* local: 0 when not said */
    enum rope_scaling rope_scaling;
    float rope_factor;
    uint32_t rope_orig_ctx;
    float rope_attn_factor;
    float yarn_log_multiplier;
    uint32_t n_experts;
};

/* The key with the architecture's prefix in front ("llama.block_count"); out has room for n_bytes. */
const char *hparams_key(const struct hparams *h, const char *name, char *out, int32_t n_bytes);

/* Reads what all architectures have in common. n_vocab comes from the embedding's rows.
 * Errors: ERR_FORMAT naming key, found, wanted. */
enum err_code hparams_read(struct hparams *h, const struct gguf *g, struct err *e);

#endif
