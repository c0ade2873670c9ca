/* SPDX-License-Identifier: MIT */
/* Which files are levels of one model, and which file is which. */
#include "engine/engine_origin.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/quant/quant.h"
#include "tests/support/plan_model.h"
#include "tests/support/tiny_model.h"

static void write_tiny(struct test *t, const struct tiny_model *m, const char *name, char path[512])
{
    struct err e;
    snprintf(path, 512, "%s/%s", test_folder(t), name);
    CHECK_INT(t, tiny_model_write(m, path, &e), ERR_OK, "%s", e.text);
}

static struct model_origin origin_of(struct test *t, const char *path, uint8_t content[ORIGIN_KEY_BYTES])
{
    struct model *m;
    struct model_origin origin;
    struct err e;
    CHECK_INT(t, model_open(&m, NULL, path, MODEL_INSPECT, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_origin(m, &origin, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_content(m, content, &e), ERR_OK, "%s", e.text);
    model_close(m);
    return origin;
}

/* Writes it, changed as asked, and says whether it is of one origin with the F16 file. */
static bool is_same(struct test *t, const struct tiny_model *m, const char *name)
{
    char a[512], b[512];
    uint8_t content[2][ORIGIN_KEY_BYTES];
    struct tiny_model source;
    tiny_model_init(&source);
    source.weight_type = QUANT_F16;
    write_tiny(t, &source, "origin-F16.gguf", a);
    write_tiny(t, m, name, b);
    struct model_origin x = origin_of(t, a, content[0]), y = origin_of(t, b, content[1]);
    CHECK(t, memcmp(content[0], content[1], ORIGIN_KEY_BYTES) != 0, "%s: the content of another", name);
    CHECK_INT(t, model_origin_same(&x, &y), model_origin_same(&y, &x), "%s: the other way round", name);
    return model_origin_same(&x, &y);
}

TEST(levels_of_one_model_have_one_origin)
{
    struct tiny_model m;
    static const uint32_t types[] = { QUANT_F32, QUANT_BF16, QUANT_Q8_0, QUANT_Q4_1 };
    tiny_model_init(&m);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        m.weight_type = types[i];
        CHECK(t, is_same(t, &m, "something-else.gguf"), "type %u", types[i]);
    }
    m.name = "Renamed by somebody";
    CHECK(t, is_same(t, &m, "origin-Q4_1.gguf"), "the file's name says it");
    CHECK(t, is_same(t, &m, "Origin.IQ4_XS.gguf"), "the file's name says it, written otherwise");
    CHECK(t, !is_same(t, &m, "something-else.gguf"), "neither name says it");
}

TEST(a_fine_tune_and_another_shape_are_other_models)
{
    struct tiny_model m, *p = &m;
    tiny_model_init(p);
    p->seed = 2;
    CHECK(t, !is_same(t, p, "origin-Q8_0.gguf"), "other weights and norms, all else the same");
    tiny_model_init(p);
    p->n_layers = 3;
    CHECK(t, !is_same(t, p, "origin-Q8_0.gguf"), "a layer more");
    tiny_model_init(p);
    p->n_ctx = 1024;
    CHECK(t, !is_same(t, p, "origin-Q8_0.gguf"), "another hyperparameter");
}

TEST(an_output_that_is_the_embedding_does_not_tell_levels_apart)
{
    struct plan plan = plan_all[2];
    struct plan_model m;
    struct model_origin origins[2];
    uint8_t content[ORIGIN_KEY_BYTES];
    char path[512];
    for (int tied = 0; tied < 2; tied++) {
        plan.tied = tied;
        snprintf(path, sizeof path, "%s/plan-%s.gguf", test_folder(t), tied ? "Q8_0" : "F16");
        t->rng = 7;    /* the output is made last but one: the vectors before it are the same */
        plan_model_write(t, &m, &plan, path);
        plan_model_finish(&m);
        origins[tied] = origin_of(t, path, content);
    }
    CHECK_BYTES(t, origins[0].shape, origins[1].shape, ORIGIN_KEY_BYTES);
}

TEST(content_is_of_the_bytes_and_not_of_the_path)
{
    struct tiny_model m;
    char a[512], b[512];
    uint8_t content[3][ORIGIN_KEY_BYTES];
    size_t n_bytes;
    tiny_model_init(&m);
    write_tiny(t, &m, "one.gguf", a);
    write_tiny(t, &m, "two.gguf", b);
    origin_of(t, a, content[0]);
    origin_of(t, b, content[1]);
    CHECK_BYTES(t, content[0], content[1], ORIGIN_KEY_BYTES);
    char *bytes = test_read_file(a, &n_bytes);
    CHECK(t, bytes);
    bytes[n_bytes - 40] ^= 1;
    FILE *f = fopen(a, "w");
    CHECK(t, f && fwrite(bytes, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
    free(bytes);
    origin_of(t, a, content[2]);
    CHECK(t, memcmp(content[0], content[2], ORIGIN_KEY_BYTES) != 0, "a byte of the last tensor");
}

TEST(names_of_files_lose_what_says_the_level)
{
    static const struct {
        const char *file, *name;
    } cases[] = {
        { "/a/b/Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf", "qwen25coder15binstruct" },
        { "qwen2.5-coder-1.5b-instruct.IQ4_XS.gguf", "qwen25coder15binstruct" },
        { "qwen2.5-coder-1.5b-instruct-f16.gguf", "qwen25coder15binstruct" },
        { "Qwen2.5_Coder_1.5B_Instruct_BF16.gguf", "qwen25coder15binstruct" },
        { "tiny-MXFP4_MOE.gguf", "tiny" },
        { "tiny-q8_0.gguf", "tiny" },
        { "tiny-Q5_K_S.gguf", "tiny" },
        { "tiny-Q3_K_XL.gguf", "tiny" },
        { "tiny-TQ1_0.gguf", "tiny" },
        { "tiny-v2.gguf", "tinyv2" },
        { "tiny-q8bert.gguf", "tinyq8bert" },
        { "faq4-1b.gguf", "faq41b" },
        { "Q4_K_M.gguf", "" },
        { "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[ORIGIN_NAME_BYTES];
        model_origin_name(cases[i].file, name);
        CHECK_TEXT(t, name, cases[i].name, "%s", cases[i].file);
    }
}
