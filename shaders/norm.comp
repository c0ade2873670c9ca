// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/push.h"
#include "include/reduce.glsl"

// n[c] = x[row][c] * gain[c] / sqrt(mean over c of x[row][c]^2 + eps). A workgroup makes one row.
//   y[r] = n, or where ADD is 1  y[r] += scale * n;  row is r, or where PICK is 1 the r-th of a list.
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint ADD = 0;
layout(constant_id = 2) const uint PICK = 0;
layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { push_norm p; };
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Gain { float gain[]; };
layout(set = 0, binding = 2) buffer Y { float y[]; };
layout(set = 0, binding = 3) readonly buffer Rows { uint rows[]; };

void main()
{
    uint lane = gl_LocalInvocationID.x, to = gl_WorkGroupID.x * p.n_cols;
    uint from = (PICK == 1 ? rows[gl_WorkGroupID.x] : gl_WorkGroupID.x) * p.n_cols;
    precise float sum = 0;
    for (uint c = lane; c < p.n_cols; c += WG_SIZE)
        sum = fma(x[from + c], x[from + c], sum);
    sum = group_add(sum, lane, WG_SIZE);
    precise float factor = 1 / sqrt(sum / float(p.n_cols) + p.eps);
    for (uint c = lane; c < p.n_cols; c += WG_SIZE) {
        precise float n = x[from + c] * factor * gain[c];
        y[to + c] = ADD == 1 ? fma(p.scale, n, y[to + c]) : n;
    }
}
