/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/quant/f16.h"
#include "engine/quant/iq4_nl.h"
#include "engine/quant/mxfp4.h"
#include "engine/vulkan/vulkan_weight.h"
#include "tests/support/weights.h"

/* Planes read back as vulkan_pack.h describes them, in the order of operations of the formats' own definition, so that
 * the weights must be the same bit by bit. */

static uint32_t word(const void *plane, size_t i)
{
    uint32_t w;
    memcpy(&w, (const char *)plane + 4 * i, 4);
    return w;
}

static float half(const void *plane, size_t i)
{
    uint16_t h;
    memcpy(&h, (const char *)plane + 2 * i, 2);
    return f16_to_f32(h);
}

/* Bits of weight i of a unit in an array of bytes. */
static int two_bits(const uint8_t *unit, int i)
{
    return unit[4 * (i / 16) + i % 4] >> (i % 16 / 4 * 2) & 3;
}

static int four_bits(const uint8_t *unit, int i)
{
    return unit[4 * (i / 8) + i % 4] >> (i % 8 / 4 * 4) & 15;
}

static int one_bit(const uint8_t *unit, int i)
{
    return unit[i % 4] >> (i / 4) & 1;
}

/* Numbers A (which 0) and B (1) of unit u in three words. */
static int six_bits(const void *words, int which, int u)
{
    return (int)((word(words, (size_t)which) >> 4 * u & 15) | (word(words, 2) >> (4 * u + 2 * which) & 3) << 4);
}

static float unpacked(uint32_t type, uint8_t *const plane[VULKAN_N_PLANES], int64_t at)
{
    size_t unit = (size_t)at / 32, block = (size_t)at / 256;
    int i = (int)(at % 32), u = (int)(unit % 8), run = (int)(at % 256 / 16);
    const uint8_t *codes = plane[VULKAN_PLANE_CODES], *high = plane[VULKAN_PLANE_HIGH];
    const uint8_t *scales = plane[VULKAN_PLANE_SCALES];
    const void *d = plane[VULKAN_PLANE_D];
    bool has_nibbles = 2 * vulkan_pack_bytes(type, VULKAN_PLANE_CODES) == vulkan_pack_block(type);
    int q4 = has_nibbles ? four_bits(codes + 16 * unit, i) : 0;
    switch (type) {
    case QUANT_F32: return f32_from_bits(word(codes, (size_t)at));
    case QUANT_F16: return half(codes, (size_t)at);
    case QUANT_BF16: return bf16_to_f32((uint16_t)(codes[2 * at] | codes[2 * at + 1] << 8));
    case QUANT_Q4_0: return half(d, unit) * (float)(q4 - 8);
    case QUANT_Q4_1: return half(d, 2 * unit) * (float)q4 + half(d, 2 * unit + 1);
    case QUANT_Q5_0: return half(d, unit) * (float)((q4 | one_bit(high + 4 * unit, i) << 4) - 16);
    case QUANT_Q5_1:
        return half(d, 2 * unit) * (float)(q4 | one_bit(high + 4 * unit, i) << 4) + half(d, 2 * unit + 1);
    case QUANT_Q8_0: return half(d, unit) * (float)(int8_t)codes[at];
    case QUANT_Q2_K:
        return half(d, 2 * block) * (float)(scales[16 * block + (size_t)run] & 15) *
                   (float)two_bits(codes + 8 * unit, i) -
               half(d, 2 * block + 1) * (float)(scales[16 * block + (size_t)run] >> 4);
    case QUANT_Q3_K:
        return half(d, block) * (float)(six_bits(scales + 12 * block, run % 2, u) - 32) *
               (float)((two_bits(codes + 8 * unit, i) | one_bit(high + 4 * unit, i) << 2) - 4);
    case QUANT_Q4_K:
        return half(scales, 8 * block) * (float)six_bits(scales + 16 * block + 4, 0, u) * (float)q4 -
               half(scales, 8 * block + 1) * (float)six_bits(scales + 16 * block + 4, 1, u);
    case QUANT_Q5_K:
        return half(scales, 8 * block) * (float)six_bits(scales + 16 * block + 4, 0, u) *
                   (float)(q4 | one_bit(high + 4 * unit, i) << 4) -
               half(scales, 8 * block + 1) * (float)six_bits(scales + 16 * block + 4, 1, u);
    case QUANT_Q6_K:
        return half(d, block) * (float)(int8_t)scales[16 * block + (size_t)run] *
               (float)((q4 | two_bits(high + 8 * unit, i) << 4) - 32);
    case QUANT_IQ4_NL: return half(d, unit) * (float)quant_iq4_values[q4];
    case QUANT_IQ4_XS:
        return half(scales, 4 * block) *
               (float)((int)((word(scales, 2 * block + 1) >> 4 * u & 15) |
                             (word(scales, 2 * block) >> (16 + 2 * u) & 3) << 4) - 32) *
               (float)quant_iq4_values[q4];
    case QUANT_MXFP4: return quant_mxfp4_scale(((const uint8_t *)d)[unit]) * (float)quant_mxfp4_values[q4];
    default: return NAN;
    }
}

static void random_blocks(struct test *t, uint32_t type, uint8_t *data, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        data[i] = (uint8_t)test_random(t);
    weights_draw_scales(t, type, data, n_bytes);
}

TEST(vulkan_planes_unpack_to_the_weights_of_the_file)
{
    for (int k = 0; k < WEIGHTS_N_TYPES; k++) {
        uint32_t type = weights_types[k];
        const struct quant_format *f = quant_format(type);
        int64_t block = vulkan_pack_block(type), n_blocks = 7, n = n_blocks * block;
        size_t n_bytes = (size_t)quant_row_bytes(type, (uint64_t)n), n_planes_bytes = 0;
        uint8_t *data = malloc(n_bytes + 1), *plane[VULKAN_N_PLANES];
        float *want = malloc((size_t)n * sizeof *want), *got = malloc((size_t)n * sizeof *got);
        CHECK(t, data && want && got);
        random_blocks(t, type, data + 1, n_bytes);    /* no alignment at all */
        for (int i = 0; i < VULKAN_N_PLANES; i++) {
            size_t plane_bytes = (size_t)(n_blocks * vulkan_pack_bytes(type, i));
            n_planes_bytes += plane_bytes;
            plane[i] = malloc(plane_bytes + 1);
            CHECK(t, plane[i] != NULL);
            plane[i][plane_bytes] = 0xa5;
            vulkan_pack(type, i, plane[i], data + 1, n_blocks);
            CHECK_INT(t, plane[i][plane_bytes], 0xa5, "%s writes beyond plane %d", f->name, i);
        }
        CHECK_INT(t, n_planes_bytes, n_bytes, "%s takes as much as in the file", f->name);
        f->to_f32(want, data + 1, n);
        for (int64_t i = 0; i < n; i++)
            got[i] = unpacked(type, plane, i);
        CHECK_BYTES(t, got, want, (size_t)n * sizeof *got, "%s", f->name);
        for (int i = 0; i < VULKAN_N_PLANES; i++)
            free(plane[i]);
        free(data);
        free(want);
        free(got);
    }
}

TEST(vulkan_planes_of_a_part_are_a_part_of_the_planes)
{
    enum { N_BLOCKS = 9, FROM = 4 };
    for (int k = 0; k < WEIGHTS_N_TYPES; k++) {
        uint32_t type = weights_types[k];
        size_t n_bytes = (size_t)quant_row_bytes(type, (uint64_t)(N_BLOCKS * vulkan_pack_block(type)));
        uint8_t *data = malloc(n_bytes), *all = malloc(n_bytes), *part = malloc(n_bytes);
        CHECK(t, data && all && part);
        random_blocks(t, type, data, n_bytes);
        for (int i = 0; i < VULKAN_N_PLANES; i++) {
            size_t bytes = (size_t)vulkan_pack_bytes(type, i);
            vulkan_pack(type, i, all, data, N_BLOCKS);
            vulkan_pack(type, i, part, data + n_bytes / N_BLOCKS * FROM, N_BLOCKS - FROM);
            CHECK_BYTES(t, part, all + FROM * bytes, (N_BLOCKS - FROM) * bytes, "%s plane %d",
                        quant_format(type)->name, i);
        }
        free(data);
        free(all);
        free(part);
    }
}

TEST(vulkan_weight_takes_no_more_than_the_file_and_padding)
{
    for (int k = 0; k < WEIGHTS_N_TYPES; k++) {
        struct tensor w = { .name = "w", .type = weights_types[k], .n_rows = 7, .n_cols = 768 };
        w.row_bytes = quant_row_bytes(w.type, 768);
        w.n_bytes = 7 * w.row_bytes;
        CHECK(t, vulkan_weight_supported(w.type));
        CHECK(t, vulkan_weight_bytes(&w) >= w.n_bytes && vulkan_weight_bytes(&w) <= w.n_bytes + 60, "%s",
              quant_format(w.type)->name);
    }
    CHECK(t, !vulkan_weight_supported(9) && !vulkan_weight_supported(40) && !vulkan_weight_supported(99999));
}

TEST(vulkan_weight_refuses_what_it_has_no_layout_for)
{
    static const struct {
        uint32_t type;
        int32_t n_cols;
        const char *text;
    } cases[] = {
        { QUANT_F32, 100, "tensor 'blk.0.w': rows of 100 weights of type F32, a multiple of 32 wanted for Vulkan" },
        { QUANT_Q4_K, 96, "tensor 'blk.0.w': rows of 96 weights of type Q4_K, a multiple of 256 wanted for Vulkan" },
        { 34, 256, "tensor 'blk.0.w': type TQ1_0 has no layout for Vulkan" },
        { 77777, 256, "tensor 'blk.0.w': type unknown has no layout for Vulkan" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tensor w = { .name = "blk.0.w", .type = cases[i].type, .n_rows = 2, .n_cols = cases[i].n_cols };
        struct vulkan_weight out;
        struct err e = { 0 };
        struct vulkan_device none = { 0 };
        CHECK_INT(t, vulkan_weight_bytes(&w), 0);
        CHECK(t, vulkan_weight_create_chunked(&none, &w, 1 << 20, &out, &e) == ERR_UNSUPPORTED);
        CHECK_TEXT(t, e.text, cases[i].text);
    }
}
