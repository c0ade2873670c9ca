/* SPDX-License-Identifier: MIT */
#include "engine/engine_origin.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "engine/engine_impl.h"

/* Sums of hashes: the order of what is added does not matter. */
struct sum {
    uint64_t low, high;
};

static void add(struct sum *s, const void *bytes, size_t n_bytes, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(bytes, n_bytes, seed);
    s->low += h.low64;
    s->high += h.high64;
}

static void add_text(struct sum *s, const char *text, uint64_t seed)
{
    add(s, text, strlen(text), seed);
}

static void put(const struct sum *s, uint8_t out[ORIGIN_KEY_BYTES])
{
    memcpy(out, &s->low, sizeof s->low);
    memcpy(out + sizeof s->low, &s->high, sizeof s->high);
}

/* ---- shape ------------------------------------------------------------------------------------------ */

/* Of an architecture that is not known the keys as they stand. */
static void add_hparams(struct sum *s, const struct gguf *g)
{
    struct hparams h;
    struct err ignored;
    if (hparams_read(&h, g, &ignored) == ERR_OK) {
        add(s, &h, sizeof h, 1);    /* without gaps: texts and numbers of four bytes */
        return;
    }
    for (uint32_t i = 0; i < gguf_n_keys(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        size_t arch = strlen(h.arch);
        if (arch == 0 || strncmp(kv->key, h.arch, arch) != 0 || kv->key[arch] != '.')
            continue;
        struct buf value = { 0 };
        gguf_kv_print_value(kv, 1 << 16, &value);
        add(s, buf_text(&value), value.n_bytes, XXH3_64bits(kv->key, strlen(kv->key)));
        buf_finish(&value);
    }
}

static void add_vocabulary(struct sum *s, const struct gguf *g)
{
    const struct gguf_kv *tokens = gguf_kv_find(g, "tokenizer.ggml.tokens");
    const struct gguf_kv *model = gguf_kv_find(g, "tokenizer.ggml.model");
    if (model && model->type == GGUF_STRING)
        add(s, gguf_kv_text(model, 0).bytes, gguf_kv_text(model, 0).n_bytes, 2);
    if (!tokens || tokens->type != GGUF_ARRAY || tokens->item_type != GGUF_STRING)
        return;
    for (uint64_t i = 0; i < tokens->n; i++) {
        struct gguf_text text = gguf_kv_text(tokens, i);
        add(s, text.bytes, text.n_bytes, 3 + i);
    }
}

static bool is_derived(const struct gguf *g, const struct gguf_tensor *t)
{
    const struct gguf_tensor *embd = gguf_tensor_find(g, "token_embd.weight");
    if (strcmp(t->name, "output.weight") == 0)
        return embd && memcmp(embd->ne, t->ne, sizeof t->ne) == 0;
    return strcmp(t->name, "rope_freqs.weight") == 0;
}

static void add_tensors(struct sum *shape, struct sum *vectors, int32_t *n_vectors, const struct gguf *g)
{
    static const char f32[] = "F32";
    for (uint32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (is_derived(g, t))
            continue;
        uint64_t name = XXH3_64bits(t->name, strlen(t->name));
        add(shape, t->ne, sizeof t->ne, name);
        if (t->n_dims != 1 || strcmp(gguf_tensor_type(t->type)->name, f32) != 0)
            continue;
        add(vectors, t->data, t->n_bytes, name);
        ++*n_vectors;
    }
}

/* ---- names ------------------------------------------------------------------------------------------ */

static bool is_part(char c)
{
    return isalnum((unsigned char)c) != 0;
}

/* Bytes of a word for a level that begins at text, which a letter or digit does not go on: "Q4_K_M", "iq4_xs", "BF16",
 * "MXFP4_MOE"; 0: none begins there. */
static size_t level_bytes(const char *text)
{
    static const char *const words[] = { "f16", "f32", "bf16", "fp16", "fp32", "mxfp4", "nvfp4", "gguf" };
    static const char *const ends[] = { "k", "s", "m", "l", "xs", "xxs", "xl", "nl", "0", "1", "moe" };
    size_t at = 0;
    for (size_t i = 0; at == 0 && i < sizeof words / sizeof *words; i++)
        if (strncasecmp(text, words[i], strlen(words[i])) == 0 && !is_part(text[strlen(words[i])]))
            at = strlen(words[i]);
    if (at == 0) {
        size_t q = strchr("iItT", text[0]) && text[0] ? 1 : 0;
        if ((text[q] != 'q' && text[q] != 'Q') || !isdigit((unsigned char)text[q + 1]) || is_part(text[q + 2]))
            return 0;
        at = q + 2;
    }
    for (bool more = true; more && text[at] == '_';) {
        more = false;
        for (size_t i = 0; !more && i < sizeof ends / sizeof *ends; i++) {
            size_t n = strlen(ends[i]);
            if (strncasecmp(text + at + 1, ends[i], n) == 0 && !is_part(text[at + 1 + n])) {
                at += 1 + n;
                more = true;
            }
        }
    }
    return at;
}

static void simplify(const char *text, size_t n_bytes, char out[ORIGIN_NAME_BYTES])
{
    char copy[4 * ORIGIN_NAME_BYTES];
    size_t n = n_bytes < sizeof copy - 1 ? n_bytes : sizeof copy - 1, n_out = 0;
    memcpy(copy, text, n);
    copy[n] = '\0';
    for (size_t i = 0; copy[i] && n_out < ORIGIN_NAME_BYTES - 1;) {
        size_t level = i == 0 || !is_part(copy[i - 1]) ? level_bytes(copy + i) : 0;
        if (level == 0 && (is_part(copy[i]) || (unsigned char)copy[i] >= 0x80))
            out[n_out++] = (char)tolower((unsigned char)copy[i]);
        i += level > 0 ? level : 1;
    }
    out[n_out] = '\0';
}

/* ----------------------------------------------------------------------------------------------------- */

void model_origin_name(const char *path, char out[ORIGIN_NAME_BYTES])
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    simplify(file, strlen(file), out);
}

enum err_code model_origin(const struct model *m, struct model_origin *out, struct err *e)
{
    const struct gguf *g = m->gguf;
    struct sum shape = { 0 }, vectors = { 0 };
    enum err_code rc = gguf_changed(g, e);
    if (rc != ERR_OK)
        return rc;
    memset(out, 0, sizeof *out);
    add_text(&shape, m->info.architecture, 0);
    add_hparams(&shape, g);
    add_vocabulary(&shape, g);
    add_tensors(&shape, &vectors, &out->n_vectors, g);
    put(&shape, out->shape);
    put(&vectors, out->vectors);
    const struct gguf_kv *name = gguf_kv_find(g, "general.name");
    if (name && name->type == GGUF_STRING)
        simplify(gguf_kv_text(name, 0).bytes, gguf_kv_text(name, 0).n_bytes, out->name);
    model_origin_name(m->info.path, out->file);
    return ERR_OK;
}

bool model_origin_same(const struct model_origin *a, const struct model_origin *b)
{
    if (a->n_vectors == 0 || a->n_vectors != b->n_vectors || memcmp(a->shape, b->shape, sizeof a->shape) != 0 ||
        memcmp(a->vectors, b->vectors, sizeof a->vectors) != 0)
        return false;
    bool same_name = a->name[0] && strcmp(a->name, b->name) == 0;
    bool same_file = a->file[0] && strcmp(a->file, b->file) == 0;
    return same_name || same_file;
}

enum err_code model_content(const struct model *m, uint8_t out[ORIGIN_KEY_BYTES], struct err *e)
{
    struct kv_store_key key;
    enum err_code rc = gguf_changed(m->gguf, e);
    if (rc == ERR_OK)
        rc = model_content_key(m, &key, e);
    if (rc == ERR_OK)
        memcpy(out, &key, ORIGIN_KEY_BYTES);
    return rc;
}
