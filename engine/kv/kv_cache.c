/* SPDX-License-Identifier: MIT */
#include "engine/kv/kv_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

struct kv_seq {
    void **table;        /* [n_layers][max_pages] */
    int32_t n_pages;     /* of each layer */
    int32_t *tokens;     /* [n_ctx] */
    int32_t n_tokens;
};

struct kv_cache {
    int32_t n_layers, n_ctx, n_seqs, max_pages;
    enum kv_type type;
    size_t *page_bytes;  /* [n_layers] */
    uint64_t used_bytes;
    struct kv_seq *seqs;
};

static size_t layer_page_bytes(int32_t width, enum kv_type type)
{
    size_t bytes = 2 * (size_t)width * KV_PAGE * kv_type_bytes(type);
    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

uint64_t kv_cache_estimate(const int32_t *kv_width, int32_t n_layers, int32_t n_ctx, int32_t n_seqs,
                           enum kv_type type)
{
    uint64_t pages = ((uint64_t)n_ctx + KV_PAGE - 1) / KV_PAGE, bytes = 0;
    for (int32_t i = 0; i < n_layers; i++)
        bytes += pages * layer_page_bytes(kv_width[i], type);
    return bytes * (uint64_t)n_seqs;
}

enum err_code kv_cache_create(struct kv_cache **out, const int32_t *kv_width, int32_t n_layers, int32_t n_ctx,
                              int32_t n_seqs, enum kv_type type, struct err *e)
{
    struct kv_cache *kv = calloc(1, sizeof *kv);
    if (!kv)
        return err_set(e, ERR_NOMEM, "no memory for the KV cache");
    kv->n_layers = n_layers;
    kv->n_ctx = n_ctx;
    kv->n_seqs = n_seqs;
    kv->max_pages = (n_ctx + KV_PAGE - 1) / KV_PAGE;
    kv->type = type;
    kv->page_bytes = calloc((size_t)n_layers, sizeof *kv->page_bytes);
    kv->seqs = calloc((size_t)n_seqs, sizeof *kv->seqs);
    bool ok = kv->page_bytes && kv->seqs;
    for (int32_t i = 0; ok && i < n_layers; i++)
        kv->page_bytes[i] = layer_page_bytes(kv_width[i], type);
    for (int32_t i = 0; ok && i < n_seqs; i++) {
        kv->seqs[i].table = calloc((size_t)n_layers * (size_t)kv->max_pages, sizeof(void *));
        kv->seqs[i].tokens = calloc((size_t)n_ctx, sizeof(int32_t));
        ok = kv->seqs[i].table && kv->seqs[i].tokens;
    }
    if (!ok) {
        kv_cache_destroy(kv);
        return err_set(e, ERR_NOMEM, "no memory for the page tables of %d sequences of %d tokens", n_seqs, n_ctx);
    }
    *out = kv;
    return ERR_OK;
}

static void drop_pages(struct kv_cache *kv, struct kv_seq *seq, int32_t n_keep)
{
    while (seq->n_pages > n_keep) {
        seq->n_pages--;
        for (int32_t i = 0; i < kv->n_layers; i++) {
            void **page = &seq->table[(int64_t)i * kv->max_pages + seq->n_pages];
            free(*page);
            *page = NULL;
            kv->used_bytes -= kv->page_bytes[i];
        }
    }
}

void kv_cache_destroy(struct kv_cache *kv)
{
    if (!kv)
        return;
    for (int32_t i = 0; kv->seqs && i < kv->n_seqs; i++) {
        drop_pages(kv, &kv->seqs[i], 0);
        free(kv->seqs[i].table);
        free(kv->seqs[i].tokens);
    }
    free(kv->seqs);
    free(kv->page_bytes);
    free(kv);
}

enum kv_type kv_cache_type(const struct kv_cache *kv)
{
    return kv->type;
}

uint64_t kv_cache_bytes(const struct kv_cache *kv)
{
    return kv->used_bytes;
}

void *const *kv_cache_table(const struct kv_cache *kv, int32_t seq, int32_t *stride)
{
    *stride = kv->max_pages;
    return kv->seqs[seq].table;
}

enum err_code kv_cache_reserve(struct kv_cache *kv, int32_t seq_index, int32_t n_tokens, struct err *e)
{
    struct kv_seq *seq = &kv->seqs[seq_index];
    int32_t want = (n_tokens + KV_PAGE - 1) / KV_PAGE;
    assert(seq_index >= 0 && seq_index < kv->n_seqs && n_tokens <= kv->n_ctx);
    while (seq->n_pages < want) {
        for (int32_t i = 0; i < kv->n_layers; i++) {
            void *page = aligned_alloc(ALIGN, kv->page_bytes[i]);
            if (!page) {
                while (i-- > 0) {
                    void **half = &seq->table[(int64_t)i * kv->max_pages + seq->n_pages];
                    free(*half);
                    *half = NULL;
                    kv->used_bytes -= kv->page_bytes[i];
                }
                return err_set(e, ERR_NOMEM, "no memory for the KV cache of token %d (%llu bytes in use)",
                               seq->n_pages * KV_PAGE, (unsigned long long)kv->used_bytes);
            }
            seq->table[(int64_t)i * kv->max_pages + seq->n_pages] = page;
            kv->used_bytes += kv->page_bytes[i];
        }
        seq->n_pages++;
    }
    return ERR_OK;
}

void kv_cache_append(struct kv_cache *kv, int32_t seq_index, const int32_t *tokens, int32_t n_tokens)
{
    struct kv_seq *seq = &kv->seqs[seq_index];
    assert(seq->n_tokens + n_tokens <= seq->n_pages * KV_PAGE);
    memcpy(seq->tokens + seq->n_tokens, tokens, (size_t)n_tokens * sizeof *tokens);
    seq->n_tokens += n_tokens;
}

void kv_cache_truncate(struct kv_cache *kv, int32_t seq_index, int32_t n_keep)
{
    struct kv_seq *seq = &kv->seqs[seq_index];
    assert(seq_index >= 0 && seq_index < kv->n_seqs && n_keep >= 0);
    if (n_keep < seq->n_tokens)
        seq->n_tokens = n_keep;
    drop_pages(kv, seq, (seq->n_tokens + KV_PAGE - 1) / KV_PAGE);
}

int32_t kv_cache_held(const struct kv_cache *kv, int32_t seq)
{
    return kv->seqs[seq].n_tokens;
}

int32_t kv_cache_common(const struct kv_cache *kv, int32_t seq_index, const int32_t *tokens, int32_t n_tokens)
{
    const struct kv_seq *seq = &kv->seqs[seq_index];
    int32_t n = 0;
    assert(seq_index >= 0 && seq_index < kv->n_seqs);
    while (n < n_tokens && n < seq->n_tokens && tokens[n] == seq->tokens[n])
        n++;
    return n;
}
