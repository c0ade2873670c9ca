/* SPDX-License-Identifier: MIT */
#include "tests/support/tiny_model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/arena.h"
#include "engine/gguf/gguf_writer.h"
#include "engine/quant/f16.h"
#include "engine/quant/q4_1.h"
#include "engine/quant/q8_0.h"
#include "tests/support/test.h"

static const char chatml[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

void tiny_model_init(struct tiny_model *m)
{
    *m = (struct tiny_model){
        .seed = 1, .weight_type = QUANT_Q8_0, .n_layers = 2, .n_embd = 64, .n_ff = 128, .n_heads = 4,
        .n_kv_heads = 2, .d_head = 16, .n_ctx = 512, .name = "tiny", .reply = TINY_MODEL_REPLY,
        .chat_template = chatml,
    };
}

/* ---- vocabulary ----------------------------------------------------------------------------------- */

enum {
    TOKEN_UNK, TOKEN_BOS, TOKEN_EOS, TOKEN_BYTES,    /* 256 of them */
    TOKEN_IM_START = TOKEN_BYTES + 256, TOKEN_IM_END, TOKEN_PIECES
};

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_BYTE = 6 };

enum { MAX_TOKENS = 512, MAX_WORDS = 64 };

struct vocab {
    struct arena arena;
    struct gguf_text texts[MAX_TOKENS];
    float scores[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    uint32_t n;
    uint32_t words[MAX_WORDS];    /* tokens of the reply, in order */
    uint32_t n_words;
};

static uint32_t add_token(struct vocab *v, const char *bytes, size_t n_bytes, int32_t type)
{
    assert(v->n < MAX_TOKENS);
    v->texts[v->n] = (struct gguf_text){ arena_copy(&v->arena, bytes, n_bytes), n_bytes };
    v->scores[v->n] = type == TYPE_NORMAL ? -(float)v->n : 0;
    v->types[v->n] = type;
    return v->n++;
}

static uint32_t add_piece(struct vocab *v, const char *text)
{
    return add_token(v, text, strlen(text), TYPE_NORMAL);
}

/* A word of the reply, the space before it written as U+2581. The first has none: decoding would drop
 * it or not, depending on where the text begins. */
static void add_word(struct vocab *v, const char *word, size_t n_bytes)
{
    char text[80];
    int n = snprintf(text, sizeof text, "%s%.*s", v->n_words ? "\xe2\x96\x81" : "", (int)n_bytes, word);
    assert(v->n_words < MAX_WORDS && n < (int)sizeof text);
    uint32_t token = 0;    /* a vocabulary has each text once */
    while (token < v->n && (v->texts[token].n_bytes != (size_t)n || memcmp(v->texts[token].bytes, text, (size_t)n)))
        token++;
    if (token == v->n)
        add_token(v, text, (size_t)n, TYPE_NORMAL);
    v->words[v->n_words++] = token;
}

static void vocab_init(struct vocab *v, const char *reply)
{
    static const char *const merges[] = { "\xe2\x96\x81", "th", "he", "in", "er", "an", "\xe2\x96\x81" "a",
                                          "\xe2\x96\x81" "th", "\xe2\x96\x81" "the", "the", "ing", "user" };
    memset(v, 0, sizeof *v);
    add_token(v, "<unk>", 5, TYPE_UNKNOWN);
    add_token(v, "<s>", 3, TYPE_CONTROL);
    add_token(v, "</s>", 4, TYPE_CONTROL);
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        add_token(v, text, 6, TYPE_BYTE);
    }
    add_token(v, "<|im_start|>", 12, TYPE_CONTROL);
    add_token(v, "<|im_end|>", 10, TYPE_CONTROL);
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++)
        add_piece(v, merges[i]);
    for (char c = '!'; c <= '~'; c++)
        add_token(v, &c, 1, TYPE_NORMAL);
    for (const char *p = reply; p && *p;) {
        size_t n = strcspn(p, " ");
        add_word(v, p, n);
        p += n + (p[n] == ' ');
    }
}

/* ---- weights -------------------------------------------------------------------------------------- */

static void pack_q8_0(struct block_q8_0 *b, const float *x)
{
    float max = 0;
    for (int j = 0; j < 32; j++)
        max = fmaxf(max, fabsf(x[j]));
    float d = max / 127;
    b->d = f16_from_f32(d);
    for (int j = 0; j < 32; j++)
        b->qs[j] = (int8_t)(d > 0 ? lrintf(x[j] / d) : 0);
}

static void pack_q4_1(struct block_q4_1 *b, const float *x)
{
    float min = x[0], max = x[0];
    for (int j = 1; j < 32; j++) {
        min = fminf(min, x[j]);
        max = fmaxf(max, x[j]);
    }
    float d = (max - min) / 15;
    b->d = f16_from_f32(d);
    b->m = f16_from_f32(min);
    for (int j = 0; j < 16; j++) {
        int low = d > 0 ? (int)lrintf((x[j] - min) / d) : 0;
        int high = d > 0 ? (int)lrintf((x[j + 16] - min) / d) : 0;
        b->qs[j] = (uint8_t)(low | high << 4);
    }
}

/* n is a multiple of 32 for the block formats. */
static void pack(void *out, uint32_t type, const float *x, size_t n)
{
    uint16_t *halves = out;
    switch (type) {
    case QUANT_F32:
        memcpy(out, x, n * sizeof *x);
        return;
    case QUANT_F16:
        for (size_t i = 0; i < n; i++)
            halves[i] = f16_from_f32(x[i]);
        return;
    case QUANT_BF16:
        for (size_t i = 0; i < n; i++)
            halves[i] = bf16_from_f32(x[i]);
        return;
    case QUANT_Q8_0:
        for (size_t i = 0; i < n; i += 32)
            pack_q8_0((struct block_q8_0 *)out + i / 32, x + i);
        return;
    case QUANT_Q4_1:
        for (size_t i = 0; i < n; i += 32)
            pack_q4_1((struct block_q4_1 *)out + i / 32, x + i);
        return;
    }
    assert(!"a weight type that tiny_model cannot write");
}

struct maker {
    const struct tiny_model *m;
    struct gguf_writer *w;
    struct arena arena;    /* tensor data until the file is saved */
    struct test rng;
    bool failed;           /* no memory */
};

static float *random_matrix(struct maker *k, uint32_t n_rows, uint32_t n_cols, float deviation)
{
    float *x = arena_alloc(&k->arena, (size_t)n_rows * n_cols, sizeof *x);
    k->failed |= !x;
    for (size_t i = 0; x && i < (size_t)n_rows * n_cols; i++)
        x[i] = deviation * test_normal(&k->rng);
    return x;
}

static void add_matrix(struct maker *k, const char *name, uint32_t type, uint32_t n_rows, uint32_t n_cols,
                       const float *x)
{
    size_t n = (size_t)n_rows * n_cols;
    void *data = arena_alloc(&k->arena, n, sizeof *x);
    k->failed |= !data;
    if (k->failed)
        return;
    pack(data, type, x, n);
    gguf_writer_tensor(k->w, name, type, n_rows > 1 ? 2 : 1, (uint64_t[]){ n_cols, n_rows }, data);
}

/* Gains around 1. */
static void add_norm(struct maker *k, const char *name)
{
    float *gain = random_matrix(k, 1, k->m->n_embd, 0.05f);
    for (uint32_t i = 0; gain && i < k->m->n_embd; i++)
        gain[i] += 1;
    add_matrix(k, name, QUANT_F32, 1, k->m->n_embd, gain);
}

static void add_layers(struct maker *k)
{
    const struct tiny_model *m = k->m;
    uint32_t n_q = m->n_heads * m->d_head, n_kv = m->n_kv_heads * m->d_head;
    const struct {
        const char *name;
        uint32_t n_rows, n_cols;
    } matrices[] = {
        { "attn_q", n_q, m->n_embd },   { "attn_k", n_kv, m->n_embd },     { "attn_v", n_kv, m->n_embd },
        { "attn_output", m->n_embd, n_q }, { "ffn_gate", m->n_ff, m->n_embd }, { "ffn_up", m->n_ff, m->n_embd },
        { "ffn_down", m->n_embd, m->n_ff },
    };
    char name[GGUF_MAX_TENSOR_NAME_BYTES + 1];
    for (uint32_t layer = 0; layer < m->n_layers; layer++) {
        snprintf(name, sizeof name, "blk.%u.attn_norm.weight", layer);
        add_norm(k, name);
        snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", layer);
        add_norm(k, name);
        for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
            uint32_t n_rows = matrices[i].n_rows, n_cols = matrices[i].n_cols;
            /* Halves the signal, so that what a layer adds stays well below the embedding. */
            float *x = random_matrix(k, n_rows, n_cols, 0.5f / sqrtf((float)n_cols));
            snprintf(name, sizeof name, "blk.%u.%s.weight", layer, matrices[i].name);
            add_matrix(k, name, m->weight_type, n_rows, n_cols, x);
        }
    }
}

/* Rows of length sqrt(n_embd), so that the logit of one embedding along another is gain * cosine. */
static float *make_embedding(struct maker *k, const struct vocab *v)
{
    uint32_t n = k->m->n_embd;
    float *x = random_matrix(k, v->n, n, 1);
    for (uint32_t row = 0; x && row < v->n; row++) {
        double sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += (double)x[row * n + i] * (double)x[row * n + i];
        for (uint32_t i = 0; i < n; i++)
            x[row * n + i] *= (float)sqrt(n / sum);
    }
    return x;
}

/* The output row of `to` leads there from token `from`: logit 60 against 30 or less by chance. */
static void chain(const struct maker *k, float *output, const float *embedding, uint32_t from, uint32_t to)
{
    uint32_t n = k->m->n_embd;
    for (uint32_t i = 0; i < n; i++)
        output[to * n + i] += 60.0f / (float)n * embedding[from * n + i];
}

static float *make_output(struct maker *k, const struct vocab *v, const float *embedding)
{
    uint32_t n = k->m->n_embd;
    float *output = random_matrix(k, v->n, n, k->m->reply ? 0.02f : 0.3f);
    if (k->failed)
        return NULL;
    if (!k->m->reply) {
        /* What is no text is as likely as nothing in particular, so that random replies can be read. */
        memset(output, 0, (size_t)TOKEN_PIECES * n * sizeof *output);
        return output;
    }
    uint32_t from = TOKEN_BYTES + '\n';
    for (uint32_t i = 0; i < v->n_words; i++) {
        chain(k, output, embedding, from, v->words[i]);
        from = v->words[i];
    }
    chain(k, output, embedding, from, k->m->endless ? v->words[0] : TOKEN_IM_END);
    return output;
}

/* ---- the file ------------------------------------------------------------------------------------- */

static void add_metadata(const struct maker *k, const struct vocab *v)
{
    const struct tiny_model *m = k->m;
    struct gguf_writer *w = k->w;
    static const struct {
        uint32_t type, file_type;
    } file_types[] = { { QUANT_F32, 0 }, { QUANT_F16, 1 }, { QUANT_BF16, 32 }, { QUANT_Q8_0, 7 },
                       { QUANT_Q4_1, 3 } };
    gguf_writer_text(w, "general.architecture", "llama");
    gguf_writer_text(w, "general.name", m->name);
    for (size_t i = 0; i < sizeof file_types / sizeof file_types[0]; i++)
        if (file_types[i].type == m->weight_type)
            gguf_writer_u32(w, "general.file_type", file_types[i].file_type);
    gguf_writer_u32(w, "llama.block_count", m->n_layers);
    gguf_writer_u32(w, "llama.context_length", m->n_ctx);
    gguf_writer_u32(w, "llama.embedding_length", m->n_embd);
    gguf_writer_u32(w, "llama.feed_forward_length", m->n_ff);
    gguf_writer_u32(w, "llama.attention.head_count", m->n_heads);
    gguf_writer_u32(w, "llama.attention.head_count_kv", m->n_kv_heads);
    gguf_writer_u32(w, "llama.attention.key_length", m->d_head);
    gguf_writer_u32(w, "llama.attention.value_length", m->d_head);
    gguf_writer_u32(w, "llama.rope.dimension_count", m->d_head);
    gguf_writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_writer_f32(w, "llama.rope.freq_base", 10000);
    gguf_writer_u32(w, "llama.vocab_size", v->n);
    gguf_writer_text(w, "tokenizer.ggml.model", "llama");
    gguf_writer_text(w, "tokenizer.ggml.pre", "default");
    gguf_writer_texts(w, "tokenizer.ggml.tokens", v->texts, v->n);
    gguf_writer_array(w, "tokenizer.ggml.scores", GGUF_F32, v->scores, v->n);
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, v->types, v->n);
    gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", TOKEN_BOS);
    gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", TOKEN_IM_END);
    gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", TOKEN_UNK);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", false);
    if (m->chat_template)
        gguf_writer_text(w, "tokenizer.chat_template", m->chat_template);
}

enum err_code tiny_model_write(const struct tiny_model *m, const char *path, struct err *e)
{
    assert(m->n_embd % 32 == 0 && m->n_ff % 32 == 0 && m->n_heads * m->d_head % 32 == 0);
    struct vocab *v = malloc(sizeof *v);
    struct maker k = { .m = m, .w = gguf_writer_create(), .rng = { .seed = m->seed, .rng = m->seed } };
    enum err_code rc = ERR_OK;
    if (!v || !k.w) {
        free(v);
        gguf_writer_destroy(k.w);
        return err_set(e, ERR_NOMEM, "%s: no memory for a model", path);
    }
    vocab_init(v, m->reply);
    add_metadata(&k, v);
    float *embedding = make_embedding(&k, v);
    float *output = make_output(&k, v, embedding);
    add_matrix(&k, "token_embd.weight", m->weight_type, v->n, m->n_embd, embedding);
    add_layers(&k);
    add_norm(&k, "output_norm.weight");
    add_matrix(&k, "output.weight", m->weight_type, v->n, m->n_embd, output);
    rc = k.failed ? err_set(e, ERR_NOMEM, "%s: no memory for a model", path)
                  : gguf_writer_save(k.w, path, e);
    gguf_writer_destroy(k.w);
    arena_finish(&k.arena);
    arena_finish(&v->arena);
    free(v);
    return rc;
}
