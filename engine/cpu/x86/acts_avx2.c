/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kern_tiers.h"

#include <immintrin.h>
#include <math.h>

/* The quantiser of cpu_kern.h and its rule for outliers, eight activations at a time; the AVX-512 tier
 * uses it as well. */

static inline float upper_max(__m256 a)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* max(|x|, max); where x is no number max stays, as in the scalar loop. */
static inline __m256 max_of(__m256 x, __m256 max)
{
    return _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), max);
}

static inline __m256i scaled(__m256 x, __m256 factor)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(x, factor));
}

static inline void store_residual(float *out, __m256 x, float step, __m128i eight_codes)
{
    __m256 code = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight_codes));
    _mm256_storeu_ps(out, _mm256_fnmadd_ps(_mm256_set1_ps(step), code, x));
}

static void quantize(int8_t *q, float *d, float *s, int16_t *h, float *residual, const float *x,
                     int32_t n_cols)
{
    for (int32_t b = 0; b < n_cols / CPU_BLOCK; b++, x += CPU_BLOCK, q += CPU_BLOCK) {
        __m256 x0 = _mm256_loadu_ps(x), x1 = _mm256_loadu_ps(x + 8);
        __m256 x2 = _mm256_loadu_ps(x + 16), x3 = _mm256_loadu_ps(x + 24);
        float a = upper_max(max_of(x3, max_of(x2, max_of(x1, max_of(x0, _mm256_setzero_ps())))));
        if (a < CPU_BLOCK_FLOOR)
            a = 0;
        float step = a / 127.0f, inverse = a > 0 ? 127.0f / a : 0;

        __m256 factor = _mm256_set1_ps(inverse);
        __m256i low = _mm256_packs_epi32(scaled(x0, factor), scaled(x1, factor));
        __m256i high = _mm256_packs_epi32(scaled(x2, factor), scaled(x3, factor));
        __m256i codes = _mm256_packs_epi16(low, high);
        codes = _mm256_max_epi8(codes, _mm256_set1_epi8(-127));    /* what is no number, as in scalar */
        codes = _mm256_permutevar8x32_epi32(codes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)q, codes);

        __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes),
                                         _mm256_set1_epi16(1));
        sums = _mm256_hadd_epi32(sums, sums);
        sums = _mm256_hadd_epi32(sums, sums);
        int32_t half0 = _mm256_extract_epi32(sums, 0), half1 = _mm256_extract_epi32(sums, 4);
        d[b] = step;
        s[b] = step * (float)(half0 + half1);
        h[2 * b] = (int16_t)half0;
        h[2 * b + 1] = (int16_t)half1;
        if (residual) {
            float *out = residual + b * CPU_BLOCK;
            __m128i first = _mm256_castsi256_si128(codes), second = _mm256_extracti128_si256(codes, 1);
            store_residual(out, x0, step, first);
            store_residual(out + 8, x1, step, _mm_srli_si128(first, 8));
            store_residual(out + 16, x2, step, second);
            store_residual(out + 24, x3, step, _mm_srli_si128(second, 8));
        }
    }
}

static int is_outlier(const float *x, int32_t n_cols)
{
    __m256 sum0 = _mm256_setzero_ps(), sum1 = sum0, max = sum0;
    for (int32_t c = 0; c < n_cols; c += 16) {
        __m256 a = _mm256_loadu_ps(x + c), b = _mm256_loadu_ps(x + c + 8);
        sum0 = _mm256_fmadd_ps(a, a, sum0);
        sum1 = _mm256_fmadd_ps(b, b, sum1);
        max = max_of(b, max_of(a, max));
    }
    __m256 eight = _mm256_add_ps(sum0, sum1);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    float square_sum = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    return upper_max(max) > (float)CPU_OUTLIER * sqrtf(square_sum / (float)n_cols);
}

void cpu_acts_init_avx2(struct cpu_kern *k)
{
    k->quantize = quantize;
    k->is_outlier = is_outlier;
}
