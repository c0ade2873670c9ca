/* SPDX-License-Identifier: MIT */
#include "engine/cpu/vec_tiers.h"
#include "engine/cpu/x86/simd_avx512.h"

/* 32 registers hold the 24 sums of 6 queries, a whole page of keys and a factor. */
enum {
    ATTN_KEYS_1 = 4, ATTN_KEYS_2 = 4, ATTN_KEYS_3 = 4, ATTN_KEYS_4 = 4, ATTN_KEYS_6 = 4,
    ATTN_COLS_1 = 4, ATTN_COLS_2 = 4, ATTN_COLS_3 = 4, ATTN_COLS_4 = 4, ATTN_COLS_6 = 4
};
#include "engine/cpu/attn_simd.h"

void cpu_attn_init_avx512(struct cpu_vec *v)
{
    v->attn_page_f16 = attn_page_f16;
    v->attn_page_f32 = attn_page_f32;
    v->attn_merge = attn_merge;
}
