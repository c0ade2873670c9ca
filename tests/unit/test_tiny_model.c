/* SPDX-License-Identifier: MIT */
#include "tests/support/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/gguf/gguf.h"
#include "tests/support/test.h"

static const char *path_in(struct test *t, const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", test_folder(t), name);
    return path;
}

TEST(tiny_model_has_all_that_a_llama_needs)
{
    static const uint32_t types[] = { QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0, QUANT_Q4_1 };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct tiny_model m;
        struct gguf *g;
        struct err e;
        tiny_model_init(&m);
        m.weight_type = types[i];
        const char *path = path_in(t, "tiny.gguf");
        CHECK(t, tiny_model_write(&m, path, &e) == ERR_OK, "%s", e.text);
        CHECK(t, gguf_open(&g, path, &e) == ERR_OK, "%s", e.text);
        CHECK_INT(t, gguf_n_tensors(g), 3 + 9 * m.n_layers);
        const struct gguf_kv *tokens;
        CHECK(t, gguf_need_texts(g, "tokenizer.ggml.tokens", &tokens, &e) == ERR_OK, "%s", e.text);
        const struct gguf_tensor *k = gguf_tensor_find(g, "blk.1.attn_k.weight");
        CHECK(t, k && k->ne[0] == 64 && k->ne[1] == 32 && k->type == types[i]);
        const struct gguf_tensor *output = gguf_tensor_find(g, "output.weight");
        CHECK(t, output && output->ne[0] == 64 && output->ne[1] == tokens->n);
        for (uint64_t a = 0; a < tokens->n; a++)
            for (uint64_t b = 0; b < a; b++) {
                struct gguf_text x = gguf_kv_text(tokens, a), y = gguf_kv_text(tokens, b);
                CHECK(t, x.n_bytes != y.n_bytes || memcmp(x.bytes, y.bytes, x.n_bytes) != 0,
                      "tokens %d and %d are both '%.*s'", (int)b, (int)a, (int)x.n_bytes, x.bytes);
            }
        gguf_close(g);
    }
}

TEST(tiny_model_same_parameters_same_bytes)
{
    struct tiny_model m;
    struct err e;
    size_t n[3];
    char *bytes[3];
    tiny_model_init(&m);
    for (int i = 0; i < 3; i++) {
        m.seed = i < 2 ? 5 : 6;
        const char *path = path_in(t, "same.gguf");
        CHECK(t, tiny_model_write(&m, path, &e) == ERR_OK, "%s", e.text);
        bytes[i] = test_read_file(path, &n[i]);
    }
    CHECK_INT(t, n[0], n[1]);
    CHECK_BYTES(t, bytes[1], bytes[0], n[0]);
    CHECK(t, n[2] == n[0] && memcmp(bytes[2], bytes[0], n[0]) != 0, "another seed, another model");
    for (int i = 0; i < 3; i++)
        free(bytes[i]);
}

static void read_row(const struct gguf_tensor *m, uint64_t row, float *out)
{
    quant_format(m->type)->to_f32(out, m->data + row * m->row_bytes, (int64_t)m->ne[0]);
}

/* The token whose output row lies best along the embedding of `from`, layers and norm left out. */
static uint64_t follower(const struct gguf *g, uint64_t from)
{
    const struct gguf_tensor *embedding = gguf_tensor_find(g, "token_embd.weight");
    const struct gguf_tensor *output = gguf_tensor_find(g, "output.weight");
    float x[64], row[64], best = -INFINITY;
    uint64_t best_token = 0;
    read_row(embedding, from, x);
    for (uint64_t token = 0; token < output->ne[1]; token++) {
        float sum = 0;
        read_row(output, token, row);
        for (int i = 0; i < 64; i++)
            sum += x[i] * row[i];
        if (sum > best) {
            best = sum;
            best_token = token;
        }
    }
    return best_token;
}

TEST(tiny_model_leads_from_a_newline_through_the_reply)
{
    static const char want[] = "All\xe2\x96\x81is\xe2\x96\x81well\xe2\x96\x81here,\xe2\x96\x81said\xe2\x96\x81the"
                               "\xe2\x96\x81tiny\xe2\x96\x81model\xe2\x96\x81quietly.<|im_end|>";
    struct tiny_model m;
    struct gguf *g;
    struct err e;
    struct buf got = { 0 };
    const struct gguf_kv *tokens;
    tiny_model_init(&m);
    const char *path = path_in(t, "reply.gguf");
    CHECK(t, tiny_model_write(&m, path, &e) == ERR_OK, "%s", e.text);
    CHECK(t, gguf_open(&g, path, &e) == ERR_OK, "%s", e.text);
    CHECK(t, gguf_need_texts(g, "tokenizer.ggml.tokens", &tokens, &e) == ERR_OK, "%s", e.text);
    uint64_t token = 3 + '\n';
    for (int i = 0; i < 10; i++) {
        token = follower(g, token);
        struct gguf_text text = gguf_kv_text(tokens, token);
        buf_add(&got, text.bytes, text.n_bytes);
    }
    CHECK_TEXT(t, buf_text(&got), want);
    buf_finish(&got);
    gguf_close(g);
}
