/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kv_tiers.h"
#include "engine/cpu/x86/kv_turn.h"
#include "engine/cpu/x86/simd_avx2.h"

#include "engine/cpu/kv_seal_loops.h"

void cpu_kv_seal_init_avx2(struct cpu_kv_kern *k)
{
    k->seal = seal;
}
