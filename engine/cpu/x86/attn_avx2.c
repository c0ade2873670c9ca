/* SPDX-License-Identifier: MIT */
#include "engine/cpu/vec_tiers.h"
#include "engine/cpu/x86/simd_avx2.h"

/* 16 registers: 8 sums where 4 queries' factors and a key vector are held too, 12 where two vectors of keys are held
 * and factors pass. Two fmas start per cycle and take four, so 8 sums are what hides the latency. */
enum {
    ATTN_KEYS_1 = 8, ATTN_KEYS_2 = 4, ATTN_KEYS_3 = 4, ATTN_KEYS_4 = 2, ATTN_KEYS_6 = 2,
    ATTN_COLS_1 = 8, ATTN_COLS_2 = 4, ATTN_COLS_3 = 4, ATTN_COLS_4 = 2, ATTN_COLS_6 = 2
};
#include "engine/cpu/attn_simd.h"

void cpu_attn_init_avx2(struct cpu_vec *v)
{
    v->attn_page_f16 = attn_page_f16;
    v->attn_page_f32 = attn_page_f32;
    v->attn_merge = attn_merge;
}
