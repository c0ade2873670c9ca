/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_CPU_KV_H
#define QUIP_ENGINE_CPU_CPU_KV_H

#include "engine/backend/kv_page.h"
#include "engine/cpu/cpu_vec.h"

/* Kernels over sealed pages (layout: kv_page.h), one table per tier. Tiers give the bits of the scalar one;
 * `exact` is a table of its own that multiplies in f32 what the others multiply in integers.
 *
 * Query. q is rotated when the layer's keys are; then per block of KV_BLOCK components
 *     a = max |q_c|, or 0 below 2^-100;  d = a / 127;  i = a > 0 ? 127 / a : 0
 *     code_c = round_to_nearest_even(q_c * i);  sum = sum of codes                    (as cpu_kern.h)
 * Several pages are one step of the softmax: their scores first, then the weights of all, then the values.
 * Scores, for each key k of a page:
 *     s = mean part: cpu_lane_sum order of fma(q_c, mean_c, .) over c      kv4, kv3; else 0
 *     for each block b in order:  t = sum code_c * key code_c (int32, exact)
 *                                 s = fma((float)t, d_b * scale_b,k, s)
 *     KV_F16 keys: as cpu_vec.h's attn_page_f16
 *   then, over the keys of all pages, cap, range, maximum, weights p_k, l (lane = index mod 16 from the first page
 *   on) and the factor f on what was there before: as attn_page_f16;  o_c = o_c * f.
 * Values, page by page, for each block b of components (kv_page.h: of 32 or 64), with n = 32767
 * for q8_0 and 127 for the types of fewer bits:
 *     w_k = p_k * scale_b,k (0 outside the range);  a = max |w_k|, or 0 below 2^-100;  d = a / n;
 *     i = a > 0 ? n / a : 0;  W_k = round_to_nearest_even(w_k * i)
 *     t_c = sum over k of W_k * value code_k,c (int32, exact)
 *     o_c = fma((float)t_c, d, o_c)
 *     KV_F16 values: as attn_page_f16
 * o is in the rotated space when the values are rotated.
 *
 * Rotation: the stages of the Hadamard transform are half = 1, 2, 4 .. run / 2, (a, b) -> (a + b, a - b); then the
 * product with 1.0f / sqrtf(run). Codes and W are bounded to +-127 and +-n; a NaN becomes the lower bound.
 *
 * exact: a page is laid out in f32, keys fma(scale, code, mean), values scale * code, and then is read as by
 * cpu_vec.h's attn_page_f32, one page after the other. */

enum { CPU_KV_PAGES = 4 };

/* One query head made ready for sealed pages of a layer. */
struct cpu_kv_query {
    const float *q;          /* [d]: rotated where the keys are */
    const int8_t *codes;     /* [n_blocks * KV_BLOCK], zeros past d */
    const float *scale;      /* [n_blocks] */
    const int32_t *sum;      /* [n_blocks] */
};

/* Types and size of a layer's heads. */
struct cpu_kv_shape {
    enum kv_type k, v;
    int32_t d;
};

/* Sealed pages of one KV head, in the order of their tokens. */
struct cpu_kv_pages {
    int32_t n;    /* 1 to CPU_KV_PAGES */
    const void *keys[CPU_KV_PAGES], *values[CPU_KV_PAGES];
    struct cpu_ahead ahead[2 * CPU_KV_PAGES];    /* [i] asked for during page i's keys, [n + i] its values */
};

struct cpu_kv_kern {
    const char *name;
    /* Makes q ready; out's arrays are filled, rotated receives [d] when the key type is rotated (else out->q is q).
     * Codes, scale and sum are left alone where nothing reads them: f16 keys, exact. */
    void (*prepare)(struct cpu_kv_query *out, float *rotated, int8_t *codes, float *scale, int32_t *sum,
                    const float *q, const struct cpu_kv_shape *shape);
    /* x back from the space of rotated values: Hadamard, then signs. */
    void (*unrotate)(float *x, int32_t d);
    /* Pages of one KV head for n_q queries (1 to 64). A query's range key0 < key1 counts from the first page's first
     * key; a[i].q is not read, query[i] is. Keys outside a range count for nothing. */
    void (*attend)(struct cpu_attn *a, const struct cpu_kv_query *query, int32_t n_q,
                   const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap);
    /* Seals one head of a full page. open_keys, open_values: f16, as in the open form. A value that is not finite
     * is sealed as if it were 0.
     * scratch: cpu_kv_seal_floats(d) floats, aligned to 64 */
    void (*seal)(void *keys, void *values, const uint16_t *open_keys, const uint16_t *open_values,
                 const struct cpu_kv_shape *shape, float *scratch);
};

static inline int32_t cpu_kv_blocks(int32_t d)
{
    return (d + KV_BLOCK - 1) / KV_BLOCK;
}

size_t cpu_kv_seal_floats(int32_t d);

/* Scalar table, then what the features (cpuid.h) do better; exact: the f32 one. */
void cpu_kv_init(struct cpu_kv_kern *k, uint32_t features, bool exact);

#endif
