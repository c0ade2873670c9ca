/* SPDX-License-Identifier: MIT */
#include "engine/cpu/vec_tiers.h"
#include "engine/cpu/x86/simd_avx2.h"

#include "engine/cpu/vec_loops.h"

void cpu_vec_init_avx2(struct cpu_vec *v)
{
    v->name = "avx2";
    vec_fill_table(v);
}
