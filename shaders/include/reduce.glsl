// SPDX-License-Identifier: MIT
// Sums and maxima over a workgroup of a power of two lanes, up to 256; every lane gets the result, and all lanes must
// take part. The order of a sum depends on the number of lanes alone: lanes a distance of n/2 apart first, then n/4 ...
#ifndef REDUCE_GLSL
#define REDUCE_GLSL

shared float reduce_lanes[256];

float group_add(float value, uint lane, uint n_lanes)
{
    barrier();    // a result of before may still be being read
    reduce_lanes[lane] = value;
    barrier();
    for (uint n = n_lanes / 2; n > 0; n /= 2) {
        if (lane < n)
            reduce_lanes[lane] += reduce_lanes[lane + n];
        barrier();
    }
    return reduce_lanes[0];
}

float group_max(float value, uint lane, uint n_lanes)
{
    barrier();
    reduce_lanes[lane] = value;
    barrier();
    for (uint n = n_lanes / 2; n > 0; n /= 2) {
        if (lane < n)
            reduce_lanes[lane] = max(reduce_lanes[lane], reduce_lanes[lane + n]);
        barrier();
    }
    return reduce_lanes[0];
}

#endif
