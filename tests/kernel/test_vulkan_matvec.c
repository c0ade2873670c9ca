/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/quant/f16.h"
#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_product.h"
#include "tests/support/vulkan_rig.h"

/* Products on the device against plain loops in double over the dequantised weights. */

static const struct {
    uint32_t type;
    int32_t scale_at[2];    /* where the block keeps its f16 numbers; -1: none */
} types[] = {
    { QUANT_F32, { -1, -1 } },  { QUANT_F16, { -1, -1 } }, { QUANT_BF16, { -1, -1 } }, { QUANT_Q4_0, { 0, -1 } },
    { QUANT_Q4_1, { 0, 2 } },   { QUANT_Q5_0, { 0, -1 } }, { QUANT_Q5_1, { 0, 2 } },   { QUANT_Q8_0, { 0, -1 } },
    { QUANT_Q2_K, { 80, 82 } }, { QUANT_Q3_K, { 108, -1 } }, { QUANT_Q4_K, { 0, 2 } }, { QUANT_Q5_K, { 0, 2 } },
    { QUANT_Q6_K, { 208, -1 } }
};
enum { N_TYPES = sizeof types / sizeof *types };

struct matvec_case {
    struct vulkan_rig *rig;
    struct tensor t[2];
    struct vulkan_weight w[2];
    int32_t n;
    float *x, *y0, *bias[2];         /* y0: what stands in y before */
    float *got, *want, *v[2];
};

static void *take(size_t n_bytes)
{
    void *p = malloc(n_bytes);
    if (!p)
        abort();
    return p;
}

static float random_scale(struct test *t)
{
    float scale = test_uniform(t) * 0.03f;
    return test_below(t, 16) == 0 ? scale * 1e-4f : scale;    /* some are subnormal halves */
}

static void fill(struct test *t, struct tensor *w, int type, int32_t n_rows, int32_t n_cols)
{
    const struct quant_format *f = quant_format(types[type].type);
    *w = (struct tensor){ .name = "w", .type = types[type].type, .n_rows = n_rows, .n_cols = n_cols };
    w->row_bytes = quant_row_bytes(w->type, (uint64_t)n_cols);
    w->n_bytes = w->row_bytes * (uint64_t)n_rows;
    uint8_t *data = take(w->n_bytes);
    w->data = data;
    for (size_t i = 0; i < w->n_bytes; i++)
        data[i] = (uint8_t)test_random(t);
    for (size_t at = 0; at < w->n_bytes; at += (size_t)f->block_bytes) {
        uint16_t half = f16_from_f32(test_normal(t));
        float value = f16_to_f32(half);
        uint16_t brain = bf16_from_f32(value);
        if (w->type == QUANT_F32)
            memcpy(data + at, &value, 4);
        else if (w->type == QUANT_F16 || w->type == QUANT_BF16)
            memcpy(data + at, w->type == QUANT_F16 ? &half : &brain, 2);
        for (int i = 0; i < 2; i++)
            if (types[type].scale_at[i] >= 0) {
                half = f16_from_f32(random_scale(t));
                memcpy(data + at + types[type].scale_at[i], &half, 2);
            }
    }
}

static float *normals(struct test *t, size_t n)
{
    float *x = take(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = test_normal(t);
    return x;
}

/* chunk_bytes 0: as the device wants them. */
static void case_init(struct matvec_case *c, struct vulkan_rig *rig, int type, int32_t n_rows, int32_t n_cols,
                      int32_t n, uint64_t chunk_bytes)
{
    struct test *t = rig->t;
    struct err e = { 0 };
    size_t n_y = (size_t)n * (size_t)n_rows;
    *c = (struct matvec_case){ .rig = rig, .n = n };
    for (int i = 0; i < 2; i++) {
        fill(t, &c->t[i], type, n_rows, n_cols);
        enum err_code rc = chunk_bytes ? vulkan_weight_create_chunked(rig->d, &c->t[i], chunk_bytes, &c->w[i], &e)
                                       : vulkan_weight_create(rig->d, &c->t[i], &c->w[i], &e);
        CHECK(t, rc == ERR_OK, "%s", e.text);
        c->bias[i] = normals(t, (size_t)n_rows);
        c->v[i] = take(n_y * sizeof(float));
    }
    CHECK(t, vulkan_flush(rig->d, &e) == ERR_OK, "%s", e.text);
    c->x = normals(t, (size_t)n * (size_t)n_cols);
    c->y0 = normals(t, n_y);
    c->got = take(n_y * sizeof(float));
    c->want = take(n_y * sizeof(float));
}

static void case_finish(struct matvec_case *c)
{
    for (int i = 0; i < 2; i++) {
        vulkan_weight_destroy(c->rig->d, &c->w[i]);
        free((void *)c->t[i].data);
        free(c->bias[i]);
        free(c->v[i]);
    }
    free(c->x);
    free(c->y0);
    free(c->got);
    free(c->want);
}

/* Runs p, whose buffers are the case's, on rows act0 .. act0 + n - 1 of x; y to out. */
static void run(struct matvec_case *c, struct vulkan_product p, int32_t act0, int32_t n, float *out)
{
    struct vulkan_rig *rig = c->rig;
    struct test *t = rig->t;
    size_t n_rows = (size_t)c->t[0].n_rows, n_cols = (size_t)c->t[0].n_cols, n_y = (size_t)n * n_rows;
    struct err e = { 0 };
    struct vulkan_recording r;
    uint64_t value;
    struct vulkan_buf x = vulkan_rig_buf(rig, c->x + (size_t)act0 * n_cols, (size_t)n * n_cols * 4);
    struct vulkan_buf y = vulkan_rig_buf(rig, p.mode == VULKAN_ADD ? c->y0 + (size_t)act0 * n_rows : NULL, n_y * 4);
    struct vulkan_buf bias = vulkan_rig_buf(rig, c->bias[0], n_rows * 4);
    struct vulkan_buf bias2 = vulkan_rig_buf(rig, c->bias[1], n_rows * 4);
    p.w = &c->w[0];
    p.w2 = p.mode == VULKAN_PAIR ? &c->w[1] : NULL;
    p.x = &x;
    p.y = &y;
    p.n = n;
    p.bias = p.bias ? &bias : NULL;
    p.bias2 = p.bias2 ? &bias2 : NULL;
    CHECK(t, vulkan_record_begin(&r, rig->d, &e) == ERR_OK, "%s", e.text);
    vulkan_record_product(&r, &p);
    CHECK(t, vulkan_record_end(&r, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_submit(rig->d, &r.cmd, 1, &value, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_wait(rig->d, value, &e) == ERR_OK, "%s", e.text);
    vulkan_rig_read(rig, out, &y, n_y * 4);
    vulkan_recording_destroy(&r);
    vulkan_buf_destroy(rig->d, &x);
    vulkan_buf_destroy(rig->d, &y);
    vulkan_buf_destroy(rig->d, &bias);
    vulkan_buf_destroy(rig->d, &bias2);
}

static void exact_product(const struct matvec_case *c, int which, const float *bias)
{
    const struct tensor *w = &c->t[which];
    float *row = take((size_t)w->n_cols * sizeof *row);
    for (int32_t i = 0; i < w->n_rows; i++) {
        quant_format(w->type)->to_f32(row, (const uint8_t *)w->data + (uint64_t)i * w->row_bytes, w->n_cols);
        for (int32_t r = 0; r < c->n; r++) {
            double sum = bias ? (double)bias[i] : 0;
            for (int32_t j = 0; j < w->n_cols; j++)
                sum += (double)row[j] * (double)c->x[(int64_t)r * w->n_cols + j];
            c->v[which][(int64_t)r * w->n_rows + i] = (float)sum;
        }
    }
    free(row);
}

static double act_of(enum step_act act, double v)
{
    if (act == STEP_SILU)
        return v / (1 + exp(-v));
    return 0.5 * v * (1 + tanh(0.79788456080286536 * v * (1 + 0.044715 * v * v)));
}

/* p.bias and p.bias2 say by not being NULL that there is one. */
static void check(struct matvec_case *c, struct vulkan_product p)
{
    struct test *t = c->rig->t;
    size_t n_y = (size_t)c->n * (size_t)c->t[0].n_rows;
    exact_product(c, 0, p.bias ? c->bias[0] : NULL);
    if (p.mode == VULKAN_PAIR)
        exact_product(c, 1, p.bias2 ? c->bias[1] : NULL);
    for (size_t i = 0; i < n_y; i++) {
        double v = (double)c->v[0][i], cap = (double)p.cap, scale = (double)p.scale;
        c->want[i] = (float)(p.mode == VULKAN_PAIR  ? act_of(p.act, v) * (double)c->v[1][i]
                             : p.mode == VULKAN_ADD ? (double)c->y0[i] + scale * v
                             : p.cap > 0            ? cap * tanh(scale * v / cap)
                                                    : scale * v);
    }
    run(c, p, 0, c->n, c->got);
    CHECK_NMSE(t, c->got, c->want, n_y, 1e-10, "%s %d x %d, %d activations, mode %d",
               quant_format(c->t[0].type)->name, c->t[0].n_rows, c->t[0].n_cols, c->n, (int)p.mode);
}

static const struct vulkan_product plain = { .mode = VULKAN_STORE, .scale = 1 };

static int32_t block_of(int type)
{
    return vulkan_pack_block(types[type].type);
}

TEST(vulkan_matvec_is_the_product_of_the_dequantised_weights)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < N_TYPES; type++) {
        int32_t block = block_of(type);
        const struct {
            int32_t n_rows, n_cols, n;
        } shapes[] = { { 1, block, 1 }, { 3, block, 1 }, { 7, block == 32 ? 576 : 768, 1 }, { 5, 2560, 1 },
                       { 2, 9984, 1 } };
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct matvec_case c;
            case_init(&c, &rig, type, shapes[i].n_rows, shapes[i].n_cols, shapes[i].n, 0);
            check(&c, plain);
            case_finish(&c);
        }
    }
    vulkan_rig_close(&rig);
}
