/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "engine/base/buf.h"
#include "engine/vulkan/vulkan_shader.h"

static const char magic[8] = "quipVKP1";
enum { MOST_BYTES = 256 << 20 };

struct head {
    char magic[8];
    uint8_t driver[VK_UUID_SIZE];
    uint64_t shaders;     /* hash of all of them */
    uint64_t n_bytes;     /* that follow */
    uint64_t checksum;    /* of those */
};

static struct head head_for(const struct vulkan_device *d, const void *bytes, size_t n_bytes)
{
    struct head h = { .n_bytes = n_bytes, .checksum = XXH3_64bits(bytes, n_bytes) };
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.driver, d->card->cache_uuid, sizeof h.driver);
    for (int32_t i = 0; i < vulkan_n_shaders; i++)
        h.shaders = XXH3_64bits_withSeed(vulkan_shaders[i].words, vulkan_shaders[i].n_bytes, h.shaders);
    return h;
}

/* A file for each device, so that two of them do not take turns. */
static char *path_in(const struct vulkan_device *d, const char *dir, const char *ending)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/vulkan-", dir);
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++)
        buf_printf(&path, "%02x", d->card->cache_uuid[i]);
    buf_printf(&path, ".pipelines%s", ending);
    return buf_take(&path);
}

void vulkan_cache_load(struct vulkan_device *d, const char *dir)
{
    char *path = dir && dir[0] ? path_in(d, dir, "") : NULL;
    FILE *f = path ? fopen(path, "rbe") : NULL;
    struct head h;
    free(path);
    if (!f)
        return;
    char *bytes = NULL;
    if (fread(&h, sizeof h, 1, f) == 1 && h.n_bytes > 0 && h.n_bytes <= MOST_BYTES)
        bytes = malloc(h.n_bytes);
    bool whole = bytes && fread(bytes, 1, h.n_bytes, f) == h.n_bytes;
    fclose(f);
    if (whole) {
        struct head want = head_for(d, bytes, h.n_bytes);
        VkPipelineCacheCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                           .initialDataSize = h.n_bytes, .pInitialData = bytes };
        VkPipelineCache filled;
        if (memcmp(&h, &want, sizeof h) == 0 &&
            d->api.vkCreatePipelineCache(d->device, &info, NULL, &filled) == VK_SUCCESS) {
            d->api.vkDestroyPipelineCache(d->device, d->cache, NULL);
            d->cache = filled;
            d->cached_bytes = h.n_bytes;
        }
    }
    free(bytes);
}

static bool write_file(const char *path, const struct head *h, const void *bytes)
{
    FILE *f = fopen(path, "wbxe");
    if (!f)
        return false;
    bool ok = fwrite(h, sizeof *h, 1, f) == 1 && fwrite(bytes, 1, h->n_bytes, f) == h->n_bytes;
    return fclose(f) == 0 && ok;
}

void vulkan_cache_save(struct vulkan_device *d, const char *dir)
{
    size_t n_bytes = 0;
    if (!dir || !dir[0] || d->lost ||
        d->api.vkGetPipelineCacheData(d->device, d->cache, &n_bytes, NULL) != VK_SUCCESS || n_bytes == d->cached_bytes ||
        n_bytes > MOST_BYTES)
        return;
    char ending[32];
    snprintf(ending, sizeof ending, ".%ld", (long)getpid());
    char *bytes = malloc(n_bytes), *path = path_in(d, dir, ""), *fresh = path_in(d, dir, ending);
    if (bytes && path && fresh && d->api.vkGetPipelineCacheData(d->device, d->cache, &n_bytes, bytes) == VK_SUCCESS) {
        struct head h = head_for(d, bytes, n_bytes);
        if (write_file(fresh, &h, bytes) && rename(fresh, path) == 0)
            d->cached_bytes = n_bytes;
        else
            unlink(fresh);
    }
    free(bytes);
    free(path);
    free(fresh);
}
