/* SPDX-License-Identifier: MIT */
/* Models cut at every border of layers: between two backends of the processor, the second with pages in another memory,
 * where no bit may change; and between the processor and a device, against a forward pass in double precision. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/backend/split.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/quant/quant.h"
#include "engine/session/session_impl.h"
#include "tests/support/kv_fake_memory.h"
#include "tests/support/logits.h"
#include "tests/support/session_rig.h"

enum { N_TOKENS = 200, MIB = 1 << 20 };

static const char device[] = "llvmpipe";
static const char *const kv_types[] = { "f16", "q8_0", "kv4" };

static const struct plan plans[] = {
    { .arch = "qwen3", .n_layers = 3, .n_embd = 64, .n_ff = 96, .n_head = 4, .n_kv_head = 2, .d_head = 64,
      .n_vocab = 200, .n_rot = 64, .rope_base = 10000, .embed_scale = 1, .halves = true, .qk_norm = true },
    { .arch = "gemma3", .n_layers = 4, .n_embd = 64, .n_ff = 96, .n_head = 4, .n_kv_head = 1, .d_head = 32,
      .n_vocab = 200, .n_rot = 32, .rope_base = 100000, .rope_base_local = 500, .embed_scale = 8, .halves = true,
      .qk_norm = true, .post_norm = true, .gelu = true, .tied = true, .window = 70, .period = 3 },
};
enum { N_PLANS = sizeof plans / sizeof *plans };

/* Cuts of the prompt: single rows and few, many, across borders of pages. */
static const int32_t pieces[] = { 70, 1, 3, 4, 5, 50, 64, 2, 1 };

static struct session_options options(const char *kv_type)
{
    return (struct session_options){ .n_ctx = 400, .n_seqs = 2, .kv_type_k = kv_type, .kv_type_v = kv_type,
                                     .keep_kv_type = true };
}

static const char *file_path(struct test *t, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder(t), name);
    return path;
}

static void make_case(struct test *t, struct plan_model *model, const struct plan *p, uint32_t weight_type,
                      int32_t ids[N_TOKENS])
{
    struct plan plan = *p;
    plan.weight_type = weight_type;
    plan_model_write(t, model, &plan, file_path(t, "model.gguf"));
    for (int32_t i = 0; i < N_TOKENS; i++)
        ids[i] = (int32_t)test_below(t, (uint32_t)plan.n_vocab);
}

/* Tokens from at on, in pieces that begin with the piece-th; logits of all of them. */
static void evaluate(struct test *t, struct session *s, const int32_t *ids, int32_t at, size_t piece, float *logits)
{
    int32_t n_vocab = model_info(s->model)->n_vocab;
    for (struct err e; at < N_TOKENS; piece++) {
        int32_t n = pieces[piece % (sizeof pieces / sizeof *pieces)];
        n = n < N_TOKENS - at ? n : N_TOKENS - at;
        CHECK_INT(t, session_eval(s, 0, ids + at, n, logits + (int64_t)at * n_vocab, n, &e), ERR_OK, "%s", e.text);
        at += n;
    }
}

static float *room(struct test *t, const struct plan *p)
{
    float *logits = calloc((size_t)N_TOKENS * (size_t)p->n_vocab, sizeof *logits);
    CHECK(t, logits != NULL);
    return logits;
}

/* ---- two of the processor --------------------------------------------------------------------------- */

/* The second of two backends, whose pages lie in a memory of its own that the processor sees all the same. */
struct other {
    struct backend *backend;
    struct kv_fake_memory memory;
};

static void open_other(struct test *t, struct other *o, struct engine *eng)
{
    struct err e;
    kv_fake_memory_init(&o->memory, 1 << 16);
    o->memory.seen = true;
    CHECK_INT(t, cpu_backend_create(&o->backend, cpu_tier_best(), eng->pool, &e), ERR_OK, "%s", e.text);
    o->backend->kv_memory = &o->memory.memory;
}

static void close_other(struct other *o)
{
    o->backend->ops->destroy(o->backend);
    kv_fake_memory_finish(&o->memory);
}

/* Places a model of the processor anew, in two. */
static void split_model(struct test *t, struct model *m, struct other *o, int32_t n_first)
{
    struct err e;
    model_unplace(m);
    CHECK_INT(t, split_backend_create(&m->split, m->engine->cpu, o->backend, n_first, &e), ERR_OK, "%s", e.text);
    m->backend = m->split;
    m->device = o->backend;
    m->info.n_device_layers = m->info.n_layers - n_first;
    CHECK_INT(t, m->backend->ops->place(m->backend, m->program, &m->placed, &e), ERR_OK, "%s", e.text);
}

/* The first layers' pages lie in the host's memory, the others' in the other. */
static void check_pages(struct test *t, const struct session *s, struct other *o, int32_t n_first)
{
    int32_t stride, n_layers;
    const struct kv_layer *layers = kv_cache_layers(s->cache->kv, &n_layers);
    const struct kv_page *table = kv_seq_table(s->seqs[0].kv, &stride);
    for (int32_t i = 0; i < n_layers; i++) {
        bool found = false;
        const char *at = table[(int64_t)i * stride].open;
        for (const struct kv_fake_region *r = o->memory.regions; r; r = r->next)
            found |= at >= r->begin && at < r->begin + r->n_bytes;
        CHECK_INT(t, found, i >= n_first, "layer %d", i);
        CHECK(t, layers[i].memory == (i >= n_first ? &o->memory.memory : NULL), "layer %d", i);
    }
}

static void check_cut(struct test *t, const int32_t *ids, const float *want, const struct plan *plan, int32_t n_first,
                      const char *kv_type)
{
    struct session_options so = options("f16");
    struct session_rig rig;
    struct other other;
    struct err e;
    size_t n_bytes = (size_t)N_TOKENS * (size_t)plan->n_vocab * sizeof *want;
    float *got = room(t, plan);
    session_rig_open(t, &rig, file_path(t, "model.gguf"), &so);
    session_destroy(rig.session);
    session_caches_destroy(rig.model->caches);
    rig.model->caches = NULL;
    open_other(t, &other, rig.engine);
    split_model(t, rig.model, &other, n_first);
    so = options(kv_type);
    CHECK_INT(t, session_create(&rig.session, rig.model, &so, &e), ERR_OK, "%s", e.text);
    evaluate(t, rig.session, ids, 0, 0, got);
    check_pages(t, rig.session, &other, n_first);
    CHECK(t, memcmp(got, want, n_bytes) == 0, "%s cut at %d, %s", plan->arch, n_first, kv_type);
    int32_t held = session_truncate(rig.session, 0, N_TOKENS - 50);    /* within two pages: as it was */
    CHECK_INT(t, held, N_TOKENS - 50);
    memset(got + (int64_t)held * plan->n_vocab, 0, n_bytes - (size_t)held * (size_t)plan->n_vocab * sizeof *got);
    evaluate(t, rig.session, ids, held, 3, got);
    CHECK(t, memcmp(got, want, n_bytes) == 0, "%s cut at %d, %s, rewound", plan->arch, n_first, kv_type);
    session_rig_close(&rig);
    close_other(&other);
    free(got);
}

TEST(split_of_two_processors_changes_no_bit)
{
    for (int i = 0; i < N_PLANS; i++) {
        struct plan_model model;
        int32_t ids[N_TOKENS];
        make_case(t, &model, &plans[i], QUANT_Q8_0, ids);
        for (int type = 0; type < 3; type++) {
            struct session_options so = options(kv_types[type]);
            struct session_rig whole;
            float *want = room(t, &plans[i]);
            session_rig_open(t, &whole, file_path(t, "model.gguf"), &so);
            evaluate(t, whole.session, ids, 0, 0, want);
            session_rig_close(&whole);
            for (int32_t n_first = 1; n_first < plans[i].n_layers; n_first++)
                check_cut(t, ids, want, &plans[i], n_first, kv_types[type]);
            free(want);
        }
        plan_model_finish(&model);
    }
}

static void placed_bytes(struct test *t, int32_t n_first, struct split_bytes *out, uint64_t *embedding,
                         uint64_t *vectors)
{
    const struct session_options so = options("f16");
    struct session_rig rig;
    struct other other;
    session_rig_open(t, &rig, file_path(t, "model.gguf"), &so);
    session_destroy(rig.session);
    rig.session = NULL;
    open_other(t, &other, rig.engine);
    split_model(t, rig.model, &other, n_first);
    const struct program *p = rig.model->program;
    split_bytes(rig.model->placed, 64, 64, 400, out);
    CHECK_INT(t, p->steps[0].kind, STEP_EMBED);
    *embedding = p->steps[0].w[0]->n_bytes;
    *vectors = 0;
    for (int32_t i = 0; i < p->n_tensors; i++)
        *vectors += p->tensors[i].n_rows == 1 ? p->tensors[i].n_bytes : 0;
    session_rig_close(&rig);
    close_other(&other);
}

/* Its layers are all alike. */
TEST(split_gives_each_its_own_layers)
{
    struct plan_model model;
    struct split_bytes one, two;
    int32_t ids[N_TOKENS];
    uint64_t embedding, vectors;
    make_case(t, &model, &plans[0], QUANT_Q8_0, ids);
    placed_bytes(t, 1, &one, &embedding, &vectors);
    placed_bytes(t, 2, &two, &embedding, &vectors);
    uint64_t layer = two.weight_bytes[0] - one.weight_bytes[0];
    CHECK_INT(t, one.weight_bytes[1] - two.weight_bytes[1], layer);
    CHECK_INT(t, one.weight_bytes[0], embedding + vectors + layer);
    CHECK(t, one.scratch_bytes[0] > 0 && one.scratch_bytes[1] > 0);
    plan_model_finish(&model);
}

/* What sequences share, what they copy of each other, and files, which have the same bytes wherever pages lie: they are
 * read by a model that is cut elsewhere, whose namespace is another but for the names this test gives. */
TEST(split_shares_and_keeps_prefixes)
{
    enum { N_SHARED = 300, N_PROMPT = 370 };
    struct plan_model model;
    int32_t few[N_TOKENS], ids[N_PROMPT];
    struct session_story want[2];
    const struct generate_options ask = session_rig_greedy(20, N_SHARED);
    make_case(t, &model, &plans[1], QUANT_Q8_0, few);
    for (int32_t i = 0; i < N_PROMPT; i++)
        ids[i] = 1 + (int32_t)test_below(t, 199);
    for (int32_t n_first = 0; n_first < plans[1].n_layers; n_first++) {    /* 0: whole */
        for (int loads = 0; loads < 2; loads++) {
            struct session_options so = options("f16");
            struct session_rig rig;
            struct other other;
            char dir[512];
            session_rig_open(t, &rig, file_path(t, "model.gguf"), &so);
            session_destroy(rig.session);
            rig.session = NULL;
            session_caches_destroy(rig.model->caches);
            rig.model->caches = NULL;
            open_other(t, &other, rig.engine);
            if (n_first > 0)
                split_model(t, rig.model, &other, n_first);
            so = options("kv4");
            so.n_ctx = 500;
            so.keep_kv_type = false;    /* a trial */
            snprintf(dir, sizeof dir, "%s/cache-%d", test_folder(t), n_first);
            so.cache_dir = dir;
            so.cache_disk_bytes = 64 * MIB;
            session_rig_change(t, &rig, &so);
            rig.session->any_file = true;
            struct session_story first = session_rig_ask(t, &rig, 0, ids, N_PROMPT, &ask);
            struct session_story second = session_rig_ask(t, &rig, 1, ids, 330, &ask);    /* in a page of the first's */
            CHECK(t, session_flush(rig.session, 10000));
            CHECK_INT(t, first.done.timings.n_loaded, loads ? N_SHARED : 0, "cut at %d", n_first);
            if (n_first == 0 && !loads) {
                want[0] = first;
                want[1] = second;
            }
            CHECK_BYTES(t, first.ids, want[0].ids, sizeof first.ids, "cut at %d, loads %d", n_first, loads);
            CHECK_BYTES(t, second.ids, want[1].ids, sizeof second.ids, "cut at %d, loads %d", n_first, loads);
            CHECK_INT(t, other.memory.n_copies > 0, n_first > 0);
            CHECK_INT(t, other.memory.n_reads > 0, n_first > 0 && !loads);
            CHECK_INT(t, other.memory.n_writes > 0, n_first > 0 && loads);
            session_rig_close(&rig);
            close_other(&other);
        }
    }
    plan_model_finish(&model);
}

/* ---- the processor and a device -------------------------------------------------------------------- */

TEST(split_with_a_device_is_exact)
{
    for (int i = 0; i < N_PLANS; i++) {
        struct plan_model model;
        int32_t ids[N_TOKENS], n_layers = plans[i].n_layers;
        make_case(t, &model, &plans[i], QUANT_F32, ids);
        float *want = plan_model_logits(t, &model, ids, N_TOKENS), *got = room(t, &plans[i]);
        for (int32_t n = 1; n <= n_layers; n++) {
            struct session_options so = options("f32");
            struct logits_rig rig;
            logits_rig_open_on(t, &rig, file_path(t, "model.gguf"), device, NULL, n, &so);
            CHECK_INT(t, model_info(rig.model)->n_device_layers, n);
            CHECK_INT(t, rig.model->split != NULL, n < n_layers);
            evaluate(t, rig.session, ids, 0, 0, got);
            double nmse = test_nmse(got, want, (size_t)N_TOKENS * (size_t)plans[i].n_vocab);
            printf("%-7s %d of %d layers on %s: NMSE %.2e\n", plans[i].arch, n, n_layers, device, nmse);
            CHECK(t, nmse <= 1e-9, "%s, %d of %d layers: NMSE %.3g", plans[i].arch, n, n_layers, nmse);
            logits_rig_close(&rig);
        }
        free(want);
        free(got);
        plan_model_finish(&model);
    }
}

TEST(split_with_a_device_gives_the_same_bits_in_pieces)
{
    for (int i = 0; i < 2 * 3; i++) {
        const struct plan *plan = &plans[i % 2];
        struct session_options so = options(kv_types[i / 2]);
        struct plan_model model;
        struct logits_rig rig;
        int32_t ids[N_TOKENS];
        make_case(t, &model, plan, QUANT_Q8_0, ids);
        size_t n = (size_t)N_TOKENS * (size_t)plan->n_vocab;
        float *exact = plan_model_logits(t, &model, ids, N_TOKENS), *got = room(t, plan);
        logits_rig_open_on(t, &rig, file_path(t, "model.gguf"), device, NULL, 1 + i / 2, &so);
        float *want = logits_rig_eval(t, &rig, ids, N_TOKENS, 64);
        double nmse = test_nmse(want, exact, n);
        printf("%-7s %d layers on %s, %s cache: NMSE %.2e\n", plan->arch, 1 + i / 2, device, kv_types[i / 2], nmse);
        CHECK(t, nmse <= 1e-2, "%s, %s cache: NMSE %.3g", plan->arch, kv_types[i / 2], nmse);
        session_truncate(rig.session, 0, 0);
        evaluate(t, rig.session, ids, 0, 0, got);
        CHECK(t, memcmp(got, want, n * sizeof *got) == 0, "%s, %s", plan->arch, kv_types[i / 2]);
        CHECK_INT(t, session_truncate(rig.session, 0, N_TOKENS - 50), N_TOKENS - 50);
        evaluate(t, rig.session, ids, N_TOKENS - 50, 4, got);
        CHECK(t, memcmp(got, want, n * sizeof *got) == 0, "%s, %s, rewound", plan->arch, kv_types[i / 2]);
        logits_rig_close(&rig);
        free(want);
        free(exact);
        free(got);
        plan_model_finish(&model);
    }
}

/* A file of one cut is not for another: the bits of its layers behind the cut are others. */
TEST(split_with_a_device_keeps_prefixes_of_its_own)
{
    enum { N_SHARED = 140 };
    struct plan_model model;
    int32_t ids[N_TOKENS], n_loaded[] = { 0, N_SHARED, 0, N_SHARED };
    struct session_story want[2];
    const struct generate_options ask = session_rig_greedy(8, N_SHARED);
    char dir[512];
    make_case(t, &model, &plans[0], QUANT_Q8_0, ids);
    snprintf(dir, sizeof dir, "%s/cache", test_folder(t));
    for (int pass = 0; pass < 4; pass++) {
        struct session_options so = options("kv4");
        struct logits_rig rig;
        so.cache_dir = dir;
        so.cache_disk_bytes = 64 * MIB;
        logits_rig_open_on(t, &rig, file_path(t, "model.gguf"), device, NULL, 1 + pass / 2, &so);
        rig.session->any_file = true;
        struct session_rig same = { rig.engine, rig.model, rig.session };
        struct session_story story = session_rig_ask(t, &same, 0, ids, N_TOKENS, &ask);
        CHECK(t, session_flush(rig.session, 10000));
        CHECK_INT(t, story.done.timings.n_loaded, n_loaded[pass], "pass %d", pass);
        if (pass % 2 == 0)
            want[pass / 2] = story;
        CHECK_BYTES(t, story.ids, want[pass / 2].ids, sizeof story.ids, "pass %d", pass);
        logits_rig_close(&rig);
    }
    plan_model_finish(&model);
}

/* ---- how many fit ----------------------------------------------------------------------------------- */

TEST(split_takes_as_many_layers_as_fit)
{
    struct plan_model model;
    struct session_rig rig;
    const struct session_options so = options("f16");
    int32_t ids[N_TOKENS];
    uint64_t all, ignored, last = 0;
    make_case(t, &model, &plans[0], QUANT_Q8_0, ids);
    session_rig_open(t, &rig, file_path(t, "model.gguf"), &so);
    const struct program *p = rig.model->program;
    CHECK_INT(t, layers_that_fit(p, 400, UINT64_MAX, &all), 3);
    CHECK_INT(t, layers_that_fit(p, 400, all, &ignored), 3);
    CHECK_INT(t, layers_that_fit(p, 400, all - 1, &ignored), 2);
    CHECK(t, layers_that_fit(p, 4000, all, &ignored) < 3);
    CHECK_INT(t, layers_that_fit(p, 400, 0, &ignored), 0);
    for (int32_t i = 0; i < p->n_steps; i++)    /* the first layer is what does not fit */
        for (int j = 0; j < 3 && p->steps[i].kind != STEP_EMBED && p->steps[i].layer == 0 && p->steps[i].w[j]; j++)
            last += p->steps[i].w[j]->n_bytes;
    last += kv_cache_estimate(p->kv, 1, 400);
    CHECK_INT(t, layers_that_fit(p, 400, all - last, &ignored), 2);
    CHECK_INT(t, layers_that_fit(p, 400, all - last - 1, &ignored), 1);
    CHECK(t, layers_leave_room_to_embed(p, 400, all + p->steps[0].w[0]->n_bytes));
    CHECK(t, !layers_leave_room_to_embed(p, 400, all + p->steps[0].w[0]->n_bytes - 1));
    CHECK(t, !layers_leave_room_to_embed(p, 400, all - 1) && !layers_leave_room_to_embed(p, 400, 0));
    session_rig_close(&rig);
    plan_model_finish(&model);
}

TEST(split_is_chosen_by_what_is_free_and_said)
{
    struct plan_model model;
    struct session_rig rig;
    const struct session_options so = options("f16");
    struct engine_info info = { .device = "A card", .device_is_software = true };
    const uint64_t total = (uint64_t)10 << 30;
    int32_t ids[N_TOKENS];
    uint64_t all;
    make_case(t, &model, &plans[0], QUANT_Q8_0, ids);
    session_rig_open(t, &rig, file_path(t, "model.gguf"), &so);
    rig.engine->n_ctx = 400;
    layers_that_fit(rig.model->program, 400, 0, &all);
    info.device_free_bytes = all;
    int32_t n_before = 0;
    while (model_warning(rig.model, n_before))
        n_before++;
    CHECK_INT(t, layers_choose(rig.model, &info), 3);
    info.device_is_software = false;    /* half a GiB is left to others, or a tenth */
    CHECK_INT(t, engine_device_room(&info), 0);
    info.device_free_bytes = all + (512 << 20);
    CHECK_INT(t, layers_choose(rig.model, &info), 3);
    info.device_total_bytes = total;
    info.device_free_bytes = all + total / 10;
    CHECK_INT(t, layers_choose(rig.model, &info), 3);
    CHECK(t, !model_warning(rig.model, n_before), "%s", model_warning(rig.model, n_before));
    info.device_free_bytes--;
    CHECK_INT(t, layers_choose(rig.model, &info), 2);
    const char *said = model_warning(rig.model, n_before);
    CHECK(t, said && strstr(said, "A card: 2 of 3 layers fit"), "%s", said);
    info.device_free_bytes = 0;
    CHECK_INT(t, layers_choose(rig.model, &info), 0);
    said = model_warning(rig.model, n_before + 1);
    CHECK(t, said && strstr(said, "A card: 0 of 3 layers would fit, so all are on the processor"), "%s", said);
    session_rig_close(&rig);
    plan_model_finish(&model);
}
