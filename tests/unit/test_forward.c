/* SPDX-License-Identifier: MIT */
/* Every architecture against a plain forward pass in double precision (tests/support/plan_model.c), over several
 * pages of cache and chunks of attention, in pieces of many sizes. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_pipeline.h"
#include "tests/support/logits.h"
#include "tests/support/plan_model.h"

enum { N_TOKENS = 290 };    /* five pages, three chunks */

/* Cuts of the prompt: single rows and few (each thread its own inputs), many, across borders of pages. */
static const int32_t pieces[] = { 70, 1, 3, 4, 5, 50, 64, 2, 1, 90 };

static float *evaluate(struct test *t, struct logits_rig *rig, const int32_t *ids)
{
    float *logits = malloc((size_t)N_TOKENS * (size_t)rig->n_vocab * sizeof *logits);
    struct err e;
    int32_t at = 0;
    CHECK(t, logits != NULL);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; at += pieces[i++])
        CHECK_INT(t, session_eval(rig->session, 0, ids + at, pieces[i], logits + (int64_t)at * rig->n_vocab,
                                  pieces[i], &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, at, N_TOKENS);
    return logits;
}

/* A file of this plan and token ids for it. */
static void make_case(struct test *t, struct plan_model *model, const struct plan *p, uint32_t weight_type,
                      char path[512], int32_t ids[N_TOKENS])
{
    struct plan plan = *p;
    plan.weight_type = weight_type;
    snprintf(path, 512, "%s/%s.gguf", test_folder(t), plan.arch);
    plan_model_write(t, model, &plan, path);
    for (int32_t i = 0; i < N_TOKENS; i++)
        ids[i] = (int32_t)test_below(t, (uint32_t)plan.n_vocab);
}

/* tier: of the processor; on a device, engine_options.vulkan_tiles. */
static void open_on(struct test *t, struct logits_rig *rig, const char *path, const char *tier, const char *device,
                    const char *kv_type)
{
    const struct session_options o = { .n_ctx = 300, .kv_type_k = kv_type, .kv_type_v = kv_type, .keep_kv_type = true };
    if (device)
        logits_rig_open_on(t, rig, path, device, tier, 0, &o);
    else
        logits_rig_open(t, rig, path, tier, &o);
}

/* On a tier of the processor, or on a device. */
static void check_plans(struct test *t, uint32_t weight_type, const char *tier, const char *device, const char *kv_type,
                        double limit)
{
    for (size_t i = 0; i < PLAN_N_ALL; i++) {
        const struct plan *plan = &plan_all[i];
        struct plan_model model;
        struct logits_rig rig;
        char path[512];
        int32_t ids[N_TOKENS];
        make_case(t, &model, plan, weight_type, path, ids);
        float *want = plan_model_logits(t, &model, ids, N_TOKENS);
        open_on(t, &rig, path, tier, device, kv_type);
        CHECK(t, model_warning(rig.model, 1) == NULL, "%s", model_warning(rig.model, 1));
        float *got = evaluate(t, &rig, ids);
        double nmse = test_nmse(got, want, (size_t)N_TOKENS * (size_t)plan->n_vocab);
        printf("%-7s %s%-5s %s cache  NMSE %.2e\n", plan->arch, device ? "vulkan " : "", tier ? tier : "best", kv_type,
               nmse);
        CHECK(t, nmse <= limit, "%s (plan %zu): NMSE %.3g, at most %.3g wanted", plan->arch, i, nmse, limit);
        free(want);
        free(got);
        logits_rig_close(&rig);
        plan_model_finish(&model);
    }
}

TEST(forward_exact_tier_is_exact)
{
    check_plans(t, QUANT_F32, "exact", NULL, "f32", 1e-11);
}

TEST(forward_with_a_half_precision_cache)
{
    check_plans(t, QUANT_F32, "exact", NULL, "f16", 2e-6);
}

TEST(forward_best_tier_with_float_weights)
{
    check_plans(t, QUANT_F32, NULL, NULL, "f32", 1e-11);
}

TEST(forward_best_tier_with_quantised_weights)
{
    check_plans(t, QUANT_Q8_0, NULL, NULL, "f16", 2e-3);
}

/* What prefix reuse, batching and the choice of a tier rest on. */
TEST(forward_gives_the_same_bits_in_pieces_and_on_every_tier)
{
    for (size_t i = 0; i < PLAN_N_ALL; i++) {
        struct plan_model model;
        struct logits_rig rig;
        char path[512];
        int32_t ids[N_TOKENS];
        make_case(t, &model, &plan_all[i], QUANT_Q8_0, path, ids);
        size_t n_bytes = (size_t)N_TOKENS * (size_t)plan_all[i].n_vocab * sizeof(float);
        logits_rig_open(t, &rig, path, "scalar", &(struct session_options){ .n_ctx = 300, .n_batch = 300 });
        float *want = logits_rig_eval(t, &rig, ids, N_TOKENS, N_TOKENS);
        session_truncate(rig.session, 0, 0);
        float *scalar = evaluate(t, &rig, ids);
        CHECK(t, memcmp(scalar, want, n_bytes) == 0, "plan %zu: scalar, in pieces", i);
        logits_rig_close(&rig);
        logits_rig_open(t, &rig, path, NULL, &(struct session_options){ .n_ctx = 300 });
        float *best = evaluate(t, &rig, ids);
        CHECK(t, memcmp(best, want, n_bytes) == 0, "plan %zu: best tier, in pieces", i);
        logits_rig_close(&rig);
        free(want);
        free(scalar);
        free(best);
        plan_model_finish(&model);
    }
}

static const char device[] = "llvmpipe";

static void leave_to_the_plain_build(struct test *t)
{
#if defined(__SANITIZE_ADDRESS__)
    SKIP(t, "takes minutes under AddressSanitizer: the case of sealed caches goes the same way there");
#else
    (void)t;
#endif
}

TEST(forward_on_vulkan_with_float_weights)
{
    leave_to_the_plain_build(t);
    check_plans(t, QUANT_F32, NULL, device, "f32", 1e-9);
    check_plans(t, QUANT_F32, "f32", device, "f32", 1e-9);
}

TEST(forward_on_vulkan_with_quantised_weights)
{
    leave_to_the_plain_build(t);
    check_plans(t, QUANT_Q8_0, NULL, device, "f16", 1e-4);
    check_plans(t, QUANT_Q8_0, "f32", device, "f16", 1e-4);
    check_plans(t, QUANT_Q8_0, "int8", device, "f16", 2e-3);    /* as on the processor */
    if (vulkan_coop_compiled())
        check_plans(t, QUANT_Q8_0, "coop", device, "f16", 1e-4);
}

/* Against the processor with a cache of the same types: what a page is sealed to, and when, is the same. */
TEST(forward_on_vulkan_with_sealed_caches)
{
    static const char *const kv_types[] = { "q8_0", "kv4", "kv3" };
    for (size_t i = 0; i < PLAN_N_ALL; i++) {
        struct plan_model model;
        struct logits_rig rig;
        char path[512];
        int32_t ids[N_TOKENS];
        const char *kv = kv_types[i % 3];
        make_case(t, &model, &plan_all[i], QUANT_F32, path, ids);
        open_on(t, &rig, path, "exact", NULL, kv);
        float *want = evaluate(t, &rig, ids);
        logits_rig_close(&rig);
        open_on(t, &rig, path, NULL, device, kv);
        float *got = evaluate(t, &rig, ids);
        double nmse = test_nmse(got, want, (size_t)N_TOKENS * (size_t)plan_all[i].n_vocab);
        printf("%-7s %s %s cache  NMSE %.2e\n", plan_all[i].arch, device, kv, nmse);
        CHECK(t, nmse <= 1e-6, "%s (plan %zu): NMSE %.3g", plan_all[i].arch, i, nmse);
        logits_rig_close(&rig);
        free(want);
        free(got);
        plan_model_finish(&model);
    }
}

/* Batches of few rows among themselves, and batches of many: what is in between has other products. */
TEST(forward_on_vulkan_gives_the_same_bits_in_pieces)
{
    static const char *const kv_types[] = { "f16", "q8_0", "kv4" };
    static const int32_t sizes[2][3] = { { 32, 7, 3 }, { 64, 97, 145 } };
    leave_to_the_plain_build(t);
    for (size_t i = 0; i < PLAN_N_ALL; i++) {
        struct plan_model model;
        struct logits_rig rig;
        char path[512];
        int32_t ids[N_TOKENS];
        size_t n_bytes = (size_t)N_TOKENS * (size_t)plan_all[i].n_vocab * sizeof(float);
        make_case(t, &model, &plan_all[i], QUANT_Q8_0, path, ids);
        open_on(t, &rig, path, i % 2 == 0 ? "int8" : "f32", device, kv_types[i % 3]);
        for (int many = 0; many < 2; many++) {
            float *want = logits_rig_eval(t, &rig, ids, N_TOKENS, sizes[many][0]);
            for (int j = 1; j < 3; j++) {
                float *got = logits_rig_eval(t, &rig, ids, N_TOKENS, sizes[many][j]);
                CHECK(t, memcmp(got, want, n_bytes) == 0, "plan %zu, %s, pieces of %d", i, kv_types[i % 3],
                      sizes[many][j]);
                free(got);
            }
            free(want);
        }
        logits_rig_close(&rig);
        plan_model_finish(&model);
    }
}
