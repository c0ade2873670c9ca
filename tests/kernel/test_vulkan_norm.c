/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "engine/backend/step.h"
#include "shaders/include/push.h"
#include "tests/support/vulkan_rig.h"

/* add: onto what y holds, with a scale; pick: the rows in the order of a list. */
static void check_norm(struct vulkan_rig *rig, int32_t n_rows, int32_t n_cols, bool add, bool pick)
{
    struct test *t = rig->t;
    size_t n = (size_t)n_rows * (size_t)n_cols;
    const float eps = 1e-5f, scale = 0.75f;
    uint32_t *rows = malloc((size_t)n_rows * sizeof *rows);
    float *y0 = malloc(n * 4);
    CHECK(t, rows && y0);
    for (size_t i = 0; i < n; i++)
        y0[i] = test_normal(t);
    for (int32_t r = 0; r < n_rows; r++)
        rows[r] = (uint32_t)(n_rows - 1 - r);
    float *x = malloc(n * 4), *gain = malloc((size_t)n_cols * 4), *got = malloc(n * 4), *want = malloc(n * 4);
    CHECK(t, x && gain && got && want);
    for (size_t i = 0; i < n; i++)
        x[i] = test_normal(t);
    for (int32_t i = 0; i < n_cols; i++)
        gain[i] = test_normal(t);
    for (int32_t r = 0; r < n_rows; r++) {
        const float *from = x + (int64_t)(pick ? (int32_t)rows[r] : r) * n_cols;
        double sum = 0;
        for (int32_t c = 0; c < n_cols; c++)
            sum += (double)from[c] * (double)from[c];
        for (int32_t c = 0; c < n_cols; c++) {
            double v = (double)from[c] * (double)gain[c] / sqrt(sum / n_cols + (double)eps);
            want[r * n_cols + c] = (float)(add ? (double)y0[r * n_cols + c] + (double)scale * v : v);
        }
    }
    struct vulkan_buf bx = vulkan_rig_buf(rig, x, n * 4), bg = vulkan_rig_buf(rig, gain, (size_t)n_cols * 4);
    struct vulkan_buf by = vulkan_rig_buf(rig, add ? y0 : NULL, n * 4);
    struct vulkan_buf list = vulkan_rig_buf(rig, rows, (size_t)n_rows * 4);
    const struct vulkan_part parts[] = { vulkan_all(&bx), vulkan_all(&bg), vulkan_all(&by), vulkan_all(&list) };
    const struct push_norm push = { (uint32_t)n_cols, eps, scale };
    vulkan_rig_run(rig, "norm", (const uint32_t[]){ 128, add, pick }, 3, parts, &push, sizeof push,
                   (uint32_t)n_rows, 1, 1);
    vulkan_rig_read(rig, got, &by, n * 4);
    CHECK_NMSE(t, got, want, n, 1e-12, "%d rows of %d, add %d, pick %d", n_rows, n_cols, add, pick);
    vulkan_buf_destroy(rig->d, &bx);
    vulkan_buf_destroy(rig->d, &bg);
    vulkan_buf_destroy(rig->d, &by);
    vulkan_buf_destroy(rig->d, &list);
    free(rows);
    free(y0);
    free(x);
    free(gain);
    free(got);
    free(want);
}

TEST(vulkan_norm_agrees_with_the_formula)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int how = 0; how < 4; how++) {
        check_norm(&rig, 1, 64, how & 1, how & 2);
        check_norm(&rig, 3, 576, how & 1, how & 2);
        check_norm(&rig, 9, 100, how & 1, how & 2);
    }
    vulkan_rig_close(&rig);
}

/* Beside what activations are, arguments so large that an exponential on the way overflows. */
static void check_glu(struct vulkan_rig *rig, int32_t n_rows, int32_t n_cols, uint32_t kind)
{
    struct test *t = rig->t;
    size_t n = (size_t)n_rows * (size_t)n_cols;
    float *gate = malloc(n * 4), *up = malloc(n * 4), *got = malloc(n * 4), *want = malloc(n * 4);
    CHECK(t, gate && up && got && want);
    for (size_t i = 0; i < n; i++) {
        gate[i] = i % 7 == 3 ? (i % 2 ? 100 : -100) * (float)(i % 5 + 1) : test_normal(t);
        up[i] = test_normal(t);
        double x = (double)gate[i], z = kind == 0 ? x : 1.5957691216057308 * (x + 0.044715 * x * x * x);
        want[i] = (float)(x / (1 + exp(-z)) * (double)up[i]);
    }
    struct vulkan_buf bg = vulkan_rig_buf(rig, gate, n * 4), bu = vulkan_rig_buf(rig, up, n * 4);
    const struct vulkan_part parts[] = { vulkan_all(&bg), vulkan_all(&bu) };
    const struct push_glu push = { (uint32_t)n_cols };
    vulkan_rig_run(rig, "glu", (const uint32_t[]){ 128, kind }, 2, parts, &push, sizeof push,
                   (uint32_t)(n_cols + 127) / 128, (uint32_t)n_rows, 1);
    vulkan_rig_read(rig, got, &bg, n * 4);
    CHECK_NMSE(t, got, want, n, 1e-12, "%d rows of %d, activation %u", n_rows, n_cols, kind);
    vulkan_buf_destroy(rig->d, &bg);
    vulkan_buf_destroy(rig->d, &bu);
    free(gate);
    free(up);
    free(got);
    free(want);
}

TEST(vulkan_glu_agrees_with_the_formula)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (uint32_t kind = STEP_SILU; kind <= STEP_GELU; kind++) {
        check_glu(&rig, 1, 64, kind);
        check_glu(&rig, 3, 300, kind);
        check_glu(&rig, 9, 128, kind);
    }
    vulkan_rig_close(&rig);
}
