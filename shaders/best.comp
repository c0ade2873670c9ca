// SPDX-License-Identifier: MIT
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/push.h"

// The N best logits of each row, in the order of logit_before() (engine/base/logit.h). A workgroup takes a block of
// 4 * WG_SIZE entries of a row and leaves N; as many dispatches follow each other as it takes until one block is left:
//
//     logits --FIRST--> (key, token) --> (key, token) ... --LAST--> (token, logit)
//
// Nothing is computed with a logit: keys are its bits in the order of whole numbers, so that no device can round it, take
// a subnormal one for 0, or a NaN for something else.
layout(constant_id = 0) const uint WG_SIZE = 256;
layout(constant_id = 1) const uint N = 1;         // a power of two
layout(constant_id = 2) const uint FIRST = 1;
layout(constant_id = 3) const uint LAST = 1;
layout(local_size_x_id = 0) in;
const uint BLOCK = 4 * WG_SIZE;

layout(push_constant) uniform Push { push_best p; };
layout(set = 0, binding = 0) readonly buffer Logits { uint logits[]; };
layout(set = 0, binding = 1) readonly buffer In { uvec2 parts_in[]; };
layout(set = 0, binding = 2) buffer Out { uvec2 parts_out[]; };    // where it is not the last, the buffer of parts too

const uint NO_TOKEN = 0xffffffff, NO_KEY = 0, MINUS_INFINITY = 0xff800000;

shared uint keys[BLOCK], tokens[BLOCK];

uint key_of(uint bits)
{
    if ((bits & 0x7fffffff) > 0x7f800000)    // NaN: as +infinity
        bits = 0x7f800000;
    if (bits == 0x80000000)                  // the zeros are equal
        bits = 0;
    return (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
}

bool before(uint i, uint j)
{
    return keys[i] > keys[j] || (keys[i] == keys[j] && tokens[i] < tokens[j]);
}

void swap(uint i, uint j)
{
    uint key = keys[i], token = tokens[i];
    keys[i] = keys[j];
    tokens[i] = tokens[j];
    keys[j] = key;
    tokens[j] = token;
}

// Of n_runs runs of N entries, gap apart, each rising and then falling or the other way round: sorts them, every second
// one with the best last. Steps of Batcher's bitonic sort of runs of size entries, of which N / size lie in each.
void merge_runs(uint n_runs, uint gap, uint size, uint lane)
{
    for (uint step = size / 2; step > 0; step /= 2) {
        barrier();
        for (uint q = lane; q < n_runs * (N / 2); q += WG_SIZE) {
            uint run = q / (N / 2), c = q % (N / 2) / step * 2 * step + q % step;
            bool best_last = size < N ? (c & size) != 0 : (run & 1) != 0;
            uint i = run * gap + c, j = i + step;
            if (before(i, j) == best_last)
                swap(i, j);
        }
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x, block = gl_WorkGroupID.x, row = gl_WorkGroupID.y;
    for (uint i = lane; i < BLOCK; i += WG_SIZE) {
        uint from = block * BLOCK + i;
        uvec2 entry = uvec2(NO_KEY, NO_TOKEN);
        if (from < p.n)
            entry = FIRST == 1 ? uvec2(key_of(logits[row * p.n_logits + from]), from)
                               : parts_in[p.in_at + row * p.n + from];
        keys[i] = entry.x;
        tokens[i] = entry.y;
    }
    for (uint size = 2; size <= N; size *= 2)
        merge_runs(BLOCK / N, N, size, lane);

    // Of two runs, one with the best first and one with it last, the better at each place are the N best of both, and
    // rise and fall once at most.
    for (uint gap = N; gap < BLOCK; gap *= 2) {
        barrier();
        for (uint q = lane; q < BLOCK / gap / 2 * N; q += WG_SIZE) {
            uint i = q / N * 2 * gap + q % N;
            if (before(i + gap, i))
                swap(i, i + gap);
        }
        merge_runs(BLOCK / gap / 2, 2 * gap, N, lane);
    }

    barrier();
    for (uint i = lane; i < N; i += WG_SIZE) {
        uint token = tokens[i];
        uvec2 left = uvec2(keys[i], token);
        if (LAST == 1)
            left = uvec2(token, token != NO_TOKEN ? logits[row * p.n_logits + token] : MINUS_INFINITY);
        parts_out[p.out_at + (row * gl_NumWorkGroups.x + block) * N + i] = left;
    }
}
