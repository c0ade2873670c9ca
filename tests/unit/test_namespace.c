/* SPDX-License-Identifier: MIT */
/* What may share cached keys and values, and what may not. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine_impl.h"
#include "tests/support/plan_model.h"
#include "tests/support/tiny_model.h"

/* What is tried of one file. */
struct how {
    const char *tier;        /* NULL: the best */
    enum kv_type k, v;
    int32_t window;
    double freq_factor;      /* on one frequency of the rope in force; 0: as it is */
};

static struct kv_store_key key_of(struct test *t, const char *path, const struct how *how)
{
    struct engine *eng;
    struct model *m;
    struct kv_store_key key, again;
    struct err e;
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1, .cpu_tier = how->tier }, &e), ERR_OK,
              "%s", e.text);
    CHECK_INT(t, model_open(&m, eng, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    int32_t n = m->program->n_layers;
    struct kv_layer *layers = calloc((size_t)n, sizeof *layers);
    for (int32_t i = 0; i < n; i++)
        layers[i] = m->program->kv[i];
    layers[n - 1].k = how->k;
    layers[n - 1].v = how->v;
    layers[0].window += how->window;
    if (how->freq_factor != 0)
        ((double *)m->program->ropes[0].freq)[3] *= how->freq_factor;
    CHECK_INT(t, model_kv_key(m, layers, n, &key, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_kv_key(m, layers, n, &again, &e), ERR_OK, "%s", e.text);
    CHECK_BYTES(t, &again, &key, sizeof key, "asked twice");
    free(layers);
    model_close(m);
    engine_destroy(eng);
    return key;
}

static void check_differ(struct test *t, const struct kv_store_key *a, const struct kv_store_key *b, const char *what)
{
    CHECK(t, memcmp(a, b, sizeof *a) != 0, "%s: the same key", what);
}

static void write_tiny(struct test *t, const char *name, uint32_t weight_type, uint64_t seed, char path[512])
{
    struct tiny_model tiny;
    struct err e;
    tiny_model_init(&tiny);
    tiny.weight_type = weight_type;
    tiny.seed = seed;
    snprintf(path, 512, "%s/%s.gguf", test_folder(t), name);
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
}

/* A copy with one byte of it changed; at < 0: none. */
static void copy(struct test *t, const char *from, const char *to, long at)
{
    size_t n_bytes;
    char *bytes = test_read_file(from, &n_bytes);
    CHECK(t, bytes != NULL);
    if (at >= 0)
        bytes[at] ^= 1;
    FILE *f = fopen(to, "w");
    CHECK(t, f && fwrite(bytes, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
    free(bytes);
}

TEST(namespace_is_the_content_and_not_the_path)
{
    char q8[512], f16[512], other[512], moved[512], changed[512];
    const struct how how = { 0 };
    write_tiny(t, "q8", QUANT_Q8_0, 1, q8);
    write_tiny(t, "f16", QUANT_F16, 1, f16);
    write_tiny(t, "other", QUANT_Q8_0, 2, other);
    snprintf(moved, sizeof moved, "%s/elsewhere.gguf", test_folder(t));
    snprintf(changed, sizeof changed, "%s/changed.gguf", test_folder(t));
    copy(t, q8, moved, -1);
    struct kv_store_key key = key_of(t, q8, &how), of_moved = key_of(t, moved, &how);
    CHECK_BYTES(t, &of_moved, &key, sizeof key, "the same file elsewhere");
    struct kv_store_key of_f16 = key_of(t, f16, &how), of_other = key_of(t, other, &how);
    check_differ(t, &key, &of_f16, "another level");
    check_differ(t, &key, &of_other, "other weights");

    /* The tensors here are small enough to be hashed whole or nearly so: one weight tells. */
    size_t n_bytes;
    free(test_read_file(q8, &n_bytes));
    copy(t, q8, changed, (long)n_bytes - 40);
    struct kv_store_key of_changed = key_of(t, changed, &how);
    check_differ(t, &key, &of_changed, "one weight");
}

TEST(namespace_is_how_the_cache_is_computed)
{
    char path[512];
    write_tiny(t, "how", QUANT_Q8_0, 1, path);
    const struct how plain = { 0 };
    static const struct {
        const char *what;
        struct how how;
    } others[] = {
        { "another type of keys", { .k = KV_Q8_0 } },
        { "another type of values", { .v = KV_Q8_0 } },
        { "both", { .k = KV_Q8_0, .v = KV_Q8_0 } },
        { "a window", { .window = 64 } },
        { "RoPE in force", { .freq_factor = 1.0000001 } },
        { "exact arithmetic", { .tier = "exact" } },
    };
    enum { N = sizeof others / sizeof *others };
    struct kv_store_key key = key_of(t, path, &plain), keys[N];
    for (int i = 0; i < N; i++) {
        keys[i] = key_of(t, path, &others[i].how);
        check_differ(t, &key, &keys[i], others[i].what);
        for (int k = 0; k < i; k++)
            check_differ(t, &keys[i], &keys[k], others[i].what);
    }
    struct kv_store_key scalar = key_of(t, path, &(struct how){ .tier = "scalar" });
    CHECK_BYTES(t, &scalar, &key, sizeof key, "all fast tiers share their bits");
}

TEST(namespace_is_the_rope_of_the_file)
{
    struct plan plan = { .arch = "qwen2", .weight_type = QUANT_Q8_0, .n_layers = 1, .n_embd = 64, .n_ff = 64, .n_head = 2,
                         .n_kv_head = 2, .d_head = 32, .n_vocab = 200, .n_rot = 32, .rope_base = 10000,
                         .embed_scale = 1, .halves = true, .qkv_bias = true, .tied = true };
    struct kv_store_key keys[4];
    uint64_t rng = t->rng;
    for (int i = 0; i < 4; i++) {
        struct plan_model model;
        char path[512];
        struct plan p = plan;
        if (i == 1)
            p.rope_base = 20000;
        else if (i == 2)
            p.linear_factor = 2;
        else if (i == 3) {
            p.yarn_factor = 2;
            p.yarn_ctx = 4096;
        }
        t->rng = rng;    /* the same weights */
        snprintf(path, sizeof path, "%s/rope%d.gguf", test_folder(t), i);
        plan_model_write(t, &model, &p, path);
        plan_model_finish(&model);
        keys[i] = key_of(t, path, &(struct how){ 0 });
        for (int k = 0; k < i; k++)
            check_differ(t, &keys[i], &keys[k], "another RoPE scaling");
    }
}
