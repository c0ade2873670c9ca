/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_QUANTISE_CASE_H
#define QUIP_TESTS_SUPPORT_QUANTISE_CASE_H

#include <stdint.h>

/* Weights for the tests of quantisers, the same on every machine and in tests/golden/make_quantise.py, which has
 * the same lines in Python: whole numbers from splitmix64, then products and sums in double, rounded to f32 once. */
enum quantise_kind {
    QUANTISE_NORMAL,       /* roughly, deviation 0.02 */
    QUANTISE_HEAVY,        /* cubed */
    QUANTISE_OUTLIERS,     /* every 61st weight 25 times as large */
    QUANTISE_N_KINDS
};

static const char *const quantise_kind_names[QUANTISE_N_KINDS] = { "normal", "heavy", "outliers" };

static inline uint64_t quantise_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline double quantise_normal(uint64_t *state)
{
    int64_t sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (int64_t)(quantise_random(state) >> 40) - (1 << 23);
    return (double)sum / (1 << 24);
}

static inline void quantise_weights(float *x, int64_t n, enum quantise_kind kind, uint64_t seed)
{
    uint64_t state = seed;
    for (int64_t i = 0; i < n; i++) {
        double a = quantise_normal(&state);
        a = kind == QUANTISE_HEAVY ? a * a * a : a;
        x[i] = (float)(a * (kind == QUANTISE_OUTLIERS && i % 61 == 7 ? 0.5 : 0.02));
    }
}

/* Between 0.01 and about 8, most small. */
static inline void quantise_importance(float *importance, int64_t n, uint64_t seed)
{
    uint64_t state = seed;
    for (int64_t i = 0; i < n; i++) {
        double u = (double)(quantise_random(&state) >> 40) / (1 << 24);
        importance[i] = (float)(u * u * (u * u) * 8.0 + 0.01);
    }
}

#endif
