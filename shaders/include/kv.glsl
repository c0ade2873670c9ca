// SPDX-License-Identifier: MIT
// Pages of keys and values as shaders see them; their layout is that of engine/backend/kv_page.h. Who includes this has
// asked for GL_EXT_buffer_reference, GL_EXT_buffer_reference_uvec2 and GL_EXT_shader_16bit_storage.
#ifndef KV_GLSL
#define KV_GLSL

// enum kv_type
const uint KV_F16 = 0, KV_F32 = 1, KV_Q8_0 = 2, KV_Q4_0 = 3, KV_KV4 = 4, KV_KV3 = 5;
const uint KV_PAGE = 64, KV_BLOCK = 32, KV_MAX_HEAD = 512;

// A page at its address. Indices are within it; pages have less than 2^32 bytes.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer PageWords { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer PageFloats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer PageShorts { uint16_t at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer PageHalves { float16_t at[]; };

// Addresses are pairs of words, low first: 64-bit integers are a feature that not every device has.
uvec2 kv_address(uvec2 base, uint n_bytes)
{
    uint carry, low = uaddCarry(base.x, n_bytes, carry);
    return uvec2(low, base.y + carry);
}

bool kv_rotated(uint type)
{
    return type == KV_KV4 || type == KV_KV3;
}

// Components of one Hadamard transform: the largest power of two dividing d.
uint kv_rotation(uint d)
{
    return d & (~d + 1u);
}

bool kv_negative(uint component)    // kv_sign() is -1
{
    uint h = component * 0x9E3779B1u;
    h ^= h >> 15;
    h *= 0x85EBCA77u;
    return (h >> 31) != 0;
}

// Bytes from the start of one head's keys or values to the parts of it, and how scales go.
struct kv_parts {
    uint mean, scale, codes;
    uint high;     // kv3: of the bits that do not fit the low two
    uint end;      // from here on nothing but what aligning adds
    uint block;    // components with one scale; the last of a head may have fewer
};

kv_parts kv_parts_of(uint type, uint d, bool keys)
{
    kv_parts p;
    p.block = !keys && kv_rotated(type) && d % (2 * KV_BLOCK) == 0 ? 2 * KV_BLOCK : KV_BLOCK;
    p.mean = 0;
    p.scale = keys && kv_rotated(type) ? d * 2 : 0;
    p.codes = p.scale + (d + p.block - 1) / p.block * KV_PAGE * 2;
    p.high = p.codes + d * KV_PAGE / 4;
    if (type == KV_Q8_0)
        p.end = p.codes + d * KV_PAGE;
    else if (type == KV_KV3)    // keys have high bits in whole dwords, also of a last block of 16
        p.end = p.high + (keys ? (d + 31) / 32 * KV_PAGE * 4 : d * KV_PAGE / 8);
    else
        p.end = p.codes + d * KV_PAGE / 2;
    return p;
}

// f16 as bits, by hand (engine/quant/f16.h): GLSL leaves subnormal numbers and rounding to the device.
float kv_from_f16(uint half_bits)
{
    uint sign = (half_bits & 0x8000u) << 16, exponent = half_bits >> 10 & 31u, mantissa = half_bits & 0x3FFu;
    if (exponent == 31)
        return uintBitsToFloat(sign | 0x7F800000u | mantissa << 13 | (mantissa != 0 ? 0x400000u : 0u));
    if (exponent == 0)
        return uintBitsToFloat(sign | floatBitsToUint(float(mantissa) * 5.9604644775390625e-8));
    return uintBitsToFloat(sign | (exponent + 112) << 23 | mantissa << 13);
}

// To nearest, ties to even.
uint kv_to_f16(float value)
{
    uint bits = floatBitsToUint(value), sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return sign | 0x7e00 | (bits >> 13 & 0x1ff);
    if (bits >= 0x47800000)    // 65536 and up; 65520 to 65535 round up to infinity below
        return sign | 0x7c00;
    if (bits < 0x38800000) {   // below 2^-14: the sum with 0.5 puts the rounded mantissa in place
        precise float shifted = uintBitsToFloat(bits) + 0.5;
        return sign | (floatBitsToUint(shifted) - 0x3f000000);
    }
    return sign | (bits + 0xfff + (bits >> 13 & 1) - 0x38000000) >> 13;
}

#endif
