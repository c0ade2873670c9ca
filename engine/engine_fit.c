/* SPDX-License-Identifier: MIT */
/* Memory and reads of a model that is not placed. The figures are those of the parts that will take the memory: what
 * backends say of a program (backend_ops.plan), what the cache says of its layers (kv_cache_estimate), what the
 * tokenizer says of its tables. Which layers a device has, and what "auto" makes of types, follow the same rules as at
 * load (engine_layers.c, session_types_decide). */
#include "engine/engine_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend/split.h"
#include "engine/engine_impl.h"
#include "engine/model/arch.h"
#include "engine/quant/quant.h"
#include "engine/session/session_impl.h"

/* The program and its libraries, resident after an answer, and its heap without a model (x86-64, Debian 12). */
static const uint64_t PROGRAM_BYTES = 7 << 20;
/* Of a token of context beside its keys and values: ids, and the index that drafts are taken from. */
enum { TOKEN_BYTES = 100 };

struct fit_shape {
    struct arena arena;
    struct hparams hparams;
    struct program *program;
    uint64_t vocabulary_bytes;
};

/* ---- a model's shape -------------------------------------------------------------------------------- */

static bool find_type(const char *name, uint32_t *out)
{
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
        const struct quant_format *f = quant_format(type);
        if (f && strcmp(f->name, name) == 0) {
            *out = type;
            return true;
        }
    }
    return false;
}

static enum err_code check_type(const struct tensor *t, struct err *e)
{
    const struct quant_format *f = quant_format(t->type);
    if (f && f->to_f32 && quant_row_bytes(t->type, (uint64_t)t->n_cols) > 0)
        return ERR_OK;
    return err_set(e, ERR_UNSUPPORTED, "tensor '%s': rows of %d weights of type %s cannot be computed here", t->name,
                   t->n_cols, f ? f->name : "unknown");
}

/* The program of another level: steps point to tensors, so both are copied. */
static enum err_code retype(struct fit_shape *s, const char *const *types, struct err *e)
{
    const struct program *p = s->program;
    size_t n_tensors = (size_t)p->n_tensors, n_steps = (size_t)p->n_steps;
    struct tensor *tensors = arena_alloc(&s->arena, n_tensors, sizeof *tensors);
    struct step *steps = arena_alloc(&s->arena, n_steps, sizeof *steps);
    if (!tensors || !steps)
        return err_set(e, ERR_NOMEM, "no memory for a list of %d tensors", p->n_tensors);
    memcpy(tensors, p->tensors, n_tensors * sizeof *tensors);
    memcpy(steps, p->steps, n_steps * sizeof *steps);
    for (int32_t i = 0; i < p->n_tensors; i++) {
        struct tensor *t = &tensors[i];
        if (!find_type(types[i], &t->type))
            return err_set(e, ERR_UNSUPPORTED, "tensor '%s': type %s is not known", t->name, types[i]);
        t->row_bytes = quant_row_bytes(t->type, (uint64_t)t->n_cols);
        t->n_bytes = t->row_bytes * (uint64_t)t->n_rows;
    }
    for (int32_t i = 0; i < p->n_steps; i++)
        for (int j = 0; j < 3; j++)
            if (steps[i].w[j])
                steps[i].w[j] = &tensors[steps[i].w[j]->index];
    s->program->tensors = tensors;
    s->program->steps = steps;
    return ERR_OK;
}

static uint64_t items(const struct gguf *g, const char *key)
{
    const struct gguf_kv *kv = gguf_kv_find(g, key);
    return kv ? kv->n : 0;
}

static uint64_t vocabulary_bytes(const struct gguf *g)
{
    struct gguf_info info;
    gguf_info(g, &info);
    uint64_t n_tokens = items(g, "tokenizer.ggml.tokens"), n_merges = items(g, "tokenizer.ggml.merges");
    return tokenizer_estimate(n_tokens, n_merges) + (n_tokens + n_merges) * sizeof(uint32_t) + info.data_offset;
}

enum err_code fit_shape_create(struct fit_shape **out, const struct model *m, const char *const *types, struct err *e)
{
    struct fit_shape *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for the shape of a model");
    enum err_code rc = gguf_changed(m->gguf, e);    /* norms are read */
    if (rc == ERR_OK)
        rc = arch_build(m->gguf, &s->arena, &s->program, &s->hparams, e);
    if (rc == ERR_OK && types)
        rc = retype(s, types, e);
    for (int32_t i = 0; rc == ERR_OK && i < s->program->n_tensors; i++)
        rc = check_type(&s->program->tensors[i], e);
    if (rc != ERR_OK) {
        fit_shape_destroy(s);
        return rc;
    }
    s->vocabulary_bytes = vocabulary_bytes(m->gguf);
    *out = s;
    return ERR_OK;
}

void fit_shape_destroy(struct fit_shape *s)
{
    if (s)
        arena_finish(&s->arena);
    free(s);
}

void fit_shape_info(const struct fit_shape *s, struct fit_shape_info *out)
{
    int32_t train = (int32_t)s->hparams.n_ctx_train;
    *out = (struct fit_shape_info){ .n_layers = s->program->n_layers, .n_vocab = s->program->n_vocab,
                                    .n_embd = s->program->n_embd, .n_ctx_train = train,
                                    .n_ctx = train < DEFAULT_CTX ? train : DEFAULT_CTX };
}

/* ---- memory ----------------------------------------------------------------------------------------- */

/* A part of what is priced: 0 the processor's, 1 the device's. */
enum { HOST, DEVICE };

static enum err_code plan(const struct engine *eng, const struct program *p, const struct fit *f,
                          struct backend_bytes out[2], struct err *e)
{
    int32_t n_logits = f->n_seqs + SPEC_MAX_DRAFT, n_device = f->n_device_layers;
    struct backend *b = n_device > 0 ? eng->backend : eng->cpu;
    if (n_device > 0 && n_device < p->n_layers)
        return split_plan(eng->cpu, eng->backend, p->n_layers - n_device, p, DEFAULT_BATCH, n_logits, f->n_ctx, out, e);
    b->ops->plan(b, p, DEFAULT_BATCH, n_logits, f->n_ctx, &out[n_device > 0 ? DEVICE : HOST]);
    return ERR_OK;
}

static void add_up(struct fit_part *part)
{
    part->needed_bytes = part->weight_bytes + part->kv_bytes + part->scratch_bytes + part->lookup_bytes +
                         part->vocabulary_bytes + part->program_bytes;
}

/* Rows of the embedding that the processor looks up are read from the file where it lies: of an embedding that is no
 * matrix of the head, and of one whose matrix was packed, beside that. Then what text of n tokens leaves resident is, with
 * the 64 KiB that the kernel maps around each fault, about
 *
 *   table * (1 - exp(-1.33 n^0.76 * 64 KiB / table))
 *
 * (wikitext: tables of 18 and 178 MB after 470 and 2000 tokens within 3 MB, tests/peer/fit_memory.py). */
static uint64_t lookup_bytes(uint64_t table_bytes, double n_tokens)
{
    double table = (double)table_bytes;
    return table_bytes == 0 ? 0 : (uint64_t)(table * (1 - exp(-1.33 * pow(n_tokens, 0.76) * 65536 / table)));
}

static enum err_code price_types(const struct fit_shape *s, const struct engine *eng, const struct program *p,
                                 struct session_types types, struct fit *f, struct err *e)
{
    struct backend_bytes bytes[2] = { 0 };
    struct kv_layer *layers = calloc((size_t)p->n_layers, sizeof *layers);
    if (!layers)
        return err_set(e, ERR_NOMEM, "no memory for %d layers", p->n_layers);
    enum err_code rc = plan(eng, p, f, bytes, e);
    int32_t n_host = p->n_layers - f->n_device_layers;
    session_layers_of(layers, p, types);
    for (int where = HOST; rc == ERR_OK && where <= DEVICE; where++) {
        struct fit_part *part = where == HOST || f->shares ? &f->host : &f->device;
        int32_t n = where == HOST ? n_host : f->n_device_layers;
        part->weight_bytes += bytes[where].weights;
        part->scratch_bytes += bytes[where].scratch;
        f->host.lookup_bytes += lookup_bytes(bytes[where].lookups, f->n_seqs * (double)f->n_ctx);
        if (n > 0)
            part->kv_bytes += (uint64_t)f->n_seqs * kv_cache_estimate(layers + (where == HOST ? 0 : n_host), n, f->n_ctx);
    }
    free(layers);
    if (rc != ERR_OK)
        return rc;
    f->host.vocabulary_bytes = s->vocabulary_bytes;
    f->host.program_bytes = PROGRAM_BYTES;
    f->host.scratch_bytes += (uint64_t)f->n_seqs * ((uint64_t)f->n_ctx * TOKEN_BYTES +
                                                    (uint64_t)p->n_vocab * sizeof(float));
    f->kv_type_k = kv_type_name(types.k);
    f->kv_type_v = kv_type_name(types.v);
    add_up(&f->host);
    add_up(&f->device);
    f->needed_bytes = f->host.needed_bytes + f->device.needed_bytes;
    f->fits = f->host.needed_bytes <= f->host.room_bytes && f->device.needed_bytes <= f->device.room_bytes;
    return ERR_OK;
}

static void find_room(const struct engine *eng, const struct fit_want *want, struct fit *f)
{
    struct engine_info info;
    if (want->leaves) {
        struct session_bytes bytes = session_memory_available(want->leaves);
        f->host.room_bytes = engine_host_room(bytes.host);
        f->device.room_bytes = bytes.device;
        return;
    }
    engine_info(eng, &info);
    f->host.room_bytes = engine_host_room(info.memory_available_bytes);
    f->device.room_bytes = engine_device_room(&info);
}

enum err_code fit_price(const struct fit_shape *s, const struct engine *eng, const struct fit_want *want, struct fit *out,
                        struct err *e)
{
    static const enum kv_type choices[] = { KV_F16, KV_Q8_0, KV_KV4 };
    enum { N_CHOICES = sizeof choices / sizeof *choices };
    struct program p = *s->program;
    struct fit_shape_info info;
    struct session_types asked, types;
    char ignored[8];
    fit_shape_info(s, &info);
    struct fit f = { .n_ctx = want->n_ctx ? want->n_ctx : info.n_ctx, .n_seqs = want->n_seqs ? want->n_seqs : 1,
                     .n_layers = p.n_layers, .shares = engine_device_shares(eng) };
    if (f.n_ctx < 2 || f.n_ctx > SESSION_MAX_CTX)
        return err_set(e, ERR_FORMAT, "context: %d tokens, 2 to %d allowed", f.n_ctx, SESSION_MAX_CTX);
    if (f.n_seqs < 1 || f.n_seqs > SESSION_MAX_SEQS)
        return err_set(e, ERR_FORMAT, "sequences: %d, 1 to %d allowed", f.n_seqs, SESSION_MAX_SEQS);
    enum err_code rc = session_types_find(&asked, want->kv_type_k, want->kv_type_v, e);
    if (rc != ERR_OK)
        return rc;
    find_room(eng, want, &f);
    f.n_device_layers = layers_planned(eng, &p, f.n_ctx, f.device.room_bytes);
    p.embed_on_host = !layers_leave_room_to_embed(&p, f.n_ctx, f.device.room_bytes);
    bool open = asked.k == KV_N_TYPES || asked.v == KV_N_TYPES;
    for (int i = 0; rc == ERR_OK && i < (open ? N_CHOICES : 1); i++) {
        types.k = asked.k == KV_N_TYPES ? choices[i] : asked.k;
        types.v = asked.v == KV_N_TYPES ? choices[i] : asked.v;
        session_types_fit(&types, &p, ignored, sizeof ignored);
        *out = f;
        rc = price_types(s, eng, &p, types, out, e);
        if (out->fits)
            break;
    }
    return rc;
}

/* ---- what a token reads ------------------------------------------------------------------------------- */

static void add_read(struct fit_reads *r, uint32_t type, int where, uint64_t n_bytes)
{
    const char *name = quant_format(type)->name;
    int32_t i = 0;
    while (i < r->n_types && strcmp(r->types[i].type, name) != 0)
        i++;
    if (i == r->n_types)
        r->types[r->n_types++] = (struct fit_read){ .type = name };
    r->types[i].n_bytes[where] += n_bytes;
    r->weight_bytes[where] += n_bytes;
}

static int by_bytes(const void *a, const void *b)
{
    const struct fit_read *x = a, *y = b;
    uint64_t n = x->n_bytes[0] + x->n_bytes[1], m = y->n_bytes[0] + y->n_bytes[1];
    return (n < m) - (n > m);
}

/* Of the pages that the row at pos reads, each in its form (kv_reads_open). */
static uint64_t layer_reads(const struct kv_layer *l, int32_t pos)
{
    uint64_t open = kv_open_bytes(l) / KV_PAGE, sealed = kv_sealed_bytes(l) / KV_PAGE, bytes = 0;
    int32_t first = l->window > 0 && pos >= l->window ? pos - l->window + 1 : 0;
    for (int32_t page = first / KV_PAGE; page <= pos / KV_PAGE; page++) {
        int32_t from = page * KV_PAGE > first ? page * KV_PAGE : first;
        int32_t end = (page + 1) * KV_PAGE < pos + 1 ? (page + 1) * KV_PAGE : pos + 1;
        bool is_open = !kv_layer_seals(l) || kv_reads_open(pos, page);
        bytes += (uint64_t)(end - from) * (is_open ? open : sealed);
    }
    return bytes;
}

static void reads(const struct program *p, int32_t n_device, struct session_types types, int32_t n_held,
                  struct fit_reads *out)
{
    int32_t n_host = p->n_layers - n_device;
    *out = (struct fit_reads){ 0 };
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        bool there = s->kind == STEP_HEAD ? n_device > 0 : s->layer >= n_host;
        for (int j = 0; s->kind != STEP_EMBED && j < 3 && s->w[j]; j++)
            add_read(out, s->w[j]->type, there ? DEVICE : HOST, s->w[j]->n_bytes);
    }
    qsort(out->types, (size_t)out->n_types, sizeof out->types[0], by_bytes);
    struct kv_layer *layers = calloc((size_t)p->n_layers, sizeof *layers);
    if (!layers)
        return;
    session_layers_of(layers, p, types);
    for (int32_t i = 0; n_held > 0 && i < p->n_layers; i++)
        out->kv_bytes[i >= n_host ? DEVICE : HOST] += layer_reads(&layers[i], n_held - 1);
    free(layers);
}

void fit_reads(const struct fit_shape *s, const struct fit *where, int32_t n_held, struct fit_reads *out)
{
    struct session_types types = { KV_F16, KV_F16 };
    session_types_find(&types, where->kv_type_k, where->kv_type_v, NULL);
    reads(s->program, where->n_device_layers, types, n_held, out);
}

void session_reads(const struct session *s, int32_t n_held, struct fit_reads *out)
{
    reads(s->model->program, s->model->info.n_device_layers, s->types, n_held, out);
}
