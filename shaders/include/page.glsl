// SPDX-License-Identifier: MIT
// The page table (table.h), and which of its pages a row reads in which form.
#ifndef PAGE_GLSL
#define PAGE_GLSL

#include "kv.glsl"
#include "table.h"

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

#endif
