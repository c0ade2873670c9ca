/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_cache.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "engine/base/file.h"
#include "engine/vulkan/vulkan_shader.h"

static const char magic[] = "quipVKP2";
enum { MOST_BYTES = 256 << 20 };

struct head {
    char magic[8];
    uint64_t build;       /* vulkan_cache_build() */
    uint64_t n_bytes;     /* that follow */
    uint64_t checksum;    /* of those */
};

uint64_t vulkan_cache_card(const struct vulkan_card *card)
{
    return XXH3_64bits(card->name, strlen(card->name));
}

uint64_t vulkan_cache_build(const struct vulkan_card *card)
{
    uint64_t hash = XXH3_64bits(card->cache_uuid, sizeof card->cache_uuid);
    hash = XXH3_64bits_withSeed(card->driver, strlen(card->driver), hash);
    hash = XXH3_64bits_withSeed(&card->tiles, sizeof card->tiles, hash);
    for (int32_t i = 0; i < vulkan_n_shaders; i++)
        hash = XXH3_64bits_withSeed(vulkan_shaders[i].words, vulkan_shaders[i].n_bytes, hash);
    return hash;
}

static struct head head_for(const struct vulkan_device *d, const void *bytes, size_t n_bytes)
{
    struct head h = { .build = vulkan_cache_build(d->card), .n_bytes = n_bytes,
                      .checksum = XXH3_64bits(bytes, n_bytes) };
    memcpy(h.magic, magic, sizeof h.magic);
    return h;
}

/* A file for each card, so that two of them do not take turns; a new driver's takes the place of the old one's. */
static bool path_in(struct buf *path, const struct vulkan_device *d, const char *dir)
{
    return buf_printf(path, "%s/device-%016" PRIx64 ".pipelines", dir, vulkan_cache_card(d->card));
}

void vulkan_cache_load(struct vulkan_device *d, const char *dir)
{
    struct buf path = { 0 }, file = { 0 };
    bool ok = dir && path_in(&path, d, dir) && file_read(buf_text(&path), MOST_BYTES, &file) &&
              file.n_bytes > sizeof(struct head);
    if (ok) {
        const char *bytes = file.data + sizeof(struct head);
        size_t n_bytes = file.n_bytes - sizeof(struct head);
        struct head want = head_for(d, bytes, n_bytes);
        VkPipelineCacheCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                           .initialDataSize = n_bytes, .pInitialData = bytes };
        VkPipelineCache filled;
        if (memcmp(file.data, &want, sizeof want) == 0 &&
            d->api.vkCreatePipelineCache(d->device, &info, NULL, &filled) == VK_SUCCESS) {
            d->api.vkDestroyPipelineCache(d->device, d->cache, NULL);
            d->cache = filled;
            d->cached_bytes = n_bytes;
        }
    }
    buf_finish(&path);
    buf_finish(&file);
}

void vulkan_cache_save(struct vulkan_device *d, const char *dir)
{
    struct buf path = { 0 }, file = { 0 };
    size_t n_bytes = 0;
    if (!dir || d->lost ||
        d->api.vkGetPipelineCacheData(d->device, d->cache, &n_bytes, NULL) != VK_SUCCESS ||
        n_bytes == 0 || n_bytes == d->cached_bytes || n_bytes > MOST_BYTES - sizeof(struct head))
        return;
    if (path_in(&path, d, dir) && buf_reserve(&file, sizeof(struct head) + n_bytes)) {
        char *bytes = file.data + sizeof(struct head);
        if (d->api.vkGetPipelineCacheData(d->device, d->cache, &n_bytes, bytes) == VK_SUCCESS) {
            struct head h = head_for(d, bytes, n_bytes);
            memcpy(file.data, &h, sizeof h);
            if (file_replace(buf_text(&path), file.data, sizeof h + n_bytes))
                d->cached_bytes = n_bytes;
        }
    }
    buf_finish(&path);
    buf_finish(&file);
}
