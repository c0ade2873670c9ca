// SPDX-License-Identifier: MIT
// Activations of the feed-forward part, numbered as enum step_act (engine/backend/step.h): SiLU, and GELU by its tanh
// form, which is x times the logistic function of 2 z. Beyond 80 the exponential leaves the range in which Vulkan
// promises a quotient (divisors up to 2^126; infinities are the device's choice), and the result is 0 in any case.
#ifndef ACT_GLSL
#define ACT_GLSL

float act(uint kind, float x)
{
    float z = kind == 0 ? x : 1.5957691216057308 * x * fma(0.044715 * x, x, 1);
    return x / (1 + exp(min(-z, 80)));
}

#endif
