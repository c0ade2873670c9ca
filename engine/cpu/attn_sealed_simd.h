/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_ATTN_SEALED_SIMD_H
#define QUIP_ENGINE_CPU_ATTN_SEALED_SIMD_H

#include <string.h>

#include "engine/cpu/attn_stages_simd.h"
#include "engine/cpu/kern_tiers.h"
#include "engine/cpu/kv_tiers.h"

/* Attention over sealed pages (cpu_kv.h) over a tier's words; only the tier's own file includes this, after
 * its vector words and these integer ones:
 *
 *   vint                  a register of bytes, words or dwords; i_zero, i_load, i_store, i_set32, i_and,
 *                         i_add32, i_max32, i_times32, i_right, i_left (dwords), i_spread32 (one dword of memory
 *                         in all lanes)
 *   i_dot16(t, a, b)      t + the sum of the i16 products in each dword
 *   i_round, v_from_i32   between f32 and i32; a NaN becomes the lowest number
 *   i_pack16(a, b)        i32 to i16, bounded to +-32767, in the order that weight_at() knows
 *   i_pack8(a, b, c, d)   i32 to i8, bounded to +-127; weight8_at() knows where it leaves four of them
 *   i_store8(p, a)        LANES i32 to i8, which they fit
 *   i_widen8(p)           2 LANES i8 of memory to i16
 *   b_start, b_add, b_finish   sums of four products of bytes per dword, 32 of them: codes of a page and those of
 *                         a query, or weights
 *   b_level               kv3: two low bits and a third (bit 2) to a code; other bits may be anything
 *   v_from_bits, i_from_bits  one register as the other
 *   v_partner(a, n)       lane i holds what lane i ^ n held
 *   v_odd_sign(a, n)      lanes i with i & n change sign;  v_kv_sign(a, c): times kv_sign(c + lane)
 *
 * As in attn_stages_simd.h lanes are keys for the scores, components for the values, and the layouts are
 * made for it: a dword of keys holds four components of one key, a dword of values four keys of one component
 * (q8_0: two), so that whole registers are multiplied by one dword of the query's codes, or of weights, in all
 * lanes. What goes on in a line of 4 or 3 bits is the same for both.
 * Codes stay unsigned where that is cheaper; what this adds to a sum is taken off with the sum of the codes
 * or weights they meet.
 *
 * Up to SEALED_TILE queries go through the pages together, each code being unpacked once for all of them. All keys
 * of a call come before all values, so that what is done once per query (codes, weights, rescaling) is done once
 * per call. */

enum { SEALED_TILE = 8, SEALED_KEYS = CPU_KV_PAGES * CPU_PAGE, KV_MAX_BLOCKS = KV_MAX_HEAD / KV_BLOCK };

/* How codes are stored; q4_0 and kv4 share one. */
enum sealed_code { CODE_3 = 3, CODE_4 = 4, CODE_8 = 8, N_CODES };

static inline enum sealed_code sealed_code(enum kv_type type)
{
    return type == KV_Q8_0 ? CODE_8 : type == KV_KV3 ? CODE_3 : CODE_4;
}

/* One head's keys or values. */
struct sealed_side {
    const uint16_t *mean, *scale;     /* mean: NULL where there is none */
    const uint8_t *codes, *high;
    int32_t d, block, n_blocks;       /* components with one scale */
};

/* Queries of a tile. Codes and sums are copied so that one pointer with constant offsets reaches all. */
struct sealed_tile {
    float p[SEALED_TILE][SEALED_KEYS];            /* scores, then weights */
    float *o[SEALED_TILE];
    float f[16];                                  /* the factor on o; 16: a vector of any tier */
    float mean[CPU_KV_PAGES][16];                 /* q . mean */
    _Alignas(64) int8_t codes[SEALED_TILE][KV_MAX_HEAD];
    float scale[SEALED_TILE][KV_MAX_BLOCKS];
    int32_t sum[SEALED_TILE][KV_MAX_BLOCKS];      /* times what codes of keys are too large by */
    /* Of one block of components: p times the scales, in steps. */
    int16_t w16[CPU_KV_PAGES][SEALED_TILE][CPU_PAGE];     /* q8_0 */
    int8_t w8[CPU_KV_PAGES][SEALED_TILE][CPU_PAGE];       /* keys as i_pack8 leaves them */
    /* [page][query], and room for the last vector */
    float step[CPU_KV_PAGES * SEALED_TILE + 16];
    float excess[CPU_KV_PAGES * SEALED_TILE + 16];    /* bits: sum of w times what codes are too large by */
    struct asker asker[CPU_KV_PAGES];
    float unused[KV_MAX_HEAD];                    /* o of a query that sees nothing */
};

static inline struct sealed_side sealed_side(const void *at, enum kv_type type, int32_t d, bool keys)
{
    struct cpu_kv_parts parts = cpu_kv_parts(type, d, keys);
    const uint8_t *bytes = at;
    return (struct sealed_side){
        .mean = keys && kv_type_rotated(type) ? (const uint16_t *)(const void *)(bytes + parts.mean) : NULL,
        .scale = (const uint16_t *)(const void *)(bytes + parts.scale),
        .codes = bytes + parts.codes,
        .high = bytes + parts.high,
        .d = d,
        .block = parts.block,
        .n_blocks = parts.n_blocks,
    };
}

/* ---- scores ----------------------------------------------------------------------------------------- */

static inline void tile_queries(struct sealed_tile *t, const struct cpu_kv_query *query,
                                enum sealed_code code, int32_t n_blocks, int n_q)
{
    int32_t offset = code == CODE_8 ? B_OFFSET_8 : code == CODE_4 ? 8 : B_OFFSET_3;
    for (int i = 0; i < n_q; i++) {
        for (int32_t b = 0; b < n_blocks; b++) {
            memcpy(t->codes[i] + b * KV_BLOCK, query[i].codes + b * KV_BLOCK, KV_BLOCK);
            t->scale[i][b] = query[i].scale[b];
            t->sum[i][b] = -offset * query[i].sum[b];
        }
    }
}

/* q . mean for each query, the score of a key of the page whose codes are all 0. */
ATTN_INLINE void mean_parts(struct sealed_tile *t, const struct cpu_kv_query *query, const struct sealed_side *k,
                            int page, const int n_q)
{
    vec lanes[SEALED_TILE][16 / LANES];
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        for (int v = 0; v < 16 / LANES; v++)
            lanes[i][v] = v_set(0.0f);
    for (int32_t c = 0; c < k->d; c += 16)
        ATTN_UNROLL
        for (int v = 0; v < 16 / LANES; v++) {
            vec x = v_load_f16(k->mean + c + v * LANES);
            ATTN_UNROLL
            for (int i = 0; i < n_q; i++)
                lanes[i][v] = v_fma(v_load(query[i].q + c + v * LANES), x, lanes[i][v]);
        }
    v_store(t->mean[page], v_fold8(lanes, n_q, FOLD_ADD));
}

/* Codes 4 j to 4 j + 3 of 32 in each of LANES columns, in bytes; line: bytes of a line of dwords. */
ATTN_INLINE vint small_line(const uint8_t *codes, vint high, ptrdiff_t line, enum sealed_code code, const int j)
{
    if (code == CODE_8)
        return i_load(codes + j * line);
    if (code == CODE_4) {
        vint x = i_load(codes + j / 2 * line);
        return i_and(j % 2 ? i_right(x, 4) : x, i_set32(0x0f0f0f0f));
    }
    vint low = i_right(i_load(codes + j / 4 * line), j % 4 * 2);
    return b_level(low, j <= 2 ? i_left(high, 2 - j) : i_right(high, j - 2));
}

/* Adds the block's products to the scores of n_v vectors of keys from key on, in the page whose first is key0. */
ATTN_INLINE void scores_sealed(struct sealed_tile *t, const struct sealed_side *k, int32_t b, int32_t key0,
                               int32_t key, struct asker *asker, enum sealed_code code, const int n_q,
                               const int n_v)
{
    const int block_lines = code == CODE_8 ? 8 : code == CODE_4 ? 4 : 2;
    const uint8_t *codes = k->codes + (b * block_lines * KV_PAGE + key) * 4;
    const int8_t *q = t->codes[0] + b * KV_BLOCK;
    vint acc[SEALED_TILE][ATTN_MAX_VECS], high[ATTN_MAX_VECS], u[ATTN_MAX_VECS];
    ATTN_UNROLL
    for (int v = 0; v < n_v; v++)
        high[v] = code == CODE_3 ? i_load(k->high + (b * KV_PAGE + key + v * LANES) * 4) : i_zero();
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            acc[i][v] = b_start(i_spread32(&t->sum[i][b]), code);
    ATTN_UNROLL
    for (int j = 0; j < 8; j++) {
        if (j == 4 && b * KV_BLOCK + 16 == k->d)    /* a last block of 16 */
            break;
        ask(asker);
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            u[v] = small_line(codes + v * LANES * 4, high[v], KV_PAGE * 4, code, j);
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++) {
            vint four = i_spread32(q + i * KV_MAX_HEAD + 4 * j);
            ATTN_UNROLL
            for (int v = 0; v < n_v; v++)
                acc[i][v] = b_add(acc[i][v], u[v], four, code);
        }
    }
    ATTN_UNROLL
    for (int v = 0; v < n_v; v++) {
        vec scale = v_load_f16(k->scale + b * KV_PAGE + key + v * LANES);
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++) {
            float *s = t->p[i] + key0 + key + v * LANES;
            vec sum = v_from_i32(b_finish(acc[i][v], i_spread32(&t->sum[i][b]), code));
            vec before = b > 0 ? v_load(s) : v_set(t->mean[key0 / CPU_PAGE][i]);
            v_store(s, v_fma(sum, v_mul(v_set(t->scale[i][b]), scale), before));
        }
    }
}

ATTN_INLINE void keys_sealed(struct sealed_tile *t, const struct sealed_side *k, int32_t key0,
                             const struct cpu_ahead *ahead, enum sealed_code code, const int n_q, const int n_v)
{
    struct asker asker = asker_over(ahead, k->d / 4 * (CPU_PAGE / (n_v * LANES)));
    for (int32_t b = 0; b < k->n_blocks; b++)
        for (int32_t key = 0; key < CPU_PAGE; key += n_v * LANES)
            scores_sealed(t, k, b, key0, key, &asker, code, n_q, n_v);
}

/* ---- values ----------------------------------------------------------------------------------------- */

/* The largest |p * scale| of a block of components, for all queries; key: the page's first. */
ATTN_INLINE vec largest(const struct sealed_tile *t, const uint16_t *scales, int32_t key, const int n_q)
{
    vec top[SEALED_TILE][16 / LANES], size[ATTN_MAX_VECS];
    ATTN_UNROLL
    for (int v = 0; v < ATTN_MAX_VECS; v++)
        size[v] = v_abs(v_load_f16(scales + v * LANES));
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++) {
        for (int v = 0; v < 16 / LANES; v++)
            top[i][v] = v_set(0.0f);
        ATTN_UNROLL
        for (int v = 0; v < ATTN_MAX_VECS; v++)
            top[i][v % (16 / LANES)] =
                v_max(v_mul(v_load(t->p[i] + key + v * LANES), size[v]), top[i][v % (16 / LANES)]);
    }
    return v_fold8(top, n_q, FOLD_MAX);
}

/* p * scale in whole steps of 16 bits; inverse is one by a step. */
ATTN_INLINE void to_steps16(struct sealed_tile *t, const float *inverse, const uint16_t *scales, int page,
                            const int n_q)
{
    for (int v = 0; v < ATTN_MAX_VECS; v += 2) {
        vec scale0 = v_load_f16(scales + v * LANES), scale1 = v_load_f16(scales + (v + 1) * LANES);
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++) {
            const float *p = t->p[i] + page * CPU_PAGE + v * LANES;
            vec one_by = v_set(inverse[i]);
            i_store(t->w16[page][i] + v * LANES, i_pack16(i_round(v_mul(v_mul(v_load(p), scale0), one_by)),
                                                          i_round(v_mul(v_mul(v_load(p + LANES), scale1), one_by))));
        }
    }
}

/* The same of 8 bits, and their sums times what codes are too large by, negative. */
ATTN_INLINE vec to_steps8(struct sealed_tile *t, const float *inverse, const uint16_t *scales, int page, int offset,
                          const int n_q)
{
    vec sum[SEALED_TILE][16 / LANES];
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        for (int v = 0; v < 16 / LANES; v++)
            sum[i][v] = v_set(0.0f);
    ATTN_UNROLL
    for (int key = 0; key < CPU_PAGE; key += 4 * LANES) {
        vec scale[4];
        ATTN_UNROLL
        for (int v = 0; v < 4; v++)
            scale[v] = v_load_f16(scales + key + v * LANES);
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++) {
            const float *p = t->p[i] + page * CPU_PAGE + key;
            vec one_by = v_set(inverse[i]);
            vint steps[4];
            ATTN_UNROLL
            for (int v = 0; v < 4; v++)
                steps[v] = i_round(v_mul(v_mul(v_load(p + v * LANES), scale[v]), one_by));
            vint w = i_pack8(steps[0], steps[1], steps[2], steps[3]);
            i_store(t->w8[page][i] + key, w);
            if (offset) {
                vint four = b_add(b_start(i_zero(), CODE_4), i_set32(0x01010101), w, CODE_4);
                sum[i][0] = v_from_bits(i_add32(i_from_bits(sum[i][0]), b_finish(four, i_zero(), CODE_4)));
            }
        }
    }
    if (!offset)
        return v_set(0.0f);
    return v_from_bits(i_times32(i_from_bits(v_fold8(sum, n_q, FOLD_ADD_I32)), -offset));
}

/* Weights of a block of components, in all pages: p times the scales, in whole steps. Each of the three passes goes
 * through all pages, so that none waits for the one before. */
ATTN_INLINE void weigh(struct sealed_tile *t, const struct sealed_side *values, int n_pages, int32_t block,
                       enum sealed_code code, const int n_q)
{
    float inverse[CPU_KV_PAGES * SEALED_TILE + 16];
    const float n_steps = code == CODE_8 ? 32767.0f : 127.0f;
    const int offset = code == CODE_4 ? 8 : B_OFFSET_3;
    for (int i = 0; i < n_pages; i++)
        v_store(t->step + i * SEALED_TILE, largest(t, values[i].scale + block * KV_PAGE, i * CPU_PAGE, n_q));
    for (int i = 0; i < n_pages * SEALED_TILE; i += LANES) {
        vec a = v_load(t->step + i);
        a = v_select(v_less(a, v_set(CPU_BLOCK_FLOOR)), v_set(0.0f), a);
        v_store(t->step + i, v_div(a, v_set(n_steps)));
        v_store(inverse + i, v_select(v_less(v_set(0.0f), a), v_div(v_set(n_steps), a), v_set(0.0f)));
    }
    for (int i = 0; i < n_pages; i++) {
        const uint16_t *scales = values[i].scale + block * KV_PAGE;
        if (code == CODE_8)
            to_steps16(t, inverse + i * SEALED_TILE, scales, i, n_q);
        else
            v_store(t->excess + i * SEALED_TILE, to_steps8(t, inverse + i * SEALED_TILE, scales, i, offset, n_q));
    }
}

/* Sums of whole steps onto the outputs. */
ATTN_INLINE void add_steps(struct sealed_tile *t, vint acc[SEALED_TILE][ATTN_MAX_VECS], int32_t c, int page,
                           const int n_q, const int n_v)
{
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++) {
            float *o = t->o[i] + c + v * LANES;
            vec step = v_set(t->step[page * SEALED_TILE + i]);
            v_store(o, v_fma(v_from_i32(acc[i][v]), step, v_load(o)));
        }
}

/* o_c for n_v vectors of components from c on, a part of one block; q8_0. */
ATTN_INLINE void values_8(struct sealed_tile *t, const struct sealed_side *values, int32_t c, int page,
                          const int n_q, const int n_v)
{
    ptrdiff_t row = 2 * (ptrdiff_t)values->d;    /* two keys */
    const uint8_t *codes = values->codes + c * 2;
    vint acc[SEALED_TILE][ATTN_MAX_VECS], pair[ATTN_MAX_VECS];
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            acc[i][v] = i_zero();
    for (int k16 = 0; k16 < KV_PAGE / 16; k16++, codes += 8 * row) {
        const int16_t *w = t->w16[page][0] + weight_at(k16);
        ATTN_UNROLL
        for (int n = 0; n < 8; n++) {
            if (n % 2 == 0)
                ask(&t->asker[page]);
            ATTN_UNROLL
            for (int v = 0; v < n_v; v++)
                pair[v] = i_widen8(codes + n * row + v * LANES * 2);
            ATTN_UNROLL
            for (int i = 0; i < n_q; i++) {
                vint two = i_spread32(w + i * CPU_PAGE + 2 * weight_order[n]);
                ATTN_UNROLL
                for (int v = 0; v < n_v; v++)
                    acc[i][v] = i_dot16(acc[i][v], two, pair[v]);
            }
        }
    }
    add_steps(t, acc, c, page, n_q, n_v);
}

/* The same of fewer bits; 32 keys at a time. */
ATTN_INLINE void values_small(struct sealed_tile *t, const struct sealed_side *values, int32_t c, int page,
                              enum sealed_code code, const int n_q, const int n_v)
{
    ptrdiff_t line = 4 * (ptrdiff_t)values->d;
    const int lines = code == CODE_4 ? 4 : 2;    /* of 32 keys */
    vint sum[SEALED_TILE][ATTN_MAX_VECS], acc[SEALED_TILE][ATTN_MAX_VECS], high[ATTN_MAX_VECS], u[ATTN_MAX_VECS];
    ATTN_UNROLL
    for (int i = 0; i < n_q; i++)
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            sum[i][v] = i_spread32(&t->excess[page * SEALED_TILE + i]);
    ATTN_UNROLL
    for (int k32 = 0; k32 < KV_PAGE / 32; k32++) {
        const uint8_t *codes = values->codes + k32 * lines * line + c * 4;
        ATTN_UNROLL
        for (int v = 0; v < n_v; v++)
            high[v] = code == CODE_3 ? i_load(values->high + k32 * line + (c + v * LANES) * 4) : i_zero();
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++)
            ATTN_UNROLL
            for (int v = 0; v < n_v; v++)
                acc[i][v] = b_start(sum[i][v], code);
        ATTN_UNROLL
        for (int j = 0; j < 8; j++) {
            ask(&t->asker[page]);
            ATTN_UNROLL
            for (int v = 0; v < n_v; v++)
                u[v] = small_line(codes + v * LANES * 4, high[v], line, code, j);
            ATTN_UNROLL
            for (int i = 0; i < n_q; i++) {
                vint four = i_spread32(t->w8[page][i] + 4 * weight8_at(k32 * 8 + j));
                ATTN_UNROLL
                for (int v = 0; v < n_v; v++)
                    acc[i][v] = b_add(acc[i][v], u[v], four, code);
            }
        }
        ATTN_UNROLL
        for (int i = 0; i < n_q; i++)
            ATTN_UNROLL
            for (int v = 0; v < n_v; v++)
                sum[i][v] = b_finish(acc[i][v], sum[i][v], code);
    }
    add_steps(t, sum, c, page, n_q, n_v);
}

ATTN_INLINE void values_sealed(struct sealed_tile *t, const struct sealed_side *values, int32_t c, int page,
                               enum sealed_code code, const int n_q, const int n_v)
{
    if (code == CODE_8)
        values_8(t, values, c, page, n_q, n_v);
    else
        values_small(t, values, c, page, code, n_q, n_v);
}

ATTN_INLINE void add_sealed(struct sealed_tile *t, const struct sealed_side *values, const struct cpu_ahead *ahead,
                            int n_pages, enum sealed_code code, const int n_q, const int n_v)
{
    const int n_keys = 4, n_cols = n_v * LANES;    /* keys between two times */
    int32_t d = values[0].d, block = values[0].block;
    for (int i = 0; i < n_pages; i++)
        t->asker[i] = asker_over(&ahead[i], (d + n_cols - 1) / n_cols * (KV_PAGE / n_keys));
    for (int32_t b = 0; b < values[0].n_blocks; b++) {
        int32_t begin = b * block, end = begin + block < d ? begin + block : d;
        weigh(t, values, n_pages, b, code, n_q);
        for (int i = 0; i < n_pages; i++) {
            int32_t c = begin;
            for (; end - c >= n_cols; c += n_cols)
                values_sealed(t, &values[i], c, i, code, n_q, n_v);
            if (n_cols > 16 && c < end)
                values_sealed(t, &values[i], c, i, code, n_q, 16 / LANES);
        }
    }
}

/* ---- sides that are f16 ----------------------------------------------------------------------------- */

static inline int32_t in_page(int32_t key, int32_t first)
{
    return clamp(key - first, 0, CPU_PAGE);
}

/* Up to ATTN_TILE queries from the i-th on, one page. */
ATTN_INLINE void scores_open(struct sealed_tile *t, int i, const struct cpu_attn *a, const struct cpu_kv_query *query,
                             const void *keys, int32_t d, int32_t key, const struct cpu_ahead *ahead, const int n_q,
                             const int n_v)
{
    struct attn_tile part;
    struct cpu_attn own[ATTN_TILE];
    for (int q = 0; q < n_q; q++)
        own[q] = (struct cpu_attn){ .q = query[i + q].q, .key0 = in_page(a[i + q].key0, key),
                                    .key1 = in_page(a[i + q].key1, key) };
    scores(&part, own, keys, d, i == 0 ? ahead : NULL, true, n_q, n_v);
    for (int q = 0; q < n_q; q++)
        memcpy(t->p[i + q] + key, part.p[q], sizeof part.p[q]);
}

static void keys_open(struct sealed_tile *t, const struct cpu_attn *a, const struct cpu_kv_query *query,
                      const void *keys, int32_t d, int32_t key, const struct cpu_ahead *ahead, int n_q)
{
    int i = 0;
    if (n_q == 6) {
        scores_open(t, i, a, query, keys, d, key, ahead, 6, ATTN_KEYS_6);
        i = 6;
    }
    for (; n_q - i >= 4; i += 4)
        scores_open(t, i, a, query, keys, d, key, ahead, 4, ATTN_KEYS_4);
    if (n_q - i >= 2) {
        scores_open(t, i, a, query, keys, d, key, ahead, 2, ATTN_KEYS_2);
        i += 2;
    }
    if (n_q - i == 1)
        scores_open(t, i, a, query, keys, d, key, ahead, 1, ATTN_KEYS_1);
}

ATTN_INLINE void values_open(struct sealed_tile *t, int i, const struct cpu_attn *a, const void *values, int32_t d,
                             int32_t key, const struct cpu_ahead *ahead, const int n_q, const int n_cols)
{
    struct attn_tile part;
    struct cpu_attn own[ATTN_TILE];
    for (int q = 0; q < n_q; q++) {
        memcpy(part.p[q], t->p[i + q] + key, sizeof part.p[q]);
        own[q].o = t->o[i + q];
        part.begin[q] = in_page(a[i + q].key0, key);
        part.end[q] = in_page(a[i + q].key1, key);
    }
    values_tile(own, &part, values, d, i == 0 ? ahead : NULL, true, n_q, n_cols);
}

static void add_open(struct sealed_tile *t, const struct cpu_attn *a, const void *values, int32_t d, int32_t key,
                     const struct cpu_ahead *ahead, int n_q)
{
    int i = 0;
    if (n_q == 6) {
        values_open(t, i, a, values, d, key, ahead, 6, ATTN_COLS_6);
        i = 6;
    }
    for (; n_q - i >= 4; i += 4)
        values_open(t, i, a, values, d, key, ahead, 4, ATTN_COLS_4);
    if (n_q - i >= 2) {
        values_open(t, i, a, values, d, key, ahead, 2, ATTN_COLS_2);
        i += 2;
    }
    if (n_q - i == 1)
        values_open(t, i, a, values, d, key, ahead, 1, ATTN_COLS_1);
}

/* ---- pages ------------------------------------------------------------------------------------------ */

/* The functions of one count of queries. */
#define SEALED_COUNT(n)                                                                                    \
    static void mean_##n(struct sealed_tile *t, const struct cpu_kv_query *query,                          \
                         const struct sealed_side *k, int page)                                            \
    {                                                                                                      \
        mean_parts(t, query, k, page, n);                                                                  \
    }                                                                                                      \
    static unsigned weights_##n(struct sealed_tile *t, struct cpu_attn *a, int n_keys, float cap)          \
    {                                                                                                      \
        return weights(t->p[0], SEALED_KEYS, n_keys, a, t->f, cap, n);                                     \
    }                                                                                                      \
    SEALED_CODE(n, 8)                                                                                      \
    SEALED_CODE(n, 4)                                                                                      \
    SEALED_CODE(n, 3)
#define SEALED_CODE(n, bits)                                                                               \
    static void keys_##bits##_##n(struct sealed_tile *t, const struct sealed_side *k, int32_t key,         \
                                  const struct cpu_ahead *ahead)                                           \
    {                                                                                                      \
        keys_sealed(t, k, key, ahead, CODE_##bits, n, SEALED_KEYS_##n);                                    \
    }                                                                                                      \
    static void add_##bits##_##n(struct sealed_tile *t, const struct sealed_side *values,                  \
                                 const struct cpu_ahead *ahead, int n_pages)                               \
    {                                                                                                      \
        add_sealed(t, values, ahead, n_pages, CODE_##bits, n, SEALED_COLS_##n);                            \
    }
#define SEALED_TABLE(n)                                                                                    \
    { n, mean_##n, weights_##n,                                                                            \
      { [CODE_8] = keys_8_##n, [CODE_4] = keys_4_##n, [CODE_3] = keys_3_##n },                             \
      { [CODE_8] = add_8_##n, [CODE_4] = add_4_##n, [CODE_3] = add_3_##n } }

SEALED_COUNT(1)
SEALED_COUNT(2)
SEALED_COUNT(3)
SEALED_COUNT(4)
SEALED_COUNT(6)
SEALED_COUNT(8)

/* key: the first of the page, counted from the call's first. */
struct sealed_count {
    int n_q;
    void (*mean)(struct sealed_tile *t, const struct cpu_kv_query *query, const struct sealed_side *k, int page);
    unsigned (*weights)(struct sealed_tile *t, struct cpu_attn *a, int n_keys, float cap);
    void (*keys[N_CODES])(struct sealed_tile *t, const struct sealed_side *k, int32_t key,
                          const struct cpu_ahead *ahead);
    void (*values[N_CODES])(struct sealed_tile *t, const struct sealed_side *values, const struct cpu_ahead *ahead,
                            int n_pages);
};

static const struct sealed_count sealed_counts[] = {
    SEALED_TABLE(8), SEALED_TABLE(6), SEALED_TABLE(4), SEALED_TABLE(3), SEALED_TABLE(2), SEALED_TABLE(1)
};

/* first: the tile that asks for what is read later. */
static void attend_tile(struct cpu_attn *a, const struct cpu_kv_query *query, const struct sealed_count *f,
                        const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap, bool first)
{
    struct sealed_tile t;
    struct sealed_side sides[CPU_KV_PAGES];
    static const struct cpu_ahead nothing[2 * CPU_KV_PAGES];
    const struct cpu_ahead *ahead = first ? pages->ahead : nothing;
    int n_q = f->n_q;
    enum sealed_code k = sealed_code(shape->k), v = sealed_code(shape->v);
    if (shape->k != KV_F16)
        tile_queries(&t, query, k, cpu_kv_blocks(shape->d), n_q);
    for (int32_t i = 0; i < pages->n; i++) {
        if (shape->k == KV_F16) {
            keys_open(&t, a, query, pages->keys[i], shape->d, i * CPU_PAGE, &ahead[i], n_q);
            continue;
        }
        sides[i] = sealed_side(pages->keys[i], shape->k, shape->d, true);
        if (sides[i].mean)
            f->mean(&t, query, &sides[i], i);
        else
            memset(t.mean[i], 0, sizeof t.mean[i]);
        f->keys[k](&t, &sides[i], i * CPU_PAGE, &ahead[i]);
    }
    unsigned any = f->weights(&t, a, pages->n * CPU_PAGE, cap);
    for (int i = 0; i < n_q; i++) {
        t.o[i] = a[i].o;
        if (any >> i & 1) {
            rescale_output(t.o[i], t.f[i], shape->d);
        } else {
            memset(t.p[i], 0, sizeof t.p[i]);
            memset(t.unused, 0, sizeof t.unused);
            t.o[i] = t.unused;
        }
    }
    for (int32_t i = 0; i < pages->n; i++)
        if (shape->v == KV_F16)
            add_open(&t, a, pages->values[i], shape->d, i * CPU_PAGE, &ahead[pages->n + i], n_q);
        else
            sides[i] = sealed_side(pages->values[i], shape->v, shape->d, false);
    if (shape->v != KV_F16)
        f->values[v](&t, sides, ahead + pages->n, pages->n);
}

static void attend(struct cpu_attn *a, const struct cpu_kv_query *query, int32_t n_q,
                   const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap)
{
    const struct sealed_count *f = sealed_counts;
    bool first = true;
    while (n_q > 0) {
        while (f->n_q > n_q || (n_q == 7 && f->n_q == 6) || (n_q == 5 && f->n_q == 4))    /* 4 + 3, 3 + 2 */
            f++;
        attend_tile(a, query, f, pages, shape, cap, first);
        first = false;
        n_q -= f->n_q;
        a += f->n_q;
        query += f->n_q;
    }
}

/* ---- rotation and codes of queries ------------------------------------------------------------------ */

/* Stages of a run that stay within a vector, then those that do not; d is a multiple of 16. */
static void hadamard(float *x, int32_t d)
{
    int32_t run = kv_rotation(d);
    vec norm = v_set(1.0f / sqrtf((float)run));
    for (int32_t c = 0; c < d; c += LANES) {
        vec a = v_load(x + c);
        ATTN_UNROLL
        for (int half = 1; half < LANES; half *= 2)
            a = v_add(v_partner(a, half), v_odd_sign(a, half));
        v_store(x + c, a);
    }
    for (int32_t half = LANES; half < run; half *= 2)
        for (int32_t c = 0; c < d; c += LANES)
            if (!(c & half)) {
                vec a = v_load(x + c), b = v_load(x + c + half);
                v_store(x + c, v_add(a, b));
                v_store(x + c + half, v_sub(a, b));
            }
    for (int32_t c = 0; c < d; c += LANES)
        v_store(x + c, v_mul(v_load(x + c), norm));
}

static void unrotate(float *x, int32_t d)
{
    hadamard(x, d);
    for (int32_t c = 0; c < d; c += LANES)
        v_store(x + c, v_kv_sign(v_load(x + c), c));
}

/* One block of n components, 32 or 16. */
static void prepare_block(int8_t *codes, float *scale, int32_t *sum, const float *x, int32_t n)
{
    vec top[1][16 / LANES], sums[1][16 / LANES];
    for (int v = 0; v < 16 / LANES; v++)
        top[0][v] = sums[0][v] = v_set(0.0f);
    for (int32_t c = 0; c < n; c += LANES)
        top[0][0] = v_max(v_abs(v_load(x + c)), top[0][0]);
    float a = v_first(v_fold8(top, 1, FOLD_MAX));
    if (a < CPU_BLOCK_FLOOR)
        a = 0;
    vec inverse = v_set(a > 0 ? 127.0f / a : 0);
    memset(codes, 0, KV_BLOCK);
    for (int32_t c = 0; c < n; c += LANES) {
        vint code = i_max32(i_round(v_mul(v_load(x + c), inverse)), i_set32(-127));
        i_store8(codes + c, code);
        sums[0][0] = v_from_bits(i_add32(i_from_bits(sums[0][0]), code));
    }
    *scale = a / 127.0f;
    float folded = v_first(v_fold8(sums, 1, FOLD_ADD_I32));
    memcpy(sum, &folded, sizeof *sum);
}

static void prepare(struct cpu_kv_query *out, float *rotated, int8_t *codes, float *scale, int32_t *sum,
                    const float *q, const struct cpu_kv_shape *shape)
{
    *out = (struct cpu_kv_query){ .q = q, .codes = codes, .scale = scale, .sum = sum };
    if (kv_type_rotated(shape->k)) {
        for (int32_t c = 0; c < shape->d; c += LANES)
            v_store(rotated + c, v_kv_sign(v_load(q + c), c));
        hadamard(rotated, shape->d);
        out->q = rotated;
    }
    for (int32_t b = 0; kv_type_sealed(shape->k) && b < cpu_kv_blocks(shape->d); b++) {
        int32_t left = shape->d - b * KV_BLOCK;
        prepare_block(codes + b * KV_BLOCK, &scale[b], &sum[b], out->q + b * KV_BLOCK,
                      left < KV_BLOCK ? left : KV_BLOCK);
    }
}

static void sealed_fill_table(struct cpu_kv_kern *k)
{
    k->prepare = prepare;
    k->unrotate = unrotate;
    k->attend = attend;
}

#endif
