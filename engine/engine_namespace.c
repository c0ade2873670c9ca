/* SPDX-License-Identifier: MIT */
/* What bytes of cached keys and values mean follows from a model's content and from how it is computed. Both go
 * into one hash; files with another hash are never looked at.
 *
 *   content       all of the file before the tensors' data (architecture, hyperparameters, vocabulary, names,
 *                 types and shapes of tensors) and, of each tensor, 4 KiB at its beginning, middle and end: a
 *                 fine-tune or another level differs in every tensor, and reading all would take seconds
 *   computing     RoPE as it is in force, layers with types and shapes, the arithmetic, and NAMESPACE_VERSION,
 *                 which is raised when the same weights begin to give other keys or values, or pages another form
 *
 * The path, the file's time and the number of threads are in neither. */
#include <assert.h>
#include <string.h>
#include <xxhash.h>

#include "engine/engine_impl.h"

enum { NAMESPACE_VERSION = 3, SAMPLE_BYTES = 4096 };

static void add(XXH3_state_t *h, const void *bytes, size_t n_bytes)
{
    XXH3_128bits_update(h, bytes, n_bytes);
}

static void add_int(XXH3_state_t *h, int64_t value)
{
    add(h, &value, sizeof value);
}

static void finish(XXH3_state_t *h, struct kv_store_key *out)
{
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(h));
    static_assert(sizeof bytes == sizeof *out, "a key is a hash of 128 bits");
    memcpy(out, &bytes, sizeof *out);
}

static void add_samples(XXH3_state_t *h, const struct gguf_tensor *t)
{
    if (t->n_bytes <= 3 * SAMPLE_BYTES) {
        add(h, t->data, t->n_bytes);
        return;
    }
    add(h, t->data, SAMPLE_BYTES);
    add(h, t->data + t->n_bytes / 2, SAMPLE_BYTES);
    add(h, t->data + t->n_bytes - SAMPLE_BYTES, SAMPLE_BYTES);
}

static void hash_content(const struct gguf *g, XXH3_state_t *h, struct kv_store_key *out)
{
    struct gguf_info info;
    gguf_info(g, &info);
    XXH3_128bits_reset(h);
    const struct gguf_tensor *first = gguf_n_tensors(g) > 0 ? gguf_tensor_at(g, 0) : NULL;
    if (first)
        add(h, first->data - first->offset, info.data_offset);
    for (uint32_t i = 0; i < gguf_n_tensors(g); i++)
        add_samples(h, gguf_tensor_at(g, i));
    finish(h, out);
}

/* Tiers of the fixed arithmetic give the same bits, so what one has computed serves all of them. */
static const char *arithmetic(const char *backend)
{
    static const char *const fixed[] = { "scalar", "avx2", "avx512" };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (strcmp(backend, fixed[i]) == 0)
            return "fixed";
    return backend;
}

static void add_computing(XXH3_state_t *h, const struct model *m, const struct kv_layer *layers, int32_t n_layers)
{
    const struct program *p = m->program;
    const char *how = arithmetic(m->device ? m->device->name : m->backend->name);
    add_int(h, NAMESPACE_VERSION);
    add_int(h, KV_PAGE);
    add(h, how, strlen(how) + 1);
    if (m->split) {    /* where a model is cut is seen in the bits of all layers behind */
        how = arithmetic(m->engine->cpu_tier);
        add_int(h, p->n_layers - m->info.n_device_layers);
        add(h, how, strlen(how) + 1);
    }
    add_int(h, p->n_ropes);
    for (int32_t i = 0; i < p->n_ropes; i++) {
        const struct rope *r = &p->ropes[i];
        add_int(h, r->n_rot);
        add_int(h, r->halves);
        add(h, &r->magnitude, sizeof r->magnitude);
        add(h, r->freq, (size_t)(r->n_rot / 2) * sizeof *r->freq);
    }
    add_int(h, n_layers);
    for (int32_t i = 0; i < n_layers; i++) {
        add(h, kv_type_name(layers[i].k), strlen(kv_type_name(layers[i].k)) + 1);
        add(h, kv_type_name(layers[i].v), strlen(kv_type_name(layers[i].v)) + 1);
        add_int(h, layers[i].n_head);
        add_int(h, layers[i].d_head);
        add_int(h, layers[i].window);
    }
}

enum err_code model_content_key(const struct model *m, struct kv_store_key *out, struct err *e)
{
    XXH3_state_t *h = XXH3_createState();
    if (!h)
        return err_set(e, ERR_NOMEM, "no memory for a hash");
    hash_content(m->gguf, h, out);
    XXH3_freeState(h);
    return ERR_OK;
}

enum err_code model_kv_key(struct model *m, const struct kv_layer *layers, int32_t n_layers,
                           struct kv_store_key *out, struct err *e)
{
    if (!m->content_known) {
        enum err_code rc = gguf_changed(m->gguf, e);
        if (rc != ERR_OK)
            return rc;
    }
    XXH3_state_t *h = XXH3_createState();
    if (!h)
        return err_set(e, ERR_NOMEM, "no memory for a hash");
    if (!m->content_known)
        hash_content(m->gguf, h, &m->content);
    m->content_known = true;
    XXH3_128bits_reset(h);
    add(h, &m->content, sizeof m->content);
    add_computing(h, m, layers, n_layers);
    finish(h, out);
    XXH3_freeState(h);
    return ERR_OK;
}
