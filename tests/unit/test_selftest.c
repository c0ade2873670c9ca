/* SPDX-License-Identifier: MIT */
/* A device that computes right passes with every architecture; one that computes wrong is not used, and that is
 * remembered for as long as driver, build and kind of model are the same. */
#include "tests/support/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/backend/selftest.h"
#include "engine/engine_impl.h"
#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_pipeline.h"
#include "engine/vulkan/vulkan_placed.h"
#include "tests/support/logits.h"
#include "tests/support/plan_model.h"

static const char device[] = "llvmpipe";

struct rig {
    struct engine *eng;
    struct model *m;
    struct engine_info info;
};

/* Skips the case when the device is not there. */
static void open_engine_with(struct test *t, struct rig *r, const char *cache_dir, const char *tiles)
{
    struct err e;
    *r = (struct rig){ 0 };
    const struct engine_options o = { .n_threads = 1, .device = device, .cache_dir = cache_dir,
                                      .vulkan_tiles = tiles };
    CHECK_INT(t, engine_create(&r->eng, &o, &e), ERR_OK, "%s", e.text);
    engine_info(r->eng, &r->info);
    if (!r->info.device[0]) {
        char note[ERR_TEXT_BYTES];
        snprintf(note, sizeof note, "%s", r->info.device_note);
        engine_destroy(r->eng);
        SKIP(t, "%s", note);
    }
}

static void open_engine(struct test *t, struct rig *r, const char *cache_dir)
{
    open_engine_with(t, r, cache_dir, NULL);
}

static void open_model(struct test *t, struct rig *r, const char *path)
{
    struct err e;
    CHECK_INT(t, model_open(&r->m, r->eng, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    engine_info(r->eng, &r->info);
}

static void close_rig(struct rig *r)
{
    model_close(r->m);
    engine_destroy(r->eng);
}

static void write_model(struct test *t, const struct plan *p, uint32_t type, char path[512])
{
    struct plan_model model;
    struct plan plan = *p;
    plan.weight_type = type;
    snprintf(path, 512, "%s/%s.gguf", test_folder(t), plan.arch);
    plan_model_write(t, &model, &plan, path);
    plan_model_finish(&model);
}

static struct vulkan_faults *faults_of(const struct rig *r)
{
    return &((struct vulkan_backend *)r->eng->backend)->d->faults;
}

/* Files in dir whose names end so; the last one's path. */
static int32_t count_files(const char *dir, const char *ending, char path[600])
{
    DIR *d = opendir(dir);
    int32_t n = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ending) != 0)
            continue;
        snprintf(path, 600, "%s/%s", dir, entry->d_name);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

/* ---- what it says --------------------------------------------------------------------------------------- */

/* The worst row of all plans, in weights of a type. */
static double worst_of_all(struct test *t, uint32_t type, const char *tiles)
{
    double worst = 0;
    for (int32_t i = 0; i < PLAN_N_ALL; i++) {
        struct rig r;
        struct selftest_result got;
        struct backend *exact;
        struct err e;
        char path[512];
        write_model(t, &plan_all[i], type, path);
        open_engine_with(t, &r, NULL, tiles);
        open_model(t, &r, path);
        CHECK_INT(t, model_info(r.m)->n_device_layers, r.m->program->n_layers);
        int32_t n_first = type == QUANT_Q8_0 ? r.m->program->n_layers / 2 : 0;    /* half of it: begins with noise */
        CHECK_INT(t, engine_exact_backend(r.eng, &exact, &e), ERR_OK);
        CHECK_INT(t, selftest_run(r.eng->backend, exact, r.m->program, n_first, &got, &e), ERR_OK, "%s", e.text);
        printf("%-7s %-5s %d of %d layers, %d rows, tiles %s: NMSE %.2e\n", plan_all[i].arch,
               type == QUANT_Q8_0 ? "Q8_0" : "F32", got.n_layers, r.m->program->n_layers, got.n_rows,
               tiles ? tiles : "none", got.nmse);
        CHECK(t, selftest_passed(&got) && got.nmse > 0, "NMSE %g", got.nmse);
        worst = got.nmse > worst ? got.nmse : worst;
        exact->ops->destroy(exact);
        close_rig(&r);
    }
    return worst;
}

TEST(selftest_passes_for_every_architecture)
{
    CHECK(t, worst_of_all(t, QUANT_F32, NULL) < 1e-5);
    CHECK(t, worst_of_all(t, QUANT_Q8_0, NULL) < 1e-5);
}

TEST(selftest_passes_with_products_by_tiles)
{
    CHECK(t, worst_of_all(t, QUANT_F32, "f32") < 1e-5);
    CHECK(t, worst_of_all(t, QUANT_Q8_0, "f32") < 1e-5);
    if (vulkan_coop_compiled())
        CHECK(t, worst_of_all(t, QUANT_Q8_0, "coop") < 1e-4);
    CHECK(t, worst_of_all(t, QUANT_Q8_0, "int8") > 1e-5, "activations are not rounded: no tiles");
}

/* Without any device: two tiers of the processor are two backends. */
TEST(selftest_takes_the_layers_that_differ)
{
    static const int32_t want[PLAN_N_ALL] = { 1, 1, 1, 1, 2, 1 };
    struct engine *eng;
    struct err e;
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1, .device = "cpu" }, &e), ERR_OK);
    for (int32_t i = 0; i < PLAN_N_ALL; i++) {
        struct model *m;
        struct backend *exact;
        struct selftest_result r;
        struct buf kinds = { 0 }, last = { 0 };
        char path[512];
        write_model(t, &plan_all[i], QUANT_Q8_0, path);
        CHECK_INT(t, model_open(&m, eng, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
        CHECK_INT(t, engine_exact_backend(eng, &exact, &e), ERR_OK);
        CHECK_INT(t, selftest_run(eng->backend, exact, m->program, 0, &r, &e), ERR_OK, "%s", e.text);
        CHECK_INT(t, r.n_layers, want[i], "plan %d", i);
        CHECK(t, r.nmse > 0 && r.nmse < 0.02, "int8 activations: %g", r.nmse);
        CHECK_INT(t, selftest_run(exact, exact, m->program, 0, &r, &e), ERR_OK, "%s", e.text);
        CHECK(t, r.nmse == 0 && selftest_passed(&r), "itself: %g", r.nmse);
        CHECK(t, selftest_kinds(m->program, 0, &kinds) && selftest_kinds(m->program, want[i] - 1, &last));
        CHECK(t, strstr(buf_text(&kinds), "h") && (want[i] == 1) == (strcmp(buf_text(&kinds), buf_text(&last)) == 0),
              "%s of the last layers\n%s", buf_text(&kinds), buf_text(&last));
        buf_finish(&kinds);
        buf_finish(&last);
        exact->ops->destroy(exact);
        model_close(m);
    }
    engine_destroy(eng);
}

/* ---- what follows --------------------------------------------------------------------------------------- */

/* What was said of the model last; of these plans, that they have no chat template comes first. */
static const char *last_warning(const struct rig *r)
{
    const char *line = NULL;
    for (int32_t i = 0; model_warning(r->m, i); i++)
        line = model_warning(r->m, i);
    return line ? line : "nothing";
}

/* The model is on the processor, and one line says why. */
static void check_line(struct test *t, const struct rig *r, const char *text)
{
    const char *line = last_warning(r);
    CHECK_INT(t, model_info(r->m)->n_device_layers, 0);
    CHECK(t, strstr(line, "llvmpipe") && strstr(line, "driver ") && strstr(line, text) &&
                 strstr(line, "at most 0.001 is right; this model runs on the CPU"), "%s", line);
    CHECK(t, model_warning(r->m, 2) == NULL);
}

static void check_on_device(struct test *t, const struct rig *r)
{
    CHECK_INT(t, model_info(r->m)->n_device_layers, r->m->program->n_layers);
    CHECK(t, model_warning(r->m, 1) == NULL, "%s", last_warning(r));
}

static float *answer(struct test *t, struct model *m, int32_t *n)
{
    struct session *s;
    struct err e;
    const int32_t ids[] = { 1, 2, 3, 4, 5 };
    *n = model_info(m)->n_vocab;
    float *logits = malloc((size_t)*n * sizeof *logits);
    CHECK_INT(t, session_create(&s, m, &(struct session_options){ .n_ctx = 64 }, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_eval(s, 0, ids, 5, logits, 1, &e), ERR_OK, "%s", e.text);
    session_destroy(s);
    return logits;
}

TEST(selftest_that_fails_leaves_the_model_to_the_processor_and_is_remembered)
{
    struct rig r;
    struct err e;
    char path[512], dir[600], note[600], text[ENGINE_SELFTEST_BYTES];
    int32_t n;
    write_model(t, &plan_all[3], QUANT_Q8_0, path);
    snprintf(dir, sizeof dir, "%s/cache", test_folder(t));
    open_engine(t, &r, dir);
    uint64_t card = r.eng->device_card, build = r.eng->device_build;
    engine_selftest_tell(dir, card, build, text);
    CHECK(t, strncmp(text, "not made yet", 12) == 0, "%s", text);
    faults_of(&r)->product = 0.1f;
    open_model(t, &r, path);
    check_line(t, &r, "NMSE 0.0");
    printf("%s\n", last_warning(&r));
    CHECK_INT(t, count_files(dir, ".selftest", note), 1);
    engine_selftest_tell(dir, card, build, text);
    CHECK(t, strncmp(text, "failed for 1 of 1 kinds", 23) == 0, "%s", text);
    float *got = answer(t, r.m, &n);
    close_rig(&r);

    CHECK_INT(t, engine_create(&r.eng, &(struct engine_options){ .n_threads = 1, .device = "cpu" }, &e), ERR_OK);
    open_model(t, &r, path);
    float *want = answer(t, r.m, &n);
    CHECK_BYTES(t, got, want, (size_t)n * sizeof *got, "the answer is the processor's");
    free(want);
    free(got);
    close_rig(&r);

    open_engine(t, &r, dir);    /* nothing is wrong now, but it failed */
    open_model(t, &r, path);
    check_line(t, &r, "NMSE 0.0");
    close_rig(&r);

    size_t n_bytes;
    char *bytes = test_read_file(note, &n_bytes), *at = strstr(bytes, "selftest 2 ") + 11;
    *at = *at == '0' ? '1' : '0';    /* another build */
    FILE *f = fopen(note, "wb");
    CHECK(t, f && fwrite(bytes, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
    free(bytes);
    open_engine(t, &r, dir);
    open_model(t, &r, path);
    check_on_device(t, &r);
    CHECK_INT(t, count_files(dir, ".selftest", note), 1);
    engine_selftest_tell(dir, card, build, text);
    CHECK_TEXT(t, text, "passed for 1 kind of model");
    close_rig(&r);

    open_engine(t, &r, dir);    /* and is believed, whatever happened since */
    faults_of(&r)->product = 0.1f;
    open_model(t, &r, path);
    check_on_device(t, &r);
    close_rig(&r);
    CHECK_INT(t, count_files(dir, ".pipelines", note), 1);
}

TEST(selftest_of_products_that_round_activations_allows_for_that_alone)
{
    struct rig r;
    char path[512];
    write_model(t, &plan_all[3], QUANT_Q8_0, path);
    open_engine_with(t, &r, NULL, "int8");
    open_model(t, &r, path);
    check_on_device(t, &r);
    model_close(r.m);
    faults_of(&r)->product = 0.1f;
    open_model(t, &r, path);
    CHECK_INT(t, model_info(r.m)->n_device_layers, 0);
    CHECK(t, strstr(last_warning(&r), "at most 0.01 is right") != NULL, "%s", last_warning(&r));
    close_rig(&r);
}

TEST(selftest_of_a_device_that_gives_no_numbers_fails)
{
    struct rig r;
    char path[512];
    write_model(t, &plan_all[0], QUANT_F32, path);
    open_engine(t, &r, NULL);
    faults_of(&r)->product = INFINITY;
    open_model(t, &r, path);
    check_line(t, &r, "NMSE inf");
    close_rig(&r);
}

TEST(selftest_of_a_device_that_finds_others_than_the_best_fails)
{
    struct rig r;
    char path[512];
    write_model(t, &plan_all[0], QUANT_F32, path);
    open_engine(t, &r, NULL);
    faults_of(&r)->best = plan_all[0].n_vocab / 2;
    open_model(t, &r, path);
    check_line(t, &r, "NMSE inf");
    close_rig(&r);
}

TEST(selftest_that_cannot_be_made_is_said_and_not_remembered)
{
    struct rig r;
    char path[512], note[600];
    write_model(t, &plan_all[0], QUANT_F32, path);
    open_engine(t, &r, test_folder(t));
    faults_of(&r)->allocate = 2;
    open_model(t, &r, path);
    CHECK_INT(t, model_info(r.m)->n_device_layers, 0);
    CHECK(t, strncmp(last_warning(&r), "self-test of llvmpipe", 21) == 0, "%s", last_warning(&r));
    CHECK_INT(t, count_files(test_folder(t), ".selftest", note), 0);
    close_rig(&r);
}

TEST(selftest_that_loses_the_device_is_made_again)
{
    struct rig r;
    char path[512], note[600];
    write_model(t, &plan_all[0], QUANT_F32, path);
    open_engine(t, &r, test_folder(t));
    faults_of(&r)->submit = 2;
    open_model(t, &r, path);
    check_on_device(t, &r);
    CHECK_INT(t, r.eng->n_lost, 1);
    CHECK_INT(t, count_files(test_folder(t), ".selftest", note), 1);
    close_rig(&r);
}

/* Nobody asked for llvmpipe, which is slower than the processor it runs on. */
TEST(selftest_of_a_device_that_is_slower_leaves_the_model_to_the_processor)
{
    struct rig r;
    char path[512], dir[600], note[600], text[ENGINE_SELFTEST_BYTES];
    write_model(t, &plan_all[5], QUANT_Q8_0, path);
    snprintf(dir, sizeof dir, "%s/slower", test_folder(t));
    for (int i = 0; i < 3; i++) {    /* tested alone, timed too, as remembered */
        open_engine(t, &r, dir);
        r.eng->automatic = i > 0;
        open_model(t, &r, path);
        CHECK_INT(t, model_info(r.m)->n_device_layers, i > 0 ? 0 : r.m->program->n_layers);
        CHECK(t, model_warning(r.m, 1) == NULL, "%s", last_warning(&r));
        engine_selftest_tell(dir, r.eng->device_card, r.eng->device_build, text);
        CHECK_TEXT(t, text, i > 0 ? "passed for 1 kind of model; for 1 of them the processor is faster"
                                  : "passed for 1 kind of model");
        CHECK_INT(t, count_files(dir, ".selftest", note), 1);
        close_rig(&r);
    }
}

/* As a test leaves it that took the program with it. */
static void write_begun(struct test *t, const char *path, int n)
{
    unsigned long long build;
    size_t n_bytes;
    char *bytes = test_read_file(path, &n_bytes);
    CHECK(t, sscanf(bytes, "quip selftest 2 %llx", &build) == 1, "%s", bytes);
    free(bytes);
    FILE *f = fopen(path, "w");
    CHECK(t, f && fprintf(f, "quip selftest 2 %016llx begun %d\n", build, n) > 0 && fclose(f) == 0);
}

TEST(selftest_that_took_the_program_with_it_twice_is_not_made_again)
{
    struct rig r;
    char path[512], dir[600], note[600], text[ENGINE_SELFTEST_BYTES];
    write_model(t, &plan_all[0], QUANT_F32, path);
    snprintf(dir, sizeof dir, "%s/begun", test_folder(t));
    open_engine(t, &r, dir);
    open_model(t, &r, path);
    CHECK_INT(t, count_files(dir, ".selftest", note), 1);
    close_rig(&r);
    for (int n = 1; n <= 2; n++) {
        write_begun(t, note, n);
        open_engine(t, &r, dir);
        r.eng->automatic = true;
        open_model(t, &r, path);
        CHECK_INT(t, model_info(r.m)->n_device_layers, 0);
        engine_selftest_tell(dir, r.eng->device_card, r.eng->device_build, text);
        CHECK_TEXT(t, text, n == 1 ? "passed for 1 kind of model; for 1 of them the processor is faster"
                                   : "did not come to an end for 1 of 1 kinds of model");
        CHECK(t, n == 1 || strstr(last_warning(&r), "quip ended 2 times in the midst of it; --device takes the device"),
              "%s", last_warning(&r));
        close_rig(&r);
    }
    open_engine(t, &r, dir);    /* a person asks for it */
    open_model(t, &r, path);
    check_on_device(t, &r);
    close_rig(&r);
}

TEST(selftest_that_fails_leaves_other_models_where_they_are)
{
    struct rig r, other;
    char path[512], path2[512];
    write_model(t, &plan_all[2], QUANT_F32, path);
    write_model(t, &plan_all[3], QUANT_F32, path2);
    open_engine(t, &r, NULL);
    open_model(t, &r, path);
    faults_of(&r)->product = 0.1f;
    other = r;
    open_model(t, &other, path2);
    check_line(t, &other, "NMSE 0.0");
    check_on_device(t, &r);
    model_close(other.m);
    close_rig(&r);
}
