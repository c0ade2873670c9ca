/* SPDX-License-Identifier: MIT */
/* Pipelines that threads make are those that are asked for, once each. */
#include <string.h>

#include "tests/support/vulkan_rig.h"

enum { N_PIPELINES = 12 };

/* The same shader in N_PIPELINES ways: groups of 8, 16 ... lanes. */
static void spec_of(int32_t i, uint32_t out[3])
{
    out[0] = 8 * (uint32_t)(i + 1);
    out[1] = out[2] = 0;
}

TEST(vulkan_pipeline_is_made_once_whoever_makes_it)
{
    struct vulkan_rig rig;
    const struct vulkan_pipeline *first[N_PIPELINES], *again;
    uint32_t spec[3];
    struct err e;
    vulkan_rig_open(&rig, t);
    for (int32_t i = 0; i < N_PIPELINES; i += 2) {    /* the others nobody has heard of */
        spec_of(i, spec);
        vulkan_pipeline_want(rig.d, "norm", spec, 3);
        vulkan_pipeline_want(rig.d, "norm", spec, 3);
    }
    CHECK_INT(t, rig.d->n_pipelines, N_PIPELINES / 2);
    vulkan_pipelines_start(rig.d);
    for (int32_t i = N_PIPELINES - 1; i >= 0; i--) {
        spec_of(i, spec);
        CHECK_INT(t, vulkan_pipeline(rig.d, "norm", spec, 3, &first[i], &e), ERR_OK, "%s", e.text);
        CHECK(t, first[i]->pipeline != VK_NULL_HANDLE && first[i]->spec[0] == spec[0]);
    }
    CHECK_INT(t, rig.d->n_pipelines, N_PIPELINES);
    for (int32_t i = 0; i < N_PIPELINES; i++) {
        spec_of(i, spec);
        vulkan_pipeline_want(rig.d, "norm", spec, 3);
        CHECK_INT(t, vulkan_pipeline(rig.d, "norm", spec, 3, &again, &e), ERR_OK, "%s", e.text);
        CHECK(t, again == first[i] && again->state == VULKAN_MADE);
    }
    CHECK_INT(t, rig.d->n_pipelines, N_PIPELINES);
    vulkan_rig_close(&rig);
}

/* A device is closed while its threads are at work, and with work that nobody began. */
TEST(vulkan_pipeline_that_is_wanted_need_not_be_used)
{
    for (int32_t started = 0; started < 2; started++) {
        struct vulkan_rig rig;
        uint32_t spec[3];
        vulkan_rig_open(&rig, t);
        for (int32_t i = 0; i < N_PIPELINES; i++) {
            spec_of(i, spec);
            vulkan_pipeline_want(rig.d, "norm", spec, 3);
        }
        if (started)
            vulkan_pipelines_start(rig.d);
        vulkan_rig_close(&rig);
    }
}

static VkResult fail_to_create(VkDevice device, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *info,
                               const VkAllocationCallbacks *allocator, VkPipeline *out)
{
    (void)device, (void)cache, (void)n, (void)info, (void)allocator, (void)out;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

TEST(vulkan_pipeline_that_fails_is_told_to_who_uses_it)
{
    struct vulkan_rig rig;
    const struct vulkan_pipeline *p;
    const uint32_t spec[] = { 128, 0, 0 };
    struct err e;
    vulkan_rig_open(&rig, t);
    vulkan_pipeline_want(rig.d, "no such shader", spec, 3);
    CHECK_INT(t, vulkan_pipeline(rig.d, "no such shader", spec, 3, &p, &e), ERR_UNSUPPORTED);
    CHECK_TEXT(t, e.text, "no shader 'no such shader'");
    PFN_vkCreateComputePipelines create = rig.d->api.vkCreateComputePipelines;
    rig.d->api.vkCreateComputePipelines = fail_to_create;
    vulkan_pipeline_want(rig.d, "norm", spec, 3);
    vulkan_pipelines_start(rig.d);
    CHECK_INT(t, vulkan_pipeline(rig.d, "norm", spec, 3, &p, &e), ERR_NOMEM);
    CHECK(t, strstr(e.text, ": norm failed: VK_ERROR_OUT_OF_DEVICE_MEMORY") != NULL, "%s", e.text);
    rig.d->api.vkCreateComputePipelines = create;
    CHECK_INT(t, vulkan_pipeline(rig.d, "norm", spec, 3, &p, &e), ERR_OK, "%s", e.text);    /* memory is back */
    vulkan_rig_close(&rig);
}
