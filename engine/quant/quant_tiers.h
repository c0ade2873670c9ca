/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_QUANT_TIERS_H
#define QUIP_ENGINE_QUANT_QUANT_TIERS_H

#include "engine/quant/quant_kern.h"

/* One table per tier, each from its own file. */
extern const struct quant_kern quant_kern_scalar;
extern const struct quant_kern quant_kern_avx2;
extern const struct quant_kern quant_kern_avx512;

#endif
