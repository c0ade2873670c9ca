/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>

#include "engine/cpu/cpu_run.h"
#include "engine/model/arch.h"
#include "tests/support/tiny_model.h"

struct rig {
    struct pool *pool;
    struct backend *backend;
    struct gguf *gguf;
    struct arena arena;
    struct program *program;
    struct placed *placed;
};

static void open_rig(struct test *t, struct rig *r, enum cpu_tier tier, uint32_t weight_type)
{
    struct tiny_model tiny;
    struct hparams h;
    struct err e;
    char path[512];
    *r = (struct rig){ 0 };
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    tiny_model_init(&tiny);
    tiny.weight_type = weight_type;
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, pool_create(&r->pool, 3, &e), ERR_OK);
    CHECK_INT(t, cpu_backend_create(&r->backend, tier, r->pool, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, gguf_open(&r->gguf, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, arch_build(r->gguf, &r->arena, &r->program, &h, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, r->backend->ops->place(r->backend, r->program, &r->placed, &e), ERR_OK, "%s", e.text);
}

static void close_rig(struct rig *r)
{
    r->backend->ops->unplace(r->placed);
    gguf_close(r->gguf);
    arena_finish(&r->arena);
    r->backend->ops->destroy(r->backend);
    pool_destroy(r->pool);
}

TEST(cpu_backend_scratch_is_what_was_announced)
{
    static const struct {
        int32_t rows, logits, n_ctx;
    } shapes[] = { { 2048, 1, 4096 }, { 512, 8, 1 << 20 }, { 64, 3000, 4096 } };
    for (enum cpu_tier tier = 0; tier < CPU_N_TIERS; tier++) {
        if (!cpu_tier_available(tier))
            continue;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct rig r;
            struct err e;
            open_rig(t, &r, tier, QUANT_Q8_0);
            const struct backend_ops *ops = r.backend->ops;
            double said = (double)ops->scratch_bytes(r.placed, shapes[i].rows, shapes[i].logits, shapes[i].n_ctx);
            CHECK_INT(t, ops->reserve(r.placed, shapes[i].rows, shapes[i].logits, shapes[i].n_ctx, &e), ERR_OK);
            double taken = (double)r.placed->scratch.total_bytes;
            CHECK(t, taken >= said && taken < 1.05 * said, "tier %s, shape %zu: %.0f bytes taken, %.0f announced",
                  cpu_tier_name(tier), i, taken, said);
            close_rig(&r);
        }
    }
}

TEST(cpu_backend_counts_every_weight_once)
{
    for (enum cpu_tier tier = 0; tier < CPU_N_TIERS; tier++) {
        struct rig r;
        struct gguf_info info;
        if (!cpu_tier_available(tier))
            continue;
        open_rig(t, &r, tier, QUANT_Q8_0);
        gguf_info(r.gguf, &info);
        double bytes = (double)r.backend->ops->weight_bytes(r.placed);
        CHECK(t, fabs(bytes / (double)info.tensor_bytes - 1) < 0.05, "tier %s: %.0f bytes, %llu in the file",
              cpu_tier_name(tier), bytes, (unsigned long long)info.tensor_bytes);
        close_rig(&r);
    }
}
