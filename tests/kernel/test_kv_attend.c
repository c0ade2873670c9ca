/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_kv.h"
#include "engine/quant/f16.h"
#include "tests/kernel/kv_unpack.h"

/* Attention over sealed pages: the scalar kernels are right, by softmax in double over what the page stands
 * for, and every tier gives their bits. */

enum { MAX_Q = 64, MAX_KEYS = CPU_KV_PAGES * KV_PAGE, MAX_BLOCKS = KV_MAX_HEAD / KV_BLOCK };

static const int sizes[] = { 16, 48, 64, 80, 96, 128, 144, 256, 512 };
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* Queries, their states, and sealed pages; all on the heap at its exact size. */
struct page_case {
    struct cpu_kv_shape shape;
    int n_q, n_pages;
    float cap;
    void *keys[CPU_KV_PAGES], *values[CPU_KV_PAGES];
    float *q, *o;
    float m[MAX_Q], l[MAX_Q];
    int key0[MAX_Q], key1[MAX_Q];
};

/* What prepare() fills for one query. */
struct ready {
    struct cpu_kv_query query;
    float *rotated, *scale;
    int8_t *codes;
    int32_t *sum;
};

struct result {
    float *o, m[MAX_Q], l[MAX_Q];
};

/* 0: scalar; the others where this machine has them. */
static bool tier_init(struct cpu_kv_kern *k, int tier, bool exact)
{
    static const uint32_t features[] = { 0, CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
    if ((cpuid_features() & features[tier]) != features[tier])
        return false;
    cpu_kv_init(k, features[tier], exact);
    return true;
}

/* Keys with a constant part that only their mean can hold. */
static void page_init(struct test *t, struct page_case *c, int page)
{
    int d = c->shape.d;
    size_t n = (size_t)d * KV_PAGE;
    uint16_t *keys = kv_need(n * 2), *values = kv_need(n * 2);
    float *scratch = kv_need(cpu_kv_seal_floats(d) * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        keys[i] = f16_from_f32(test_normal(t) + (i / KV_PAGE % 7 == 3 ? 5 : 0));
        values[i] = f16_from_f32(test_normal(t));
    }
    c->keys[page] = kv_need(kv_sealed_key_bytes(c->shape.k, d));
    c->values[page] = kv_need(kv_sealed_value_bytes(c->shape.v, d));
    struct cpu_kv_kern kern;
    tier_init(&kern, 0, false);
    kern.seal(c->keys[page], c->values[page], keys, values, &c->shape, scratch);
    free(keys);
    free(values);
    free(scratch);
}

static void case_init(struct test *t, struct page_case *c, enum kv_type k, enum kv_type v, int d, int n_q,
                      int n_pages, float size)
{
    *c = (struct page_case){ .shape = { .k = k, .v = v, .d = d }, .n_q = n_q, .n_pages = n_pages };
    for (int i = 0; i < n_pages; i++)
        page_init(t, c, i);
    c->q = malloc((size_t)(n_q * d) * sizeof *c->q);
    c->o = calloc((size_t)(n_q * d), sizeof *c->o);
    if (!c->q || !c->o)
        abort();
    for (int i = 0; i < n_q * d; i++)
        c->q[i] = test_normal(t) * size / sqrtf((float)d);
    for (int i = 0; i < n_q; i++) {
        c->m[i] = -INFINITY;
        c->key1[i] = n_pages * KV_PAGE;
    }
}

static void case_finish(struct page_case *c)
{
    for (int i = 0; i < c->n_pages; i++) {
        free(c->keys[i]);
        free(c->values[i]);
    }
    free(c->q);
    free(c->o);
}

/* Makes the states look like ones that have seen other pages. */
static void case_continue(struct test *t, struct page_case *c)
{
    for (int i = 0; i < c->n_q; i++) {
        c->m[i] = test_normal(t) * 2;
        c->l[i] = 1 + 10 * fabsf(test_normal(t));
    }
    for (int i = 0; i < c->n_q * c->shape.d; i++)
        c->o[i] = test_normal(t) * 10;
}

static void ranges_random(struct test *t, struct page_case *c)
{
    for (int i = 0; i < c->n_q; i++) {
        int n_keys = c->n_pages * KV_PAGE;
        c->key0[i] = (int)test_below(t, (uint32_t)n_keys);
        c->key1[i] = c->key0[i] + 1 + (int)test_below(t, (uint32_t)(n_keys - c->key0[i]));
    }
}

static void ready_init(struct ready *r, const struct cpu_kv_kern *kern, const float *q,
                       const struct cpu_kv_shape *shape)
{
    size_t blocks = (size_t)cpu_kv_blocks(shape->d);
    r->rotated = malloc((size_t)shape->d * sizeof *r->rotated);
    r->scale = malloc(blocks * sizeof *r->scale);
    r->codes = malloc(blocks * KV_BLOCK);
    r->sum = malloc(blocks * sizeof *r->sum);
    if (!r->rotated || !r->scale || !r->codes || !r->sum)
        abort();
    kern->prepare(&r->query, r->rotated, r->codes, r->scale, r->sum, q, shape);
}

static void ready_finish(struct ready *r)
{
    free(r->rotated);
    free(r->scale);
    free(r->codes);
    free(r->sum);
}

static struct result run(const struct cpu_kv_kern *kern, const struct page_case *c)
{
    int d = c->shape.d;
    struct result r = { .o = malloc((size_t)(c->n_q * d) * sizeof *r.o) };
    struct cpu_attn a[MAX_Q];
    struct ready ready[MAX_Q];
    struct cpu_kv_query query[MAX_Q];
    if (!r.o)
        abort();
    memcpy(r.o, c->o, (size_t)(c->n_q * d) * sizeof *r.o);
    for (int i = 0; i < c->n_q; i++) {
        ready_init(&ready[i], kern, c->q + i * d, &c->shape);
        query[i] = ready[i].query;
        a[i] = (struct cpu_attn){ .o = r.o + i * d, .m = c->m[i], .l = c->l[i], .key0 = c->key0[i],
                                  .key1 = c->key1[i] };
    }
    struct cpu_kv_pages pages = { .n = c->n_pages, .ahead = { { c->keys[0], 100 }, { c->values[0], 1000 } } };
    for (int i = 0; i < c->n_pages; i++) {
        pages.keys[i] = c->keys[i];
        pages.values[i] = c->values[i];
    }
    kern->attend(a, query, c->n_q, &pages, &c->shape, c->cap);
    for (int i = 0; i < c->n_q; i++) {
        r.m[i] = a[i].m;
        r.l[i] = a[i].l;
        ready_finish(&ready[i]);
    }
    return r;
}

/* ---- the scalar kernels are right --------------------------------------------------------------------- */

/* Softmax in double over the pages for query i, starting from nothing. Of quantised keys the query's codes are
 * what counts, except for the mean. */
static void reference(const struct page_case *c, const struct cpu_kv_query *query, bool exact,
                      const struct kv_plain *keys, const struct kv_plain *values, int i, float *out)
{
    int d = c->shape.d;
    double s[MAX_KEYS], m = -INFINITY, l = 0;
    for (int k = c->key0[i]; k < c->key1[i]; k++) {
        const struct kv_plain *page = &keys[k / KV_PAGE];
        s[k] = 0;
        for (int j = 0; j < d; j++) {
            double q = query->q[j];
            s[k] += q * page->mean[j];
            if (!exact && c->shape.k != KV_F16)
                q = (double)query->scale[j / KV_BLOCK] * query->codes[j];
            s[k] += q * (page->x[j][k % KV_PAGE] - page->mean[j]);
        }
        if (c->cap != 0)
            s[k] = c->cap * tanh(s[k] / c->cap);
        m = fmax(m, s[k]);
    }
    for (int k = c->key0[i]; k < c->key1[i]; k++)
        l += exp(s[k] - m);
    for (int j = 0; j < d; j++) {
        double o = 0;
        for (int k = c->key0[i]; k < c->key1[i]; k++)
            o += exp(s[k] - m) / l * values[k / KV_PAGE].x[j][k % KV_PAGE];
        out[j] = (float)o;
    }
}

static void check_right(struct test *t, struct page_case *c, bool exact)
{
    struct cpu_kv_kern kern;
    tier_init(&kern, 0, exact);
    struct kv_plain *keys = kv_need(CPU_KV_PAGES * sizeof *keys), *values = kv_need(CPU_KV_PAGES * sizeof *values);
    for (int i = 0; i < c->n_pages; i++) {
        kv_unpack(&keys[i], c->keys[i], c->shape.k, c->shape.d, true);
        kv_unpack(&values[i], c->values[i], c->shape.v, c->shape.d, false);
    }
    struct result r = run(&kern, c);
    int d = c->shape.d;
    for (int i = 0; i < c->n_q; i++) {
        float want[KV_MAX_HEAD];
        struct ready ready;
        ready_init(&ready, &kern, c->q + i * d, &c->shape);
        reference(c, &ready.query, exact, keys, values, i, want);
        ready_finish(&ready);
        for (int j = 0; j < d; j++)
            r.o[i * d + j] /= r.l[i];
        /* weights of 16 bits (8 for values of less than 8): each off by 2^-16 (2^-8) of the largest at most */
        bool wide = c->shape.v == KV_F16 || c->shape.v == KV_Q8_0;
        CHECK_NMSE(t, r.o + i * d, want, (size_t)d, exact ? 1e-10 : wide ? 2e-8 : 1e-3, "%s: k %s v %s d %d keys %d to %d",
                   kern.name, kv_type_name(c->shape.k), kv_type_name(c->shape.v), d, c->key0[i], c->key1[i]);
    }
    free(r.o);
    free(keys);
    free(values);
}

TEST(kv_attend_scalar_equals_softmax_in_double)
{
    for (int pair = 0; pair < N_KV_TYPES * N_KV_TYPES; pair++)
        for (int s = 0; s < N_SIZES; s++) {
            struct page_case c;
            int n_q = 1 + (pair + s) % 8;
            case_init(t, &c, kv_types[pair / N_KV_TYPES], kv_types[pair % N_KV_TYPES], sizes[s], n_q,
                      1 + (pair + s) % CPU_KV_PAGES, 3.0f);
            if (s % 2)
                c.cap = 5.0f;
            check_right(t, &c, false);
            check_right(t, &c, true);
            ranges_random(t, &c);
            check_right(t, &c, false);
            check_right(t, &c, true);
            case_finish(&c);
        }
}

/* Two pages one after the other are one softmax: a second attend() brings the first one's share down. */
TEST(kv_attend_goes_on_from_the_state_it_finds)
{
    struct page_case c;
    struct cpu_kv_kern kern;
    tier_init(&kern, 0, false);
    case_init(t, &c, KV_KV4, KV_KV4, 64, 3, 1, 3.0f);
    struct result once = run(&kern, &c);
    for (int i = 0; i < c.n_q; i++) {    /* the same page again: weights double, the mean stays */
        c.m[i] = once.m[i];
        c.l[i] = once.l[i];
    }
    memcpy(c.o, once.o, (size_t)(c.n_q * 64) * sizeof *c.o);
    struct result twice = run(&kern, &c);
    for (int i = 0; i < c.n_q; i++) {
        CHECK(t, twice.m[i] == once.m[i] && twice.l[i] == 2 * once.l[i]);
        for (int j = 0; j < 64; j++)
            CHECK(t, fabsf(twice.o[i * 64 + j] - 2 * once.o[i * 64 + j]) <= 2e-6f * once.l[i]);
    }
    free(once.o);
    free(twice.o);
    case_finish(&c);
}

TEST(kv_prepare_rotates_and_codes_the_query)
{
    struct cpu_kv_kern kern;
    tier_init(&kern, 0, false);
    for (int d = 16; d <= KV_MAX_HEAD; d += 16)
        for (int i = 0; i < N_KV_TYPES; i++) {
            struct cpu_kv_shape shape = { .k = kv_types[i], .v = KV_Q8_0, .d = d };
            float q[KV_MAX_HEAD];
            double x[KV_MAX_HEAD], want[KV_MAX_HEAD];
            for (int c = 0; c < d; c++)
                x[c] = want[c] = q[c] = test_normal(t);
            if (kv_type_rotated(shape.k))
                kv_rotate_plain(want, x, d);
            struct ready r;
            ready_init(&r, &kern, q, &shape);
            CHECK(t, (r.query.q == q) == !kv_type_rotated(shape.k));
            for (int c = 0; c < d; c++)
                CHECK(t, fabs(r.query.q[c] - want[c]) < 3e-6, "%s d %d: %g, %g wanted", kv_type_name(shape.k), d,
                      r.query.q[c], want[c]);
            for (int b = 0; shape.k != KV_F16 && b < cpu_kv_blocks(d); b++) {
                int sum = 0;
                double most = 0;
                for (int c = b * KV_BLOCK; c < (b + 1) * KV_BLOCK; c++) {
                    sum += r.codes[c];
                    CHECK(t, c < d || r.codes[c] == 0, "past the head");
                    most = fmax(most, c < d ? fabs(r.query.q[c]) : 0);
                    CHECK(t, c >= d || fabs(r.query.q[c] - r.scale[b] * r.codes[c]) <= 0.5001 * r.scale[b]);
                }
                CHECK(t, fabs(r.scale[b] * 127 - most) <= 1e-6 * most);
                CHECK_INT(t, r.sum[b], sum);
            }
            ready_finish(&r);
        }
}

TEST(kv_unrotate_takes_the_rotation_back)
{
    struct cpu_kv_kern kern;
    tier_init(&kern, 0, false);
    for (int d = 16; d <= KV_MAX_HEAD; d += 16) {
        struct cpu_kv_shape shape = { .k = KV_KV4, .v = KV_KV4, .d = d };
        float q[KV_MAX_HEAD];
        double size = 0, rotated = 0;
        for (int c = 0; c < d; c++) {
            q[c] = test_normal(t);
            size += (double)q[c] * q[c];
        }
        struct ready r;
        ready_init(&r, &kern, q, &shape);
        for (int c = 0; c < d; c++)
            rotated += (double)r.rotated[c] * r.rotated[c];
        CHECK(t, fabs(rotated / size - 1) < 1e-6, "d %d: length %g, %g wanted", d, sqrt(rotated), sqrt(size));
        kern.unrotate(r.rotated, d);
        for (int c = 0; c < d; c++)
            CHECK(t, fabsf(r.rotated[c] - q[c]) < 2e-6f, "d %d: %g, %g wanted", d, r.rotated[c], q[c]);
        ready_finish(&r);
    }
}

/* ---- every tier equals scalar ------------------------------------------------------------------------- */

static bool same(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(a[i] != a[i] && b[i] != b[i]))
            return false;
    return true;
}

static void check_tiers(struct test *t, const struct page_case *c, const char *what)
{
    for (int exact = 0; exact < 2; exact++) {
        struct cpu_kv_kern kern;
        tier_init(&kern, 0, exact);
        struct result want = run(&kern, c);
        for (int tier = 1; tier < 3; tier++) {
            if (!tier_init(&kern, tier, exact))
                continue;
            struct result got = run(&kern, c);
            int n = c->n_q * c->shape.d;
            bool m = same(got.m, want.m, c->n_q), l = same(got.l, want.l, c->n_q), o = same(got.o, want.o, n);
            CHECK(t, m && l && o, "%s: %s, k %s v %s d %d n_q %d cap %g: m %d l %d o %d", what, kern.name,
                  kv_type_name(c->shape.k), kv_type_name(c->shape.v), c->shape.d, c->n_q, c->cap, m, l, o);
            free(got.o);
        }
        free(want.o);
    }
}

TEST(kv_attend_every_tier_equals_scalar)
{
    for (int pair = 0; pair < N_KV_TYPES * N_KV_TYPES; pair++)
        for (int s = 0; s < N_SIZES; s++)
            for (int i = 0; i < 2; i++) {
                struct page_case c;
                int n_q = i ? 4 + (int)test_below(t, 6) : 1 + (int)test_below(t, 3);
                case_init(t, &c, kv_types[pair / N_KV_TYPES], kv_types[pair % N_KV_TYPES], sizes[s], n_q,
                          1 + (pair + s + i) % CPU_KV_PAGES, 3.0f);
                c.cap = test_below(t, 3) == 0 ? 20.0f : 0.0f;
                check_tiers(t, &c, "all keys");
                case_continue(t, &c);
                ranges_random(t, &c);
                check_tiers(t, &c, "random ranges");
                case_finish(&c);
            }
}

TEST(kv_attend_one_to_sixty_four_queries_equal_scalar)
{
    for (int n_q = 1; n_q <= MAX_Q; n_q += n_q < 18 ? 1 : 23) {
        static const enum kv_type types[] = { KV_Q8_0, KV_KV4, KV_KV3 };
        for (int i = 0; i < 3; i++) {
            struct page_case c;
            case_init(t, &c, types[i], types[(i + n_q) % 3], n_q % 2 ? 64 : 80, n_q, 1 + n_q % CPU_KV_PAGES, 4.0f);
            case_continue(t, &c);
            check_tiers(t, &c, "all keys");
            for (int q = 0; q < n_q; q++) {    /* a window that moves with the query */
                c.key0[q] = q < KV_PAGE ? q : KV_PAGE - 1;
                c.key1[q] = c.n_pages * KV_PAGE;
            }
            check_tiers(t, &c, "window");
            ranges_random(t, &c);
            check_tiers(t, &c, "random ranges");
            case_finish(&c);
        }
    }
}

TEST(kv_attend_extreme_queries_equal_scalar)
{
    static const float huge[] = { 1e3f, 1e6f, 1e30f, 3e37f, 1e-30f, 1e-38f, 1e-42f, 0.0f, -0.0f, INFINITY, NAN };
    static const enum kv_type types[] = { KV_F16, KV_Q8_0, KV_Q4_0, KV_KV4, KV_KV3, KV_F16 };
    for (size_t h = 0; h < sizeof huge / sizeof *huge; h++)
        for (int i = 0; i < 5; i++)
            for (int cap = 0; cap < 2; cap++) {
                struct page_case c;
                case_init(t, &c, types[i], types[i + 1], 48, 5, 2, isfinite(huge[h]) ? huge[h] : 1.0f);
                c.cap = cap ? 30.0f : 0.0f;
                if (!isfinite(huge[h]))
                    c.q[2 * 48 + 17] = huge[h];
                check_tiers(t, &c, "first page");
                case_continue(t, &c);
                ranges_random(t, &c);
                check_tiers(t, &c, "later");
                case_finish(&c);
            }
}

/* Values of zeros have scales of zero: no weight, no step. */
TEST(kv_attend_pages_of_zeros_equal_scalar)
{
    for (int i = 0; i < N_KV_TYPES; i++) {
        struct page_case c;
        case_init(t, &c, kv_types[i], kv_types[i], 96, 5, 1, 1.0f);
        case_continue(t, &c);
        memset(c.keys[0], 0, kv_sealed_key_bytes(c.shape.k, 96));
        memset(c.values[0], 0, kv_sealed_value_bytes(c.shape.v, 96));
        check_tiers(t, &c, "zeros");
        case_finish(&c);
    }
}

TEST(kv_prepare_and_unrotate_every_tier_equals_scalar)
{
    static const float sizes_of_q[] = { 1.0f, 1e-31f, 1e30f, 0.0f };
    for (int d = 16; d <= KV_MAX_HEAD; d += 16)
        for (int i = 0; i < N_KV_TYPES * 4; i++) {
            struct cpu_kv_shape shape = { .k = kv_types[i / 4], .v = KV_KV4, .d = d };
            float q[KV_MAX_HEAD], back[KV_MAX_HEAD], want_back[KV_MAX_HEAD];
            for (int c = 0; c < d; c++)
                q[c] = test_normal(t) * sizes_of_q[i % 4];
            struct cpu_kv_kern kern;
            struct ready want, got;
            tier_init(&kern, 0, false);
            ready_init(&want, &kern, q, &shape);
            memcpy(want_back, q, (size_t)d * sizeof *q);
            kern.unrotate(want_back, d);
            for (int tier = 1; tier < 3; tier++) {
                if (!tier_init(&kern, tier, false))
                    continue;
                ready_init(&got, &kern, q, &shape);
                CHECK(t, (got.query.q == q) == (want.query.q == q));
                CHECK_BYTES(t, got.query.q, want.query.q, (size_t)d * sizeof *q, "%s: rotated, d %d", kern.name, d);
                size_t blocks = shape.k == KV_F16 ? 0 : (size_t)cpu_kv_blocks(d);
                CHECK_BYTES(t, got.codes, want.codes, blocks * KV_BLOCK, "%s: codes, d %d", kern.name, d);
                CHECK_BYTES(t, got.scale, want.scale, blocks * sizeof *got.scale, "%s: scale, d %d", kern.name, d);
                CHECK_BYTES(t, got.sum, want.sum, blocks * sizeof *got.sum, "%s: sum, d %d", kern.name, d);
                ready_finish(&got);
                memcpy(back, q, (size_t)d * sizeof *q);
                kern.unrotate(back, d);
                CHECK_BYTES(t, back, want_back, (size_t)d * sizeof *q, "%s: unrotate, d %d", kern.name, d);
            }
            ready_finish(&want);
        }
}
