/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kv_tiers.h"
#include "engine/cpu/simd_scalar.h"

#include "engine/cpu/kv_seal_loops.h"

size_t cpu_kv_seal_floats(int32_t d)
{
    return (size_t)d * KV_PAGE * 3 / 2;
}

void cpu_kv_seal_init_scalar(struct cpu_kv_kern *k)
{
    k->seal = seal;
}
