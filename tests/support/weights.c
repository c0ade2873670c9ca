/* SPDX-License-Identifier: MIT */
#include "tests/support/weights.h"

#include "engine/quant/f16.h"

const uint32_t weights_types[WEIGHTS_N_TYPES] = {
    QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0,   QUANT_Q5_1,   QUANT_Q8_0,
    QUANT_Q2_K, QUANT_Q3_K, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K, QUANT_IQ4_NL, QUANT_IQ4_XS, QUANT_MXFP4
};

/* The f16 numbers of a block, one after another. */
static const struct {
    uint8_t at, n;
} halves[QUANT_N_TYPES] = {
    [QUANT_Q4_0] = { 0, 1 },   [QUANT_Q4_1] = { 0, 2 }, [QUANT_Q5_0] = { 0, 1 }, [QUANT_Q5_1] = { 0, 2 },
    [QUANT_Q8_0] = { 0, 1 },   [QUANT_Q2_K] = { 80, 2 }, [QUANT_Q3_K] = { 108, 1 }, [QUANT_Q4_K] = { 0, 2 },
    [QUANT_Q5_K] = { 0, 2 },   [QUANT_Q6_K] = { 208, 1 }, [QUANT_IQ4_NL] = { 0, 1 }, [QUANT_IQ4_XS] = { 0, 1 }
};

static float draw_scale(struct test *t)
{
    float scale = test_uniform(t) * 0.03f;
    return test_below(t, 16) == 0 ? scale * 1e-4f : scale;
}

static void draw_float(struct test *t, uint32_t type, uint8_t *block)
{
    uint16_t half = f16_from_f32(test_normal(t));
    float value = f16_to_f32(half);
    uint16_t brain = bf16_from_f32(value);
    if (type == QUANT_F32)
        memcpy(block, &value, 4);
    else
        memcpy(block, type == QUANT_F16 ? &half : &brain, 2);
}

void weights_draw_scales(struct test *t, uint32_t type, void *blocks, size_t n_bytes)
{
    const struct quant_format *f = quant_format(type);
    for (uint8_t *block = blocks; n_bytes > 0; block += f->block_bytes, n_bytes -= (size_t)f->block_bytes) {
        if (f->block_weights == 1)
            draw_float(t, type, block);
        else if (type == QUANT_MXFP4)
            block[0] = (uint8_t)(test_below(t, 16) == 0 ? test_below(t, 3) : 116 + test_below(t, 8));
        for (int i = 0; i < halves[type].n; i++) {
            uint16_t half = f16_from_f32(draw_scale(t));
            memcpy(block + halves[type].at + 2 * i, &half, 2);
        }
    }
}
