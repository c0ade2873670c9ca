/* SPDX-License-Identifier: MIT */
/* The arithmetic of measuring: known values, and intervals that cover what they should on made-up data. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/measure/kl_file.h"
#include "app/measure/scores.h"

enum { TRIALS = 400, CHUNKS = 30, PER_CHUNK = 24 };

static bool near(double got, double want, double off)
{
    return fabs(got - want) <= off;
}

/* ---- blocks --------------------------------------------------------------------------------------- */

TEST(measure_blocks_cover_every_value_once)
{
    static const int64_t shapes[][2] = { { 1, 1 }, { 5, 3 }, { 2, 31 }, { 6, 63 }, { 23, 255 }, { 24, 255 }, { 256, 7 },
                                         { 257, 7 }, { 1000, 2 }, { 3, 7 } };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int64_t n_chunks = shapes[i][0], per_chunk = shapes[i][1];
        struct estimate_blocks b = estimate_blocks(n_chunks * per_chunk, per_chunk);
        CHECK(t, b.n_blocks > 0 && b.n_blocks <= ESTIMATE_BLOCKS_MOST, "%d blocks", b.n_blocks);
        CHECK_INT(t, estimate_block_begin(&b, 0), 0);
        CHECK_INT(t, estimate_block_begin(&b, b.n_blocks), n_chunks * per_chunk);
        for (int32_t k = 0; k < b.n_blocks; k++)
            CHECK(t, estimate_block_begin(&b, k) < estimate_block_begin(&b, k + 1), "block %d of shape %zu", k, i);
    }
    CHECK_INT(t, estimate_blocks(6 * 63, 63).n_blocks, 24);
    CHECK_INT(t, estimate_blocks(100 * 255, 255).n_blocks, 100);
    CHECK_INT(t, estimate_blocks(1000 * 2, 2).n_blocks, 250);
    CHECK_INT(t, estimate_blocks(0, 255).n_blocks, 0);
}

/* ---- intervals ------------------------------------------------------------------------------------ */

/* Draws of mean 1: independent and normal; skewed; alike within a chunk; alike and skewed. */
static void draw(struct test *t, int kind, double *values)
{
    for (int c = 0; c < CHUNKS; c++) {
        double common = kind == 2 ? test_normal(t) : 0;
        double factor = kind == 3 ? exp(0.7 * test_normal(t) - 0.245) : 1;
        for (int i = 0; i < PER_CHUNK; i++) {
            double own = kind == 1 || kind == 3 ? -log(0.5 + 0.4999999 * test_uniform(t)) : 1 + test_normal(t);
            values[c * PER_CHUNK + i] = factor * own + common;
        }
    }
}

TEST(measure_intervals_cover_the_mean_as_often_as_they_say)
{
    double values[CHUNKS * PER_CHUNK];
    struct estimate_blocks b = estimate_blocks(CHUNKS * PER_CHUNK, PER_CHUNK);
    for (int kind = 0; kind < 4; kind++) {
        int covered = 0, naive = 0;
        for (int i = 0; i < TRIALS; i++) {
            draw(t, kind, values);
            struct estimate e = estimate_mean(values, CHUNKS * PER_CHUNK, &b);
            covered += e.low <= 1 && e.high >= 1;
            naive += fabs(e.mean - 1) <= 1.96 * e.error;
        }
        printf("kind %d: block bootstrap covers %.1f %%, the error of independent values %.1f %%\n", kind,
               100.0 * covered / TRIALS, 100.0 * naive / TRIALS);
        CHECK(t, covered >= 0.92 * TRIALS && covered <= 0.98 * TRIALS, "kind %d: %d of %d", kind, covered, TRIALS);
        CHECK(t, kind < 2 || naive < 0.8 * TRIALS, "kind %d: %d of %d", kind, naive, TRIALS);
    }
}

TEST(measure_interval_of_a_few_chunks_is_made_of_their_parts)
{
    enum { N = 4 * 255 };
    static double values[N];
    int covered = 0;
    struct estimate_blocks b = estimate_blocks(N, 255);
    CHECK_INT(t, b.n_blocks, 24);
    for (int i = 0; i < TRIALS; i++) {
        double before = 0;
        for (int k = 0; k < N; k++) {
            before = 0.7 * before + test_normal(t);    /* neighbours are alike */
            values[k] = 1 + before;
        }
        struct estimate e = estimate_mean(values, N, &b);
        covered += e.low <= 1 && e.high >= 1;
    }
    CHECK(t, covered >= 0.91 * TRIALS && covered <= 0.98 * TRIALS, "%d of %d", covered, TRIALS);
}

TEST(measure_interval_is_the_same_every_time_and_survives_odd_values)
{
    double values[CHUNKS * PER_CHUNK];
    struct estimate_blocks b = estimate_blocks(CHUNKS * PER_CHUNK, PER_CHUNK);
    draw(t, 3, values);
    struct estimate one = estimate_mean(values, CHUNKS * PER_CHUNK, &b);
    struct estimate two = estimate_mean(values, CHUNKS * PER_CHUNK, &b);
    CHECK(t, one.low == two.low && one.high == two.high && one.low < one.mean && one.mean < one.high);

    for (int i = 0; i < CHUNKS * PER_CHUNK; i++)
        values[i] = 0.25;
    one = estimate_mean(values, CHUNKS * PER_CHUNK, &b);
    CHECK(t, one.mean == 0.25 && one.low == 0.25 && one.high == 0.25 && one.error == 0);
    values[7] = 1000;    /* one block has it all: most draws know nothing of it */
    one = estimate_mean(values, CHUNKS * PER_CHUNK, &b);
    CHECK(t, isfinite(one.low) && isfinite(one.high) && one.low <= one.mean && one.high >= one.mean);

    struct estimate_blocks none = estimate_blocks(0, 0), single = estimate_blocks(1, 1);
    one = estimate_mean(values, 0, &none);
    CHECK(t, one.mean == 0 && one.low == 0 && one.high == 0);
    one = estimate_mean(values, 1, &single);
    CHECK(t, one.mean == 0.25 && one.low == 0.25 && one.high == 0.25);
}

TEST(measure_share_has_wilsons_interval_and_a_wider_one_for_values_that_go_together)
{
    enum { N = CHUNKS * PER_CHUNK };
    double mixed[N], alike[N];
    struct estimate_blocks b = estimate_blocks(N, PER_CHUNK);
    /* Wilson for 60 of 100, and for none of 50: from the formula by hand. */
    struct estimate e = estimate_wilson(60, 100);
    CHECK(t, near(e.low, 0.50200, 1e-5) && near(e.high, 0.69060, 1e-5), "%.6f to %.6f", e.low, e.high);
    e = estimate_wilson(0, 50);
    CHECK(t, e.low == 0 && near(e.high, 0.07135, 1e-5), "%.6f", e.high);
    e = estimate_wilson(0, 0);
    CHECK(t, e.low == 0 && e.high == 1);

    for (int i = 0; i < N; i++) {
        mixed[i] = i % 2;
        alike[i] = i / PER_CHUNK % 2;
    }
    struct estimate apart = estimate_share(mixed, N, &b), together = estimate_share(alike, N, &b);
    e = estimate_wilson(N / 2, N);
    CHECK(t, near(apart.low, e.low, 1e-12) && near(apart.high, e.high, 1e-12));
    CHECK(t, together.mean == 0.5 && together.high - together.low > 4 * (apart.high - apart.low), "%.4f to %.4f",
          together.low, together.high);
    for (int i = 0; i < N; i++)
        alike[i] = 1;
    e = estimate_share(alike, N, &b);
    CHECK(t, e.mean == 1 && e.high == 1 && e.low < 1 && e.low > 0.99, "%.5f", e.low);
}

TEST(measure_percentiles)
{
    double values[] = { 5, 1, 4, 2, 3 };
    estimate_sort(values, 5);
    CHECK(t, values[0] == 1 && values[4] == 5);
    CHECK(t, estimate_percentile(values, 5, 0) == 1 && estimate_percentile(values, 5, 1) == 5);
    CHECK(t, estimate_percentile(values, 5, 0.5) == 3 && near(estimate_percentile(values, 5, 0.9), 4.6, 1e-12));
    CHECK(t, estimate_percentile(values, 4, 0.5) == 2.5 && estimate_percentile(values, 1, 0.7) == 1);
}

/* ---- scores --------------------------------------------------------------------------------------- */

TEST(measure_scores_of_distributions_worked_out_by_hand)
{
    /* p_base = 1/2 1/4 1/8 1/8, p = 1/4 1/4 1/4 1/4: KL = ln 4 - entropy of the base = 1/4 ln 2. */
    const float base_logits[] = { 3 + logf(4), 3 + logf(2), 3, 3 }, logits[] = { -1, -1, -1, -1 };
    struct score_row row, base;
    struct scores s = { .per_chunk = 1 };
    struct score_summary sum;
    struct err e;
    score_row(&row, logits, 4);
    score_row(&base, base_logits, 4);
    CHECK_INT(t, base.top, 0);
    CHECK_INT(t, row.top, 0);
    CHECK_INT(t, scores_add(&s, &row, &base, -INFINITY, 2, &e), ERR_OK);
    CHECK(t, near(s.columns[SCORE_NLL][0], log(4), 1e-7) && near(s.columns[SCORE_BASE_NLL][0], log(8), 1e-7));
    CHECK(t, near(s.columns[SCORE_KL][0], 0.25 * log(2), 1e-7), "%.9f", s.columns[SCORE_KL][0]);
    CHECK(t, near(s.columns[SCORE_DELTA_P][0], 0.125, 1e-7) && s.columns[SCORE_SAME_TOP][0] == 1);
    /* What the base has at 1/8 or less does not count with a floor above that. */
    CHECK_INT(t, scores_add(&s, &row, &base, -2, 0, &e), ERR_OK);
    CHECK(t, near(s.columns[SCORE_KL][1], 0.5 * log(2), 1e-7), "%.9f", s.columns[SCORE_KL][1]);
    CHECK(t, near(s.columns[SCORE_DELTA_P][1], -0.25, 1e-7));
    CHECK_INT(t, scores_summary(&s, &sum, &e), ERR_OK);
    CHECK(t, sum.n == 2 && near(sum.nll.mean, log(4), 1e-7) && near(sum.log_ratio.mean, log(4) - log(4), 1e-7));
    CHECK(t, near(sum.delta_p_rms, sqrt((0.125 * 0.125 + 0.25 * 0.25) / 2), 1e-7));
    CHECK(t, near(sum.same_top.mean, 1, 0));
    scores_finish(&s);
}

TEST(measure_scores_of_a_row_against_itself_are_zero_exactly)
{
    enum { N = 5000 };
    float logits[N];
    struct score_row row, again;
    struct scores s = { .per_chunk = 1 };
    struct err e;
    for (int i = 0; i < N; i++)
        logits[i] = 4 * test_normal(t);
    logits[17] = -INFINITY;    /* a token that never comes */
    score_row(&row, logits, N);
    score_row(&again, logits, N);
    CHECK_INT(t, scores_add(&s, &row, &again, -INFINITY, 3, &e), ERR_OK);
    CHECK(t, s.columns[SCORE_KL][0] == 0 && s.columns[SCORE_DELTA_P][0] == 0 && s.columns[SCORE_SAME_TOP][0] == 1);

    /* What neither thinks possible adds nothing, though one is a little surer of that. */
    float surer[N];
    memcpy(surer, logits, sizeof surer);
    logits[18] = -1000;
    surer[18] = -INFINITY;
    score_row(&row, logits, N);
    score_row(&again, surer, N);
    CHECK_INT(t, scores_add(&s, &again, &row, -INFINITY, 3, &e), ERR_OK);
    CHECK(t, fabs(s.columns[SCORE_KL][1]) < 1e-2, "%g", s.columns[SCORE_KL][1]);

    /* Nearly the same: half of what a chi-square of small differences says, far below the rounding of floats. */
    float close[N];
    double want = 0, mean = 0;
    for (int i = 0; i < N; i++)
        close[i] = logits[i] + 1e-3f * test_normal(t);
    for (int i = 0; i < N; i++)
        if (isfinite(logits[i]))
            mean += exp(logits[i] - row.log_z) * (close[i] - logits[i]);
    for (int i = 0; i < N; i++)
        if (isfinite(logits[i]))
            want += 0.5 * exp(logits[i] - row.log_z) * pow(close[i] - logits[i] - mean, 2);
    score_row(&again, close, N);
    CHECK_INT(t, scores_add(&s, &again, &row, -INFINITY, 3, &e), ERR_OK);
    CHECK(t, near(s.columns[SCORE_KL][2], want, 2e-8), "%.3g, %.3g wanted", s.columns[SCORE_KL][2], want);
    scores_finish(&s);
}

/* Columns of two models that err in the same places. */
static void add_made_up(struct test *t, struct scores *a, struct scores *b, int64_t n)
{
    struct err e;
    float logits[2] = { 0, 0 };
    struct score_row row;
    score_row(&row, logits, 2);
    for (int64_t i = 0; i < n; i++) {
        CHECK_INT(t, scores_add(a, &row, &row, -INFINITY, 0, &e), ERR_OK);
        CHECK_INT(t, scores_add(b, &row, &row, -INFINITY, 0, &e), ERR_OK);
        double hard = -log(0.5 + 0.4999999 * test_uniform(t));
        a->columns[SCORE_KL][i] = 0.10 * hard + 0.01 * fabs((double)test_normal(t));
        b->columns[SCORE_KL][i] = 0.09 * hard + 0.01 * fabs((double)test_normal(t));
    }
}

TEST(measure_paired_interval_is_narrower_than_those_of_either)
{
    struct scores a = { .per_chunk = 63 }, b = { .per_chunk = 63 };
    struct score_summary sum_a, sum_b;
    struct score_difference less;
    struct err e;
    add_made_up(t, &a, &b, 20 * 63 + 5);    /* the last chunk is not whole */
    CHECK_INT(t, scores_summary(&a, &sum_a, &e), ERR_OK);
    CHECK_INT(t, scores_summary(&b, &sum_b, &e), ERR_OK);
    CHECK_INT(t, scores_difference(&a, &b, &less, &e), ERR_OK);
    CHECK_INT(t, sum_a.n, 20 * 63);
    CHECK(t, near(less.kl.mean, sum_a.kl.mean - sum_b.kl.mean, 1e-12));
    double width = less.kl.high - less.kl.low;
    CHECK(t, width < 0.3 * (sum_a.kl.high - sum_a.kl.low), "%.5f of %.5f", width, sum_a.kl.high - sum_a.kl.low);
    CHECK(t, less.kl.low > 0 && sum_a.kl.low < sum_b.kl.high, "told apart in pairs, not apart");
    scores_finish(&a);
    scores_finish(&b);
}

/* ---- the file ------------------------------------------------------------------------------------- */

enum { FILE_CTX = 16, FILE_VOCAB = 33, FILE_CHUNKS = 3, FILE_ROWS = FILE_CHUNKS * (FILE_CTX - 1 - FILE_CTX / 2),
       FILE_ROW_BYTES = 2 * (34 + 4), FILE_TOKENS_AT = 20, FILE_ROWS_AT = 20 + 4 * FILE_CTX * FILE_CHUNKS };

static void file_path(struct test *t, char out[512])
{
    snprintf(out, 512, "%s/base.kld", test_folder(t));
}

static void write_file(struct test *t, const char *path, float logits[FILE_ROWS][FILE_VOCAB])
{
    struct kl_file k;
    struct err e;
    struct score_row row;
    int32_t tokens[FILE_CTX * FILE_CHUNKS];
    for (int i = 0; i < FILE_CTX * FILE_CHUNKS; i++)
        tokens[i] = i % FILE_VOCAB;
    CHECK_INT(t, kl_file_create(&k, path, FILE_CTX, FILE_VOCAB, FILE_CHUNKS, tokens, &e), ERR_OK, "%s", e.text);
    for (int r = 0; r < FILE_ROWS; r++) {
        for (int i = 0; i < FILE_VOCAB; i++)
            logits[r][i] = 3 * test_normal(t);
        score_row(&row, logits[r], FILE_VOCAB);
        CHECK_INT(t, kl_file_add(&k, &row, &e), ERR_OK);
    }
    CHECK_INT(t, kl_file_close(&k, &e), ERR_OK);
}

TEST(measure_file_holds_what_was_put_into_it)
{
    static float logits[FILE_ROWS][FILE_VOCAB];
    char path[512];
    struct kl_file k;
    struct err e;
    struct score_row row, given;
    struct scores s = { .per_chunk = 7 };
    int32_t tokens[FILE_CTX * FILE_CHUNKS];
    file_path(t, path);
    write_file(t, path, logits);
    CHECK_INT(t, kl_file_open(&k, path, &e), ERR_OK, "%s", e.text);
    CHECK(t, k.n_ctx == FILE_CTX && k.n_vocab == FILE_VOCAB && k.n_chunks == FILE_CHUNKS && k.n_whole == FILE_CHUNKS);
    CHECK_INT(t, kl_file_tokens(&k, tokens, &e), ERR_OK);
    CHECK_INT(t, tokens[40], 40 % FILE_VOCAB);
    for (int r = 0; r < FILE_ROWS; r++) {
        CHECK_INT(t, kl_file_row(&k, &given, &e), ERR_OK, "%s", e.text);
        score_row(&row, logits[r], FILE_VOCAB);
        CHECK_INT(t, given.top, row.top);
        CHECK_INT(t, scores_add(&s, &row, &given, KL_FILE_FLOOR, r % FILE_VOCAB, &e), ERR_OK);
        CHECK(t, fabs(s.columns[SCORE_KL][r]) < 2e-4);
        CHECK(t, near(s.columns[SCORE_NLL][r], s.columns[SCORE_BASE_NLL][r], 3e-4));
    }
    CHECK_INT(t, kl_file_row(&k, &given, &e), ERR_IO);
    CHECK(t, strstr(e.text, "ends too early") != NULL, "%s", e.text);
    kl_file_close(&k, NULL);
    scores_finish(&s);
}

static const struct {
    const char *what;
    size_t at;
    uint32_t value;
    size_t n_bytes;         /* of the file then; 0: all */
    const char *text;       /* "": it opens */
    const char *later;      /* what tokens or rows say then */
    int32_t n_whole;
} hurts[] = {
    { "nothing wrong", 0, 0x676f6c5f, 0, "", "", FILE_CHUNKS },
    { "another magic", 0, 0x46554747, 0, "not a file of --save-logits", "", 0 },
    { "no heading", 0, 0x676f6c5f, 12, "ends too early", "", 0 },
    { "an empty file", 0, 0x676f6c5f, 1, "ends too early", "", 0 },
    { "chunks of nothing", 8, 0, 0, "3 chunks of 0 tokens", "", 0 },
    { "chunks beyond all measure", 8, 0x7fffffff, 0, "chunks of 8 to", "", 0 },
    { "a negative vocabulary", 12, 0xffffffff, 0, "a vocabulary of -1 tokens", "", 0 },
    { "a vocabulary beyond all measure", 12, 0x7fffffff, 0, "a vocabulary of 2147483647 tokens", "", 0 },
    { "more chunks than there are", 16, 1000000, 0, "ends too early", "", 0 },
    { "negative chunks", 16, 0xfffffffe, 0, "-2 chunks", "", 0 },
    { "a token outside the vocabulary", FILE_TOKENS_AT + 8, FILE_VOCAB, 0, "", "token 2 is 33, 0 to 32 wanted", 3 },
    { "a negative token", FILE_TOKENS_AT, 0xffffffff, 0, "", "token 0 is -1", 3 },
    { "a scale that is no number", FILE_ROWS_AT, 0x7fc00000, 0, "", "scale nan", 3 },
    { "a negative scale", FILE_ROWS_AT, 0xbf800000, 0, "", "scale -1", 3 },
    { "an infinite lowest", FILE_ROWS_AT + 4, 0xff800000, 0, "", "lowest log-probability -inf", 3 },
    { "a scale beyond all measure", FILE_ROWS_AT, 0x7f000000, 0, "", "scale 1.70141e+38", 3 },
    { "half a row less", 0, 0x676f6c5f, FILE_ROWS_AT + FILE_ROWS * FILE_ROW_BYTES - 30, "", "", FILE_CHUNKS - 1 },
    { "less than a chunk", 0, 0x676f6c5f, FILE_ROWS_AT + 3 * FILE_ROW_BYTES, "ends too early", "", 0 },
};

TEST(measure_file_names_what_is_wrong_with_it)
{
    static float logits[FILE_ROWS][FILE_VOCAB];
    char path[512];
    size_t n_bytes;
    file_path(t, path);
    write_file(t, path, logits);
    char *bytes = test_read_file(path, &n_bytes);
    CHECK_INT(t, n_bytes, FILE_ROWS_AT + FILE_ROWS * FILE_ROW_BYTES);
    for (size_t i = 0; i < sizeof hurts / sizeof hurts[0]; i++) {
        struct kl_file k;
        struct err e = { 0 };
        struct score_row row;
        int32_t tokens[FILE_CTX * FILE_CHUNKS];
        char before[4];
        memcpy(before, bytes + hurts[i].at, 4);
        memcpy(bytes + hurts[i].at, &hurts[i].value, 4);
        FILE *f = fmemopen(bytes, hurts[i].n_bytes ? hurts[i].n_bytes : n_bytes, "rb");
        enum err_code rc = kl_file_open_take(&k, f, "base", &e);
        CHECK(t, (rc == ERR_OK) == !hurts[i].text[0], "%s: %s", hurts[i].what, e.text);
        if (rc == ERR_OK) {
            CHECK_INT(t, k.n_whole, hurts[i].n_whole, "%s", hurts[i].what);
            rc = kl_file_tokens(&k, tokens, &e);
            if (rc == ERR_OK)
                rc = kl_file_row(&k, &row, &e);
            CHECK(t, (rc == ERR_OK) == !hurts[i].later[0], "%s: %s", hurts[i].what, e.text);
        }
        CHECK(t, rc == ERR_OK || strstr(e.text, hurts[i].text[0] ? hurts[i].text : hurts[i].later), "%s: %s",
              hurts[i].what, e.text);
        kl_file_close(&k, NULL);
        memcpy(bytes + hurts[i].at, before, 4);
    }
    free(bytes);
}
