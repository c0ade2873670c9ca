/* SPDX-License-Identifier: MIT */
/* Types by number: of metadata values and of tensors.
 *
 * The tensor table is the container's own because bounds of tensor data hang on it and this folder
 * stands on base alone; tests/unit/test_gguf.c holds it equal to the one in quant/quant.c. */
#include "engine/gguf/gguf_file.h"

#include <string.h>

static const struct gguf_tensor_type types[] = {
    [0] = { "F32", 1, 4 },         [1] = { "F16", 1, 2 },         [2] = { "Q4_0", 32, 18 },
    [3] = { "Q4_1", 32, 20 },      [6] = { "Q5_0", 32, 22 },      [7] = { "Q5_1", 32, 24 },
    [8] = { "Q8_0", 32, 34 },      [9] = { "Q8_1", 32, 36 },      [10] = { "Q2_K", 256, 84 },
    [11] = { "Q3_K", 256, 110 },   [12] = { "Q4_K", 256, 144 },   [13] = { "Q5_K", 256, 176 },
    [14] = { "Q6_K", 256, 210 },   [15] = { "Q8_K", 256, 292 },   [16] = { "IQ2_XXS", 256, 66 },
    [17] = { "IQ2_XS", 256, 74 },  [18] = { "IQ3_XXS", 256, 98 }, [19] = { "IQ1_S", 256, 50 },
    [20] = { "IQ4_NL", 32, 18 },   [21] = { "IQ3_S", 256, 110 },  [22] = { "IQ2_S", 256, 82 },
    [23] = { "IQ4_XS", 256, 136 }, [24] = { "I8", 1, 1 },         [25] = { "I16", 1, 2 },
    [26] = { "I32", 1, 4 },        [27] = { "I64", 1, 8 },        [28] = { "F64", 1, 8 },
    [29] = { "IQ1_M", 256, 56 },   [30] = { "BF16", 1, 2 },       [34] = { "TQ1_0", 256, 54 },
    [35] = { "TQ2_0", 256, 66 },   [39] = { "MXFP4", 32, 17 },    [40] = { "NVFP4", 64, 36 },
    [41] = { "Q1_0", 128, 18 },    [42] = { "Q2_0", 64, 18 },
};

enum { N_TYPES = sizeof types / sizeof types[0] };

const struct gguf_tensor_type *gguf_tensor_type(uint32_t type)
{
    return type < N_TYPES && types[type].name ? &types[type] : NULL;
}

/* Numbers one meets in the wild that are no types of GGUF: those it took back, and those of a fork
 * whose files look the same from outside. */
static const struct {
    uint32_t type;
    const char *name;
} foreign[] = {
    { 4, "Q4_2, removed in 2023" },
    { 5, "Q4_3, removed in 2023" },
    { 31, "Q4_0_4_4, removed: Q4_0 took its place" },
    { 32, "Q4_0_4_8, removed: Q4_0 took its place" },
    { 33, "Q4_0_8_8, removed: Q4_0 took its place" },
    { 36, "IQ4_NL_4_4, removed, or I2_S of ik_llama.cpp" },
    { 37, "IQ4_NL_4_8, removed: IQ4_NL took its place" },
    { 38, "IQ4_NL_8_8, removed: IQ4_NL took its place" },
    { 97, "Q8_0_X4 of ik_llama.cpp" },
    { 98, "Q8_1_X4 of ik_llama.cpp" },
    { 99, "Q8_2_X4 of ik_llama.cpp" },
    { 133, "Q6_0 of ik_llama.cpp" },
    { 134, "IQ1_BN of ik_llama.cpp" },
    { 135, "IQ2_BN of ik_llama.cpp" },
    { 137, "IQ2_K of ik_llama.cpp" },
    { 138, "IQ3_K of ik_llama.cpp" },
    { 139, "IQ4_K of ik_llama.cpp" },
    { 140, "IQ5_K of ik_llama.cpp" },
    { 141, "IQ6_K of ik_llama.cpp" },
    { 144, "IQ4_KS of ik_llama.cpp" },
    { 145, "IQ2_KS of ik_llama.cpp" },
    { 146, "IQ4_KSS of ik_llama.cpp" },
    { 151, "Q8_KV of ik_llama.cpp" },
    { 152, "IQ5_KS of ik_llama.cpp" },
    { 153, "IQ2_KT of ik_llama.cpp" },
    { 154, "IQ3_KT of ik_llama.cpp" },
    { 155, "IQ4_KT of ik_llama.cpp" },
    { 156, "IQ3_KS of ik_llama.cpp" },
    { 157, "IQ2_KL of ik_llama.cpp" },
    { 158, "IQ1_KT of ik_llama.cpp" },
};

const char *gguf_foreign_type(uint32_t type)
{
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (foreign[i].type == type)
            return foreign[i].name;
    if (type > 96 && type < 202)
        return "a type of ik_llama.cpp";
    if (type >= 202 && type < 400)
        return "an interleaved type of ik_llama.cpp";
    return NULL;
}

static const struct {
    const char *name;
    uint8_t n_bytes;    /* 0: of no fixed size */
} value_types[GGUF_N_VALUE_TYPES] = {
    [GGUF_U8] = { "u8", 1 },         [GGUF_I8] = { "i8", 1 },       [GGUF_U16] = { "u16", 2 },
    [GGUF_I16] = { "i16", 2 },       [GGUF_U32] = { "u32", 4 },     [GGUF_I32] = { "i32", 4 },
    [GGUF_F32] = { "f32", 4 },       [GGUF_BOOL] = { "bool", 1 },   [GGUF_STRING] = { "string", 0 },
    [GGUF_ARRAY] = { "array", 0 },   [GGUF_U64] = { "u64", 8 },     [GGUF_I64] = { "i64", 8 },
    [GGUF_F64] = { "f64", 8 },
};

const char *gguf_value_type_name(uint32_t type)
{
    return type < GGUF_N_VALUE_TYPES ? value_types[type].name : NULL;
}

uint32_t gguf_value_bytes(uint32_t type)
{
    return type < GGUF_N_VALUE_TYPES ? value_types[type].n_bytes : 0;
}

const char *gguf_shown(struct gguf_shown *out, const char *bytes, size_t n_bytes)
{
    enum { KEEP = sizeof out->text - 4 };
    size_t n = n_bytes < KEEP ? n_bytes : KEEP;
    for (size_t i = 0; i < n; i++)
        out->text[i] = bytes[i] >= 0x20 && bytes[i] < 0x7F ? bytes[i] : '?';
    memcpy(out->text + n, n < n_bytes ? "..." : "", n < n_bytes ? 4 : 1);
    return out->text;
}
