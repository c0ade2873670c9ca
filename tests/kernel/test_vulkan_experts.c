/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "engine/quant/quant.h"
#include "tests/support/product_case.h"

/* Products with picks. A case's matrices are those of all experts, and it has a row of x for each pick: EACH uses the
 * first n of them, a sum all. Everybody's first two picks are the same expert, where there are two. */
struct experts {
    struct product_case c;
    struct table_pick *picks;
    int32_t n, n_used, n_experts, n_rows;    /* n: rows of activations; n_rows: of an expert */
    bool norm;                               /* on the way */
};

static const struct vulkan_buf some = { 0 };    /* stands for a bias and for picks */

enum { EACH, PAIRS, ADDED, STORED, N_KINDS };    /* of products; the last two are sums */

static struct vulkan_product product(const struct experts *x, int kind)
{
    struct vulkan_product p = { .scale = 0.75f, .bias.buf = &some,
                                .picks = { { .buf = &some }, x->n_used, x->n_experts, kind >= ADDED } };
    p.mode = kind == PAIRS ? VULKAN_PAIR : kind == ADDED ? VULKAN_ADD : VULKAN_STORE;
    if (kind == PAIRS)
        p.bias2.buf = &some;
    if (x->norm)
        p.norm.buf = &some;
    p.eps = 0.5f;
    return p;
}

static void experts_init(struct experts *x, struct vulkan_rig *rig, int type, int32_t n_rows, int32_t n_cols, int32_t n,
                         int32_t n_used, uint64_t chunk_bytes)
{
    struct test *t = rig->t;
    *x = (struct experts){ .n = n, .n_used = n_used, .n_experts = 5, .n_rows = n_rows };
    product_case_init(&x->c, rig, type, x->n_experts * n_rows, n_cols, n * n_used, chunk_bytes);
    x->picks = malloc((size_t)(n * n_used) * sizeof *x->picks);
    CHECK(t, x->picks != NULL);
    for (int32_t i = 0; i < n * n_used; i++) {
        bool again = i % n_used == 1;
        x->picks[i] = (struct table_pick){ again ? x->picks[i - 1].expert : test_below(t, (uint32_t)x->n_experts),
                                           test_normal(t) };
    }
    x->c.picks = x->picks;
    product_case_exact(&x->c, product(x, EACH));
}

static void experts_finish(struct experts *x)
{
    product_case_finish(&x->c);
    free(x->picks);
}

/* Matrix `which` of a pick times row x_row of x, with its bias. */
static double exact(const struct experts *x, int which, int32_t pick, int32_t x_row, int32_t row)
{
    int32_t at = (int32_t)x->picks[pick].expert * x->n_rows + row;
    return (double)x->c.v[which][x_row * x->c.t[0].n_rows + at] + (double)x->c.bias[which][at];
}

static double exact_sum(const struct experts *x, int32_t a, int32_t row)
{
    double sum = 0;
    for (int32_t pick = a * x->n_used; pick < (a + 1) * x->n_used; pick++)
        if (x->picks[pick].expert < (uint32_t)x->n_experts)
            sum += (double)x->picks[pick].weight * exact(x, 0, pick, pick, row);
    return 0.75 * sum;
}

/* Returns how many results there are. */
static size_t want(struct experts *x, int kind)
{
    int32_t n_y = (kind >= ADDED ? x->n : x->n * x->n_used) * x->n_rows;
    for (int32_t i = 0; i < n_y; i++) {
        int32_t y_row = i / x->n_rows, row = i % x->n_rows, a = y_row / x->n_used;
        if (kind == ADDED || kind == STORED) {
            x->c.want[i] = (float)(exact_sum(x, y_row, row) + (kind == ADDED ? (double)x->c.y0[i] : 0));
        } else {
            double v = exact(x, 0, y_row, a, row);
            x->c.want[i] = (float)(kind == EACH ? 0.75 * v : v / (1 + exp(-v)) * exact(x, 1, y_row, a, row));
        }
    }
    return (size_t)n_y;
}

static void check(struct experts *x, int kind)
{
    size_t n_y = want(x, kind);
    product_case_run(&x->c, product(x, kind), 0, x->n, x->c.got);
    CHECK_NMSE(x->c.rig->t, x->c.got, x->c.want, n_y, 1e-10, "%s %d x %d, %d picks each of %d activations, kind %d",
               quant_format(x->c.t[0].type)->name, x->n_rows, x->c.t[0].n_cols, x->n_used, x->n, kind);
}

/* Results for some rows of activations are those they have in company. */
static void check_bits(struct experts *x, int kind, int32_t n)
{
    struct test *t = x->c.rig->t;
    int32_t act0 = (int32_t)test_below(t, (uint32_t)(x->n - n + 1));
    size_t y_row = (size_t)(kind >= ADDED ? 1 : x->n_used) * (size_t)x->n_rows;
    product_case_run(&x->c, product(x, kind), 0, x->n, x->c.want);
    product_case_run(&x->c, product(x, kind), act0, n, x->c.got);
    CHECK_BYTES(t, x->c.got, x->c.want + (size_t)act0 * y_row, (size_t)n * y_row * 4,
                "%s, %d activations from %d, kind %d", quant_format(x->c.t[0].type)->name, n, act0, kind);
}

TEST(vulkan_experts_of_every_type)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 0; type < WEIGHTS_N_TYPES; type++) {
        struct experts x;
        int32_t block = vulkan_pack_block(weights_types[type]);
        experts_init(&x, &rig, type, 7, block == 32 ? 96 : 768, 3, 2, 0);
        for (int kind = 0; kind < N_KINDS; kind++)
            if (kind == PAIRS || kind == ADDED || type % 5 == 0)
                check(&x, kind);
        experts_finish(&x);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_experts_of_many_shapes)
{
    static const struct {
        int32_t n_rows, n_cols, n_used;
    } shapes[] = { { 1, 256, 1 }, { 1, 256, 8 }, { 3, 2304, 2 }, { 1, 5120, 3 }, { 515, 256, 2 }, { 2051, 256, 1 } };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct experts x;
        experts_init(&x, &rig, 10, shapes[i].n_rows, shapes[i].n_cols, 2, shapes[i].n_used, 0);
        for (int kind = 0; kind < N_KINDS; kind++)
            check(&x, kind);
        experts_finish(&x);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_experts_of_a_row_do_not_depend_on_the_rows_beside_it)
{
    static const int32_t n_used[] = { 1, 2, 8 };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int i = 0; i < 3; i++) {
        struct experts x;
        experts_init(&x, &rig, 3 * i + 4, 5, 1280, 9, n_used[i], 0);    /* more units than lanes */
        for (int32_t n = 1; n <= 9; n++)
            for (int kind = PAIRS; kind <= ADDED; kind++) {
                if (n == 1)
                    check(&x, kind);
                check_bits(&x, kind, n);
            }
        experts_finish(&x);
    }
    vulkan_rig_close(&rig);
}

/* Rows of a prompt go the same way, which is no tiles'. */
TEST(vulkan_experts_of_many_rows_are_those_of_one)
{
    struct vulkan_rig rig;
    struct experts x;
    vulkan_rig_open(&rig, t);
    experts_init(&x, &rig, 10, 9, 256, 70, 2, 0);
    for (int kind = PAIRS; kind <= ADDED; kind++) {
        struct vulkan_product p = product(&x, kind);
        check(&x, kind);
        check_bits(&x, kind, 1);
        product_case_run(&x.c, p, 0, 70, x.c.want);
        p.many = true;
        product_case_run(&x.c, p, 0, 70, x.c.got);
        CHECK_BYTES(t, x.c.got, x.c.want, (size_t)(kind == ADDED ? 70 : 140) * 9 * 4, "kind %d", kind);
    }
    experts_finish(&x);
    vulkan_rig_close(&rig);
}

TEST(vulkan_experts_norm_on_the_way)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int type = 2; type < WEIGHTS_N_TYPES; type += 8) {
        struct experts x;
        experts_init(&x, &rig, type, 7, 1280, 3, 2, 9 * quant_row_bytes(weights_types[type], 1280) + 64);
        x.norm = true;
        product_case_exact(&x.c, product(&x, EACH));
        for (int kind = EACH; kind <= PAIRS; kind++) {
            check(&x, kind);
            check_bits(&x, kind, 1);
        }
        experts_finish(&x);
    }
    vulkan_rig_close(&rig);
}

/* Of one pick: what a product with the expert's matrix gives. */
TEST(vulkan_experts_give_the_bits_of_their_matrices)
{
    struct vulkan_rig rig;
    struct experts x;
    struct err e = { 0 };
    vulkan_rig_open(&rig, t);
    experts_init(&x, &rig, 9, 7, 1280, 1, 2, 0);
    product_case_run(&x.c, product(&x, EACH), 0, 1, x.c.want);
    struct product_case alone = x.c;
    uint32_t expert = x.picks[0].expert;
    alone.t[0].n_rows = 7;
    alone.t[0].data = (const uint8_t *)alone.t[0].data + expert * 7 * alone.t[0].row_bytes;
    alone.t[0].n_bytes = 7 * alone.t[0].row_bytes;
    alone.bias[0] += expert * 7;
    CHECK(t, vulkan_weight_create(rig.d, &alone.t[0], &alone.w[0], &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_flush(rig.d, &e) == ERR_OK, "%s", e.text);
    product_case_run(&alone, (struct vulkan_product){ .scale = 0.75f, .bias.buf = &some }, 0, 1, x.c.got);
    CHECK_BYTES(t, x.c.got, x.c.want, 7 * 4);
    vulkan_weight_destroy(rig.d, &alone.w[0]);
    experts_finish(&x);
    vulkan_rig_close(&rig);
}

/* Ids that are none, some of which come back into the matrix when they are multiplied with its rows. What the picks that
 * are left give is what it is without the others; of those x is not looked at, and no row of y written. */
TEST(vulkan_experts_that_there_are_not)
{
    static const uint32_t none[] = { 5, 6, 0x20000000, 0x20000001, 0x7fffffff, 0x80000000, 0xffffffff };
    enum { N_NONE = sizeof none / sizeof *none, N_ROWS = 8, N_COLS = 256 };
    static const uint32_t untouched = 0xffffffff;
    struct vulkan_rig rig;
    struct experts x;
    vulkan_rig_open(&rig, t);
    experts_init(&x, &rig, 10, N_ROWS, N_COLS, N_NONE, 2, 0);
    for (int32_t i = 0; i < N_NONE; i++)
        x.picks[2 * i + i % 2].expert = none[i];
    for (int kind = EACH; kind <= PAIRS; kind++) {
        for (int32_t i = 0; i < N_NONE; i++)    /* put back before it is compared with what is exact */
            x.picks[2 * i + i % 2].expert = 0;
        size_t n_y = want(&x, kind);
        for (int32_t i = 0; i < N_NONE; i++)
            x.picks[2 * i + i % 2].expert = none[i];
        product_case_run(&x.c, product(&x, kind), 0, N_NONE, x.c.got);
        for (int32_t i = 0; i < N_NONE; i++)
            for (int32_t row = 0; row < N_ROWS; row++) {
                int32_t at = (2 * i + i % 2) * N_ROWS + row;
                CHECK_BYTES(t, &x.c.got[at], &untouched, 4, "id %u, row %d, kind %d", none[i], row, kind);
                x.c.got[at] = x.c.want[at];
            }
        CHECK_NMSE(t, x.c.got, x.c.want, n_y, 1e-10, "kind %d", kind);
    }
    for (int32_t i = 0; i < N_NONE; i++)
        for (int32_t j = 0; j < N_COLS; j++)
            x.c.x[(2 * i + i % 2) * N_COLS + j] = NAN;
    check(&x, ADDED);
    check(&x, STORED);
    for (int32_t i = 0; i < 2 * N_NONE; i++)
        x.picks[i].expert = none[i / 2];
    product_case_run(&x.c, product(&x, ADDED), 0, N_NONE, x.c.got);
    CHECK_BYTES(t, x.c.got, x.c.y0, N_NONE * N_ROWS * 4);
    product_case_run(&x.c, product(&x, STORED), 0, N_NONE, x.c.got);
    for (int32_t i = 0; i < N_NONE * N_ROWS; i++)
        CHECK(t, fabsf(x.c.got[i]) == 0, "result %d", i);
    experts_finish(&x);
    vulkan_rig_close(&rig);
}

/* Borders of chunks lie within experts, and where n_rows is large within the rows that a workgroup makes. */
TEST(vulkan_experts_in_chunks)
{
    static const struct {
        int type;
        int32_t n_rows, n_used, chunk_rows;
    } shapes[] = { { 0, 7, 2, 6 },    { 4, 5, 8, 3 },      { 7, 7, 3, 11 }, { 10, 7, 2, 6 },
                   { 13, 3, 2, 1 },   { 10, 2051, 1, 1001 }, { 3, 1027, 2, 1300 } };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct experts x;
        int32_t n_cols = shapes[i].n_rows < 1000 ? 768 : 256;
        uint64_t row_bytes = quant_row_bytes(weights_types[shapes[i].type], (uint64_t)n_cols);
        experts_init(&x, &rig, shapes[i].type, shapes[i].n_rows, n_cols, 3, shapes[i].n_used,
                     (uint64_t)shapes[i].chunk_rows * row_bytes + 64);
        CHECK(t, x.c.w[0].n_chunks > 2 && x.c.w[0].chunks[1].row0 % shapes[i].n_rows != 0);
        for (int kind = 0; kind < N_KINDS; kind++) {
            check(&x, kind);
            check_bits(&x, kind, 1 + (int32_t)i % 2);
        }
        experts_finish(&x);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_experts_in_chunks_are_added_one_after_another)
{
    struct vulkan_rig rig;
    struct experts x;
    struct err e = { 0 };
    vulkan_rig_open(&rig, t);
    experts_init(&x, &rig, 10, 7, 256, 3, 2, 9 * quant_row_bytes(weights_types[10], 256) + 64);
    struct vulkan_buf bufs[3];
    for (int i = 0; i < 3; i++)
        bufs[i] = vulkan_rig_buf(&rig, NULL, 6 * 256 * 4);
    for (int kind = 0; kind < N_KINDS; kind++) {
        struct vulkan_product p = product(&x, kind);
        struct vulkan_recording r;
        p.bias = p.bias2 = (struct vulkan_part){ 0 };
        p.picks.part = vulkan_all(&bufs[0]);
        p.w = &x.c.w[0];
        p.w2 = kind == PAIRS ? &x.c.w[1] : NULL;
        p.x = &bufs[1];
        p.y = &bufs[2];
        p.n = 3;
        CHECK(t, vulkan_record_begin(&r, rig.d, &e) == ERR_OK, "%s", e.text);
        vulkan_record_product(&r, &p);
        CHECK_INT(t, r.n_dispatches, 4);
        CHECK_INT(t, r.n_levels, kind >= ADDED ? 3 : 0, "kind %d", kind);
        CHECK(t, vulkan_record_end(&r, &e) == ERR_OK, "%s", e.text);
        vulkan_recording_destroy(&r);
    }
    for (int i = 0; i < 3; i++)
        vulkan_buf_destroy(rig.d, &bufs[i]);
    experts_finish(&x);
    vulkan_rig_close(&rig);
}

/* A workgroup of two rows, of which the second is the first of a chunk, reads another one in place of the first: the
 * chunk's last, of an expert that nobody picked. */
TEST(vulkan_experts_that_nobody_picked_are_not_seen)
{
    enum { N_ROWS = 2050, N_COLS = 32, EXPERT = 2, CHUNK_ROWS = N_ROWS + 513 };
    struct vulkan_rig rig;
    struct experts x;
    struct err e = { 0 };
    vulkan_rig_open(&rig, t);
    experts_init(&x, &rig, 1, N_ROWS, N_COLS, 2, 2, 0);
    for (int32_t i = 0; i < 4; i++)
        x.picks[i].expert = i % 2 ? EXPERT - 1 : EXPERT + 1;
    memset((uint8_t *)x.c.t[0].data + EXPERT * N_ROWS * x.c.t[0].row_bytes, 0xff, N_ROWS * x.c.t[0].row_bytes);
    vulkan_weight_destroy(rig.d, &x.c.w[0]);
    uint64_t chunk_bytes = CHUNK_ROWS * x.c.t[0].row_bytes + 64;
    CHECK(t, vulkan_weight_create_chunked(rig.d, &x.c.t[0], chunk_bytes, &x.c.w[0], &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, x.c.w[0].chunks[1].row0, CHUNK_ROWS);
    CHECK_INT(t, (x.c.w[0].chunks[2].row0 - 1) / N_ROWS, EXPERT);
    CHECK(t, vulkan_flush(rig.d, &e) == ERR_OK, "%s", e.text);
    for (int kind = ADDED; kind <= STORED; kind++)
        check(&x, kind);
    experts_finish(&x);
    vulkan_rig_close(&rig);
}

TEST(vulkan_experts_without_sums_over_subgroups)
{
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    struct vulkan_card card = *rig.d->card;
    card.features &= ~(uint32_t)VULKAN_SUBGROUP_ADD;
    rig.d->card = &card;
    for (int type = 1; type < WEIGHTS_N_TYPES; type += 6) {
        struct experts x;
        experts_init(&x, &rig, type, 7, 768, 3, 2, 0);
        for (int kind = 0; kind < N_KINDS; kind++) {
            check(&x, kind);
            check_bits(&x, kind, 1);
        }
        experts_finish(&x);
    }
    vulkan_rig_close(&rig);
}

/* A rehearsal, for which no buffer is there yet, names all pipelines. */
TEST(vulkan_experts_rehearsed)
{
    struct vulkan_rig rig;
    struct experts x;
    const struct vulkan_buf empty[3] = { 0 };
    vulkan_rig_open(&rig, t);
    experts_init(&x, &rig, 10, 7, 256, 2, 2, 9 * quant_row_bytes(weights_types[10], 256) + 64);
    CHECK(t, x.c.w[0].n_chunks > 1);
    for (int kind = 0; kind < N_KINDS; kind++) {
        struct vulkan_product p = product(&x, kind);
        struct vulkan_recording r = vulkan_rehearsal(rig.d);
        p.w = &x.c.w[0];
        p.w2 = kind == PAIRS ? &x.c.w[1] : NULL;
        p.x = &empty[0];
        p.y = &empty[1];
        p.n = 2;
        vulkan_record_product(&r, &p);
        int32_t n = rig.d->n_pipelines;
        check(&x, kind);
        CHECK_INT(t, rig.d->n_pipelines, n, "kind %d", kind);
    }
    experts_finish(&x);
    vulkan_rig_close(&rig);
}
