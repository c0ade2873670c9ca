/* SPDX-License-Identifier: MIT */
/* Whole models against figures from outside: tiny random models of each architecture (NMSE of the logits),
 * and real ones (KL divergence from exact weights). */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/logits.h"

enum { TINY_TOKENS = 96, TINY_VOCAB = 384 };

static const char software[] = "llvmpipe";
static const char *const variants[] = { "llama", "llama-tied", "llama-ropefreqs", "llama-yarn", "llama-linear",
                                        "llama-bias", "qwen2", "qwen3", "gemma3" };

/* On a tier of the processor (NULL: the best), or on a device. */
static void open_on(struct test *t, struct logits_rig *rig, const char *path, const char *tier, const char *device,
                    const struct session_options *o)
{
    if (device)
        logits_rig_open_on(t, rig, path, device, tier, 0, o);
    else
        logits_rig_open(t, rig, path, tier, o);
}

static void check_variant(struct test *t, const char *name, const char *tier, const char *device, const char *kv_type,
                          double limit)
{
    char below[128], path[1024];
    struct logits_rig rig;
    int32_t ids[TINY_TOKENS + 1];
    snprintf(below, sizeof below, "vectors/arch/%s.ids", name);
    const char *found = test_shared(below);
    if (!found)
        SKIP(t, "no ../shared/%s", below);
    int32_t n = logits_read_ids(t, found, ids, TINY_TOKENS + 1);
    CHECK_INT(t, n, TINY_TOKENS);
    snprintf(below, sizeof below, "vectors/arch/%s.gguf", name);
    snprintf(path, sizeof path, "%s", test_shared(below) ? test_shared(below) : "");
    const struct session_options o = { .n_ctx = 256, .kv_type_k = kv_type, .kv_type_v = kv_type };
    open_on(t, &rig, path, tier, device, &o);
    CHECK_INT(t, rig.n_vocab, TINY_VOCAB);
    float *got = logits_rig_eval(t, &rig, ids, n, n);
    snprintf(below, sizeof below, "vectors/arch/%s.logits", name);
    size_t n_bytes;
    float *want = (float *)test_read_file(test_shared(below), &n_bytes);
    CHECK_INT(t, n_bytes, (size_t)TINY_TOKENS * TINY_VOCAB * sizeof(float));
    double nmse = test_nmse(got, want, (size_t)n * TINY_VOCAB);
    printf("%-16s %-7s %s cache  NMSE %.2e\n", name, device ? device : tier ? tier : "best", kv_type, nmse);
    CHECK_NMSE(t, got, want, (size_t)n * TINY_VOCAB, limit, "%s, %s", name, tier ? tier : "best tier");
    free(got);
    free(want);
    logits_rig_close(&rig);
}

static void check_variants(struct test *t, const char *tier, const char *device, const char *kv_type, double limit)
{
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        check_variant(t, variants[i], tier, device, kv_type, limit);
}

TEST(logits_of_tiny_models_exact_tier)
{
    check_variants(t, "exact", NULL, "f16", 1e-5);
}

TEST(logits_of_tiny_models_best_tier)
{
    check_variants(t, NULL, NULL, "f16", 1e-5);
}

TEST(logits_of_tiny_models_without_rounding_of_the_cache)
{
    check_variants(t, "exact", NULL, "f32", 1e-6);
}

TEST(logits_of_tiny_models_on_vulkan)
{
    check_variants(t, NULL, software, "f16", 1e-5);
}

TEST(logits_of_tiny_models_on_vulkan_by_tiles)
{
    check_variants(t, "f32", software, "f16", 1e-5);
    check_variants(t, "int8", software, "f16", 1e-5);
}

TEST(logits_of_tiny_models_scalar_equals_best_tier)
{
    const char *path = test_shared("vectors/arch/gemma3.gguf");
    if (!path)
        SKIP(t, "no ../shared/vectors/arch/gemma3.gguf");
    int32_t ids[TINY_TOKENS];
    logits_read_ids(t, test_shared("vectors/arch/gemma3.ids"), ids, TINY_TOKENS);
    float *rows[2];
    for (int i = 0; i < 2; i++) {
        struct logits_rig rig;
        const struct session_options o = { .n_ctx = 256 };
        logits_rig_open(t, &rig, test_shared("vectors/arch/gemma3.gguf"), i ? NULL : "scalar", &o);
        rows[i] = logits_rig_eval(t, &rig, ids, TINY_TOKENS, i ? TINY_TOKENS : 1);
        logits_rig_close(&rig);
    }
    CHECK_BYTES(t, rows[1], rows[0], TINY_TOKENS * TINY_VOCAB * sizeof(float), "in one piece, one by one");
    free(rows[0]);
    free(rows[1]);
}

/* Pieces of every size, on the tier that runs: the promise speculation, prefix reuse and batching rest on. */
static void check_pieces(struct test *t, const char *path, int32_t n)
{
    struct logits_rig rig;
    static const int32_t pieces[] = { 1, 2, 3, 4, 5, 7, 8, 9, 16, 33, 64, 100 };
    const struct session_options o = { .n_ctx = 512 };
    int32_t ids[300];
    logits_rig_open(t, &rig, path, NULL, &o);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)test_below(t, (uint32_t)rig.n_vocab);
    float *want = logits_rig_eval(t, &rig, ids, n, n < 256 ? n : 256);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        float *got = logits_rig_eval(t, &rig, ids, n, pieces[i]);
        CHECK(t, memcmp(got, want, (size_t)n * (size_t)rig.n_vocab * sizeof *got) == 0, "%s, pieces of %d", path,
              pieces[i]);
        free(got);
    }
    free(want);
    logits_rig_close(&rig);
}

TEST(logits_do_not_depend_on_how_a_prompt_is_cut)
{
    const char *path = test_shared("vectors/arch/gemma3.gguf");
    if (!path)
        SKIP(t, "no ../shared/vectors/arch/gemma3.gguf");
    check_pieces(t, path, 300);
}

TEST(logits_of_the_default_model_do_not_depend_on_how_a_prompt_is_cut)
{
    const char *path = test_model("smollm2-135m.gguf");
    if (!path)
        SKIP(t, "the default model is not fetched yet (sh app/fetch-model.sh smollm2-135m)");
    check_pieces(t, path, 70);
}

/* name: of the model file and of the vectors. Limits 0: only print. */
static void check_real(struct test *t, const char *name, const char *file, const char *tier, const char *on,
                       double max_kl, double min_same_top)
{
    char below[128], path[1024];
    struct logits_reference ref;
    struct logits_rig rig;
    struct logits_distance d;
    snprintf(below, sizeof below, "vectors/logits/%s.bin", name);
    if (!test_shared(below))
        SKIP(t, "no ../shared/%s", below);
    if (!test_model(file))
        SKIP(t, "model %s is not fetched yet (sh app/fetch-model.sh %s)", file, name);
    logits_reference_open(t, &ref, test_shared(below));
    snprintf(path, sizeof path, "%s", test_model(file));
    const struct session_options o = { .n_ctx = 1024, .n_batch = 256 };
    open_on(t, &rig, path, tier, on, &o);
    float *logits = logits_rig_eval(t, &rig, ref.ids, ref.n_tokens, 256);
    logits_reference_compare(&ref, logits, rig.n_vocab, &d);
    struct engine_info info;
    engine_info(rig.engine, &info);
    printf("%s %s: mean KL %.3g, worst %.3g, same top %.2f %%, perplexity %.4f (exact %.4f)\n", name,
           on ? on : info.cpu_tier, d.mean_kl, d.worst_kl, 100 * d.same_top, d.perplexity, d.perplexity_reference);
    CHECK(t, d.mean_kl <= max_kl && d.same_top >= min_same_top, "%s, %s", name, on ? on : info.cpu_tier);
    free(logits);
    logits_rig_close(&rig);
    logits_reference_close(&ref);
}

/* Minutes each, in software. */
static void skip_unless_slow(struct test *t)
{
    if (!getenv("QUIP_TEST_SLOW"))
        SKIP(t, "takes minutes: QUIP_TEST_SLOW=1 runs it");
}

TEST(logits_of_the_default_model_exact_tier)
{
    check_real(t, "smollm2-135m", "smollm2-135m.gguf", "exact", NULL, 1e-5, 0.99);
}

/* The limits are what the usual CPU kernels reach (vectors/logits/README.md). */
TEST(logits_of_the_default_model_best_tier)
{
    check_real(t, "smollm2-135m", "smollm2-135m.gguf", NULL, NULL, 2.9e-3, 0.9727);
}

TEST(logits_of_the_default_model_on_vulkan)
{
    check_real(t, "smollm2-135m", "smollm2-135m.gguf", NULL, software, 1e-4, 0.99);
}

TEST(logits_of_the_chat_model_on_vulkan)
{
    skip_unless_slow(t);
    check_real(t, "qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b.gguf", NULL, software, 1e-4, 0.99);
}

TEST(logits_of_a_gemma_on_vulkan)
{
    skip_unless_slow(t);
    check_real(t, "gemma-3-270m", "gemma-3-270m.gguf", NULL, software, 1e-4, 0.99);
}
