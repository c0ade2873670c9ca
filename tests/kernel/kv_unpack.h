/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_KERNEL_KV_UNPACK_H
#define QUIP_TESTS_KERNEL_KV_UNPACK_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend/kv_page.h"
#include "engine/quant/f16.h"

/* Sealed pages read field by field as kv_page.h words it, sharing nothing with the engine but kv_page.h and
 * f16.h: the tests' own idea of what a page stands for. Results are [component][key]. */

static const enum kv_type kv_types[] = { KV_F16, KV_Q8_0, KV_Q4_0, KV_KV4, KV_KV3 };
enum { N_KV_TYPES = sizeof kv_types / sizeof *kv_types };

/* A side of a page, unpacked. */
struct kv_plain {
    double x[KV_MAX_HEAD][KV_PAGE];      /* what it stands for: keys with their mean */
    int code[KV_MAX_HEAD][KV_PAGE];      /* of kv3 the level; of f16 nothing */
    double scale[KV_MAX_HEAD / 16][KV_PAGE];
    double mean[KV_MAX_HEAD];
};

static inline double kv_f16_at(const unsigned char *at, int i)
{
    uint16_t half;
    memcpy(&half, at + 2 * i, sizeof half);
    return f16_to_f32(half);
}

static inline void kv_unpack_key_codes(struct kv_plain *p, const unsigned char *at, enum kv_type type, int d)
{
    if (type == KV_Q8_0)
        for (int g = 0; g < d / 4; g++)
            for (int key = 0; key < KV_PAGE; key++)
                for (int i = 0; i < 4; i++)
                    p->code[4 * g + i][key] = *at++ - 128;
    if (type == KV_Q4_0 || type == KV_KV4)
        for (int g = 0; g < d / 8; g++)
            for (int key = 0; key < KV_PAGE; key++)
                for (int i = 0; i < 4; i++, at++) {
                    p->code[8 * g + i][key] = (*at & 15) - 8;
                    p->code[8 * g + 4 + i][key] = (*at >> 4) - 8;
                }
    if (type == KV_KV3) {
        for (int g = 0; g < d / 16; g++)
            for (int key = 0; key < KV_PAGE; key++)
                for (int i = 0; i < 4; i++, at++)
                    for (int n = 0; n < 4; n++)
                        p->code[16 * g + 4 * n + i][key] = *at >> 2 * n & 3;
        for (int h = 0; h < (d + 31) / 32; h++)
            for (int key = 0; key < KV_PAGE; key++)
                for (int i = 0; i < 4; i++, at++)
                    for (int n = 0; n < 8 && 32 * h + 4 * n < d; n++)
                        p->code[32 * h + 4 * n + i][key] |= (*at >> n & 1) << 2;
    }
}

static inline void kv_unpack_value_codes(struct kv_plain *p, const unsigned char *at, enum kv_type type, int d)
{
    for (int pair = 0; type == KV_Q8_0 && pair < KV_PAGE / 2; pair++)
        for (int c = 0; c < d; c++)
            for (int h = 0; h < 2; h++)
                p->code[c][2 * pair + h] = (int8_t)*at++;
    if (type == KV_Q4_0 || type == KV_KV4)
        for (int k8 = 0; k8 < KV_PAGE / 8; k8++)
            for (int c = 0; c < d; c++)
                for (int i = 0; i < 4; i++, at++) {
                    p->code[c][8 * k8 + i] = (*at & 15) - 8;
                    p->code[c][8 * k8 + 4 + i] = (*at >> 4) - 8;
                }
    if (type == KV_KV3) {
        for (int k16 = 0; k16 < KV_PAGE / 16; k16++)
            for (int c = 0; c < d; c++)
                for (int i = 0; i < 4; i++, at++)
                    for (int n = 0; n < 4; n++)
                        p->code[c][16 * k16 + 4 * n + i] = *at >> 2 * n & 3;
        for (int k32 = 0; k32 < KV_PAGE / 32; k32++)
            for (int c = 0; c < d; c++)
                for (int i = 0; i < 4; i++, at++)
                    for (int n = 0; n < 8; n++)
                        p->code[c][32 * k32 + 4 * n + i] |= (*at >> n & 1) << 2;
    }
}

static inline void kv_unpack(struct kv_plain *p, const void *page, enum kv_type type, int d, bool keys)
{
    const unsigned char *at = page;
    memset(p, 0, sizeof *p);
    if (type == KV_F16) {
        for (int c = 0; c < d; c++)
            for (int k = 0; k < KV_PAGE; k++)
                p->x[c][k] = kv_f16_at(at, keys ? c * KV_PAGE + k : k * d + c);
        return;
    }
    if (keys && (type == KV_KV4 || type == KV_KV3)) {
        for (int c = 0; c < d; c++)
            p->mean[c] = kv_f16_at(at, c);
        at += 2 * d;
    }
    int block = !keys && (type == KV_KV4 || type == KV_KV3) && d % 64 == 0 ? 64 : 32, n_blocks = (d + block - 1) / block;
    for (int i = 0; i < n_blocks * KV_PAGE; i++)
        p->scale[i / KV_PAGE][i % KV_PAGE] = kv_f16_at(at, i);
    at += 2 * n_blocks * KV_PAGE;
    if (keys)
        kv_unpack_key_codes(p, at, type, d);
    else
        kv_unpack_value_codes(p, at, type, d);
    for (int c = 0; c < d; c++)
        for (int k = 0; k < KV_PAGE; k++) {
            if (type == KV_KV3)
                p->code[c][k] = kv3_level[p->code[c][k]];
            p->x[c][k] = p->mean[c] + p->scale[c / block][k] * p->code[c][k];
        }
}

/* Signs, then the Hadamard matrix written out, in double: row r, column c holds (-1)^popcount(r & c). */
static inline void kv_rotate_plain(double *out, const double *x, int d)
{
    int run = 1;
    while (d % (2 * run) == 0)
        run *= 2;
    for (int r = 0; r < d; r++) {
        double sum = 0;
        for (int c = r / run * run; c < r / run * run + run; c++)
            sum += (__builtin_popcount((unsigned)(r & c & (run - 1))) & 1 ? -1 : 1) * kv_sign(c) * x[c];
        out[r] = sum / sqrt(run);
    }
}

static inline void *kv_need(size_t n_bytes)
{
    void *p = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    if (!p)
        abort();
    return p;
}

#endif
