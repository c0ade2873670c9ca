/* SPDX-License-Identifier: MIT */
/* What is predicted of a model from its head, held against the same model placed. */
#include "engine/engine_fit.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/backend/split.h"
#include "engine/engine_impl.h"
#include "engine/kv/kv_cache.h"
#include "engine/quant/quant.h"
#include "engine/session/session_impl.h"
#include "tests/support/plan_model.h"
#include "tests/support/tiny_model.h"

struct rig {
    struct engine *eng;
    struct model *head;    /* opened for inspecting */
    struct fit_shape *shape;
    char path[512];
};

static void open_rig(struct test *t, struct rig *r, const char *tier)
{
    struct err e;
    CHECK_INT(t, engine_create(&r->eng, &(struct engine_options){ .n_threads = 2, .cpu_tier = tier, .device = "cpu" }, &e),
              ERR_OK, "%s", e.text);
    CHECK_INT(t, model_open(&r->head, NULL, r->path, MODEL_INSPECT, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, fit_shape_create(&r->shape, r->head, NULL, &e), ERR_OK, "%s", e.text);
}

static void close_rig(struct rig *r)
{
    fit_shape_destroy(r->shape);
    model_close(r->head);
    engine_destroy(r->eng);
}

static struct fit price(struct test *t, const struct rig *r, const struct fit_want *want)
{
    struct fit f;
    struct err e;
    CHECK_INT(t, fit_price(r->shape, r->eng, want, &f, &e), ERR_OK, "%s", e.text);
    return f;
}

static void write_plan(struct test *t, struct rig *r, const struct plan *plan)
{
    struct plan_model m;
    snprintf(r->path, sizeof r->path, "%s/plan.gguf", test_folder(t));
    plan_model_write(t, &m, plan, r->path);
    plan_model_finish(&m);
}

/* What a plan says of a program on a backend, and what the backend says when it has it. */
static void check_placed(struct test *t, const struct rig *r, const char *tier, const struct plan *plan)
{
    struct model *placed;
    struct backend_bytes bytes;
    struct err e;
    CHECK_INT(t, model_open(&placed, r->eng, r->path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    const struct backend_ops *ops = r->eng->cpu->ops;
    ops->plan(r->eng->cpu, placed->program, 77, 33, 1000, &bytes);
    uint64_t table = placed->program->steps[0].w[0]->n_bytes;
    CHECK_INT(t, bytes.weights + (plan->tied ? 0 : table), ops->weight_bytes(placed->placed), "%s, %s", plan->arch, tier);
    CHECK(t, bytes.lookups == table || (plan->tied && bytes.lookups == 0), "%s, %s", plan->arch, tier);
    CHECK_INT(t, bytes.scratch, ops->scratch_bytes(placed->placed, 77, 33, 1000), "%s, %s", plan->arch, tier);

    struct session *s;
    struct session_stats stats;
    const struct fit_want want = { .n_ctx = 300, .kv_type_k = "q8_0", .kv_type_v = "f16" };
    const struct session_options o = { .n_ctx = 300, .kv_type_k = "q8_0", .kv_type_v = "f16", .keep_kv_type = true };
    struct fit f = price(t, r, &want);
    CHECK_INT(t, session_create(&s, placed, &o, &e), ERR_OK, "%s", e.text);
    session_stats(s, &stats);
    CHECK_INT(t, f.host.kv_bytes, stats.kv_full_bytes, "%s, %s", plan->arch, tier);
    CHECK_TEXT(t, f.kv_type_k, stats.kv_type_k);
    CHECK_TEXT(t, f.kv_type_v, stats.kv_type_v);
    CHECK(t, f.host.scratch_bytes >= stats.scratch_bytes && f.host.scratch_bytes < stats.scratch_bytes + 300 * 200,
          "%s, %s: %llu, in use %llu", plan->arch, tier, (unsigned long long)f.host.scratch_bytes,
          (unsigned long long)stats.scratch_bytes);
    CHECK(t, f.fits && f.needed_bytes == f.host.needed_bytes && f.device.needed_bytes == 0 && f.n_device_layers == 0);
    session_destroy(s);
    model_close(placed);
}

TEST(a_plan_is_what_placing_takes)
{
    static const char *const tiers[] = { "exact", "scalar", NULL };
    for (int i = 0; i < PLAN_N_ALL; i++)
        for (size_t k = 0; k < sizeof tiers / sizeof *tiers; k++) {
            struct rig r;
            write_plan(t, &r, &plan_all[i]);
            open_rig(t, &r, tiers[k]);
            check_placed(t, &r, tiers[k] ? tiers[k] : "best", &plan_all[i]);
            close_rig(&r);
        }
}

TEST(a_plan_of_a_program_that_is_cut_is_that_of_its_parts)
{
    struct rig r;
    struct model *m;
    struct backend *split;
    struct placed *placed;
    struct split_bytes there;
    struct backend_bytes planned[2];
    struct err e;
    write_plan(t, &r, &plan_all[0]);
    open_rig(t, &r, NULL);
    CHECK_INT(t, model_open(&m, r.eng, r.path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, split_backend_create(&split, r.eng->cpu, r.eng->cpu, 1, &e), ERR_OK);
    CHECK_INT(t, split->ops->place(split, m->program, &placed, &e), ERR_OK, "%s", e.text);
    split_bytes(placed, 50, 5, 200, &there);
    CHECK_INT(t, split_plan(r.eng->cpu, r.eng->cpu, 1, m->program, 50, 5, 200, planned, &e), ERR_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(t, planned[i].weights + planned[i].lookups, there.weight_bytes[i], "half %d", i);
        CHECK_INT(t, planned[i].scratch, there.scratch_bytes[i], "half %d", i);
    }
    split->ops->unplace(placed);
    split->ops->destroy(split);
    model_close(m);
    close_rig(&r);
}

/* On software Vulkan: all layers, and a part of them, whose memory is the host's. */
TEST(a_plan_for_a_device_is_what_placing_takes)
{
    for (int32_t n_layers = 0; n_layers < 2; n_layers++) {
        struct rig r;
        struct model *placed;
        struct model_bytes there;
        struct engine_info info;
        struct err e;
        write_plan(t, &r, &plan_all[1]);
        const struct engine_options o = { .n_threads = 1, .device = "llvmpipe", .n_gpu_layers = n_layers, .n_ctx = 300 };
        CHECK_INT(t, engine_create(&r.eng, &o, &e), ERR_OK, "%s", e.text);
        engine_info(r.eng, &info);
        if (!info.device[0]) {
            engine_destroy(r.eng);
            SKIP(t, "no software Vulkan here: %s", info.device_note);
        }
        CHECK_INT(t, model_open(&r.head, NULL, r.path, MODEL_INSPECT, &e), ERR_OK, "%s", e.text);
        CHECK_INT(t, fit_shape_create(&r.shape, r.head, NULL, &e), ERR_OK, "%s", e.text);
        const struct fit_want want = { .n_ctx = 300, .kv_type_k = "f16", .kv_type_v = "f16" };
        struct fit f = price(t, &r, &want);
        CHECK_INT(t, model_open(&placed, r.eng, r.path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
        CHECK_INT(t, f.n_device_layers, model_info(placed)->n_device_layers, "asked for %d", n_layers);
        model_placed_bytes(placed, DEFAULT_BATCH, 1 + SPEC_MAX_DRAFT, 300, &there);
        CHECK(t, f.shares && f.device.needed_bytes == 0);
        uint64_t table = placed->program->steps[0].w[0]->n_bytes, counted = n_layers == 1 ? table : 0;
        CHECK_INT(t, f.host.weight_bytes + counted, there.host_weights, "asked for %d", n_layers);
        CHECK(t, f.host.scratch_bytes >= there.host_scratch && f.host.scratch_bytes < there.host_scratch + 300 * 200,
              "asked for %d", n_layers);
        model_close(placed);
        close_rig(&r);
    }
}

/* The file that a level would be, against the level as it is. */
TEST(another_level_is_priced_without_its_file)
{
    struct rig f32, q8;
    struct tiny_model tiny;
    const char *types[64];
    struct fit_shape *made;
    struct fit want, got;
    struct err e;
    const struct fit_want wish = { .n_ctx = 100, .kv_type_k = "f16", .kv_type_v = "f16" };
    tiny_model_init(&tiny);
    snprintf(q8.path, sizeof q8.path, "%s/tiny-Q8_0.gguf", test_folder(t));
    CHECK_INT(t, tiny_model_write(&tiny, q8.path, &e), ERR_OK);
    tiny.weight_type = QUANT_F32;
    snprintf(f32.path, sizeof f32.path, "%s/tiny-F32.gguf", test_folder(t));
    CHECK_INT(t, tiny_model_write(&tiny, f32.path, &e), ERR_OK);
    open_rig(t, &f32, NULL);
    open_rig(t, &q8, NULL);
    int32_t n = model_info(f32.head)->n_tensors;
    CHECK(t, n <= 64);
    for (int32_t i = 0; i < n; i++) {
        struct model_tensor tensor;
        model_tensor(f32.head, i, &tensor);
        types[i] = tensor.n_dims > 1 ? "Q8_0" : "F32";
    }
    CHECK_INT(t, fit_shape_create(&made, f32.head, types, &e), ERR_OK, "%s", e.text);
    want = price(t, &q8, &wish);
    CHECK_INT(t, fit_price(made, f32.eng, &wish, &got, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, got.host.weight_bytes, want.host.weight_bytes);
    CHECK_INT(t, got.host.scratch_bytes, want.host.scratch_bytes);
    CHECK(t, price(t, &f32, &wish).host.weight_bytes > 3 * got.host.weight_bytes);

    struct fit_reads r;
    fit_reads(made, &got, 0, &r);
    CHECK_INT(t, r.n_types, 1);
    CHECK_TEXT(t, r.types[0].type, "Q8_0");
    fit_shape_destroy(made);

    types[0] = "Q9_Z";
    CHECK_INT(t, fit_shape_create(&made, f32.head, types, &e), ERR_UNSUPPORTED);
    CHECK(t, strstr(e.text, "Q9_Z"), "%s", e.text);
    for (int32_t i = 0; i < n; i++)
        types[i] = "Q4_K";    /* rows of 64 weights are no whole blocks */
    CHECK_INT(t, fit_shape_create(&made, f32.head, types, &e), ERR_UNSUPPORTED);
    close_rig(&q8);
    close_rig(&f32);
}

TEST(what_fits_follows_the_wish)
{
    struct rig r;
    struct err e;
    struct fit f;
    struct plan plan = plan_all[0];
    write_plan(t, &r, &plan);
    open_rig(t, &r, NULL);
    struct fit_want want = { .n_ctx = 64, .kv_type_k = "f16", .kv_type_v = "f16" };
    struct fit small = price(t, &r, &want);
    want.n_ctx = 4096;
    struct fit large = price(t, &r, &want);
    CHECK(t, large.host.kv_bytes > 32 * small.host.kv_bytes && large.host.weight_bytes == small.host.weight_bytes);
    CHECK(t, large.host.room_bytes > 0 && large.fits);
    want.n_seqs = 2;
    CHECK_INT(t, price(t, &r, &want).host.kv_bytes, 2 * large.host.kv_bytes);

    want = (struct fit_want){ .n_ctx = 1 << 22, .kv_type_k = "auto", .kv_type_v = "auto", .n_seqs = SESSION_MAX_SEQS };
    f = price(t, &r, &want);
    want.kv_type_k = want.kv_type_v = "f16";
    bool f16_fits = price(t, &r, &want).fits;
    CHECK_TEXT(t, f.kv_type_k, f16_fits ? "f16" : f.kv_type_k);
    CHECK(t, f16_fits || strcmp(f.kv_type_k, "f16") != 0, "f16 does not fit and was taken");

    want.n_ctx = 1;
    CHECK_INT(t, fit_price(r.shape, r.eng, &want, &f, &e), ERR_FORMAT);
    want = (struct fit_want){ .kv_type_k = "q7" };
    CHECK_INT(t, fit_price(r.shape, r.eng, &want, &f, &e), ERR_UNSUPPORTED);
    close_rig(&r);
}

/* Twice the layers times heads times values of a head, two bytes each: half a MiB a token for 7B. */
TEST(figures_of_well_known_models)
{
    struct kv_layer layers[32];
    for (int i = 0; i < 32; i++)
        layers[i] = (struct kv_layer){ .k = KV_F16, .v = KV_F16, .n_head = 32, .d_head = 128 };
    CHECK_INT(t, kv_cache_estimate(layers, 32, 4096), 2ll << 30);
    CHECK_INT(t, kv_open_bytes(&layers[0]) * 32 / KV_PAGE, 512 << 10);

    static const struct {
        uint32_t type;
        double gb, gib;
    } weights[] = { { QUANT_F32, 28, 26.1 }, { QUANT_F16, 14, 13.0 }, { QUANT_Q8_0, 7.44, 6.93 }, { QUANT_Q4_K, 3.94, 3.67 } };
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        double bytes = (double)quant_row_bytes(weights[i].type, 256) / 256 * 7e9;
        CHECK(t, fabs(bytes / 1e9 - weights[i].gb) < 0.01, "%f", bytes);
        CHECK(t, fabs(bytes / (1 << 30) - weights[i].gib) < 0.1, "%f", bytes);
    }
}

/* By hand, of a model of 2 layers, width 64, heads of 16: 4 of queries on 2 of keys. */
TEST(reads_of_a_token_are_its_matrices_and_the_tokens_before)
{
    struct rig r;
    struct tiny_model tiny;
    struct err e;
    struct fit_reads reads, held;
    tiny_model_init(&tiny);
    tiny.weight_type = QUANT_F16;
    snprintf(r.path, sizeof r.path, "%s/tiny.gguf", test_folder(t));
    CHECK_INT(t, tiny_model_write(&tiny, r.path, &e), ERR_OK);
    open_rig(t, &r, NULL);
    struct fit_want want = { .n_ctx = 512, .kv_type_k = "f16", .kv_type_v = "f16" };
    struct fit f = price(t, &r, &want);
    struct fit_shape_info info;
    fit_shape_info(r.shape, &info);
    fit_reads(r.shape, &f, 0, &reads);
    int64_t layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128;
    CHECK_INT(t, reads.weight_bytes[0], 2 * (2 * layer + 64 * (int64_t)info.n_vocab));
    CHECK_INT(t, reads.weight_bytes[1] + reads.kv_bytes[0] + reads.kv_bytes[1], 0);
    fit_reads(r.shape, &f, 300, &held);
    CHECK_INT(t, held.weight_bytes[0], reads.weight_bytes[0]);
    CHECK_INT(t, held.kv_bytes[0], 300 * 2 * 2 * 32 * 2);

    /* Of 300 tokens the first page, the one before the last and the last, of 44, are read as f16. */
    want.kv_type_k = want.kv_type_v = "q8_0";
    f = price(t, &r, &want);
    fit_reads(r.shape, &f, 300, &held);
    const struct kv_layer l = { .k = KV_Q8_0, .v = KV_Q8_0, .n_head = 2, .d_head = 16 };
    int64_t open = (int64_t)kv_open_bytes(&l) / KV_PAGE, sealed = (int64_t)kv_sealed_bytes(&l) / KV_PAGE;
    CHECK_INT(t, held.kv_bytes[0], 2 * ((64 + 64 + 44) * open + 128 * sealed));
    close_rig(&r);
}

TEST(reads_of_a_window_end_at_its_edge)
{
    struct rig r;
    struct plan plan = plan_all[4];
    CHECK(t, plan.window > 0);
    write_plan(t, &r, &plan);
    open_rig(t, &r, NULL);
    const struct fit_want want = { .n_ctx = 512, .kv_type_k = "f16", .kv_type_v = "f16" };
    struct fit f = price(t, &r, &want);
    struct fit_reads a, b;
    fit_reads(r.shape, &f, 400, &a);
    fit_reads(r.shape, &f, 500, &b);
    int32_t n_global = plan.n_layers / plan.period;
    CHECK_INT(t, b.kv_bytes[0] - a.kv_bytes[0], 100ll * n_global * 2 * plan.n_kv_head * plan.d_head * 2);
    close_rig(&r);
}

TEST(memory_is_read_at_some_speed)
{
    struct engine *eng;
    struct err e;
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .device = "cpu" }, &e), ERR_OK);
    double speed = engine_read_bandwidth(eng);
    CHECK(t, speed > 1e8 && speed < 1e13, "%g", speed);
    engine_destroy(eng);
}
