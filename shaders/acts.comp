// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/push.h"
#include "include/reduce.glsl"

// Rows of activations in eight bits, for matmul.comp: the arithmetic of engine/cpu/cpu_kern.h. Per 32 of them three
// words of 16 bytes, in two planes: the row as int8, and for an outlier what that leaves of it.
//
//   acts   [2][n_acts][n_units]   32 codes; d, and d times the sums of all codes, of the first 16, of the others
//   flags  [n_acts]               1: the row is an outlier and has a second plane
//
// A workgroup makes one row.
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { push_acts p; };
layout(set = 0, binding = 0) readonly buffer X { vec4 x[]; };
layout(set = 0, binding = 1) writeonly buffer Acts { uvec4 acts[]; };
layout(set = 0, binding = 1) writeonly buffer Flags { uint flags[]; };

const float OUTLIER = 10;              // times the root mean square: CPU_OUTLIER
const float FLOOR = 7.8886091e-31;     // 2^-100; of smaller numbers 127 / a might not be finite

bool is_outlier(uint row, uint lane)
{
    precise float sum = 0;
    float most = 0;
    for (uint i = lane; i < p.n_units * 8; i += WG_SIZE) {
        vec4 v = x[row * p.n_units * 8 + i];
        sum = fma(v.x, v.x, fma(v.y, v.y, fma(v.z, v.z, fma(v.w, v.w, sum))));
        v = abs(v);
        most = max(max(most, max(v.x, v.y)), max(v.z, v.w));
    }
    sum = group_add(sum, lane, WG_SIZE);
    most = group_max(most, lane, WG_SIZE);
    return most > OUTLIER * sqrt(sum / float(p.n_units * 32));
}

// The bounds keep an infinity or a NaN from becoming a code that products do not expect.
int round_to_code(float v)
{
    v = roundEven(v);
    return v > 127 ? 127 : v >= -127 ? int(v) : -127;
}

// Writes 32 numbers and leaves what is left of them.
void quantize(inout vec4 v[8], uint to)
{
    float a = 0;
    [[unroll]] for (uint g = 0; g < 8; g++)
        [[unroll]] for (uint i = 0; i < 4; i++)
            a = abs(v[g][i]) > a ? abs(v[g][i]) : a;
    if (a < FLOOR)
        a = 0;
    precise float step = a / 127, inverse = a > 0 ? 127 / a : 0;
    uint words[8];
    int sums[2] = { 0, 0 };
    [[unroll]] for (uint g = 0; g < 8; g++) {
        ivec4 code;
        [[unroll]] for (uint i = 0; i < 4; i++)
            code[i] = round_to_code(v[g][i] * inverse);
        v[g] = fma(vec4(-step), vec4(code), v[g]);
        sums[g / 4] += code.x + code.y + code.z + code.w;
        code &= 255;
        words[g] = uint(code.x | code.y << 8 | code.z << 16 | code.w << 24);
    }
    acts[to] = uvec4(words[0], words[1], words[2], words[3]);
    acts[to + 1] = uvec4(words[4], words[5], words[6], words[7]);
    acts[to + 2] = floatBitsToUint(step * vec4(1, sums[0] + sums[1], sums[0], sums[1]));
}

void main()
{
    uint lane = gl_LocalInvocationID.x, row = gl_WorkGroupID.x;
    bool outlier = is_outlier(row, lane);
    if (lane == 0)
        flags[24 * p.n_acts * p.n_units + row] = outlier ? 1 : 0;
    for (uint unit = lane; unit < p.n_units; unit += WG_SIZE) {
        uint at = row * p.n_units + unit;
        vec4 v[8];
        [[unroll]] for (uint g = 0; g < 8; g++)
            v[g] = x[at * 8 + g];
        quantize(v, at * 3);
        if (outlier)
            quantize(v, (p.n_acts * p.n_units + at) * 3);
    }
}
