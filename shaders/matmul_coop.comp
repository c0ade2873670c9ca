// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "include/push.h"

// y = W x for many rows of activations by cooperative matrices: f16 numbers that a subgroup holds together and
// multiplies at once, M x K weights by K x N activations, their sums in f32. As in matmul.comp a workgroup makes a tile
// of BM rows of one matrix, or of two, times BN rows of activations, whose weights are made numbers in shared memory.
// It has four subgroups, and each makes a quarter of the tile, PARTS_M x PARTS_N matrices of it:
//
//           BN rows of activations
//         +-------+-------+
//      BM |   0   |   1   |
//         +-------+-------+
//         |   2   |   3   |
//         +-------+-------+
//
// Activations come from acts_f16.comp. A weight beyond what f16 holds becomes the largest that it does. Columns are
// added up K at a time, in their order; in which order those K are is the device's business.
//
// So far llvmpipe alone has run this (Mesa 26.2; 8 x 8 x 8, and 16 x 16 x 16 though it does not offer that): it computes
// right, and nobody knows how fast it is on a card, or whether all cards sum every element of a matrix alike.
layout(constant_id = 0) const uint WG_SIZE = 128;    // four subgroups
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 4) const uint M = 16;
layout(constant_id = 5) const uint N = 16;
layout(constant_id = 6) const uint K = 16;           // M and N divide BM / 2 and BN / 2, K divides 32
layout(local_size_x_id = 0) in;

#include "include/product.glsl"

const uint PARTS_M = BM / 2 / M, PARTS_N = BN / 2 / N;
const uint UNITS = 2;                  // columns at a time, in 32
const uint STRIDE = UNITS * 8 + 2;     // of a row in shared memory, in four halves: whole 16 bytes, and an odd number

shared f16vec4 ws[MATRICES * BM * STRIDE];
shared float sums[4 * MATRICES * M * N];

void load_weights(uint lane, uint first_row, uint unit)
{
    for (uint i = lane; i < UNITS * MATRICES * BM; i += WG_SIZE) {
        uint row = min(first_row + i % BM, p.n_rows - 1);    // none beyond the last is read
        uint u = i / (MATRICES * BM), to = i % (MATRICES * BM) * STRIDE + u * 8;
        weight_unit w = weight_load(i / BM % MATRICES, row * p.n_units + min(unit + u, p.n_units - 1));
        [[unroll]] for (uint g = 0; g < 8; g++) {
            uint run = g * RUNS / 8;
            vec4 v = fma(vec4(w.scale[run]), weight_codes(w, g), vec4(w.offset[run]));
            ws[to + g] = f16vec4(clamp(v, -65504, 65504));
        }
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint first_row = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * BM;
    uint at_row = gl_SubgroupID / 2 * (BM / 2), first_act = gl_WorkGroupID.x * BN + gl_SubgroupID % 2 * (BN / 2);
    if (first_row >= p.n_rows)
        return;
    weight_prepare(lane, WG_SIZE);
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> parts[MATRICES * PARTS_M * PARTS_N];
    [[unroll]] for (uint i = 0; i < MATRICES * PARTS_M * PARTS_N; i++)
        parts[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0);

    for (uint unit = 0; unit < p.n_units; unit += UNITS) {
        load_weights(lane, first_row, unit);
        barrier();
        for (uint c = 0; c < min(UNITS, p.n_units - unit) * 32; c += K) {
            coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> x[PARTS_N];
            [[unroll]] for (uint j = 0; j < PARTS_N; j++)
                coopMatLoad(x[j], acts, (first_act + j * N) * p.n_units * 8 + unit * 8 + c / 4, p.n_units * 8,
                            gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0; i < MATRICES * PARTS_M; i++) {
                coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> w;
                coopMatLoad(w, ws, (i / PARTS_M * BM + at_row + i % PARTS_M * M) * STRIDE + c / 4, STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint j = 0; j < PARTS_N; j++)
                    parts[i * PARTS_N + j] = coopMatMulAdd(w, x[j], parts[i * PARTS_N + j]);
            }
        }
        barrier();
    }

    uint own = gl_SubgroupID * MATRICES * M * N;    // of the subgroup in sums
    [[unroll]] for (uint i = 0; i < PARTS_M * PARTS_N; i++) {
        [[unroll]] for (uint m = 0; m < MATRICES; m++)
            coopMatStore(parts[m * PARTS_M * PARTS_N + i], sums, own + m * M * N, M,
                         gl_CooperativeMatrixLayoutColumnMajor);
        subgroupBarrier();
        for (uint e = gl_SubgroupInvocationID; e < M * N; e += gl_SubgroupSize) {
            uint row = first_row + at_row + i / PARTS_N * M + e % M, col = first_act + i % PARTS_N * N + e / M;
            if (row < p.n_rows && col < p.n_acts) {
                float scale = scales[push_rows_of_tiles(p.n_acts) * p.n_units * 16 + col];
                finish(row, col, scale * sums[own + e], scale * sums[own + (MATRICES - 1) * M * N + e]);
            }
        }
        subgroupBarrier();
    }
}
