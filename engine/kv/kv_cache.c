/* SPDX-License-Identifier: MIT */
#include "engine/kv/kv_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

struct kv_cache {
    struct kv_layer *layers;
    int32_t n_layers;
    uint64_t used_bytes, budget_bytes;
};

struct kv_seq {
    struct kv_cache *kv;
    struct kv_page *table;    /* [n_layers][max_pages] */
    int32_t n_ctx, max_pages, n_pages, n_tokens;
    int32_t *tokens;
};

enum err_code kv_cache_create(struct kv_cache **out, const struct kv_layer *layers, int32_t n_layers,
                              uint64_t budget_bytes, struct err *e)
{
    struct kv_cache *kv = calloc(1, sizeof *kv);
    if (kv)
        kv->layers = calloc((size_t)n_layers, sizeof *layers);
    if (!kv || !kv->layers) {
        free(kv);
        return err_set(e, ERR_NOMEM, "no memory for the KV cache");
    }
    memcpy(kv->layers, layers, (size_t)n_layers * sizeof *layers);
    kv->n_layers = n_layers;
    kv->budget_bytes = budget_bytes;
    *out = kv;
    return ERR_OK;
}

void kv_cache_destroy(struct kv_cache *kv)
{
    if (!kv)
        return;
    free(kv->layers);
    free(kv);
}

const struct kv_layer *kv_cache_layers(const struct kv_cache *kv, int32_t *n_layers)
{
    *n_layers = kv->n_layers;
    return kv->layers;
}

void kv_cache_set_budget(struct kv_cache *kv, uint64_t budget_bytes)
{
    kv->budget_bytes = budget_bytes;
}

void kv_cache_stats(const struct kv_cache *kv, struct kv_stats *out)
{
    *out = (struct kv_stats){ .used_bytes = kv->used_bytes, .budget_bytes = kv->budget_bytes };
}

uint64_t kv_cache_estimate(const struct kv_layer *layers, int32_t n_layers, int32_t n_tokens)
{
    uint64_t pages = ((uint64_t)n_tokens + KV_PAGE - 1) / KV_PAGE, bytes = 0;
    for (int32_t i = 0; i < n_layers; i++)
        bytes += pages * (kv_open_bytes(&layers[i]) + kv_sealed_bytes(&layers[i]));
    return bytes;
}

enum err_code kv_seq_create(struct kv_seq **out, struct kv_cache *kv, int32_t n_ctx, struct err *e)
{
    struct kv_seq *s = calloc(1, sizeof *s);
    if (s) {
        s->kv = kv;
        s->n_ctx = n_ctx;
        s->max_pages = (n_ctx + KV_PAGE - 1) / KV_PAGE;
        s->table = calloc((size_t)kv->n_layers * (size_t)s->max_pages, sizeof *s->table);
        s->tokens = calloc((size_t)n_ctx, sizeof *s->tokens);
    }
    if (!s || !s->table || !s->tokens) {
        kv_seq_destroy(s);
        return err_set(e, ERR_NOMEM, "no memory for the page table of %d tokens", n_ctx);
    }
    *out = s;
    return ERR_OK;
}

static void drop_pages(struct kv_seq *s, int32_t n_keep)
{
    while (s->n_pages > n_keep) {
        s->n_pages--;
        for (int32_t i = 0; i < s->kv->n_layers; i++) {
            struct kv_page *page = &s->table[(int64_t)i * s->max_pages + s->n_pages];
            free(page->open);
            free(page->sealed);
            *page = (struct kv_page){ 0 };
        }
    }
}

void kv_seq_destroy(struct kv_seq *s)
{
    if (!s)
        return;
    if (s->table)
        drop_pages(s, 0);
    free(s->table);
    free(s->tokens);
    free(s);
}

const struct kv_page *kv_seq_table(const struct kv_seq *s, int32_t *stride)
{
    *stride = s->max_pages;
    return s->table;
}

int32_t kv_seq_held(const struct kv_seq *s)
{
    return s->n_tokens;
}

const int32_t *kv_seq_tokens(const struct kv_seq *s)
{
    return s->tokens;
}

bool kv_seq_rough(const struct kv_seq *s)
{
    (void)s;
    return false;
}

int32_t kv_seq_find(const struct kv_seq *s, const int32_t *tokens, int32_t n_tokens)
{
    int32_t n = 0;
    while (n < n_tokens && n < s->n_tokens && tokens[n] == s->tokens[n])
        n++;
    return n;
}

int32_t kv_seq_match(struct kv_seq *s, const int32_t *tokens, int32_t n_tokens)
{
    return kv_seq_truncate(s, kv_seq_find(s, tokens, n_tokens));
}

enum err_code kv_seq_reserve(struct kv_seq *s, int32_t n_tokens, struct err *e)
{
    int32_t want = (n_tokens + KV_PAGE - 1) / KV_PAGE;
    assert(n_tokens <= s->n_ctx);
    while (s->n_pages < want) {
        for (int32_t i = 0; i < s->kv->n_layers; i++) {
            const struct kv_layer *l = &s->kv->layers[i];
            struct kv_page *page = &s->table[(int64_t)i * s->max_pages + s->n_pages];
            page->open = aligned_alloc(ALIGN, kv_open_bytes(l));
            if (s->n_pages > 0 && kv_layer_seals(l))
                page->sealed = aligned_alloc(ALIGN, kv_sealed_bytes(l));
            if (!page->open || (s->n_pages > 0 && kv_layer_seals(l) && !page->sealed)) {
                s->n_pages++;
                drop_pages(s, s->n_pages - 1);
                return err_set(e, ERR_NOMEM, "no memory for the KV cache of token %d", s->n_pages * KV_PAGE);
            }
        }
        s->n_pages++;
    }
    return ERR_OK;
}

void kv_seq_append(struct kv_seq *s, const int32_t *tokens, int32_t n_tokens)
{
    memcpy(s->tokens + s->n_tokens, tokens, (size_t)n_tokens * sizeof *tokens);
    s->n_tokens += n_tokens;
}

int32_t kv_seq_truncate(struct kv_seq *s, int32_t n_keep)
{
    if (n_keep < s->n_tokens)
        s->n_tokens = n_keep;
    drop_pages(s, (s->n_tokens + KV_PAGE - 1) / KV_PAGE);
    return s->n_tokens;
}

void kv_seq_anchor(struct kv_seq *s)
{
    (void)s;
}
