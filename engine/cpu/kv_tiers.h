/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_KV_TIERS_H
#define QUIP_ENGINE_CPU_KV_TIERS_H

#include "engine/cpu/cpu_kv.h"

/* Each fills the entries its file implements; cpu_kv_init() calls them, weakest first. */
void cpu_kv_init_avx2(struct cpu_kv_kern *k);
void cpu_kv_init_avx512(struct cpu_kv_kern *k);
void cpu_kv_seal_init_scalar(struct cpu_kv_kern *k);
void cpu_kv_seal_init_avx2(struct cpu_kv_kern *k);
void cpu_kv_seal_init_avx512(struct cpu_kv_kern *k);

/* Bytes from the start of one head's keys or values to the parts of it (kv_page.h), and how scales go. */
struct cpu_kv_parts {
    size_t mean, scale, codes;
    size_t high;                /* kv3: of the bits that do not fit the low two */
    int32_t block, n_blocks;    /* components with one scale; the last may be of fewer */
};

static inline struct cpu_kv_parts cpu_kv_parts(enum kv_type type, int32_t d, bool keys)
{
    struct cpu_kv_parts p = { 0 };
    if (!kv_type_sealed(type))
        return p;
    size_t n = (size_t)d;
    p.scale = keys && kv_type_rotated(type) ? n * sizeof(uint16_t) : 0;
    p.block = keys ? KV_BLOCK : kv_value_block(type, d);
    p.n_blocks = (d + p.block - 1) / p.block;
    p.codes = p.scale + (size_t)p.n_blocks * KV_PAGE * sizeof(uint16_t);
    p.high = p.codes + n * KV_PAGE / 4;
    return p;
}

#endif
