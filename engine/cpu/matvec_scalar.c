/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kern_tiers.h"

#include <math.h>
#include <string.h>

#include "engine/quant/f16.h"
#include "engine/quant/iq4_nl.h"
#include "engine/quant/mxfp4.h"

/* The products as cpu_kern.h defines them, in plain C: what the tiers must equal to the bit.
 *
 * A format is one function that spells out 32 weights. Which of the four sorts it is follows from the
 * two flags: a minimum, and integer scales per 16. */
struct weights {
    int8_t code[CPU_BLOCK];
    float a;           /* A_b */
    int32_t c[2];      /* scales of the two halves; only with scales16 */
    float n[2];        /* what is added: the minimum, negative where the format subtracts it;
                        * n[1] only with scales16 */
};

typedef void (*spell_fn)(struct weights *out, const uint8_t *row, int32_t block);

struct format {
    spell_fn spell;
    int scales16, minimum;
};

enum { MAX_PLANES = 8 };

static float half_at(const uint8_t *p)
{
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return f16_to_f32(bits);
}

/* Nibbles of 16 bytes: the low ones are the first half. */
static void spell_nibbles(int8_t *code, const uint8_t *qs)
{
    for (int32_t j = 0; j < 16; j++) {
        code[j] = qs[j] & 15;
        code[j + 16] = qs[j] >> 4;
    }
}

static void add_fifth_bits(int8_t *code, const uint8_t *qh)
{
    for (int32_t j = 0; j < CPU_BLOCK; j++)
        code[j] = (int8_t)(code[j] + ((qh[j / 8] >> j % 8 & 1) << 4));
}

static void spell_q4_0(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block * 18;
    spell_nibbles(out->code, b + 2);
    for (int32_t j = 0; j < CPU_BLOCK; j++)
        out->code[j] = (int8_t)(out->code[j] - 8);
    out->a = half_at(b);
}

static void spell_q4_1(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block * 20;
    spell_nibbles(out->code, b + 4);
    out->a = half_at(b);
    out->n[0] = half_at(b + 2);
}

static void spell_q5_0(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block * 22;
    spell_nibbles(out->code, b + 6);
    add_fifth_bits(out->code, b + 2);
    for (int32_t j = 0; j < CPU_BLOCK; j++)
        out->code[j] = (int8_t)(out->code[j] - 16);
    out->a = half_at(b);
}

static void spell_q5_1(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block * 24;
    spell_nibbles(out->code, b + 8);
    add_fifth_bits(out->code, b + 4);
    out->a = half_at(b);
    out->n[0] = half_at(b + 2);
}

static void spell_q8_0(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block * 34;
    memcpy(out->code, b + 2, CPU_BLOCK);
    out->a = half_at(b);
}

/* 256 weights in 84 bytes: scales and minima [16], two bits each [64], d, dmin. */
static void spell_q2_k(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block / 8 * 84;
    int32_t i = block % 8;
    for (int32_t j = 0; j < CPU_BLOCK; j++)
        out->code[j] = b[16 + 32 * (i / 4) + j] >> 2 * (i % 4) & 3;
    out->a = half_at(b + 80);
    float dmin = half_at(b + 82);
    for (int32_t h = 0; h < 2; h++) {
        out->c[h] = b[2 * i + h] & 15;
        out->n[h] = -(dmin * (float)(b[2 * i + h] >> 4));
    }
}

/* 256 weights in 110 bytes: third bits [32] (set: nothing to subtract), two bits each [64], 6-bit
 * scales [12] (four low bits in 0..7, two high ones in 8..11), d. */
static void spell_q3_k(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block / 8 * 110, *scales = b + 96;
    int32_t i = block % 8;
    for (int32_t j = 0; j < CPU_BLOCK; j++) {
        int32_t low = b[32 + 32 * (i / 4) + j] >> 2 * (i % 4) & 3;
        out->code[j] = (int8_t)(low - (b[j] >> i & 1 ? 0 : 4));
    }
    out->a = half_at(b + 108);
    for (int32_t h = 0; h < 2; h++) {
        int32_t k = 2 * i + h;
        int32_t low = k < 8 ? scales[k] & 15 : scales[k - 8] >> 4;
        int32_t high = scales[8 + k % 4] >> 2 * (k / 4) & 3;
        out->c[h] = (low | high << 4) - 32;
    }
}

/* Scale and minimum i of 8, six bits each in 12 bytes (Q4_K and Q5_K). */
static void spell_k_scales(struct weights *out, const uint8_t *b, int32_t i)
{
    const uint8_t *scales = b + 4;
    int32_t scale, minimum;
    if (i < 4) {
        scale = scales[i] & 63;
        minimum = scales[i + 4] & 63;
    } else {
        scale = (scales[i + 4] & 15) | scales[i - 4] >> 6 << 4;
        minimum = scales[i + 4] >> 4 | scales[i] >> 6 << 4;
    }
    out->a = half_at(b) * (float)scale;
    out->n[0] = -(half_at(b + 2) * (float)minimum);
}

/* 256 weights in 144 bytes: d, dmin, scales and minima [12], nibbles [128]. */
static void spell_q4_k(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block / 8 * 144;
    int32_t i = block % 8;
    for (int32_t j = 0; j < CPU_BLOCK; j++)
        out->code[j] = b[16 + i / 2 * 32 + j] >> 4 * (i % 2) & 15;
    spell_k_scales(out, b, i);
}

/* 256 weights in 176 bytes: as Q4_K, with the fifth bits [32] before the nibbles. */
static void spell_q5_k(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block / 8 * 176;
    int32_t i = block % 8;
    for (int32_t j = 0; j < CPU_BLOCK; j++) {
        int32_t low = b[48 + i / 2 * 32 + j] >> 4 * (i % 2) & 15;
        out->code[j] = (int8_t)(low | (b[16 + j] >> i & 1) << 4);
    }
    spell_k_scales(out, b, i);
}

/* 256 weights in 210 bytes: low four bits [128], high two [64], scales i8[16], d. */
static void spell_q6_k(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block / 8 * 210;
    int32_t half = block % 8 / 4, i = block % 4;
    for (int32_t j = 0; j < CPU_BLOCK; j++) {
        int32_t low = b[64 * half + 32 * (i % 2) + j] >> 4 * (i / 2) & 15;
        int32_t high = b[128 + 32 * half + j] >> 2 * i & 3;
        out->code[j] = (int8_t)((low | high << 4) - 32);
    }
    for (int32_t h = 0; h < 2; h++)
        out->c[h] = (int8_t)b[192 + 2 * (block % 8) + h];
    out->a = half_at(b + 208);
}

/* Nibbles that are places in a table. */
static void spell_values(int8_t *code, const uint8_t *qs, const int8_t values[16])
{
    spell_nibbles(code, qs);
    for (int32_t j = 0; j < CPU_BLOCK; j++)
        code[j] = values[code[j]];
}

static void spell_iq4_nl(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block * 18;
    spell_values(out->code, b + 2, quant_iq4_values);
    out->a = half_at(b);
}

/* 256 weights in 136 bytes: d, high two bits of the scales [2], low four [4], nibbles [128]. */
static void spell_iq4_xs(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block / 8 * 136;
    int32_t i = block % 8;
    int32_t low = b[4 + i / 2] >> 4 * (i % 2) & 15, high = b[2 + i / 4] >> 2 * (i % 4) & 3;
    spell_values(out->code, b + 8 + 16 * i, quant_iq4_values);
    out->a = half_at(b) * (float)((low | high << 4) - 32);
}

static void spell_mxfp4(struct weights *out, const uint8_t *row, int32_t block)
{
    const uint8_t *b = row + block * 17;
    spell_values(out->code, b + 1, quant_mxfp4_values);
    out->a = quant_mxfp4_scale(b[0]);
}

static int32_t dot(const int8_t *w, const int8_t *q, int32_t n)
{
    int32_t sum = 0;
    for (int32_t j = 0; j < n; j++)
        sum += w[j] * q[j];
    return sum;
}

/* u plus the products of one block, in the order of the definition. */
static float add_block(float u, int is_first, const struct format *f, const struct weights *w,
                       const struct cpu_acts *acts, int32_t plane, int32_t block)
{
    int64_t n_blocks = acts->n_cols / CPU_BLOCK, at = plane * n_blocks + block;
    const int8_t *q = acts->q + at * CPU_BLOCK;
    const int16_t *h = acts->h + at * 2;
    float d = acts->d[at], m = w->a * d;
    int32_t t;
    if (f->scales16)
        t = w->c[0] * dot(w->code, q, 16) + w->c[1] * dot(w->code + 16, q + 16, 16);
    else
        t = dot(w->code, q, 32);
    u = is_first ? (float)t * m : fmaf((float)t, m, u);
    if (f->minimum && f->scales16) {
        u = fmaf(w->n[0], d * (float)h[0], u);
        u = fmaf(w->n[1], d * (float)h[1], u);
    } else if (f->minimum) {
        u = fmaf(w->n[0], acts->s[at], u);
    }
    return u;
}

static void product_row(float *y, int64_t y_stride, const struct format *f, const uint8_t *row,
                        const struct cpu_acts *acts, int32_t plane0, int32_t plane1)
{
    int32_t n_blocks = acts->n_cols / CPU_BLOCK, n_planes = plane1 - plane0;
    float acc[MAX_PLANES] = { 0 };
    for (int32_t group = 0; group < n_blocks; group += 4) {
        float u[2][MAX_PLANES] = { { 0 } };    /* of the two pairs */
        for (int32_t b = group; b < group + 4 && b < n_blocks; b++) {
            struct weights w;
            f->spell(&w, row, b);
            for (int32_t p = 0; p < n_planes; p++) {
                float *pair = &u[b / 2 % 2][p];
                *pair = add_block(*pair, b % 2 == 0, f, &w, acts, plane0 + p, b);
            }
        }
        for (int32_t p = 0; p < n_planes; p++)
            acc[p] = acc[p] + (u[0][p] + u[1][p]);
    }
    for (int32_t p = 0; p < n_planes; p++)
        y[p * y_stride] = acc[p];
}

static void product(float *y, int64_t y_stride, const struct format *f, const struct cpu_weight *w,
                    int32_t row0, int32_t row1, const struct cpu_acts *acts, int32_t plane0,
                    int32_t plane1)
{
    for (int32_t row = row0; row < row1; row++)
        product_row(y + row - row0, y_stride, f,
                    (const uint8_t *)w->data + (uint64_t)row * w->row_bytes, acts, plane0, plane1);
}

typedef float (*weight_fn)(const uint8_t *row, int32_t col);

static float f32_weight(const uint8_t *row, int32_t col)
{
    float value;
    memcpy(&value, row + (int64_t)col * 4, sizeof value);
    return value;
}

static float f16_weight(const uint8_t *row, int32_t col)
{
    return half_at(row + (int64_t)col * 2);
}

static float bf16_weight(const uint8_t *row, int32_t col)
{
    uint16_t bits;
    memcpy(&bits, row + (int64_t)col * 2, sizeof bits);
    return bf16_to_f32(bits);
}

static float float_dot(weight_fn weight, const uint8_t *row, const float *x, int32_t n_cols)
{
    float lane[16] = { 0 };
    for (int32_t c = 0; c < n_cols; c++)
        lane[c % 16] = fmaf(weight(row, c), x[c], lane[c % 16]);
    for (int32_t width = 8; width >= 1; width /= 2)
        for (int32_t j = 0; j < width; j++)
            lane[j] = lane[j] + lane[j + width];
    return lane[0];
}

static void float_product(float *y, int64_t y_stride, weight_fn weight, const struct cpu_weight *w,
                          int32_t row0, int32_t row1, const struct cpu_acts *acts, int32_t plane0,
                          int32_t plane1)
{
    for (int32_t row = row0; row < row1; row++)
        for (int32_t p = plane0; p < plane1; p++)
            y[(p - plane0) * y_stride + row - row0] =
                float_dot(weight, (const uint8_t *)w->data + (uint64_t)row * w->row_bytes,
                          acts->x + (int64_t)p * acts->n_cols, acts->n_cols);
}

/* One entry of the table: the format's constants, bound at compile time. */
#define MATVEC(type, spell_type, has_scales16, has_minimum)                                            \
    static void matvec_##type(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,    \
                              int32_t row1, const struct cpu_acts *acts, int32_t plane0,               \
                              int32_t plane1)                                                          \
    {                                                                                                  \
        static const struct format f = { spell_type, has_scales16, has_minimum };                      \
        product(y, y_stride, &f, w, row0, row1, acts, plane0, plane1);                                 \
    }

MATVEC(q4_0, spell_q4_0, 0, 0)
MATVEC(q4_1, spell_q4_1, 0, 1)
MATVEC(q5_0, spell_q5_0, 0, 0)
MATVEC(q5_1, spell_q5_1, 0, 1)
MATVEC(q8_0, spell_q8_0, 0, 0)
MATVEC(q2_k, spell_q2_k, 1, 1)
MATVEC(q3_k, spell_q3_k, 1, 0)
MATVEC(q4_k, spell_q4_k, 0, 1)
MATVEC(q5_k, spell_q5_k, 0, 1)
MATVEC(q6_k, spell_q6_k, 1, 0)
MATVEC(iq4_nl, spell_iq4_nl, 0, 0)
MATVEC(iq4_xs, spell_iq4_xs, 0, 0)
MATVEC(mxfp4, spell_mxfp4, 0, 0)

#define FLOAT_MATVEC(type)                                                                             \
    static void matvec_##type(float *y, int64_t y_stride, const struct cpu_weight *w, int32_t row0,    \
                              int32_t row1, const struct cpu_acts *acts, int32_t plane0,               \
                              int32_t plane1)                                                          \
    {                                                                                                  \
        float_product(y, y_stride, type##_weight, w, row0, row1, acts, plane0, plane1);                \
    }

FLOAT_MATVEC(f32)
FLOAT_MATVEC(f16)
FLOAT_MATVEC(bf16)

void cpu_matvec_init_scalar(struct cpu_kern *k)
{
    static const cpu_matvec_fn table[QUANT_N_TYPES] = {
        [QUANT_F32] = matvec_f32, [QUANT_F16] = matvec_f16, [QUANT_BF16] = matvec_bf16,
        [QUANT_Q4_0] = matvec_q4_0, [QUANT_Q4_1] = matvec_q4_1, [QUANT_Q5_0] = matvec_q5_0,
        [QUANT_Q5_1] = matvec_q5_1, [QUANT_Q8_0] = matvec_q8_0, [QUANT_Q2_K] = matvec_q2_k,
        [QUANT_Q3_K] = matvec_q3_k, [QUANT_Q4_K] = matvec_q4_k, [QUANT_Q5_K] = matvec_q5_k,
        [QUANT_Q6_K] = matvec_q6_k, [QUANT_IQ4_NL] = matvec_iq4_nl, [QUANT_IQ4_XS] = matvec_iq4_xs,
        [QUANT_MXFP4] = matvec_mxfp4
    };
    memcpy(k->matvec, table, sizeof table);
}
