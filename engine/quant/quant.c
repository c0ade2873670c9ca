/* SPDX-License-Identifier: MIT */
#include "engine/quant/quant.h"

#include <stddef.h>

#include "engine/base/size.h"
#include "engine/quant/iq4_nl.h"
#include "engine/quant/iq4_xs.h"
#include "engine/quant/mxfp4.h"
#include "engine/quant/plain.h"
#include "engine/quant/q2k.h"
#include "engine/quant/q3k.h"
#include "engine/quant/q4_0.h"
#include "engine/quant/q4_1.h"
#include "engine/quant/q4k.h"
#include "engine/quant/q5_0.h"
#include "engine/quant/q5_1.h"
#include "engine/quant/q5k.h"
#include "engine/quant/q6k.h"
#include "engine/quant/q8_0.h"

/* Q8_1 and Q8_K hold activations in other programs; the integer types and F64 are no weights. */
static const struct quant_format formats[QUANT_N_TYPES] = {
    [QUANT_F32] = { "F32", 1, 4, quant_f32_to_f32, quant_f32_from_f32 },
    [QUANT_F16] = { "F16", 1, 2, quant_f16_to_f32, quant_f16_from_f32 },
    [QUANT_Q4_0] = { "Q4_0", 32, 18, quant_q4_0_to_f32, quant_q4_0_from_f32 },
    [QUANT_Q4_1] = { "Q4_1", 32, 20, quant_q4_1_to_f32, quant_q4_1_from_f32 },
    [QUANT_Q5_0] = { "Q5_0", 32, 22, quant_q5_0_to_f32, quant_q5_0_from_f32 },
    [QUANT_Q5_1] = { "Q5_1", 32, 24, quant_q5_1_to_f32, quant_q5_1_from_f32 },
    [QUANT_Q8_0] = { "Q8_0", 32, 34, quant_q8_0_to_f32, quant_q8_0_from_f32 },
    [9] = { "Q8_1", 32, 36, NULL, NULL },
    [QUANT_Q2_K] = { "Q2_K", 256, 84, quant_q2k_to_f32, quant_q2k_from_f32 },
    [QUANT_Q3_K] = { "Q3_K", 256, 110, quant_q3k_to_f32, quant_q3k_from_f32 },
    [QUANT_Q4_K] = { "Q4_K", 256, 144, quant_q4k_to_f32, quant_q4k_from_f32 },
    [QUANT_Q5_K] = { "Q5_K", 256, 176, quant_q5k_to_f32, quant_q5k_from_f32 },
    [QUANT_Q6_K] = { "Q6_K", 256, 210, quant_q6k_to_f32, quant_q6k_from_f32 },
    [15] = { "Q8_K", 256, 292, NULL, NULL },
    [16] = { "IQ2_XXS", 256, 66, NULL, NULL },
    [17] = { "IQ2_XS", 256, 74, NULL, NULL },
    [18] = { "IQ3_XXS", 256, 98, NULL, NULL },
    [19] = { "IQ1_S", 256, 50, NULL, NULL },
    [QUANT_IQ4_NL] = { "IQ4_NL", 32, 18, quant_iq4_nl_to_f32, quant_iq4_nl_from_f32 },
    [21] = { "IQ3_S", 256, 110, NULL, NULL },
    [22] = { "IQ2_S", 256, 82, NULL, NULL },
    [QUANT_IQ4_XS] = { "IQ4_XS", 256, 136, quant_iq4_xs_to_f32, quant_iq4_xs_from_f32 },
    [24] = { "I8", 1, 1, NULL, NULL },
    [25] = { "I16", 1, 2, NULL, NULL },
    [26] = { "I32", 1, 4, NULL, NULL },
    [27] = { "I64", 1, 8, NULL, NULL },
    [28] = { "F64", 1, 8, NULL, NULL },
    [29] = { "IQ1_M", 256, 56, NULL, NULL },
    [QUANT_BF16] = { "BF16", 1, 2, quant_bf16_to_f32, quant_bf16_from_f32 },
    [34] = { "TQ1_0", 256, 54, NULL, NULL },
    [35] = { "TQ2_0", 256, 66, NULL, NULL },
    [QUANT_MXFP4] = { "MXFP4", 32, 17, quant_mxfp4_to_f32, quant_mxfp4_from_f32 },
    [40] = { "NVFP4", 64, 36, NULL, NULL },
    [41] = { "Q1_0", 128, 18, NULL, NULL },
    [42] = { "Q2_0", 64, 18, NULL, NULL },
};

const struct quant_format *quant_format(uint32_t type)
{
    return type < QUANT_N_TYPES && formats[type].name ? &formats[type] : NULL;
}

uint64_t quant_row_bytes(uint32_t type, uint64_t n_cols)
{
    const struct quant_format *f = quant_format(type);
    uint64_t n_bytes;
    if (!f || n_cols % (uint64_t)f->block_weights != 0 ||
        !size_mul(n_cols / (uint64_t)f->block_weights, (uint64_t)f->block_bytes, &n_bytes))
        return 0;
    return n_bytes;
}
