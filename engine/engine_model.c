/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/arch.h"
#include "engine/quant/quant.h"

/* Names of general.file_type, the label quantisers leave. Only a label: every tensor has its own type. */
static const struct {
    uint32_t file_type;
    const char *name;
} levels[] = {
    { 0, "F32" }, { 1, "F16" }, { 2, "Q4_0" }, { 3, "Q4_1" }, { 7, "Q8_0" }, { 8, "Q5_0" }, { 9, "Q5_1" },
    { 10, "Q2_K" }, { 11, "Q3_K_S" }, { 12, "Q3_K_M" }, { 13, "Q3_K_L" }, { 14, "Q4_K_S" }, { 15, "Q4_K_M" },
    { 16, "Q5_K_S" }, { 17, "Q5_K_M" }, { 18, "Q6_K" }, { 19, "IQ2_XXS" }, { 20, "IQ2_XS" }, { 21, "Q2_K_S" },
    { 22, "IQ3_XS" }, { 23, "IQ3_XXS" }, { 24, "IQ1_S" }, { 25, "IQ4_NL" }, { 26, "IQ3_S" }, { 27, "IQ3_M" },
    { 28, "IQ2_S" }, { 29, "IQ2_M" }, { 30, "IQ4_XS" }, { 31, "IQ1_M" }, { 32, "BF16" }, { 36, "TQ1_0" },
    { 37, "TQ2_0" }, { 38, "MXFP4_MOE" }, { 39, "NVFP4" },
};
enum { FILE_TYPE_GUESSED = 1024, MAX_LAYOUT_TYPES = 64 };

void model_warn(struct model *m, const char *format, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int32_t n = atomic_load(&m->n_warnings);
    for (int32_t i = 0; i < n; i++)
        if (strcmp(m->warnings[i], text) == 0)
            return;
    if (n == MODEL_MAX_WARNINGS)
        return;
    char *copy = arena_copy(&m->arena, text, strlen(text));
    if (copy) {
        m->warnings[n] = copy;
        atomic_store(&m->n_warnings, n + 1);    /* after the text: another thread may be reading the list */
    }
}

/* A text of the metadata as a C string, cut at a NUL; fallback when it is absent or no text. */
static const char *text_or(struct model *m, const char *key, const char *fallback)
{
    const struct gguf_kv *kv = gguf_kv_find(m->gguf, key);
    if (!kv || kv->type != GGUF_STRING)
        return fallback;
    struct gguf_text text = gguf_kv_text(kv, 0);
    if (text.n_bytes == 0 || text.n_bytes > 1024)
        return fallback;
    const char *copy = arena_copy(&m->arena, text.bytes, text.n_bytes);
    return copy ? copy : fallback;
}

static const char *most_common_type(const struct gguf *g)
{
    uint64_t bytes[MAX_LAYOUT_TYPES] = { 0 };
    uint32_t best = 0;
    for (uint32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->type < MAX_LAYOUT_TYPES)
            bytes[t->type] += t->n_bytes;
    }
    for (uint32_t type = 1; type < MAX_LAYOUT_TYPES; type++)
        if (bytes[type] > bytes[best])
            best = type;
    return bytes[best] ? gguf_tensor_type(best)->name : "no weights";
}

static const char *level_name(const struct gguf *g)
{
    uint32_t file_type = UINT32_MAX;
    struct err ignored;
    if (gguf_opt_u32(g, "general.file_type", 0, UINT32_MAX, &file_type, &ignored) == ERR_OK &&
        !(file_type & FILE_TYPE_GUESSED))
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
            if (levels[i].file_type == file_type)
                return levels[i].name;
    return most_common_type(g);
}

static enum err_code fill_info(struct model *m, const char *path, struct err *e)
{
    struct gguf_info info;
    gguf_info(m->gguf, &info);
    const char *file = strrchr(path, '/');
    const char *copy = arena_copy(&m->arena, path, strlen(path));
    if (!copy)
        return err_set(e, ERR_NOMEM, "%s: no memory", path);
    m->info = (struct model_info){
        .path = copy,
        .name = text_or(m, "general.name", file ? copy + (file + 1 - path) : copy),
        .architecture = text_or(m, "general.architecture", "unknown"),
        .license = text_or(m, "general.license", ""),
        .level = level_name(m->gguf),
        .file_bytes = info.file_bytes,
        .tensor_bytes = info.tensor_bytes,
        .n_params = info.n_weights,
        .bits_per_weight = info.n_weights ? 8.0 * (double)info.tensor_bytes / (double)info.n_weights : 0,
        .n_metadata = (int32_t)gguf_n_keys(m->gguf),
        .n_tensors = (int32_t)gguf_n_tensors(m->gguf),
        .template_name = "",
        .think_open = "",
        .think_close = "",
    };
    return ERR_OK;
}

/* The program, and what is known once there is one. */
static enum err_code build(struct model *m, struct err *e)
{
    enum err_code rc = arch_build(m->gguf, &m->arena, &m->program, &m->hparams, e);
    if (rc != ERR_OK)
        return rc;
    const struct program *p = m->program;
    if (p->n_vocab != tokenizer_n_tokens(m->tokenizer))
        return err_set(e, ERR_FORMAT, "tensor 'token_embd.weight': %d rows, the vocabulary has %d tokens", p->n_vocab,
                       tokenizer_n_tokens(m->tokenizer));
    m->info.n_layers = p->n_layers;
    m->info.n_embd = p->n_embd;
    m->info.n_ctx_train = (int32_t)m->hparams.n_ctx_train;
    for (int32_t i = 0; i < p->n_layers; i++)
        m->info.kv_bytes_per_token += kv_open_bytes(&p->kv[i]) / KV_PAGE;
    return ERR_OK;
}

static enum err_code read_file(struct model *m, const char *path, enum model_use use, struct err *e)
{
    enum err_code rc = gguf_open(&m->gguf, path, e);
    if (rc == ERR_OK)
        rc = fill_info(m, path, e);
    if (rc != ERR_OK || use == MODEL_INSPECT)
        return rc;
    rc = model_open_text(m, e);
    if (rc == ERR_OK && use == MODEL_RUN)
        rc = build(m, e);
    if (rc != ERR_OK)
        err_prefix(e, "%s", path);
    return rc;
}

static enum err_code new_model(struct model **out, struct engine *eng, const char *path, struct err *e)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(e, ERR_NOMEM, "%s: no memory", path);
    m->engine = eng;
    *out = m;
    return ERR_OK;
}

enum err_code model_open(struct model **out, struct engine *eng, const char *path, enum model_use use, struct err *e)
{
    struct model *m = NULL;
    enum err_code rc = new_model(&m, eng, path, e);
    if (rc != ERR_OK)
        return rc;
    rc = read_file(m, path, use, e);
    if (rc == ERR_OK && use == MODEL_RUN)
        rc = model_start(m, e);
    if (rc != ERR_OK) {
        model_close(m);
        return rc;
    }
    *out = m;
    return ERR_OK;
}

/* ---- beside another ------------------------------------------------------------------------------- */

enum err_code model_begin(struct model **out, struct engine *eng, const char *path, struct err *e)
{
    enum err_code rc = new_model(out, eng, path, e);
    if (rc != ERR_OK)
        return rc;
    (*out)->begun_path = arena_copy(&(*out)->arena, path, strlen(path));
    if (!(*out)->begun_path) {
        model_close(*out);
        return err_set(e, ERR_NOMEM, "%s: no memory", path);
    }
    model_expect(*out);
    return ERR_OK;
}

enum err_code model_load(struct model *m, const atomic_bool *cancel, struct err *e)
{
    enum err_code rc = m->gguf ? gguf_changed(m->gguf, e) : read_file(m, m->begun_path, MODEL_RUN, e);
    if (rc != ERR_OK)
        return rc;
    rc = model_place_aside(m, cancel, e);
    if (rc != ERR_OK)
        err_prefix(e, "%s", m->info.path);
    return rc;
}

enum err_code model_start(struct model *m, struct err *e)
{
    enum err_code rc = model_place(m, e);
    if (rc != ERR_OK) {
        err_prefix(e, "%s", m->info.path);
        return rc;
    }
    model_join(m);
    return ERR_OK;
}

bool model_same_tokens(const struct model *a, const struct model *b)
{
    return a->tokenizer && b->tokenizer && tokenizer_same(a->tokenizer, b->tokenizer);
}

void model_close(struct model *m)
{
    if (!m)
        return;
    session_caches_destroy(m->caches);
    m->caches = NULL;
    model_unplace(m);
    model_drop_aside(m);
    model_part(m);
    model_close_text(m);
    buf_finish(&m->value_text);
    gguf_close(m->gguf);
    arena_finish(&m->arena);
    free(m);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

const char *model_warning(const struct model *m, int32_t i)
{
    return i >= 0 && i < atomic_load(&m->n_warnings) ? m->warnings[i] : NULL;
}

void model_metadata(struct model *m, int32_t i, struct model_metadata *out)
{
    const struct gguf_kv *kv = gguf_kv_at(m->gguf, (uint32_t)i);
    buf_clear(&m->value_text);
    gguf_kv_print_type(kv, &m->value_text);
    buf_add_byte(&m->value_text, '\0');
    size_t value_at = m->value_text.n_bytes;
    gguf_kv_print_value(kv, 120, &m->value_text);
    bool ok = buf_ok(&m->value_text);
    *out = (struct model_metadata){ .key = kv->key, .type = ok ? buf_text(&m->value_text) : "",
                                    .value = ok ? buf_text(&m->value_text) + value_at : "" };
}

void model_tensor(const struct model *m, int32_t i, struct model_tensor *out)
{
    const struct gguf_tensor *t = gguf_tensor_at(m->gguf, (uint32_t)i);
    *out = (struct model_tensor){ .name = t->name, .type = gguf_tensor_type(t->type)->name, .n_dims = t->n_dims,
                                  .n_bytes = t->n_bytes };
    memcpy(out->ne, t->ne, sizeof out->ne);
}

void model_memory(const struct model *m, int32_t n_ctx, int32_t n_seqs, const char *kv_type_k,
                  const char *kv_type_v, struct model_memory *out)
{
    const struct program *p = m->program;
    *out = (struct model_memory){ .weight_bytes = m->info.tensor_bytes };
    struct model_bytes own;
    struct kv_layer *layers = p ? calloc((size_t)p->n_layers, sizeof *layers) : NULL;
    if (!layers)
        return;
    model_placed_bytes(m, DEFAULT_BATCH, n_seqs, n_ctx, &own);
    session_layers_by_name(layers, m, kv_type_k, kv_type_v, n_ctx, n_seqs);
    out->weight_bytes = own.host_weights + own.device_weights;
    out->kv_bytes = (uint64_t)n_seqs * kv_cache_estimate(layers, p->n_layers, n_ctx);
    out->scratch_bytes = own.host_scratch + own.device_scratch;
    free(layers);
}

/* ---- sampling the file recommends ----------------------------------------------------------------- */

static void set_f32(const struct gguf *g, const char *key, float *field)
{
    float value = *field;
    struct err ignored;
    if (gguf_opt_f32(g, key, &value, &ignored) == ERR_OK)
        *field = value;
}

static void set_i32(const struct gguf *g, const char *key, int32_t *field)
{
    int32_t value = *field;
    struct err ignored;
    if (gguf_opt_i32(g, key, -1, 1 << 30, &value, &ignored) == ERR_OK)
        *field = value;
}

void model_sampling(const struct model *m, struct sampler_params *out)
{
    const struct gguf *g = m->gguf;
    sampler_params_default(out);
    struct sampler_params p = *out;
    set_i32(g, "general.sampling.top_k", &p.top_k);
    set_f32(g, "general.sampling.top_p", &p.top_p);
    set_f32(g, "general.sampling.min_p", &p.min_p);
    set_f32(g, "general.sampling.temp", &p.temperature);
    set_i32(g, "general.sampling.penalty_last_n", &p.repeat_last_n);
    set_f32(g, "general.sampling.penalty_repeat", &p.repeat_penalty);
    set_f32(g, "general.sampling.xtc_probability", &p.xtc_probability);
    set_f32(g, "general.sampling.xtc_threshold", &p.xtc_threshold);
    set_i32(g, "general.sampling.mirostat", &p.mirostat);
    set_f32(g, "general.sampling.mirostat_tau", &p.mirostat_tau);
    set_f32(g, "general.sampling.mirostat_eta", &p.mirostat_eta);
    struct err ignored;
    if (sampler_params_check(&p, m->info.n_vocab, &ignored) == ERR_OK)    /* a bad hint is no hint */
        *out = p;
}
