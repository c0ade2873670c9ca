/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdlib.h>

#include "engine/base/cpuid.h"
#include "engine/quant/f16.h"
#include "engine/quant/quant.h"
#include "engine/quant/quant_kern.h"
#include "tests/support/quantise_case.h"

/* Every tier makes the bytes of scalar: of each format, with and without importance, rows of one block, of odd numbers
 * of blocks, and beyond a strip. */

static const uint32_t tiers[] = { 0, CPUID_AVX2, CPUID_AVX2 | CPUID_AVX512 };
enum { N_TIERS = 3, MOST = QUANT_STRIP + 5 * 256 };

static bool tier_use(int tier)
{
    if ((cpuid_features() & tiers[tier]) != tiers[tier])
        return false;
    quant_kern_use(tiers[tier]);
    return true;
}

static void check_tiers(struct test *t, const float *x, int64_t n, const float *importance, const char *what)
{
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
        const struct quant_format *f = quant_format(type);
        size_t n_bytes = (size_t)quant_row_bytes(type, (uint64_t)n);
        if (!f || !f->from_f32 || n_bytes == 0)
            continue;
        char *want = malloc(n_bytes), *got = malloc(n_bytes);
        quant_kern_use(0);
        f->from_f32(want, x, n, importance);
        for (int tier = 1; tier < N_TIERS; tier++) {
            if (!tier_use(tier))
                continue;
            memset(got, 0xAA, n_bytes);
            f->from_f32(got, x, n, importance);
            CHECK_BYTES(t, got, want, n_bytes, "%s: %s, tier %d, n %lld, importance %d", what, f->name, tier,
                        (long long)n, importance != NULL);
        }
        free(want);
        free(got);
    }
    quant_kern_use(UINT32_MAX);
}

TEST(quantise_tiers_agree_at_every_length)
{
    static const int64_t lengths[] = { 32, 64, 96, 256, 288, 512, 576, 768, 1536, 2048 + 32, QUANT_STRIP,
                                       QUANT_STRIP + 32, MOST };
    static float x[MOST], importance[MOST];
    for (int kind = 0; kind < QUANTISE_N_KINDS; kind++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            quantise_weights(x, lengths[i], (enum quantise_kind)kind, t->seed + i);
            quantise_importance(importance, lengths[i], t->seed + i);
            check_tiers(t, x, lengths[i], NULL, quantise_kind_names[kind]);
            check_tiers(t, x, lengths[i], importance, quantise_kind_names[kind]);
        }
}

/* Any finite bits, and weights with few different values, where choices are ties. */
TEST(quantise_tiers_agree_on_strange_weights)
{
    static float x[MOST], importance[MOST];
    for (int round = 0; round < 40; round++) {
        int64_t n = 256 * (1 + (int64_t)test_below(t, MOST / 256));
        for (int64_t i = 0; i < n; i++) {
            float any = f32_from_bits((uint32_t)test_random(t)), few = 0.25f * (float)((int)test_below(t, 9) - 4);
            x[i] = round % 2 ? few : isfinite(any) ? any : 0;
            any = fabsf(f32_from_bits((uint32_t)test_random(t)));
            importance[i] = round % 4 < 2 ? (float)test_below(t, 3) : isfinite(any) ? any : 0;
        }
        check_tiers(t, x, n, NULL, "strange");
        check_tiers(t, x, n, importance, "strange");
    }
}

TEST(quantise_tiers_agree_on_halves)
{
    static uint16_t halves[65536 + 7];
    static float want[65536 + 7], got[65536 + 7];
    for (int i = 0; i < 65536 + 7; i++)
        halves[i] = (uint16_t)(i - 7);
    for (int n = 65536; n <= 65536 + 7; n++) {
        quant_kern_use(0);
        quant_kern()->from_halves(want, halves, n);
        for (int tier = 1; tier < N_TIERS; tier++) {
            if (!tier_use(tier))
                continue;
            quant_kern()->from_halves(got, halves, n);
            CHECK_BYTES(t, got, want, (size_t)n * sizeof *got, "tier %d, n %d", tier, n);
        }
    }
    quant_kern_use(UINT32_MAX);
}
