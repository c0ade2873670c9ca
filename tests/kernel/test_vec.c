/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_vec.h"
#include "engine/quant/f16.h"

/* Every tier gives the bits of the scalar one, and the scalar one is right. */

enum { MAX_N = 700, GUARD = 16 };

struct tier {
    struct cpu_vec v;
    bool present;
};

static int n_tiers(void)
{
    return 2;
}

static struct tier tier_at(int i)
{
    static const uint32_t features[] = { CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
    struct tier tier = { .present = (cpuid_features() & features[i]) == features[i] };
    cpu_vec_init(&tier.v, tier.present ? features[i] : 0);
    return tier;
}

static struct cpu_vec scalar(void)
{
    struct cpu_vec v;
    cpu_vec_init(&v, 0);
    return v;
}

static const float edges[] = {
    0.0f, -0.0f, 1.0f, -1.0f, 0.624999f, 0.625f, -0.625001f, 1e-30f, -1e-30f, 1e-40f, -1e-45f, 87.2f, 87.4f,
    -87.2f, -87.31f, -87.4f, 88.7f, 88.72283f, 88.73f, -88.73f, -103.9f, 1e10f, -1e10f, 3e38f, -3e38f,
    65504.0f, 65519.9f, 65520.0f, -65536.0f, 6.1e-5f, 6.0e-5f, 5.97e-8f, 2.9e-8f, 3.0e-8f, INFINITY,
    -INFINITY, 10.0f, -10.0f, 0.34657f, -0.34658f, 1.00048828125f, 1.00146484375f
};
enum { N_EDGES = sizeof edges / sizeof *edges };

static void fill(struct test *t, float *x, int n, bool with_edges)
{
    for (int i = 0; i < n; i++) {
        x[i] = test_normal(t) * (test_below(t, 8) == 0 ? 30.0f : 2.0f);
        if (with_edges && test_below(t, 3) == 0)
            x[i] = edges[test_below(t, N_EDGES)];
    }
}

/* Same bits, or both NaN (whose payload nobody promises). */
static bool same(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(a[i] != a[i] && b[i] != b[i]))
            return false;
    return true;
}

enum op { ADD, SCALE, SOFTCAP, SILU, GELU, NORM, NORM_PLAIN, N_OPS };

static void apply(const struct cpu_vec *v, enum op op, float *y, const float *x, int n)
{
    switch (op) {
    case ADD: v->add(y, x, n); break;
    case SCALE: v->scale(y, 0.7f, n); break;
    case SOFTCAP: v->softcap(y, 30.0f, n); break;
    case SILU: v->silu_mul(y, x, n); break;
    case GELU: v->gelu_mul(y, x, n); break;
    case NORM: v->rmsnorm(y, y, x, n, 1e-6f); break;
    case NORM_PLAIN: v->rmsnorm(y, x, NULL, n, 1e-5f); break;
    default: break;
    }
}

TEST(vec_every_tier_equals_scalar)
{
    static const char *const names[N_OPS] = { "add", "scale", "softcap", "silu", "gelu", "norm", "norm plain" };
    struct cpu_vec s = scalar();
    for (int i = 0; i < n_tiers(); i++) {
        struct tier tier = tier_at(i);
        if (!tier.present)
            continue;
        for (int n = 1; n <= MAX_N; n += n < 70 ? 1 : 61)
            for (int op = 0; op < N_OPS; op++) {
                float got[MAX_N + GUARD], want[MAX_N + GUARD], x[MAX_N + GUARD];
                bool with_edges = op != NORM && op != NORM_PLAIN;
                fill(t, want, MAX_N + GUARD, with_edges);
                fill(t, x, MAX_N + GUARD, with_edges);
                memcpy(got, want, sizeof got);
                apply(&s, (enum op)op, want + 1, x + 1, n);    /* + 1: no alignment */
                apply(&tier.v, (enum op)op, got + 1, x + 1, n);
                CHECK(t, same(got, want, MAX_N + GUARD), "%s %s n=%d", tier.v.name, names[op], n);
            }
    }
}

TEST(vec_rope_every_tier_equals_scalar_and_a_rotation)
{
    static const int shapes[][3] = {    /* heads, d_head, n_rot */
        { 3, 64, 64 }, { 2, 128, 128 }, { 1, 80, 80 }, { 5, 24, 24 }, { 2, 96, 48 }, { 3, 48, 20 },
        { 1, 10, 6 }, { 4, 8, 2 }, { 1, 512, 512 }, { 2, 66, 66 }
    };
    struct cpu_vec s = scalar();
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int halves = 0; halves < 2; halves++) {
            int heads = shapes[k][0], d = shapes[k][1], rot = shapes[k][2], half = rot / 2;
            float x[600 + GUARD], want[600 + GUARD], turn[512];
            fill(t, x, 600 + GUARD, false);
            for (int i = 0; i < half; i++) {
                float angle = test_uniform(t) * 3.0f;
                turn[2 * i] = cosf(angle);
                turn[2 * i + 1] = sinf(angle);
            }
            memcpy(want, x, sizeof want);
            s.rope(want, turn, heads, d, rot, halves);
            for (int h = 0; h < heads; h++)
                for (int i = 0; i < half; i++) {
                    int ia = h * d + (halves ? i : 2 * i), ib = h * d + (halves ? i + half : 2 * i + 1);
                    double c = turn[2 * i], si = turn[2 * i + 1];
                    CHECK(t, fabs(want[ia] - (x[ia] * c - x[ib] * si)) < 1e-4, "head %d pair %d", h, i);
                    CHECK(t, fabs(want[ib] - (x[ia] * si + x[ib] * c)) < 1e-4, "head %d pair %d", h, i);
                }
            CHECK(t, memcmp(want + heads * d, x + heads * d, GUARD * sizeof *x) == 0, "past the end");
            for (int i = 0; i < n_tiers(); i++) {
                struct tier tier = tier_at(i);
                float got[600 + GUARD];
                memcpy(got, x, sizeof got);
                tier.v.rope(got, turn, heads, d, rot, halves);
                CHECK(t, same(got, want, 600 + GUARD), "%s heads %d d %d rot %d halves %d", tier.v.name,
                      heads, d, rot, halves);
            }
        }
}

TEST(vec_f16_stores_every_tier_equals_scalar)
{
    for (int i = 0; i < n_tiers(); i++) {
        struct tier tier = tier_at(i);
        for (int n = 1; n < 150; n++) {
            float x[160];
            uint16_t row[160], column[150 * CPU_PAGE];
            fill(t, x, 160, true);
            if (n > 3)
                x[2] = NAN;
            memset(row, 0xAB, sizeof row);
            memset(column, 0xAB, sizeof column);
            tier.v.store_f16(row, x, n);
            tier.v.store_f16_column(column, x, n);
            for (int c = 0; c < n; c++) {
                CHECK_INT(t, row[c], f16_from_f32(x[c]), "%s %g", tier.v.name, (double)x[c]);
                CHECK_INT(t, column[c * CPU_PAGE], f16_from_f32(x[c]), "%s %g", tier.v.name, (double)x[c]);
                CHECK_INT(t, column[c * CPU_PAGE + 1], 0xABAB, "%s", tier.v.name);
            }
            CHECK_INT(t, row[n], 0xABAB, "%s n=%d", tier.v.name, n);
        }
    }
}

/* Distance of got from the true value, in units of the last place of a float of that size. */
static double ulps(float got, double want)
{
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1.0, exponent - 24);
}

TEST(vec_exp_is_within_2_ulp)
{
    double worst = 0;
    float at = 0;
    for (float x = -87.3f; x <= 88.72283f; x += fabsf(x) * 1.1e-5f + 1e-7f) {
        double u = ulps(cpu_exp(x), exp((double)x));
        if (u > worst) {
            worst = u;
            at = x;
        }
    }
    printf("exp: at most %.3f ulp, at %.9g\n", worst, (double)at);
    CHECK(t, worst <= 2.0);
    CHECK(t, cpu_exp(0.0f) == 1.0f && cpu_exp(-0.0f) == 1.0f);
    CHECK(t, cpu_exp(-INFINITY) == 0.0f && cpu_exp(-88.0f) == 0.0f && cpu_exp(-1e30f) == 0.0f);
    CHECK(t, cpu_exp(INFINITY) == INFINITY && cpu_exp(88.8f) == INFINITY);
    CHECK(t, isfinite(cpu_exp(88.72283f)) && cpu_exp(-87.3f) >= 0x1p-126f);
    CHECK(t, isnan(cpu_exp(NAN)) && isnan(cpu_exp(f32_from_bits(0x7FC00001))));
}

TEST(vec_tanh_is_within_3_ulp)
{
    double worst = 0;
    float at = 0;
    for (float x = 1e-30f; x < 12.0f; x += x * 1.3e-5f) {
        double u = ulps(cpu_tanh(x), tanh((double)x));
        if (u > worst) {
            worst = u;
            at = x;
        }
        CHECK(t, cpu_tanh(-x) == -cpu_tanh(x));
    }
    printf("tanh: at most %.3f ulp, at %.9g\n", worst, (double)at);
    CHECK(t, worst <= 3.0);
    CHECK(t, cpu_tanh(INFINITY) == 1.0f && cpu_tanh(-50.0f) == -1.0f && isnan(cpu_tanh(NAN)));
    CHECK(t, signbit(cpu_tanh(-0.0f)) && cpu_tanh(1e-40f) == 1e-40f);
}

/* The lanes of exp and tanh, seen through silu (u = 1) and softcap (cap = 1): a dense sweep, to the bit. */
TEST(vec_exp_and_tanh_lanes_sweep)
{
    struct cpu_vec s = scalar();
    enum { N = 4096 };
    static float want[N], got[N], ones[N];
    for (int i = 0; i < N; i++)
        ones[i] = 1.0f;
    for (int block = 0; block < 64; block++) {
        float x[N];
        for (int i = 0; i < N; i++) {
            uint32_t bits = (uint32_t)test_random(t);
            x[i] = block & 1 ? f32_from_bits(bits) : test_uniform(t) * 100.0f;
        }
        for (int cap = 0; cap < 2; cap++)
            for (int i = 0; i < n_tiers(); i++) {
                struct tier tier = tier_at(i);
                memcpy(want, x, sizeof want);
                memcpy(got, x, sizeof got);
                if (cap) {
                    s.softcap(want, 1.0f, N);
                    tier.v.softcap(got, 1.0f, N);
                } else {
                    s.silu_mul(want, ones, N);
                    tier.v.silu_mul(got, ones, N);
                }
                CHECK(t, same(got, want, N), "%s block %d", tier.v.name, block);
            }
    }
}

TEST(vec_scalar_equals_double_references)
{
    struct cpu_vec s = scalar();
    enum { N = 577 };
    float x[N], u[N], got[N], want[N];
    for (int round = 0; round < 8; round++) {
        fill(t, x, N, false);
        fill(t, u, N, false);
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += (double)x[i] * x[i];
        for (int i = 0; i < N; i++)
            want[i] = (float)(x[i] / sqrt(sum / N + 1e-6) * u[i]);
        s.rmsnorm(got, x, u, N, 1e-6f);
        CHECK_NMSE(t, got, want, N, 1e-13, "rmsnorm");

        for (int i = 0; i < N; i++)
            want[i] = (float)(x[i] / (1 + exp(-(double)x[i])) * u[i]);
        memcpy(got, x, sizeof got);
        s.silu_mul(got, u, N);
        CHECK_NMSE(t, got, want, N, 1e-13, "silu");

        for (int i = 0; i < N; i++) {
            double a = x[i], z = sqrt(2 / M_PI) * a * (1 + 0.044715 * a * a);
            want[i] = (float)(0.5 * a * (1 + tanh(z)) * u[i]);
        }
        memcpy(got, x, sizeof got);
        s.gelu_mul(got, u, N);
        CHECK_NMSE(t, got, want, N, 1e-12, "gelu");

        for (int i = 0; i < N; i++)
            want[i] = (float)(20 * tanh((double)x[i] / 20));
        memcpy(got, x, sizeof got);
        s.softcap(got, 20.0f, N);
        CHECK_NMSE(t, got, want, N, 1e-13, "softcap");

        double plain = 0;
        for (int i = 0; i < N; i++)
            plain += x[i];
        CHECK(t, fabs(cpu_lane_sum(x, N) - plain) < 1e-2);
    }
}

TEST(vec_lane_sum_follows_its_order)
{
    /* 2^24 + 1 loses the one; where the ones meet first, they count. */
    float x[32] = { 0 };
    x[0] = 0x1p24f;
    x[1] = x[16] = 1.0f;    /* lane 0 gets 2^24 + 1 = 2^24; lane 1 gets 1, added last: lost again */
    CHECK(t, cpu_lane_sum(x, 32) == 0x1p24f);
    x[16] = 0;
    x[9] = 1.0f;            /* lanes 1 and 9 meet at the first fold: 2 */
    CHECK(t, cpu_lane_sum(x, 32) == 0x1p24f + 2.0f);
    CHECK(t, cpu_lane_sum(x, 0) == 0.0f);
}
