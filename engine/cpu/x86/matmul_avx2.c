/* SPDX-License-Identifier: MIT */
#include "engine/cpu/x86/lanes_avx2.h"

#include "engine/cpu/float_product.h"
#include "engine/cpu/lanes_product.h"

void cpu_kern_init_avx2(struct cpu_kern *k)
{
    k->name = "avx2";
    lanes_fill_table(k);
    float_fill_table(k);
}
