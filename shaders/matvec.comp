// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#ifndef REDUCE_TREE
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "include/push.h"
#include "include/reduce.glsl"
#include "include/table.h"

// y = W x for COLS rows of activations, in f32. A workgroup makes ROWS rows of one matrix, or of two that go together
// (gate and up); lane l takes units l, l + WG_SIZE ... of each row, so that weights are read once for all activations.
//
// Where NORM is 1, x stands for x gain / sqrt(mean of x^2 + eps). The root is a number per row of activations, so that
// it goes onto the sums; each workgroup adds up the squares of what it reads in any case.
//
// The result of a row of activations is the same bit by bit whatever COLS and ROWS are and what stands beside it: each
// (row, activations) has sums of its own, made in an order that WG_SIZE and the subgroup's size alone determine.
//
// W may hold the matrices of experts, one after another, and say PICKS which of them a row of activations meets (COLS is
// 1 then). Of EACH pick comes a row of y. Or x has a row for each pick, and y is the SUM of what they give: then the
// picks' rows of weights count as one long row that goes with one long row of activations, each pick's units times its
// weight. Rows that are not in the chunk are left out, and so are those of an expert that there is not.
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint ROWS = 2;
layout(constant_id = 2) const uint COLS = 1;
layout(constant_id = 4) const uint SUBGROUPS = 8;    // at most so many in a workgroup
layout(constant_id = 5) const uint NORM = 0;
layout(constant_id = 6) const uint PICKS = 0;        // 0: W is one matrix
const uint EACH = 1, SUM = 2;
layout(local_size_x_id = 0) in;

#include "include/product.glsl"
layout(set = 0, binding = 6) readonly buffer Gain { vec4 gain[]; };

layout(set = 0, binding = 7) readonly buffer Picks { table_pick picks[]; };

const uint SLOTS = ROWS * MATRICES;    // slot s: row s / MATRICES of matrix s % MATRICES; behind them the squares
const uint SUMS = SLOTS + NORM;

shared float parts[SUBGROUPS * SUMS * COLS];

float total(uint slot, uint col, uint n_parts)
{
    precise float sum = 0;
    for (uint i = 0; i < n_parts; i++)
        sum = sum + parts[(i * SUMS + slot) * COLS + col];
    return sum;
}

// A lane's part of a sum.
void leave(float value, uint slot, uint col, uint lane)
{
#ifdef REDUCE_TREE
    uint part = 0;
    float sum = group_add(value, lane, WG_SIZE);
    bool first = lane == 0;
#else
    uint part = gl_SubgroupID;
    float sum = subgroupAdd(value);
    bool first = subgroupElect();
#endif
    if (first)
        parts[(part * SUMS + slot) * COLS + col] = sum;
}

// A row of a pick's matrix among those of the chunk; beyond them if it is none of them.
uint picked_row(uint pick, uint row)
{
    uint expert = picks[pick].expert;
    return expert < p.n_experts ? expert * p.y_stride + row - p.row0 : 0xffffffff;
}

// The picks of row y_row of y are one, or of a sum n_used.
void finish_picked(uint row, uint y_row, float v, float v2)
{
    uint n = PICKS == SUM ? p.n_used : 1;
    bool found = PICKS == SUM;
    for (uint pick = y_row * n; pick < y_row * n + n; pick++) {
        uint at = picked_row(pick, row);
        if (at >= p.n_rows)
            continue;
        found = true;
        if (p.has_bias != 0)
            v = fma(PICKS == SUM ? picks[pick].weight : 1, bias[p.row0 + at], v);
        if (p.has_bias2 != 0)
            v2 += bias2[p.row0 + at];
    }
    if (found)
        finish_at(y_row * p.y_stride + row, v, v2);
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint first_row = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * ROWS;
    uint first_act = p.act0 + gl_WorkGroupID.z * COLS;
    uint first_x = PICKS == EACH ? first_act / p.n_used : first_act;
    uint n_rows = PICKS == 0 ? p.n_rows : p.y_stride, n_units = PICKS == SUM ? p.n_used * p.n_units : p.n_units;
    if (first_row >= n_rows)
        return;
    weight_prepare(lane, WG_SIZE);

    precise float sums[SLOTS][COLS], squares[COLS];
    uint start[SLOTS];
    [[unroll]] for (uint c = 0; c < COLS; c++)
        squares[c] = 0;
    [[unroll]] for (uint s = 0; s < SLOTS; s++) {
        start[s] = min(first_row + s / MATRICES, p.n_rows - 1) * p.n_units;    // no row beyond the last is read
        [[unroll]] for (uint c = 0; c < COLS; c++)
            sums[s][c] = 0;
    }
    for (uint unit = lane; unit < n_units; unit += WG_SIZE) {
        weight_unit w[SLOTS];
        uint pick = first_act, at = unit;
        bool missing[SLOTS];
        if (PICKS == SUM) {
            pick = first_act * p.n_used + unit / p.n_units;
            at = unit % p.n_units;
        }
        if (PICKS != 0) {
            bool all = true;
            [[unroll]] for (uint s = 0; s < SLOTS; s++) {
                uint row = picked_row(pick, first_row + s / MATRICES);
                missing[s] = row >= p.n_rows;
                all = all && missing[s];
                start[s] = min(row, p.n_rows - 1) * p.n_units;
            }
            if (all)
                continue;
        }
        [[unroll]] for (uint s = 0; s < SLOTS; s++) {
            w[s] = weight_load(s % MATRICES, start[s] + at);
            if (PICKS == SUM) {
                w[s].scale *= picks[pick].weight;
                w[s].offset *= picks[pick].weight;
            }
        }
        [[unroll]] for (uint run = 0; run < RUNS; run++) {
            precise float part[SLOTS][COLS], plain[COLS];
            [[unroll]] for (uint c = 0; c < COLS; c++) {
                plain[c] = 0;
                [[unroll]] for (uint s = 0; s < SLOTS; s++)
                    part[s][c] = 0;
            }
            // Four weights at a time, so that only so many numbers are held for all rows and columns.
            [[unroll]] for (uint i = 0; i < 8 / RUNS; i++) {
                uint g = run * (8 / RUNS) + i;
                vec4 four[COLS];
                [[unroll]] for (uint c = 0; c < COLS; c++) {
                    four[c] = x[((first_x + c) * n_units + unit) * 8 + g];
                    if (NORM == 1) {
                        squares[c] = fma(four[c].w, four[c].w, fma(four[c].z, four[c].z, fma(four[c].y, four[c].y,
                                     fma(four[c].x, four[c].x, squares[c]))));
                        four[c] *= gain[unit * 8 + g];
                    }
                    plain[c] = plain[c] + ((four[c].x + four[c].y) + (four[c].z + four[c].w));
                }
                [[unroll]] for (uint s = 0; s < SLOTS; s++) {
                    vec4 code = weight_codes(w[s], g);
                    [[unroll]] for (uint c = 0; c < COLS; c++)
                        part[s][c] = fma(code.w, four[c].w, fma(code.z, four[c].z, fma(code.y, four[c].y,
                                     fma(code.x, four[c].x, part[s][c]))));
                }
            }
            [[unroll]] for (uint s = 0; s < SLOTS; s++) {
                if (PICKS == SUM && missing[s])
                    continue;
                [[unroll]] for (uint c = 0; c < COLS; c++) {
                    sums[s][c] = fma(w[s].scale[run], part[s][c], sums[s][c]);
#ifdef HAS_OFFSET
                    sums[s][c] = fma(w[s].offset[run], plain[c], sums[s][c]);
#endif
                }
            }
        }
    }

    [[unroll]] for (uint c = 0; c < COLS; c++) {
        [[unroll]] for (uint s = 0; s < SLOTS; s++)
            leave(sums[s][c], s, c, lane);
        if (NORM == 1)
            leave(squares[c], SLOTS, c, lane);
    }
    barrier();
#ifdef REDUCE_TREE
    uint n_parts = 1;
#else
    uint n_parts = gl_NumSubgroups;
#endif
    for (uint i = lane; i < ROWS * COLS; i += WG_SIZE) {
        uint row = i % ROWS, col = i / ROWS;
        if (first_row + row >= n_rows)
            continue;
        precise float v = total(row * MATRICES, col, n_parts), v2 = 0;
        if (MATRICES == 2)
            v2 = total(row * MATRICES + 1, col, n_parts);
        if (NORM == 1) {
            precise float factor = 1 / sqrt(total(SLOTS, col, n_parts) / float(p.n_units * 32) + p.eps);
            v *= factor;
            v2 *= factor;
        }
        if (PICKS == 0)
            finish(first_row + row, first_act + col, v, v2);
        else
            finish_picked(first_row + row, first_act, v, v2);
    }
}
