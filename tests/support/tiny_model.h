/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_TINY_MODEL_H
#define QUIP_TESTS_SUPPORT_TINY_MODEL_H

#include "engine/base/err.h"
#include "engine/quant/quant.h"

/* A complete model of the llama architecture in a few hundred KiB, so that tests of the engine and of
 * the whole program need no download: SPM vocabulary with all bytes, ChatML template, random weights.
 *
 * With a reply, the weights are bent so that greedy decoding (and, but for one token in some thousands,
 * sampling at temperature 1) answers every chat prompt with exactly that text and <|im_end|>: the output
 * row of each word of the reply points along the embedding of the one before, and the first follows a
 * newline, with which the generation prompt ends. Attention and FFN still run and disturb it a little. */
struct tiny_model {
    uint64_t seed;
    uint32_t weight_type;        /* of matrices: F32, F16, BF16, Q8_0 or Q4_1; norms are F32 */
    uint32_t n_layers;
    uint32_t n_embd;             /* a multiple of 32, like n_ff; n_heads * d_head likewise */
    uint32_t n_ff;
    uint32_t n_heads, n_kv_heads;
    uint32_t d_head;
    uint32_t n_ctx;
    const char *name;            /* general.name */
    const char *reply;           /* words all different, single spaces; NULL: unbent random weights */
    bool endless;                /* after the last word of the reply comes the first again */
    const char *chat_template;   /* NULL: no such key */
};

/* Seed 1, Q8_0, 2 layers, width 64, FFN 128, 4 heads of 16 on 2 KV heads, context 512, ChatML, and
 * TINY_MODEL_REPLY. */
void tiny_model_init(struct tiny_model *m);

#define TINY_MODEL_REPLY "All is well here, said the tiny model quietly."

/* The same parameters give the same bytes. Errors as gguf_writer_save(). */
enum err_code tiny_model_write(const struct tiny_model *m, const char *path, struct err *e);

#endif
