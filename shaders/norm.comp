// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/push.h"
#include "include/reduce.glsl"

// y[r][c] = x[r][c] * gain[c] / sqrt(mean over c of x[r][c]^2 + eps). A workgroup makes one row.
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { push_norm p; };
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Gain { float gain[]; };
layout(set = 0, binding = 2) writeonly buffer Y { float y[]; };

void main()
{
    uint row = gl_WorkGroupID.x * p.n_cols, lane = gl_LocalInvocationID.x;
    precise float sum = 0;
    for (uint c = lane; c < p.n_cols; c += WG_SIZE)
        sum = fma(x[row + c], x[row + c], sum);
    sum = group_add(sum, lane, WG_SIZE);
    float scale = 1 / sqrt(sum / float(p.n_cols) + p.eps);
    for (uint c = lane; c < p.n_cols; c += WG_SIZE)
        y[row + c] = x[row + c] * scale * gain[c];
}
