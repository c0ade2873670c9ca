/* SPDX-License-Identifier: MIT */
/* Block formats against the numpy code of the Python package gguf, bit for bit. The data files and their
 * form are those of make_quant.py. */
#include "tests/support/test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/cpuid.h"
#include "engine/quant/f16.h"
#include "engine/quant/quant.h"

/* NaN is NaN: which payload comes out of NaN * NaN is the compiler's choice of operand order. */
static bool same_bits(float a, float b)
{
    return f32_bits(a) == f32_bits(b) || (isnan(a) && isnan(b));
}

static char *read_golden(struct test *t, const struct quant_format *f, int64_t *n_blocks)
{
    char path[80], lower[16];
    size_t n = 0;
    for (; f->name[n]; n++)
        lower[n] = (char)tolower((unsigned char)f->name[n]);
    lower[n] = '\0';
    snprintf(path, sizeof path, "tests/data/quant/%s.bin", lower);
    char *bytes = test_read_file(path, &n);
    CHECK(t, bytes, "%s", path);
    size_t each = (size_t)f->block_bytes + 4 * (size_t)f->block_weights;
    CHECK(t, n > 0 && n % each == 0, "%s: %zu bytes", path, n);
    *n_blocks = (int64_t)(n / each);
    return bytes;
}

/* n weights of blocks that begin `skew` bytes after a 64-byte border. */
static void convert_skewed(const struct quant_format *f, float *out, const char *blocks, size_t n_bytes,
                           int64_t n, size_t skew)
{
    char *room = aligned_alloc(64, (n_bytes + skew + 127) & ~(size_t)63);
    memcpy(room + skew, blocks, n_bytes);
    f->to_f32(out, room + skew, n);
    free(room);
}

TEST(quant_every_format_equals_the_reference)
{
    int n_formats = 0;
    int64_t n_weights = 0, n_all_blocks = 0;
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
        const struct quant_format *f = quant_format(type);
        if (!f || !f->to_f32)
            continue;
        int64_t n_blocks;
        char *golden = read_golden(t, f, &n_blocks);
        size_t n_bytes = (size_t)n_blocks * (size_t)f->block_bytes;
        int64_t n = n_blocks * f->block_weights;
        const char *want = golden + n_bytes;
        float *got = malloc((size_t)n * sizeof *got);
        for (size_t skew = 0; skew < 4; skew++) {
            memset(got, 0xEE, (size_t)n * sizeof *got);
            convert_skewed(f, got, golden, n_bytes, n, skew);
            for (int64_t i = 0; i < n; i++) {
                float w;
                memcpy(&w, want + 4 * i, 4);
                CHECK(t, same_bits(got[i], w), "%s, block %lld, weight %lld, skew %zu: %08x, wanted %08x",
                      f->name, (long long)(i / f->block_weights), (long long)(i % f->block_weights), skew,
                      f32_bits(got[i]), f32_bits(w));
            }
        }
        printf("%-5s %4lld blocks %5lld weights equal\n", f->name, (long long)n_blocks, (long long)n);
        n_formats++;
        n_weights += n;
        n_all_blocks += n_blocks;
        free(got);
        free(golden);
    }
    printf("%d formats, %lld blocks, %lld weights, bit for bit\n", n_formats, (long long)n_all_blocks,
           (long long)n_weights);
    CHECK_INT(t, n_formats, 16);
}

/* The numbers of a table of the codebooks. */
static void read_codebook(struct test *t, const char *text, const char *head, float out[16])
{
    const char *at = strstr(text, head);
    CHECK(t, at != NULL, "no table '%s'", head);
    at += strlen(head);
    for (int i = 0; i < 16; i++) {
        char *end;
        out[i] = (float)strtol(at, &end, 10);
        CHECK(t, end != at, "'%s': %d of 16 numbers", head, i);
        at = end;
    }
}

/* Each code once, under a scale of 1. */
TEST(quant_codes_of_four_bits_are_those_of_the_codebooks)
{
    static const struct {
        uint32_t type;
        const char *table;
        uint8_t head[8];    /* what stands before the codes */
    } cases[] = {
        { QUANT_IQ4_NL, "kvalues_iq4nl int8_t 16\n", { 0x00, 0x3C } },
        { QUANT_IQ4_XS, "kvalues_iq4nl int8_t 16\n", { 0x00, 0x3C, 0xAA, 0xAA, 0x11, 0x11, 0x11, 0x11 } },
        { QUANT_MXFP4, "kvalues_fp4 int8_t 16\n", { 128 } },
    };
    const char *path = test_shared("vectors/codebooks.txt");
    if (!path)
        SKIP(t, "no ../shared/vectors/codebooks.txt");
    char *text = test_read_file(path, &(size_t){ 0 });
    CHECK(t, text, "%s", path);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const struct quant_format *f = quant_format(cases[k].type);
        int32_t head = f->block_bytes - f->block_weights / 2;
        uint8_t block[136];
        float want[16], got[256];
        memcpy(block, cases[k].head, (size_t)head);
        for (int32_t i = head; i < f->block_bytes; i++)
            block[i] = (uint8_t)((i - head) % 16 * 17);
        read_codebook(t, text, cases[k].table, want);
        f->to_f32(got, block, f->block_weights);
        for (int32_t i = 0; i < f->block_weights; i++)
            CHECK(t, got[i] == want[i % 16], "%s, weight %d: %g, wanted %g", f->name, i, (double)got[i],
                  (double)want[i % 16]);
    }
    free(text);
}

TEST(quant_row_bytes_knows_its_limits)
{
    CHECK_INT(t, quant_row_bytes(QUANT_Q4_K, 512), 288);
    CHECK_INT(t, quant_row_bytes(QUANT_F32, 3), 12);
    CHECK_INT(t, quant_row_bytes(QUANT_Q4_K, 300), 0);
    CHECK_INT(t, quant_row_bytes(4, 256), 0);
    CHECK_INT(t, quant_row_bytes(UINT32_MAX, 256), 0);
    CHECK_INT(t, quant_row_bytes(QUANT_F32, UINT64_MAX / 2), 0);
    CHECK(t, !quant_format(QUANT_N_TYPES) && !quant_format(5) && !quant_format(38));
    CHECK(t, quant_format(40) && !quant_format(40)->to_f32, "NVFP4 is known, not computed");
}

/* ---- half floats ---------------------------------------------------------------------------------- */

TEST(quant_f16_all_patterns_widen_exactly)
{
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        float got = f16_to_f32((uint16_t)h);
        uint32_t exponent = h >> 10 & 31, mantissa = h & 0x3FF, sign = h >> 15 << 31;
        uint32_t want;
        if (exponent == 31)
            want = sign | 0x7F800000 | (mantissa ? 0x400000 | mantissa << 13 : 0);
        else if (exponent == 0)
            want = sign | f32_bits(ldexpf((float)mantissa, -24));
        else
            want = sign | f32_bits(ldexpf((float)(mantissa + 1024), (int)exponent - 25));
        CHECK(t, f32_bits(got) == want, "f16 %04x gives %08x, wanted %08x", h, f32_bits(got), want);
        if (!isnan(got))
            CHECK_INT(t, f16_from_f32(got), h, "and back");
    }
}

TEST(quant_bf16_all_patterns_widen_exactly)
{
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        float got = bf16_to_f32((uint16_t)h);
        CHECK_INT(t, f32_bits(got), h << 16);
        if (!isnan(got))
            CHECK_INT(t, bf16_from_f32(got), h, "and back");
    }
    CHECK_INT(t, bf16_from_f32(f32_from_bits(0x3F808000)), 0x3F80, "a tie goes to the even one");
    CHECK_INT(t, bf16_from_f32(f32_from_bits(0x3F818000)), 0x3F82, "a tie goes to the even one");
    CHECK_INT(t, bf16_from_f32(f32_from_bits(0x7F7FFFFF)), 0x7F80, "beyond the largest");
    CHECK_INT(t, bf16_from_f32(f32_from_bits(0x7F800001)), 0x7FC0, "a NaN stays one");
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("f16c"))) static uint32_t machine_widens(uint16_t half)
{
    return f32_bits(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half))));
}

__attribute__((target("f16c"))) static uint16_t machine_narrows(float value)
{
    return (uint16_t)_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT));
}

/* Around each border between two halves, where rounding is decided, and at random bits. */
TEST(quant_f16_equals_the_machine)
{
    if (!(cpuid_features() & CPUID_AVX2))    /* stands for F16C too */
        SKIP(t, "this processor has no F16C");
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        CHECK_INT(t, f32_bits(f16_to_f32((uint16_t)h)), machine_widens((uint16_t)h), "f16 %04x", h);
        uint32_t at = machine_widens((uint16_t)h);
        uint32_t exponent = h >> 10 & 31;
        uint32_t border = exponent ? 0x1000 : f32_bits(ldexpf((float)(h & 0x3FF) + 0.5f, -24)) - (at & 0x7FFFFFFF);
        for (int step = -2; step <= 2; step++) {
            float value = f32_from_bits(at + border + (uint32_t)step);
            CHECK_INT(t, f16_from_f32(value), machine_narrows(value), "f32 %08x", f32_bits(value));
        }
    }
    for (int i = 0; i < 2000000; i++) {
        float value = f32_from_bits((uint32_t)test_random(t));
        CHECK_INT(t, f16_from_f32(value), machine_narrows(value), "f32 %08x", f32_bits(value));
    }
}
#endif
