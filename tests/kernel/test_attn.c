/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_vec.h"
#include "engine/quant/f16.h"

/* Attention over pages: every tier gives the bits of the scalar one, and the scalar one is right. */

enum { MAX_Q = 64, MAX_D = CPU_ATTN_MAX_D };

/* A page and queries on the heap, so that a read past the end is seen by the address sanitizer. */
struct page_case {
    int n_q, d_k, d_v;
    float cap;
    uint16_t *keys, *values;         /* f16 */
    float *keys32, *values32;        /* the same numbers */
    float *q, *o;                    /* [n_q][d_k], [n_q][d_v]: the start */
    float m[MAX_Q], l[MAX_Q];
    int key0[MAX_Q], key1[MAX_Q];
};

struct result {
    float *o, m[MAX_Q], l[MAX_Q];
};

static void *need(size_t n_bytes)
{
    void *p = malloc(n_bytes ? n_bytes : 1);
    if (!p)
        abort();
    return p;
}

static void case_init(struct test *t, struct page_case *c, int n_q, int d_k, int d_v, float cap, float size)
{
    *c = (struct page_case){ .n_q = n_q, .d_k = d_k, .d_v = d_v, .cap = cap };
    int n_k = d_k * CPU_PAGE, n_v = d_v * CPU_PAGE;
    c->keys = need((size_t)n_k * 2);
    c->values = need((size_t)n_v * 2);
    c->keys32 = need((size_t)n_k * 4);
    c->values32 = need((size_t)n_v * 4);
    c->q = need((size_t)(n_q * d_k) * 4);
    c->o = need((size_t)(n_q * d_v) * 4);
    for (int i = 0; i < n_k; i++)
        c->keys32[i] = f16_to_f32(c->keys[i] = f16_from_f32(test_normal(t)));
    for (int i = 0; i < n_v; i++)
        c->values32[i] = f16_to_f32(c->values[i] = f16_from_f32(test_normal(t)));
    for (int i = 0; i < n_q * d_k; i++)
        c->q[i] = test_normal(t) * size / sqrtf((float)d_k);
    for (int i = 0; i < n_q * d_v; i++)
        c->o[i] = 0;
    for (int i = 0; i < n_q; i++) {
        c->m[i] = -INFINITY;
        c->l[i] = 0;
        c->key0[i] = 0;
        c->key1[i] = CPU_PAGE;
    }
}

static void case_finish(struct page_case *c)
{
    free(c->keys);
    free(c->values);
    free(c->keys32);
    free(c->values32);
    free(c->q);
    free(c->o);
}

/* Makes the state look like one that has seen other pages. */
static void case_continue(struct test *t, struct page_case *c)
{
    for (int i = 0; i < c->n_q; i++) {
        c->m[i] = test_normal(t) * 2;
        c->l[i] = 1 + 10 * fabsf(test_normal(t));
    }
    for (int i = 0; i < c->n_q * c->d_v; i++)
        c->o[i] = test_normal(t) * 10;
}

static void ranges_causal(struct page_case *c, int first)
{
    for (int i = 0; i < c->n_q; i++)
        c->key1[i] = first + i < CPU_PAGE ? first + i : CPU_PAGE;
}

static void ranges_random(struct test *t, struct page_case *c)
{
    for (int i = 0; i < c->n_q; i++) {
        c->key0[i] = (int)test_below(t, CPU_PAGE);
        c->key1[i] = c->key0[i] + 1 + (int)test_below(t, (uint32_t)(CPU_PAGE - c->key0[i]));
    }
}

static struct result run(const struct cpu_vec *v, const struct page_case *c, bool half)
{
    struct result r = { .o = need((size_t)(c->n_q * c->d_v) * 4) };
    struct cpu_attn a[MAX_Q];
    memcpy(r.o, c->o, (size_t)(c->n_q * c->d_v) * 4);
    for (int i = 0; i < c->n_q; i++)
        a[i] = (struct cpu_attn){ .q = c->q + i * c->d_k, .o = r.o + i * c->d_v, .m = c->m[i], .l = c->l[i],
                                  .key0 = c->key0[i], .key1 = c->key1[i] };
    if (half)
        v->attn_page_f16(a, c->n_q, c->keys, c->values, NULL, c->d_k, c->d_v, c->cap);
    else
        v->attn_page_f32(a, c->n_q, c->keys32, c->values32, NULL, c->d_k, c->d_v, c->cap);
    for (int i = 0; i < c->n_q; i++) {
        r.m[i] = a[i].m;
        r.l[i] = a[i].l;
    }
    return r;
}

static bool same(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(a[i] != a[i] && b[i] != b[i]))
            return false;
    return true;
}

static bool tier_init(struct cpu_vec *v, int tier)
{
    static const uint32_t features[] = { 0, CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
    if ((cpuid_features() & features[tier]) != features[tier])
        return false;
    cpu_vec_init(v, features[tier]);
    return true;
}

/* Scalar f16, scalar f32 and both forms of every tier: one result. */
static void check_tiers(struct test *t, const struct page_case *c, const char *what)
{
    struct cpu_vec v;
    tier_init(&v, 0);
    struct result want = run(&v, c, true);
    for (int tier = 0; tier < 3; tier++)
        for (int half = 0; half < 2; half++) {
            if (!tier_init(&v, tier))
                continue;
            struct result got = run(&v, c, half);
            CHECK(t, same(got.m, want.m, c->n_q), "%s: m, %s half %d n_q %d d %d %d", what, v.name, half,
                  c->n_q, c->d_k, c->d_v);
            CHECK(t, same(got.l, want.l, c->n_q), "%s: l, %s half %d n_q %d d %d %d", what, v.name, half,
                  c->n_q, c->d_k, c->d_v);
            CHECK(t, same(got.o, want.o, c->n_q * c->d_v), "%s: o, %s half %d n_q %d d %d %d", what, v.name,
                  half, c->n_q, c->d_k, c->d_v);
            free(got.o);
        }
    free(want.o);
}

static const int sizes[][2] = {    /* d_k, d_v */
    { 8, 8 }, { 24, 24 }, { 48, 48 }, { 64, 64 }, { 80, 80 }, { 96, 96 }, { 128, 128 }, { 256, 256 },
    { 512, 512 }, { 1, 1 }, { 17, 9 }, { 192, 128 }, { 72, 100 }, { 65, 63 }, { 33, 511 }
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

TEST(attn_every_tier_equals_scalar)
{
    for (int k = 0; k < N_SIZES; k++)
        for (int n_q = 1; n_q <= 9; n_q++) {
            struct page_case c;
            case_init(t, &c, n_q, sizes[k][0], sizes[k][1], n_q % 3 == 2 ? 20.0f : 0.0f, 2.0f);
            check_tiers(t, &c, "whole page");
            ranges_causal(&c, 1 + (int)test_below(t, CPU_PAGE));
            check_tiers(t, &c, "causal");
            case_continue(t, &c);
            ranges_random(t, &c);
            check_tiers(t, &c, "random ranges");
            case_finish(&c);
        }
}

TEST(attn_sixty_four_queries_equal_scalar)
{
    for (int first = 1; first <= CPU_PAGE; first += 21) {
        struct page_case c;
        case_init(t, &c, MAX_Q, 64, 64, 0, 3.0f);
        ranges_causal(&c, first);
        check_tiers(t, &c, "prefill");
        case_finish(&c);
    }
}

TEST(attn_extreme_inputs_equal_scalar)
{
    static const float huge[] = { 1e3f, 1e6f, 1e30f, 3e38f, 1e-30f, 1e-42f, 0.0f };
    for (size_t h = 0; h < sizeof huge / sizeof *huge; h++)
        for (int cap = 0; cap < 2; cap++) {
            struct page_case c;
            case_init(t, &c, 6, 40, 40, cap ? 50.0f : 0.0f, huge[h]);
            if (h & 1)
                case_continue(t, &c);
            check_tiers(t, &c, "size of scores");
            for (int i = 0; i < 40 * CPU_PAGE; i++)    /* subnormal halves, both zeros */
                c.values32[i] = f16_to_f32(c.values[i] = (uint16_t)(i % 5 | (i % 3 ? 0 : 0x8000)));
            for (int i = 0; i < c.n_q * c.d_v; i++)
                c.o[i] = i & 1 ? -0.0f : 0.0f;
            ranges_random(t, &c);
            check_tiers(t, &c, "signed zeros");
            case_finish(&c);
        }
}

TEST(attn_scores_of_minus_infinity_equal_scalar)
{
    struct page_case c;
    case_init(t, &c, 5, 16, 33, 0, 1.0f);
    for (int k = 0; k < CPU_PAGE; k += 2)    /* every second key is masked by its first component */
        c.keys32[k] = f16_to_f32(c.keys[k] = 0xFC00);
    for (int i = 0; i < c.n_q; i++)
        c.q[i * 16] = 1.0f;
    check_tiers(t, &c, "every second key");
    for (int i = 0; i < c.n_q; i++) {    /* key 10 alone, masked: no weight at all for queries 0, 2, 4 */
        c.key0[i] = 10;
        c.key1[i] = i % 2 ? 40 : 11;
    }
    check_tiers(t, &c, "all masked");
    struct cpu_vec v;
    tier_init(&v, 0);
    struct result r = run(&v, &c, true);
    CHECK(t, r.m[0] == -INFINITY && r.l[0] == 0 && r.o[0] == 0);
    CHECK(t, isfinite(r.m[1]) && r.l[1] > 0);
    free(r.o);
    case_continue(t, &c);
    check_tiers(t, &c, "all masked, later");
    case_finish(&c);
}

TEST(attn_what_lies_outside_the_range_counts_for_nothing)
{
    static const uint16_t junk[] = { 0x7E00, 0x7C00, 0xFC00, 0xFFFF, 0x7BFF };
    for (int n_q = 1; n_q <= 6; n_q++)
        for (int tier = 0; tier < 3; tier++)
            for (int half = 0; half < 2; half++) {
                struct cpu_vec v;
                if (!tier_init(&v, tier))
                    continue;
                struct page_case c;
                case_init(t, &c, n_q, 24, 40, 0, 2.0f);
                case_continue(t, &c);
                int low = 5, high = 50;
                for (int i = 0; i < n_q; i++) {
                    c.key0[i] = low + i;
                    c.key1[i] = high - 2 * i;
                }
                struct result want = run(&v, &c, half);
                for (int k = 0; k < CPU_PAGE; k++) {
                    if (k >= low && k < high)
                        continue;
                    uint16_t bad = junk[k % 5];
                    for (int i = 0; i < 24; i++)
                        c.keys32[i * CPU_PAGE + k] = f16_to_f32(c.keys[i * CPU_PAGE + k] = bad);
                    for (int i = 0; i < 40; i++)
                        c.values32[k * 40 + i] = f16_to_f32(c.values[k * 40 + i] = bad);
                }
                struct result got = run(&v, &c, half);
                CHECK_BYTES(t, got.o, want.o, (size_t)(n_q * 40) * 4, "%s", v.name);
                CHECK_BYTES(t, got.l, want.l, (size_t)n_q * 4, "%s", v.name);
                CHECK(t, isfinite(got.o[0]));
                free(got.o);
                free(want.o);
                case_finish(&c);
            }
}

/* Softmax in double over the same numbers. */
static void reference(const struct page_case *c, int i, float *out)
{
    double s[CPU_PAGE], m = -INFINITY, l = 0;
    for (int k = c->key0[i]; k < c->key1[i]; k++) {
        s[k] = 0;
        for (int j = 0; j < c->d_k; j++)
            s[k] += (double)c->q[i * c->d_k + j] * c->keys32[j * CPU_PAGE + k];
        if (c->cap != 0)
            s[k] = c->cap * tanh(s[k] / c->cap);
        m = fmax(m, s[k]);
    }
    for (int k = c->key0[i]; k < c->key1[i]; k++)
        l += exp(s[k] - m);
    for (int j = 0; j < c->d_v; j++) {
        double o = 0;
        for (int k = c->key0[i]; k < c->key1[i]; k++)
            o += exp(s[k] - m) / l * c->values32[k * c->d_v + j];
        out[j] = (float)o;
    }
}

TEST(attn_scalar_equals_softmax_in_double)
{
    struct cpu_vec v;
    tier_init(&v, 0);
    for (int k = 0; k < N_SIZES; k++) {
        struct page_case c;
        case_init(t, &c, 3, sizes[k][0], sizes[k][1], k % 2 ? 5.0f : 0.0f, 3.0f);
        ranges_random(t, &c);
        struct result r = run(&v, &c, true);
        for (int i = 0; i < 3; i++) {
            float want[MAX_D];
            reference(&c, i, want);
            for (int j = 0; j < c.d_v; j++)
                r.o[i * c.d_v + j] /= r.l[i];
            CHECK_NMSE(t, r.o + i * c.d_v, want, (size_t)c.d_v, 1e-11, "d_v %d", c.d_v);
        }
        free(r.o);
        case_finish(&c);
    }
}

TEST(attn_softmax_invariants)
{
    struct cpu_vec v;
    tier_init(&v, 0);
    struct page_case c;
    case_init(t, &c, 2, 32, 16, 0, 2.0f);
    for (int i = 0; i < 16 * CPU_PAGE; i++)    /* equal values come out as they are */
        c.values[i] = f16_from_f32(1.5f);
    struct result r = run(&v, &c, true);
    for (int j = 0; j < 32; j++)
        CHECK(t, fabsf(r.o[j] / r.l[j / 16] - 1.5f) < 1e-6f);
    free(r.o);
    memset(c.q, 0, 2 * 32 * sizeof *c.q);      /* equal scores: the mean */
    for (int k = 0; k < CPU_PAGE; k++)
        for (int j = 0; j < 16; j++)
            c.values[k * 16 + j] = f16_from_f32((float)k);
    c.key0[1] = 10;
    c.key1[1] = 13;
    r = run(&v, &c, true);
    CHECK(t, r.m[0] == 0 && r.l[0] == 64 && r.o[0] / 64 == 31.5f);
    CHECK(t, r.l[1] == 3 && r.o[16] / 3 == 11.0f);
    free(r.o);
    case_finish(&c);
}

TEST(attn_a_sink_joins_the_denominator_only)
{
    struct cpu_vec v;
    tier_init(&v, 0);
    struct page_case c;
    case_init(t, &c, 1, 16, 8, 0, 2.0f);
    struct result plain = run(&v, &c, true);
    float sink = 0.7f;
    c.m[0] = sink;
    c.l[0] = 1;
    struct result r = run(&v, &c, true);
    double share = plain.l[0] / (plain.l[0] + exp((double)sink - plain.m[0]));
    for (int j = 0; j < 8; j++)
        CHECK(t, fabs(r.o[j] / r.l[0] - share * plain.o[j] / plain.l[0]) < 1e-5);
    free(r.o);
    free(plain.o);
    case_finish(&c);
}

/* Four pages by one state, or by two states of two pages each that are joined. */
TEST(attn_joined_states_equal_one_state)
{
    enum { PAGES = 4, D = 48 };
    for (int tier = 0; tier < 3; tier++) {
        struct cpu_vec v;
        if (!tier_init(&v, tier))
            continue;
        struct page_case c[PAGES];
        for (int p = 0; p < PAGES; p++)
            case_init(t, &c[p], 1, D, D, 0, 4.0f);
        float o[3][D] = { 0 };
        struct cpu_attn one = { .q = c[0].q, .o = o[0], .m = -INFINITY, .key1 = CPU_PAGE };
        struct cpu_attn left = one, right = one;
        left.o = o[1];
        right.o = o[2];
        for (int p = 0; p < PAGES; p++) {
            v.attn_page_f16(&one, 1, c[p].keys, c[p].values, NULL, D, D, 0);
            v.attn_page_f16(p < PAGES / 2 ? &left : &right, 1, c[p].keys, c[p].values, NULL, D, D, 0);
        }
        float again[D];
        memcpy(again, left.o, sizeof again);
        struct cpu_attn second = left;
        second.o = again;
        cpu_attn_merge(&left, &right, D);
        cpu_attn_merge(&second, &right, D);
        CHECK(t, left.m == one.m && left.m == second.m && left.l == second.l);
        CHECK_BYTES(t, again, left.o, sizeof again, "deterministic");
        for (int j = 0; j < D; j++)
            CHECK(t, fabsf(left.o[j] / left.l - one.o[j] / one.l) < 1e-6f, "%s component %d", v.name, j);
        for (int p = 0; p < PAGES; p++)
            case_finish(&c[p]);
    }
}

TEST(attn_joining_every_tier_equals_scalar)
{
    static const float tops[] = { -INFINITY, -200, -3, 0, 0.5f, 90, 3e38f };
    enum { N_TOPS = sizeof tops / sizeof *tops, D = 83 };
    for (int ia = 0; ia < N_TOPS; ia++)
        for (int ib = 0; ib < N_TOPS; ib++)
            for (int d = 1; d <= D; d += 1 + d / 20) {
                float o[D + 1], start[D + 1], other[D + 1], want[D + 1];
                for (int j = 0; j <= D; j++) {
                    start[j] = ia == 0 ? 0 : test_normal(t) * 10;
                    other[j] = ib == 0 ? 0 : test_normal(t) * 10;
                }
                struct cpu_attn b = { .o = other, .m = tops[ib], .l = ib == 0 ? 0 : 7.3f };
                struct cpu_attn first = { .o = want, .m = tops[ia], .l = ia == 0 ? 0 : 2.9f }, a;
                memcpy(want, start, sizeof want);
                a = first;
                cpu_attn_merge(&first, &b, d);
                for (int tier = 0; tier < 3; tier++) {
                    struct cpu_vec v;
                    if (!tier_init(&v, tier))
                        continue;
                    struct cpu_attn got = a;
                    memcpy(o, start, sizeof o);
                    got.o = o;
                    v.attn_merge(&got, &b, d);
                    CHECK(t, got.m == first.m && got.l == first.l, "%s d %d", v.name, d);
                    CHECK_BYTES(t, o, want, sizeof o, "%s d %d m %g %g", v.name, d, (double)tops[ia],
                                (double)tops[ib]);
                }
            }
}

TEST(attn_joining_an_empty_state_changes_nothing)
{
    float o[2][4] = { { 1, -0.0f, 3, 4 }, { 0 } };
    struct cpu_attn a = { .o = o[0], .m = 2, .l = 5 }, none = { .o = o[1], .m = -INFINITY };
    cpu_attn_merge(&a, &none, 4);
    CHECK(t, a.m == 2 && a.l == 5 && o[0][0] == 1 && signbit(o[0][1]));
    cpu_attn_merge(&none, &a, 4);
    CHECK(t, none.m == 2 && none.l == 5 && o[1][0] == 1 && o[1][3] == 4);
    struct cpu_attn x = { .o = o[0], .m = -INFINITY }, y = { .o = o[1], .m = -INFINITY };
    cpu_attn_merge(&x, &y, 4);
    CHECK(t, x.m == -INFINITY && x.l == 0);
}
