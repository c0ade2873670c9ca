// SPDX-License-Identifier: MIT
// Weights from the planes of engine/vulkan/vulkan_pack.h, by units of 32 consecutive ones. WEIGHT_* names the type.
//
//   weight_unit  what a lane holds of a unit: its codes, and per run of 32 or 16 a scale and an offset
//   weight       run r of a unit:  w = scale[r] * code + offset[r]
//
// Codes that are places in a table are looked up in shared memory; before that all lanes call weight_prepare.
//
// The includer declares the planes: uvec4 words4(matrix, i), uvec2 words2, uint words1, and float half1, vec2 half2 for
// f16 and pairs of it, i in elements of that size; and p.plane.
#ifndef WEIGHT_GLSL
#define WEIGHT_GLSL

// BITS: of a code, its high ones (HIGH_BITS) standing apart; ZERO: the code that means 0.
#if defined WEIGHT_Q4_0
#define BITS 4
#define ZERO 8
#elif defined WEIGHT_Q4_1
#define BITS 4
#define HAS_OFFSET
#elif defined WEIGHT_Q5_0
#define BITS 4
#define HIGH_BITS 1
#define ZERO 16
#elif defined WEIGHT_Q5_1
#define BITS 4
#define HIGH_BITS 1
#define HAS_OFFSET
#elif defined WEIGHT_Q8_0
#define BITS 8
#define ZERO 128    // after the sign bit is turned over
#elif defined WEIGHT_Q2K
#define BITS 2
#define RUNS 2
#define HAS_OFFSET
#elif defined WEIGHT_Q3K
#define BITS 2
#define HIGH_BITS 1
#define ZERO 4
#define RUNS 2
#elif defined WEIGHT_Q4K
#define BITS 4
#define HAS_OFFSET
#elif defined WEIGHT_Q5K
#define BITS 4
#define HIGH_BITS 1
#define HAS_OFFSET
#elif defined WEIGHT_Q6K
#define BITS 4
#define HIGH_BITS 2
#define ZERO 32
#define RUNS 2
#elif defined WEIGHT_IQ4_NL || defined WEIGHT_IQ4_XS
#define BITS 4
#define TABLE int[](-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
#elif defined WEIGHT_MXFP4
#define BITS 4
#define TABLE int[](0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
#elif defined WEIGHT_F16 || defined WEIGHT_BF16
#define BITS 16
#elif defined WEIGHT_F32
#define BITS 32
#endif
#ifndef HIGH_BITS
#define HIGH_BITS 0
#endif
#ifndef ZERO
#define ZERO 0
#endif
#ifndef RUNS
#define RUNS 1
#endif

#ifdef TABLE
#ifdef INT8
shared uint weight_values[16];    // bytes
#else
shared float weight_values[16];
#endif
#endif

void weight_prepare(uint lane, uint n_lanes)
{
#ifdef TABLE
    const int table[16] = TABLE;
    for (uint i = lane; i < 16; i += n_lanes)
#ifdef INT8
        weight_values[i] = uint(table[i]) & 0xff;
#else
        weight_values[i] = float(table[i]);
#endif
    barrier();
#endif
}

struct weight_unit {
    uint codes[BITS];    // 32 codes of BITS bits
    uint high[2];
    vec2 scale, offset;
};

// Scales and offsets of unit u of the chunk's units; of a K-quant it is run n of its block.
void weight_scales(uint matrix, uint u, out vec2 scale, out vec2 offset)
{
    uint block = u / 8, n = u % 8;
    scale = vec2(1);
    offset = vec2(0);
#if defined WEIGHT_Q4_0 || defined WEIGHT_Q5_0 || defined WEIGHT_Q8_0 || defined WEIGHT_IQ4_NL
    scale = vec2(half1(matrix, 8 * p.plane[3] + u));
#elif defined WEIGHT_Q4_1 || defined WEIGHT_Q5_1
    vec2 dm = half2(matrix, 4 * p.plane[3] + u);
    scale = dm.xx;
    offset = dm.yy;
#elif defined WEIGHT_Q2K
    vec2 d = half2(matrix, 4 * p.plane[3] + block);
    uint s = words1(matrix, 4 * p.plane[2] + u / 2) >> 16 * (u % 2);
    scale = d.x * vec2(s & 15, s >> 8 & 15);
    offset = -d.y * vec2(s >> 4 & 15, s >> 12 & 15);
#elif defined WEIGHT_Q3K
    uint at = 4 * p.plane[2] + 3 * block;
    uint a = words1(matrix, at) >> 4 * n, b = words1(matrix, at + 1) >> 4 * n, c = words1(matrix, at + 2) >> 4 * n;
    scale = half1(matrix, 8 * p.plane[3] + block) *
            (vec2((a & 15) | (c & 3) << 4, (b & 15) | (c & 12) << 2) - 32);
#elif defined WEIGHT_Q4K || defined WEIGHT_Q5K
    uvec4 s = words4(matrix, p.plane[2] + block);
    vec2 d = unpackHalf2x16(s.x);
    s >>= 4 * n;
    scale = d.xx * float((s.y & 15) | (s.w & 3) << 4);
    offset = -d.yy * float((s.z & 15) | (s.w & 12) << 2);
#elif defined WEIGHT_Q6K
    int s = int(words1(matrix, 4 * p.plane[2] + u / 2) >> 16 * (u % 2));
    scale = half1(matrix, 8 * p.plane[3] + block) * vec2(bitfieldExtract(s, 0, 8), bitfieldExtract(s, 8, 8));
#elif defined WEIGHT_IQ4_XS
    uvec2 s = words2(matrix, 2 * p.plane[2] + block);
    scale = vec2(unpackHalf2x16(s.x).x * (float((s.y >> 4 * n & 15) | (s.x >> 16 + 2 * n & 3) << 4) - 32));
#elif defined WEIGHT_MXFP4
    // As bits; the lower two are subnormal, so 0 on some devices.
    uint e = words1(matrix, 4 * p.plane[3] + u / 4) >> 8 * (u % 4) & 0xff;
    scale = vec2(uintBitsToFloat(e < 2 ? e + 1 << 21 : e - 1 << 23));
#endif
}

weight_unit weight_load(uint matrix, uint u)
{
    weight_unit w;
#if BITS == 2
    uvec2 two = words2(matrix, 2 * p.plane[0] + u);
    w.codes[0] = two.x;
    w.codes[1] = two.y;
#else
    [[unroll]] for (uint i = 0; i < BITS / 4; i++) {
        uvec4 four = words4(matrix, p.plane[0] + u * (BITS / 4) + i);
        w.codes[4 * i] = four.x;
        w.codes[4 * i + 1] = four.y;
        w.codes[4 * i + 2] = four.z;
        w.codes[4 * i + 3] = four.w;
    }
#endif
#if HIGH_BITS == 1
    w.high[0] = words1(matrix, 4 * p.plane[1] + u);
#elif HIGH_BITS == 2
    uvec2 high = words2(matrix, 2 * p.plane[1] + u);
    w.high[0] = high.x;
    w.high[1] = high.y;
#endif
    weight_scales(matrix, u, w.scale, w.offset);
    return w;
}

#if BITS <= 8
// Codes of weights 4g to 4g + 3 (of a table the places in it), those of Q8_0 with the sign bit turned over.
uint weight_bytes(weight_unit w, uint g)
{
#if BITS == 2
    uint four = w.codes[g / 4] >> 2 * (g % 4) & 0x03030303;
#elif BITS == 4
    uint four = w.codes[g / 2] >> 4 * (g % 2) & 0x0f0f0f0f;
#else
    uint four = w.codes[g] ^ 0x80808080;
#endif
#if HIGH_BITS == 1
    four |= (w.high[0] >> g & 0x01010101) << BITS;
#elif HIGH_BITS == 2
    four |= (w.high[g / 4] >> 2 * (g % 4) & 0x03030303) << BITS;
#endif
    return four;
}
#endif

#ifdef INT8
// The same less ZERO, or what stands in the table, as int8. No byte borrows from the next: 128 stands in each meanwhile.
uint weight_int8(weight_unit w, uint g)
{
#if BITS == 8
    return w.codes[g];
#elif defined TABLE
    uint four = weight_bytes(w, g);
    return weight_values[four & 15] | weight_values[four >> 8 & 15] << 8 | weight_values[four >> 16 & 15] << 16 |
           weight_values[four >> 24] << 24;
#elif ZERO == 0
    return weight_bytes(w, g);
#else
    return ((weight_bytes(w, g) | 0x80808080) - ZERO * 0x01010101) ^ 0x80808080;
#endif
}
#else
// Codes of weights 4g to 4g + 3 as numbers.
vec4 weight_codes(weight_unit w, uint g)
{
#if BITS == 32
    return uintBitsToFloat(uvec4(w.codes[4 * g], w.codes[4 * g + 1], w.codes[4 * g + 2], w.codes[4 * g + 3]));
#elif defined WEIGHT_BF16
    uint a = w.codes[2 * g], b = w.codes[2 * g + 1];
    return uintBitsToFloat(uvec4(a << 16, a & 0xffff0000, b << 16, b & 0xffff0000));
#elif defined WEIGHT_F16
    return vec4(unpackHalf2x16(w.codes[2 * g]), unpackHalf2x16(w.codes[2 * g + 1]));
#elif defined TABLE
    uint four = weight_bytes(w, g);
    return vec4(weight_values[four & 15], weight_values[four >> 8 & 15], weight_values[four >> 16 & 15],
                weight_values[four >> 24]);
#else
    uint four = weight_bytes(w, g);
    // 2^23 + code and 2^15 + code are written bit by bit: conversions of integers run at a quarter of the pace of
    // additions on some cards, and would then be what a product waits for.
    uint up = four >> 16;
    return uintBitsToFloat(uvec4(0x4b000000 | four & 0xff, 0x47000000 | four & 0xff00, 0x4b000000 | up & 0xff,
                                 0x47000000 | up & 0xff00)) -
           vec4(8388608 + ZERO, 32768 + ZERO, 8388608 + ZERO, 32768 + ZERO);
#endif
}
#endif

#endif
