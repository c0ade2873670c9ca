/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_WORDS_SCALAR_H
#define QUIP_ENGINE_BASE_WORDS_SCALAR_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* The vector words that kernels and quantisers have in common, for one lane in plain C: the definition. */
enum { LANES = 1 };
typedef float vec;
typedef bool vec_mask;

static inline vec v_set(float a) { return a; }
static inline vec v_load(const float *p) { return *p; }
static inline void v_store(float *p, vec a) { *p = a; }
static inline vec v_add(vec a, vec b) { return a + b; }
static inline vec v_sub(vec a, vec b) { return a - b; }
static inline vec v_mul(vec a, vec b) { return a * b; }
static inline vec v_div(vec a, vec b) { return a / b; }
static inline vec v_max(vec a, vec b) { return a > b ? a : b; }
static inline vec v_min(vec a, vec b) { return a < b ? a : b; }
static inline vec v_abs(vec a) { return fabsf(a); }
static inline vec_mask v_less(vec a, vec b) { return a < b; }
static inline vec v_select(vec_mask m, vec yes, vec no) { return m ? yes : no; }

/* Whole part, 0 to 255. */
static inline void v_store_u8(uint8_t *p, vec a) { *p = (uint8_t)(int32_t)a; }

#endif
