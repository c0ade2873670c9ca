/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_CPU_BACKEND_H
#define QUIP_ENGINE_CPU_CPU_BACKEND_H

#include "engine/backend/backend.h"
#include "engine/base/pool.h"

enum cpu_tier { CPU_TIER_EXACT, CPU_TIER_SCALAR, CPU_TIER_AVX2, CPU_TIER_AVX512, CPU_N_TIERS };

/* "exact", "scalar", "avx2", "avx512". */
const char *cpu_tier_name(enum cpu_tier tier);
/* Which of them this machine can run; the best one. */
bool cpu_tier_available(enum cpu_tier tier);
enum cpu_tier cpu_tier_best(void);

/* Computes on the threads of pool, which must outlive it.
 * Errors: ERR_UNSUPPORTED for a tier this machine does not have. */
enum err_code cpu_backend_create(struct backend **out, enum cpu_tier tier, struct pool *pool, struct err *e);

#endif
