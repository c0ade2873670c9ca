// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#include "include/push.h"
#include "include/table.h"

// x[r] = scale * the weights of row rows[r].token, where that row is one of this chunk; a lane makes 32 columns of one row.
// Where a row has no token it is the one that best.comp has found best, of entry r, in the step before.
//
// The same bits as engine/quant decodes to: codes and scales have so few bits that their products are exact, and what is
// left to round is one sum and one product. A device that takes subnormal halves for 0 is the exception; its matrix products
// are off as well then.
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push { push_embed p; };
layout(set = 0, binding = 0) readonly buffer W4 { uvec4 w4[]; };
layout(set = 0, binding = 0) readonly buffer W2 { uvec2 w2[]; };
layout(set = 0, binding = 0) readonly buffer W1 { uint w1[]; };
layout(set = 0, binding = 0) readonly buffer WH { uint16_t wh[]; };
layout(set = 0, binding = 1) readonly buffer Rows { table_row rows[]; };
layout(set = 0, binding = 2) readonly buffer Best { uvec2 best[]; };
layout(set = 0, binding = 3) writeonly buffer X { vec4 x[]; };

uvec4 words4(uint matrix, uint i)
{
    return w4[i];
}

uvec2 words2(uint matrix, uint i)
{
    return w2[i];
}

uint words1(uint matrix, uint i)
{
    return w1[i];
}

float half1(uint matrix, uint i)
{
    return unpackHalf2x16(uint(wh[i])).x;
}

vec2 half2(uint matrix, uint i)
{
    return unpackHalf2x16(w1[i]);
}

#include "include/weight.glsl"

void main()
{
    uint unit = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationID.x, r = gl_WorkGroupID.y;
    weight_prepare(gl_LocalInvocationID.x, WG_SIZE);
    uint token = rows[r].token;
    if (token == TABLE_NO_TOKEN)
        token = best[r].x;
    uint row = token - p.row0;    // of a row before the chunk's first: beyond its last
    if (row >= p.n_rows || unit >= p.n_units)
        return;
    weight_unit w = weight_load(0, row * p.n_units + unit);
    [[unroll]] for (uint g = 0; g < 8; g++) {
        uint run = g / (8 / RUNS);
        precise vec4 v = weight_codes(w, g);
#if BITS < 16    // the others are left untouched, be they subnormal
        v *= w.scale[run];
#endif
#ifdef HAS_OFFSET
        v += w.offset[run];
#endif
        if (p.scale != 1)
            v *= p.scale;
        x[(r * p.n_units + unit) * 8 + g] = v;
    }
}
