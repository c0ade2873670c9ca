// SPDX-License-Identifier: MIT
// rotate() of kv_page.h, and back, over vectors that lie in shared memory: vector i has components i * stride ... All
// lanes of the workgroup take part. Who includes this has kv.glsl, and has defined
//
//     float rotate_get(uint i);          // element i of the shared array
//     void rotate_put(uint i, float x);
#ifndef ROTATE_GLSL
#define ROTATE_GLSL

void hadamard(uint n_vectors, uint d, uint stride, uint lane, uint n_lanes)
{
    uint run = kv_rotation(d), n = n_vectors * (d / 2);
    for (uint half_run = 1; half_run < run; half_run *= 2) {
        barrier();
        for (uint i = lane; i < n; i += n_lanes) {
            uint pair = i % (d / 2), c = pair / half_run * 2 * half_run + pair % half_run;
            uint at = i / (d / 2) * stride + c;
            float a = rotate_get(at), b = rotate_get(at + half_run);
            rotate_put(at, a + b);
            rotate_put(at + half_run, a - b);
        }
    }
    barrier();
}

void rotate(uint n_vectors, uint d, uint stride, uint lane, uint n_lanes)
{
    float norm = 1 / sqrt(float(kv_rotation(d)));
    barrier();
    for (uint i = lane; i < n_vectors * d; i += n_lanes) {
        uint c = i % d, at = i / d * stride + c;
        rotate_put(at, rotate_get(at) * (kv_negative(c) ? -norm : norm));
    }
    hadamard(n_vectors, d, stride, lane, n_lanes);
}

void rotate_back(uint n_vectors, uint d, uint stride, uint lane, uint n_lanes)
{
    float norm = 1 / sqrt(float(kv_rotation(d)));
    hadamard(n_vectors, d, stride, lane, n_lanes);
    for (uint i = lane; i < n_vectors * d; i += n_lanes) {
        uint c = i % d, at = i / d * stride + c;
        rotate_put(at, rotate_get(at) * (kv_negative(c) ? -norm : norm));
    }
    barrier();
}

#endif
