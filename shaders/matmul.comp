// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#include "include/push.h"

// y = W x for many rows of activations. A workgroup makes a tile of BM rows of one matrix, or of two that go together
// (gate and up), times BN rows of activations; some columns at a time are unpacked into shared memory, where each lane
// finds what it needs for its TM x TN results:
//
//              ty: TN rows of activations one after another
//            +---+---+---+---+
//         tx | . |   |   |   |     lane = ty * (BM / TM) + tx
//            |   |   |   |   |     rows of weights tx, tx + BM / TM ...: lanes side by side write side by side
//         tx | . |   |   |   |
//            +---+---+---+---+
//
// In f32, weights are made numbers first. With INT8 the codes of weights are multiplied with activations in eight bits
// (acts.comp) in integers, and each 32 columns scaled in f32. Where a row of activations is an outlier, its two planes
// count as two rows that stand side by side in the tile, and their results are added: the tiles go over SLOTS, first
// two for each outlier, then one for each other row.
//
// Every result is a sum of its own over the columns in their order, the same bit by bit wherever it stands in whatever
// tile, and whatever stands beside it.
layout(constant_id = 0) const uint WG_SIZE = 128;    // (BM / TM) * (BN / TN)
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 4) const uint TM = 8;
layout(constant_id = 5) const uint TN = 4;           // even
layout(local_size_x_id = 0) in;

#include "include/product.glsl"

const uint STEP = BM / TM;             // from one row of weights of a lane to its next
const uint SUMS = TM * MATRICES;

#ifdef INT8
#include "include/dot4.glsl"

const uint UNITS = 2;                  // columns at a time, in 32
const uint MASKS = PUSH_MAX_ACTS / 32;

// Of 32 columns: 32 codes; of weights, scales and offsets of their runs; of activations, what acts.comp says. Three
// words of 16 bytes from a row to the next: odd, so that its readers meet in no bank.
shared uvec4 ws[UNITS * MATRICES * BM * 3];
shared uvec4 xs[UNITS * BN * 3];
shared uint outliers[MASKS];           // a bit per row
shared uint slot_row[BN], slot_plane[BN];

// The row of activations that the k'th bit of those set, or clear, stands for.
uint find_row(uint k, uint turn)
{
    uint word = 0, n = bitCount(outliers[0] ^ turn);
    while (k >= n) {
        k -= n;
        n = bitCount(outliers[++word] ^ turn);
    }
    uint bits = outliers[word] ^ turn;
    for (; k > 0; k--)
        bits &= bits - 1;
    return word * 32 + findLSB(bits);
}

// What stands in the tile's slots; returns how many rows are outliers.
uint place_slots(uint lane, uint first_slot)
{
    for (uint i = lane; i < MASKS; i += WG_SIZE)
        outliers[i] = 0;
    barrier();
    for (uint i = lane; i < p.n_acts; i += WG_SIZE)
        if (flags[24 * p.n_acts * p.n_units + i] != 0)
            atomicOr(outliers[i / 32], 1u << i % 32);
    barrier();
    uint n_outliers = 0;
    for (uint i = 0; i < MASKS; i++)
        n_outliers += bitCount(outliers[i]);
    for (uint i = lane; i < BN; i += WG_SIZE) {
        uint slot = min(first_slot + i, p.n_acts + n_outliers - 1);
        bool twice = slot < 2 * n_outliers;
        uint row = twice ? find_row(slot / 2, 0) : find_row(slot - 2 * n_outliers, 0xffffffff);
        slot_row[i] = row;
        slot_plane[i] = row + (twice ? slot % 2 * p.n_acts : 0);
    }
    barrier();
    return n_outliers;
}

void load_weights(uint lane, uint first_row, uint unit)
{
    for (uint i = lane; i < UNITS * MATRICES * BM; i += WG_SIZE) {
        uint row = min(first_row + i % BM, p.n_rows - 1);    // none beyond the last is read
        uint at = min(unit + i / (MATRICES * BM), p.n_units - 1);
        weight_unit w = weight_load(i / BM % MATRICES, row * p.n_units + at);
        [[unroll]] for (uint side = 0; side < 2; side++)
            ws[i * 3 + side] = uvec4(weight_int8(w, 4 * side), weight_int8(w, 4 * side + 1),
                                     weight_int8(w, 4 * side + 2), weight_int8(w, 4 * side + 3));
        ws[i * 3 + 2] = floatBitsToUint(vec4(w.scale, w.offset));
    }
}

void load_acts(uint lane, uint unit)
{
    for (uint i = lane; i < UNITS * BN * 3; i += WG_SIZE) {
        uint at = min(unit + i / (BN * 3), p.n_units - 1);
        xs[i] = acts[(slot_plane[i / 3 % BN] * p.n_units + at) * 3 + i % 3];
    }
}

int dot16(uvec4 a, uvec4 b, int sum)
{
    return dot4(a.w, b.w, dot4(a.z, b.z, dot4(a.y, b.y, dot4(a.x, b.x, sum))));
}

// sum + 32 columns: codes and scales of weights (w), of activations (a).
float add_unit(float sum, uvec4 w[3], uvec4 a[3])
{
    vec4 by = uintBitsToFloat(w[2]), of = uintBitsToFloat(a[2]);
#if RUNS == 2
    precise float part = by.x * float(dot16(w[0], a[0], 0));
    part = fma(by.y, float(dot16(w[1], a[1], 0)), part);
    precise float v = fma(of.x, part, sum);
#ifdef HAS_OFFSET
    v = fma(by.z, of.z, v);
    v = fma(by.w, of.w, v);
#endif
#else
    precise float m = by.x * of.x;
    precise float v = fma(float(dot16(w[1], a[1], dot16(w[0], a[0], 0))), m, sum);
#ifdef HAS_OFFSET
    v = fma(by.z, of.y, v);
#endif
#endif
    return v;
}
#else
const uint UNITS = 1;
const uint STRIDE = 9;    // of a row in shared memory, in four floats; odd, so that its readers meet in no bank

shared vec4 ws[MATRICES * BM * STRIDE];
shared vec4 xs[BN * STRIDE];

void load_weights(uint lane, uint first_row, uint unit)
{
    for (uint i = lane; i < MATRICES * BM; i += WG_SIZE) {
        uint row = min(first_row + i % BM, p.n_rows - 1);    // none beyond the last is read
        weight_unit w = weight_load(i / BM, row * p.n_units + unit);
        [[unroll]] for (uint g = 0; g < 8; g++) {
            uint run = g * RUNS / 8;
            ws[i * STRIDE + g] = fma(vec4(w.scale[run]), weight_codes(w, g), vec4(w.offset[run]));
        }
    }
}

void load_acts(uint lane, uint first_act, uint unit)
{
    for (uint i = lane; i < BN * 8; i += WG_SIZE) {
        uint col = min(first_act + i / 8, p.n_acts - 1);
        xs[i / 8 * STRIDE + i % 8] = x[(col * p.n_units + unit) * 8 + i % 8];
    }
}
#endif

void main()
{
    uint lane = gl_LocalInvocationID.x, tx = lane % STEP, ty = lane / STEP;
    uint first_row = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * BM;
    uint first_slot = gl_WorkGroupID.x * BN;
    if (first_row >= p.n_rows)
        return;
#ifdef INT8
    uint n_outliers = place_slots(lane, first_slot);
    if (first_slot >= p.n_acts + n_outliers)    // there are tiles for as many slots as there might be
        return;
#endif
    weight_prepare(lane, WG_SIZE);
    precise float sums[SUMS][TN];
    [[unroll]] for (uint s = 0; s < SUMS; s++)
        [[unroll]] for (uint j = 0; j < TN; j++)
            sums[s][j] = 0;

    for (uint unit = 0; unit < p.n_units; unit += UNITS) {
        load_weights(lane, first_row, unit);
#ifdef INT8
        load_acts(lane, unit);
        barrier();
        for (uint u = 0; u < min(UNITS, p.n_units - unit); u++) {
            uvec4 a[TN][3];
            [[unroll]] for (uint j = 0; j < TN; j++)
                [[unroll]] for (uint i = 0; i < 3; i++)
                    a[j][i] = xs[(u * BN + ty * TN + j) * 3 + i];
            [[unroll]] for (uint s = 0; s < SUMS; s++) {
                uint at = ((u * MATRICES + s / TM) * BM + tx + s % TM * STEP) * 3;
                uvec4 w[3] = { ws[at], ws[at + 1], ws[at + 2] };
                [[unroll]] for (uint j = 0; j < TN; j++)
                    sums[s][j] = add_unit(sums[s][j], w, a[j]);
            }
        }
#else
        load_acts(lane, first_slot, unit);
        barrier();
        for (uint g = 0; g < 8; g++) {
            vec4 four[TN];
            [[unroll]] for (uint j = 0; j < TN; j++)
                four[j] = xs[(ty * TN + j) * STRIDE + g];
            [[unroll]] for (uint s = 0; s < SUMS; s++) {
                vec4 w = ws[(s / TM * BM + tx + s % TM * STEP) * STRIDE + g];
                [[unroll]] for (uint j = 0; j < TN; j++)
                    sums[s][j] = fma(w.w, four[j].w, fma(w.z, four[j].z, fma(w.y, four[j].y,
                                 fma(w.x, four[j].x, sums[s][j]))));
            }
        }
#endif
        barrier();
    }

    [[unroll]] for (uint i = 0; i < TM; i++) {
        uint row = first_row + tx + i * STEP, i2 = TM * (MATRICES - 1) + i;
        if (row < p.n_rows)
            [[unroll]] for (uint j = 0; j < TN; j++) {
                uint slot = first_slot + ty * TN + j;
#ifdef INT8
                bool twice = slot < 2 * n_outliers;
                precise float v = sums[i][j], v2 = sums[i2][j];
                if (twice) {
                    v = v + sums[i][j | 1];
                    v2 = v2 + sums[i2][j | 1];
                }
                if (slot < p.n_acts + n_outliers && !(twice && j % 2 == 1))
                    finish(row, slot_row[ty * TN + j], v, v2);
#else
                if (slot < p.n_acts)
                    finish(row, slot, sums[i][j], sums[i2][j]);
#endif
            }
    }
}
