/* SPDX-License-Identifier: MIT */
#include "engine/model/build.h"

#include <math.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

/* YaRN (Peng et al. 2023): pairs that turn more than 32 times within the original context keep their
 * frequency, those that turn less than once are slowed by the factor, between them a ramp.
 * Source: reference of the field, with its rounding of the ramp's ends to whole pairs. */
static void yarn_scale(double *freq, const struct hparams *h, double base)
{
    double n_rot = h->n_rot, turns[2] = { 32, 1 }, pair[2];
    for (int i = 0; i < 2; i++)
        pair[i] = n_rot * log(h->rope_orig_ctx / (2 * M_PI * turns[i])) / (2 * log(base));
    double low = fmax(0, floor(pair[0])), high = fmin(n_rot - 1, ceil(pair[1]));
    for (uint32_t i = 0; i < h->n_rot / 2; i++) {
        double ramp = (i - low) / fmax(0.001, high - low);
        double keep = 1 - fmin(1, fmax(0, ramp));
        freq[i] = freq[i] / (double)h->rope_factor * (1 - keep) + freq[i] * keep;
    }
}

static float yarn_magnitude(const struct hparams *h)
{
    double log_factor = log((double)h->rope_factor), m = (double)h->yarn_log_multiplier;
    double magnitude = 1 + 0.1 * log_factor;
    return (float)(m != 0 ? magnitude / (1 + 0.1 * m * log_factor) : magnitude);
}

int32_t build_rope(struct build *b, float base, bool halves, bool scaled, const float *factors)
{
    const struct hparams *h = b->h;
    if (b->rc != ERR_OK)
        return -1;
    double *freq = arena_alloc(b->arena, h->n_rot / 2, sizeof *freq);
    if (!freq || b->n_ropes == b->cap_ropes) {
        build_fail(b, ERR_NOMEM, "%s: no memory for the rotary frequencies", h->arch);
        return -1;
    }
    struct rope *rope = &b->ropes[b->n_ropes];
    *rope = (struct rope){ .n_rot = (int32_t)h->n_rot, .halves = halves, .magnitude = 1, .freq = freq };
    for (uint32_t i = 0; i < h->n_rot / 2; i++) {
        freq[i] = pow((double)base, -2.0 * i / h->n_rot);
        if (factors && !(factors[i] > 0))
            build_fail(b, ERR_FORMAT, "tensor 'rope_freqs.weight': value %g at %u, more than 0 wanted",
                       (double)factors[i], i);
        if (factors)
            freq[i] /= (double)factors[i];
    }
    if (scaled) {
        rope->magnitude = h->rope_attn_factor;
        if (h->rope_scaling == ROPE_SCALING_LINEAR) {
            for (uint32_t i = 0; i < h->n_rot / 2; i++)
                freq[i] /= (double)h->rope_factor;
        } else if (h->rope_scaling == ROPE_SCALING_YARN) {
            yarn_scale(freq, h, (double)base);
            rope->magnitude *= yarn_magnitude(h);
        }
    }
    return b->n_ropes++;
}
