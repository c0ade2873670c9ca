/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "engine/backend/backend.h"
#include "engine/vulkan/vulkan_best.h"
#include "tests/support/vulkan_rig.h"

/* The best on the device against all of them sorted, bit by bit. */

static int compare(const void *a, const void *b)
{
    const struct logit *x = a, *y = b;
    return logit_before(*x, *y) ? -1 : logit_before(*y, *x);
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What is hard: equal numbers, zeros of both signs, subnormals that a device may take for zeros, infinities, and every
 * kind of NaN. */
static float random_logit(struct test *t, int kind)
{
    static const uint32_t special[] = { 0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x7f7fffff,
                                        0xff7fffff, 0xff800000 };
    static const uint32_t bad[] = { 0x7f800000, 0x7f800001, 0xff800001, 0x7fc00000, 0xffc00000, 0x7fffffff, 0xffffffff };
    switch (kind) {
    case 0: return 4 * test_normal(t);
    case 1: return roundf(test_normal(t));
    case 2: return from_bits(special[test_below(t, sizeof special / sizeof *special)]);
    case 3: return test_below(t, 50) ? test_normal(t) : from_bits(bad[test_below(t, sizeof bad / sizeof *bad)]);
    case 4: return 1;
    case 5: return -INFINITY;
    default: return from_bits((uint32_t)test_random(t));
    }
}
enum { N_KINDS = 7 };

static void run(struct vulkan_rig *rig, const struct vulkan_best *best)
{
    struct test *t = rig->t;
    struct vulkan_recording r;
    struct err e = { 0 };
    uint64_t value;
    CHECK(t, vulkan_record_begin(&r, rig->d, &e) == ERR_OK, "%s", e.text);
    vulkan_record_best(&r, best);
    CHECK(t, vulkan_record_end(&r, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_submit(rig->d, &r.cmd, 1, &value, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_wait(rig->d, value, &e) == ERR_OK, "%s", e.text);
    vulkan_recording_destroy(&r);
}

static void check_best(struct vulkan_rig *rig, int32_t n_logits, int32_t n_rows, int32_t n_best, int kind)
{
    struct test *t = rig->t;
    size_t n = (size_t)n_rows * (size_t)n_logits, n_out = (size_t)n_rows * (size_t)n_best;
    float *x = malloc(n * sizeof *x);
    struct logit *all = malloc(n * sizeof *all), *got = malloc(n_out * sizeof *got);
    CHECK(t, x && all && got);
    for (size_t i = 0; i < n; i++) {
        x[i] = random_logit(t, kind);
        all[i] = (struct logit){ .token = (int32_t)(i % (size_t)n_logits), .value = x[i] };
    }
    struct vulkan_buf logits = vulkan_rig_buf(rig, x, n * sizeof *x);
    struct vulkan_buf parts = vulkan_rig_buf(rig, NULL, vulkan_best_parts_bytes(n_rows, n_logits));
    struct vulkan_buf out = vulkan_rig_buf(rig, NULL, n_out * sizeof *got);
    run(rig, &(struct vulkan_best){ .logits = &logits, .parts = &parts, .out = &out, .n_rows = n_rows,
                                    .n_logits = n_logits, .n_best = n_best });
    vulkan_rig_read(rig, got, &out, n_out * sizeof *got);
    for (int32_t r = 0; r < n_rows; r++) {
        struct logit *want = all + (size_t)r * (size_t)n_logits;
        qsort(want, (size_t)n_logits, sizeof *want, compare);
        for (int32_t i = 0; i < n_best; i++) {
            const struct logit none = { .token = -1, .value = -INFINITY };
            CHECK_BYTES(t, &got[r * n_best + i], i < n_logits ? &want[i] : &none, sizeof *got,
                        "%d of %d logits, row %d, place %d, kind %d", n_best, n_logits, r, i, kind);
        }
    }
    vulkan_buf_destroy(rig->d, &logits);
    vulkan_buf_destroy(rig->d, &parts);
    vulkan_buf_destroy(rig->d, &out);
    free(x);
    free(all);
    free(got);
}

/* Sizes of one block and of several, in one stage, two and three. */
TEST(vulkan_best_are_the_first_of_all_sorted)
{
    static const int32_t sizes[] = { 1, 2, 40, 63, 64, 65, 1023, 1024, 1025, 5000, 17000 };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int32_t n_best = 1; n_best <= BACKEND_MAX_BEST; n_best *= 2)
            for (int kind = 0; kind < N_KINDS; kind++)
                check_best(&rig, sizes[i], 1 + (kind + (int)i) % 3, n_best, kind);
    check_best(&rig, 262144, 1, 64, 0);
    check_best(&rig, 262144, 2, 1, 1);
    check_best(&rig, 70000, 9, 8, 3);
    vulkan_rig_close(&rig);
}

TEST(vulkan_best_is_rounded_up_to_a_power_of_two)
{
    static const int32_t cases[][2] = { { 1, 1 }, { 2, 2 }, { 3, 4 }, { 40, 64 }, { 64, 64 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(t, vulkan_best_round(cases[i][0]), cases[i][1]);
}
