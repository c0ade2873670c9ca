/* SPDX-License-Identifier: MIT */
/* What was recorded once and is replayed computes what a fresh recording does. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine_impl.h"
#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_placed.h"
#include "tests/support/logits.h"
#include "tests/support/plan_model.h"

enum { N_PROMPT = 100, N_STEPS = 64 };

/* Logits of N_STEPS tokens one by one after the prompt: [N_STEPS][n_vocab], malloc. */
static float *decode(struct test *t, struct logits_rig *rig, const int32_t *ids, bool forget)
{
    float *logits = malloc((size_t)N_STEPS * (size_t)rig->n_vocab * sizeof *logits);
    struct err e;
    CHECK(t, logits != NULL);
    session_truncate(rig->session, 0, 0);
    CHECK_INT(t, session_eval(rig->session, 0, ids, N_PROMPT, logits, 1, &e), ERR_OK, "%s", e.text);
    for (int32_t i = 0; i < N_STEPS; i++) {
        if (forget)
            vulkan_forget_recordings(rig->model->placed);
        CHECK_INT(t, session_eval(rig->session, 0, ids + N_PROMPT + i, 1, logits + (int64_t)i * rig->n_vocab, 1, &e),
                  ERR_OK, "%s", e.text);
    }
    return logits;
}

TEST(vulkan_replay_of_64_steps_equals_fresh_recordings)
{
    static const char *const kv_types[] = { "f16", "kv4" };
    for (size_t i = 0; i < 2; i++) {
        const struct plan *plan = &plan_all[4];    /* has windows, caps and all norms */
        struct plan_model model;
        struct logits_rig rig;
        char path[512];
        int32_t ids[N_PROMPT + N_STEPS];
        struct plan p = *plan;
        p.weight_type = QUANT_Q8_0;
        snprintf(path, sizeof path, "%s/replay.gguf", test_folder(t));
        plan_model_write(t, &model, &p, path);
        for (int32_t j = 0; j < N_PROMPT + N_STEPS; j++)
            ids[j] = (int32_t)test_below(t, (uint32_t)p.n_vocab);
        logits_rig_open_on(t, &rig, path, "llvmpipe", NULL, 0,
                           &(struct session_options){ .n_ctx = 300, .kv_type_k = kv_types[i], .kv_type_v = kv_types[i],
                                                      .keep_kv_type = true });
        float *kept = decode(t, &rig, ids, false), *fresh = decode(t, &rig, ids, true);
        CHECK(t, memcmp(kept, fresh, (size_t)N_STEPS * (size_t)rig.n_vocab * sizeof *kept) == 0, "%s", kv_types[i]);
        free(kept);
        free(fresh);
        logits_rig_close(&rig);
        plan_model_finish(&model);
    }
}
