/* SPDX-License-Identifier: MIT */
#include "tests/support/kv_images.h"

#include <string.h>

const struct kv_layer kv_images_layers[KV_IMAGES_LAYERS] = {
    { .k = KV_KV4, .v = KV_KV4, .n_head = 2, .d_head = 64 },
    { .k = KV_KV4, .v = KV_KV4, .n_head = 2, .d_head = 64, .window = 100 },
    { .k = KV_Q8_0, .v = KV_F16, .n_head = 1, .d_head = 80 },
};

struct kv_store_options kv_images_options(const char *dir, uint8_t key)
{
    struct kv_store_options o = { .dir = dir, .cap_bytes = 64 << 20, .layers = kv_images_layers,
                                  .n_layers = KV_IMAGES_LAYERS, .model = "Tiny One", .file = "tiny-1",
                                  .level = "Q8_0" };
    memset(o.key.bytes, key, sizeof o.key.bytes);
    return o;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void kv_images_tokens(int32_t *tokens, int32_t n_tokens, uint64_t stream)
{
    for (int32_t i = 0; i < n_tokens; i++)
        tokens[i] = (int32_t)(mix(stream * 1000003 + (uint64_t)i + 1) % 50000);
}

static uint64_t seed_of(const struct kv_image *image)
{
    uint64_t seed = (uint64_t)image->n_tokens;
    for (int32_t i = 0; i < image->n_tokens; i++)
        seed = mix(seed + (uint64_t)image->tokens[i]);
    return seed;
}

/* Of 8 bytes of a piece. */
static uint64_t word(uint64_t seed, int32_t piece, size_t at)
{
    return mix(seed + ((uint64_t)piece << 32) + at / 8);
}

struct kv_image *kv_images_make(struct kv_cache *kv, const int32_t *tokens, int32_t n_tokens)
{
    struct kv_image *image;
    struct err e;
    if (kv_image_new(&image, kv, tokens, n_tokens, &e) != ERR_OK)
        return NULL;
    uint64_t seed = seed_of(image);
    for (int32_t i = 0; i < image->n_pieces; i++)
        for (size_t at = 0; at < image->pieces[i].n_bytes; at += 8) {
            uint64_t w = word(seed, i, at);
            size_t left = image->pieces[i].n_bytes - at;
            memcpy((uint8_t *)image->pieces[i].bytes + at, &w, left < 8 ? left : 8);
        }
    return image;
}

bool kv_images_right(const struct kv_image *image)
{
    uint64_t seed = seed_of(image);
    for (int32_t i = 0; i < image->n_pieces; i++)
        for (size_t at = 0; at < image->pieces[i].n_bytes; at += 8) {
            uint64_t w = word(seed, i, at);
            size_t left = image->pieces[i].n_bytes - at;
            if (memcmp((const uint8_t *)image->pieces[i].bytes + at, &w, left < 8 ? left : 8) != 0)
                return false;
        }
    return true;
}
