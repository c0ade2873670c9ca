/* SPDX-License-Identifier: MIT */
#include "engine/backend/kv_page.h"

#include <string.h>

static const char *const names[KV_N_TYPES] = {
    [KV_F16] = "f16", [KV_F32] = "f32", [KV_Q8_0] = "q8_0", [KV_Q4_0] = "q4_0", [KV_KV4] = "kv4", [KV_KV3] = "kv3",
};

/* Lloyd-Max for N(0, 1) with 8 levels: 0.2451, 0.7560, 1.3439, 2.1519 (Max 1960, table I), times 127 / 2.1519. */
const int8_t kv3_level[8] = { -127, -79, -45, -14, 14, 45, 79, 127 };

const char *kv_type_name(enum kv_type type)
{
    return names[type];
}

bool kv_type_find(enum kv_type *out, const char *name)
{
    for (int i = 0; i < KV_N_TYPES; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum kv_type)i;
            return true;
        }
    return false;
}

bool kv_type_fits(enum kv_type type, int32_t d_head)
{
    return !kv_type_sealed(type) || (d_head % 16 == 0 && d_head > 0 && d_head <= KV_MAX_HEAD);
}

int32_t kv_rotation(int32_t d_head)
{
    return d_head & -d_head;
}

int32_t kv_value_block(enum kv_type type, int32_t d_head)
{
    return kv_type_rotated(type) && d_head % (2 * KV_BLOCK) == 0 ? 2 * KV_BLOCK : KV_BLOCK;
}

/* Parity of a hash of the component: no pattern that a Hadamard row shares. */
float kv_sign(int32_t component)
{
    uint32_t h = (uint32_t)component * 0x9E3779B1u;
    h ^= h >> 15;
    h *= 0x85EBCA77u;
    return (h >> 31) ? -1.0f : 1.0f;
}

static size_t align64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* Codes of a head, without what a block of 16 adds to kv3. */
static size_t code_bytes(enum kv_type type, int32_t d_head)
{
    size_t n = (size_t)d_head * KV_PAGE;
    switch (type) {
    case KV_F16: return n * 2;
    case KV_F32: return n * 4;
    case KV_Q8_0: return n;
    case KV_Q4_0:
    case KV_KV4: return n / 2;
    case KV_KV3: return n / 4 + n / 8;
    case KV_N_TYPES: break;
    }
    return 0;
}

static size_t scale_bytes(enum kv_type type, int32_t n_blocks)
{
    return kv_type_sealed(type) ? (size_t)n_blocks * KV_PAGE * 2 : 0;
}

size_t kv_sealed_key_bytes(enum kv_type type, int32_t d_head)
{
    size_t bytes = code_bytes(type, d_head) + scale_bytes(type, (d_head + KV_BLOCK - 1) / KV_BLOCK);
    if (type == KV_KV3 && d_head % KV_BLOCK != 0)    /* high bits: a whole dword of keys for each block */
        bytes += (size_t)KV_PAGE * 2;
    if (kv_type_rotated(type))
        bytes += (size_t)d_head * 2;
    return align64(bytes);
}

size_t kv_sealed_value_bytes(enum kv_type type, int32_t d_head)
{
    int32_t block = kv_value_block(type, d_head);
    return align64(code_bytes(type, d_head) + scale_bytes(type, (d_head + block - 1) / block));
}

size_t kv_open_bytes(const struct kv_layer *l)
{
    return align64((size_t)l->n_head * (size_t)l->d_head * KV_PAGE * 2 * (l->k == KV_F32 ? 4 : 2));
}

size_t kv_sealed_bytes(const struct kv_layer *l)
{
    return kv_layer_seals(l) ? (size_t)l->n_head * (kv_sealed_key_bytes(l->k, l->d_head) +
                                                    kv_sealed_value_bytes(l->v, l->d_head))
                             : 0;
}
