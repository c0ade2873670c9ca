/* SPDX-License-Identifier: MIT */
/* The levels of a model: which files belong together, what can be made, and what is said of each. */
#include "app/level/ladder.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/level/quality.h"
#include "engine/quant/quant.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"

struct rig {
    char folder[512], figures[600];
    struct engine *eng;
    struct ladder *l;
};

static void begin(struct test *t, struct rig *r)
{
    static int n;
    struct err e;
    memset(r, 0, sizeof *r);
    snprintf(r->folder, sizeof r->folder, "%s/%d", test_folder(t), n++);
    snprintf(r->figures, sizeof r->figures, "%s/figures.json", r->folder);
    CHECK(t, mkdir(r->folder, 0700) == 0);
    CHECK_INT(t, engine_create(&r->eng, &(struct engine_options){ .n_threads = 1, .device = "cpu" }, &e), ERR_OK);
}

static void end(struct rig *r)
{
    ladder_close(r->l);
    engine_destroy(r->eng);
}

static void add(struct test *t, const struct rig *r, const char *name, uint32_t type, uint64_t seed)
{
    struct tiny_model m;
    struct err e;
    char path[700];
    tiny_model_init(&m);
    m.weight_type = type;
    m.seed = seed;
    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    CHECK_INT(t, tiny_model_write(&m, path, &e), ERR_OK, "%s", e.text);
}

static void add_text(struct test *t, const struct rig *r, const char *name, const char *text)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    FILE *f = fopen(path, "w");
    CHECK(t, f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void open_ladder(struct test *t, struct rig *r, const char *name)
{
    struct err e;
    char path[700];
    ladder_close(r->l);
    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    CHECK_INT(t, ladder_open(&r->l, path, "", r->figures, &e), ERR_OK, "%s", e.text);
}

static void price(struct test *t, struct rig *r, const struct fit_want *want)
{
    const struct roofline roof = { .bytes_per_s = 20e9, .n_threads = 1 };
    struct err e;
    CHECK_INT(t, ladder_price(r->l, r->eng, want, &roof, 0, &e), ERR_OK, "%s", e.text);
}

static const struct ladder_row *row_of(const struct ladder *l, const char *level, enum ladder_state state)
{
    for (int32_t i = 0; i < l->n_rows; i++)
        if (strcmp(l->rows[i].level, level) == 0 && l->rows[i].state == state)
            return &l->rows[i];
    return NULL;
}

static int32_t count(const struct ladder *l, enum ladder_state state)
{
    int32_t n = 0;
    for (int32_t i = 0; i < l->n_rows; i++)
        n += l->rows[i].state == state;
    return n;
}

TEST(files_of_one_model_make_a_ladder)
{
    struct rig r;
    begin(t, &r);
    add(t, &r, "tiny-Q8_0.gguf", QUANT_Q8_0, 1);
    add(t, &r, "tiny-F16.gguf", QUANT_F16, 1);
    add(t, &r, "tune-Q8_0.gguf", QUANT_Q8_0, 2);
    add_text(t, &r, "tiny-Q4_K_M.gguf", "GGUF and then nothing");
    add_text(t, &r, "junk.gguf", "no such thing");
    add_text(t, &r, "notes.txt", "no model");
    open_ladder(t, &r, "tiny-Q8_0.gguf");
    CHECK_INT(t, count(r.l, LADDER_HERE), 2);
    CHECK_INT(t, count(r.l, LADDER_DAMAGED), 1);
    CHECK_INT(t, r.l->n_other, 1);
    CHECK_INT(t, r.l->n_strays, 1);
    CHECK(t, strstr(r.l->strays[0].path, "junk.gguf") && r.l->strays[0].why[0]);
    CHECK_TEXT(t, r.l->rows[r.l->given].level, "Q8_0");
    CHECK_TEXT(t, r.l->rows[r.l->best].level, "F16");
    CHECK(t, r.l->best == 0 && r.l->rows[0].is_best && r.l->rows[r.l->given].is_given && !r.l->best_is_quantised);
    for (int32_t i = 1; i < r.l->n_rows; i++)
        CHECK(t, r.l->rows[i].tensor_bytes <= r.l->rows[i - 1].tensor_bytes, "row %d", i);
    const struct ladder_row *damaged = row_of(r.l, "?", LADDER_DAMAGED);
    CHECK(t, damaged && strstr(damaged->path, "tiny-Q4_K_M.gguf") && damaged->problem[0] &&
          !strstr(damaged->problem, "tiny-Q4_K_M"), "%s", damaged ? damaged->problem : "none");
    CHECK(t, !row_of(r.l, "Q8_0", LADDER_MAKE) && row_of(r.l, "Q4_K_M", LADDER_MAKE));
    end(&r);
}

TEST(a_second_look_at_one_file_makes_no_second_row)
{
    struct rig r;
    struct err e;
    char path[700], same[700];
    begin(t, &r);
    add(t, &r, "tiny-F16.gguf", QUANT_F16, 1);
    snprintf(path, sizeof path, "%s/tiny-F16.gguf", r.folder);
    snprintf(same, sizeof same, "%s/tiny-again.gguf", r.folder);
    CHECK(t, link(path, same) == 0);
    CHECK_INT(t, ladder_open(&r.l, path, r.folder, "", &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, count(r.l, LADDER_HERE), 1);
    CHECK_INT(t, ladder_open(&r.l, "/nowhere.gguf", r.folder, "", &e), ERR_IO);
    end(&r);
}

TEST(levels_that_are_not_here_can_be_made)
{
    struct rig r;
    begin(t, &r);
    add(t, &r, "tiny-F16.gguf", QUANT_F16, 1);
    open_ladder(t, &r, "tiny-F16.gguf");
    const struct ladder_row *row = row_of(r.l, "Q4_0", LADDER_MAKE);
    CHECK(t, row && !row->warning[0] && !row->problem[0]);
    char want[700];
    snprintf(want, sizeof want, "%s/tiny-Q4_0.gguf", r.folder);
    CHECK_TEXT(t, row->path, want);

    /* The size is that of the file when it is there. */
    add(t, &r, "tiny-Q8_0.gguf", QUANT_Q8_0, 1);
    uint64_t tensor_bytes = row_of(r.l, "Q8_0", LADDER_MAKE)->tensor_bytes;
    open_ladder(t, &r, "tiny-F16.gguf");
    CHECK_INT(t, row_of(r.l, "Q8_0", LADDER_HERE)->tensor_bytes, tensor_bytes);
    end(&r);
}

TEST(made_from_a_quantised_file_a_level_has_a_warning)
{
    struct rig r;
    begin(t, &r);
    add(t, &r, "tiny-Q8_0.gguf", QUANT_Q8_0, 1);
    open_ladder(t, &r, "tiny-Q8_0.gguf");
    CHECK(t, r.l->best_is_quantised);
    CHECK(t, !row_of(r.l, "Q8_0", LADDER_MAKE) && !row_of(r.l, "F16", LADDER_MAKE), "nothing larger than the source");
    const struct ladder_row *row = row_of(r.l, "Q4_0", LADDER_MAKE), *source = &r.l->rows[r.l->best];
    CHECK(t, row && strncmp(row->warning, "from Q8_0: cannot be better than that", 37) == 0, "%s", row->warning);
    CHECK(t, row->kl_estimate > source->kl_estimate && source->kl_estimate > 0);
    end(&r);
}

TEST(rows_are_priced_anew_with_each_wish)
{
    struct rig r;
    struct err e;
    const struct roofline none = { 0 };
    begin(t, &r);
    add(t, &r, "tiny-F16.gguf", QUANT_F16, 1);
    add(t, &r, "tiny-Q8_0.gguf", QUANT_Q8_0, 1);
    open_ladder(t, &r, "tiny-F16.gguf");
    struct fit_want want = { .n_ctx = 512, .kv_type_k = "f16", .kv_type_v = "f16" };
    price(t, &r, &want);
    const struct ladder_row *row = row_of(r.l, "Q8_0", LADDER_HERE), *best = &r.l->rows[r.l->best];
    CHECK(t, row->fits_known && row->fit.fits && row->fit.needed_bytes < best->fit.needed_bytes);
    CHECK_INT(t, row->speed, LADDER_ESTIMATED);
    CHECK(t, row->tokens_per_s > best->tokens_per_s && row->token_bytes < best->token_bytes);
    CHECK_INT(t, row->quality, LADDER_ESTIMATED);
    CHECK_INT(t, best->quality, LADDER_UNKNOWN);
    uint64_t small = row->fit.host.kv_bytes;
    want.n_ctx = 4096;
    price(t, &r, &want);
    CHECK(t, row->fit.host.kv_bytes > 7 * small);
    CHECK_INT(t, ladder_price(r.l, r.eng, &want, &none, 0, &e), ERR_OK);
    CHECK_INT(t, row->speed, LADDER_UNKNOWN);
    want.kv_type_k = "q7";
    CHECK_INT(t, ladder_price(r.l, r.eng, &want, &none, 0, &e), ERR_UNSUPPORTED);
    CHECK(t, !row->fits_known);
    end(&r);
}

TEST(measured_figures_take_the_place_of_estimates_and_mend_the_others)
{
    struct rig r;
    struct engine_info info;
    begin(t, &r);
    add(t, &r, "tiny-F16.gguf", QUANT_F16, 1);
    add(t, &r, "tiny-Q8_0.gguf", QUANT_Q8_0, 1);
    open_ladder(t, &r, "tiny-F16.gguf");
    const struct fit_want want = { .n_ctx = 512, .kv_type_k = "f16", .kv_type_v = "f16" };
    price(t, &r, &want);
    double before = row_of(r.l, "Q4_0", LADDER_MAKE)->tokens_per_s, kl = row_of(r.l, "Q4_0", LADDER_MAKE)->kl;
    const struct ladder_row *row = row_of(r.l, "Q8_0", LADDER_HERE);
    double half = row->tokens_per_s / 2;
    engine_info(r.eng, &info);
    struct figures_speed s = { .file = row->id, .kv_types = "f16", .n_held = 128, .tokens_per_s = half, .time_s = 5 };
    struct figures_quality q = { .file = row->id, .base_level = "F16", .kl = 3 * row->kl_estimate, .same_top = 0.5,
                                 .n_tokens = 100, .time_s = 5 };
    figures_place(&info, row->fit.n_layers, 0, s.place);
    memcpy(q.base, r.l->rows[r.l->best].id.content, sizeof q.base);
    CHECK(t, figures_add_speed(r.figures, &s) && figures_add_quality(r.figures, &q));
    ladder_read_figures(r.l);
    price(t, &r, &want);
    CHECK_INT(t, row->speed, LADDER_MEASURED);
    CHECK(t, fabs(row->tokens_per_s / half - 1) < 1e-8);
    CHECK_INT(t, row->quality, LADDER_MEASURED);
    CHECK(t, fabs(row->kl / q.kl - 1) < 1e-8 && row->same_top == 0.5);
    const struct ladder_row *other = row_of(r.l, "Q4_0", LADDER_MAKE);
    CHECK_INT(t, other->speed, LADDER_ESTIMATED);
    CHECK(t, fabs(other->tokens_per_s / before - 0.5) < 1e-6, "%g of %g", other->tokens_per_s, before);
    CHECK(t, fabs(other->kl / kl - 3) < 1e-6, "%g of %g", other->kl, kl);

    /* After a long conversation it is slower, by what its cache takes to read. */
    const struct roofline roof = { .bytes_per_s = 20e9, .n_threads = 1 };
    struct fit_reads near, far;
    struct err e;
    CHECK_INT(t, ladder_price(r.l, r.eng, &want, &roof, 4096, &e), ERR_OK);
    fit_reads(row->shape, &row->fit, 128, &near);
    fit_reads(row->shape, &row->fit, 4096, &far);
    double slower = roofline_token_s(&roof, &near, row->fit.n_layers) / roofline_token_s(&roof, &far, row->fit.n_layers);
    CHECK_INT(t, row->speed, LADDER_ESTIMATED);
    CHECK(t, slower < 0.9 && fabs(row->tokens_per_s / half / slower - 1) < 1e-8, "%g", slower);
    CHECK_INT(t, ladder_price(r.l, r.eng, &want, &roof, 130, &e), ERR_OK);
    CHECK_INT(t, row->speed, LADDER_MEASURED);
    const struct roofline slow = { .bytes_per_s = 1e6, .n_threads = 1 };
    CHECK_INT(t, ladder_price(r.l, r.eng, &want, &slow, 0, &e), ERR_OK);    /* however few they were */
    CHECK_INT(t, row->speed, LADDER_MEASURED);
    CHECK_INT(t, ladder_price(r.l, r.eng, &want, &slow, 256, &e), ERR_OK);
    CHECK_INT(t, row->speed, LADDER_ESTIMATED);

    /* Another file of that name and size is another file. */
    add(t, &r, "tiny-Q8_0.gguf", QUANT_Q8_0, 2);
    add(t, &r, "tiny-F16.gguf", QUANT_F16, 2);
    open_ladder(t, &r, "tiny-F16.gguf");
    price(t, &r, &want);
    CHECK_INT(t, row_of(r.l, "Q8_0", LADDER_HERE)->speed, LADDER_ESTIMATED);
    end(&r);
}

TEST(what_does_not_fit_says_what_would)
{
    struct rig r;
    char advice[LADDER_ADVICE][LADDER_TEXT_BYTES];
    begin(t, &r);
    add(t, &r, "tiny-F16.gguf", QUANT_F16, 1);
    add(t, &r, "tiny-Q8_0.gguf", QUANT_Q8_0, 1);
    open_ladder(t, &r, "tiny-F16.gguf");
    struct fit_want want = { .n_ctx = 512, .n_seqs = 1, .kv_type_k = "f16", .kv_type_v = "f16" };
    price(t, &r, &want);
    CHECK_INT(t, ladder_advise(r.l, r.l->given, r.eng, &want, advice), 0);
    CHECK_INT(t, ladder_longest(&r.l->rows[r.l->given], r.eng, &want), 512);

    /* 64 contexts of 4 million tokens are 67 GB as f16, and half of it as q8_0. */
    want = (struct fit_want){ .n_ctx = 1 << 22, .n_seqs = 64, .kv_type_k = "f16", .kv_type_v = "f16" };
    price(t, &r, &want);
    if (r.l->rows[r.l->given].fit.fits)
        SKIP(t, "this machine has more than 67 GB free");
    int32_t n = ladder_advise(r.l, r.l->given, r.eng, &want, advice);
    bool context = false;
    for (int32_t i = 0; i < n; i++)
        context = context || strncmp(advice[i], "a context of 512 tokens (-c 512)", 32) == 0;
    CHECK(t, n > 0 && context, "%d, first %s", n, n > 0 ? advice[0] : "");
    end(&r);
}

/* The table of an 8B model, and what was measured of a 1.5B one: within a factor of two but for Q8_0. */
TEST(estimated_quality_is_near_what_is_known)
{
    static const struct {
        const char *base, *fragile;
        double parameters, kl;
    } cases[] = {
        { "Q8_0", "Q8_0", 8e9, 0.0014 },    { "Q6_K", "Q6_K", 8e9, 0.0055 },  { "Q5_K", "Q5_K", 8e9, 0.0166 },
        { "Q4_K", "Q4_K", 8e9, 0.0431 },    { "Q3_K", "Q4_K", 8e9, 0.102 },   { "Q3_K", "Q3_K", 8e9, 0.228 },
        { "Q2_K", "Q3_K", 8e9, 0.445 },     { "Q3_K", "Q4_K", 1.5e9, 0.188 }, { "Q2_K", "Q3_K", 1.5e9, 0.851 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t n = (uint64_t)cases[i].parameters;
        const struct quality_tensor tensors[] = {
            { "token_embd.weight", "Q6_K", n / 10 },         { "blk.0.attn_norm.weight", "F32", 4096 },
            { "blk.0.attn_q.weight", cases[i].base, n / 2 }, { "blk.0.ffn_down.weight", cases[i].fragile, n * 2 / 5 },
        };
        double kl = quality_estimate(tensors, 4);
        CHECK(t, kl > 0.75 * cases[i].kl && kl < 1.33 * cases[i].kl, "%s: %g, %g known", cases[i].base, kl, cases[i].kl);
    }
    const struct quality_tensor odd[] = { { "blk.0.attn_q.weight", "IQ1_S", 10 }, { "blk.0.ffn_down.weight", "F16", 10 } };
    CHECK(t, quality_estimate(odd, 2) < 0 && quality_estimate(odd, 0) < 0);
}

/* A token of a model that memory limits takes what its bytes take; one that unpacking limits takes longer. */
TEST(roofline_is_bytes_over_bandwidth)
{
    struct roofline roof = { .bytes_per_s = 10e9, .n_threads = 2 };
    struct fit_reads r = { .types = { { "Q8_0", { 840000000, 0 } } }, .n_types = 1, .weight_bytes = { 840000000, 0 } };
    CHECK(t, fabs(roofline_token_s(&roof, &r, 0) - 0.1) < 1e-9, "%g", roofline_token_s(&roof, &r, 0));
    CHECK_INT(t, roofline_bytes(&r), 840000000);
    CHECK(t, fabs(roofline_share(&roof, &r, 10) - 0.84) < 1e-9);
    r.kv_bytes[0] = 84000000;
    CHECK(t, fabs(roofline_token_s(&roof, &r, 0) - 0.11) < 1e-9);
    CHECK(t, roofline_token_s(&roof, &r, 40) > 0.11);
    roof.bytes_per_s = 100e9;
    r.types[0].type = "Q2_K";
    double slow = roofline_token_s(&roof, &r, 0);
    CHECK(t, slow > 840e6 / (2 * 20e9), "%g", slow);
    roof.bytes_per_s = 0;
    CHECK(t, roofline_token_s(&roof, &r, 0) == 0 && roofline_share(&roof, &r, 10) == 0);
}
