/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/quant/quant.h"
#include "tests/support/product_case.h"

/* The limit leaves room for a single result whose terms cancel; over many it is 1e-13, with soft caps 2e-12. */
static void check(struct product_case *c, struct vulkan_product p)
{
    product_case_check(c, p, 1e-10);
}

static const struct vulkan_product plain = { .mode = VULKAN_STORE, .scale = 1 };
static const struct vulkan_buf some = { 0 };    /* stands for a bias of the case */

static int32_t block_of(int type)
{
    return vulkan_pack_block(weights_types[type]);
}

TEST(vulkan_matvec_is_the_product_of_the_dequantised_weights)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        int32_t block = block_of(type);
        const struct {
            int32_t n_rows, n_cols, n;
        } shapes[] = { { 1, block, 1 }, { 3, block, 1 }, { 7, block == 32 ? 576 : 768, 1 }, { 5, 2560, 1 },
                       { 2, 8192, 1 } };
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct product_case c;
            product_case_init(&c, &rig, type, shapes[i].n_rows, shapes[i].n_cols, shapes[i].n, 0);
            check(&c, plain);
            product_case_finish(&c);
        }
    }
    vulkan_rig_close(&rig);
}

/* Results for one row of activations are those it has in company. */
static void check_bits(struct product_case *c, struct vulkan_product p)
{
    struct test *t = c->rig->t;
    size_t n_rows = (size_t)c->t[0].n_rows;
    product_case_run(c, p, 0, c->n, c->want);
    for (int32_t n = 1; n <= 8; n++) {
        int32_t act0 = (int32_t)test_below(t, (uint32_t)(c->n - n + 1));
        product_case_run(c, p, act0, n, c->got);
        CHECK_BYTES(t, c->got, c->want + (size_t)act0 * n_rows, (size_t)n * n_rows * 4, "%s, %d activations from %d",
                    quant_format(c->t[0].type)->name, n, act0);
    }
}

TEST(vulkan_matvec_of_a_row_does_not_depend_on_the_rows_beside_it)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct product_case c;
        product_case_init(&c, &rig, type, 5, 1280, 17, 0);
        check(&c, plain);
        check_bits(&c, plain);
        product_case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_pairs_do_not_depend_on_the_rows_beside_them)
{
    struct vulkan_rig rig;
    struct product_case c;
    vulkan_rig_open(&rig, t);
    for (int type = 3; type < WEIGHTS_N_TYPES; type += 7) {
        product_case_init(&c, &rig, type, 1027, 512, 17, 0);
        check_bits(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU });
        product_case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_any_number_of_activations)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int32_t n = 2; n < 26; n++) {
        struct product_case c;
        product_case_init(&c, &rig, 10, 9, 512, n, 0);
        check(&c, plain);
        product_case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_pairs)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct product_case c;
        product_case_init(&c, &rig, type, 11, 768, 3, 0);
        check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU });
        check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_GELU });
        product_case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_norms_on_the_way)
{
    static const struct vulkan_product products[] = {
        { .mode = VULKAN_STORE, .scale = 1, .bias.buf = &some, .norm.buf = &some, .eps = 1e-6f },
        { .mode = VULKAN_ADD, .scale = 0.5f, .norm.buf = &some, .eps = 3 },
        { .mode = VULKAN_PAIR, .act = STEP_SILU, .bias2.buf = &some, .norm.buf = &some, .eps = 1e-5f },
    };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct product_case c;
        int which = type % 3;
        product_case_init(&c, &rig, type, 9, block_of(type) == 32 ? 576 : 1280, 11, 0);
        check(&c, products[which]);
        if (type % 5 == 0)
            check_bits(&c, products[which]);
        product_case_finish(&c);
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
    for (int type = 0; type < WEIGHTS_N_TYPES; type += 5)
        for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
            struct product_case c;
            product_case_init(&c, &rig, type, 13, 512, 3, 0);
            check(&c, products[i]);
            product_case_finish(&c);
        }
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_activations_far_out_are_finite)
{
    struct vulkan_rig rig;
    struct product_case c;
    vulkan_rig_open(&rig, t);
    product_case_init(&c, &rig, 10, 4, 256, 1, 0);
    for (int act = STEP_SILU; act <= STEP_GELU; act++)
        for (int i = 0; i < 4; i++) {
            static const float far[] = { 60, -60, 3e9f, -3e9f };
            c.bias[0][i] = far[i];
            if (i == 3)
                check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = (enum step_act)act, .bias.buf = &some });
        }
    check(&c, (struct vulkan_product){ .mode = VULKAN_STORE, .scale = 1, .cap = 30, .bias.buf = &some });
    product_case_finish(&c);
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_several_rows_in_a_workgroup)
{
    static const int32_t n_rows[] = { 1027, 2051 };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++)
        for (int i = 0; i < 2; i++) {
            struct product_case c;
            product_case_init(&c, &rig, type, n_rows[i], 256, 3, 0);
            check(&c, plain);
            check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU, .bias2.buf = &some });
            product_case_finish(&c);
        }
    vulkan_rig_close(&rig);
}

/* Workgroups in two dimensions, the last row of them not full. */
TEST(vulkan_matvec_more_rows_than_a_grid_is_wide)
{
    struct vulkan_rig rig;
    struct product_case c;
    vulkan_rig_open(&rig, t);
    product_case_init(&c, &rig, 3, 4 * 32768 + 1003, 32, 1, 0);
    check(&c, plain);
    product_case_finish(&c);
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
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct product_case c;
        uint64_t chunk_bytes = 6 * quant_row_bytes(weights_types[type], 768) + 64;
        product_case_init(&c, &rig, type, 23, 768, 2, chunk_bytes);
        CHECK_INT(t, c.w[0].n_chunks, 4);
        for (int i = 0; i < 4; i++)
            CHECK(t, c.w[0].chunks[i].buf.n_bytes <= chunk_bytes);
        for (int i = 0; i < (type % 6 == 0 ? 3 : 1); i++)
            check(&c, products[i]);
        product_case_finish(&c);
    }
    vulkan_rig_close(&rig);
}

/* Rows that are packed in more than one piece, of an odd number, and where blocks allow it of an odd number of units. */
static void check_pieces(struct vulkan_rig *rig)
{
    for (int type = 0; type < WEIGHTS_N_TYPES; type += 5) {
        struct product_case c;
        int32_t n_cols = block_of(type) == 32 ? 1760 : 1792;
        int32_t n_rows = (int32_t)((5 << 20) / quant_row_bytes(weights_types[type], (uint64_t)n_cols)) | 1;
        product_case_init(&c, rig, type, n_rows, n_cols, 1, 0);
        check(&c, plain);
        product_case_finish(&c);
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
    struct product_case c = { .rig = &rig, .n = N };
    struct err e = { 0 };
    vulkan_rig_open(&rig, t);
    c.t[0] = (struct tensor){ .name = "w", .type = QUANT_F32, .n_rows = N_ROWS, .n_cols = N_COLS,
                              .row_bytes = N_COLS * 4, .n_bytes = (uint64_t)N_ROWS * N_COLS * 4 };
    float *w = malloc(c.t[0].n_bytes);
    CHECK(t, w != NULL);
    uint64_t state = test_random(t);
    for (size_t i = 0; i < (size_t)N_ROWS * N_COLS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        w[i] = (float)(state >> 40) / 8388608.0f - 1.0f;
    }
    c.t[0].data = w;
    CHECK(t, vulkan_weight_create(rig.d, &c.t[0], &c.w[0], &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_flush(rig.d, &e) == ERR_OK, "%s", e.text);
    CHECK(t, c.w[0].n_chunks > 1 || rig.d->card->binding_bytes > c.t[0].n_bytes);
    c.x = product_normals(t, (size_t)N * N_COLS);
    c.bias[0] = product_normals(t, N_ROWS);
    c.bias[1] = product_normals(t, N_ROWS);
    c.got = product_normals(t, (size_t)N * N_ROWS);
    product_case_run(&c, plain, 0, N, c.got);
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
    product_case_finish(&c);
    vulkan_rig_close(&rig);
}

TEST(vulkan_matvec_without_sums_over_subgroups)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    struct vulkan_card card = *rig.d->card;
    card.features &= ~(uint32_t)VULKAN_SUBGROUP_ADD;
    rig.d->card = &card;
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct product_case c;
        product_case_init(&c, &rig, type, 7, 2304, 2, 0);
        check(&c, plain);
        product_case_finish(&c);
    }
    for (int type = 0; type < WEIGHTS_N_TYPES; type += 6) {
        struct product_case c;
        product_case_init(&c, &rig, type, 7, 2304, 9, 0);
        check(&c, (struct vulkan_product){ .mode = VULKAN_PAIR, .act = STEP_SILU });
        check_bits(&c, plain);
        product_case_finish(&c);
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
        product_tensor(t, &w, 10, 23, 768);
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
