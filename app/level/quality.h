/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LEVEL_QUALITY_H
#define QUIP_APP_LEVEL_QUALITY_H

#include "engine/engine.h"

/* A rough estimate of what a level loses, for where nothing was measured: mean KL divergence from the weights before
 * quantisation, without an importance matrix.
 *
 *   KL = (8e9 / parameters)^0.35 * sum over matrices of share * KL of a model all of this type
 *
 * The KL of a type are those of an 8B model (llama.cpp's table for Llama-3-8B, and what follows from its mixtures); two
 * thirds of the sum belong to the matrices that write to the residual stream or hold values (ffn_down, attn_output,
 * attn_v), one third to the other matrices of layers, in each by the number of weights. Held against measurements of a
 * 1.5B model: Q8_0 0.0025 for 0.0006, Q4_K_M 0.058 for 0.054, Q3_K_M 0.19 for 0.188, Q2_K 0.81 for 0.851; other models,
 * levels and importance matrices can be off by a factor of two and more. */

struct quality_tensor {
    const char *name;
    const char *type;
    uint64_t n_weights;
};

/* -1: a type is among them of which nothing is known. */
double quality_estimate(const struct quality_tensor *tensors, int32_t n);

#endif
