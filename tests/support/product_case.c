/* SPDX-License-Identifier: MIT */
#include "tests/support/product_case.h"

#include <math.h>
#include <stdlib.h>

#include "engine/quant/quant.h"

enum { N_BEHIND = 4096 };    /* floats behind the results, to be left alone */

static void *take(size_t n_bytes)
{
    void *p = malloc(n_bytes);
    if (!p)
        abort();
    return p;
}

void product_tensor(struct test *t, struct tensor *w, int type, int32_t n_rows, int32_t n_cols)
{
    *w = (struct tensor){ .name = "w", .type = weights_types[type], .n_rows = n_rows, .n_cols = n_cols };
    w->row_bytes = quant_row_bytes(w->type, (uint64_t)n_cols);
    w->n_bytes = w->row_bytes * (uint64_t)n_rows;
    uint8_t *data = take(w->n_bytes);
    w->data = data;
    for (size_t i = 0; i < w->n_bytes; i++)
        data[i] = (uint8_t)test_random(t);
    weights_draw_scales(t, w->type, data, w->n_bytes);
}

float *product_normals(struct test *t, size_t n)
{
    float *x = take(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = test_normal(t);
    return x;
}

void product_case_init(struct product_case *c, struct vulkan_rig *rig, int type, int32_t n_rows, int32_t n_cols,
                       int32_t n, uint64_t chunk_bytes)
{
    struct test *t = rig->t;
    struct err e = { 0 };
    size_t n_y = (size_t)n * (size_t)n_rows;
    *c = (struct product_case){ .rig = rig, .n = n };
    for (int i = 0; i < 2; i++) {
        product_tensor(t, &c->t[i], type, n_rows, n_cols);
        enum err_code rc = chunk_bytes ? vulkan_weight_create_chunked(rig->d, &c->t[i], chunk_bytes, &c->w[i], &e)
                                       : vulkan_weight_create(rig->d, &c->t[i], &c->w[i], &e);
        CHECK(t, rc == ERR_OK, "%s", e.text);
        c->bias[i] = product_normals(t, (size_t)n_rows);
        c->v[i] = take(n_y * sizeof(float));
    }
    CHECK(t, vulkan_flush(rig->d, &e) == ERR_OK, "%s", e.text);
    c->x = product_normals(t, (size_t)n * (size_t)n_cols);
    c->gain = product_normals(t, (size_t)n_cols);
    c->y0 = product_normals(t, n_y);
    c->got = take(n_y * sizeof(float));
    c->want = take(n_y * sizeof(float));
}

void product_case_finish(struct product_case *c)
{
    for (int i = 0; i < 2; i++) {
        vulkan_weight_destroy(c->rig->d, &c->w[i]);
        free((void *)c->t[i].data);
        free(c->bias[i]);
        free(c->v[i]);
    }
    free(c->x);
    free(c->gain);
    free(c->y0);
    free(c->got);
    free(c->want);
}

void product_case_run(struct product_case *c, struct vulkan_product p, int32_t act0, int32_t n, float *out)
{
    struct vulkan_rig *rig = c->rig;
    struct test *t = rig->t;
    size_t n_rows = (size_t)c->t[0].n_rows, n_cols = (size_t)c->t[0].n_cols;
    size_t n_used = p.picks.part.buf ? (size_t)p.picks.n_used : 1;
    size_t n_experts = p.picks.part.buf ? (size_t)p.picks.n_experts : 1;
    size_t x_row = (p.picks.sum ? n_used : 1) * n_cols, y_row = (p.picks.sum ? 1 : n_used) * (n_rows / n_experts);
    size_t first = (size_t)act0, n_x = (size_t)n * x_row, n_y = (size_t)n * y_row;
    struct err e = { 0 };
    struct vulkan_recording r;
    uint64_t value;
    struct vulkan_buf x = vulkan_rig_buf(rig, c->x + first * x_row, n_x * 4);
    struct vulkan_buf y = vulkan_rig_buf(rig, NULL, (n_y + N_BEHIND) * 4);
    struct vulkan_buf bias = vulkan_rig_buf(rig, c->bias[0], n_rows * 4);
    struct vulkan_buf bias2 = vulkan_rig_buf(rig, c->bias[1], n_rows * 4);
    struct vulkan_buf gain = vulkan_rig_buf(rig, c->gain, n_cols * 4);
    if (p.mode == VULKAN_ADD)
        CHECK(t, vulkan_write(rig->d, &y, 0, c->y0 + first * y_row, n_y * 4, &e) == ERR_OK, "%s", e.text);
    struct vulkan_buf acts = vulkan_rig_buf(rig, NULL, vulkan_acts_bytes(rig->d, n, (int32_t)n_cols));
    struct vulkan_buf picks = vulkan_rig_buf(rig, p.picks.part.buf ? c->picks + first * n_used : NULL,
                                             (size_t)n * n_used * sizeof *c->picks);
    p.acts = p.many && vulkan_weight_takes_acts(rig->d, &c->w[0]) ? &acts : NULL;
    p.w = &c->w[0];
    p.w2 = p.mode == VULKAN_PAIR ? &c->w[1] : NULL;
    p.x = &x;
    p.y = &y;
    p.n = n;
    if (p.bias.buf)
        p.bias = vulkan_all(&bias);
    if (p.bias2.buf)
        p.bias2 = vulkan_all(&bias2);
    if (p.norm.buf)
        p.norm = vulkan_all(&gain);
    if (p.picks.part.buf)
        p.picks.part = vulkan_all(&picks);
    CHECK(t, vulkan_record_begin(&r, rig->d, &e) == ERR_OK, "%s", e.text);
    if (p.acts) {
        vulkan_record_acts(&r, &x, &acts, n, (int32_t)n_cols);
        vulkan_record_barrier(&r);
    }
    vulkan_record_product(&r, &p);
    CHECK(t, vulkan_record_end(&r, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_submit(rig->d, &r.cmd, 1, &value, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_wait(rig->d, value, &e) == ERR_OK, "%s", e.text);
    float *all = take((n_y + N_BEHIND) * 4);
    vulkan_rig_read(rig, all, &y, (n_y + N_BEHIND) * 4);
    memcpy(out, all, n_y * 4);
    static const uint8_t untouched[4] = { 0xff, 0xff, 0xff, 0xff };    /* not just any NaN: some rows give those */
    for (size_t i = n_y; i < n_y + N_BEHIND; i++)
        CHECK_BYTES(t, &all[i], untouched, sizeof untouched, "%zu floats behind the results: written", i - n_y);
    free(all);
    vulkan_recording_destroy(&r);
    vulkan_buf_destroy(rig->d, &x);
    vulkan_buf_destroy(rig->d, &y);
    vulkan_buf_destroy(rig->d, &bias);
    vulkan_buf_destroy(rig->d, &bias2);
    vulkan_buf_destroy(rig->d, &gain);
    vulkan_buf_destroy(rig->d, &acts);
    vulkan_buf_destroy(rig->d, &picks);
}

static void exact_product(struct product_case *c, int which, const double *x)
{
    const struct tensor *w = &c->t[which];
    float *row = take((size_t)w->n_cols * sizeof *row);
    for (int32_t i = 0; i < w->n_rows; i++) {
        quant_format(w->type)->to_f32(row, (const uint8_t *)w->data + (uint64_t)i * w->row_bytes, w->n_cols);
        for (int32_t r = 0; r < c->n; r++) {
            double sum = 0;
            for (int32_t j = 0; j < w->n_cols; j++)
                sum += (double)row[j] * x[(int64_t)r * w->n_cols + j];
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

void product_case_exact(struct product_case *c, struct vulkan_product p)
{
    size_t n_cols = (size_t)c->t[0].n_cols;
    double *x = take((size_t)c->n * n_cols * sizeof *x);
    for (size_t r = 0; r < (size_t)c->n; r++) {
        const float *row = c->x + r * n_cols;
        double squares = 0;
        for (size_t i = 0; i < n_cols; i++)
            squares += (double)row[i] * (double)row[i];
        double factor = 1 / sqrt(squares / (double)n_cols + (double)p.eps);
        for (size_t i = 0; i < n_cols; i++)
            x[r * n_cols + i] = p.norm.buf ? (double)row[i] * factor * (double)c->gain[i] : (double)row[i];
    }
    exact_product(c, 0, x);
    exact_product(c, 1, x);
    free(x);
}

void product_case_want(struct product_case *c, struct vulkan_product p)
{
    int32_t n_rows = c->t[0].n_rows;
    for (int32_t i = 0; i < c->n * n_rows; i++) {
        double v = (double)c->v[0][i] + (p.bias.buf ? (double)c->bias[0][i % n_rows] : 0);
        double v2 = (double)c->v[1][i] + (p.bias2.buf ? (double)c->bias[1][i % n_rows] : 0);
        double cap = (double)p.cap, scale = (double)p.scale;
        c->want[i] = (float)(p.mode == VULKAN_PAIR  ? act_of(p.act, v) * v2
                             : p.mode == VULKAN_ADD ? (double)c->y0[i] + scale * v
                             : p.cap > 0            ? cap * tanh(scale * v / cap)
                                                    : scale * v);
    }
}

void product_case_compare(struct product_case *c, struct vulkan_product p, double limit)
{
    product_case_want(c, p);
    product_case_run(c, p, 0, c->n, c->got);
    CHECK_NMSE(c->rig->t, c->got, c->want, (size_t)c->n * (size_t)c->t[0].n_rows, limit,
               "%s %d x %d, %d activations, mode %d", quant_format(c->t[0].type)->name, c->t[0].n_rows, c->t[0].n_cols,
               c->n, (int)p.mode);
}

void product_case_check(struct product_case *c, struct vulkan_product p, double limit)
{
    product_case_exact(c, p);
    product_case_compare(c, p, limit);
}
