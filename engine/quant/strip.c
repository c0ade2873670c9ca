/* SPDX-License-Identifier: MIT */
#include "engine/quant/strip.h"

#include <math.h>
#include <stddef.h>

#include "engine/quant/f16.h"

static void begin(struct quant_strip *s, int64_t at, int64_t n)
{
    s->n = n - at < QUANT_STRIP ? (int32_t)(n - at) : QUANT_STRIP;
}

static float clamp(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

/* Of a scale that rounds to 0 in a half long before: 0. */
static float inverse_of(float d)
{
    return fabsf(d) > 1e-30f ? 1.0f / d : 0.0f;
}

/* Importance of the strip, with the mean square of each span of weights (0: of the row) for its runs. */
static struct quant_weights by_importance(struct quant_strip *s, const float *x, int64_t at, int64_t n,
                                          const float *importance, int32_t run, int32_t span, float factor)
{
    float means[QUANT_STRIP / 32];
    if (span != 0)
        quant_mean_squares(means, x + at, s->n / span, span);
    else if (at == 0)
        quant_mean_squares(&s->row_mean, x, 1, n);
    for (int32_t i = 0; i < s->n; i += run)
        s->mean_square[i / run] = factor * (span != 0 ? means[i / span] : s->row_mean);
    return (struct quant_weights){ QUANT_WEIGH_IMPORTANCE, importance + at, s->mean_square };
}

/* ---- a block is a run ----------------------------------------------------------------------------------------- */

void quant_strip_symmetric(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance,
                           int32_t top)
{
    const struct quant_kern *kern = quant_kern();
    struct quant_rule rule = { .run = 32, .top = top };
    begin(s, at, n);
    if (importance) {
        struct quant_weights weights = by_importance(s, x, at, n, importance, 32, 0, 1.0f);
        kern->symmetric(&s->fit, x + at, s->n / 32, &weights, &rule);
    } else
        kern->extreme(&s->fit, x + at, s->n / 32, NULL, &rule);
    kern->encode(s->codes, x + at, &s->fit, s->n / 32, 32, -top, top - 1,
                 importance ? QUANT_ROUND_EVEN : QUANT_ROUND_UP);
}

/* Parts of the affine search with importance, for all formats. */
static struct quant_rule affine_with_importance(int32_t run, int32_t top)
{
    return (struct quant_rule){ .run = run, .top = top, .first = -0.9f, .step = 0.05f, .n_tries = 37 };
}

void quant_strip_range(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance,
                       int32_t top)
{
    const struct quant_kern *kern = quant_kern();
    struct quant_rule rule = affine_with_importance(32, top);
    begin(s, at, n);
    if (importance) {
        struct quant_weights weights = by_importance(s, x, at, n, importance, 32, 0, 1.0f);
        kern->affine(&s->fit, x + at, s->n / 32, &weights, &rule);
    } else
        kern->range(&s->fit, x + at, s->n / 32, NULL, &rule);
    kern->encode(s->codes, x + at, &s->fit, s->n / 32, 32, 0, top, importance ? QUANT_ROUND_EVEN : QUANT_ROUND_UP);
}

static void search_codebook(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance,
                            int32_t span)
{
    struct quant_rule rule = { .run = 32 };
    struct quant_weights weights = { .kind = QUANT_WEIGH_SQUARE };
    begin(s, at, n);
    if (importance)
        weights = by_importance(s, x, at, n, importance, 32, span, 2.0f);
    quant_kern()->codebook(&s->fit, x + at, s->n / 32, &weights, &rule);
}

void quant_strip_codebook(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance)
{
    search_codebook(s, x, at, n, importance, 32);
    for (int32_t r = 0; r < s->n / 32; r++)
        s->fit.inverse[r] = inverse_of(s->fit.scale[r]);
    quant_kern()->encode_codebook(s->codes, x + at, &s->fit, s->n / 32, 32);
}

void quant_strip_q8_0(struct quant_strip *s, const float *x, int64_t at, int64_t n)
{
    struct quant_rule rule = { .run = 32, .top = 127 };
    begin(s, at, n);
    quant_kern()->extreme(&s->fit, x + at, s->n / 32, NULL, &rule);
    for (int32_t r = 0; r < s->n / 32; r++) {
        s->fit.scale[r] = fabsf(s->fit.scale[r]);
        s->fit.inverse[r] = fabsf(s->fit.inverse[r]);
    }
    quant_kern()->encode(s->codes, x + at, &s->fit, s->n / 32, 32, -127, 127, QUANT_ROUND_AWAY);
}

/* ---- super-blocks, scales and minima -------------------------------------------------------------------------- */

/* Codes of a block's scales (or minima): nearest, where the largest is top. */
static uint16_t code_nearest(uint8_t *codes, const float *values, int32_t n_runs, int32_t top)
{
    float most = 0;
    for (int32_t r = 0; r < n_runs; r++)
        most = values[r] > most ? values[r] : most;
    float inverse = most > 1e-30f ? (float)top / most : 0;
    for (int32_t r = 0; r < n_runs; r++)
        codes[r] = (uint8_t)clamp(rintf(inverse * values[r]), 0, (float)top);
    return f16_from_finite(most / (float)top);
}

static void code_positive(struct quant_strip *s, int32_t n_runs, int32_t top, bool weighed)
{
    int32_t n_blocks = s->n / 256;
    float limit = QUANT_F16_MAX * (float)top, d[QUANT_STRIP / 256], dmin[QUANT_STRIP / 256];
    for (int32_t r = 0; r < n_blocks * n_runs; r++) {
        s->fit.scale[r] = clamp(s->fit.scale[r], 0, limit);
        s->fit.min[r] = clamp(s->fit.min[r], 0, limit);
    }
    if (weighed) {
        quant_kern()->positive(s->scales, d, s->fit.scale, s->fit.weight, n_blocks, n_runs, top);
        quant_kern()->positive(s->mins, dmin, s->fit.min, s->fit.weight, n_blocks, n_runs, top);
    }
    for (int32_t b = 0, r = 0; b < n_blocks; b++, r += n_runs)
        if (weighed) {
            s->d[b] = f16_from_finite(d[b]);
            s->dmin[b] = f16_from_finite(dmin[b]);
        } else {
            s->d[b] = code_nearest(s->scales + r, s->fit.scale + r, n_runs, top);
            s->dmin[b] = code_nearest(s->mins + r, s->fit.min + r, n_runs, top);
        }
}

void quant_strip_super_affine(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance,
                              const struct quant_super_affine *how)
{
    const struct quant_kern *kern = quant_kern();
    struct quant_rule rule = how->rule;
    struct quant_weights weights = { .kind = how->weigh };
    int32_t n_runs = 256 / rule.run;
    begin(s, at, n);
    if (importance) {
        rule = affine_with_importance(rule.run, rule.top);
        weights = by_importance(s, x, at, n, importance, rule.run, 256, how->mean_factor);
    }
    kern->affine(&s->fit, x + at, s->n / rule.run, &weights, &rule);
    code_positive(s, n_runs, how->scale_top, importance != NULL);
    for (int32_t r = 0; r < s->n / rule.run; r++) {
        s->fit.scale[r] = f16_to_f32(s->d[r / n_runs]) * (float)s->scales[r];
        s->fit.shift[r] = f16_to_f32(s->dmin[r / n_runs]) * (float)s->mins[r];
    }
    kern->encode(s->codes, x + at, &s->fit, s->n / rule.run, rule.run, 0, rule.top, QUANT_DIVIDE_EVEN);
}

/* ---- super-blocks, signed scales ------------------------------------------------------------------------------ */

static void limit_scales(struct quant_strip *s, int32_t n_runs, int32_t top)
{
    float limit = QUANT_F16_MAX * (float)top;
    for (int32_t r = 0; r < n_runs; r++)
        s->fit.scale[r] = clamp(s->fit.scale[r], -limit, limit);
}

/* Codes of a block's scales: nearest, where the one of the largest magnitude is -top. Returns the block's scale
 * before rounding. */
static float code_signed(uint8_t *codes, const float *scales, int32_t n_runs, int32_t top)
{
    float extreme = 0;
    for (int32_t r = 0; r < n_runs; r++)
        extreme = fabsf(scales[r]) > fabsf(extreme) ? scales[r] : extreme;
    if (fabsf(extreme) < 1e-15f)
        extreme = 0;
    float inverse = extreme != 0 ? -(float)top / extreme : 0;
    for (int32_t r = 0; r < n_runs; r++)
        codes[r] = (uint8_t)(clamp(rintf(inverse * scales[r]), (float)-top, (float)(top - 1)) + (float)top);
    return extreme != 0 ? 1.0f / inverse : 0;
}

static void encode_signed(struct quant_strip *s, const float *x, int32_t scale_top, int32_t top)
{
    for (int32_t r = 0; r < s->n / 16; r++) {
        s->fit.scale[r] = f16_to_f32(s->d[r / 16]) * (float)((int32_t)s->scales[r] - scale_top);
        s->fit.shift[r] = 0;
    }
    quant_kern()->encode(s->codes, x, &s->fit, s->n / 16, 16, -top, top - 1, QUANT_DIVIDE_EVEN);
}

void quant_strip_q3k(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance)
{
    const struct quant_kern *kern = quant_kern();
    struct quant_rule rule = { .run = 16, .top = 4 }, of_scales = { .run = 16, .top = 32 };
    struct quant_weights weights = { .kind = QUANT_WEIGH_SQUARE };
    begin(s, at, n);
    if (importance) {
        weights = by_importance(s, x, at, n, importance, 16, 256, 2.0f);
        kern->symmetric(&s->fit, x + at, s->n / 16, &weights, &rule);
        limit_scales(s, s->n / 16, of_scales.top);
        struct quant_fit blocks;
        struct quant_weights sums = { .kind = QUANT_WEIGH_GIVEN, .importance = s->fit.weight };
        kern->symmetric(&blocks, s->fit.scale, s->n / 256, &sums, &of_scales);
        kern->encode(s->scales, s->fit.scale, &blocks, s->n / 256, 16, -32, 31, QUANT_ROUND_EVEN);
        for (int32_t b = 0; b < s->n / 256; b++)
            s->d[b] = f16_from_finite(blocks.scale[b]);
    } else {
        kern->greedy(&s->fit, x + at, s->n / 16, &weights, &rule);
        limit_scales(s, s->n / 16, of_scales.top);
        for (int32_t b = 0; b < s->n / 256; b++)
            s->d[b] = f16_from_finite(code_signed(s->scales + 16 * b, s->fit.scale + 16 * b, 16, of_scales.top));
    }
    encode_signed(s, x + at, of_scales.top, rule.top);
}

void quant_strip_q6k(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance)
{
    struct quant_rule rule = { .run = 16, .top = 32 };
    struct quant_weights weights = { .kind = importance ? QUANT_WEIGH_GIVEN : QUANT_WEIGH_SQUARE };
    begin(s, at, n);
    if (importance)
        weights.importance = importance + at;
    quant_kern()->symmetric(&s->fit, x + at, s->n / 16, &weights, &rule);
    limit_scales(s, s->n / 16, 128);
    for (int32_t b = 0; b < s->n / 256; b++)
        s->d[b] = f16_from_finite(code_signed(s->scales + 16 * b, s->fit.scale + 16 * b, 16, 128));
    encode_signed(s, x + at, 128, rule.top);
}

/* Codes are made with the block's scale as it was before rounding. */
void quant_strip_iq4_xs(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance)
{
    search_codebook(s, x, at, n, importance, 256);
    limit_scales(s, s->n / 32, 32);
    for (int32_t b = 0; b < s->n / 256; b++) {
        float d = code_signed(s->scales + 8 * b, s->fit.scale + 8 * b, 8, 32);
        s->d[b] = f16_from_finite(d);
        for (int32_t r = 8 * b; r < 8 * b + 8; r++)
            s->fit.inverse[r] = inverse_of(d * (float)((int32_t)s->scales[r] - 32));
    }
    quant_kern()->encode_codebook(s->codes, x + at, &s->fit, s->n / 32, 32);
}
