/* SPDX-License-Identifier: MIT */
#include "app/measure/draw.h"

#include <string.h>

enum { DRAW_SHIFT = 397 };

void draw_seed(struct draw *d, uint32_t seed)
{
    d->state[0] = seed;
    for (uint32_t i = 1; i < DRAW_STATE; i++)
        d->state[i] = 1812433253u * (d->state[i - 1] ^ d->state[i - 1] >> 30) + i;
    d->at = DRAW_STATE;
}

static void turn(struct draw *d)
{
    for (int32_t i = 0; i < DRAW_STATE; i++) {
        uint32_t y = (d->state[i] & 0x80000000u) | (d->state[(i + 1) % DRAW_STATE] & 0x7fffffffu);
        d->state[i] = d->state[(i + DRAW_SHIFT) % DRAW_STATE] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    d->at = 0;
}

uint32_t draw_next(struct draw *d)
{
    if (d->at >= DRAW_STATE)
        turn(d);
    uint32_t y = d->state[d->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

uint32_t draw_below(struct draw *d, uint32_t n)
{
    uint64_t product = (uint64_t)draw_next(d) * n;
    if ((uint32_t)product < n) {
        uint32_t threshold = -n % n;
        while ((uint32_t)product < threshold)
            product = (uint64_t)draw_next(d) * n;
    }
    return (uint32_t)(product >> 32);
}

void draw_order(int32_t *order, int32_t n, uint32_t seed)
{
    struct draw d;
    draw_seed(&d, seed);
    for (int32_t i = 0; i < n; i++)
        order[i] = i;
    for (int32_t i = 0; i < n; i++) {
        int32_t k = i + (int32_t)draw_below(&d, (uint32_t)(n - i)), drawn = order[k];
        memmove(order + i + 1, order + i, (size_t)(k - i) * sizeof *order);    /* the others stay in order */
        order[i] = drawn;
    }
}
