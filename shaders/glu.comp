// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/push.h"
#include "include/act.glsl"

// gate = act(gate) * up, where the two come from matrices of different types (else matvec.comp does it on the way). A
// workgroup makes WG_SIZE columns of one row: a grid of one dimension has 65535 groups on some devices.
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint ACT = 0;
layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { push_glu p; };
layout(set = 0, binding = 0) buffer Gate { float gate[]; };
layout(set = 0, binding = 1) readonly buffer Up { float up[]; };

void main()
{
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationID.x, i = gl_WorkGroupID.y * p.n_cols + c;
    if (c < p.n_cols)
        gate[i] = act(ACT, gate[i]) * up[i];
}
