/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_EXACT_TIERS_H
#define QUIP_ENGINE_CPU_EXACT_TIERS_H

#include "engine/cpu/cpu_exact.h"
#include "engine/cpu/kern_tiers.h"

/* Sums of one result, and weight rows of a tile. */
enum { EXACT_LANES = 16, EXACT_ROWS = 4 };

INLINE float exact_fold(const double sum[EXACT_LANES])
{
    double total = 0;
    for (int lane = 0; lane < EXACT_LANES; lane++)
        total += sum[lane];
    return (float)total;
}

cpu_exact_fn cpu_exact_avx2(void);
cpu_exact_fn cpu_exact_avx512(void);

#endif
