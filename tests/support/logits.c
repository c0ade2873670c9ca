/* SPDX-License-Identifier: MIT */
#include "tests/support/logits.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void open_engine(struct test *t, struct logits_rig *rig, const struct engine_options *options)
{
    struct err e;
    *rig = (struct logits_rig){ 0 };
    CHECK_INT(t, engine_create(&rig->engine, options, &e), ERR_OK, "%s", e.text);
}

static void open_model(struct test *t, struct logits_rig *rig, const char *path, const struct session_options *o)
{
    struct err e;
    CHECK_INT(t, model_open(&rig->model, rig->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&rig->session, rig->model, o, &e), ERR_OK, "%s", e.text);
    rig->n_vocab = model_info(rig->model)->n_vocab;
}

void logits_rig_open(struct test *t, struct logits_rig *rig, const char *path, const char *tier,
                     const struct session_options *o)
{
    open_engine(t, rig, &(struct engine_options){ .cpu_tier = tier, .device = "cpu" });
    open_model(t, rig, path, o);
}

void logits_rig_open_on(struct test *t, struct logits_rig *rig, const char *path, const char *device,
                        const char *tiles, int32_t n_gpu_layers, const struct session_options *o)
{
    struct engine_info info;
    struct engine_options options = { .device = device, .n_gpu_layers = n_gpu_layers, .vulkan_validate = true,
                                      .vulkan_tiles = tiles, .cache_dir = test_folder(t) };    /* one self-test is enough */
    open_engine(t, rig, &options);
    engine_info(rig->engine, &info);
    if (!info.device[0]) {    /* perhaps the validation layer is what is missing */
        engine_destroy(rig->engine);
        options.vulkan_validate = false;
        open_engine(t, rig, &options);
        engine_info(rig->engine, &info);
    }
    if (!info.device[0]) {
        char note[ERR_TEXT_BYTES];
        snprintf(note, sizeof note, "%s", info.device_note);
        engine_destroy(rig->engine);
        SKIP(t, "%s", note);
    }
    open_model(t, rig, path, o);
    int32_t n_layers = model_info(rig->model)->n_device_layers, last = 0;
    while (model_warning(rig->model, last + 1))
        last++;
    CHECK(t, n_gpu_layers > 0 ? n_layers == n_gpu_layers : n_layers > 0, "%d layers on %s: %s", n_layers, device,
          model_warning(rig->model, last));
}

void logits_rig_close(struct logits_rig *rig)
{
    struct engine_info info;
    session_destroy(rig->session);
    model_close(rig->model);
    engine_info(rig->engine, &info);
    if (info.n_validation > 0)
        fprintf(stderr, "%s\n", info.validation);
    assert(info.n_validation == 0);
    engine_destroy(rig->engine);
}

float *logits_rig_eval(struct test *t, struct logits_rig *rig, const int32_t *ids, int32_t n, int32_t n_rows)
{
    struct err e;
    float *logits = malloc((size_t)n * (size_t)rig->n_vocab * sizeof *logits);
    CHECK(t, logits != NULL);
    session_truncate(rig->session, 0, 0);
    for (int32_t at = 0; at < n; at += n_rows) {
        int32_t take = n - at < n_rows ? n - at : n_rows;
        CHECK_INT(t, session_eval(rig->session, 0, ids + at, take, logits + (int64_t)at * rig->n_vocab, take, &e),
                  ERR_OK, "%s", e.text);
    }
    return logits;
}

int32_t logits_read_ids(struct test *t, const char *path, int32_t *ids, int32_t cap)
{
    char *text = test_read_file(path, NULL);
    CHECK(t, text != NULL, "%s", path);
    int32_t n = 0;
    char *at = text, *end;
    for (long id = strtol(at, &end, 10); end != at && n < cap; id = strtol(at, &end, 10)) {
        ids[n++] = (int32_t)id;
        at = end;
    }
    free(text);
    return n;
}

void logits_reference_open(struct test *t, struct logits_reference *r, const char *path)
{
    size_t n_bytes;
    *r = (struct logits_reference){ .bytes = test_read_file(path, &n_bytes) };
    CHECK(t, r->bytes != NULL && n_bytes > 8, "%s", path);
    memcpy(&r->n_tokens, r->bytes, 4);
    memcpy(&r->n_top, r->bytes + 4, 4);
    CHECK(t, r->n_tokens > 1 && r->n_tokens < 100000 && r->n_top > 0 && r->n_top <= 1024, "%s", path);
    size_t n = (size_t)r->n_tokens, row = (size_t)r->n_top * 8;
    r->ids = (const int32_t *)(r->bytes + 8);
    r->next = (const float *)(r->bytes + 8 + 4 * n);
    r->top = r->bytes + 8 + 4 * n + 4 * (n - 1);
    size_t left = n_bytes - (size_t)(r->top - r->bytes);
    r->n_positions = (int32_t)(left / row);
    CHECK(t, left % row == 0 && (r->n_positions == r->n_tokens || r->n_positions == r->n_tokens - 1), "%s", path);
}

void logits_reference_close(struct logits_reference *r)
{
    free(r->bytes);
}

static double log_sum_exp(const float *x, int32_t n, int32_t *best)
{
    *best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[*best])
            *best = i;
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*best]);
    return (double)x[*best] + log(sum);
}

void logits_reference_compare(const struct logits_reference *r, const float *logits, int32_t n_vocab,
                              struct logits_distance *out)
{
    *out = (struct logits_distance){ 0 };
    double nll = 0, nll_reference = 0;
    int32_t n_same = 0;
    for (int32_t pos = 0; pos < r->n_positions; pos++) {
        const float *row = logits + (int64_t)pos * n_vocab;
        int32_t best;
        double lse = log_sum_exp(row, n_vocab, &best), kl = 0, p_rest = 1, q_rest = 1;
        for (int32_t i = 0; i < r->n_top; i++) {
            int32_t id;
            float logp;
            memcpy(&id, r->top + ((int64_t)pos * r->n_top + i) * 8, 4);
            memcpy(&logp, r->top + ((int64_t)pos * r->n_top + i) * 8 + 4, 4);
            double logq = (double)row[id] - lse;
            kl += exp((double)logp) * ((double)logp - logq);
            p_rest -= exp((double)logp);
            q_rest -= exp(logq);
            n_same += i == 0 && id == best;
        }
        if (p_rest > 1e-9 && q_rest > 1e-9)
            kl += p_rest * log(p_rest / q_rest);
        out->mean_kl += kl / r->n_positions;
        out->worst_kl = kl > out->worst_kl ? kl : out->worst_kl;
        if (pos + 1 < r->n_tokens) {
            nll -= ((double)row[r->ids[pos + 1]] - lse) / (r->n_tokens - 1);
            nll_reference -= (double)r->next[pos] / (r->n_tokens - 1);
        }
    }
    out->same_top = (double)n_same / r->n_positions;
    out->perplexity = exp(nll);
    out->perplexity_reference = exp(nll_reference);
}
