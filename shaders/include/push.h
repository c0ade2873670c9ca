/* SPDX-License-Identifier: MIT */
/* Push constants, written once for C and GLSL: 32-bit words only, 128 bytes at most. */
#ifndef QUIP_SHADERS_INCLUDE_PUSH_H
#define QUIP_SHADERS_INCLUDE_PUSH_H

#ifdef __STDC__
#include <stdint.h>
#define PUSH_U uint32_t
#define PUSH_F float
#else
#define PUSH_U uint
#define PUSH_F float
#endif

/* norm.comp */
struct push_norm {
    PUSH_U n_cols;
    PUSH_F eps;
};

#endif
