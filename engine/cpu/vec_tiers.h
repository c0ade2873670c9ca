/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_VEC_TIERS_H
#define QUIP_ENGINE_CPU_VEC_TIERS_H

#include "engine/cpu/cpu_vec.h"

/* Each fills the entries its file implements; cpu_vec_init() calls them, weakest first. */
void cpu_vec_init_scalar(struct cpu_vec *v);
void cpu_attn_init_scalar(struct cpu_vec *v);
void cpu_vec_init_avx2(struct cpu_vec *v);
void cpu_attn_init_avx2(struct cpu_vec *v);
void cpu_vec_init_avx512(struct cpu_vec *v);
void cpu_attn_init_avx512(struct cpu_vec *v);

#endif
