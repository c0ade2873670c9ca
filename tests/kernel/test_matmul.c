/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdlib.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_kern.h"
#include "tests/support/weights.h"

/* Every tier against the scalar one, bit for bit, and the scalar one against a product in double of the
 * dequantised weights. */

enum weight_fill { WEIGHTS_RANDOM, WEIGHTS_ALL_ONES, WEIGHTS_ALL_ZEROS };
enum act_fill { ACTS_MIXED, ACTS_EXTREME };

struct shape {
    int32_t n_rows, n_cols, n_acts;
    int32_t row0, row1;
};

struct matmul_case {
    struct shape shape;
    struct cpu_weight w;
    uint8_t *bytes;
    struct cpu_acts acts;
    float *x, *got, *want;
};

static void *take(size_t n_bytes)
{
    void *p = aligned_alloc(64, (n_bytes + 127) / 64 * 64);
    if (!p)
        abort();
    return p;
}

static void fill_weights(struct test *t, struct matmul_case *c, uint32_t type, enum weight_fill fill)
{
    struct cpu_weight *w = &c->w;
    w->type = type;
    w->n_rows = c->shape.n_rows;
    w->n_cols = c->shape.n_cols;
    w->row_bytes = quant_row_bytes(w->type, (uint64_t)w->n_cols);
    size_t n = (size_t)w->row_bytes * (size_t)w->n_rows;
    c->bytes = take(n + 1);
    uint8_t *data = c->bytes + 1;    /* no alignment at all */
    w->data = data;
    for (size_t i = 0; i < n; i++)
        data[i] = fill == WEIGHTS_RANDOM ? (uint8_t)test_random(t) : fill == WEIGHTS_ALL_ONES ? 0xFF : 0;
    weights_draw_scales(t, type, data, n);
}

/* Rows by turns: normal, with an outlier (two planes), zeros, tiny, alternating +-1 (all codes +-127). */
static void fill_acts(struct test *t, struct matmul_case *c, enum act_fill fill)
{
    int32_t n_cols = c->shape.n_cols;
    for (int32_t row = 0; row < c->shape.n_acts; row++) {
        float *x = c->x + (int64_t)row * n_cols;
        int kind = fill == ACTS_EXTREME ? 4 : (int)test_below(t, 8);
        for (int32_t i = 0; i < n_cols; i++) {
            x[i] = test_normal(t);
            if (kind == 2)
                x[i] = 0;
            else if (kind == 3)
                x[i] *= i % 64 < 32 ? 1e-38f : 1e-29f;
            else if (kind == 4)
                x[i] = test_below(t, 2) || fill == ACTS_EXTREME ? 1.0f : -1.0f;
        }
        if (kind == 1)
            x[test_below(t, (uint32_t)n_cols)] = 4000.0f;
    }
}

static void quantize_acts(const struct cpu_kern *k, struct matmul_case *c)
{
    struct cpu_acts *a = &c->acts;
    float *residual = take((size_t)a->n_cols * sizeof(float));
    cpu_acts_rows(k, a, 0, a->n_rows);
    cpu_acts_seconds(a);
    cpu_acts_second_rows(k, a, 0, a->n_rows, residual);
    free(residual);
}

static void case_init(struct test *t, struct matmul_case *c, uint32_t type, struct shape shape,
                      enum weight_fill weights, enum act_fill acts)
{
    memset(c, 0, sizeof *c);
    c->shape = shape;
    fill_weights(t, c, type, weights);
    size_t n_cols = (size_t)shape.n_cols, n_planes = 2 * (size_t)shape.n_acts;
    size_t n_y = (size_t)shape.n_acts * (size_t)shape.n_rows;
    c->x = take(n_planes / 2 * n_cols * sizeof(float));
    fill_acts(t, c, acts);
    c->acts = (struct cpu_acts){ .n_rows = shape.n_acts, .n_planes = shape.n_acts,
                                 .n_cols = shape.n_cols, .x = c->x };
    c->acts.q = take(n_planes * n_cols);
    c->acts.d = take(n_planes * n_cols / 32 * sizeof(float));
    c->acts.s = take(n_planes * n_cols / 32 * sizeof(float));
    c->acts.h = take(n_planes * n_cols / 16 * sizeof(int16_t));
    c->acts.second = take((size_t)shape.n_acts * sizeof(int32_t));
    c->got = take(n_y * sizeof(float));
    c->want = take(n_y * sizeof(float));
    struct cpu_kern scalar;
    cpu_kern_init(&scalar, 0);
    quantize_acts(&scalar, c);
}

static void case_finish(struct matmul_case *c)
{
    void *all[] = { c->bytes, c->x, c->acts.q, c->acts.d, c->acts.s, c->acts.h, c->acts.second,
                    c->got, c->want };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* Outside the asked rows y keeps the pattern that was there. */
static void run(const struct cpu_kern *k, struct matmul_case *c, float *y)
{
    const struct shape *s = &c->shape;
    for (int64_t i = 0; i < (int64_t)s->n_acts * s->n_rows; i++)
        y[i] = -12345.0f;
    void *scratch = take(cpu_matmul_scratch_bytes(s->n_acts, s->n_rows));
    cpu_matmul(k, y, s->n_rows, &c->w, s->row0, s->row1, &c->acts, scratch);
    free(scratch);
}

/* The product of the dequantised weights in double. */
static void exact_product(struct matmul_case *c)
{
    const struct shape *s = &c->shape;
    float *row = take((size_t)s->n_cols * sizeof(float));
    for (int32_t i = 0; i < s->n_rows; i++) {
        quant_format(c->w.type)->to_f32(row,
                                        (const uint8_t *)c->w.data + (uint64_t)i * c->w.row_bytes,
                                        s->n_cols);
        for (int32_t r = 0; r < s->n_acts; r++) {
            double sum = 0;
            for (int32_t j = 0; j < s->n_cols; j++)
                sum += (double)row[j] * (double)c->x[(int64_t)r * s->n_cols + j];
            c->want[(int64_t)r * s->n_rows + i] = (float)sum;
        }
    }
    free(row);
}

static const struct {
    const char *name;
    uint32_t features;
} tiers[] = { { "avx2", CPUID_AVX2 }, { "avx512", CPUID_AVX2 | CPUID_AVX512 } };
enum { N_TIERS = sizeof tiers / sizeof *tiers };

static bool tier_init(struct cpu_kern *k, int tier)
{
    if ((cpuid_features() & tiers[tier].features) != tiers[tier].features)
        return false;
    cpu_kern_init(k, tiers[tier].features);
    return true;
}

static void check_same_bits(struct test *t, const struct matmul_case *c, const char *tier,
                            const char *how)
{
    const struct shape *s = &c->shape;
    for (int32_t r = 0; r < s->n_acts; r++)
        for (int32_t i = 0; i < s->n_rows; i++) {
            int64_t at = (int64_t)r * s->n_rows + i;
            CHECK(t, memcmp(&c->got[at], &c->want[at], sizeof(float)) == 0,
                  "%s %s %s: %d x %d, rows %d to %d, %d activations: y[%d][%d] is %a, wanted %a", tier,
                  quant_format(c->w.type)->name, how, s->n_rows, s->n_cols, s->row0, s->row1,
                  s->n_acts, r, i, (double)c->got[at], (double)c->want[at]);
        }
}

/* File order and interleaved. */
static void check_tiers(struct test *t, struct matmul_case *c)
{
    struct cpu_kern k;
    cpu_kern_init(&k, 0);
    run(&k, c, c->want);
    for (int tier = 0; tier < N_TIERS; tier++) {
        if (!tier_init(&k, tier))
            continue;
        run(&k, c, c->got);
        check_same_bits(t, c, tiers[tier].name, "in the file's order");
        uint64_t bytes = k.interleave_bytes ? k.interleave_bytes(&c->w) : 0;
        if (bytes == 0)
            continue;
        const void *data = c->w.data;
        c->w.packed = take(bytes);
        int32_t middle = c->w.n_rows / 2 / k.row_align * k.row_align;
        k.interleave(&c->w, 0, middle);
        k.interleave(&c->w, middle, c->w.n_rows);
        c->w.data = NULL;
        run(&k, c, c->got);
        check_same_bits(t, c, tiers[tier].name, "interleaved");
        free(c->w.packed);
        c->w.packed = NULL;
        c->w.data = data;
    }
}

static void check_shapes(struct test *t, const struct shape *shapes, size_t n_shapes,
                         enum weight_fill weights, enum act_fill acts)
{
    for (int type = 0; type < WEIGHTS_N_TYPES; type++)
        for (size_t i = 0; i < n_shapes; i++) {
            if (quant_row_bytes(weights_types[type], (uint64_t)shapes[i].n_cols) == 0)
                continue;
            struct matmul_case c;
            case_init(t, &c, weights_types[type], shapes[i], weights, acts);
            check_tiers(t, &c);
            case_finish(&c);
        }
}

TEST(matmul_of_every_type_that_can_be_read)
{
    struct cpu_kern k;
    for (int tier = -1; tier < N_TIERS; tier++) {
        if (tier < 0)
            cpu_kern_init(&k, 0);
        else if (!tier_init(&k, tier))
            continue;
        for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
            const struct quant_format *f = quant_format(type);
            bool is_tried = false;
            for (int i = 0; i < WEIGHTS_N_TYPES; i++)
                is_tried |= weights_types[i] == type;
            CHECK_INT(t, k.matvec[type] != NULL, f && f->to_f32, "%s, type %u", k.name, type);
            CHECK_INT(t, is_tried, f && f->to_f32, "type %u", type);
        }
    }
}

TEST(matmul_tiers_equal_scalar_for_awkward_columns)
{
    static const struct shape shapes[] = {
        { 1, 32, 1, 0, 1 },     { 5, 64, 2, 0, 5 },   { 16, 96, 3, 0, 16 },  { 17, 160, 1, 0, 17 },
        { 33, 256, 5, 0, 33 },
        { 19, 576, 1, 0, 19 },  { 18, 576, 9, 0, 18 }, { 40, 768, 4, 0, 40 }, { 16, 1056, 17, 0, 16 },
        { 35, 1536, 2, 0, 35 }, { 17, 8960, 1, 0, 17 }, { 17, 8960, 9, 0, 17 }, { 16, 2336, 8, 0, 16 }
    };
    check_shapes(t, shapes, sizeof shapes / sizeof *shapes, WEIGHTS_RANDOM, ACTS_MIXED);
}

TEST(matmul_float_weights_take_any_number_of_columns)
{
    static const struct shape shapes[] = { { 7, 1, 1, 0, 7 }, { 9, 20, 5, 0, 9 }, { 6, 47, 2, 1, 6 },
                                           { 5, 1007, 9, 0, 5 } };
    check_shapes(t, shapes, sizeof shapes / sizeof *shapes, WEIGHTS_RANDOM, ACTS_MIXED);
}

TEST(matmul_tiers_equal_scalar_for_every_number_of_activations)
{
    static const int32_t counts[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63 };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct shape shape = { 20, 256, counts[i], 0, 20 };
        check_shapes(t, &shape, 1, WEIGHTS_RANDOM, ACTS_MIXED);
    }
}

TEST(matmul_tiers_equal_scalar_for_512_activations)
{
    static const struct shape shapes[] = { { 17, 1536, 512, 0, 17 }, { 34, 576, 512, 0, 34 } };
    check_shapes(t, shapes, 2, WEIGHTS_RANDOM, ACTS_MIXED);
}

TEST(matmul_tiers_write_the_rows_asked_for_and_no_others)
{
    static const struct shape shapes[] = {
        { 50, 256, 1, 3, 4 },  { 50, 256, 2, 15, 33 }, { 50, 256, 9, 31, 50 }, { 50, 256, 3, 16, 48 },
        { 50, 256, 1, 1, 50 }, { 50, 256, 20, 7, 9 },  { 300, 256, 6, 5, 299 }
    };
    check_shapes(t, shapes, sizeof shapes / sizeof *shapes, WEIGHTS_RANDOM, ACTS_MIXED);
}

TEST(matmul_tiers_hold_all_extreme_codes)
{
    static const struct shape shapes[] = { { 17, 768, 1, 0, 17 }, { 17, 768, 2, 0, 17 }, { 17, 768,
                                                                                           13, 0,
                                                                                           17 } };
    check_shapes(t, shapes, 3, WEIGHTS_ALL_ONES, ACTS_EXTREME);
    check_shapes(t, shapes, 3, WEIGHTS_ALL_ZEROS, ACTS_EXTREME);
    check_shapes(t, shapes, 3, WEIGHTS_ALL_ONES, ACTS_MIXED);
}

TEST(matmul_most_negative_byte_of_q8_0)
{
    struct matmul_case c;
    struct shape shape = { 17, 96, 3, 0, 17 };
    case_init(t, &c, QUANT_Q8_0, shape, WEIGHTS_RANDOM, ACTS_EXTREME);
    for (size_t i = 0; i < (size_t)c.w.row_bytes * 17; i++)
        if (i % 34 >= 2)
            c.bytes[1 + i] = 0x80;
    check_tiers(t, &c);
    case_finish(&c);
}

/* One to a row, so that no other result hides a subnormal one. From 248 on sums leave f32's range. */
TEST(matmul_every_exponent_of_mxfp4)
{
    struct matmul_case c;
    struct shape shape = { 256, 32, 1, 0, 256 };
    struct cpu_kern scalar;
    cpu_kern_init(&scalar, 0);
    case_init(t, &c, QUANT_MXFP4, shape, WEIGHTS_RANDOM, ACTS_EXTREME);
    for (int32_t row = 0; row < 256; row++)
        c.bytes[1 + row * 17] = (uint8_t)row;
    check_tiers(t, &c);
    run(&scalar, &c, c.got);
    exact_product(&c);
    for (int32_t e = 0; e < 248; e++)
        CHECK(t, fabsf(c.got[e] - c.want[e]) <= 1e-4f * fabsf(c.want[e]), "e %d: %a, wanted %a", e, (double)c.got[e],
              (double)c.want[e]);
    case_finish(&c);
}

TEST(matmul_of_a_row_does_not_depend_on_the_rows_beside_it)
{
    struct cpu_kern k;
    cpu_kern_init(&k, cpuid_features());
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct matmul_case c;
        struct shape shape = { 48, 768, 33, 0, 48 };
        case_init(t, &c, weights_types[type], shape, WEIGHTS_RANDOM, ACTS_MIXED);
        run(&k, &c, c.want);
        struct cpu_acts all = c.acts;
        for (int32_t r = 0; r < 33; r++) {
            c.acts.x = all.x + r * 768;
            c.acts.n_rows = c.shape.n_acts = 1;
            quantize_acts(&k, &c);
            run(&k, &c, c.got);
            CHECK_BYTES(t, c.got, c.want + r * 48, 48 * sizeof(float), "%s row %d",
                        quant_format(c.w.type)->name, r);
        }
        case_finish(&c);
    }
}

TEST(matmul_tiers_quantize_alike)
{
    struct matmul_case c, d;
    struct shape shape = { 1, 8992, 40, 0, 1 };
    case_init(t, &c, QUANT_Q4_1, shape, WEIGHTS_RANDOM, ACTS_MIXED);
    c.x[5] = 8388608.0f;
    c.x[40] = 0x1p-100f;
    c.x[41] = -0x1p-149f;
    for (int tier = 0; tier < N_TIERS; tier++) {
        struct cpu_kern k;
        if (!tier_init(&k, tier))
            continue;
        case_init(t, &d, QUANT_Q4_1, shape, WEIGHTS_RANDOM, ACTS_MIXED);
        memcpy(d.x, c.x, 40 * 8992 * sizeof(float));
        struct cpu_kern scalar;
        cpu_kern_init(&scalar, 0);
        quantize_acts(&scalar, &c);
        quantize_acts(&k, &d);
        size_t n = (size_t)c.acts.n_planes * 8992;
        CHECK_INT(t, d.acts.n_planes, c.acts.n_planes);
        CHECK(t, c.acts.n_planes > 40, "some row is an outlier");
        CHECK_BYTES(t, d.acts.q, c.acts.q, n, "%s", k.name);
        CHECK_BYTES(t, d.acts.d, c.acts.d, n / 32 * sizeof(float), "%s", k.name);
        CHECK_BYTES(t, d.acts.s, c.acts.s, n / 32 * sizeof(float), "%s", k.name);
        CHECK_BYTES(t, d.acts.h, c.acts.h, n / 16 * sizeof(int16_t), "%s", k.name);
        case_finish(&d);
    }
    case_finish(&c);
}

/* A block of normal activations spans about +-2.1 deviations, so rounding to 1/127 of that leaves a
 * relative error of (2.1 / 127)^2 / 12 = 2.3e-5; float weights only have f32's own rounding. A second
 * plane takes the error down by another factor of 127^2. */
TEST(matmul_scalar_is_the_product_of_the_dequantised_weights)
{
    struct cpu_kern k;
    cpu_kern_init(&k, 0);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++)
        for (int outlier = 0; outlier < 2; outlier++) {
            struct matmul_case c;
            struct shape shape = { 64, 2048, 4, 0, 64 };
            case_init(t, &c, weights_types[type], shape, WEIGHTS_RANDOM, ACTS_MIXED);
            for (int32_t i = 0; i < 4 * 2048; i++)
                c.x[i] = test_normal(t) + (outlier && i % 2048 == 77 ? 300.0f : 0.0f);
            quantize_acts(&k, &c);
            CHECK_INT(t, c.acts.n_planes, outlier ? 8 : 4);
            run(&k, &c, c.got);
            exact_product(&c);
            double limit = type < WEIGHTS_FIRST_BLOCKS ? 1e-12 : outlier ? 1e-8 : 4e-5;
            CHECK_NMSE(t, c.got, c.want, 4 * 64, limit, "%s%s", quant_format(c.w.type)->name,
                       outlier ? " with outliers" : "");
            case_finish(&c);
        }
}
