/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kern_tiers.h"

#include <math.h>

/* Nearest, ties to even. |x| <= 127 for finite activations; the bounds keep an infinity or a NaN from
 * becoming a code that products do not expect. */
static int32_t round_to_code(float x)
{
    float rounded = rintf(x);
    return rounded > 127 ? 127 : rounded >= -127 ? (int32_t)rounded : -127;
}

static void quantize(int8_t *q, float *d, float *s, int16_t *h, float *residual, const float *x,
                     int32_t n_cols)
{
    for (int32_t b = 0; b < n_cols / CPU_BLOCK; b++) {
        const float *in = x + b * CPU_BLOCK;
        float a = 0;
        for (int32_t j = 0; j < CPU_BLOCK; j++)
            a = fabsf(in[j]) > a ? fabsf(in[j]) : a;
        if (a < CPU_BLOCK_FLOOR)
            a = 0;
        float step = a / 127.0f, inverse = a > 0 ? 127.0f / a : 0;
        int32_t half[2] = { 0, 0 };
        for (int32_t j = 0; j < CPU_BLOCK; j++) {
            int32_t code = round_to_code(in[j] * inverse);
            q[b * CPU_BLOCK + j] = (int8_t)code;
            half[j / 16] += code;
            if (residual)
                residual[b * CPU_BLOCK + j] = fmaf(-step, (float)code, in[j]);
        }
        d[b] = step;
        s[b] = step * (float)(half[0] + half[1]);
        h[2 * b] = (int16_t)half[0];
        h[2 * b + 1] = (int16_t)half[1];
    }
}

static int is_outlier(const float *x, int32_t n_cols)
{
    float lane[16] = { 0 }, max = 0;
    for (int32_t c = 0; c < n_cols; c++) {
        lane[c % 16] = fmaf(x[c], x[c], lane[c % 16]);
        max = fabsf(x[c]) > max ? fabsf(x[c]) : max;
    }
    for (int32_t width = 8; width >= 1; width /= 2)
        for (int32_t j = 0; j < width; j++)
            lane[j] = lane[j] + lane[j + width];
    return max > (float)CPU_OUTLIER * sqrtf(lane[0] / (float)n_cols);
}

void cpu_acts_init_scalar(struct cpu_kern *k)
{
    k->quantize = quantize;
    k->is_outlier = is_outlier;
}
