/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_F16_H
#define QUIP_ENGINE_QUANT_F16_H

#include <stdint.h>
#include <string.h>

/* IEEE half and bfloat16 as bit patterns. Conversions to f32 are exact; to f16 and bf16 they round to
 * nearest, ties to even, and keep NaN a (quiet) NaN. They equal F16C's instructions bit for bit. */
static inline float f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3FF;
    if (exponent == 31)
        return f32_from_bits(sign | 0x7F800000u | mantissa << 13 | (mantissa ? 0x400000u : 0));
    if (exponent == 0) {    /* zero or subnormal: mantissa * 2^-24, exact in f32 */
        float value = (float)mantissa * 0x1p-24f;
        return f32_from_bits(sign | f32_bits(value));
    }
    return f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t f16_from_f32(float value)
{
    uint32_t bits = f32_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7FFFFFFF;
    if (bits > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (bits >> 13 & 0x1FF));
    if (bits >= 0x47800000)    /* 65536 and up; 65520 to 65535 round up to infinity below */
        return (uint16_t)(sign | 0x7C00);
    if (bits < 0x38800000) {   /* below 2^-14: the sum with 0.5 puts the rounded mantissa in place */
        float shifted = f32_from_bits(bits) + 0.5f;
        return (uint16_t)(sign | (f32_bits(shifted) - 0x3F000000u));
    }
    uint32_t rounded = bits + 0xFFF + (bits >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

/* For values that must stay finite: beyond the largest half, that. */
static inline uint16_t f16_from_finite(float value)
{
    value = value > 65504.0f ? 65504.0f : value < -65504.0f ? -65504.0f : value;
    return f16_from_f32(value);
}

static inline float bf16_to_f32(uint16_t half)
{
    return f32_from_bits((uint32_t)half << 16);
}

static inline uint16_t bf16_from_f32(float value)
{
    uint32_t bits = f32_bits(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#endif
