/* SPDX-License-Identifier: MIT */
#include "engine/level/allocate.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/pool.h"
#include "engine/base/size.h"

enum {
    SAMPLE_WEIGHTS = 1 << 18,    /* of a tensor; more changes no choice but between neighbours */
    SAMPLE_ROWS = 16,            /* at least */
    BISECTIONS = 100
};

static const uint32_t candidates[] = { QUANT_Q2_K, QUANT_Q3_K, QUANT_IQ4_XS, QUANT_IQ4_NL, QUANT_Q4_0, QUANT_Q4_K,
                                       QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_K, QUANT_Q5_1, QUANT_Q6_K, QUANT_Q8_0, QUANT_F16 };

enum { N_CANDIDATES = sizeof candidates / sizeof *candidates };

/* What a model loses (KL divergence, nats per token) when all tensors of a kind are Q4_0 and the rest is F16: what it feels
 * of one relative error in all of them. Measured with SmolLM2-135M, 30 layers, output tied to the embedding, on 2,048 tokens
 * of wikitext; only their proportions count. A kind that is not here, and an embedding that is not the output, of which
 * only one row comes into each token, are taken to be as attn_q. */
static const struct {
    const char *part;
    double loss;
} kinds[] = {
    { "attn_q.", 0.039 }, { "attn_k.", 0.031 },   { "attn_v.", 0.104 },   { "attn_qkv.", 0.174 }, { "attn_output.", 0.030 },
    { "ffn_gate", 0.060 }, { "ffn_up", 0.112 },   { "ffn_down", 0.162 },  { "token_embd.", 0.096 }, { "output.", 0.096 },
};

enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* The same for the layers of the first sixth, the last, and those between: 0.094 and 0.132 against 0.059. */
static const double first_layers = 1.6, last_layers = 2.2;

static int kind_of(const char *name)
{
    int kind = 0;
    while (kind < N_KINDS && !strstr(name, kinds[kind].part))
        kind++;
    return kind;
}

/* How much a model feels of a relative error in one tensor of those that it has. */
static double factor_of(const struct gguf *g, const char *name)
{
    int32_t layer = recipe_layer(name), n_layers = 0, n_same = 0;
    for (uint32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        n_layers = recipe_layer(t->name) >= n_layers ? recipe_layer(t->name) + 1 : n_layers;
        n_same += t->n_dims > 1 && kind_of(t->name) == kind_of(name);
    }
    int kind = kind_of(name);
    if (kind == N_KINDS || (strcmp(name, "token_embd.weight") == 0 && gguf_tensor_find(g, "output.weight")))
        kind = 0;
    double factor = kinds[kind].loss / (n_same > 0 ? n_same : 1);
    if (layer < 0)
        return factor;
    return 6 * layer < n_layers ? first_layers * factor : 6 * (layer + 1) > 5 * n_layers ? last_layers * factor : factor;
}

struct option {
    uint32_t type;
    uint64_t n_bytes;    /* of the whole tensor, padded */
    double loss;
};

struct subject {
    int32_t tensor;
    struct option options[N_CANDIDATES];
    int32_t n_options, chosen;
};

struct allocation {
    struct level_job *job;
    struct level_progress *progress;
    struct subject *subjects;
    int32_t n_subjects;
    uint64_t fixed_bytes;        /* of the other tensors */
    uint32_t alignment;
    pthread_mutex_t lock;
    int32_t next;                /* under lock, with these: */
    enum err_code rc;
    struct err err;
};

/* ---- measuring ------------------------------------------------------------------------------------ */

struct sample {
    uint64_t n_rows;             /* of the tensor's, evenly spread */
    uint8_t *source, *blocks;
    float *weights, *decoded;    /* [n_rows][n_cols]; one row */
    float *importance;           /* [n_mat][n_cols] of the tensor; NULL: none */
};

static void sample_finish(struct sample *s)
{
    free(s->source);
    free(s->blocks);
    free(s->weights);
    free(s->decoded);
    free(s->importance);
}

static uint64_t sampled_row(const struct gguf_tensor *t, const struct sample *s, uint64_t i)
{
    return i * (t->n_weights / t->ne[0]) / s->n_rows;
}

static enum err_code sample_init(struct sample *s, const struct level_job *job, int32_t tensor, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_at(job->gguf, (uint32_t)tensor);
    const struct imatrix_entry *entry = level_importance(job, tensor);
    uint64_t n_rows = t->n_weights / t->ne[0], wanted = SAMPLE_WEIGHTS / t->ne[0], n_mat = t->ne[2] * t->ne[3];
    wanted = wanted < SAMPLE_ROWS ? SAMPLE_ROWS : wanted;
    *s = (struct sample){ .n_rows = wanted < n_rows ? wanted : n_rows };
    s->source = malloc(t->row_bytes);
    s->blocks = malloc(t->ne[0] * sizeof(float));    /* no type has more bytes */
    s->weights = malloc(s->n_rows * t->ne[0] * sizeof(float));
    s->decoded = malloc(t->ne[0] * sizeof(float));
    s->importance = entry ? malloc(t->ne[0] * n_mat * sizeof(float)) : NULL;
    if (!s->source || !s->blocks || !s->weights || !s->decoded || (entry && !s->importance))
        return err_set(e, ERR_NOMEM, "tensor '%s': no memory for a sample", t->name);
    enum err_code rc = entry ? imatrix_importance(entry, (int32_t)t->ne[0], (int32_t)n_mat, s->importance, e) : ERR_OK;
    for (uint64_t i = 0; rc == ERR_OK && i < s->n_rows; i++) {
        uint64_t row = sampled_row(t, s, i);
        rc = level_read(job, t->offset + row * t->row_bytes, s->source, t->row_bytes, e);
        if (rc == ERR_OK)
            quant_format(t->type)->to_f32(s->weights + i * t->ne[0], s->source, (int64_t)t->ne[0]);
        if (rc == ERR_OK)
            rc = level_check_finite(t, row, s->weights + i * t->ne[0], t->ne[0], e);
    }
    return rc;
}

/* The sum of importance * (a - b)^2; b NULL: of importance * a^2. */
static double weighted_square(const float *importance, const float *a, const float *b, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        double difference = (double)a[i] - (b ? (double)b[i] : 0);
        sum += difference * difference * (importance ? (double)importance[i] : 1);
    }
    return sum;
}

static double relative_error(const struct gguf_tensor *t, struct sample *s, const struct quant_format *f)
{
    double error = 0, all = 0;
    for (uint64_t i = 0; i < s->n_rows; i++) {
        const float *row = s->weights + i * t->ne[0];
        const float *importance = s->importance ? s->importance + sampled_row(t, s, i) / t->ne[1] * t->ne[0] : NULL;
        f->from_f32(s->blocks, row, (int64_t)t->ne[0], importance);
        f->to_f32(s->decoded, s->blocks, (int64_t)t->ne[0]);
        error += weighted_square(importance, row, s->decoded, t->ne[0]);
        all += weighted_square(importance, row, NULL, t->ne[0]);
    }
    return all > 0 ? error / all : 0;
}

static uint64_t padded_bytes(const struct gguf_tensor *t, uint32_t type, uint32_t alignment)
{
    uint64_t n = quant_row_bytes(type, t->ne[0]) * (t->n_weights / t->ne[0]);
    return (n + alignment - 1) & ~(uint64_t)(alignment - 1);
}

static enum err_code measure(struct allocation *a, struct subject *u, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_at(a->job->gguf, (uint32_t)u->tensor);
    struct sample s;
    double factor = factor_of(a->job->gguf, t->name);
    enum err_code rc = sample_init(&s, a->job, u->tensor, e);
    for (int32_t i = 0; rc == ERR_OK && i < N_CANDIDATES; i++) {
        const struct quant_format *f = quant_format(candidates[i]);
        bool is_larger = padded_bytes(t, candidates[i], 1) > t->n_bytes;
        if (quant_row_bytes(candidates[i], t->ne[0]) == 0 || !f->from_f32 || is_larger)
            continue;
        if (atomic_load(&a->progress->cancel)) {
            rc = err_set(e, ERR_CANCELLED, "cancelled");
            break;
        }
        u->options[u->n_options++] = (struct option){ .type = candidates[i],
                                                      .n_bytes = padded_bytes(t, candidates[i], a->alignment),
                                                      .loss = factor * relative_error(t, &s, f) };
    }
    sample_finish(&s);
    if (rc == ERR_OK && u->n_options == 0)    /* smaller than any: it stays */
        u->options[u->n_options++] = (struct option){ .type = t->type, .n_bytes = padded_bytes(t, t->type, a->alignment) };
    atomic_fetch_add(&a->progress->done_bytes, t->n_bytes);
    return rc;
}

static void measure_some(void *arg, int32_t thread, int32_t n_threads)
{
    (void)thread;
    (void)n_threads;
    struct allocation *a = arg;
    for (;;) {
        struct err e;
        pthread_mutex_lock(&a->lock);
        struct subject *u = a->rc == ERR_OK && a->next < a->n_subjects ? &a->subjects[a->next++] : NULL;
        pthread_mutex_unlock(&a->lock);
        if (!u)
            return;
        enum err_code rc = measure(a, u, &e);
        pthread_mutex_lock(&a->lock);
        if (rc != ERR_OK && a->rc == ERR_OK) {
            a->rc = rc;
            a->err = e;
        }
        pthread_mutex_unlock(&a->lock);
    }
}

static enum err_code measure_all(struct allocation *a, struct err *e)
{
    struct pool *pool;
    uint64_t n_bytes = 0;
    for (int32_t i = 0; i < a->n_subjects; i++)
        n_bytes += gguf_tensor_at(a->job->gguf, (uint32_t)a->subjects[i].tensor)->n_bytes;
    atomic_store(&a->progress->done_bytes, 0);
    atomic_store(&a->progress->total_bytes, n_bytes);
    atomic_store(&a->progress->stage, LEVEL_MEASURING);
    enum err_code rc = pool_create(&pool, a->job->n_threads, e);
    if (rc != ERR_OK)
        return rc;
    pthread_mutex_init(&a->lock, NULL);
    pool_run(pool, measure_some, a);
    pool_destroy(pool);
    pthread_mutex_destroy(&a->lock);
    if (a->rc != ERR_OK)
        *e = a->err;
    return a->rc;
}

/* ---- choosing ------------------------------------------------------------------------------------- */

/* Every subject takes its best option at this price of a byte. Returns the bytes of all. */
static uint64_t choose_at(struct allocation *a, double lambda)
{
    uint64_t n_bytes = a->fixed_bytes;
    for (int32_t i = 0; i < a->n_subjects; i++) {
        struct subject *u = &a->subjects[i];
        u->chosen = 0;
        for (int32_t k = 1; k < u->n_options; k++) {
            const struct option *best = &u->options[u->chosen], *option = &u->options[k];
            double ours = option->loss + lambda * (double)option->n_bytes,
                   theirs = best->loss + lambda * (double)best->n_bytes;
            if (ours < theirs || (ours == theirs && option->n_bytes < best->n_bytes))
                u->chosen = k;
        }
        n_bytes += u->options[u->chosen].n_bytes;
    }
    return n_bytes;
}

/* What is left of the budget goes where a byte gains most. */
static void spend_rest(struct allocation *a, uint64_t left)
{
    for (;;) {
        struct subject *best = NULL;
        int32_t best_option = 0;
        double best_gain = 0;
        for (int32_t i = 0; i < a->n_subjects; i++) {
            struct subject *u = &a->subjects[i];
            const struct option *now = &u->options[u->chosen];
            for (int32_t k = 0; k < u->n_options; k++) {
                const struct option *option = &u->options[k];
                if (option->loss >= now->loss || option->n_bytes <= now->n_bytes || option->n_bytes - now->n_bytes > left)
                    continue;
                double gain = (now->loss - option->loss) / (double)(option->n_bytes - now->n_bytes);
                if (gain > best_gain) {
                    best_gain = gain;
                    best = u;
                    best_option = k;
                }
            }
        }
        if (!best)
            return;
        left -= best->options[best_option].n_bytes - best->options[best->chosen].n_bytes;
        best->chosen = best_option;
    }
}

static enum err_code choose(struct allocation *a, uint64_t budget_bytes, struct err *e)
{
    double low = 1e-30, high = 1e30;    /* high: bytes are all that counts */
    uint64_t least = choose_at(a, high);
    if (least > budget_bytes)
        return err_set(e, ERR_UNSUPPORTED, "tensors have %llu bytes at least, with the smallest types; %llu wanted",
                       (unsigned long long)least, (unsigned long long)budget_bytes);
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = sqrt(low * high);
        if (choose_at(a, middle) > budget_bytes)
            low = middle;
        else
            high = middle;
    }
    spend_rest(a, budget_bytes - choose_at(a, high));
    for (int32_t i = 0; i < a->n_subjects; i++) {
        const struct subject *u = &a->subjects[i];
        struct recipe_choice *c = &a->job->choices[u->tensor];
        c->type = c->wanted = u->options[u->chosen].type;
    }
    return ERR_OK;
}

enum err_code allocate_types(struct level_job *job, const bool *is_open, uint64_t budget_bytes,
                             struct level_progress *progress, struct err *e)
{
    struct gguf_info info;
    gguf_info(job->gguf, &info);
    int32_t n = (int32_t)gguf_n_tensors(job->gguf);
    struct allocation a = { .job = job, .progress = progress, .alignment = info.alignment };
    a.subjects = calloc((size_t)n + 1, sizeof *a.subjects);
    if (!a.subjects)
        return err_set(e, ERR_NOMEM, "no memory for %d tensors", n);
    for (int32_t i = 0; i < n; i++) {
        if (is_open[i])
            a.subjects[a.n_subjects++].tensor = i;
        else
            a.fixed_bytes += padded_bytes(gguf_tensor_at(job->gguf, (uint32_t)i), job->choices[i].type, info.alignment);
    }
    enum err_code rc = measure_all(&a, e);
    if (rc == ERR_OK)
        rc = choose(&a, budget_bytes, e);
    free(a.subjects);
    return rc;
}
