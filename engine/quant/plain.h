/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_PLAIN_H
#define QUIP_ENGINE_QUANT_PLAIN_H

#include <stdint.h>

/* Types without blocks. All go through memory byte by byte: rows in a file need no alignment. */
void quant_f32_to_f32(float *out, const void *blocks, int64_t n);
void quant_f16_to_f32(float *out, const void *blocks, int64_t n);
void quant_bf16_to_f32(float *out, const void *blocks, int64_t n);

void quant_f32_from_f32(void *blocks, const float *x, int64_t n, const float *importance);
void quant_f16_from_f32(void *blocks, const float *x, int64_t n, const float *importance);
void quant_bf16_from_f32(void *blocks, const float *x, int64_t n, const float *importance);

#endif
