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
    static const double limit[KV_N_TYPES] = { [KV_F16] = 0, [KV_Q8_0] = 3.5e-5, [KV_Q4_0] = 0.0105,
                                              [KV_KV4] = 0.0085, [KV_KV3] = 0.032 };
    for (int s = 0; s < N_SIZES; s++) {
        struct head h;
        head_init(&h, sizes[s]);
        head_normal(t, &h);
        for (int i = 0; i < N_KV_TYPES; i++) {
            enum kv_type type = kv_types[i];
            head_seal(&h, 0, type, type);
            double k = head_error(&h, type, true), v = head_error(&h, type, false);
            CHECK(t, k <= limit[type] && v <= limit[type], "%s d %d: keys %g, values %g", kv_type_name(type),
                  sizes[s], k, v);
            CHECK(t, type == KV_F16 || (k > limit[type] / 2 && v > limit[type] / 2), "%s d %d: limit too wide",
                  kv_type_name(type), sizes[s]);
        }
        head_finish(&h);
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
