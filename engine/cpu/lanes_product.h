/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_CPU_LANES_PRODUCT_H
#define QUIP_ENGINE_CPU_LANES_PRODUCT_H

#include <assert.h>

#include "engine/cpu/kern_tiers.h"
#include "engine/cpu/lanes_unpack.h"

/* Products of quantised weights with sixteen rows at a time, for one plane of activations or many.
 *
 *   rows [16 g, 16 g + 16): interleaved at load, or 256 columns at a time into a stage on the stack
 *     mat-vec   unpacked in registers and used at once, for up to MAX_FEW planes
 *     mat-mat   PASS_BLOCKS * 32 columns unpacked into a buffer, then all planes, a tile of 16 rows x
 *               MAX_TILE planes at a time; sums wait in y from pass to pass
 *
 * Both go through add_block(), so they give the same bits. Activations need no order of their own: a
 * product takes four of a plane's codes, the same for all lanes.
 *
 * Measured on Zen 4, one core, K = 1536, in GMAC/s: mat-vec reaches 150 (Q4_K; Q6_K 107) at four planes
 * and stays there, mat-mat passes it from 32 planes on (156; Q6_K 130). Unpacking for fewer cost half the
 * speed; passes of 32 blocks cost 8 %, because a tile's start is as dear as several blocks.
 *
 * Weights in the file's order are sixteen streams at once, which the hardware's prefetcher does not
 * follow; they are asked for by hand, one group of rows ahead, in the order of memory. That streams 80 to
 * 90 % of what a slow memory gives (31 of 36 GB/s, Q4_K, two Zen 4 cores) but half of a fast one;
 * interleaved weights reach all of both (62 GB/s), so interleaving at load is worth its second.
 * Interleaved weights are one stream. For one plane the hardware follows it; for several it falls behind, and
 * computing waits for memory instead of hiding it: asked for AHEAD_BYTES ahead, by the first planes of a group
 * alone, four planes read 23 to 33 GB/s instead of 17, eight 17 instead of 10.5 (Q4_K, two cores; 2 KiB or
 * 18 KiB ahead give less). */
enum { PASS_BLOCKS = 64, STAGE_BYTES = 16 * 272, MAX_FEW = 4, AHEAD_BYTES = 9 << 10 };

typedef void (*unpack_fn)(struct lanes *out, const uint8_t *src, const uint8_t *lone, int b);

/* Planes side by side: plane p at each pointer + p * its stride. */
struct plane_view {
    const int8_t *q;
    const float *d, *s;
    const int16_t *h;
    int64_t n_cols, n_blocks;
};

/* u[p] plus the products of one block with each plane, in the order of cpu_kern.h. */
INLINE void add_block(vfloat *u, int is_first, int n_planes, const struct lanes *w,
                      const struct lanes_format *f, const struct plane_view *x, int64_t block)
{
    const int8_t *q = x->q + block * CPU_BLOCK;
    const int16_t *h = x->h + block * 2;
    int corrected = f->offset && !(f->bits == 8 && CODES_SIGNED);
    vint t[MAX_TILE];
#pragma GCC unroll 8
    for (int p = 0; p < n_planes; p++) {
        t[p] = i_zero();
        if (corrected)
            t[p] = dot16(t[p], f->scales16 ? w->correction : i_set16(-f->offset),
                         i_spread32(h + p * 2 * x->n_blocks));
    }
    if (f->scales16) {
        dot_half(t, n_planes, w->code, 0, w->c[0], q, x->n_cols, f->bits);
        dot_half(t, n_planes, w->code, 1, w->c[1], q, x->n_cols, f->bits);
    } else {
        dot_lines(t, n_planes, w->code, 0, 8, q, x->n_cols, f->bits);
    }
#pragma GCC unroll 8
    for (int p = 0; p < n_planes; p++) {
        int64_t at = block + p * x->n_blocks;
        vfloat m = f_mul(w->a, f_set(x->d[at])), value = f_from_i32(t[p]);
        u[p] = is_first ? f_mul(value, m) : f_fma(value, m, u[p]);
        if (f->minimum && f->scales16) {
            u[p] = f_fma(w->n[0], f_set(x->d[at] * (float)h[p * 2 * x->n_blocks]), u[p]);
            u[p] = f_fma(w->n[1], f_set(x->d[at] * (float)h[p * 2 * x->n_blocks + 1]), u[p]);
        } else if (f->minimum) {
            u[p] = f_fma(w->n[0], f_set(x->s[at]), u[p]);
        }
    }
}

INLINE int32_t lone_bytes(const struct lanes_format *f)
{
    return f->block_bytes % 4;
}

/* Where the lone scales of a block in interleaved order stand, for this half of the lanes. */
INLINE const uint8_t *lone_of(const struct lanes_format *f, const uint8_t *block, int lane0)
{
    return f->lone_at < 0 ? block : block + 16 * f->lone_at + lone_bytes(f) * lane0;
}

/* acc[p] += one group of up to four blocks, which begin with block b0 (0 or 4) of the unit at src. */
INLINE void add_group(vfloat *acc, int n_planes, const struct lanes_format *f, unpack_fn unpack,
                      const uint8_t *src, int lane0, int b0, int n, const struct plane_view *x,
                      int64_t block)
{
    vfloat u[2][MAX_TILE];
#pragma GCC unroll 8
    for (int p = 0; p < n_planes; p++)
        u[0][p] = u[1][p] = f_zero();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        if (j >= n)
            break;
        struct lanes w;
        const uint8_t *unit = f->unit == 8 ? src : src + j * 16 * f->block_bytes;
        unpack(&w, unit + 4 * lane0, lone_of(f, unit, lane0), f->unit == 8 ? b0 + j : 0);
        add_block(u[j / 2], j % 2 == 0, n_planes, &w, f, x, block + j);
    }
#pragma GCC unroll 8
    for (int p = 0; p < n_planes; p++)
        acc[p] = f_add(acc[p], f_add(u[0][p], u[1][p]));
}

/* Two groups, or what is left of a row: formats in blocks of 256 have no such rest. */
INLINE void add_groups(vfloat *acc, int n_planes, const struct lanes_format *f, unpack_fn unpack,
                       const uint8_t *src, int lane0, int n, const struct plane_view *x, int64_t block)
{
    if (f->unit == 8) {
        add_group(acc, n_planes, f, unpack, src, lane0, 0, 4, x, block);
        add_group(acc, n_planes, f, unpack, src, lane0, 4, 4, x, block + 4);
        return;
    }
    for (int b = 0; b < n; b += 4)
        add_group(acc, n_planes, f, unpack, src + b * 16 * f->block_bytes, lane0, b, n - b, x,
                  block + b);
}

/* Turns n_units blocks of 16 rows, block `first` on, into interleaved order. */
INLINE void interleave_blocks(uint8_t *out, const struct lanes_format *f, const uint8_t *const rows[16],
                              int64_t first, int n_units)
{
    int32_t lone = lone_bytes(f), run = f->lone_at < 0 ? f->block_bytes * n_units : f->block_bytes - lone;
    int32_t n_runs = f->lone_at < 0 ? 1 : n_units, skip = f->lone_at == 0 ? lone : 0;
    for (int32_t i = 0; i < n_runs; i++) {
        int64_t at = (first + i) * f->block_bytes + skip;
        uint8_t *lines = out + (int64_t)i * 16 * f->block_bytes + 16 * skip;
        for (int32_t k = 0; k < run; k += 16) {
            int32_t from = k + 16 <= run ? k : run - 16;    /* the last piece overlaps the one before */
            transpose_piece(lines + 16 * from, rows, at + from);
        }
        if (f->lone_at >= 0)
            for (int r = 0; r < 16; r++)
                memcpy(out + (int64_t)i * 16 * f->block_bytes + 16 * f->lone_at + lone * r,
                       rows[r] + (first + i) * f->block_bytes + f->lone_at, (size_t)lone);
    }
}

/* Sixteen rows, and where their blocks are found. */
struct row_group {
    const uint8_t *rows[16];      /* rows past the end repeat the last */
    const uint8_t *packed;        /* the group in interleaved order, or NULL */
    bool asks;                    /* for what comes after: the first of several passes over the group */
    const uint8_t *ahead;         /* next group's bytes in the file's order, or NULL */
    int64_t ahead_bytes;          /* per block */
};

INLINE struct row_group row_group_at(const struct cpu_weight *w, const struct lanes_format *f,
                                     int32_t row, int32_t row_end)
{
    struct row_group g = { .packed = NULL };
    if (w->packed) {
        g.packed = (const uint8_t *)w->packed + (uint64_t)(row / 16) * 16 * w->row_bytes;
        return g;
    }
    const uint8_t *data = w->data;
    for (int32_t r = 0; r < 16; r++)
        g.rows[r] = data + (uint64_t)(row + r < row_end ? row + r : row_end - 1) * w->row_bytes;
    if (row + 32 <= row_end)
        g.ahead = g.rows[15] + w->row_bytes;
    g.ahead_bytes = 16 * f->block_bytes;
    return g;
}

/* Block `first` of the group and the n_units - 1 after it, interleaved. */
INLINE const uint8_t *group_blocks(uint8_t *stage, const struct row_group *g,
                                   const struct lanes_format *f, int64_t first, int n_units)
{
    if (g->packed) {
        const uint8_t *src = g->packed + first * 16 * f->block_bytes;
        for (int i = 0; g->asks && i < n_units * 16 * f->block_bytes; i += 64)
            __builtin_prefetch(src + AHEAD_BYTES + i, 0, 2);
        return src;
    }
    if (g->ahead)
        for (int64_t i = 0; i < n_units * g->ahead_bytes; i += 64)
            __builtin_prefetch(g->ahead + first * g->ahead_bytes + i, 0, 2);
    interleave_blocks(stage, f, g->rows, first, n_units);
    return stage;
}

/* Results of 16 rows go to y where they lie in [row0, row1). */
INLINE void store_rows(float *y, const float *sums, int32_t group, int32_t row0, int32_t row1)
{
    if (group >= row0 && group + 16 <= row1) {
        memcpy(y + group - row0, sums, 16 * sizeof *y);
        return;
    }
    for (int32_t r = group > row0 ? group : row0; r < group + 16 && r < row1; r++)
        y[r - row0] = sums[r - group];
}

INLINE void load_rows(float *sums, const float *y, int32_t group, int32_t row0, int32_t row1)
{
    if (group >= row0 && group + 16 <= row1) {
        memcpy(sums, y + group - row0, 16 * sizeof *y);
        return;
    }
    for (int32_t r = group > row0 ? group : row0; r < group + 16 && r < row1; r++)
        sums[r - group] = y[r - row0];
}

/* Groups start at multiples of 16 in interleaved weights, at row0 otherwise. */
INLINE int32_t first_group(const struct cpu_weight *w, int32_t row0)
{
    return w->packed ? row0 / 16 * 16 : row0;
}

/* sums[p] of one group of rows for up to MAX_FEW planes. */
INLINE void few_planes(float (*sums)[16], int n_planes, const struct lanes_format *f, unpack_fn unpack,
                       const struct row_group *g, const struct plane_view *x)
{
    _Alignas(64) uint8_t stage[STAGE_BYTES];
    vfloat acc[16 / LANES][MAX_FEW];
    for (int i = 0; i < 16 / LANES; i++)
        for (int p = 0; p < n_planes; p++)
            acc[i][p] = f_zero();
    for (int64_t block = 0; block < x->n_blocks; block += 8) {
        int n = x->n_blocks - block < 8 ? (int)(x->n_blocks - block) : 8;
        const uint8_t *src = group_blocks(stage, g, f, block / f->unit, (n + f->unit - 1) / f->unit);
        for (int i = 0; i < 16 / LANES; i++)
            add_groups(acc[i], n_planes, f, unpack, src, i * LANES, n, x, block);
    }
    for (int i = 0; i < 16 / LANES; i++)
        for (int p = 0; p < n_planes; p++)
            f_store(sums[p] + i * LANES, acc[i][p]);
}

/* sums[p][lane0 ..] plus n_blocks unpacked blocks against n_planes planes. */
INLINE void tile(float (*sums)[16], int n_planes, int lane0, const struct lanes_format *f,
                 const struct lanes *w, const struct plane_view *x, int64_t block, int n_blocks)
{
    vfloat acc[MAX_TILE], u[2][MAX_TILE];
#pragma GCC unroll 8
    for (int p = 0; p < n_planes; p++)
        acc[p] = f_load(sums[p] + lane0);
    for (int b = 0; b < n_blocks; b += 4) {
#pragma GCC unroll 8
        for (int p = 0; p < n_planes; p++)
            u[0][p] = u[1][p] = f_zero();
        add_block(u[0], 1, n_planes, &w[b], f, x, block + b);
        if (b + 1 < n_blocks)
            add_block(u[0], 0, n_planes, &w[b + 1], f, x, block + b + 1);
        if (b + 2 < n_blocks)
            add_block(u[1], 1, n_planes, &w[b + 2], f, x, block + b + 2);
        if (b + 3 < n_blocks)
            add_block(u[1], 0, n_planes, &w[b + 3], f, x, block + b + 3);
#pragma GCC unroll 8
        for (int p = 0; p < n_planes; p++)
            acc[p] = f_add(acc[p], f_add(u[0][p], u[1][p]));
    }
#pragma GCC unroll 8
    for (int p = 0; p < n_planes; p++)
        f_store(sums[p] + lane0, acc[p]);
}

INLINE void unpack_blocks(struct lanes *out, const struct lanes_format *f, unpack_fn unpack,
                          const uint8_t *src, int lane0, int n_blocks)
{
    for (int b = 0; b < n_blocks; b += f->unit) {
        const uint8_t *unit = src + (int64_t)(b / f->unit) * 16 * f->block_bytes;
#pragma GCC unroll 8
        for (int j = 0; j < f->unit; j++)
            unpack(&out[b + j], unit + 4 * lane0, lone_of(f, unit, lane0), j);
    }
}

/* The loops of one format, its constants bound at compile time; what follows serves all formats. */
struct lanes_kernel {
    const struct lanes_format *format;
    void (*few[MAX_FEW])(float (*sums)[16], const struct row_group *g, const struct plane_view *x);
    void (*unpack)(struct lanes *out, const uint8_t *src, int lane0, int n_blocks);
    void (*tile)(float (*sums)[16], int lane0, const struct lanes *w, const struct plane_view *x,
                 int64_t block, int n_blocks);
};

static struct plane_view view_planes(const struct cpu_acts *acts, int32_t plane)
{
    int64_t n_cols = acts->n_cols, n_blocks = n_cols / CPU_BLOCK;
    return (struct plane_view){ acts->q + plane * n_cols, acts->d + plane * n_blocks,
                                acts->s + plane * n_blocks,
                                acts->h + plane * 2 * n_blocks, n_cols, n_blocks };
}

/* A group's weights stay in the cache from the first few planes to the next. */
static void lanes_matvec(float *y, int64_t y_stride, const struct lanes_kernel *k,
                         const struct cpu_weight *w, int32_t row0, int32_t row1,
                         const struct cpu_acts *acts, int32_t plane0, int32_t plane1)
{
    _Alignas(64) float sums[MAX_FEW][16];
    for (int32_t row = first_group(w, row0); row < row1; row += 16) {
        struct row_group g = row_group_at(w, k->format, row, row1);
        for (int32_t p = plane0; p < plane1; p += MAX_FEW) {
            int n = plane1 - p < MAX_FEW ? plane1 - p : MAX_FEW;
            g.asks = p == plane0;
            struct plane_view x = view_planes(acts, p);
            k->few[n - 1](sums, &g, &x);
            for (int i = 0; i < n; i++)
                store_rows(y + (p - plane0 + i) * y_stride, sums[i], row, row0, row1);
        }
    }
}

/* One pass of columns for 16 rows and all planes. The last tile overlaps the one before; what it makes
 * again is not stored. */
static void matmat_pass(float *y, int64_t y_stride, const struct lanes_kernel *k, const struct lanes *w,
                        int32_t row, int32_t row0, int32_t row1, const struct cpu_acts *acts,
                        int64_t block, int n_blocks)
{
    _Alignas(64) float sums[MAX_TILE][16];
    for (int32_t p = 0; p < acts->n_planes; p += MAX_TILE) {
        int32_t first = p + MAX_TILE <= acts->n_planes ? p : acts->n_planes - MAX_TILE;
        struct plane_view x = view_planes(acts, first);
        memset(sums, 0, sizeof sums);
        for (int i = 0; block > 0 && i < MAX_TILE; i++)
            load_rows(sums[i], y + (first + i) * y_stride, row, row0, row1);
        for (int i = 0; i < 16 / LANES; i++)
            k->tile(sums, i * LANES, w + i * PASS_BLOCKS, &x, block, n_blocks);
        for (int i = p - first; i < MAX_TILE; i++)
            store_rows(y + (first + i) * y_stride, sums[i], row, row0, row1);
    }
}

static void lanes_matmat(float *y, int64_t y_stride, const struct lanes_kernel *k,
                         const struct cpu_weight *w,
                         int32_t row0, int32_t row1, const struct cpu_acts *acts)
{
    const struct lanes_format *f = k->format;
    _Alignas(64) uint8_t stage[STAGE_BYTES];
    struct lanes unpacked[16 / LANES][PASS_BLOCKS];
    int64_t all_blocks = acts->n_cols / CPU_BLOCK;
    assert(acts->n_planes >= MAX_TILE);
    for (int32_t row = first_group(w, row0); row < row1; row += 16) {
        struct row_group g = row_group_at(w, f, row, row1);
        g.asks = true;
        for (int64_t block = 0; block < all_blocks; block += PASS_BLOCKS) {
            int n_pass = all_blocks - block < PASS_BLOCKS ? (int)(all_blocks - block) : PASS_BLOCKS;
            for (int b = 0; b < n_pass; b += 8) {
                int n = n_pass - b < 8 ? n_pass - b : 8;
                int n_units = (n + f->unit - 1) / f->unit;
                const uint8_t *src = group_blocks(stage, &g, f, (block + b) / f->unit, n_units);
                for (int i = 0; i < 16 / LANES; i++)
                    k->unpack(&unpacked[i][b], src, i * LANES, n);
            }
            matmat_pass(y, y_stride, k, unpacked[0], row, row0, row1, acts, block, n_pass);
        }
    }
}

/* The functions of one format. */
#define LANES_FEW(name, n)                                                                             \
    static void few_##name##_##n(float (*sums)[16], const struct row_group *g,                         \
                                 const struct plane_view *x)                                           \
    {                                                                                                  \
        few_planes(sums, n, &format_##name, unpack_##name, g, x);                                      \
    }
#define LANES_FORMAT(name, ...)                                                                        \
    static const struct lanes_format format_##name = { __VA_ARGS__ };                                  \
    LANES_FEW(name, 1)                                                                                 \
    LANES_FEW(name, 2)                                                                                 \
    LANES_FEW(name, 3)                                                                                 \
    LANES_FEW(name, 4)                                                                                 \
    static void unpack_pass_##name(struct lanes *out, const uint8_t *src, int lane0, int n_blocks)     \
    {                                                                                                  \
        unpack_blocks(out, &format_##name, unpack_##name, src, lane0, n_blocks);                       \
    }                                                                                                  \
    static void tile_##name(float (*sums)[16], int lane0, const struct lanes *w,                       \
                            const struct plane_view *x, int64_t block, int n_blocks)                   \
    {                                                                                                  \
        tile(sums, MAX_TILE, lane0, &format_##name, w, x, block, n_blocks);                            \
    }                                                                                                  \
    static const struct lanes_kernel kernel_##name = {                                                 \
        &format_##name, { few_##name##_1, few_##name##_2, few_##name##_3, few_##name##_4 },            \
        unpack_pass_##name, tile_##name                                                                \
    };                                                                                                 \
    static void matvec_##name(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,    \
                              int32_t row1, const struct cpu_acts *acts, int32_t plane0,               \
                              int32_t plane1)                                                          \
    {                                                                                                  \
        lanes_matvec(y, y_stride, &kernel_##name, w, row0, row1, acts, plane0, plane1);                \
    }                                                                                                  \
    static void matmat_##name(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,    \
                              int32_t row1, const struct cpu_acts *acts)                               \
    {                                                                                                  \
        lanes_matmat(y, y_stride, &kernel_##name, w, row0, row1, acts);                                \
    }

LANES_FORMAT(q4_0, QUANT_Q4_0, 18, 0, 1, .bits = 4, .offset = 8)
LANES_FORMAT(q4_1, QUANT_Q4_1, 20, -1, 1, .bits = 4, .minimum = 1)
LANES_FORMAT(q5_0, QUANT_Q5_0, 22, 0, 1, .bits = 5, .offset = 16)
LANES_FORMAT(q5_1, QUANT_Q5_1, 24, -1, 1, .bits = 5, .minimum = 1)
LANES_FORMAT(q8_0, QUANT_Q8_0, 34, 0, 1, .bits = 8, .offset = 128)
LANES_FORMAT(q2_k, QUANT_Q2_K, 84, -1, 8, .bits = 2, .scales16 = 1, .minimum = 1)
LANES_FORMAT(q3_k, QUANT_Q3_K, 110, 108, 8, .bits = 3, .offset = 4, .scales16 = 1)
LANES_FORMAT(q4_k, QUANT_Q4_K, 144, -1, 8, .bits = 4, .minimum = 1)
LANES_FORMAT(q5_k, QUANT_Q5_K, 176, -1, 8, .bits = 5, .minimum = 1)
LANES_FORMAT(q6_k, QUANT_Q6_K, 210, 208, 8, .bits = 6, .offset = 32, .scales16 = 1)
LANES_FORMAT(iq4_nl, QUANT_IQ4_NL, 18, 0, 1, .bits = 8, .offset = 128)
LANES_FORMAT(iq4_xs, QUANT_IQ4_XS, 136, -1, 8, .bits = 8, .offset = 128)
LANES_FORMAT(mxfp4, QUANT_MXFP4, 17, 0, 1, .bits = 5, .offset = 12)

static const struct lanes_format *lanes_format(uint32_t type)
{
    static const struct lanes_format *const formats[QUANT_N_TYPES] = {
        [QUANT_Q4_0] = &format_q4_0, [QUANT_Q4_1] = &format_q4_1, [QUANT_Q5_0] = &format_q5_0,
        [QUANT_Q5_1] = &format_q5_1, [QUANT_Q8_0] = &format_q8_0, [QUANT_Q2_K] = &format_q2_k,
        [QUANT_Q3_K] = &format_q3_k, [QUANT_Q4_K] = &format_q4_k, [QUANT_Q5_K] = &format_q5_k,
        [QUANT_Q6_K] = &format_q6_k, [QUANT_IQ4_NL] = &format_iq4_nl, [QUANT_IQ4_XS] = &format_iq4_xs,
        [QUANT_MXFP4] = &format_mxfp4
    };
    return type < QUANT_N_TYPES ? formats[type] : NULL;
}

static uint64_t interleave_bytes(const struct cpu_weight *w)
{
    if (!lanes_format(w->type))
        return 0;
    return ((uint64_t)w->n_rows + 15) / 16 * 16 * w->row_bytes;
}

static void interleave(struct cpu_weight *w, int32_t row0, int32_t row1)
{
    const struct lanes_format *f = lanes_format(w->type);
    struct cpu_weight file = *w;
    file.packed = NULL;
    for (int32_t row = row0; row < row1; row += 16) {
        struct row_group g = row_group_at(&file, f, row, w->n_rows);
        uint8_t *out = (uint8_t *)w->packed + (uint64_t)row * w->row_bytes;
        interleave_blocks(out, f, g.rows, 0, w->n_cols / CPU_BLOCK / f->unit);
    }
}

static void lanes_fill_table(struct cpu_kern *k)
{
#define ENTRY(type, name) k->matvec[type] = matvec_##name, k->matmat[type] = matmat_##name
    ENTRY(QUANT_Q4_0, q4_0);
    ENTRY(QUANT_Q4_1, q4_1);
    ENTRY(QUANT_Q5_0, q5_0);
    ENTRY(QUANT_Q5_1, q5_1);
    ENTRY(QUANT_Q8_0, q8_0);
    ENTRY(QUANT_Q2_K, q2_k);
    ENTRY(QUANT_Q3_K, q3_k);
    ENTRY(QUANT_Q4_K, q4_k);
    ENTRY(QUANT_Q5_K, q5_k);
    ENTRY(QUANT_Q6_K, q6_k);
    ENTRY(QUANT_IQ4_NL, iq4_nl);
    ENTRY(QUANT_IQ4_XS, iq4_xs);
    ENTRY(QUANT_MXFP4, mxfp4);
#undef ENTRY
    k->row_align = 16;
    k->interleave_bytes = interleave_bytes;
    k->interleave = interleave;
}

#endif
