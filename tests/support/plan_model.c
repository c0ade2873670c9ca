/* SPDX-License-Identifier: MIT */
#include "tests/support/plan_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/quant/f16.h"
#include "engine/quant/q8_0.h"
#include "engine/quant/quant.h"

const struct plan plan_all[PLAN_N_ALL] = {
    { .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 96, .n_head = 4, .n_kv_head = 2, .d_head = 16,
      .n_vocab = 200, .n_rot = 12, .rope_base = 10000, .embed_scale = 1, .qkv_bias = true, .other_bias = true,
      .rope_factors = true },
    { .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 96, .n_head = 6, .n_kv_head = 1, .d_head = 32,
      .n_vocab = 200, .n_rot = 32, .rope_base = 500, .embed_scale = 1, .linear_factor = 3, .sinks = true },
    { .arch = "qwen2", .n_layers = 2, .n_embd = 96, .n_ff = 64, .n_head = 3, .n_kv_head = 3, .d_head = 32,
      .n_vocab = 200, .n_rot = 32, .rope_base = 10000, .embed_scale = 1, .halves = true, .qkv_bias = true,
      .tied = true },
    { .arch = "qwen3", .n_layers = 2, .n_embd = 64, .n_ff = 96, .n_head = 4, .n_kv_head = 2, .d_head = 64,
      .n_vocab = 200, .n_rot = 64, .rope_base = 10000, .embed_scale = 1, .halves = true, .qk_norm = true,
      .yarn_factor = 4, .yarn_ctx = 4096 },
    { .arch = "gemma3", .n_layers = 4, .n_embd = 64, .n_ff = 96, .n_head = 4, .n_kv_head = 1, .d_head = 32,
      .n_vocab = 200, .n_rot = 32, .rope_base = 100000, .rope_base_local = 500, .embed_scale = 8, .halves = true,
      .qk_norm = true, .post_norm = true, .sinks = true, .gelu = true, .tied = true, .window = 70, .period = 3,
      .linear_factor = 2, .attention_cap = 4, .final_cap = 9 },
    /* Wide enough for outlier rows (second planes), and for products in more than one piece. */
    { .arch = "llama", .n_layers = 1, .n_embd = 512, .n_ff = 512, .n_head = 8, .n_kv_head = 2, .d_head = 64,
      .n_vocab = 100, .n_rot = 64, .rope_base = 10000, .embed_scale = 1, .outliers = true },
};

static const double eps = 1e-5;

/* ---- weights -------------------------------------------------------------------------------------- */

static void store_q8_0(struct block_q8_0 *blocks, float *x, int32_t n)
{
    for (int32_t b = 0; b < n / 32; b++) {
        float max = 0;
        for (int j = 0; j < 32; j++)
            max = fmaxf(max, fabsf(x[b * 32 + j]));
        blocks[b].d = f16_from_f32(max / 127);
        float d = f16_to_f32(blocks[b].d);
        for (int j = 0; j < 32; j++)
            blocks[b].qs[j] = (int8_t)fmaxf(-127, fminf(127, rintf(x[b * 32 + j] / d)));
    }
    quant_q8_0_to_f32(x, blocks, n);
}

static void add_outliers(float *table, int32_t n_rows, int32_t n_cols)
{
    for (int32_t row = 0; row < n_rows; row += 7)
        table[row * n_cols + 3] = 300;
}

/* Values around `mean`. layer -1: a name without "blk". */
static void add(struct test *t, struct plan_model *m, int32_t layer, const char *name, int32_t n_rows,
                int32_t n_cols, double mean, double deviation)
{
    CHECK(t, m->n_weights < PLAN_MAX_WEIGHTS);
    struct plan_weight *w = &m->weights[m->n_weights++];
    size_t n = (size_t)n_rows * (size_t)n_cols;
    if (layer < 0)
        snprintf(w->name, sizeof w->name, "%s", name);
    else
        snprintf(w->name, sizeof w->name, "blk.%d.%s", layer, name);
    w->n_rows = n_rows;
    w->n_cols = n_cols;
    w->x = w->stored = arena_alloc(&m->arena, n, sizeof *w->x);
    w->inputs = arena_alloc(&m->arena, (size_t)n_cols, sizeof *w->inputs);
    CHECK(t, w->x && w->inputs);
    for (size_t i = 0; i < n; i++)
        w->x[i] = (float)(mean + deviation * (double)test_normal(t));
    if (m->plan.outliers && m->n_weights == 1)
        add_outliers(w->x, n_rows, n_cols);
    if (m->plan.weight_type == QUANT_Q8_0 && n_rows > 1) {
        w->stored = arena_alloc(&m->arena, n / 32, sizeof(struct block_q8_0));
        CHECK(t, w->stored != NULL && n_cols % 32 == 0);
        store_q8_0(w->stored, w->x, (int32_t)n);
    }
}

static void add_layer(struct test *t, struct plan_model *m, int32_t i)
{
    const struct plan *p = &m->plan;
    int32_t n_q = p->n_head * p->d_head, n_kv = p->n_kv_head * p->d_head;
    double in = 1 / sqrt(p->n_embd);
    add(t, m, i, "attn_norm.weight", 1, p->n_embd, 1, 0.2);
    add(t, m, i, "attn_q.weight", n_q, p->n_embd, 0, 2 * in);    /* 2: attention that prefers some keys */
    add(t, m, i, "attn_k.weight", n_kv, p->n_embd, 0, 2 * in);
    add(t, m, i, "attn_v.weight", n_kv, p->n_embd, 0, in);
    add(t, m, i, "attn_output.weight", p->n_embd, n_q, 0, 1 / sqrt(n_q));
    add(t, m, i, "ffn_norm.weight", 1, p->n_embd, 1, 0.2);
    add(t, m, i, "ffn_gate.weight", p->n_ff, p->n_embd, 0, in);
    add(t, m, i, "ffn_up.weight", p->n_ff, p->n_embd, 0, in);
    add(t, m, i, "ffn_down.weight", p->n_embd, p->n_ff, 0, 1 / sqrt(p->n_ff));
    if (p->qkv_bias) {
        add(t, m, i, "attn_q.bias", 1, n_q, 0, 0.5);
        add(t, m, i, "attn_k.bias", 1, n_kv, 0, p->key_bias > 0 ? p->key_bias : 0.5);
        add(t, m, i, "attn_v.bias", 1, n_kv, 0, 0.5);
    }
    if (p->other_bias) {
        add(t, m, i, "attn_output.bias", 1, p->n_embd, 0, 0.5);
        add(t, m, i, "ffn_gate.bias", 1, p->n_ff, 0, 0.5);
        add(t, m, i, "ffn_up.bias", 1, p->n_ff, 0, 0.5);
        add(t, m, i, "ffn_down.bias", 1, p->n_embd, 0, 0.5);
    }
    if (p->qk_norm) {
        add(t, m, i, "attn_q_norm.weight", 1, p->d_head, 1, 0.2);
        add(t, m, i, "attn_k_norm.weight", 1, p->d_head, 1, 0.2);
    }
    if (p->post_norm) {
        add(t, m, i, "post_attention_norm.weight", 1, p->n_embd, 1, 0.2);
        add(t, m, i, "post_ffw_norm.weight", 1, p->n_embd, 1, 0.2);
    }
    if (p->sinks)
        add(t, m, i, "attn_sinks.weight", 1, p->n_head, 2, 2);
}

/* ---- the file ------------------------------------------------------------------------------------- */

static void put_u32(struct gguf_writer *w, const struct plan *p, const char *name, int32_t value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", p->arch, name);
    if (value > 0)
        gguf_writer_u32(w, key, (uint32_t)value);
}

static void put_f32(struct gguf_writer *w, const struct plan *p, const char *name, double value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", p->arch, name);
    if (value > 0)
        gguf_writer_f32(w, key, (float)value);
}

static void put_keys(struct gguf_writer *w, const struct plan *p)
{
    char key[128];
    gguf_writer_text(w, "general.architecture", p->arch);
    put_u32(w, p, "block_count", p->n_layers);
    put_u32(w, p, "context_length", 1024);
    put_u32(w, p, "embedding_length", p->n_embd);
    put_u32(w, p, "feed_forward_length", p->n_ff);
    put_u32(w, p, "attention.head_count", p->n_head);
    put_u32(w, p, "attention.head_count_kv", p->n_kv_head);
    put_u32(w, p, "attention.key_length", p->d_head);
    put_u32(w, p, "attention.value_length", p->d_head);
    put_u32(w, p, "rope.dimension_count", p->n_rot);
    put_u32(w, p, "attention.sliding_window", p->window);
    put_u32(w, p, "attention.sliding_window_pattern", p->period);
    put_f32(w, p, "attention.layer_norm_rms_epsilon", eps);
    put_f32(w, p, "rope.freq_base", p->rope_base);
    put_f32(w, p, "rope.freq_base_swa", p->rope_base_local);
    put_f32(w, p, "attn_logit_softcapping", p->attention_cap);
    put_f32(w, p, "final_logit_softcapping", p->final_cap);
    snprintf(key, sizeof key, "%s.rope.scaling.type", p->arch);
    if (p->linear_factor > 0 || p->yarn_factor > 0)
        gguf_writer_text(w, key, p->yarn_factor > 0 ? "yarn" : "linear");
    put_f32(w, p, "rope.scaling.factor", p->yarn_factor > 0 ? p->yarn_factor : p->linear_factor);
    put_u32(w, p, "rope.scaling.original_context_length", p->yarn_ctx);
}

static void put_vocabulary(struct test *t, struct gguf_writer *w, struct plan_model *m)
{
    size_t n = (size_t)m->plan.n_vocab;
    struct gguf_text *texts = arena_alloc(&m->arena, n, sizeof *texts);
    float *scores = arena_alloc(&m->arena, n, sizeof *scores);
    int32_t *types = arena_alloc(&m->arena, n, sizeof *types);
    CHECK(t, texts && scores && types);
    for (size_t i = 0; i < n; i++) {
        char name[16];
        bool letter = m->plan.letters && i > 0 && i < 95;
        int length = letter ? snprintf(name, sizeof name, "%c", (int)(' ' + i)) : snprintf(name, sizeof name, "t%zu ", i);
        texts[i] = (struct gguf_text){ arena_copy(&m->arena, name, (size_t)length), (size_t)length };
        scores[i] = -(float)i;
        types[i] = i == 0 ? 2 : 1;    /* unknown, normal */
    }
    if (m->plan.long_text)
        texts[n - 1] = (struct gguf_text){ m->plan.long_text, strlen(m->plan.long_text) };
    gguf_writer_text(w, "tokenizer.ggml.model", "llama");
    gguf_writer_texts(w, "tokenizer.ggml.tokens", texts, n);
    gguf_writer_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, n);
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, n);
    gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", false);
}

void plan_model_write(struct test *t, struct plan_model *m, const struct plan *p, const char *path)
{
    struct err e;
    *m = (struct plan_model){ .plan = *p };
    add(t, m, -1, "token_embd.weight", p->n_vocab, p->n_embd, 0, 1);
    for (int32_t i = 0; i < p->n_layers; i++)
        add_layer(t, m, i);
    add(t, m, -1, "output_norm.weight", 1, p->n_embd, 1, 0.2);
    if (!p->tied)
        add(t, m, -1, "output.weight", p->n_vocab, p->n_embd, 0, 0.3);
    if (p->rope_factors) {
        add(t, m, -1, "rope_freqs.weight", 1, p->n_rot / 2, 0, 0);
        for (int32_t i = 0; i < p->n_rot / 2; i++)
            m->weights[m->n_weights - 1].x[i] = 1 + (float)i;
    }
    struct gguf_writer *w = gguf_writer_create();
    CHECK(t, w != NULL);
    put_keys(w, p);
    put_vocabulary(t, w, m);
    for (int32_t i = 0; i < m->n_weights; i++) {
        const struct plan_weight *k = &m->weights[i];
        uint64_t ne[2] = { (uint64_t)k->n_cols, (uint64_t)k->n_rows };
        gguf_writer_tensor(w, k->name, k->stored == k->x ? QUANT_F32 : QUANT_Q8_0, k->n_rows > 1 ? 2 : 1, ne,
                           k->stored);
    }
    CHECK_INT(t, gguf_writer_save(w, path, &e), ERR_OK, "%s", e.text);
    gguf_writer_destroy(w);
}

void plan_model_finish(struct plan_model *m)
{
    arena_finish(&m->arena);
}

/* ---- the forward pass ----------------------------------------------------------------------------- */

enum { MAX_WIDTH = 512 };

static const struct plan_weight *weight(const struct plan_model *m, int32_t layer, const char *name)
{
    char full[64];
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    for (int32_t i = 0; i < m->n_weights; i++)
        if (strcmp(m->weights[i].name, full) == 0)
            return &m->weights[i];
    return NULL;
}

/* y = W x + b, W named "<name>.weight" and b, when the model has it, "<name>.bias". */
static void linear(const struct plan_model *m, int32_t layer, const char *name, double *y, const double *x)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const struct plan_weight *w = weight(m, layer, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const struct plan_weight *b = weight(m, layer, full);
    for (int32_t c = 0; c < w->n_cols; c++)
        w->inputs[c] += x[c] * x[c];
    for (int32_t r = 0; r < w->n_rows; r++) {
        y[r] = b ? (double)b->x[r] : 0;
        for (int32_t c = 0; c < w->n_cols; c++)
            y[r] += (double)w->x[r * w->n_cols + c] * x[c];
    }
}

static void norm(const struct plan_model *m, int32_t layer, const char *name, double *y, const double *x)
{
    const struct plan_weight *gain = weight(m, layer, name);
    double sum = 0;
    for (int32_t i = 0; i < gain->n_cols; i++)
        sum += x[i] * x[i];
    for (int32_t i = 0; i < gain->n_cols; i++)
        y[i] = x[i] * (double)gain->x[i] / sqrt(sum / gain->n_cols + eps);
}

static bool is_local(const struct plan *p, int32_t layer)
{
    return p->window > 0 && layer % p->period < p->period - 1;
}

/* Radians per position of a pair, and what cosine and sine are multiplied with. */
static double frequency(const struct plan_model *m, int32_t layer, int32_t pair, double *magnitude)
{
    const struct plan *p = &m->plan;
    *magnitude = 1;
    if (is_local(p, layer))
        return pow(p->rope_base_local, -2.0 * pair / p->n_rot);
    double f = pow(p->rope_base, -2.0 * pair / p->n_rot);
    if (p->rope_factors)
        f /= (double)weight(m, -1, "rope_freqs.weight")->x[pair];
    if (p->linear_factor > 0)
        f /= p->linear_factor;
    if (p->yarn_factor > 0) {
        /* Pairs that turn 32 times in the original context, and once. */
        double pi = acos(-1), c = p->n_rot / (2 * log(p->rope_base));
        double fast = fmax(0, floor(c * log(p->yarn_ctx / (32 * 2 * pi))));
        double slow = fmin(p->n_rot - 1, ceil(c * log(p->yarn_ctx / (2 * pi))));
        double blend = fmin(1, fmax(0, (pair - fast) / (slow - fast)));
        f = f * (1 - blend) + f / p->yarn_factor * blend;
        *magnitude = 1 + 0.1 * log(p->yarn_factor);
    }
    return f;
}

static void rotate(const struct plan_model *m, int32_t layer, double *head, int32_t pos)
{
    const struct plan *p = &m->plan;
    for (int32_t pair = 0; pair < p->n_rot / 2; pair++) {
        double magnitude, angle = pos * frequency(m, layer, pair, &magnitude);
        double *a = p->halves ? &head[pair] : &head[2 * pair];
        double *b = p->halves ? &head[pair + p->n_rot / 2] : &head[2 * pair + 1];
        double x = *a * magnitude, y = *b * magnitude;
        *a = x * cos(angle) - y * sin(angle);
        *b = x * sin(angle) + y * cos(angle);
    }
}

static double capped(double x, double cap)
{
    return cap > 0 ? cap * tanh(x / cap) : x;
}

/* One head at position pos over keys and values [pos + 1][n_kv], and a sink that scores so. */
static void attend(const struct plan *p, int32_t layer, double *out, const double *q, const double *keys,
                   const double *values, int32_t n_kv, int32_t pos, double sink)
{
    double *weights = calloc((size_t)pos + 1, sizeof *weights), most = sink;
    int32_t first = is_local(p, layer) && pos >= p->window ? pos - p->window + 1 : 0;
    for (int32_t k = first; k <= pos; k++) {
        for (int32_t c = 0; c < p->d_head; c++)
            weights[k] += q[c] * keys[(int64_t)k * n_kv + c];
        weights[k] = capped(weights[k] / sqrt(p->d_head), p->attention_cap);
        most = fmax(most, weights[k]);
    }
    double sum = exp(sink - most);
    for (int32_t k = first; k <= pos; k++)
        sum += weights[k] = exp(weights[k] - most);
    for (int32_t c = 0; c < p->d_head; c++) {
        out[c] = 0;
        for (int32_t k = first; k <= pos; k++)
            out[c] += weights[k] / sum * values[(int64_t)k * n_kv + c];
    }
    free(weights);
}

/* keys, values: of this layer, filled up to pos - 1. */
static void layer_forward(const struct plan_model *m, int32_t layer, double *x, double *keys, double *values,
                          int32_t pos)
{
    const struct plan *p = &m->plan;
    int32_t d = p->d_head, n_kv = p->n_kv_head * d;
    double h[MAX_WIDTH], q[MAX_WIDTH], o[MAX_WIDTH], branch[MAX_WIDTH], gate[MAX_WIDTH], up[MAX_WIDTH];
    double *k = keys + (int64_t)pos * n_kv, *v = values + (int64_t)pos * n_kv;
    norm(m, layer, "attn_norm.weight", h, x);
    linear(m, layer, "attn_q", q, h);
    linear(m, layer, "attn_k", k, h);
    linear(m, layer, "attn_v", v, h);
    for (int32_t head = 0; head < p->n_head; head++) {
        if (p->qk_norm)
            norm(m, layer, "attn_q_norm.weight", q + head * d, q + head * d);
        rotate(m, layer, q + head * d, pos);
    }
    for (int32_t head = 0; head < p->n_kv_head; head++) {
        if (p->qk_norm)
            norm(m, layer, "attn_k_norm.weight", k + head * d, k + head * d);
        rotate(m, layer, k + head * d, pos);
    }
    for (int32_t head = 0; head < p->n_head; head++) {
        int32_t kv = head / (p->n_head / p->n_kv_head) * d;
        const struct plan_weight *sinks = weight(m, layer, "attn_sinks.weight");
        attend(p, layer, o + head * d, q + head * d, keys + kv, values + kv, n_kv, pos,
               sinks ? (double)sinks->x[head] : -INFINITY);
    }
    linear(m, layer, "attn_output", branch, o);
    if (p->post_norm)
        norm(m, layer, "post_attention_norm.weight", branch, branch);
    for (int32_t i = 0; i < p->n_embd; i++)
        x[i] += branch[i];

    norm(m, layer, "ffn_norm.weight", h, x);
    linear(m, layer, "ffn_gate", gate, h);
    linear(m, layer, "ffn_up", up, h);
    for (int32_t i = 0; i < p->n_ff; i++) {
        double g = gate[i];
        gate[i] = up[i] * (p->gelu ? 0.5 * g * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g)))
                                   : g / (1 + exp(-g)));
    }
    linear(m, layer, "ffn_down", branch, gate);
    if (p->post_norm)
        norm(m, layer, "post_ffw_norm.weight", branch, branch);
    for (int32_t i = 0; i < p->n_embd; i++)
        x[i] += branch[i];
}

float *plan_model_logits(struct test *t, const struct plan_model *m, const int32_t *ids, int32_t n)
{
    const struct plan *p = &m->plan;
    int32_t n_kv = p->n_kv_head * p->d_head;
    size_t per_layer = (size_t)n * (size_t)n_kv;
    double *keys = calloc(per_layer * (size_t)p->n_layers, sizeof *keys);
    double *values = calloc(per_layer * (size_t)p->n_layers, sizeof *values);
    double *logits = calloc((size_t)p->n_vocab, sizeof *logits);
    float *out = malloc((size_t)n * (size_t)p->n_vocab * sizeof *out);
    CHECK(t, keys && values && logits && out && p->n_embd <= MAX_WIDTH && p->n_ff <= MAX_WIDTH &&
                 p->n_head * p->d_head <= MAX_WIDTH);
    const struct plan_weight *table = weight(m, -1, "token_embd.weight");
    for (int32_t pos = 0; pos < n; pos++) {
        double x[MAX_WIDTH];
        for (int32_t i = 0; i < p->n_embd; i++)
            x[i] = p->embed_scale * (double)table->x[ids[pos] * p->n_embd + i];
        for (int32_t layer = 0; layer < p->n_layers; layer++)
            layer_forward(m, layer, x, keys + per_layer * (size_t)layer, values + per_layer * (size_t)layer, pos);
        norm(m, -1, "output_norm.weight", x, x);
        linear(m, -1, p->tied ? "token_embd" : "output", logits, x);
        for (int32_t i = 0; i < p->n_vocab; i++)
            out[(int64_t)pos * p->n_vocab + i] = (float)capped(logits[i], p->final_cap);
    }
    free(keys);
    free(values);
    free(logits);
    return out;
}
