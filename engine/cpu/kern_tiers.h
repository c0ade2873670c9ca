/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_KERN_TIERS_H
#define QUIP_ENGINE_CPU_KERN_TIERS_H

#include "engine/cpu/cpu_kern.h"

/* Kernels are written once and inlined where their counts are constants. */
#define INLINE static inline __attribute__((always_inline))

/* Blocks of activations smaller than this count as zeros: 127 / a would leave f32's range. */
#define CPU_BLOCK_FLOOR 0x1p-100f

/* Each fills the entries its file implements; cpu_kern_init() calls them, weakest first. */
void cpu_acts_init_scalar(struct cpu_kern *k);
void cpu_matvec_init_scalar(struct cpu_kern *k);
void cpu_acts_init_avx2(struct cpu_kern *k);
void cpu_kern_init_avx2(struct cpu_kern *k);
void cpu_kern_init_avx512(struct cpu_kern *k);

#endif
