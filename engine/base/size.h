/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_SIZE_H
#define QUIP_ENGINE_BASE_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Checked arithmetic for numbers that come from files: false, and *out is worth nothing, when the
 * result does not fit. */
static inline bool size_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool size_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Next multiple of align, a power of two. */
static inline bool size_round_up(uint64_t n, uint64_t align, uint64_t *out)
{
    uint64_t sum;
    if (!size_add(n, align - 1, &sum))
        return false;
    *out = sum & ~(align - 1);
    return true;
}

#endif
