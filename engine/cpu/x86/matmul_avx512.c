/* SPDX-License-Identifier: MIT */
#include "engine/cpu/x86/lanes_avx512.h"

#include "engine/cpu/float_product.h"
#include "engine/cpu/lanes_product.h"

void cpu_kern_init_avx512(struct cpu_kern *k)
{
    k->name = "avx512";
    lanes_fill_table(k);
    float_fill_table(k);
}
