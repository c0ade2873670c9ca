// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#include "include/exact.glsl"
#include "include/kv.glsl"
#include "include/push.h"
#include "include/table.h"

// Seals full pages: the bytes of engine/cpu/kv_seal_loops.h, operation by operation in its order. A workgroup makes the
// keys or the values of one head of one page.
//
// Shared memory holds TOKENS tokens of a head at a time, so that 16 KiB do for every size. What a token gets depends on
// that token alone, except for the mean of rotated keys: those are rotated once for the mean and again, tile by tile,
// for their codes.
//
//   open f16 -> x [D][TOKENS] f32 -> rotate -> less the mean -> four tries at a scale -> the best -> codes, in place of
//   x -> packed
//
// A lane takes 16 components of a token, a pair of a butterfly, a block's try, or what goes into a dword; where that
// dword takes tokens of more than one tile (values), the lane keeps it until it is full.
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint D = 128;
layout(constant_id = 2) const uint K_TYPE = 4;    // KV_KV4
layout(constant_id = 3) const uint V_TYPE = 4;
layout(local_size_x_id = 0) in;
layout(push_constant) uniform Push { push_seal p; };
layout(set = 0, binding = 0) readonly buffer Table { table_page table[]; };
layout(set = 0, binding = 1) readonly buffer List { uint list[]; };

const uint TOKENS = D <= 32 ? 64 : D <= 64 ? 32 : D <= 128 ? 16 : D <= 256 ? 8 : 4;
const uint STRIDE = TOKENS + 1;    // odd: components of a token lie in different banks
const uint TILES = KV_PAGE / TOKENS;
const uint PER_LANE = (D + WG_SIZE - 1) / WG_SIZE;    // components of a lane that takes all their tokens
const uint TRIES = 4;
const uint MAX_BLOCKS = 64;    // of a tile: a block for each token, or 2048 components in blocks of 32

shared float x[D * STRIDE];
shared float mean[D];
shared float try_xq[MAX_BLOCKS * TRIES], try_qq[MAX_BLOCKS * TRIES];
shared float inverses[MAX_BLOCKS];

// ---- rotation ----------------------------------------------------------------------------------------------------

// Tokens in the order in which their mean is added up: lanes of 16 first, j, j + 16, j + 32, j + 48, and j such that
// halves of the lanes fold (8 apart, then 4 ..) as soon as both are there.
uint mean_token(uint i)
{
    return (bitfieldReverse(i / 4) >> 28) + i % 4 * 16;
}

// What is not finite becomes 0. Without the factor that makes the rotation orthonormal.
void load_tile(PageShorts open, bool keys, bool rotated, uint tile, bool for_mean)
{
    const uint lane = gl_LocalInvocationID.x;
    barrier();    // the tile of before may still be being read
    for (uint e = lane; e < D / 16 * TOKENS; e += WG_SIZE) {
        uint slot = keys ? e % TOKENS : e / (D / 16), first = (keys ? e / TOKENS : e % (D / 16)) * 16;
        uint token = for_mean ? mean_token(tile * TOKENS + slot) : tile * TOKENS + slot;
        precise float row[16];
        [[unroll]] for (uint i = 0; i < 16; i++) {
            uint c = first + i, bits = uint(open.at[keys ? c * KV_PAGE + token : token * D + c]);
            bits ^= rotated && kv_negative(c) ? 0x8000u : 0u;
            row[i] = (bits & 0x7C00u) == 0x7C00u ? 0.0 : kv_from_f16(bits);
        }
        if (rotated)
            [[unroll]] for (uint apart = 1; apart < 16; apart *= 2)
                [[unroll]] for (uint i = 0; i < 16; i++)
                    if ((i & apart) == 0) {
                        precise float a = row[i], b = row[i + apart];
                        row[i] = a + b;
                        row[i + apart] = a - b;
                    }
        [[unroll]] for (uint i = 0; i < 16; i++)
            x[(first + i) * STRIDE + slot] = row[i];
    }
    barrier();
    for (uint apart = 16; rotated && apart < kv_rotation(D); apart *= 2) {
        for (uint e = lane; e < D / 2 * TOKENS; e += WG_SIZE) {
            uint pair = e / TOKENS, c = pair / apart * 2 * apart + pair % apart;
            uint at = c * STRIDE + e % TOKENS, other = at + apart * STRIDE;
            precise float a = x[at], b = x[other];
            precise float sum = a + b, difference = a - b;
            x[at] = sum;
            x[other] = difference;
        }
        barrier();
    }
}

// What load_tile left to do for types that rotate.
void settle(bool keys)
{
    for (uint e = gl_LocalInvocationID.x; e < D * TOKENS; e += WG_SIZE) {
        uint c = e / TOKENS, at = c * STRIDE + e % TOKENS;
        precise float a = x[at] * p.norm;
        if (keys)
            a = a - mean[c];
        x[at] = a;
    }
    barrier();
}

// The sum of 16 lanes as halves fold, one lane more: level[n] keeps a sum of 2^n that waits for its other half.
float fold(inout float level[4], float value, uint i)
{
    precise float sum = value;
    [[unroll]] for (uint n = 0; n < 4; n++) {
        if ((i >> n & 1u) == 0) {
            level[n] = sum;
            break;
        }
        sum = level[n] + sum;
    }
    return sum;
}

void make_mean(PageShorts open, PageShorts sealed)
{
    const uint lane = gl_LocalInvocationID.x;
    float level[PER_LANE][4], sum[PER_LANE];
    for (uint tile = 0; tile < TILES; tile++) {
        load_tile(open, true, true, tile, true);
        for (uint n = 0; n < PER_LANE; n++) {
            uint at = (n * WG_SIZE + lane) * STRIDE;
            for (uint slot = 0; slot < TOKENS && at < D * STRIDE; slot += 4, at += 4) {
                precise float four = x[at] * p.norm;
                [[unroll]] for (uint i = 1; i < 4; i++)
                    four = four + x[at + i] * p.norm;
                sum[n] = fold(level[n], four, (tile * TOKENS + slot) / 4);
            }
        }
    }
    for (uint n = 0; n < PER_LANE; n++) {
        uint c = n * WG_SIZE + lane;
        if (c < D) {
            precise float m = clamp(sum[n] * (1.0 / 64), -65504.0, 65504.0);
            uint bits = m == 0 ? 0 : kv_to_f16(m);    // a sum that began with 0 is never -0
            mean[c] = kv_from_f16(bits);
            sealed.at[c] = uint16_t(bits);
        }
    }
    barrier();
}

// ---- scales ------------------------------------------------------------------------------------------------------

float inverse_of(float d)
{
    return d == 0 ? 0 : exact_div(1.0, d);
}

float code_kv4(float a)
{
    return clamp(roundEven(a), -8.0, 7.0);
}

// Index of the level nearest to a magnitude, and that level.
uint nearest_kv3(float size)
{
    return size < 62.0 ? (size < 29.5 ? 0 : 1) : size < 103.0 ? 2 : 3;
}

float level_kv3(float size)
{
    return size < 62.0 ? (size < 29.5 ? 14.0 : 45.0) : size < 103.0 ? 79.0 : 127.0;
}

// The component of the largest magnitude, the first among equals.
float extreme(uint at, uint n)
{
    float most = 0, of = 0;
    for (uint c = 0; c < n; c++) {
        float a = x[at + c * STRIDE];
        if (most < abs(a)) {
            most = abs(a);
            of = a;
        }
    }
    return of;
}

// One of the tries of kv4 and kv3: codes by a scale chosen beforehand, and the sums that refit it.
void try_scale(uint type, uint at, uint n, uint item)
{
    const vec4 large = type == KV_KV4 ? vec4(-9.6, -9.0, -8.4, -7.8) : vec4(132, 145, 160, 178);
    const vec4 small = type == KV_KV4 ? vec4(-8.8, -8.4, -8.0, -7.2) : vec4(125, 137.5, 150, 165);
    float most = extreme(at, n), xq = 0;
    if (type == KV_KV3)
        most = abs(most);
    precise float inverse = inverse_of(most) * (n > KV_BLOCK ? large : small)[item % TRIES], qq = 0;
    for (uint c = 0; c < n; c++) {
        float a = x[at + c * STRIDE];
        if (type == KV_KV3)
            a = abs(a);
        precise float scaled = a * inverse;
        float q = type == KV_KV3 ? level_kv3(scaled) : code_kv4(scaled);
        xq = exact_fma(a, q, xq);
        qq = qq + q * q;    // whole numbers
    }
    try_xq[item] = xq;
    try_qq[item] = qq;
}

// The refitted scale of the try that leaves the smallest error.
float best_scale(uint first)
{
    precise float best = 0, best_xq = 0, best_qq = 1;
    for (uint i = first; i < first + TRIES; i++) {
        precise float gain = try_xq[i] * try_xq[i], ours = gain * best_qq, theirs = best * try_qq[i];
        if (theirs < ours) {
            best = gain;
            best_xq = try_xq[i];
            best_qq = try_qq[i];
        }
    }
    return best_xq == 0 ? 0 : exact_div(best_xq, best_qq);
}

void make_scales(PageShorts sealed, kv_parts parts, uint type, uint tile)
{
    const uint n_items = (D + parts.block - 1) / parts.block * TOKENS, lane = gl_LocalInvocationID.x;
    if (kv_rotated(type)) {
        for (uint e = lane; e < n_items * TRIES; e += WG_SIZE) {
            uint item = e / TRIES, c = item / TOKENS * parts.block;
            try_scale(type, c * STRIDE + item % TOKENS, min(parts.block, D - c), e);
        }
        barrier();
    }
    for (uint item = lane; item < n_items; item += WG_SIZE) {
        uint c = item / TOKENS * parts.block, slot = item % TOKENS;
        precise float d;
        if (kv_rotated(type)) {
            d = best_scale(item * TRIES);
        } else {
            float most = extreme(c * STRIDE + slot, min(parts.block, D - c));
            d = type == KV_Q8_0 ? exact_div(abs(most), 127) : most * -0.125;
        }
        uint bits = kv_to_f16(clamp(d, -65504.0, 65504.0));
        if (d == 0)    // the sign of zero is not every device's business, but it is in the bytes
            bits = type == KV_Q4_0 ? 0x8000u : 0u;
        inverses[item] = inverse_of(type == KV_Q4_0 ? d : kv_from_f16(bits));
        sealed.at[parts.scale / 2 + item / TOKENS * KV_PAGE + tile * TOKENS + slot] = uint16_t(bits);
    }
    barrier();
}

// ---- codes -------------------------------------------------------------------------------------------------------

// Biased to be positive: 128 + -127..127, 8 + -8..7, index of a level.
float code_of(uint type, float a, float inverse)
{
    precise float scaled = a * inverse, moved = scaled + 8.5;
    if (type == KV_Q8_0)
        return clamp(roundEven(scaled), -127.0, 127.0) + 128;
    if (type == KV_Q4_0)
        return floor(clamp(moved, 0.0, 15.0));
    if (type == KV_KV4)
        return code_kv4(scaled) + 8;
    float index = nearest_kv3(abs(scaled));
    return scaled < 0 ? 3 - index : 4 + index;
}

void make_codes(uint type, uint block)
{
    for (uint e = gl_LocalInvocationID.x; e < D * TOKENS; e += WG_SIZE) {
        uint c = e / TOKENS, slot = e % TOKENS, at = c * STRIDE + slot;
        x[at] = code_of(type, x[at], inverses[c / block * TOKENS + slot]);
    }
    barrier();
}

// A dword takes fields of `width` bits of 32 / width codes: the first four in the low bits of its bytes, the next four
// above them ..
uint field(float code, uint down, uint width, uint row)
{
    return bitfieldExtract(uint(code), int(down), int(width)) << (row % 4 * 8 + row / 4 * width);
}

void pack_keys(PageWords sealed, uint first, uint down, uint width, uint tile)
{
    const uint n_rows = 32 / width;
    for (uint e = gl_LocalInvocationID.x; e < (D + n_rows - 1) / n_rows * TOKENS; e += WG_SIZE) {
        uint c = e / TOKENS * n_rows, slot = e % TOKENS, word = 0;
        for (uint row = 0; row < n_rows && c + row < D; row++)
            word |= field(x[(c + row) * STRIDE + slot], down, width, row);
        sealed.at[first + e / TOKENS * KV_PAGE + tile * TOKENS + slot] = word;
    }
}

// kept: a lane's dwords that tokens of a later tile will fill.
void pack_values(PageWords sealed, uint first, uint down, uint width, uint tile, inout uint kept[PER_LANE])
{
    const uint n_rows = 32 / width;
    for (uint n = 0; n < PER_LANE; n++) {
        uint c = n * WG_SIZE + gl_LocalInvocationID.x;
        for (uint slot = 0; slot < TOKENS && c < D; slot++) {
            uint token = tile * TOKENS + slot, row = token % n_rows;
            kept[n] = (row == 0 ? 0 : kept[n]) | field(x[c * STRIDE + slot], down, width, row);
            if (row == n_rows - 1)
                sealed.at[first + token / n_rows * D + c] = kept[n];
        }
    }
}

// Two components of two tokens to a dword, and signed.
void pack_values_q8_0(PageWords sealed, uint first, uint tile)
{
    for (uint e = gl_LocalInvocationID.x; e < D / 2 * (TOKENS / 2); e += WG_SIZE) {
        uint c = e % (D / 2) * 2, slot = e / (D / 2) * 2, at = c * STRIDE + slot;
        uint word = uint(x[at]) | uint(x[at + 1]) << 8 | uint(x[at + STRIDE]) << 16 | uint(x[at + STRIDE + 1]) << 24;
        sealed.at[first + ((tile * TOKENS + slot) / 2 * D + c) / 2] = word ^ 0x80808080u;
    }
}

// ---- one side of a head ------------------------------------------------------------------------------------------

void seal(uvec2 open, uvec2 sealed, uint n_bytes, uint type, bool keys)
{
    kv_parts parts = kv_parts_of(type, D, keys);
    uint kept[PER_LANE], kept_high[PER_LANE];
    PageWords words = PageWords(sealed);
    if (keys && kv_rotated(type))
        make_mean(PageShorts(open), PageShorts(sealed));
    for (uint tile = 0; tile < TILES; tile++) {
        load_tile(PageShorts(open), keys, kv_rotated(type), tile, false);
        if (kv_rotated(type))
            settle(keys);
        make_scales(PageShorts(sealed), parts, type, tile);
        make_codes(type, parts.block);
        uint width = type == KV_Q8_0 ? 8 : type == KV_KV3 ? 2 : 4;
        if (keys)
            pack_keys(words, parts.codes / 4, 0, width, tile);
        else if (type == KV_Q8_0)
            pack_values_q8_0(words, parts.codes / 4, tile);
        else
            pack_values(words, parts.codes / 4, 0, width, tile, kept);
        if (type == KV_KV3 && keys)
            pack_keys(words, parts.high / 4, 2, 1, tile);
        else if (type == KV_KV3)
            pack_values(words, parts.high / 4, 2, 1, tile, kept_high);
    }
    for (uint i = parts.end / 4 + gl_LocalInvocationID.x; i < n_bytes / 4; i += WG_SIZE)
        words.at[i] = 0;
}

void main()
{
    const table_page page = table[list[gl_WorkGroupID.x]];
    const uint head = gl_WorkGroupID.y, open_bytes = D * KV_PAGE * 2;
    const bool keys = gl_WorkGroupID.z == 0;
    const uint type = keys ? K_TYPE : V_TYPE, n_bytes = keys ? p.key_bytes : p.value_bytes;
    uvec2 open = kv_address(uvec2(page.open[0], page.open[1]), ((keys ? 0 : p.n_head) + head) * open_bytes);
    uvec2 sealed = kv_address(uvec2(page.sealed[0], page.sealed[1]),
                              keys ? head * n_bytes : p.n_head * p.key_bytes + head * n_bytes);
    if (type != KV_F16)
        seal(open, sealed, n_bytes, type, keys);
    else
        for (uint i = gl_LocalInvocationID.x; i < open_bytes / 4; i += WG_SIZE)
            PageWords(sealed).at[i] = PageWords(open).at[i];
}
