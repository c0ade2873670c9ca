/* SPDX-License-Identifier: MIT */
#include "tests/support/vocab_from_gguf.h"

#include <stdlib.h>
#include <string.h>

#define KEY "tokenizer.ggml."

static enum err_code read_texts(const struct gguf *g, const char *key, bool needed,
                                struct tokenizer_text **out, size_t *n, struct err *e)
{
    const struct gguf_kv *kv = NULL;
    enum err_code rc = needed ? gguf_need_texts(g, key, &kv, e) : gguf_opt_texts(g, key, &kv, e);
    *n = kv ? (size_t)kv->n : 0;
    if (rc != ERR_OK || *n == 0)
        return rc;
    *out = calloc(*n, sizeof **out);
    if (!*out)
        return err_set(e, ERR_NOMEM, "%s: no memory", key);
    for (size_t i = 0; i < *n; i++) {
        struct gguf_text text = gguf_kv_text(kv, i);
        (*out)[i] = (struct tokenizer_text){ text.bytes, text.n_bytes };
    }
    return ERR_OK;
}

static struct tokenizer_text read_text(const struct gguf *g, const char *key)
{
    struct gguf_text text = { 0 };
    gguf_opt_text(g, key, &text, NULL);
    return (struct tokenizer_text){ text.bytes, text.n_bytes };
}

static int64_t read_id(const struct gguf *g, const char *key)
{
    const struct gguf_kv *kv = gguf_kv_find(g, key);
    return kv && kv->type == GGUF_U32 ? gguf_kv_int(kv, 0) : TOKENIZER_NONE;
}

static enum tokenizer_choice read_choice(const struct gguf *g, const char *key)
{
    const struct gguf_kv *kv = gguf_kv_find(g, key);
    if (!kv || kv->type != GGUF_BOOL)
        return TOKENIZER_SILENT;
    return gguf_kv_bool(kv, 0) ? TOKENIZER_YES : TOKENIZER_NO;
}

static bool contains(struct tokenizer_text text, const char *part)
{
    return text.bytes && memmem(text.bytes, text.n_bytes, part, strlen(part));
}

static enum err_code fill(struct vocab_file *f, struct err *e)
{
    const struct gguf *g = f->gguf;
    struct tokenizer_vocab *v = &f->vocab;
    enum err_code rc = read_texts(g, KEY "tokens", true, &f->tokens, &v->n_tokens, e);
    if (rc == ERR_OK)
        rc = read_texts(g, KEY "merges", false, &f->merges, &v->n_merges, e);
    if (rc != ERR_OK)
        return rc;
    v->tokens = f->tokens;
    v->merges = f->merges;
    v->model = read_text(g, KEY "model");
    v->pre = read_text(g, KEY "pre");
    const struct gguf_kv *scores = gguf_kv_find(g, KEY "scores");
    if (scores && scores->item_type == GGUF_F32) {
        v->scores = scores->bytes;
        v->n_scores = (size_t)scores->n;
    }
    const struct gguf_kv *types = gguf_kv_find(g, KEY "token_type");
    if (types && (types->item_type == GGUF_I32 || types->item_type == GGUF_U32)) {
        v->types = types->bytes;
        v->n_types = (size_t)types->n;
    }
    v->bos = read_id(g, KEY "bos_token_id");
    v->eos = read_id(g, KEY "eos_token_id");
    v->eot = read_id(g, KEY "eot_token_id");
    v->eom = read_id(g, KEY "eom_token_id");
    v->unk = read_id(g, KEY "unknown_token_id");
    v->pad = read_id(g, KEY "padding_token_id");
    v->add_bos = read_choice(g, KEY "add_bos_token");
    v->add_eos = read_choice(g, KEY "add_eos_token");
    v->add_space_prefix = read_choice(g, KEY "add_space_prefix");
    struct tokenizer_text name = read_text(g, "general.name");
    v->strip_after_special = contains(name, "phi-3") || contains(name, "phi3") ||
                             contains(name, "Phi-3") || contains(name, "Phi3");
    return ERR_OK;
}

enum err_code vocab_open(struct vocab_file *f, const char *path, struct err *e)
{
    memset(f, 0, sizeof *f);
    tokenizer_vocab_init(&f->vocab);
    enum err_code rc = gguf_open(&f->gguf, path, e);
    if (rc == ERR_OK)
        rc = fill(f, e);
    if (rc == ERR_OK)
        rc = tokenizer_create(&f->tokenizer, &f->vocab, e);
    if (rc != ERR_OK)
        vocab_close(f);
    return rc;
}

void vocab_close(struct vocab_file *f)
{
    tokenizer_destroy(f->tokenizer);
    free(f->tokens);
    free(f->merges);
    gguf_close(f->gguf);
    memset(f, 0, sizeof *f);
}
