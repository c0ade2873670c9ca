// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_16bit_storage : require
#include "include/push.h"
#include "include/page.glsl"
#include "include/reduce.glsl"

// What lies between the products q, k, v and attention. A workgroup makes one head of one row: norm, RoPE and scale of
// a query, in place; norm and RoPE of a key, which goes with its value into the open form of the row's page.
//
// Attention over rotated keys wants the query rotated too. It is turned here, once, into `turned`, and not in
// attn.comp, where each part of a row's pages would do it again.
layout(constant_id = 0) const uint D_HEAD = 64;
layout(constant_id = 1) const uint N_ROT = 0;           // components that RoPE turns
layout(constant_id = 2) const bool HALVES = false;      // pairs (i, i + N_ROT / 2), else (2i, 2i + 1)
layout(constant_id = 3) const bool Q_NORM = false;
layout(constant_id = 4) const bool K_NORM = false;
layout(constant_id = 5) const bool OPEN_F32 = false;
layout(constant_id = 6) const bool TURN_Q = false;
const uint WG_SIZE = 128;
layout(local_size_x = 128) in;
layout(push_constant) uniform Push { push_attn_in p; };
layout(set = 0, binding = 0) readonly buffer Rows { table_row rows[]; };
layout(set = 0, binding = 1) readonly buffer Table { table_page pages[]; };
layout(set = 0, binding = 2) buffer Q { float q[]; };
layout(set = 0, binding = 3) readonly buffer K { float k[]; };
layout(set = 0, binding = 4) readonly buffer V { float v[]; };
layout(set = 0, binding = 5) readonly buffer CosSin { float cos_sin[]; };
layout(set = 0, binding = 6) readonly buffer Gains { float gains[]; };
layout(set = 0, binding = 7) writeonly buffer Turned { float turned[]; };

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

void normalise(uint gain, uint lane)
{
    precise float sum = 0;
    for (uint c = lane; c < D_HEAD; c += WG_SIZE)
        sum = fma(x[c], x[c], sum);
    sum = group_add(sum, lane, WG_SIZE);
    float scale = 1 / sqrt(sum / float(D_HEAD) + p.eps);
    for (uint c = lane; c < D_HEAD; c += WG_SIZE)
        x[c] = x[c] * scale * gains[gain + c];
    barrier();
}

void turn_pairs(uint row, uint lane)
{
    for (uint i = lane; i < N_ROT / 2; i += WG_SIZE) {
        uint at = HALVES ? i : 2 * i, to = HALVES ? i + N_ROT / 2 : 2 * i + 1;
        uint angle = p.cos_sin + row * p.cos_sin_stride + 2 * i;
        float a = x[at], b = x[to], c = cos_sin[angle], s = cos_sin[angle + 1];
        x[at] = fma(a, c, -(b * s));
        x[to] = fma(a, s, b * c);
    }
    barrier();
}

void finish_q(uint row, uint head, uint lane)
{
    uint at = (row * p.n_head + head) * D_HEAD;
    for (uint c = lane; c < D_HEAD; c += WG_SIZE)
        x[c] = q[at + c];
    barrier();
    if (Q_NORM)
        normalise(0, lane);
    turn_pairs(row, lane);
    for (uint c = lane; c < D_HEAD; c += WG_SIZE) {
        x[c] *= p.scale;
        q[at + c] = x[c];
    }
    if (!TURN_Q)
        return;
    rotate(1, D_HEAD, D_HEAD, lane, WG_SIZE);
    for (uint c = lane; c < D_HEAD; c += WG_SIZE)
        turned[at + c] = x[c];
}

void store(uvec2 page, uint i, float value)
{
    if (OPEN_F32)
        PageFloats(page).at[i] = value;
    else
        PageShorts(page).at[i] = uint16_t(kv_to_f16(value));
}

void finish_kv(uint row, uint head, uint lane)
{
    uint at = (row * p.n_kv_head + head) * D_HEAD, pos = rows[row].pos, slot = pos % KV_PAGE;
    uvec2 page = page_address(pages[rows[row].table + p.layer_pages + pos / KV_PAGE].open);
    for (uint c = lane; c < D_HEAD; c += WG_SIZE) {
        x[c] = k[at + c];
        store(page, ((p.n_kv_head + head) * KV_PAGE + slot) * D_HEAD + c, v[at + c]);
    }
    barrier();
    if (K_NORM)
        normalise(D_HEAD, lane);
    turn_pairs(row, lane);
    for (uint c = lane; c < D_HEAD; c += WG_SIZE)
        store(page, (head * D_HEAD + c) * KV_PAGE + slot, x[c]);
}

void main()
{
    uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
    if (head < p.n_head)
        finish_q(row, head, lane);
    else
        finish_kv(row, head - p.n_head, lane);
}
