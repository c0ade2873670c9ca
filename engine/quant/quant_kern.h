/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_QUANT_KERN_H
#define QUIP_ENGINE_QUANT_QUANT_KERN_H

#include <stdbool.h>
#include <stdint.h>

/* Searches for the scales of runs: the 16 or 32 neighbouring weights that share one. A format's from_f32 takes a
 * strip of its row, lets a search fit every run, codes the fits as the format holds them, and has the weights encoded:
 *
 *   x, importance -> search -> scale, min per run -> (k-quants: 4 to 8 bits each, over one f16) -> encode -> packed
 *
 * Everything here works on whole strips and depends on nothing outside the run, so that vector tiers put one run
 * into each lane; quant_loops.h has the arithmetic. */

enum {
    QUANT_STRIP = 4096,                     /* weights at most */
    QUANT_STRIP_RUNS = QUANT_STRIP / 16     /* also: of 256 weights in a strip, 16 */
};

#define QUANT_F16_MAX 65504.0f

/* How much a weight's error counts. */
enum quant_weigh {
    QUANT_WEIGH_ABS,           /* |x| */
    QUANT_WEIGH_SQUARE,        /* x^2 */
    QUANT_WEIGH_RMS_ABS,       /* root of the run's mean square + |x| */
    QUANT_WEIGH_IMPORTANCE,    /* importance * sqrt(mean_square of the run + x^2) */
    QUANT_WEIGH_GIVEN          /* importance */
};

struct quant_weights {
    enum quant_weigh kind;
    const float *importance;     /* [n_runs][run], or NULL where the kind needs none */
    const float *mean_square;    /* [n_runs], for IMPORTANCE */
};

/* What is searched. The affine search fits x = scale * q - min with q from 0 to top and min >= 0; the symmetric ones
 * x = scale * q with q from -top to top - 1. */
struct quant_rule {
    int32_t run;          /* weights: 8 (of scales), 16 or 32 */
    int32_t top;
    float first, step;    /* affine: try k begins with the range cut into top + first + step * k parts .. */
    int32_t n_tries;      /* .. k from 0 to n_tries - 1; symmetric ones have their tries fixed */
    bool absolute;        /* affine: weighs |error|, not its square */
};

/* How a code is made of (x + shift) * inverse, or, DIVIDE, (x + shift) / scale. The reference rounds in all these ways,
 * each for some formats, and where a weight lies half way between two codes it shows. */
enum quant_round {
    QUANT_ROUND_EVEN,
    QUANT_ROUND_UP,
    QUANT_ROUND_AWAY,
    QUANT_DIVIDE_EVEN
};

/* Fits of a strip's runs. */
struct quant_fit {
    float scale[QUANT_STRIP_RUNS];
    float min[QUANT_STRIP_RUNS];
    float inverse[QUANT_STRIP_RUNS];
    float shift[QUANT_STRIP_RUNS];
    float weight[QUANT_STRIP_RUNS];    /* sum of the weights of the run; searches with IMPORTANCE or GIVEN alone */
};

/* Fits n_runs runs of x, [n_runs][rule->run] and at most a strip.
 *
 * Shapes   x as above, finite; importance: the same, >= 0
 * Numbers  scale, min and the rest are finite; magnitudes beyond 2^40 count as 2^40, runs within +-1e-15 as zeros,
 *          runs without any weight as weighed evenly. Scaling x or the weights by a power of two scales the
 *          results and changes no code
 * Thread   any */
typedef void (*quant_search_fn)(struct quant_fit *fit, const float *x, int32_t n_runs,
                                const struct quant_weights *weights, const struct quant_rule *rule);

/* Codes of n_runs runs of 16 or 32 weights; runs whose scale (or inverse) is 0 get any. */
typedef void (*quant_encode_fn)(uint8_t *codes, const float *x, const struct quant_fit *fit, int32_t n_runs,
                                int32_t run);

struct quant_kern {
    quant_search_fn extreme;      /* scale = the weight of largest magnitude / -top; no weights */
    quant_search_fn range;        /* scale = (max - min) / top, min of any sign; no weights */
    quant_search_fn affine;
    quant_search_fn symmetric;    /* best of 19 scales around extreme / -top, each refitted */
    quant_search_fn greedy;       /* extreme / -top, then single codes changed as long as that helps; weighs x^2 */
    quant_search_fn codebook;     /* x = scale * quant_iq4_values[q] */

    /* x >= 0 as scale * q, q from 0 to top, weighed by w: n_runs runs of `run`. Of 9 scales around max / top the best,
     * then single codes changed as long as that helps, then the scale refitted. */
    void (*positive)(uint8_t *codes, float *scale, const float *x, const float *w, int32_t n_runs, int32_t run,
                     int32_t top);

    void (*encode)(uint8_t *codes, const float *x, const struct quant_fit *fit, int32_t n_runs, int32_t run,
                   int32_t low, int32_t high, enum quant_round how);    /* cut to low..high, less low */
    quant_encode_fn encode_codebook;              /* nearest of quant_iq4_values to x * inverse */
    quant_encode_fn encode_mxfp4;                 /* nearest of quant_mxfp4_values to x * inverse * 2 */

    /* Halves as f16.h has them, at any address; to: cut to the largest. */
    void (*from_halves)(float *out, const void *halves, int64_t n);
    void (*to_halves)(void *halves, const float *x, int64_t n);
};

/* The best tier of this machine; with quant_kern_use(), the best among the features named (cpuid.h), for every
 * thread from then on: tests and measurements compare tiers so. */
const struct quant_kern *quant_kern(void);
void quant_kern_use(uint32_t features);

/* Means of x^2 over spans of x, [n_spans][span], summed in order. */
void quant_mean_squares(float *mean, const float *x, int64_t n_spans, int64_t span);

#endif
