/* SPDX-License-Identifier: MIT */
/* A pipeline goes from NEW or WANTED, which the makers look for, to TAKEN by one thread, and to MADE or FAILED. Who uses
 * the device and asks for one that nobody has taken makes it; one that is taken is waited for. */
#include "engine/vulkan/vulkan_pipeline.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cpuid.h"

enum { MAX_MAKERS = 8 };

/* Guards the device's list and the state of what is in it; entries stay where they are. */
struct vulkan_makers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t threads[MAX_MAKERS];
    int32_t n_threads;
    bool quit;
};

const struct vulkan_shader *vulkan_shader_find(const char *name)
{
    for (int32_t i = 0; i < vulkan_n_shaders; i++)
        if (strcmp(vulkan_shaders[i].name, name) == 0)
            return &vulkan_shaders[i];
    return NULL;
}

bool vulkan_coop_compiled(void)
{
    return vulkan_shader_find("matmul_coop_f16") != NULL;
}

/* ---- making one ---------------------------------------------------------------------------------------- */

/* Layouts depend on the number of bindings alone: storage buffers, and 128 bytes of push constants. */
static enum err_code make_layout(struct vulkan_device *d, int32_t n, struct err *e)
{
    VkDescriptorSetLayoutBinding bindings[VULKAN_MAX_BINDINGS];
    for (int32_t i = 0; i < n; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){ .binding = (uint32_t)i,
                                                      .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                      .descriptorCount = 1,
                                                      .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT };
    VkDescriptorSetLayoutCreateInfo sets = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                             .bindingCount = (uint32_t)n, .pBindings = bindings };
    VkPushConstantRange push = { .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = 128 };
    VkPipelineLayoutCreateInfo layout = { .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1,
                                          .pSetLayouts = &d->set_layouts[n], .pushConstantRangeCount = 1,
                                          .pPushConstantRanges = &push };
    VkResult r = VK_SUCCESS;
    if (!d->set_layouts[n])
        r = d->api.vkCreateDescriptorSetLayout(d->device, &sets, NULL, &d->set_layouts[n]);
    if (r == VK_SUCCESS && !d->layouts[n])
        r = d->api.vkCreatePipelineLayout(d->device, &layout, NULL, &d->layouts[n]);
    return r == VK_SUCCESS ? ERR_OK : vulkan_fail(d, e, "a pipeline's layout", r);
}

/* Any thread. */
static VkResult make(const struct vulkan_device *d, struct vulkan_pipeline *p)
{
    const struct vulkan_shader *shader = &vulkan_shaders[p->shader];
    VkShaderModuleCreateInfo code = { .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                      .codeSize = shader->n_bytes, .pCode = shader->words };
    VkShaderModule module;
    VkResult r = d->api.vkCreateShaderModule(d->device, &code, NULL, &module);
    if (r != VK_SUCCESS)
        return r;
    VkSpecializationMapEntry entries[VULKAN_MAX_SPEC];
    for (int32_t i = 0; i < p->n_spec; i++)
        entries[i] = (VkSpecializationMapEntry){ (uint32_t)i, (uint32_t)i * 4, 4 };
    VkSpecializationInfo spec = { .mapEntryCount = (uint32_t)p->n_spec, .pMapEntries = entries,
                                  .dataSize = (size_t)p->n_spec * 4, .pData = p->spec };
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = d->card->subgroup };
    /* Full ones, or there may be more of them than lanes divided by their size. All workgroups are whole subgroups. */
    bool fixed = d->card->features & VULKAN_SUBGROUP_SIZE;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO, .layout = p->layout,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .pNext = fixed ? &size : NULL,
                   .flags = fixed ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                   .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = module, .pName = "main",
                   .pSpecializationInfo = &spec } };
    r = d->api.vkCreateComputePipelines(d->device, d->cache, 1, &info, NULL, &p->pipeline);
    d->api.vkDestroyShaderModule(d->device, module, NULL);
    return r;
}

/* ---- which there are ------------------------------------------------------------------------------------ */

/* A new one when there is none like it, NEW. */
static enum err_code find(struct vulkan_device *d, const char *name, const uint32_t *spec, int32_t n_spec,
                          struct vulkan_pipeline **out, struct err *e)
{
    const struct vulkan_shader *shader = vulkan_shader_find(name);
    assert(n_spec <= VULKAN_MAX_SPEC);
    if (!shader)
        return err_set(e, ERR_UNSUPPORTED, "no shader '%s'", name);
    for (int32_t i = 0; i < d->n_pipelines; i++) {
        struct vulkan_pipeline *p = d->pipelines[i];
        if (p->shader == shader - vulkan_shaders && p->n_spec == n_spec &&
            memcmp(p->spec, spec, (size_t)n_spec * sizeof *spec) == 0) {
            *out = p;
            return ERR_OK;
        }
    }
    enum err_code rc = make_layout(d, shader->n_bindings, e);
    if (rc != ERR_OK)
        return rc;
    struct vulkan_pipeline *p = calloc(1, sizeof *p);
    struct vulkan_pipeline **more = calloc((size_t)d->n_pipelines + 1, sizeof *more);
    if (!p || !more) {
        free(p);
        free(more);
        return err_set(e, ERR_NOMEM, "no memory for a pipeline");
    }
    p->shader = (int32_t)(shader - vulkan_shaders);
    p->n_bindings = shader->n_bindings;
    p->layout = d->layouts[shader->n_bindings];
    p->sets = d->set_layouts[shader->n_bindings];
    p->n_spec = n_spec;
    memcpy(p->spec, spec, (size_t)n_spec * sizeof *spec);
    if (d->n_pipelines > 0)
        memcpy(more, d->pipelines, (size_t)d->n_pipelines * sizeof *more);
    more[d->n_pipelines] = p;
    struct vulkan_pipeline **old = d->pipelines;
    pthread_mutex_lock(&d->makers->lock);
    d->pipelines = more;
    d->n_pipelines++;
    pthread_mutex_unlock(&d->makers->lock);
    free(old);
    *out = p;
    return ERR_OK;
}

/* Of one that is TAKEN by the caller, which holds the lock. */
static void make_taken(const struct vulkan_device *d, struct vulkan_pipeline *p)
{
    pthread_mutex_unlock(&d->makers->lock);
    VkResult result = make(d, p);
    pthread_mutex_lock(&d->makers->lock);
    p->result = result;
    p->state = result == VK_SUCCESS ? VULKAN_MADE : VULKAN_FAILED;
    pthread_cond_broadcast(&d->makers->changed);
}

enum err_code vulkan_pipeline(struct vulkan_device *d, const char *shader, const uint32_t *spec, int32_t n_spec,
                              const struct vulkan_pipeline **out, struct err *e)
{
    struct vulkan_pipeline *p;
    enum err_code rc = find(d, shader, spec, n_spec, &p, e);
    if (rc != ERR_OK)
        return rc;
    pthread_mutex_lock(&d->makers->lock);
    while (p->state == VULKAN_TAKEN)
        pthread_cond_wait(&d->makers->changed, &d->makers->lock);
    if (p->state == VULKAN_NEW || p->state == VULKAN_WANTED) {
        p->state = VULKAN_TAKEN;
        make_taken(d, p);
    }
    VkResult result = p->result;
    if (result != VK_SUCCESS)
        p->state = VULKAN_NEW;
    pthread_mutex_unlock(&d->makers->lock);
    *out = p;
    return result == VK_SUCCESS ? ERR_OK : vulkan_fail(d, e, shader, result);
}

void vulkan_pipeline_want(struct vulkan_device *d, const char *shader, const uint32_t *spec, int32_t n_spec)
{
    struct vulkan_pipeline *p;
    if (find(d, shader, spec, n_spec, &p, NULL) != ERR_OK)
        return;
    pthread_mutex_lock(&d->makers->lock);
    if (p->state == VULKAN_NEW)
        p->state = VULKAN_WANTED;
    pthread_mutex_unlock(&d->makers->lock);
}

/* ---- makers --------------------------------------------------------------------------------------------- */

static struct vulkan_pipeline *first_wanted(const struct vulkan_device *d)
{
    for (int32_t i = 0; i < d->n_pipelines; i++)
        if (d->pipelines[i]->state == VULKAN_WANTED)
            return d->pipelines[i];
    return NULL;
}

static void *maker(void *arg)
{
    const struct vulkan_device *d = arg;
    struct vulkan_makers *m = d->makers;
    pthread_mutex_lock(&m->lock);
    while (!m->quit) {
        struct vulkan_pipeline *p = first_wanted(d);
        if (p) {
            p->state = VULKAN_TAKEN;
            make_taken(d, p);
        } else {
            pthread_cond_wait(&m->changed, &m->lock);
        }
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* Without a thread who uses a pipeline makes it. */
void vulkan_pipelines_start(struct vulkan_device *d)
{
    struct vulkan_makers *m = d->makers;
    int32_t cores = cpuid_cores(), n_wanted = 0;
    pthread_mutex_lock(&m->lock);
    for (int32_t i = 0; i < d->n_pipelines; i++)
        n_wanted += d->pipelines[i]->state == VULKAN_WANTED;
    while (m->n_threads < n_wanted && m->n_threads < cores && m->n_threads < MAX_MAKERS &&
           pthread_create(&m->threads[m->n_threads], NULL, maker, d) == 0)
        m->n_threads++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

enum err_code vulkan_pipelines_init(struct vulkan_device *d, struct err *e)
{
    d->makers = calloc(1, sizeof *d->makers);
    if (!d->makers)
        return err_set(e, ERR_NOMEM, "%s: no memory", d->card->name);
    pthread_mutex_init(&d->makers->lock, NULL);
    pthread_cond_init(&d->makers->changed, NULL);
    return ERR_OK;
}

void vulkan_pipelines_destroy(struct vulkan_device *d)
{
    struct vulkan_makers *m = d->makers;
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->quit = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    for (int32_t i = 0; i < m->n_threads; i++)
        pthread_join(m->threads[i], NULL);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->changed);
    free(m);
    d->makers = NULL;
    for (int32_t i = 0; i < d->n_pipelines; i++) {
        if (!d->stuck)
            d->api.vkDestroyPipeline(d->device, d->pipelines[i]->pipeline, NULL);
        free(d->pipelines[i]);
    }
    free(d->pipelines);
    d->pipelines = NULL;
    d->n_pipelines = 0;
    for (int32_t i = 0; i <= VULKAN_MAX_BINDINGS && !d->stuck; i++) {
        d->api.vkDestroyPipelineLayout(d->device, d->layouts[i], NULL);
        d->api.vkDestroyDescriptorSetLayout(d->device, d->set_layouts[i], NULL);
    }
}
