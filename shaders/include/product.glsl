// SPDX-License-Identifier: MIT
// What matvec.comp and matmul.comp have in common: the buffers of a product, and what becomes of a sum.
#ifndef PRODUCT_GLSL
#define PRODUCT_GLSL

layout(constant_id = 3) const uint MODE = 0;
const uint STORE = 0, ADD = 1, SILU = 2, GELU = 3;    // the last two: of two matrices
const uint MATRICES = MODE >= SILU ? 2 : 1;

layout(push_constant) uniform Push { push_product p; };
layout(set = 0, binding = 0) readonly buffer A4 { uvec4 a4[]; };
layout(set = 0, binding = 0) readonly buffer A2 { uvec2 a2[]; };
layout(set = 0, binding = 0) readonly buffer A1 { uint a1[]; };
layout(set = 0, binding = 0) readonly buffer AH { uint16_t ah[]; };
layout(set = 0, binding = 1) readonly buffer B4 { uvec4 b4[]; };
layout(set = 0, binding = 1) readonly buffer B2 { uvec2 b2[]; };
layout(set = 0, binding = 1) readonly buffer B1 { uint b1[]; };
layout(set = 0, binding = 1) readonly buffer BH { uint16_t bh[]; };
#ifdef INT8
layout(set = 0, binding = 2) readonly buffer Acts { uvec4 acts[]; };    // of acts.comp
layout(set = 0, binding = 2) readonly buffer Flags { uint flags[]; };
#elif defined COOP
layout(set = 0, binding = 2) readonly buffer Acts { f16vec4 acts[]; };  // of acts_f16.comp
layout(set = 0, binding = 2) readonly buffer Scales { float scales[]; };
#else
layout(set = 0, binding = 2) readonly buffer X { vec4 x[]; };
#endif
layout(set = 0, binding = 3) buffer Y { float y[]; };
layout(set = 0, binding = 4) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 5) readonly buffer Bias2 { float bias2[]; };

#define PLANE(type, name, a, b)         \
    type name(uint matrix, uint i)      \
    {                                   \
        if (matrix == 0)                \
            return type(a[i]);          \
        return type(b[i]);              \
    }
PLANE(uvec4, words4, a4, b4)
PLANE(uvec2, words2, a2, b2)
PLANE(uint, words1, a1, b1)
PLANE(uint, half_bits, ah, bh)

float half1(uint matrix, uint i)
{
    return unpackHalf2x16(half_bits(matrix, i)).x;
}

vec2 half2(uint matrix, uint i)
{
    return unpackHalf2x16(words1(matrix, i));
}

#include "act.glsl"
#include "weight.glsl"

float cap_of(float v)
{
    float a = abs(v / p.cap), t;
    if (a < 0.625) {    // where 1 - 2 / (e^2a + 1) loses digits; numbers of engine/cpu/vec_math.h
        float z = a * a;
        t = fma(-0.00609671417, z, 0.020997179);
        t = fma(t, z, -0.0538509096);
        t = fma(t, z, 0.133327697);
        t = fma(t, z, -0.333333289);
        t = fma(a * z, t, a);
    } else {
        t = 1 - 2 / (exp(min(2 * a, 80)) + 1);
    }
    return v < 0 ? -p.cap * t : p.cap * t;
}

void finish_at(uint at, float v, float v2)
{
    if (MODE >= SILU)
        y[at] = act(MODE == SILU ? 0 : 1, v) * v2;
    else if (MODE == ADD)
        y[at] = fma(p.scale, v, y[at]);
    else
        y[at] = p.cap > 0 ? cap_of(p.scale * v) : p.scale * v;
}

// col: the row of activations.
void finish(uint row, uint col, float v, float v2)
{
    if (p.has_bias != 0)
        v += bias[p.row0 + row];
    if (p.has_bias2 != 0)
        v2 += bias2[p.row0 + row];
    finish_at(col * p.y_stride + p.row0 + row, v, v2);
}

#endif
