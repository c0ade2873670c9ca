/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_STRIP_H
#define QUIP_ENGINE_QUANT_STRIP_H

#include <stdint.h>

#include "engine/quant/quant_kern.h"

/* A strip of a row on its way into blocks (quant_kern.h), as far as formats have it in common: what is left for them is
 * which search, and packing. */
struct quant_strip {
    int32_t n;                              /* weights */
    uint8_t codes[QUANT_STRIP];             /* from 0 on */
    /* Of the super-blocks of 256 alone: scales (and minima) of runs as integers, from 0 on, over halves per block. */
    uint8_t scales[QUANT_STRIP_RUNS], mins[QUANT_STRIP_RUNS];
    uint16_t d[QUANT_STRIP / 256], dmin[QUANT_STRIP / 256];
    struct quant_fit fit;
    float row_mean;                         /* of squares; with importance, formats whose block is a run */
    float mean_square[QUANT_STRIP_RUNS];    /* of the block or the row, per run */
};

/* All take the strip that begins at weight `at` of a row of n weights; s is the same for a whole row. */

/* Blocks of 32 with one scale: codes, and fit.scale to be stored. With importance the scale is searched for. */
void quant_strip_symmetric(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance,
                           int32_t top);
/* The same with a minimum: x = scale * q - fit.min. */
void quant_strip_range(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance,
                       int32_t top);
/* The same with the codebook. */
void quant_strip_codebook(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance);

/* Blocks of 32 with the scale that makes the largest magnitude 127: codes are 127 more than those. */
void quant_strip_q8_0(struct quant_strip *s, const float *x, int64_t at, int64_t n);

/* Super-blocks with scales and minima. */
struct quant_super_affine {
    struct quant_rule rule;    /* without importance */
    enum quant_weigh weigh;    /* without importance */
    float mean_factor;         /* with it: what the block's mean square counts */
    int32_t scale_top;
};
void quant_strip_super_affine(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance,
                              const struct quant_super_affine *how);

/* Super-blocks with signed scales. scales are -scale_top to scale_top - 1, plus scale_top. */
void quant_strip_q3k(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance);
void quant_strip_q6k(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance);
void quant_strip_iq4_xs(struct quant_strip *s, const float *x, int64_t at, int64_t n, const float *importance);

#endif
