/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_KV_FAKE_H
#define QUIP_TESTS_SUPPORT_KV_FAKE_H

#include "engine/kv/kv_cache.h"
#include "tests/support/kv_fake_memory.h"

/* Stands in for a backend, of f16 pages: they are filled with words that follow from a seed per token (of all
 * tokens up to it, say), the layer and the slot, so that a page in the wrong place, of another history or of
 * another time is told apart. The sealed form is a checksum of the open one. Memories of layers, where
 * they have one, are fake ones. */

static inline uint32_t kv_fake_mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9u;
    return (uint32_t)(x >> 32);
}

/* The seed of a token after those with seed before. */
static inline uint64_t kv_fake_seed(uint64_t before, int32_t token)
{
    return ((uint64_t)kv_fake_mix(before ^ (uint64_t)(uint32_t)token) << 32) |
           kv_fake_mix(before + 0x51ED270B * (uint64_t)(uint32_t)(token + 1));
}

/* Two words per slot: the first component of the first key (0), the last of the last value (1). */
static inline uint16_t kv_fake_word(uint64_t seed, int32_t layer, int which)
{
    return (uint16_t)kv_fake_mix(seed + (uint64_t)(uint32_t)layer * 2 + (uint64_t)which);
}

static inline uint16_t *kv_fake_at(void *open, const struct kv_layer *l, int32_t slot, int which)
{
    int32_t values = (2 * l->n_head - 1) * l->d_head * KV_PAGE;    /* of the last head */
    return (uint16_t *)open + (which == 0 ? slot : values + (slot + 1) * l->d_head - 1);
}

static inline uint32_t kv_fake_sum(const uint64_t *seeds, int32_t layer)
{
    uint64_t sum = 1;
    for (int32_t slot = 0; slot < KV_PAGE; slot++)
        for (int which = 0; which < 2; which++)
            sum = sum * 0x100000001B3u + kv_fake_word(seeds[slot], layer, which);
    return kv_fake_mix(sum);
}

/* Row at pos, the last of its page with the sealing. */
static inline void kv_fake_row(const struct kv_seq *s, const struct kv_layer *layers, int32_t n_layers,
                               int32_t pos, uint64_t seed)
{
    int32_t stride, page = pos / KV_PAGE, slot = pos % KV_PAGE;
    const struct kv_page *table = kv_seq_table(s, &stride);
    for (int32_t i = 0; i < n_layers; i++) {
        const struct kv_page *p = &table[(int64_t)i * stride + page];
        void *open = kv_fake_bytes(&layers[i], p->open);
        for (int which = 0; which < 2; which++)
            *kv_fake_at(open, &layers[i], slot, which) = kv_fake_word(seed, i, which);
        if (slot != KV_PAGE - 1 || !p->sealed)
            continue;
        uint64_t sum = 1;
        for (int32_t k = 0; k < KV_PAGE; k++)
            for (int which = 0; which < 2; which++)
                sum = sum * 0x100000001B3u + *kv_fake_at(open, &layers[i], k, which);
        uint32_t *sealed = kv_fake_bytes(&layers[i], p->sealed);
        sealed[0] = sealed[kv_sealed_bytes(&layers[i]) / 4 - 1] = kv_fake_mix(sum);
    }
}

/* What a row at pos would read of the n tokens that are there (pos >= n: all before it): -1 when all is as
 * the seeds say, else the first page that is not. rough: a page but the first may be
 * there in the sealed form alone though pos would have it open. */
static inline int32_t kv_fake_check(const struct kv_seq *s, const struct kv_layer *layers, int32_t n_layers,
                                    int32_t pos, int32_t n, const uint64_t *seeds, bool rough)
{
    int32_t stride;
    const struct kv_page *table = kv_seq_table(s, &stride);
    for (int32_t i = 0; i < n_layers; i++) {
        const struct kv_layer *l = &layers[i];
        int32_t first = l->window > 0 && pos >= l->window ? pos - l->window + 1 : 0;
        for (int32_t page = first / KV_PAGE; page * KV_PAGE < n; page++) {
            const struct kv_page *p = &table[(int64_t)i * stride + page];
            bool open = kv_reads_open(pos, page) && !(rough && page > 0 && !p->open);
            if (open || !kv_layer_seals(l)) {
                void *bytes = kv_fake_bytes(l, p->open);
                if (!bytes)
                    return page;
                for (int32_t k = page * KV_PAGE; k < n && k < (page + 1) * KV_PAGE; k++)
                    for (int which = 0; k >= first && which < 2; which++)
                        if (*kv_fake_at(bytes, l, k % KV_PAGE, which) != kv_fake_word(seeds[k], i, which))
                            return page;
            } else {
                const uint32_t *sealed = kv_fake_bytes(l, p->sealed);
                uint32_t sum = kv_fake_sum(seeds + page * KV_PAGE, i);
                if (!sealed || sealed[0] != sum || sealed[kv_sealed_bytes(l) / 4 - 1] != sum)
                    return page;
            }
        }
    }
    return -1;
}

#endif
