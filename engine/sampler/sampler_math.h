/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SAMPLER_SAMPLER_MATH_H
#define QUIP_ENGINE_SAMPLER_SAMPLER_MATH_H

#include <stdint.h>
#include <string.h>

/* exp, log, powers and random numbers that are the same on every machine: only IEEE additions,
 * multiplications and divisions in double, in the order written (the build forbids contraction). The C
 * library's differ in the last bit between versions and between processors with and without fma, and one
 * bit is enough to draw another token. */

static inline uint64_t sampler_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double sampler_from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x within 2 ulp for x in [-708, 709]; 0 below and infinity above. */
static inline double sampler_exp(double x)
{
    if (x < -708.0)
        return 0;
    if (x > 709.0)
        return __builtin_inf();
    const double magic = 0x1.8p52;    /* adding it rounds to a whole number, which its low bits then hold */
    double t = x * 0x1.71547652b82fep0 + magic, n = t - magic;    /* x / ln 2 */
    double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    /* 1/k! up to k = 13 (|r| <= 0.347 makes the next term 4e-18), even and odd powers apart: two short
     * chains of operations run side by side. */
    double z = r * r, a = 1.0 / 479001600, b = 1.0 / 6227020800;
    a = a * z + 1.0 / 3628800;
    b = b * z + 1.0 / 39916800;
    a = a * z + 1.0 / 40320;
    b = b * z + 1.0 / 362880;
    a = a * z + 1.0 / 720;
    b = b * z + 1.0 / 5040;
    a = a * z + 1.0 / 24;
    b = b * z + 1.0 / 120;
    a = a * z + 0.5;
    b = b * z + 1.0 / 6;
    a = a * z + 1.0;
    b = b * z + 1.0;
    double p = a + r * b;
    return p * sampler_from_bits((sampler_bits(t) + 1023) << 52);
}

/* ln x for normal x > 0: x = m 2^n with m in [0.7, 1.42), ln m = 2 atanh((m - 1) / (m + 1)). */
static inline double sampler_log(double x)
{
    uint64_t bits = sampler_bits(x);
    int64_t n = (int64_t)(bits >> 52) - 1023;
    double m = sampler_from_bits((bits & 0xFFFFFFFFFFFFFull) | 1023ull << 52);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        n++;
    }
    double f = (m - 1) / (m + 1), z = f * f, sum = 0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * z + 1.0 / k;
    return (double)n * 0x1.62e42fefa39efp-1 + 2 * f * sum;
}

/* base^n for n >= 0. */
static inline double sampler_power(double base, int32_t n)
{
    double result = 1;
    for (; n > 0; n >>= 1, base *= base)
        if (n & 1)
            result *= base;
    return result;
}

/* splitmix64: the state walks by a constant, the output is a mix of it. */
static inline uint64_t sampler_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    return x ^ x >> 31;
}

/* Uniform in [0, 1), multiples of 2^-53. */
static inline double sampler_uniform(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15ull;
    return (double)(sampler_mix(*state) >> 11) * 0x1p-53;
}

#endif
