/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_CPU_VEC_H
#define QUIP_ENGINE_CPU_CPU_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything of a forward pass that is no matrix product, one table per tier. Like the products
 * (cpu_kern.h) all tiers give the bits of the scalar one, because orders are laid down:
 *
 * lane sum   sixteen partial sums, lane = index mod 16, missing items counting as zeros, folded
 *            16 -> 8 -> 4 -> 2 -> 1 by adding the upper half of the lanes to the lower
 * exp        cpu_exp(): one polynomial for all tiers, every step an fma or a product written out
 *
 * A page holds CPU_PAGE tokens of one KV head: keys as [d_head][CPU_PAGE] (a column of tokens for each
 * component, so that a score needs no sum across lanes), values as [CPU_PAGE][d_head]. */
enum { CPU_PAGE = 64, CPU_ATTN_MAX_D = 512 };

/* Running state of one query head over the pages seen so far (online softmax). Start: m = -INFINITY,
 * l = 0, o = 0; with a sink logit: m = sink, l = 1. The result is o / l. */
struct cpu_attn {
    const float *q;     /* [d_k], already multiplied by the attention scale */
    float *o;           /* [d_v] */
    float m, l;
    int32_t key0, key1; /* keys of the call's page or pages that this query sees: key0 <= k < key1 */
};

/* Memory that a call asks for while it computes, because the next one reads it; at NULL: nothing. Only a hint. */
struct cpu_ahead {
    const void *at;
    size_t n_bytes;
};

struct cpu_vec {
    const char *name;

    /* y_c = x_c * r * gain_c, r = 1 / sqrtf(lane sum of fma(x, x, .) / n_cols + eps); gain NULL is 1.
     * y may be x. Order: (x * r) * gain. */
    void (*rmsnorm)(float *y, const float *x, const float *gain, int32_t n_cols, float eps);

    /* y_i = y_i + x_i */
    void (*add)(float *y, const float *x, int64_t n);
    /* y_i = y_i * a */
    void (*scale)(float *y, float a, int64_t n);
    /* y_i = cap * tanh(y_i / cap), tanh from cpu_exp as cpu_tanh() does */
    void (*softcap)(float *y, float cap, int64_t n);
    /* g_i = silu(g_i) * u_i, silu(x) = x / (1 + exp(-x)) */
    void (*silu_mul)(float *g, const float *u, int64_t n);
    /* g_i = gelu(g_i) * u_i, gelu by tanh: 0.5 x (1 + tanh z), z = sqrt(2/pi) x (1 + 0.044715 x^2),
     * computed as x / (1 + exp(-2 z)), which is the same and cancels nowhere */
    void (*gelu_mul)(float *g, const float *u, int64_t n);

    /* Rotates n_heads vectors of d_head; pairs (i, i + half) when halves, else (2i, 2i + 1), for
     * i < half = n_rot / 2:  a' = fma(a, cos_i, -(b * sin_i)),  b' = fma(a, sin_i, b * cos_i). */
    void (*rope)(float *x, const float *cos_sin /* [half][2] */, int32_t n_heads, int32_t d_head,
                 int32_t n_rot, int halves);

    /* f32 -> f16, nearest even; key columns of a page: element c goes to out[c * CPU_PAGE]. */
    void (*store_f16)(uint16_t *out, const float *x, int32_t n);
    void (*store_f16_column)(uint16_t *out, const float *x, int32_t n);

    /* One page for n_q queries that share a KV head (1 to 64 of them; key0 < key1 in each).
     *   s_k = sum over c, in order, of fma(q_c, K[c][k], s_k);  with a cap: cap * tanh(s / cap)
     *   m' = max(m, max s_k);  p_k = exp(s_k - m');  f = exp(m - m') (0 when m is -INFINITY);
     *   m' = -INFINITY, every score being so, leaves the state as it is
     *   l = fma(l, f, lane sum of p);  o_c = o_c * f, then for k in order o_c = fma(p_k, V[k][c], o_c)
     * with k over key0..key1 only: what lies outside, NaN even, counts for nothing. cap 0 is none.
     * ahead: NULL, or [0] asked for during the scores and [1] during the values.
     * d_k, d_v 1 to CPU_ATTN_MAX_D; key0 and key1 may differ from query to query. */
    void (*attn_page_f16)(struct cpu_attn *a, int32_t n_q, const uint16_t *keys, const uint16_t *values,
                          const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap);
    void (*attn_page_f32)(struct cpu_attn *a, int32_t n_q, const float *keys, const float *values,
                          const struct cpu_ahead *ahead, int32_t d_k, int32_t d_v, float cap);
    /* cpu_attn_merge() */
    void (*attn_merge)(struct cpu_attn *a, const struct cpu_attn *b, int32_t d_v);
};

/* Scalar table, then what the features (cpuid.h) do better. */
void cpu_vec_init(struct cpu_vec *v, uint32_t features);

/* Joins two states of the same query over different keys, b into a: m' = max; a.l = fma(a.l, fa, b.l * fb);
 * o_c = fma(a.o_c, fa, b.o_c * fb), f = exp(m - m'). A state that saw no key has m = -INFINITY; as b it
 * changes nothing. */
void cpu_attn_merge(struct cpu_attn *a, const struct cpu_attn *b, int32_t d_v);

/* The scalar definitions. */
float cpu_exp(float x);     /* within 2 ulp of e^x; 0 below about -87, +INFINITY above about 88.7 */
float cpu_tanh(float x);
float cpu_lane_sum(const float *x, int64_t n);

/* The stages of attn_page_f16 for one query. Weights: s, of which key0..key1 are scores, becomes p, 0 outside;
 * m and l are brought up to date and *f is the factor on the output so far; false: nothing to be done. n_keys may
 * be those of several pages. */
void cpu_attn_scores_f16(float s[CPU_PAGE], const float *q, const uint16_t *keys, int32_t d_k, int32_t key0,
                         int32_t key1);
bool cpu_attn_weights(struct cpu_attn *a, float *s, int32_t n_keys, float cap, float *f);
void cpu_attn_values_f16(struct cpu_attn *a, const float p[CPU_PAGE], const uint16_t *values, int32_t d_v, float f);

#endif
