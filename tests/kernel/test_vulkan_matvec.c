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
    if (p.bias.buf)
        p.bias = vulkan_all(&bias);
    if (p.bias2.buf)
        p.bias2 = vulkan_all(&bias2);
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

/* p.bias and p.bias2 say by having a buffer that there is one. The limit leaves room for a single result whose terms
 * cancel; over many it is 1e-13, with soft caps 2e-12. */
static void check(struct matvec_case *c, struct vulkan_product p)
{
    struct test *t = c->rig->t;
    size_t n_y = (size_t)c->n * (size_t)c->t[0].n_rows;
    exact_product(c, 0, p.bias.buf ? c->bias[0] : NULL);
    if (p.mode == VULKAN_PAIR)
        exact_product(c, 1, p.bias2.buf ? c->bias[1] : NULL);
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
static const struct vulkan_buf some = { 0 };    /* stands for a bias of the case */

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
                       { 2, 8192, 1 } };
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct matvec_case c;
            case_init(&c, &rig, type, shapes[i].n_rows, shapes[i].n_cols, shapes[i].n, 0);
            check(&c, plain);
            case_finish(&c);
        }
    }
    vulkan_rig_close(&rig);
}

/* Results for one row of activations are those it has in company. */
static void check_bits(struct matvec_case *c, struct vulkan_product p)
{
    struct test *t = c->rig->t;
    size_t n_rows = (size_t)c->t[0].n_rows;
    run(c, p, 0, c->n, c->want);
    for (int32_t n = 1; n <= 8; n++) {
        int32_t act0 = (int32_t)test_below(t, (uint32_t)(c->n - n + 1));
        run(c, p, act0, n, c->got);
        CHECK_BYTES(t, c->got, c->want + (size_t)act0 * n_rows, (size_t)n * n_rows * 4, "%s, %d activations from %d",
                    quant_format(c->t[0].type)->name, n, act0);
    }
}

TEST(vulkan_matvec_of_a_row_does_not_depend_on_the_rows_beside_it)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < N_TYPES; type++) {
        struct matvec_case c;
        case_init(&c, &rig, type, 5, 1280, 17, 0);
        check(&c, plain);
        check_bits(&c, plain);
        case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_pairs_do_not_depend_on_the_rows_beside_them)
{
    struct vulkan_rig rig;
    struct matvec_case c;
    vulkan_rig_open(&rig, t);
    for (int type = 3; type < N_TYPES; type += 7) {
        case_init(&c, &rig, type, 1027, 512, 17, 0);
        check_bits(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU });
        case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_any_number_of_activations)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int32_t n = 2; n < 26; n++) {
        struct matvec_case c;
        case_init(&c, &rig, 10, 9, 512, n, 0);
        check(&c, plain);
        case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_pairs)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < N_TYPES; type++) {
        struct matvec_case c;
        case_init(&c, &rig, type, 11, 768, 3, 0);
        check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU });
        check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_GELU });
        case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_bias_scale_and_cap)
{
    static const struct vulkan_product products[] = {
        { .mode = VULKAN_STORE, .scale = 1, .bias.buf = &some },
        { .mode = VULKAN_STORE, .scale = 0.25f, .bias.buf = &some, .cap = 3 },
        { .mode = VULKAN_STORE, .scale = 0.01f, .cap = 30 },
        { .mode = VULKAN_STORE, .scale = 100, .cap = 30 },
        { .mode = VULKAN_ADD, .scale = 1 },
        { .mode = VULKAN_ADD, .scale = -0.5f, .bias.buf = &some },
        { .mode = VULKAN_PAIR, .act = STEP_SILU, .bias.buf = &some },
        { .mode = VULKAN_PAIR, .act = STEP_GELU, .bias2.buf = &some },
        { .mode = VULKAN_PAIR, .act = STEP_GELU, .bias.buf = &some, .bias2.buf = &some },
    };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < N_TYPES; type += 5)
        for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
            struct matvec_case c;
            case_init(&c, &rig, type, 13, 512, 3, 0);
            check(&c, products[i]);
            case_finish(&c);
        }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_activations_far_out_are_finite)
{
    struct vulkan_rig rig;
    struct matvec_case c;
    vulkan_rig_open(&rig, t);
    case_init(&c, &rig, 10, 4, 256, 1, 0);
    for (int act = STEP_SILU; act <= STEP_GELU; act++)
        for (int i = 0; i < 4; i++) {
            static const float far[] = { 60, -60, 3e9f, -3e9f };
            c.bias[0][i] = far[i];
            if (i == 3)
                check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = (enum step_act)act, .bias.buf = &some });
        }
    check(&c, (struct vulkan_product){ .mode = VULKAN_STORE, .scale = 1, .cap = 30, .bias.buf = &some });
    case_finish(&c);
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_several_rows_in_a_workgroup)
{
    static const int32_t n_rows[] = { 1027, 2051 };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < N_TYPES; type++)
        for (int i = 0; i < 2; i++) {
            struct matvec_case c;
            case_init(&c, &rig, type, n_rows[i], 256, 3, 0);
            check(&c, plain);
            check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU, .bias2.buf = &some });
            case_finish(&c);
        }
    vulkan_rig_close(&rig);
}

/* Workgroups in two dimensions, the last row of them not full. */
TEST(vulkan_matvec_more_rows_than_a_grid_is_wide)
{
    struct vulkan_rig rig;
    struct matvec_case c;
    vulkan_rig_open(&rig, t);
    case_init(&c, &rig, 3, 4 * 32768 + 1003, 32, 1, 0);
    check(&c, plain);
    case_finish(&c);
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_in_chunks_is_the_same)
{
    static const struct vulkan_product products[] = {
        { .mode = VULKAN_STORE, .scale = 1, .bias.buf = &some },
        { .mode = VULKAN_ADD, .scale = 2, .bias.buf = &some },
        { .mode = VULKAN_PAIR, .act = STEP_SILU, .bias.buf = &some, .bias2.buf = &some },
    };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < N_TYPES; type++) {
        struct matvec_case c;
        uint64_t chunk_bytes = 6 * quant_row_bytes(types[type].type, 768) + 64;
        case_init(&c, &rig, type, 23, 768, 2, chunk_bytes);
        CHECK_INT(t, c.w[0].n_chunks, 4);
        for (int i = 0; i < 4; i++)
            CHECK(t, c.w[0].chunks[i].buf.n_bytes <= chunk_bytes);
        for (int i = 0; i < (type % 6 == 0 ? 3 : 1); i++)
            check(&c, products[i]);
        case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

/* Rows that are packed in more than one piece, of an odd number. */
static void check_pieces(struct vulkan_rig *rig)
{
    for (int type = 0; type < N_TYPES; type += 4) {
        struct matvec_case c;
        int32_t n_rows = (int32_t)((5 << 20) / quant_row_bytes(types[type].type, 1792)) | 1;
        case_init(&c, rig, type, n_rows, 1792, 1, 0);
        check(&c, plain);
        case_finish(&c);
    }
}

TEST(vulkan_weight_larger_than_a_piece)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    check_pieces(&rig);
    vulkan_rig_close(&rig);
}

/* The stages are made while the card is as it is; then its memory is no longer the host's. */
TEST(vulkan_weight_in_memory_that_the_host_does_not_see)
{
    struct vulkan_rig rig;
    struct err e = { 0 };
    vulkan_rig_open(&rig, t);
    struct vulkan_card card = *rig.d->card;
    struct vulkan_buf b = vulkan_rig_buf(&rig, NULL, 64), unseen = b;
    unseen.mapped = NULL;
    for (int i = 0; i < VULKAN_N_STAGES; i++) {
        void *bytes;
        CHECK(t, vulkan_stage(rig.d, &unseen, 0, 64, &bytes, &e) == ERR_OK, "%s", e.text);
    }
    CHECK(t, vulkan_flush(rig.d, &e) == ERR_OK, "%s", e.text);
    for (uint32_t i = 0; i < card.memory.memoryTypeCount; i++)
        card.memory.memoryTypes[i].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    rig.d->card = &card;
    check_pieces(&rig);
    vulkan_buf_destroy(rig.d, &b);
    vulkan_rig_close(&rig);
}

/* 200 MiB, more than one binding of the device needs to hold. */
TEST(vulkan_weight_larger_than_a_binding)
{
    enum { N_ROWS = 12800, N_COLS = 4096, N = 3 };
    struct vulkan_rig rig;
    struct matvec_case c = { .rig = &rig, .n = N };
    struct err e = { 0 };
    vulkan_rig_open(&rig, t);
    c.t[0] = (struct tensor){ .name = "w", .type = QUANT_F32, .n_rows = N_ROWS, .n_cols = N_COLS,
                              .row_bytes = N_COLS * 4, .n_bytes = (uint64_t)N_ROWS * N_COLS * 4 };
    float *w = take(c.t[0].n_bytes);
    uint64_t state = test_random(t);
    for (size_t i = 0; i < (size_t)N_ROWS * N_COLS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        w[i] = (float)(state >> 40) / 8388608.0f - 1.0f;
    }
    c.t[0].data = w;
    CHECK(t, vulkan_weight_create(rig.d, &c.t[0], &c.w[0], &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_flush(rig.d, &e) == ERR_OK, "%s", e.text);
    CHECK(t, c.w[0].n_chunks > 1 || rig.d->card->binding_bytes > c.t[0].n_bytes);
    c.x = normals(t, (size_t)N * N_COLS);
    c.bias[0] = normals(t, N_ROWS);
    c.bias[1] = normals(t, N_ROWS);
    c.got = take((size_t)N * N_ROWS * sizeof *c.got);
    run(&c, plain, 0, N, c.got);
    int32_t border = c.w[0].chunks[c.w[0].n_chunks - 1].row0;
    for (int i = 0; i < 200; i++) {
        int32_t row = i < 4 ? (border + N_ROWS + i - 2) % N_ROWS : (int32_t)test_below(t, N_ROWS);
        for (int32_t r = 0; r < N; r++) {
            double want = 0, size = 0;
            for (int32_t j = 0; j < N_COLS; j++) {
                double term = (double)w[(int64_t)row * N_COLS + j] * (double)c.x[r * N_COLS + j];
                want += term;
                size += fabs(term);
            }
            CHECK(t, fabs((double)c.got[r * N_ROWS + row] - want) < 1e-6 * size, "row %d of activation %d", row, r);
        }
    }
    case_finish(&c);
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_without_sums_over_subgroups)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    struct vulkan_card card = *rig.d->card;
    card.features &= ~(uint32_t)VULKAN_SUBGROUP_ADD;
    rig.d->card = &card;
    for (int type = 0; type < N_TYPES; type++) {
        struct matvec_case c;
        case_init(&c, &rig, type, 7, 2304, 2, 0);
        check(&c, plain);
        case_finish(&c);
    }
    for (int type = 0; type < N_TYPES; type += 6) {
        struct matvec_case c;
        case_init(&c, &rig, type, 7, 2304, 9, 0);
        check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU });
        check_bits(&c, plain);
        case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_weight_without_memory_leaves_nothing)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int32_t strike = 1; strike <= 3; strike++) {
        struct tensor w;
        struct vulkan_weight out;
        struct err e = { 0 };
        fill(t, &w, 10, 23, 768);
        uint64_t before = rig.d->allocated_bytes;
        rig.d->faults.allocate = strike;
        CHECK_INT(t, vulkan_weight_create_chunked(rig.d, &w, 6 * w.row_bytes + 64, &out, &e), ERR_NOMEM);
        CHECK(t, strstr(e.text, "tensor 'w'") != NULL, "%s", e.text);
        CHECK_INT(t, out.n_chunks, 0);
        CHECK(t, rig.d->allocated_bytes <= before + VULKAN_N_STAGES * (uint64_t)VULKAN_STAGE_BYTES);
        free((void *)w.data);
    }
    vulkan_rig_close(&rig);
}
