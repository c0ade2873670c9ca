/* SPDX-License-Identifier: MIT */
#include "app/level/quality.h"

#include <math.h>
#include <string.h>

/* Of an 8B model with all matrices of the layers in one type. */
static const struct {
    const char *type;
    double kl;
} types[] = {
    { "F32", 0 }, { "F16", 0 }, { "BF16", 0.0001 }, { "Q8_0", 0.0014 }, { "Q6_K", 0.0055 }, { "Q5_K", 0.0166 },
    { "Q5_1", 0.016 }, { "Q5_0", 0.02 }, { "Q4_K", 0.0431 }, { "Q4_1", 0.065 }, { "Q4_0", 0.0719 },
    { "IQ4_NL", 0.044 }, { "IQ4_XS", 0.046 }, { "MXFP4", 0.11 }, { "Q3_K", 0.228 }, { "Q2_K", 0.87 },
};

static const double FRAGILE_PART = 0.66, TABLE_PARAMETERS = 8e9, SIZE_POWER = 0.35;

static double kl_of(const char *type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].type, type) == 0)
            return types[i].kl;
    return -1;
}

static bool is_fragile(const char *name)
{
    return strstr(name, "ffn_down") || strstr(name, "attn_output") || strstr(name, "attn_v") || strstr(name, "attn_qkv");
}

double quality_estimate(const struct quality_tensor *tensors, int32_t n)
{
    double weights[2] = { 0 }, sums[2] = { 0 }, all = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct quality_tensor *t = &tensors[i];
        all += (double)t->n_weights;
        if (strncmp(t->name, "blk.", 4) != 0 || !strstr(t->name, ".weight") || strstr(t->name, "norm"))
            continue;
        double kl = kl_of(t->type);
        int part = is_fragile(t->name);
        if (kl < 0)
            return -1;
        weights[part] += (double)t->n_weights;
        sums[part] += kl * (double)t->n_weights;
    }
    if (weights[0] <= 0 || weights[1] <= 0)
        return -1;
    double kl = FRAGILE_PART * sums[1] / weights[1] + (1 - FRAGILE_PART) * sums[0] / weights[0];
    return kl * pow(TABLE_PARAMETERS / all, SIZE_POWER);
}
