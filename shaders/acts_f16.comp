// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/push.h"
#include "include/reduce.glsl"

// Rows of activations in f16, for matmul_coop.comp.
//
//   acts    [rows][n_units]   32 halves; rows: n_acts, and more to whole tiles, which are left as they are
//   scales  [n_acts]          what results are multiplied with
//
// A row is multiplied with the power of two that brings its largest number to 2^13 or more and below 2^14: nothing
// becomes infinite, and what is up to 2^28 times smaller keeps all bits that f16 has.
//
// A workgroup makes one row.
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { push_acts p; };
layout(set = 0, binding = 0) readonly buffer X { vec4 x[]; };
layout(set = 0, binding = 1) writeonly buffer Acts { uvec2 acts[]; };
layout(set = 0, binding = 1) writeonly buffer Scales { float scales[]; };

void main()
{
    uint lane = gl_LocalInvocationID.x, row = gl_WorkGroupID.x, first = row * p.n_units * 8;
    float most = 0;
    for (uint i = lane; i < p.n_units * 8; i += WG_SIZE) {
        vec4 v = abs(x[first + i]);
        most = max(max(most, max(v.x, v.y)), max(v.z, v.w));
    }
    most = group_max(most, lane, WG_SIZE);
    uint exponent = clamp(floatBitsToUint(most) >> 23, 27, 254);    // and 127; rows below 2^-100 stay that much smaller
    float up = uintBitsToFloat(267 - exponent << 23);
    if (lane == 0)
        scales[push_rows_of_tiles(p.n_acts) * p.n_units * 16 + row] = uintBitsToFloat(exponent - 13 << 23);
    for (uint i = lane; i < p.n_units * 8; i += WG_SIZE) {
        vec4 v = up * x[first + i];
        acts[first + i] = uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
    }
}
