/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/words_scalar.h"
#include "engine/quant/f16.h"
#include "engine/quant/quant_tiers.h"

/* The other words of quant_loops.h for one lane in plain C: the definition. */
static inline vec v_sqrt(vec a) { return sqrtf(a); }
static inline vec v_whole_part(vec a) { return (float)(int32_t)a; }
static inline vec_mask v_differ(vec a, vec b) { return a != b; }
static inline vec_mask v_both(vec_mask a, vec_mask b) { return a && b; }
static inline bool v_any(vec_mask m) { return m; }

/* 2^-n for 2^n <= a < 2^(n + 1), n from -126 to 126. */
static inline vec v_power_inverse(vec a) { return f32_from_bits(0x7F000000u - (f32_bits(a) & 0x7F800000u)); }

static inline vec v_load_f16(const void *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return f16_to_f32(half);
}

static inline void v_store_f16(void *p, vec a)
{
    uint16_t half = f16_from_f32(a);
    memcpy(p, &half, sizeof half);
}

static inline void v_turn(float *out, const float *in, int32_t run) { memcpy(out, in, (size_t)run * sizeof *out); }

#include "engine/quant/quant_loops.h"

const struct quant_kern quant_kern_scalar = QUANT_TABLE;
