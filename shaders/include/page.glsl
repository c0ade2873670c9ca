// SPDX-License-Identifier: MIT
// Pages of keys and values (engine/backend/kv_page.h) and the page table that leads to them (table.h).
#ifndef PAGE_GLSL
#define PAGE_GLSL

#include "table.h"

// enum kv_type
const uint KV_F16 = 0, KV_F32 = 1, KV_Q8_0 = 2, KV_Q4_0 = 3, KV_KV4 = 4, KV_KV3 = 5;
const uint KV_PAGE = 64, KV_BLOCK = 32;

// A page at its address. Indices are within it; pages have less than 2^32 bytes.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer PageWords { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer PageFloats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer PageShorts { uint16_t at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer PageHalves { float16_t at[]; };

uvec2 page_address(uint words[2])
{
    return uvec2(words[0], words[1]);
}

bool page_there(uvec2 address)
{
    return (address.x | address.y) != 0;
}

// kv_reads_open()
bool page_reads_open(uint pos, uint page)
{
    return page == 0 || page + 1 >= pos / KV_PAGE;
}

// The first key that a row sees.
uint page_first_key(uint pos, uint window)
{
    return window > 0 && pos >= window ? pos - window + 1 : 0;
}

// The bits of an f16, to nearest, ties to even, as engine/quant/f16.h; how the language's own conversion rounds is
// the device's choice.
uint f16_bits(float value)
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
