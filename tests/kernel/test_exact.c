/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdlib.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_exact.h"
#include "engine/quant/f16.h"

/* The definition of the exact tier against its words, one result at a time, and the vector forms against the
 * definition, bit for bit. All arrays are on the heap at their size, for the address sanitizer. */

enum { LANES = 16 };
static const float GUARD = -12345.0f;

enum fill { NORMAL, CANCELLING, WIDE, SPECIAL, N_FILLS };
static const char *const fill_name[N_FILLS] = { "normal", "cancelling", "wide", "special" };

struct shape {
    int32_t n_w, n_x, n_cols;
};

struct exact_case {
    struct shape shape;
    int32_t y_stride;
    size_t n_y;
    float *w, *x, *got, *want;
};

static float *take(size_t n)
{
    float *p = malloc(n * sizeof *p);
    if (!p)
        abort();
    return p;
}

/* Exponents far apart; the products stay within f32, so that a sum does as well. */
static float wide(struct test *t)
{
    return ldexpf(test_normal(t), (int)test_below(t, 100) - 50);
}

static float special(struct test *t)
{
    static const float values[] = { INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 0x1p-149f, -0x1p-149f, 0x1.fffffep127f,
                                    -0x1.fffffep127f, 0x1p-126f };
    if (test_below(t, 40) != 0)
        return test_normal(t);
    return values[test_below(t, sizeof values / sizeof *values)];
}

static float draw(struct test *t, enum fill fill)
{
    return fill == NORMAL ? test_normal(t) : fill == SPECIAL ? special(t) : wide(t);
}

/* Cancelling: the columns' products come in pairs +-a at mirrored places, so that a sum is nothing but what was
 * rounded off on the way: any other order of adding shows. */
static void fill_rows(struct test *t, float *rows, int32_t n_rows, int32_t n_cols, enum fill fill, float mirrored)
{
    for (int32_t r = 0; r < n_rows; r++) {
        float *row = rows + (int64_t)r * n_cols;
        for (int32_t c = 0; c < n_cols; c++)
            row[c] = draw(t, fill);
        for (int32_t c = 0; fill == CANCELLING && c < n_cols / 2; c++)
            row[n_cols - 1 - c] = mirrored * row[c];
    }
}

static void case_init(struct test *t, struct exact_case *c, struct shape shape, enum fill fill)
{
    *c = (struct exact_case){ .shape = shape, .y_stride = shape.n_w + (int32_t)test_below(t, 3) };
    c->n_y = (size_t)(shape.n_x - 1) * (size_t)c->y_stride + (size_t)shape.n_w;
    c->w = take((size_t)shape.n_w * (size_t)shape.n_cols);
    c->x = take((size_t)shape.n_x * (size_t)shape.n_cols);
    c->got = take(c->n_y);
    c->want = take(c->n_y);
    fill_rows(t, c->w, shape.n_w, shape.n_cols, fill, -1.0f);
    fill_rows(t, c->x, shape.n_x, shape.n_cols, fill, 1.0f);
}

static void case_finish(struct exact_case *c)
{
    free(c->w);
    free(c->x);
    free(c->got);
    free(c->want);
}

static void run(cpu_exact_fn product, const struct exact_case *c, float *y)
{
    for (size_t i = 0; i < c->n_y; i++)
        y[i] = GUARD;
    product(y, c->y_stride, c->w, c->shape.n_w, c->x, c->shape.n_x, c->shape.n_cols);
}

/* Same bits, or both NaN (whose payload nobody promises). */
static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void check_same(struct test *t, const struct exact_case *c, const char *what, enum fill fill)
{
    const struct shape *s = &c->shape;
    for (size_t i = 0; i < c->n_y; i++)
        CHECK(t, same(c->got[i], c->want[i]), "%s, %s: %d weight rows, %d activation rows, %d columns, stride %d: "
              "y[%zu] is %a, wanted %a", what, fill_name[fill], s->n_w, s->n_x, s->n_cols, c->y_stride, i,
              (double)c->got[i], (double)c->want[i]);
}

static const struct {
    const char *name;
    uint32_t features;
} tiers[] = { { "avx2", CPUID_AVX2 }, { "avx512", CPUID_AVX2 | CPUID_AVX512 } };
enum { N_TIERS = sizeof tiers / sizeof *tiers };

static bool have(int tier)
{
    return (cpuid_features() & tiers[tier].features) == tiers[tier].features;
}

static void check_tiers(struct test *t, struct shape shape, enum fill fill)
{
    struct exact_case c;
    case_init(t, &c, shape, fill);
    run(cpu_exact_product(0), &c, c.want);
    for (int tier = 0; tier < N_TIERS; tier++) {
        if (!have(tier))
            continue;
        run(cpu_exact_product(tiers[tier].features), &c, c.got);
        check_same(t, &c, tiers[tier].name, fill);
    }
    case_finish(&c);
}

/* ---- the definition ---------------------------------------------------------------------------------- */

/* Lane by lane, as cpu_exact.h says it. */
static float by_its_words(const float *w, const float *x, int32_t n_cols)
{
    double total = 0;
    for (int32_t lane = 0; lane < LANES; lane++) {
        double sum = 0;
        for (int32_t c = lane; c < n_cols; c += LANES)
            sum += (double)w[c] * (double)x[c];
        total += sum;
    }
    return (float)total;
}

TEST(exact_scalar_is_what_its_header_says)
{
    static const int32_t cols[] = { 1, 5, 15, 16, 17, 32, 47, 100, 576, 1001 };
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        for (enum fill fill = 0; fill < N_FILLS; fill++) {
            struct exact_case c;
            case_init(t, &c, (struct shape){ 5, 7, cols[i] }, fill);
            for (size_t y = 0; y < c.n_y; y++)
                c.want[y] = GUARD;
            for (int32_t p = 0; p < 7; p++)
                for (int32_t r = 0; r < 5; r++)
                    c.want[p * c.y_stride + r] = by_its_words(c.w + r * cols[i], c.x + p * cols[i], cols[i]);
            run(cpu_exact_product(0), &c, c.got);
            check_same(t, &c, "scalar", fill);
            case_finish(&c);
        }
}

/* Without this the comparisons could not tell orders apart: rounding to f32 hides them nearly always. */
TEST(exact_cancelling_rows_show_the_order_of_adding)
{
    enum { N_COLS = 512, N = 64 };
    int differ = 0;
    for (int i = 0; i < N; i++) {
        struct exact_case c;
        case_init(t, &c, (struct shape){ 1, 1, N_COLS }, CANCELLING);
        double total = 0;
        for (int32_t lane = LANES - 1; lane >= 0; lane--) {
            double sum = 0;
            for (int32_t col = lane; col < N_COLS; col += LANES)
                sum += (double)c.w[col] * (double)c.x[col];
            total += sum;
        }
        differ += !same((float)total, by_its_words(c.w, c.x, N_COLS));
        case_finish(&c);
    }
    CHECK(t, differ > N / 2, "%d of %d sums folded backwards differ", differ, N);
}

/* ---- the tiers --------------------------------------------------------------------------------------- */

TEST(exact_tiers_equal_scalar_for_every_number_of_columns)
{
    for (int32_t n_cols = 1; n_cols <= 70; n_cols++)
        check_tiers(t, (struct shape){ 5, 7, n_cols }, (enum fill)(n_cols % N_FILLS));
    static const int32_t cols[] = { 496, 511, 512, 513, 528, 576, 1007, 1024, 1040, 1536, 2333, 8960 };
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        for (enum fill fill = 0; fill < N_FILLS; fill++)
            check_tiers(t, (struct shape){ 5, 7, cols[i] }, fill);
}

TEST(exact_tiers_equal_scalar_for_every_number_of_rows)
{
    for (int32_t n_w = 1; n_w <= 13; n_w++)
        for (int32_t n_x = 1; n_x <= 13; n_x++)
            for (enum fill fill = 0; fill < N_FILLS; fill++)
                check_tiers(t, (struct shape){ n_w, n_x, 83 }, fill);
    for (int32_t n_x = 14; n_x <= 70; n_x++)
        check_tiers(t, (struct shape){ 12, n_x, 576 }, (enum fill)(n_x % N_FILLS));
}

/* ---- whole products ---------------------------------------------------------------------------------- */

/* Blocks of random codes under one sane scale. */
static uint8_t *q8_0_rows(struct test *t, int32_t n_rows, uint64_t row_bytes)
{
    size_t n = (size_t)n_rows * row_bytes;
    uint8_t *bytes = (uint8_t *)take(n / sizeof(float) + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)test_random(t);
    for (size_t at = 0; at < n; at += 34) {
        uint16_t scale = f16_from_f32(test_uniform(t) * 0.03f);
        memcpy(bytes + at, &scale, sizeof scale);
    }
    return bytes;
}

/* Rows [row0, row1) of 40, more and fewer than are expanded at a time; around them y keeps what was there. */
static void check_matmul(struct test *t, int32_t row0, int32_t row1, int32_t n_x, uint32_t features)
{
    enum { N_ROWS = 40, N_COLS = 96 };
    uint64_t row_bytes = quant_row_bytes(QUANT_Q8_0, N_COLS);
    uint8_t *bytes = q8_0_rows(t, N_ROWS, row_bytes);
    struct cpu_weight w = { .type = QUANT_Q8_0, .n_rows = N_ROWS, .n_cols = N_COLS, .data = bytes,
                            .row_bytes = row_bytes };
    float *x = take((size_t)n_x * N_COLS), *y = take((size_t)n_x * N_ROWS);
    float *rows = take(CPU_EXACT_GROUP * N_COLS), row[N_COLS];
    fill_rows(t, x, n_x, N_COLS, NORMAL, 1.0f);
    for (int32_t i = 0; i < n_x * N_ROWS; i++)
        y[i] = GUARD;
    cpu_exact_matmul(cpu_exact_product(features), y, N_ROWS, &w, row0, row1, x, n_x, rows);
    for (int32_t r = 0; r < N_ROWS; r++) {
        quant_format(QUANT_Q8_0)->to_f32(row, bytes + (size_t)r * row_bytes, N_COLS);
        for (int32_t p = 0; p < n_x; p++) {
            float got = y[p * N_ROWS + r];
            float want = r < row0 || r >= row1 ? GUARD : by_its_words(row, x + p * N_COLS, N_COLS);
            CHECK(t, same(got, want), "rows %d to %d, %d activations: y[%d][%d] is %a, wanted %a", row0, row1, n_x,
                  p, r, (double)got, (double)want);
        }
    }
    free(bytes);
    free(x);
    free(y);
    free(rows);
}

TEST(exact_matmul_expands_the_rows_asked_for_and_writes_no_others)
{
    static const int32_t rows[][2] = { { 0, 40 }, { 0, 1 }, { 3, 5 }, { 7, 31 }, { 12, 24 }, { 39, 40 }, { 5, 5 } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int32_t n_x = 1; n_x <= 8; n_x += 7) {
            check_matmul(t, rows[i][0], rows[i][1], n_x, 0);
            for (int tier = 0; tier < N_TIERS; tier++)
                if (have(tier))
                    check_matmul(t, rows[i][0], rows[i][1], n_x, tiers[tier].features);
        }
}
