/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "shaders/include/push.h"
#include "tests/support/vulkan_rig.h"

static void check_norm(struct vulkan_rig *rig, int32_t n_rows, int32_t n_cols)
{
    struct test *t = rig->t;
    size_t n = (size_t)n_rows * (size_t)n_cols;
    const float eps = 1e-5f;
    float *x = malloc(n * 4), *gain = malloc((size_t)n_cols * 4), *got = malloc(n * 4), *want = malloc(n * 4);
    CHECK(t, x && gain && got && want);
    for (size_t i = 0; i < n; i++)
        x[i] = test_normal(t);
    for (int32_t i = 0; i < n_cols; i++)
        gain[i] = test_normal(t);
    for (int32_t r = 0; r < n_rows; r++) {
        double sum = 0;
        for (int32_t c = 0; c < n_cols; c++)
            sum += (double)x[r * n_cols + c] * (double)x[r * n_cols + c];
        for (int32_t c = 0; c < n_cols; c++)
            want[r * n_cols + c] = (float)((double)(x[r * n_cols + c] * gain[c]) / sqrt(sum / n_cols + (double)eps));
    }
    struct vulkan_buf bx = vulkan_rig_buf(rig, x, n * 4), bg = vulkan_rig_buf(rig, gain, (size_t)n_cols * 4);
    struct vulkan_buf by = vulkan_rig_buf(rig, NULL, n * 4);
    const struct vulkan_part parts[] = { vulkan_all(&bx), vulkan_all(&bg), vulkan_all(&by) };
    const struct push_norm push = { (uint32_t)n_cols, eps };
    vulkan_rig_run(rig, "norm", (const uint32_t[]){ 128 }, 1, parts, &push, sizeof push, (uint32_t)n_rows, 1, 1);
    vulkan_rig_read(rig, got, &by, n * 4);
    CHECK_NMSE(t, got, want, n, 1e-12, "%d rows of %d", n_rows, n_cols);
    vulkan_buf_destroy(rig->d, &bx);
    vulkan_buf_destroy(rig->d, &bg);
    vulkan_buf_destroy(rig->d, &by);
    free(x);
    free(gain);
    free(got);
    free(want);
}

TEST(vulkan_norm_agrees_with_the_formula)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    check_norm(&rig, 1, 64);
    check_norm(&rig, 3, 576);
    check_norm(&rig, 9, 100);
    vulkan_rig_close(&rig);
}
