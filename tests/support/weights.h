/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_WEIGHTS_H
#define QUIP_TESTS_SUPPORT_WEIGHTS_H

#include "engine/quant/quant.h"
#include "tests/support/test.h"

/* Every type that can be computed: floats, from WEIGHTS_FIRST_BLOCKS on formats of blocks. */
enum { WEIGHTS_N_TYPES = 16, WEIGHTS_FIRST_BLOCKS = 3 };
extern const uint32_t weights_types[WEIGHTS_N_TYPES];

/* Makes weights of the size that models have out of any n_bytes of whole blocks: scales are drawn, some of them
 * subnormal halves, and codes stay what they are; of floats the value is drawn. No alignment is needed. */
void weights_draw_scales(struct test *t, uint32_t type, void *blocks, size_t n_bytes);

#endif
