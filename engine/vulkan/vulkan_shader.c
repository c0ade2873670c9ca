/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_shader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_SETS = 256, POOL_BUFFERS = 1024 };

static void fail(struct vulkan_recording *r, const char *what, VkResult result)
{
    if (r->failed == ERR_OK)
        r->failed = vulkan_fail(r->d, &r->err, what, result);
}

struct vulkan_recording vulkan_rehearsal(struct vulkan_device *d)
{
    return (struct vulkan_recording){ .d = d, .rehearsal = true };
}

enum err_code vulkan_record_begin(struct vulkan_recording *r, struct vulkan_device *d, struct err *e)
{
    VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandPool = d->commands, .commandBufferCount = 1 };
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                       .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT };
    *r = (struct vulkan_recording){ .d = d };
    VkResult result = d->api.vkAllocateCommandBuffers(d->device, &info, &r->cmd);
    if (result == VK_SUCCESS)
        result = d->api.vkBeginCommandBuffer(r->cmd, &begin);
    if (result == VK_SUCCESS)
        return ERR_OK;
    enum err_code rc = vulkan_fail(d, e, "a command buffer", result);
    vulkan_recording_destroy(r);
    return rc;
}

static bool room_for_set(struct vulkan_recording *r, int32_t n_buffers)
{
    struct vulkan_device *d = r->d;
    if (r->n_sets_left > 0 && r->n_buffers_left >= n_buffers)
        return true;
    VkDescriptorPoolSize size = { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, POOL_BUFFERS };
    VkDescriptorPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = POOL_SETS,
                                        .poolSizeCount = 1, .pPoolSizes = &size };
    VkDescriptorPool *more = realloc(r->pools, ((size_t)r->n_pools + 1) * sizeof *more);
    if (!more) {
        fail(r, "a recording", VK_ERROR_OUT_OF_HOST_MEMORY);
        return false;
    }
    r->pools = more;
    VkResult result = d->api.vkCreateDescriptorPool(d->device, &info, NULL, &r->pools[r->n_pools]);
    if (result != VK_SUCCESS) {
        fail(r, "a descriptor pool", result);
        return false;
    }
    r->n_pools++;
    r->n_sets_left = POOL_SETS;
    r->n_buffers_left = POOL_BUFFERS;
    return true;
}

static bool bind(struct vulkan_recording *r, const struct vulkan_pipeline *p, const struct vulkan_part *parts,
                 const void *push, uint32_t push_bytes)
{
    struct vulkan_device *d = r->d;
    VkDescriptorBufferInfo buffers[VULKAN_MAX_BINDINGS];
    VkWriteDescriptorSet writes[VULKAN_MAX_BINDINGS];
    VkDescriptorSet set;
    if (r->failed != ERR_OK || !room_for_set(r, p->n_bindings))
        return false;
    VkDescriptorSetAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                         .descriptorPool = r->pools[r->n_pools - 1], .descriptorSetCount = 1,
                                         .pSetLayouts = &p->sets };
    VkResult result = d->api.vkAllocateDescriptorSets(d->device, &info, &set);
    if (result != VK_SUCCESS) {
        fail(r, "a descriptor set", result);
        return false;
    }
    r->n_sets_left--;
    r->n_buffers_left -= p->n_bindings;
    for (int32_t i = 0; i < p->n_bindings; i++) {
        assert(parts[i].buf && parts[i].n_bytes > 0 && parts[i].n_bytes <= d->card->binding_bytes);
        assert(parts[i].offset % d->card->binding_align == 0);
        assert(parts[i].offset + parts[i].n_bytes <= parts[i].buf->n_bytes);
        buffers[i] = (VkDescriptorBufferInfo){ parts[i].buf->buffer, parts[i].offset, parts[i].n_bytes };
        writes[i] = (VkWriteDescriptorSet){ .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = set,
                                            .dstBinding = (uint32_t)i, .descriptorCount = 1,
                                            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                            .pBufferInfo = &buffers[i] };
    }
    d->api.vkUpdateDescriptorSets(d->device, (uint32_t)p->n_bindings, writes, 0, NULL);
    d->api.vkCmdBindPipeline(r->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, p->pipeline);
    d->api.vkCmdBindDescriptorSets(r->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, p->layout, 0, 1, &set, 0, NULL);
    if (push_bytes > 0)
        d->api.vkCmdPushConstants(r->cmd, p->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes, push);
    r->n_dispatches++;
    return true;
}

void vulkan_record(struct vulkan_recording *r, const struct vulkan_pipeline *p, const struct vulkan_part *parts,
                   const void *push, uint32_t push_bytes, uint32_t x, uint32_t y, uint32_t z)
{
    if (bind(r, p, parts, push, push_bytes))
        r->d->api.vkCmdDispatch(r->cmd, x, y, z);
}

void vulkan_record_indirect(struct vulkan_recording *r, const struct vulkan_pipeline *p,
                            const struct vulkan_part *parts, const void *push, uint32_t push_bytes,
                            const struct vulkan_buf *counts, uint64_t offset)
{
    if (bind(r, p, parts, push, push_bytes))
        r->d->api.vkCmdDispatchIndirect(r->cmd, counts->buffer, offset);
}

const struct vulkan_pipeline *vulkan_record_pipeline(struct vulkan_recording *r, const char *shader,
                                                     const uint32_t *spec, int32_t n_spec)
{
    const struct vulkan_pipeline *p = NULL;
    if (r->rehearsal)
        vulkan_pipeline_want(r->d, shader, spec, n_spec);
    else if (r->failed == ERR_OK)
        r->failed = vulkan_pipeline(r->d, shader, spec, n_spec, &p, &r->err);
    return r->failed == ERR_OK ? p : NULL;
}

void vulkan_record_shader(struct vulkan_recording *r, const char *shader, const uint32_t *spec, int32_t n_spec,
                          const struct vulkan_part *parts, const void *push, uint32_t push_bytes, uint32_t x, uint32_t y,
                          uint32_t z)
{
    const struct vulkan_pipeline *p = vulkan_record_pipeline(r, shader, spec, n_spec);
    if (p)
        vulkan_record(r, p, parts, push, push_bytes, x, y, z);
}

void vulkan_record_copy(struct vulkan_recording *r, const struct vulkan_buf *to, const struct vulkan_buf *from,
                        uint64_t n_bytes)
{
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, copy = VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier before = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT };
    VkMemoryBarrier after = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT };
    VkBufferCopy region = { .size = n_bytes };
    if (r->rehearsal)
        return;
    r->d->api.vkCmdPipelineBarrier(r->cmd, compute, copy, 0, 1, &before, 0, NULL, 0, NULL);
    r->d->api.vkCmdCopyBuffer(r->cmd, from->buffer, to->buffer, 1, &region);
    r->d->api.vkCmdPipelineBarrier(r->cmd, copy, compute, 0, 1, &after, 0, NULL, 0, NULL);
    r->n_levels++;
}

void vulkan_record_barrier(struct vulkan_recording *r)
{
    VkMemoryBarrier barrier = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT };
    if (r->rehearsal)
        return;
    r->d->api.vkCmdPipelineBarrier(r->cmd, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                   0, 1, &barrier, 0, NULL, 0, NULL);
    r->n_levels++;
}

enum err_code vulkan_record_end(struct vulkan_recording *r, struct err *e)
{
    /* What the host reads, and what the next submit finds. */
    VkMemoryBarrier barrier = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                                                 VK_ACCESS_HOST_READ_BIT };
    r->d->api.vkCmdPipelineBarrier(r->cmd, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier,
                                   0, NULL, 0, NULL);
    VkResult result = r->d->api.vkEndCommandBuffer(r->cmd);
    if (result != VK_SUCCESS)
        fail(r, "a recording", result);
    if (r->failed == ERR_OK)
        return ERR_OK;
    enum err_code rc = err_set(e, r->failed, "%s", r->err.text);
    vulkan_recording_destroy(r);
    return rc;
}

void vulkan_recording_destroy(struct vulkan_recording *r)
{
    if (!r->d)
        return;
    if (r->cmd && !r->d->stuck)
        r->d->api.vkFreeCommandBuffers(r->d->device, r->d->commands, 1, &r->cmd);
    for (int32_t i = 0; i < r->n_pools && !r->d->stuck; i++)
        r->d->api.vkDestroyDescriptorPool(r->d->device, r->pools[i], NULL);
    free(r->pools);
    *r = (struct vulkan_recording){ 0 };
}
