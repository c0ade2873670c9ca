/* SPDX-License-Identifier: MIT */
/* What quantising leaves of weights: errors against bounds, against plain rounding and against those of ggml's
 * quantisers (tests/data/quantise.txt), and what happens to weights that are far from ordinary. */
#include "tests/support/test.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/quant/f16.h"
#include "engine/quant/quant.h"
#include "engine/quant/quant_kern.h"
#include "tests/support/quantise_case.h"

enum { ROWS = 4, COLS = 1536, N = ROWS * COLS };

static const uint32_t types[] = {
    QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1,
    QUANT_Q2_K, QUANT_Q3_K, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K, QUANT_IQ4_NL, QUANT_IQ4_XS, QUANT_MXFP4
};
enum { N_TYPES = sizeof types / sizeof *types };

static bool ignores_importance(uint32_t type)
{
    return type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16 || type == QUANT_Q8_0 || type == QUANT_MXFP4;
}

/* There and back, n_rows rows of n weights; the blocks are of their exact size, for the address sanitizer. */
static void round_trip(float *back, const float *x, int64_t n, int64_t n_rows, const float *importance, uint32_t type)
{
    const struct quant_format *f = quant_format(type);
    size_t row_bytes = (size_t)quant_row_bytes(type, (uint64_t)n);
    char *blocks = malloc(row_bytes);
    for (int64_t r = 0; r < n_rows; r++) {
        f->from_f32(blocks, x + r * n, n, importance);
        f->to_f32(back + r * n, blocks, n);
    }
    free(blocks);
}

struct errors {
    double plain, weighed;    /* over the like sums of the weights */
};

/* importance: [n_cols], NULL weighs all alike. */
static struct errors errors_of(const float *back, const float *x, int64_t n, int64_t n_cols, const float *importance)
{
    double error = 0, size = 0, w_error = 0, w_size = 0;
    for (int64_t i = 0; i < n; i++) {
        double w = importance ? importance[i % n_cols] : 1, e = (double)back[i] - x[i], a = x[i];
        error += e * e;
        size += a * a;
        w_error += w * e * e;
        w_size += w * a * a;
    }
    return (struct errors){ error / size, w_error / w_size };
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

TEST(quantise_every_format_that_is_computed_with_can_be_made)
{
    int n_made = 0;
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
        const struct quant_format *f = quant_format(type);
        if (f && (f->to_f32 || f->from_f32)) {
            CHECK(t, f->to_f32 && f->from_f32, "%s", f->name);
            n_made++;
        }
    }
    CHECK_INT(t, n_made, N_TYPES);
}

/* Of the bits, zeros without their sign (make_quantise.py). */
static uint64_t checksum(const float *x, int64_t n)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < n; i++)
        h = (h ^ f32_bits(x[i] + 0.0f)) * 0x100000001B3u;
    return h;
}

/* To the bit: the searches sum in its order, with its roundings. The errors tell how far a difference goes. */
TEST(quantise_makes_the_weights_of_the_reference)
{
    static float x[N], back[N], importance[COLS];
    FILE *f = fopen("tests/data/quantise.txt", "r");
    CHECK(t, f, "tests/data/quantise.txt");
    char name[16], kind_name[16], how[16];
    uint64_t sum;
    double plain, weighed;
    int n_lines = 0;
    quantise_importance(importance, COLS, 99);
    while (fscanf(f, "%15s %15s %15s %" SCNx64 " %lf %lf", name, kind_name, how, &sum, &plain, &weighed) == 6) {
        uint32_t type = 0, kind = 0;
        while (type < QUANT_N_TYPES && (!quant_format(type) || strcmp(quant_format(type)->name, name) != 0))
            type++;
        while (kind < QUANTISE_N_KINDS && strcmp(quantise_kind_names[kind], kind_name) != 0)
            kind++;
        CHECK(t, type < QUANT_N_TYPES && kind < QUANTISE_N_KINDS, "line %d: %s %s", n_lines + 1, name, kind_name);
        const float *w = strcmp(how, "none") != 0 ? importance : NULL;
        quantise_weights(x, N, (enum quantise_kind)kind, 1000 + kind);
        round_trip(back, x, COLS, ROWS, w, type);
        struct errors e = errors_of(back, x, N, COLS, w);
        CHECK(t, checksum(back, N) == sum,
              "%s, %s, importance %s: errors %g and %g, the reference has %g and %g", name, kind_name, how, e.plain,
              e.weighed, plain, weighed);
        n_lines++;
    }
    fclose(f);
    CHECK_INT(t, n_lines, (N_TYPES - 3) * QUANTISE_N_KINDS * 2);
}

/* Normal weights: bounds a little above what the number of levels allows. */
TEST(quantise_normal_weights_come_back_within_the_error_of_the_type)
{
    static const struct {
        uint32_t type;
        double limit;
    } cases[] = {
        { QUANT_F32, 0 }, { QUANT_F16, 6e-8 }, { QUANT_BF16, 4e-6 }, { QUANT_Q8_0, 3.2e-5 }, { QUANT_Q6_K, 3.3e-4 },
        { QUANT_Q5_1, 1.6e-3 }, { QUANT_Q5_0, 2.0e-3 }, { QUANT_Q5_K, 1.4e-3 }, { QUANT_Q4_1, 6.5e-3 },
        { QUANT_Q4_0, 8.0e-3 }, { QUANT_Q4_K, 5.4e-3 }, { QUANT_IQ4_NL, 6.1e-3 }, { QUANT_IQ4_XS, 6.2e-3 },
        { QUANT_MXFP4, 0.0145 }, { QUANT_Q3_K, 0.024 }, { QUANT_Q2_K, 0.093 }
    };
    static float x[N], back[N];
    for (int i = 0; i < N; i++)
        x[i] = 0.02f * test_normal(t);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        round_trip(back, x, COLS, ROWS, NULL, cases[k].type);
        double e = errors_of(back, x, N, COLS, NULL).plain;
        CHECK(t, e <= cases[k].limit, "%s: %g", quant_format(cases[k].type)->name, e);
        CHECK(t, e >= cases[k].limit / 2, "%s: %g, the limit is too wide", quant_format(cases[k].type)->name, e);
    }
}

/* Squared error of rounding runs to the nearest of evenly spaced levels: from the extreme at -top, or, affine, from
 * min to max, 0 included; scales unrounded. */
static double rounding_error(const float *x, int64_t n, int run, int top, bool affine)
{
    double error = 0, size = 0;
    for (int64_t at = 0; at < n; at += run) {
        double min = 0, max = 0, extreme = 0;
        for (int i = 0; i < run; i++) {
            double a = x[at + i];
            min = fmin(min, a);
            max = fmax(max, a);
            extreme = fabs(a) > fabs(extreme) ? a : extreme;
        }
        double base = affine ? min : 0, scale = affine ? (max - min) / top : extreme / -top;
        for (int i = 0; i < run; i++) {
            double q = scale != 0 ? rint((x[at + i] - base) / scale) : 0;
            q = fmin(fmax(q, affine ? 0 : -top), affine ? top : top - 1);
            double e = base + q * scale - x[at + i];
            error += e * e;
            size += (double)x[at + i] * x[at + i];
        }
    }
    return error / size;
}

TEST(quantise_is_no_worse_than_plain_rounding)
{
    static const struct {
        uint32_t type;
        int run, top;
        bool affine;
        double limit[QUANTISE_N_KINDS];    /* of rounding's error: searches gain, coded scales lose a little */
    } cases[] = {
        { QUANT_Q4_0, 32, 8, false, { 1.01, 1.01, 1.01 } },
        { QUANT_Q5_0, 32, 16, false, { 1.01, 1.01, 1.01 } },
        { QUANT_Q8_0, 32, 127, false, { 1.01, 1.01, 1.01 } },
        { QUANT_Q4_1, 32, 15, true, { 1.01, 1.01, 1.01 } },
        { QUANT_Q5_1, 32, 31, true, { 1.01, 1.01, 1.01 } },
        { QUANT_Q3_K, 16, 4, false, { 0.98, 1.02, 1.07 } },
        { QUANT_Q6_K, 16, 32, false, { 0.95, 1.02, 1.05 } },
        { QUANT_Q2_K, 16, 3, true, { 0.86, 1.04, 0.98 } },
        { QUANT_Q4_K, 32, 15, true, { 0.88, 0.75, 0.88 } },
        { QUANT_Q5_K, 32, 31, true, { 0.96, 0.88, 1.03 } },
        { QUANT_IQ4_NL, 32, 8, false, { 0.86, 0.76, 0.82 } },
        { QUANT_IQ4_XS, 32, 8, false, { 0.87, 0.77, 0.83 } }
    };
    static float x[N], back[N];
    for (int kind = 0; kind < QUANTISE_N_KINDS; kind++) {
        quantise_weights(x, N, (enum quantise_kind)kind, t->seed);
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            double rounded = rounding_error(x, N, cases[k].run, cases[k].top, cases[k].affine);
            round_trip(back, x, COLS, ROWS, NULL, cases[k].type);
            double e = errors_of(back, x, N, COLS, NULL).plain;
            CHECK(t, e <= cases[k].limit[kind] * rounded, "%s, %s: %g, rounding %g", quant_format(cases[k].type)->name,
                  quantise_kind_names[kind], e, rounded);
        }
    }
}

TEST(quantise_importance_moves_the_error_to_where_it_matters_less)
{
    static float x[N], back[N], importance[COLS], only[COLS];
    quantise_weights(x, N, QUANTISE_NORMAL, t->seed);
    for (int c = 0; c < COLS; c++) {
        only[c] = c % 4 == 1;
        importance[c] = only[c] ? 100 : 1;
    }
    for (int k = 0; k < N_TYPES; k++) {
        round_trip(back, x, COLS, ROWS, NULL, types[k]);
        double without = errors_of(back, x, N, COLS, only).weighed;
        round_trip(back, x, COLS, ROWS, importance, types[k]);
        double with = errors_of(back, x, N, COLS, only).weighed;
        if (ignores_importance(types[k]))
            CHECK(t, with == without, "%s", quant_format(types[k])->name);
        else
            CHECK(t, with < 0.9 * without, "%s: %g, without importance %g", quant_format(types[k])->name, with,
                  without);
    }
}

/* Weights on the grid stay, byte for byte. */
TEST(quantise_again_changes_nothing)
{
    static const uint32_t on_grid[] = { QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0, QUANT_Q4_0, QUANT_Q5_0,
                                        QUANT_MXFP4 };
    static float x[N], back[N];
    static char first[4 * N], second[4 * N];
    for (int kind = 0; kind < QUANTISE_N_KINDS; kind++)
        for (size_t k = 0; k < sizeof on_grid / sizeof *on_grid; k++) {
            const struct quant_format *f = quant_format(on_grid[k]);
            quantise_weights(x, N, (enum quantise_kind)kind, t->seed);
            f->from_f32(first, x, N, NULL);
            f->to_f32(back, first, N);
            f->from_f32(second, back, N, NULL);
            CHECK_BYTES(t, second, first, quant_row_bytes(on_grid[k], N), "%s, %s", f->name, quantise_kind_names[kind]);
        }
}

/* ---- weights far from ordinary --------------------------------------------------------------------------------- */

TEST(quantise_zeros_are_zeros)
{
    static float x[512], back[512], importance[512];
    for (int i = 0; i < 512; i++)
        x[i] = i % 3 ? 0.0f : -0.0f;
    quantise_importance(importance, 512, t->seed);
    for (int k = 0; k < N_TYPES; k++)
        for (int weighed = 0; weighed < 2; weighed++) {
            round_trip(back, x, 512, 1, weighed ? importance : NULL, types[k]);
            for (int i = 0; i < 512; i++)
                CHECK(t, back[i] == 0, "%s: weight %d is %g", quant_format(types[k])->name, i, back[i]);
        }
}

/* All weights alike: a format's best case, but for those whose levels lie at fixed places. */
TEST(quantise_equal_weights_are_kept)
{
    static const float values[] = { 0.02f, -0.02f, 1.0f, -3.5f, 1000.0f };
    static float x[512], back[512], importance[512];
    quantise_importance(importance, 512, t->seed);
    for (size_t v = 0; v < sizeof values / sizeof *values; v++)
        for (int k = 0; k < N_TYPES; k++)
            for (int weighed = 0; weighed < 2; weighed++) {
                for (int i = 0; i < 512; i++)
                    x[i] = values[v];
                round_trip(back, x, 512, 1, weighed ? importance : NULL, types[k]);
                double limit = types[k] == QUANT_MXFP4 ? 0.26 : 0.02;
                for (int i = 0; i < 512; i++)
                    CHECK(t, fabsf(back[i] - x[i]) <= limit * fabsf(x[i]), "%s, importance %d: %g becomes %g",
                          quant_format(types[k])->name, weighed, x[i], back[i]);
            }
}

/* An outlier costs its own run, and is kept itself. */
TEST(quantise_an_outlier_is_kept)
{
    static float x[1024], back[1024];
    for (int k = 0; k < N_TYPES; k++)
        for (int sign = -1; sign <= 1; sign += 2) {
            quantise_weights(x, 1024, QUANTISE_NORMAL, t->seed);
            x[300] = (float)sign * 40.0f;
            round_trip(back, x, 1024, 1, NULL, types[k]);
            double limit = types[k] == QUANT_MXFP4 ? 0.26 : 0.13;
            CHECK(t, fabs(back[300] / x[300] - 1) < limit, "%s: %g becomes %g", quant_format(types[k])->name, x[300],
                  back[300]);
            double rest = errors_of(back + 512, x + 512, 512, 512, NULL).plain;    /* other blocks */
            CHECK(t, rest < 0.12, "%s: error %g elsewhere", quant_format(types[k])->name, rest);
        }
}

/* One of the sorts of numbers that a file may hold without being broken. */
enum { STRANGE = 9 };

static float strange(struct test *t, int kind, int i)
{
    float a = test_normal(t);
    switch (kind) {
    case 0: return i == 77 ? FLT_MAX : 0;                                  /* one huge */
    case 1: return i % 256 == 5 ? -FLT_MAX : a;
    case 2: return test_below(t, 2) ? FLT_MAX : -FLT_MAX;
    case 3: return a * 1e30f;
    case 4: return a * 70000.0f;                                           /* scales about where halves end */
    case 5: return a * 1e-40f;                                             /* subnormal */
    case 6: return a * 1e-7f;                                              /* scales below the halves */
    case 7: return ldexpf(a, (int)test_below(t, 240) - 120);               /* of all sizes at once */
    default: return i % 64 < 32 ? a * 1e20f : a * 1e-20f;
    }
}

static float strange_importance(struct test *t, int kind, int i)
{
    switch (kind) {
    case 0: return 0;
    case 1: return i % 256 < 64 ? 0 : 1;                                   /* none in some runs */
    case 2: return 3e38f;
    case 3: return i % 32 == 3 ? 3e38f : 1e-38f;
    case 4: return ldexpf(1.0f, -(int)test_below(t, 149));
    default: return i % 5 ? 0 : 1e-45f;
    }
}
enum { STRANGE_IMPORTANCE = 6 };

TEST(quantise_strange_weights_stay_finite)
{
    static float x[1024], back[1024], importance[1024];
    for (int kind = 0; kind <= STRANGE; kind++)
        for (int w = -1; w < STRANGE_IMPORTANCE; w++) {
            for (int i = 0; i < 1024; i++) {
                x[i] = kind < STRANGE ? strange(t, kind, i) : test_normal(t);
                importance[i] = strange_importance(t, w, i);
                x[i] = isfinite(x[i]) ? x[i] : 1;
            }
            for (int k = 0; k < N_TYPES; k++) {
                round_trip(back, x, 1024, 1, w < 0 ? NULL : importance, types[k]);
                CHECK(t, all_finite(back, 1024), "%s, weights %d, importance %d", quant_format(types[k])->name, kind,
                      w);
            }
        }
}

/* What lies beyond a format becomes the largest it has, not zero and not the other sign. */
TEST(quantise_huge_weights_become_the_largest_there_are)
{
    static float x[512], back[512];
    for (int k = 0; k < N_TYPES; k++)
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int i = 0; i < 512; i++)
                x[i] = (float)sign * (i < 256 ? 1e30f : FLT_MAX);
            round_trip(back, x, 512, 1, NULL, types[k]);
            for (int i = 0; i < 512; i++)
                CHECK(t, back[i] * (float)sign >= 65000.0f, "%s: %g becomes %g", quant_format(types[k])->name, x[i],
                      back[i]);
        }
}

/* Without any importance left in a run or a block, the weights there are kept as if there were none given. */
TEST(quantise_keeps_weights_that_count_nothing)
{
    static float x[N], back[N], importance[COLS];
    quantise_weights(x, N, QUANTISE_NORMAL, t->seed);
    for (int spread = 0; spread < 2; spread++) {
        for (int c = 0; c < COLS; c++)
            importance[c] = spread ? c % 256 >= 64 : c >= 512;
        for (int k = 0; k < N_TYPES; k++) {
            round_trip(back, x, COLS, ROWS, importance, types[k]);
            double e = 0, size = 0;
            for (int i = 0; i < N; i++)
                if (importance[i % COLS] == 0) {
                    e += ((double)back[i] - x[i]) * ((double)back[i] - x[i]);
                    size += (double)x[i] * x[i];
                }
            CHECK(t, e / size < 0.15, "%s, %s: error %g", quant_format(types[k])->name, spread ? "runs" : "blocks",
                  e / size);
        }
    }
}

/* What a search finds scales with the weights, to the bit: nothing in it leaves f32's range, though it multiplies
 * eight weights with each other. */
TEST(quantise_searches_do_not_depend_on_the_size_of_weights)
{
    enum { RUNS = 16, RUN = 16 };
    static struct quant_fit fit, scaled_fit;
    const struct quant_kern *kern = quant_kern();
    const quant_search_fn searches[] = { kern->affine, kern->symmetric, kern->greedy, kern->codebook };
    struct quant_rule rule = { .run = RUN, .top = 4, .first = -0.9f, .step = 0.05f, .n_tries = 37 };
    float x[RUNS * RUN], scaled[RUNS * RUN], importance[RUNS * RUN], scaled_importance[RUNS * RUN];
    quantise_weights(x, RUNS * RUN, QUANTISE_HEAVY, t->seed);
    quantise_importance(importance, RUNS * RUN, t->seed);
    for (size_t k = 0; k < sizeof searches / sizeof *searches; k++)
        for (int size = -24; size <= 32; size += 4)
            for (int weigh = QUANT_WEIGH_ABS; weigh <= QUANT_WEIGH_GIVEN; weigh++) {
                if (weigh == QUANT_WEIGH_IMPORTANCE)
                    continue;
                struct quant_weights w = { (enum quant_weigh)weigh, importance, NULL }, scaled_w = w;
                for (int i = 0; i < RUNS * RUN; i++) {
                    scaled[i] = ldexpf(x[i], size);
                    scaled_importance[i] = ldexpf(importance[i], size < -9 ? 36 : -3 * size);
                }
                scaled_w.importance = scaled_importance;
                searches[k](&fit, x, RUNS, &w, &rule);
                searches[k](&scaled_fit, scaled, RUNS, &scaled_w, &rule);
                for (int r = 0; r < RUNS; r++)
                    CHECK(t, scaled_fit.scale[r] == ldexpf(fit.scale[r], size) &&
                          scaled_fit.min[r] == ldexpf(fit.min[r], size), "search %zu, weigh %d, 2^%d, run %d: %g %g",
                          k, weigh, size, r, ldexpf(scaled_fit.scale[r], -size), fit.scale[r]);
            }
}
