/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/cpu_kv.h"
#include "engine/quant/f16.h"
#include "tests/kernel/kv_unpack.h"

/* Sealing: what a page stands for is near what was written, by the type's own measure, and every tier writes
 * the same bytes. */

static const int sizes[] = { 16, 32, 48, 64, 80, 96, 112, 128, 176, 256, 512 };
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* An open head and its sealed form, on the heap and of the exact size, for the address sanitizer. */
struct head {
    int d;
    uint16_t *keys, *values;      /* open: [d][KV_PAGE], [KV_PAGE][d] */
    unsigned char *k, *v;         /* sealed */
    float *scratch;
    struct kv_plain *plain;
};

static void head_init(struct head *h, int d)
{
    h->d = d;
    h->keys = kv_need((size_t)d * KV_PAGE * 2);
    h->values = kv_need((size_t)d * KV_PAGE * 2);
    h->k = kv_need((size_t)d * KV_PAGE * 2);
    h->v = kv_need((size_t)d * KV_PAGE * 2);
    h->scratch = kv_need(cpu_kv_seal_floats(d) * sizeof(float));
    h->plain = kv_need(sizeof *h->plain);
}

static void head_finish(struct head *h)
{
    free(h->keys);
    free(h->values);
    free(h->k);
    free(h->v);
    free(h->scratch);
    free(h->plain);
}

static void head_normal(struct test *t, struct head *h)
{
    for (int i = 0; i < h->d * KV_PAGE; i++) {
        h->keys[i] = f16_from_f32(test_normal(t));
        h->values[i] = f16_from_f32(test_normal(t));
    }
}

/* Tiers that this machine has, 0 being scalar. */
static bool tier_init(struct cpu_kv_kern *k, int tier)
{
    static const uint32_t features[] = { 0, CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
    if ((cpuid_features() & features[tier]) != features[tier])
        return false;
    cpu_kv_init(k, features[tier], false);
    return true;
}

static void head_seal(struct head *h, int tier, enum kv_type k, enum kv_type v)
{
    struct cpu_kv_kern kern;
    struct cpu_kv_shape shape = { .k = k, .v = v, .d = h->d };
    tier_init(&kern, tier);
    kern.seal(h->k, h->v, h->keys, h->values, &shape, h->scratch);
}

/* Sum of squared errors over sum of squares, against the open form, rotated where the type is. */
static double head_error(const struct head *h, enum kv_type type, bool keys)
{
    double error = 0, size = 0, x[KV_MAX_HEAD], rotated[KV_MAX_HEAD];
    kv_unpack(h->plain, keys ? h->k : h->v, type, h->d, keys);
    for (int k = 0; k < KV_PAGE; k++) {
        for (int c = 0; c < h->d; c++)
            x[c] = f16_to_f32(keys ? h->keys[c * KV_PAGE + k] : h->values[k * h->d + c]);
        if (kv_type_rotated(type))
            kv_rotate_plain(rotated, x, h->d);
        for (int c = 0; c < h->d; c++) {
            double want = kv_type_rotated(type) ? rotated[c] : x[c], e = want - h->plain->x[c][k];
            error += e * e;
            size += want * want;
        }
    }
    return error / size;
}

TEST(kv_seal_normal_data_comes_back_within_the_error_of_the_type)
{
    static const double small[KV_N_TYPES] = { [KV_F16] = 0, [KV_Q8_0] = 3.3e-5, [KV_Q4_0] = 0.0080,
                                              [KV_KV4] = 0.0072, [KV_KV3] = 0.0275 };
    static const double large[KV_N_TYPES] = { [KV_KV4] = 0.0085, [KV_KV3] = 0.0310 };    /* values, blocks of 64 */
    for (int s = 0; s < N_SIZES; s++) {
        struct head h;
        head_init(&h, sizes[s]);
        head_normal(t, &h);
        for (int i = 0; i < N_KV_TYPES; i++) {
            enum kv_type type = kv_types[i];
            head_seal(&h, 0, type, type);
            double k = head_error(&h, type, true), v = head_error(&h, type, false);
            double k_limit = small[type], v_limit = kv_value_block(type, sizes[s]) > 32 ? large[type] : k_limit;
            CHECK(t, k <= k_limit && v <= v_limit, "%s d %d: keys %g, values %g", kv_type_name(type), sizes[s], k, v);
            CHECK(t, type == KV_F16 || (k > k_limit / 2 && v > v_limit / 2), "%s d %d: limit too wide",
                  kv_type_name(type), sizes[s]);
        }
        head_finish(&h);
    }
}

/* Squared error of rounding the values of a head, rotated, to the nearest codes of the plain scale. */
static double plain_error(const struct head *h, bool kv3)
{
    double error = 0, x[KV_MAX_HEAD], rotated[KV_MAX_HEAD];
    for (int k = 0; k < KV_PAGE; k++) {
        for (int c = 0; c < h->d; c++)
            x[c] = f16_to_f32(h->values[k * h->d + c]);
        kv_rotate_plain(rotated, x, h->d);
        for (int b = 0, block = h->d % 64 == 0 ? 64 : 32; b < h->d; b += block) {
            int end = b + block < h->d ? b + block : h->d;
            double most = 0;
            for (int c = b; c < end; c++)
                most = fabs(rotated[c]) > fabs(most) ? rotated[c] : most;
            double d = kv3 ? fabs(most) / 127 : most / -8;
            for (int c = b; c < end; c++) {
                double best = INFINITY;
                for (int i = 0; i < (kv3 ? 8 : 16); i++)
                    best = fmin(best, fabs(rotated[c] - d * (kv3 ? kv3_level[i] : i - 8)));
                error += best * best;
            }
        }
    }
    return error;
}

TEST(kv_seal_searched_scales_beat_the_plain_one)
{
    for (int kv3 = 0; kv3 < 2; kv3++) {
        double plain = 0, searched = 0;
        for (int s = 0; s < N_SIZES; s++) {
            struct head h;
            head_init(&h, sizes[s]);
            head_normal(t, &h);
            head_seal(&h, 0, KV_F16, kv3 ? KV_KV3 : KV_KV4);
            double size = 0;
            for (int i = 0; i < h.d * KV_PAGE; i++)
                size += (double)f16_to_f32(h.values[i]) * f16_to_f32(h.values[i]);
            searched += head_error(&h, kv3 ? KV_KV3 : KV_KV4, false) * size;
            plain += plain_error(&h, kv3);
            head_finish(&h);
        }
        CHECK(t, searched < (kv3 ? 0.85 : 0.945) * plain, "%s: %g of the plain error", kv3 ? "kv3" : "kv4",
              searched / plain);
    }
}

static void check_tiers(struct test *t, struct head *h, enum kv_type k, enum kv_type v, const char *what)
{
    struct cpu_kv_kern kern;
    size_t n_k = kv_sealed_key_bytes(k, h->d), n_v = kv_sealed_value_bytes(v, h->d);
    unsigned char *want_k = kv_need(n_k), *want_v = kv_need(n_v);
    head_seal(h, 0, k, v);
    memcpy(want_k, h->k, n_k);
    memcpy(want_v, h->v, n_v);
    for (int tier = 1; tier < 3; tier++) {
        if (!tier_init(&kern, tier))
            continue;
        memset(h->k, 0xAA, n_k);
        memset(h->v, 0xAA, n_v);
        head_seal(h, tier, k, v);
        CHECK_BYTES(t, h->k, want_k, n_k, "%s: %s keys, tier %d, d %d", what, kv_type_name(k), tier, h->d);
        CHECK_BYTES(t, h->v, want_v, n_v, "%s: %s values, tier %d, d %d", what, kv_type_name(v), tier, h->d);
    }
    free(want_k);
    free(want_v);
}

TEST(kv_seal_every_tier_writes_the_bytes_of_scalar)
{
    for (int d = 16; d <= KV_MAX_HEAD; d += 16) {
        struct head h;
        head_init(&h, d);
        head_normal(t, &h);
        for (int i = 0; i < N_KV_TYPES; i++)
            check_tiers(t, &h, kv_types[i], kv_types[(i + d / 16) % N_KV_TYPES], "normal");
        head_finish(&h);
    }
}

/* ---- inputs that break things ------------------------------------------------------------------------- */

static bool head_finite(struct head *h, enum kv_type type, bool keys)
{
    kv_unpack(h->plain, keys ? h->k : h->v, type, h->d, keys);
    for (int c = 0; c < h->d; c++)
        for (int k = 0; k < KV_PAGE; k++)
            if (!isfinite(h->plain->x[c][k]))
                return false;
    return true;
}

TEST(kv_seal_zeros_are_zeros)
{
    static const int small[] = { 16, 80, 128 };
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < N_KV_TYPES; i++) {
            struct head h;
            head_init(&h, small[s]);
            for (int j = 0; j < h.d * KV_PAGE; j++)
                h.keys[j] = h.values[j] = j % 3 ? 0 : 0x8000;
            check_tiers(t, &h, kv_types[i], kv_types[i], "zeros");
            for (int keys = 0; keys < 2; keys++) {
                kv_unpack(h.plain, keys ? h.k : h.v, kv_types[i], h.d, keys);
                for (int c = 0; c < h.d; c++)
                    for (int k = 0; k < KV_PAGE; k++)
                        CHECK(t, h.plain->x[c][k] == 0, "%s", kv_type_name(kv_types[i]));
            }
            head_finish(&h);
        }
}

/* Fills both sides of a head by kind: what is far from normal numbers. */
enum { KINDS = 7 };

static uint16_t strange(struct test *t, int kind, int c, int k)
{
    float x = test_normal(t);
    switch (kind) {
    case 0: return c == 5 && k == 9 ? 0x7BFF : 0;                       /* one huge value */
    case 1: return f16_from_f32(c == 5 ? x * 1e4f : x);                  /* one huge component */
    case 2: return (uint16_t)(test_random(t) & 0x83FF);                  /* subnormal */
    case 3: return kv_sign(c) < 0 ? 0xFBFF : 0x7BFF;                     /* one component after rotation */
    case 4: return (uint16_t)(test_random(t) & 0xFBFF);                  /* any bits that are finite */
    case 5: return f16_from_f32(x * 1e-6f);                              /* scales below f16's normal range */
    default: return f16_from_f32(k % 4 ? x : 0.0f);                      /* some tokens of zeros */
    }
}

static void head_strange(struct test *t, struct head *h, int kind)
{
    for (int c = 0; c < h->d; c++)
        for (int k = 0; k < KV_PAGE; k++) {
            h->keys[c * KV_PAGE + k] = strange(t, kind, c, k);
            h->values[k * h->d + c] = strange(t, kind, c, k);
        }
}

TEST(kv_seal_strange_inputs_stay_finite_and_the_same_in_every_tier)
{
    static const int some[] = { 16, 64, 80, 96, 512 };
    for (int s = 0; s < 5; s++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int i = 0; i < N_KV_TYPES; i++) {
                struct head h;
                head_init(&h, some[s]);
                head_strange(t, &h, kind);
                check_tiers(t, &h, kv_types[i], kv_types[i], "strange");
                CHECK(t, head_finite(&h, kv_types[i], true) && head_finite(&h, kv_types[i], false),
                      "%s d %d kind %d", kv_type_name(kv_types[i]), h.d, kind);
                if (kind < 2 && kv_types[i] != KV_Q4_0) {
                    double k = head_error(&h, kv_types[i], true), v = head_error(&h, kv_types[i], false);
                    CHECK(t, k < 0.035 && v < 0.035, "%s d %d kind %d: keys %g, values %g",
                          kv_type_name(kv_types[i]), h.d, kind, k, v);
                }
                head_finish(&h);
            }
}

TEST(kv_seal_takes_what_is_not_finite_as_zero)
{
    static const uint16_t bad[] = { 0x7C00, 0xFC00, 0x7E00, 0xFFFF, 0x7C01 };
    for (int i = 1; i < N_KV_TYPES; i++) {
        struct head h;
        head_init(&h, 48);
        head_normal(t, &h);
        size_t n_k = kv_sealed_key_bytes(kv_types[i], h.d), n_v = kv_sealed_value_bytes(kv_types[i], h.d);
        unsigned char *want_k = kv_need(n_k), *want_v = kv_need(n_v);
        for (int pass = 0; pass < 2; pass++) {
            for (int j = 0; j < h.d * KV_PAGE; j += 37)
                h.keys[j] = h.values[j] = pass ? bad[j % 5] : 0;
            check_tiers(t, &h, kv_types[i], kv_types[i], "not finite");
            if (pass == 0) {
                memcpy(want_k, h.k, n_k);
                memcpy(want_v, h.v, n_v);
            }
        }
        CHECK_BYTES(t, h.k, want_k, n_k, "%s", kv_type_name(kv_types[i]));
        CHECK_BYTES(t, h.v, want_v, n_v, "%s", kv_type_name(kv_types[i]));
        free(want_k);
        free(want_v);
        head_finish(&h);
    }
}

/* ---- what the mean, the rotation and the search are there for ----------------------------------------- */

/* A constant part of the keys, in one component or in all, 100 times what varies: kv4's error stays that of
 * what varies, which plain 4-bit codes drown. */
TEST(kv_seal_a_constant_part_of_keys_costs_nothing)
{
    for (int everywhere = 0; everywhere < 2; everywhere++)
        for (int s = 0; s < N_SIZES; s++) {
            struct head h;
            head_init(&h, sizes[s]);
            for (int c = 0; c < h.d; c++)
                for (int k = 0; k < KV_PAGE; k++)
                    h.keys[c * KV_PAGE + k] = f16_from_f32((everywhere || c == 3 ? 100.0f : 0) + test_normal(t));
            memset(h.values, 0, (size_t)h.d * KV_PAGE * 2);
            for (int i = 0; i < N_KV_TYPES; i++) {
                enum kv_type type = kv_types[i];
                head_seal(&h, 0, type, KV_F16);
                double size = 0, x, error = head_error(&h, type, true);
                for (int c = 0; c < h.d; c++)
                    for (int k = 0; k < KV_PAGE; k++) {
                        x = f16_to_f32(h.keys[c * KV_PAGE + k]);
                        size += x * x;
                    }
                error *= size / (h.d * KV_PAGE);    /* against a variance of 1 */
                CHECK(t, type != KV_KV4 || error < 0.0075, "d %d: %g", h.d, error);
                CHECK(t, type != KV_KV3 || error < 0.029, "d %d: %g", h.d, error);
                CHECK(t, type != KV_Q4_0 || !everywhere || error > 0.5, "d %d: %g", h.d, error);
                if (!kv_type_rotated(type))
                    continue;
                double mean[KV_MAX_HEAD] = { 0 }, want[KV_MAX_HEAD];
                for (int j = 0; j < h.d * KV_PAGE; j++)
                    mean[j / KV_PAGE] += (double)f16_to_f32(h.keys[j]) / KV_PAGE;
                kv_rotate_plain(want, mean, h.d);
                for (int c = 0; c < h.d; c++)
                    CHECK(t, fabs(h.plain->mean[c] - want[c]) <= 0.0006 * fabs(want[c]) + 1e-4,
                          "d %d component %d: mean %g, %g wanted", h.d, c, h.plain->mean[c], want[c]);
            }
            head_finish(&h);
        }
}

/* Scores of rotated queries with sealed keys against q . k in the open form. */
TEST(kv_seal_keeps_scores)
{
    static const double limit[KV_N_TYPES] = { [KV_F16] = 1e-12, [KV_Q8_0] = 5e-5, [KV_Q4_0] = 0.013,
                                              [KV_KV4] = 0.0085, [KV_KV3] = 0.033 };
    enum { QUERIES = 24 };
    for (int s = 0; s < N_SIZES; s++) {
        struct head h;
        head_init(&h, sizes[s]);
        head_normal(t, &h);
        for (int i = 0; i < N_KV_TYPES; i++) {
            struct cpu_kv_kern kern;
            struct cpu_kv_shape shape = { .k = kv_types[i], .v = KV_F16, .d = h.d };
            double error = 0, size = 0;
            tier_init(&kern, 0);
            head_seal(&h, 0, shape.k, shape.v);
            kv_unpack(h.plain, h.k, shape.k, h.d, true);
            for (int j = 0; j < QUERIES; j++) {
                float q[KV_MAX_HEAD], rotated[KV_MAX_HEAD], scale[KV_MAX_HEAD / KV_BLOCK];
                int8_t codes[KV_MAX_HEAD];
                int32_t sum[KV_MAX_HEAD / KV_BLOCK];
                struct cpu_kv_query query;
                for (int c = 0; c < h.d; c++)
                    q[c] = test_normal(t);
                kern.prepare(&query, rotated, codes, scale, sum, q, &shape);
                for (int k = 0; k < KV_PAGE; k++) {
                    double want = 0, got = 0;
                    for (int c = 0; c < h.d; c++) {
                        want += (double)q[c] * f16_to_f32(h.keys[c * KV_PAGE + k]);
                        got += query.q[c] * h.plain->x[c][k];
                    }
                    error += (got - want) * (got - want);
                    size += want * want;
                }
            }
            CHECK(t, error <= limit[shape.k] * size, "%s d %d: %g", kv_type_name(shape.k), h.d, error / size);
        }
        head_finish(&h);
    }
}
