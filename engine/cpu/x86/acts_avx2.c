/* SPDX-License-Identifier: MIT */
#include "engine/cpu/kern_tiers.h"

#include <immintrin.h>

/* The quantiser of cpu_kern.h, eight activations at a time; the AVX-512 tier uses it as well. */

static float largest(const __m256 x[4])
{
    __m256 sign = _mm256_set1_ps(-0.0f), max = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++)    /* with a NaN the second operand is kept, as in the scalar loop */
        max = _mm256_max_ps(_mm256_andnot_ps(sign, x[i]), max);
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps(max, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* 32 codes as bytes, in order. */
static __m256i to_codes(const __m256 x[4], float inverse)
{
    __m256 factor = _mm256_set1_ps(inverse);
    __m256i q[4];
    for (int i = 0; i < 4; i++)
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], factor));
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    bytes = _mm256_max_epi8(bytes, _mm256_set1_epi8(-127));    /* what is no number, as in the scalar loop */
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static void quantize(int8_t *q, float *d, float *s, int16_t *h, float *residual, const float *x, int32_t n_cols)
{
    for (int32_t b = 0; b < n_cols / CPU_BLOCK; b++) {
        __m256 in[4];
        for (int i = 0; i < 4; i++)
            in[i] = _mm256_loadu_ps(x + b * CPU_BLOCK + 8 * i);
        float a = largest(in);
        if (a < CPU_BLOCK_FLOOR)
            a = 0;
        float step = a / 127.0f, inverse = a > 0 ? 127.0f / a : 0;
        __m256i codes = to_codes(in, inverse);
        _mm256_storeu_si256((__m256i *)(q + b * CPU_BLOCK), codes);
        __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes), _mm256_set1_epi16(1));
        __m256i sums = _mm256_hadd_epi32(fours, fours);
        sums = _mm256_hadd_epi32(sums, sums);
        int32_t half0 = _mm256_extract_epi32(sums, 0), half1 = _mm256_extract_epi32(sums, 4);
        d[b] = step;
        s[b] = step * (float)(half0 + half1);
        h[2 * b] = (int16_t)half0;
        h[2 * b + 1] = (int16_t)half1;
        for (int i = 0; residual && i < 4; i++) {
            __m128i eight = _mm_loadl_epi64((const __m128i *)(q + b * CPU_BLOCK + 8 * i));
            __m256 code = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
            _mm256_storeu_ps(residual + b * CPU_BLOCK + 8 * i, _mm256_fnmadd_ps(_mm256_set1_ps(step), code, in[i]));
        }
    }
}

void cpu_acts_init_avx2(struct cpu_kern *k)
{
    k->quantize = quantize;
}
