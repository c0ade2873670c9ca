/* SPDX-License-Identifier: MIT */
#include "engine/cpu/vec_tiers.h"
#include "engine/cpu/x86/simd_avx512.h"

#include "engine/cpu/vec_loops.h"

void cpu_vec_init_avx512(struct cpu_vec *v)
{
    v->name = "avx512";
    vec_fill_table(v);
}
