// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_16bit_storage : require
#include "include/push.h"
#include "include/page.glsl"
#include "include/reduce.glsl"

// The parts of a row that attn.comp left in the scratch, added in their order. A workgroup makes one head of one row.
layout(constant_id = 0) const uint D_HEAD = 64;
layout(constant_id = 1) const bool TURN_BACK = false;    // values are rotated
layout(constant_id = 2) const bool SINKS = false;        // beside the parts: a key that scores so, and has no value
const uint WG_SIZE = 128;
const uint EACH = (D_HEAD + WG_SIZE - 1) / WG_SIZE;
layout(local_size_x = 128) in;
layout(push_constant) uniform Push { push_attn p; };
layout(set = 0, binding = 0) readonly buffer Rows { table_row rows[]; };
layout(set = 0, binding = 1) readonly buffer Scratch { float scratch[]; };
layout(set = 0, binding = 2) writeonly buffer Out { float result[]; };
layout(set = 0, binding = 3) readonly buffer Sinks { float sinks[]; };    // if SINKS

shared float share[WG_SIZE], sum[WG_SIZE];
shared float x[D_HEAD];

float rotate_get(uint i)
{
    return x[i];
}

void rotate_put(uint i, float value)
{
    x[i] = value;
}
#include "include/rotate.glsl"

void main()
{
    uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
    uint pos = rows[p.row0 + row].pos, part_keys = TABLE_PART_PAGES * KV_PAGE;
    uint n_parts = pos / part_keys - page_first_key(pos, p.window) / part_keys + 1;
    uint at = (row * p.n_head + head) * p.max_parts, sums = p.n_rows * p.n_head * p.max_parts * 2 + at * D_HEAD;
    float m = -3.402823e38, l = 0, o[EACH];
    for (uint part = lane; part < n_parts; part += WG_SIZE)
        m = max(m, scratch[(at + part) * 2]);
    m = group_max(m, lane, WG_SIZE);
    if (SINKS) {
        m = max(m, sinks[head]);
        l = exp(sinks[head] - m);
    }
    for (uint i = 0; i < EACH; i++)
        o[i] = 0;
    for (uint first = 0; first < n_parts; first += WG_SIZE) {
        uint n = min(n_parts - first, WG_SIZE);
        barrier();
        if (lane < n) {
            share[lane] = exp(scratch[(at + first + lane) * 2] - m);
            sum[lane] = scratch[(at + first + lane) * 2 + 1];
        }
        barrier();
        for (uint part = 0; part < n; part++) {
            l = fma(sum[part], share[part], l);
            for (uint i = 0, c = lane; c < D_HEAD; i++, c += WG_SIZE)
                o[i] = fma(scratch[sums + (first + part) * D_HEAD + c], share[part], o[i]);
        }
    }
    float r = 1 / l;
    for (uint i = 0, c = lane; c < D_HEAD; i++, c += WG_SIZE)
        x[c] = o[i] * r;
    if (TURN_BACK)
        rotate_back(1, D_HEAD, D_HEAD, lane, WG_SIZE);
    uint to = ((p.row0 + row) * p.n_head + head) * D_HEAD;
    for (uint c = lane; c < D_HEAD; c += WG_SIZE)
        result[to + c] = x[c];
}
