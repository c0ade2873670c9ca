/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_device.h"

#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vulkan_shader.h"

/* A submit takes 0.1 s; a device that needs this many seconds is stuck. Software shares the processor with whatever else
 * runs, and is only slow. They are waited for one by one, since a process that was stopped (Ctrl+Z) finds the second it
 * was stopped in to be over. */
enum { WAIT_SECONDS = 20, WAIT_SECONDS_SOFTWARE = 600 };

/* The second is what a driver says when it has handed out as many pieces of memory as it can. */
static bool no_memory(VkResult r)
{
    return r == VK_ERROR_OUT_OF_DEVICE_MEMORY || r == VK_ERROR_TOO_MANY_OBJECTS || r == VK_ERROR_OUT_OF_HOST_MEMORY ||
           r == VK_ERROR_OUT_OF_POOL_MEMORY;
}

enum err_code vulkan_fail(struct vulkan_device *d, struct err *e, const char *what, VkResult r)
{
    if (r == VK_ERROR_DEVICE_LOST) {
        d->lost = true;
        return err_set(e, ERR_DEVICE, "%s: device lost (%s)", d->card->name, vulkan_result_name(r));
    }
    return err_set(e, no_memory(r) ? ERR_NOMEM : ERR_DEVICE, "%s: %s failed: %s", d->card->name, what,
                   vulkan_result_name(r));
}

/* ---- opening ------------------------------------------------------------------------------------------ */

static enum err_code create_device(struct vulkan_device *d, struct vulkan_list *list, struct err *e)
{
    const struct vulkan_card *c = d->card;
    float priority = 1;
    const char *extensions[8];
    uint32_t n = 0;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
        .shaderIntegerDotProduct = VK_TRUE };
    VkPhysicalDeviceSubgroupSizeControlFeatures size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = VK_TRUE, .computeFullSubgroups = VK_TRUE };
    VkPhysicalDeviceMemoryPriorityFeaturesEXT memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT, .memoryPriority = VK_TRUE };
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coop = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, .cooperativeMatrix = VK_TRUE };
    bool has_coop = c->tiles == VULKAN_TILES_COOP;
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .storageBuffer8BitAccess = VK_TRUE,
        .timelineSemaphore = VK_TRUE, .bufferDeviceAddress = VK_TRUE,
        .shaderFloat16 = c->features & VULKAN_FLOAT16 ? VK_TRUE : VK_FALSE,
        .vulkanMemoryModel = has_coop ? VK_TRUE : VK_FALSE };
    VkPhysicalDeviceVulkan11Features v11 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                             .pNext = &v12, .storageBuffer16BitAccess = VK_TRUE };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &v11 };
    if (c->features & VULKAN_INT_DOT) {
        dot.pNext = features.pNext;
        features.pNext = &dot;
        extensions[n++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    }
    if (has_coop) {
        coop.pNext = features.pNext;
        features.pNext = &coop;
        extensions[n++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    }
    if (c->features & VULKAN_SUBGROUP_SIZE) {
        size.pNext = features.pNext;
        features.pNext = &size;
        extensions[n++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    }
    if (c->features & VULKAN_PRIORITY) {
        memory.pNext = features.pNext;
        features.pNext = &memory;
        extensions[n++] = VK_EXT_MEMORY_PRIORITY_EXTENSION_NAME;
    }
    if (c->features & VULKAN_BUDGET)
        extensions[n++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (c->portable)
        extensions[n++] = VULKAN_PORTABILITY;
    VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                      .queueFamilyIndex = c->queue_family, .queueCount = 1,
                                      .pQueuePriorities = &priority };
    VkDeviceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &features,
                                .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue,
                                .enabledExtensionCount = n, .ppEnabledExtensionNames = extensions };
    VkResult r = list->api.vkCreateDevice(c->physical, &info, NULL, &d->device);
    if (r != VK_SUCCESS)
        return vulkan_fail(d, e, "opening the device", r);
    d->api = list->api;
    d->api.library = NULL;
    return vulkan_api_device(&d->api, d->device, e);
}

static enum err_code create_queue(struct vulkan_device *d, struct err *e)
{
    VkSemaphoreTypeCreateInfo type = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                       .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE };
    VkSemaphoreCreateInfo semaphore = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type };
    VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                     .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                     .queueFamilyIndex = d->card->queue_family };
    VkPipelineCacheCreateInfo cache = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO };
    d->api.vkGetDeviceQueue(d->device, d->card->queue_family, 0, &d->queue);
    VkResult r = d->api.vkCreateSemaphore(d->device, &semaphore, NULL, &d->timeline);
    if (r == VK_SUCCESS)
        r = d->api.vkCreateCommandPool(d->device, &pool, NULL, &d->commands);
    if (r == VK_SUCCESS)
        r = d->api.vkCreatePipelineCache(d->device, &cache, NULL, &d->cache);
    if (r != VK_SUCCESS)
        return vulkan_fail(d, e, "opening its queue", r);
    return ERR_OK;
}

enum err_code vulkan_device_open(struct vulkan_device **out, struct vulkan_list *list, const struct vulkan_card *card,
                                 struct err *e)
{
    struct vulkan_device *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(e, ERR_NOMEM, "%s: no memory", card->name);
    d->card = card;
    enum err_code rc = create_device(d, list, e);
    if (rc == ERR_OK)
        rc = create_queue(d, e);
    if (rc == ERR_OK)
        rc = vulkan_pipelines_init(d, e);
    if (rc != ERR_OK) {
        vulkan_device_close(d);
        return rc;
    }
    *out = d;
    return ERR_OK;
}

void vulkan_device_close(struct vulkan_device *d)
{
    if (!d)
        return;
    const struct vulkan_api *api = &d->api;
    bool idle = d->device && api->vkQueueSubmit && !d->stuck;    /* the last that was looked up: all are there */
    if (idle)
        api->vkDeviceWaitIdle(d->device);
    vulkan_pipelines_destroy(d);
    if (idle) {
        for (int i = 0; i < VULKAN_N_STAGES; i++)
            vulkan_buf_destroy(d, &d->stages[i].buf);
        api->vkDestroyPipelineCache(d->device, d->cache, NULL);
        api->vkDestroyCommandPool(d->device, d->commands, NULL);
        api->vkDestroySemaphore(d->device, d->timeline, NULL);
    }
    if (d->device && api->vkDestroyDevice && !d->stuck)
        api->vkDestroyDevice(d->device, NULL);
    free(d);
}

/* ---- memory ------------------------------------------------------------------------------------------- */

/* On a card with a narrow window to its memory, that window is no place for what is large. */
static bool window_is_wide(const struct vulkan_card *c, uint32_t type)
{
    return c->memory.memoryHeaps[c->memory.memoryTypes[type].heapIndex].size >= c->local_bytes / 10 * 9;
}

/* The memory type with the most of what is wished for; each where has its wishes in order, and what it must have. */
static uint32_t find_type(const struct vulkan_card *c, uint32_t allowed, enum vulkan_where where)
{
    enum {
        LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
        SEEN = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
        CACHED = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
        /* For what is not asked for here; the latter two must not be allocated without a feature of their own. */
        NEVER = VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
                VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD
    };
    static const uint32_t wishes[][4] = {
        [VULKAN_LOCAL] = { LOCAL | SEEN | CACHED, LOCAL | SEEN, LOCAL, 0 },
        [VULKAN_STEP] = { LOCAL | SEEN, SEEN, SEEN, SEEN },
        [VULKAN_BACK] = { SEEN | CACHED, SEEN, SEEN, SEEN },
    };
    for (int wish = 0; wish < 4; wish++) {
        uint32_t want = wishes[where][wish];
        for (uint32_t t = 0; t < c->memory.memoryTypeCount; t++) {
            uint32_t has = c->memory.memoryTypes[t].propertyFlags;
            if (!(allowed >> t & 1) || (has & want) != want || (has & NEVER))
                continue;
            if (where == VULKAN_LOCAL && (want & SEEN) && !window_is_wide(c, t))
                continue;
            return t;
        }
    }
    return UINT32_MAX;
}

static bool strikes(int32_t *count)
{
    return *count > 0 && --*count == 0;
}

static VkResult allocate(struct vulkan_device *d, struct vulkan_buf *b, uint64_t n_bytes, uint32_t type)
{
    VkMemoryPriorityAllocateInfoEXT priority = { .sType = VK_STRUCTURE_TYPE_MEMORY_PRIORITY_ALLOCATE_INFO_EXT,
                                                 .priority = 1 };
    VkMemoryAllocateFlagsInfo flags = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                        .pNext = d->card->features & VULKAN_PRIORITY ? &priority : NULL,
                                        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT };
    VkMemoryAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = &flags,
                                  .allocationSize = n_bytes, .memoryTypeIndex = type };
    if (strikes(&d->faults.allocate))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    return d->api.vkAllocateMemory(d->device, &info, NULL, &b->memory);
}

enum err_code vulkan_buf_create(struct vulkan_device *d, struct vulkan_buf *out, uint64_t n_bytes,
                                enum vulkan_where where, struct err *e)
{
    const struct vulkan_api *api = &d->api;
    struct vulkan_buf b = { .n_bytes = n_bytes };
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = n_bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                 VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT };
    VkResult r = api->vkCreateBuffer(d->device, &info, NULL, &b.buffer);
    if (r != VK_SUCCESS)
        return vulkan_fail(d, e, "a buffer", r);
    VkMemoryRequirements need;
    api->vkGetBufferMemoryRequirements(d->device, b.buffer, &need);
    uint32_t type = find_type(d->card, need.memoryTypeBits, where);
    r = type == UINT32_MAX ? VK_ERROR_FEATURE_NOT_PRESENT : allocate(d, &b, need.size, type);
    if (r == VK_ERROR_OUT_OF_DEVICE_MEMORY && where == VULKAN_STEP) {    /* a window is soon full: the machine's then */
        uint32_t other = find_type(d->card, need.memoryTypeBits & ~(1u << type), where);
        if (other != UINT32_MAX)
            r = allocate(d, &b, need.size, type = other);
    }
    if (r == VK_SUCCESS) {
        d->allocated_bytes += n_bytes;
        r = api->vkBindBufferMemory(d->device, b.buffer, b.memory, 0);
    }
    bool hidden = where == VULKAN_LOCAL && d->faults.unmapped;
    if (r == VK_SUCCESS && !hidden &&
        (d->card->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) &&
        (d->card->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)) {
        b.slow = where == VULKAN_LOCAL &&
                 !(d->card->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
        r = api->vkMapMemory(d->device, b.memory, 0, VK_WHOLE_SIZE, 0, &b.mapped);
    }
    if (r != VK_SUCCESS) {
        vulkan_buf_destroy(d, &b);
        if (no_memory(r))
            return err_set(e, ERR_NOMEM, "%s: no memory for %.0f MiB beside %.0f MiB in use", d->card->name,
                           (double)n_bytes / 1048576.0, (double)d->allocated_bytes / 1048576.0);
        return vulkan_fail(d, e, "memory for a buffer", r);
    }
    VkBufferDeviceAddressInfo address = { .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = b.buffer };
    b.address = api->vkGetBufferDeviceAddress(d->device, &address);
    *out = b;
    return ERR_OK;
}

void vulkan_buf_destroy(struct vulkan_device *d, struct vulkan_buf *b)
{
    if (d->stuck)    /* and may still be writing there */
        return;
    if (b->memory)
        d->allocated_bytes -= b->n_bytes;
    d->api.vkDestroyBuffer(d->device, b->buffer, NULL);
    d->api.vkFreeMemory(d->device, b->memory, NULL);    /* and unmaps */
    *b = (struct vulkan_buf){ 0 };
}

/* ---- work --------------------------------------------------------------------------------------------- */

enum err_code vulkan_submit(struct vulkan_device *d, const VkCommandBuffer *cmds, uint32_t n_cmds, uint64_t *value,
                            struct err *e)
{
    uint64_t next = d->submitted + 1;
    VkTimelineSemaphoreSubmitInfo when = { .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                           .signalSemaphoreValueCount = 1, .pSignalSemaphoreValues = &next };
    VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .pNext = &when, .commandBufferCount = n_cmds,
                          .pCommandBuffers = cmds, .signalSemaphoreCount = 1, .pSignalSemaphores = &d->timeline };
    if (strikes(&d->faults.submit)) {
        vulkan_idle(d, NULL);    /* what a lost device had to do is over */
        d->lost = true;
    }
    if (d->lost)
        return vulkan_fail(d, e, "work for the device", VK_ERROR_DEVICE_LOST);
    VkResult r = d->api.vkQueueSubmit(d->queue, 1, &info, VK_NULL_HANDLE);
    if (r != VK_SUCCESS)
        return vulkan_fail(d, e, "work for the device", r);
    *value = d->submitted = next;
    return ERR_OK;
}

enum err_code vulkan_wait(struct vulkan_device *d, uint64_t value, struct err *e)
{
    VkSemaphoreWaitInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1,
                                 .pSemaphores = &d->timeline, .pValues = &value };
    if (d->lost)
        return vulkan_fail(d, e, "waiting for the device", VK_ERROR_DEVICE_LOST);
    VkResult r = VK_TIMEOUT;
    int seconds = d->card->kind == VULKAN_SOFTWARE ? WAIT_SECONDS_SOFTWARE : WAIT_SECONDS;
    for (int i = 0; i < seconds && r == VK_TIMEOUT; i++)
        r = d->api.vkWaitSemaphores(d->device, &info, 1000000000);
    if (r == VK_TIMEOUT)
        d->lost = d->stuck = true;
    if (r != VK_SUCCESS)
        return vulkan_fail(d, e, "waiting for the device", r);
    d->waited = value > d->waited ? value : d->waited;
    return ERR_OK;
}

enum err_code vulkan_idle(struct vulkan_device *d, struct err *e)
{
    return d->waited < d->submitted ? vulkan_wait(d, d->submitted, e) : ERR_OK;
}

/* ---- staging ------------------------------------------------------------------------------------------ */

static enum err_code stage_ready(struct vulkan_device *d, struct vulkan_stage *s, struct err *e)
{
    if (!s->buf.buffer) {
        enum err_code rc = vulkan_buf_create(d, &s->buf, VULKAN_STAGE_BYTES, VULKAN_BACK, e);
        if (rc != ERR_OK)
            return rc;
    }
    if (!s->cmd) {
        VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                             .commandPool = d->commands, .commandBufferCount = 1 };
        VkResult r = d->api.vkAllocateCommandBuffers(d->device, &info, &s->cmd);
        if (r != VK_SUCCESS)
            return vulkan_fail(d, e, "a command buffer", r);
    }
    return s->done ? vulkan_wait(d, s->done, e) : ERR_OK;
}

/* Behind all work before, and before all after: copies may meet buffers that shaders use. */
static void order(struct vulkan_device *d, VkCommandBuffer cmd, VkPipelineStageFlags from, VkAccessFlags wrote,
                  VkPipelineStageFlags to, VkAccessFlags read)
{
    VkMemoryBarrier barrier = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote,
                                .dstAccessMask = read };
    d->api.vkCmdPipelineBarrier(cmd, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static enum err_code submit_copy(struct vulkan_device *d, VkCommandBuffer cmd, VkBuffer to, VkBuffer from,
                                 VkBufferCopy region, uint64_t *value, struct err *e)
{
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                       .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT };
    VkResult r = d->api.vkBeginCommandBuffer(cmd, &begin);
    if (r == VK_SUCCESS) {
        order(d, cmd, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
              VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
              VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
        d->api.vkCmdCopyBuffer(cmd, from, to, 1, &region);
        order(d, cmd, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT,
              VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
              VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT);
        r = d->api.vkEndCommandBuffer(cmd);
    }
    if (r != VK_SUCCESS)
        return vulkan_fail(d, e, "a copy", r);
    return vulkan_submit(d, &cmd, 1, value, e);
}

/* Sends off what waits in a stage. */
static enum err_code send(struct vulkan_device *d, struct vulkan_stage *s, struct err *e)
{
    if (!s->to)
        return ERR_OK;
    VkBufferCopy region = { .dstOffset = s->offset, .size = s->n_bytes };
    VkBuffer to = s->to->buffer;
    s->to = NULL;
    return submit_copy(d, s->cmd, to, s->buf.buffer, region, &s->done, e);
}

/* Nothing waits in any of them afterwards, whatever happens: where it was to go need not be there any more. */
static enum err_code send_all(struct vulkan_device *d, struct err *e)
{
    enum err_code rc = ERR_OK;
    for (int i = 0; i < VULKAN_N_STAGES; i++) {
        enum err_code sent = send(d, &d->stages[i], rc == ERR_OK ? e : NULL);
        rc = rc == ERR_OK ? sent : rc;
    }
    return rc;
}

enum err_code vulkan_stage(struct vulkan_device *d, const struct vulkan_buf *to, uint64_t offset, uint64_t n_bytes,
                           void **bytes, struct err *e)
{
    if (to->mapped) {
        *bytes = (char *)to->mapped + offset;
        return ERR_OK;
    }
    enum err_code rc = send_all(d, e);
    struct vulkan_stage *s = &d->stages[d->stage];
    d->stage = (d->stage + 1) % VULKAN_N_STAGES;
    if (rc == ERR_OK)
        rc = stage_ready(d, s, e);
    if (rc == ERR_OK) {
        s->to = to;
        s->offset = offset;
        s->n_bytes = n_bytes;
        *bytes = s->buf.mapped;
    }
    return rc;
}

enum err_code vulkan_flush(struct vulkan_device *d, struct err *e)
{
    uint64_t last = 0;
    enum err_code rc = send_all(d, e);
    for (int i = 0; i < VULKAN_N_STAGES; i++)
        if (d->stages[i].done > last)
            last = d->stages[i].done;
    if (rc != ERR_OK && last > 0)
        vulkan_wait(d, last, NULL);    /* those before are on their way all the same */
    return rc == ERR_OK && last > 0 ? vulkan_wait(d, last, e) : rc;
}

enum err_code vulkan_write(struct vulkan_device *d, const struct vulkan_buf *to, uint64_t offset, const void *bytes,
                           uint64_t n_bytes, struct err *e)
{
    enum err_code rc = ERR_OK;
    for (uint64_t at = 0; at < n_bytes && rc == ERR_OK; at += VULKAN_STAGE_BYTES) {
        uint64_t n = n_bytes - at < VULKAN_STAGE_BYTES ? n_bytes - at : VULKAN_STAGE_BYTES;
        void *stage;
        rc = vulkan_stage(d, to, offset + at, n, &stage, e);
        if (rc == ERR_OK)
            memcpy(stage, (const char *)bytes + at, n);
    }
    return rc == ERR_OK ? vulkan_flush(d, e) : rc;
}

enum err_code vulkan_copy(struct vulkan_device *d, const struct vulkan_buf *to, uint64_t to_offset,
                          const struct vulkan_buf *from, uint64_t from_offset, uint64_t n_bytes, struct err *e)
{
    uint64_t value = 0;
    enum err_code rc = send_all(d, e);
    struct vulkan_stage *s = &d->stages[d->stage];
    if (rc == ERR_OK)
        rc = stage_ready(d, s, e);
    if (rc == ERR_OK)
        rc = submit_copy(d, s->cmd, to->buffer, from->buffer,
                         (VkBufferCopy){ .srcOffset = from_offset, .dstOffset = to_offset, .size = n_bytes }, &value, e);
    if (rc == ERR_OK)
        s->done = value;
    return rc == ERR_OK ? vulkan_wait(d, value, e) : rc;
}

enum err_code vulkan_read(struct vulkan_device *d, void *bytes, const struct vulkan_buf *from, uint64_t offset,
                          uint64_t n_bytes, struct err *e)
{
    if (d->lost)
        return vulkan_fail(d, e, "reading", VK_ERROR_DEVICE_LOST);
    if (from->mapped && !from->slow) {
        memcpy(bytes, (const char *)from->mapped + offset, n_bytes);
        return ERR_OK;
    }
    enum err_code rc = ERR_OK;
    for (uint64_t at = 0; at < n_bytes && rc == ERR_OK; at += VULKAN_STAGE_BYTES) {
        uint64_t n = n_bytes - at < VULKAN_STAGE_BYTES ? n_bytes - at : VULKAN_STAGE_BYTES, value = 0;
        rc = send_all(d, e);
        struct vulkan_stage *s = &d->stages[d->stage];
        if (rc == ERR_OK)
            rc = stage_ready(d, s, e);
        if (rc == ERR_OK)
            rc = submit_copy(d, s->cmd, s->buf.buffer, from->buffer,
                             (VkBufferCopy){ .srcOffset = offset + at, .size = n }, &value, e);
        if (rc == ERR_OK) {
            s->done = value;
            rc = vulkan_wait(d, value, e);
        }
        if (rc == ERR_OK)
            memcpy((char *)bytes + at, s->buf.mapped, n);
    }
    return rc;
}
