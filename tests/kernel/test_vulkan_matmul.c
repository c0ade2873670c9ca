/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "engine/cpu/cpu_kern.h"
#include "engine/quant/quant.h"
#include "tests/support/product_case.h"

/* Products with many rows of activations. */

/* A device that is said to be another: what it is chooses the shader and the tile. */
struct matmul_rig {
    struct vulkan_rig rig;
    struct vulkan_card card;
};

static void matmul_open(struct matmul_rig *m, struct test *t)
{
    vulkan_rig_open(&m->rig, t);
    m->card = *m->rig.d->card;
    m->card.tiles = VULKAN_TILES_F32;
    m->rig.d->card = &m->card;
}

static const struct vulkan_product plain = { .mode = VULKAN_STORE, .many = true, .scale = 1 };
static const struct vulkan_product pair = { .mode = VULKAN_PAIR, .many = true, .act = STEP_SILU };
static const struct vulkan_buf some = { 0 };    /* stands for a bias of the case */
static const struct vulkan_product modes[] = {
    { .many = true, .mode = VULKAN_STORE, .scale = 1, .bias.buf = &some },
    { .many = true, .mode = VULKAN_STORE, .scale = 0.25f, .bias.buf = &some, .cap = 3 },
    { .many = true, .mode = VULKAN_ADD, .scale = 1 },
    { .many = true, .mode = VULKAN_ADD, .scale = -0.5f, .bias.buf = &some },
    { .many = true, .mode = VULKAN_PAIR, .act = STEP_SILU, .bias.buf = &some },
    { .many = true, .mode = VULKAN_PAIR, .act = STEP_GELU, .bias2.buf = &some },
    { .many = true, .mode = VULKAN_PAIR, .act = STEP_GELU, .bias.buf = &some, .bias2.buf = &some },
};
enum { N_MODES = sizeof modes / sizeof *modes };
static const double FLOAT_LIMIT = 1e-10, CPU_LIMIT = 1e-9, INT8_LIMIT = 1e-4;

static int32_t block_of(int type)
{
    return vulkan_pack_block(weights_types[type]);
}

/* Skips the case where the build or the device has no cooperative matrices. */
static void coop_open(struct matmul_rig *m, struct test *t)
{
    vulkan_rig_open_for(&m->rig, t, VULKAN_TILES_COOP);
    m->card = *m->rig.d->card;
    m->rig.d->card = &m->card;
    if (m->card.tiles != VULKAN_TILES_COOP) {
        const char *lacks = vulkan_coop_compiled() ? "device" : "shader compiler";
        vulkan_rig_close(&m->rig);
        SKIP(t, "no cooperative matrices: the %s lacks them", lacks);
    }
}

static void check(struct matmul_rig *m, int type, int32_t n_rows, int32_t n_cols, int32_t n, struct vulkan_product p)
{
    struct product_case c;
    product_case_init(&c, &m->rig, type, n_rows, n_cols, n, 0);
    product_case_check(&c, p, FLOAT_LIMIT);
    product_case_finish(&c);
}

/* A number far out in each of these rows. */
static void add_outliers(struct product_case *c, int32_t each)
{
    for (int32_t r = 0; r < c->n; r += each)
        c->x[(int64_t)r * c->t[0].n_cols + (int32_t)test_below(c->rig->t, (uint32_t)c->t[0].n_cols)] = -900;
}

static void int8_open(struct matmul_rig *m, struct test *t)
{
    matmul_open(m, t);
    m->card.tiles = VULKAN_TILES_INT8;
}

/* Makes v as the CPU's scalar kernels do. */
static void cpu_products(struct product_case *c)
{
    struct test *t = c->rig->t;
    struct cpu_kern k;
    int32_t n_cols = c->t[0].n_cols, n_rows = c->t[0].n_rows, most = 2 * c->n, units = n_cols / 32;
    cpu_kern_init(&k, 0);
    struct cpu_acts acts = { .n_rows = c->n, .n_cols = n_cols, .x = c->x };
    acts.q = malloc((size_t)most * (size_t)n_cols);
    acts.d = malloc((size_t)(most * units) * sizeof *acts.d);
    acts.s = malloc((size_t)(most * units) * sizeof *acts.s);
    acts.h = malloc((size_t)(most * units) * 2 * sizeof *acts.h);
    acts.second = malloc((size_t)c->n * sizeof *acts.second);
    float *residual = malloc((size_t)n_cols * sizeof *residual);
    void *scratch = aligned_alloc(64, cpu_matmul_scratch_bytes(c->n, n_rows));
    CHECK(t, acts.q && acts.d && acts.s && acts.h && acts.second && residual && scratch);
    cpu_acts_rows(&k, &acts, 0, c->n);
    cpu_acts_seconds(&acts);
    cpu_acts_second_rows(&k, &acts, 0, c->n, residual);
    for (int i = 0; i < 2; i++) {
        const struct tensor *w = &c->t[i];
        const struct cpu_weight weight = { .type = w->type, .n_rows = n_rows, .n_cols = n_cols, .data = w->data,
                                           .row_bytes = w->row_bytes };
        cpu_matmul(&k, c->v[i], n_rows, &weight, 0, n_rows, &acts, scratch);
    }
    free(acts.q);
    free(acts.d);
    free(acts.s);
    free(acts.h);
    free(acts.second);
    free(residual);
    free(scratch);
}

/* Against the CPU's definition of products in eight bits; plain ones against exact ones too. */
static void check_int8(struct matmul_rig *m, int type, int32_t n_rows, int32_t n_cols, int32_t n,
                       struct vulkan_product p, int32_t outliers)
{
    struct product_case c;
    product_case_init(&c, &m->rig, type, n_rows, n_cols, n, 0);
    if (outliers > 0)
        add_outliers(&c, outliers);
    cpu_products(&c);
    product_case_compare(&c, p, CPU_LIMIT);
    if (outliers == 0 && p.mode == VULKAN_STORE && p.cap == 0)
        product_case_check(&c, p, INT8_LIMIT);
    product_case_finish(&c);
}

static void check_int8_shapes(struct matmul_rig *m, int type)
{
    int32_t block = block_of(type);
    check_int8(m, type, 1, block, 33, plain, 0);
    check_int8(m, type, 70, block, 64, plain, 0);
    check_int8(m, type, 33, block == 32 ? 608 : 768, 65, plain, 5);
    check_int8(m, type, 131, 512, 100, plain, 1);
    check_int8(m, type, 5, 2048, 256, plain, 0);
}

/* Edges in both directions; one unit and many. */
static void check_shapes(struct matmul_rig *m, int type)
{
    int32_t block = block_of(type);
    check(m, type, 1, block, 33, plain);
    check(m, type, 70, block, 64, plain);
    check(m, type, 33, block == 32 ? 576 : 768, 65, plain);
    check(m, type, 131, 512, 100, plain);
    check(m, type, 5, 2048, 256, plain);
}

TEST(vulkan_matmul_is_the_product_of_the_dequantised_weights)
{
    struct matmul_rig m;
    matmul_open(&m, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++)
        check_shapes(&m, type);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_in_large_tiles)
{
    struct matmul_rig m;
    matmul_open(&m, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type += 3) {
        check(&m, type, 1027, 256, 250, plain);
        check(&m, type, 1027, 256, 250, pair);
    }
    vulkan_rig_close(&m.rig);
}

/* Tiles of one column of a grid beside those of the next. */
TEST(vulkan_matmul_more_tiles_than_a_grid_is_high)
{
    struct matmul_rig m;
    matmul_open(&m, t);
    check(&m, WEIGHTS_FIRST_BLOCKS, 32768 * 64 + 1003, 32, 1, plain);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_bias_scale_cap_and_pairs)
{
    struct matmul_rig m;
    matmul_open(&m, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type += 2)
        for (int i = 0; i < N_MODES; i++)
            check(&m, type, 37, 512, 41, modes[i]);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_in_chunks_is_the_same)
{
    struct matmul_rig m;
    matmul_open(&m, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct product_case c;
        uint64_t chunk_bytes = 42 * quant_row_bytes(weights_types[type], 768) + 64;
        product_case_init(&c, &m.rig, type, 101, 768, 40, chunk_bytes);
        CHECK_INT(t, c.w[0].n_chunks, 3);
        for (int i = 0; i < N_MODES; i += 3)
            product_case_check(&c, modes[i], FLOAT_LIMIT);
        product_case_finish(&c);
    }
    vulkan_rig_close(&m.rig);
}

/* Rows in company of other rows, at another place of a tile, in tiles of another size. outliers: many, or one here and
 * there. */
static void check_bits(struct matmul_rig *m, int type, struct vulkan_product p, bool outliers)
{
    struct test *t = m->rig.t;
    struct product_case c;
    product_case_init(&c, &m->rig, type, 1027, 256, 256, 0);
    if (outliers)
        add_outliers(&c, 2 + (int32_t)test_below(t, 20));
    size_t n_rows = (size_t)c.t[0].n_rows;
    product_case_run(&c, p, 0, c.n, c.want);
    for (int i = 0; i < 4; i++) {
        int32_t n = i == 3 ? 1 + (int32_t)test_below(t, 32) : 33 + (int32_t)test_below(t, i % 2 == 0 ? 40 : 200);
        int32_t act0 = (int32_t)test_below(t, (uint32_t)(c.n - n + 1));
        product_case_run(&c, p, act0, n, c.got);
        CHECK_BYTES(t, c.got, c.want + (size_t)act0 * n_rows, (size_t)n * n_rows * 4, "%s, %d activations from %d",
                    quant_format(c.t[0].type)->name, n, act0);
    }
    product_case_finish(&c);
}

TEST(vulkan_matmul_of_a_row_does_not_depend_on_the_rows_beside_it)
{
    struct matmul_rig m;
    matmul_open(&m, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type += 2)
        check_bits(&m, type, type % 4 == 0 ? plain : pair, false);
    vulkan_rig_close(&m.rig);
}

/* ---- in eight bits ------------------------------------------------------------------------------------------- */

TEST(vulkan_matmul_int8_is_the_product_of_the_cpu)
{
    struct matmul_rig m;
    int8_open(&m, t);
    for (int type = WEIGHTS_FIRST_BLOCKS; type < WEIGHTS_N_TYPES; type++)
        check_int8_shapes(&m, type);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_int8_without_the_instruction)
{
    struct matmul_rig m;
    int8_open(&m, t);
    m.card.features &= ~(uint32_t)VULKAN_INT_DOT;
    for (int type = WEIGHTS_FIRST_BLOCKS; type < WEIGHTS_N_TYPES; type++)
        check_int8(&m, type, 33, 768, 65, plain, 7);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_int8_in_large_tiles)
{
    struct matmul_rig m;
    int8_open(&m, t);
    for (int type = WEIGHTS_FIRST_BLOCKS; type < WEIGHTS_N_TYPES; type += 3) {
        check_int8(&m, type, 1027, 256, 250, plain, 7);
        check_int8(&m, type, 1027, 256, 250, pair, 7);
    }
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_int8_bias_scale_cap_and_pairs)
{
    struct matmul_rig m;
    int8_open(&m, t);
    for (int type = WEIGHTS_FIRST_BLOCKS; type < WEIGHTS_N_TYPES; type += 3)
        for (int i = 0; i < N_MODES; i++)
            check_int8(&m, type, 37, 512, 41, modes[i], 3);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_int8_in_chunks)
{
    struct matmul_rig m;
    int8_open(&m, t);
    for (int type = WEIGHTS_FIRST_BLOCKS; type < WEIGHTS_N_TYPES; type += 2) {
        struct product_case c;
        product_case_init(&c, &m.rig, type, 101, 768, 40, 42 * quant_row_bytes(weights_types[type], 768) + 64);
        CHECK_INT(t, c.w[0].n_chunks, 3);
        cpu_products(&c);
        for (int i = 0; i < N_MODES; i += 3)
            product_case_compare(&c, modes[i], CPU_LIMIT);
        product_case_finish(&c);
    }
    vulkan_rig_close(&m.rig);
}

/* Rounded once, a row with one number far out is as good as lost; twice, it is better than the others. */
TEST(vulkan_matmul_int8_rounds_outliers_twice)
{
    struct matmul_rig m;
    struct product_case c;
    int8_open(&m, t);
    product_case_init(&c, &m.rig, 10, 64, 512, 64, 0);
    add_outliers(&c, 4);
    product_case_exact(&c, plain);
    product_case_run(&c, plain, 0, c.n, c.got);
    for (int32_t r = 0; r < c.n; r += 4)
        CHECK_NMSE(t, c.got + r * 64, c.v[0] + r * 64, 64, 1e-8, "row %d", r);
    product_case_finish(&c);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_int8_of_a_row_does_not_depend_on_the_rows_beside_it)
{
    struct matmul_rig m;
    int8_open(&m, t);
    for (int type = WEIGHTS_FIRST_BLOCKS; type < WEIGHTS_N_TYPES; type++)
        check_bits(&m, type, type % 3 == 0 ? pair : plain, type % 4 != 0);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_int8_of_zeros_and_of_numbers_too_small_to_divide_by)
{
    struct matmul_rig m;
    struct product_case c;
    int8_open(&m, t);
    product_case_init(&c, &m.rig, 4, 40, 64, 40, 0);
    for (int32_t i = 0; i < 40 * 64; i++)
        c.x[i] = i / 64 % 2 == 0 ? 0 : 1e-38f;
    product_case_run(&c, plain, 0, c.n, c.got);
    for (int32_t i = 0; i < 40 * 40; i++)
        CHECK(t, c.got[i] == 0, "result %d: %g", i, (double)c.got[i]);
    product_case_finish(&c);
    vulkan_rig_close(&m.rig);
}

/* ---- by cooperative matrices ----------------------------------------------------------------------------------- */

static const double COOP_LIMIT = 5e-7;    /* both sides of a product have the 11 bits of f16: some 1e-7 */

static void check_coop(struct matmul_rig *m, int type, int32_t n_rows, int32_t n_cols, int32_t n,
                       struct vulkan_product p)
{
    struct product_case c;
    product_case_init(&c, &m->rig, type, n_rows, n_cols, n, 0);
    product_case_check(&c, p, COOP_LIMIT);
    product_case_finish(&c);
}

TEST(vulkan_matmul_coop_is_the_product_of_the_dequantised_weights)
{
    struct matmul_rig m;
    coop_open(&m, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        int32_t block = block_of(type);
        check_coop(&m, type, 1, block, 33, plain);
        check_coop(&m, type, 70, block, 64, plain);
        check_coop(&m, type, 33, block == 32 ? 608 : 768, 65, plain);
        check_coop(&m, type, 131, 512, 100, plain);
        check_coop(&m, type, 5, 2048, 256, plain);
    }
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_coop_in_large_tiles)
{
    struct matmul_rig m;
    coop_open(&m, t);
    for (int type = 1; type < WEIGHTS_N_TYPES; type += 3) {
        check_coop(&m, type, 1027, 256, 250, plain);
        check_coop(&m, type, 1027, 256, 250, pair);
    }
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_coop_bias_scale_cap_and_pairs)
{
    struct matmul_rig m;
    coop_open(&m, t);
    for (int type = 1; type < WEIGHTS_N_TYPES; type += 3)
        for (int i = 0; i < N_MODES; i++)
            check_coop(&m, type, 37, 512, 41, modes[i]);
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_coop_in_chunks)
{
    struct matmul_rig m;
    coop_open(&m, t);
    for (int type = WEIGHTS_FIRST_BLOCKS; type < WEIGHTS_N_TYPES; type += 2) {
        struct product_case c;
        product_case_init(&c, &m.rig, type, 101, 768, 40, 42 * quant_row_bytes(weights_types[type], 768) + 64);
        CHECK_INT(t, c.w[0].n_chunks, 3);
        for (int i = 0; i < N_MODES; i += 3)
            product_case_check(&c, modes[i], COOP_LIMIT);
        product_case_finish(&c);
    }
    vulkan_rig_close(&m.rig);
}

TEST(vulkan_matmul_coop_of_a_row_does_not_depend_on_the_rows_beside_it)
{
    struct matmul_rig m;
    coop_open(&m, t);
    for (int type = 1; type < WEIGHTS_N_TYPES; type += 2)
        check_bits(&m, type, type % 4 == 1 ? pair : plain, type % 3 == 0);
    vulkan_rig_close(&m.rig);
}

/* Rows of sizes that f16 has no numbers for, each beside others, and one number far out of its row. */
TEST(vulkan_matmul_coop_of_rows_of_any_size)
{
    static const float sizes[] = { 1e-30f, 1e-9f, 3e4f, 1e6f, 1e30f };
    struct matmul_rig m;
    struct product_case c;
    coop_open(&m, t);
    product_case_init(&c, &m.rig, 10, 64, 512, 80, 0);
    for (int32_t i = 0; i < 80 * 512; i++)
        c.x[i] *= sizes[i / 512 % 5];
    for (int32_t r = 5; r < 80; r += 10)
        c.x[r * 512 + 100] *= 1000;
    product_case_exact(&c, plain);
    product_case_run(&c, plain, 0, c.n, c.got);
    for (int32_t r = 0; r < 80; r++)
        CHECK_NMSE(t, c.got + r * 64, c.v[0] + r * 64, 64, COOP_LIMIT, "row %d", r);
    for (int32_t i = 0; i < 80 * 512; i++)
        c.x[i] = i / 512 % 2 == 0 ? 0 : 1e-38f;
    product_case_run(&c, plain, 0, c.n, c.got);
    for (int32_t i = 0; i < 80 * 64; i++)
        CHECK(t, fabsf(c.got[i]) < 1e-34f, "result %d: %g", i, (double)c.got[i]);
    product_case_finish(&c);
    vulkan_rig_close(&m.rig);
}
