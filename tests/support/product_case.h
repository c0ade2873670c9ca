/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_PRODUCT_CASE_H
#define QUIP_TESTS_SUPPORT_PRODUCT_CASE_H

#include "engine/vulkan/vulkan_product.h"
#include "shaders/include/table.h"
#include "tests/support/vulkan_rig.h"
#include "tests/support/weights.h"

/* Products on the device against plain loops in double over the dequantised weights. */

/* Random blocks of weights_types[type], and numbers; w->data and the numbers are the caller's to free. */
void product_tensor(struct test *t, struct tensor *w, int type, int32_t n_rows, int32_t n_cols);
float *product_normals(struct test *t, size_t n);

/* Two matrices of a shape, with biases, and n rows of activations. */
struct product_case {
    struct vulkan_rig *rig;
    struct tensor t[2];
    struct vulkan_weight w[2];
    int32_t n;
    float *x, *y0, *bias[2], *gain;  /* y0: what stands in y before */
    const struct table_pick *picks;  /* of n rows; the case's who runs products with them */
    float *got, *want, *v[2];        /* v: the two products without biases */
};

/* chunk_bytes 0: as the device wants them. */
void product_case_init(struct product_case *c, struct vulkan_rig *rig, int type, int32_t n_rows, int32_t n_cols,
                       int32_t n, uint64_t chunk_bytes);
void product_case_finish(struct product_case *c);

/* Runs p, whose buffers are the case's, on rows of activations act0 .. act0 + n - 1; y to out. p.bias, p.bias2, p.norm
 * and p.picks.part say by having a buffer that there is one. */
void product_case_run(struct product_case *c, struct vulkan_product p, int32_t act0, int32_t n, float *out);
/* Makes v of the weights in double precision, x being normed if p does that. */
void product_case_exact(struct product_case *c, struct vulkan_product p);
/* What p gives where v are the products, in want. */
void product_case_want(struct product_case *c, struct vulkan_product p);
/* Runs p and compares with that: limit is an NMSE. */
void product_case_compare(struct product_case *c, struct vulkan_product p, double limit);
/* The same, with exact products. */
void product_case_check(struct product_case *c, struct vulkan_product p, double limit);

#endif
