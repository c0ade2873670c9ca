/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* All of a region is resident, so what of it has no page is lost; a driver takes some 0.1 ms for one, and allows as few
 * as 4096 in all. */
static const size_t REGION = 16 << 20;

static struct vulkan_kv *of(struct kv_memory *m)
{
    return (struct vulkan_kv *)m;
}

/* ---- where -------------------------------------------------------------------------------------------- */

/* How many regions begin at or before this. */
static int32_t count_before(const struct vulkan_kv *kv, const char *at)
{
    int32_t low = 0, high = kv->n_regions;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (kv->regions[middle].begin <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct vulkan_kv_region *find(const struct vulkan_kv *kv, const void *page, uint64_t *offset)
{
    int32_t n = count_before(kv, page);
    assert(n > 0);
    const struct vulkan_kv_region *r = &kv->regions[n - 1];
    *offset = (uint64_t)((const char *)page - r->begin);
    assert(*offset < r->buf.n_bytes);
    return r;
}

VkDeviceAddress vulkan_kv_address(const struct vulkan_kv *kv, const void *page)
{
    uint64_t offset;
    return page ? find(kv, page, &offset)->buf.address + offset : 0;
}

/* ---- regions ------------------------------------------------------------------------------------------ */

static enum err_code grow(struct vulkan_kv *kv, struct err *e)
{
    int32_t cap = kv->cap > 0 ? 2 * kv->cap : 16;
    if (kv->n_regions < kv->cap)
        return ERR_OK;
    struct vulkan_kv_region *more = realloc(kv->regions, (size_t)cap * sizeof *more);
    if (!more)
        return err_set(e, ERR_NOMEM, "no memory for the list of %d regions of pages", cap);
    kv->regions = more;
    kv->cap = cap;
    return ERR_OK;
}

static void release(struct vulkan_kv *kv, struct vulkan_kv_region *r)
{
    if (!r->buf.mapped)
        munmap(r->begin, r->buf.n_bytes);
    vulkan_buf_destroy(kv->d, &r->buf);
}

static enum err_code create(struct kv_memory *m, size_t n_bytes, void **region, struct err *e)
{
    struct vulkan_kv *kv = of(m);
    struct vulkan_kv_region r;
    enum err_code rc = grow(kv, e);
    if (rc == ERR_OK)
        rc = vulkan_buf_create(kv->d, &r.buf, n_bytes, VULKAN_LOCAL, e);
    if (rc != ERR_OK)
        return rc;
    if (r.buf.address % KV_MEMORY_ALIGN != 0) {
        vulkan_buf_destroy(kv->d, &r.buf);
        return err_set(e, ERR_DEVICE, "%s: memory for pages is not at a multiple of %d", kv->d->card->name,
                       KV_MEMORY_ALIGN);
    }
    if (kv->staged)
        r.buf.mapped = NULL;
    r.begin = r.buf.mapped;
    if (!r.buf.mapped)
        r.begin = mmap(NULL, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r.begin == MAP_FAILED) {
        vulkan_buf_destroy(kv->d, &r.buf);
        return err_set(e, ERR_NOMEM, "no addresses for %zu bytes of pages", n_bytes);
    }
    int32_t at = count_before(kv, r.begin);
    memmove(kv->regions + at + 1, kv->regions + at, (size_t)(kv->n_regions - at) * sizeof r);
    kv->regions[at] = r;
    kv->n_regions++;
    *region = r.begin;
    return ERR_OK;
}

static void destroy(struct kv_memory *m, void *region)
{
    struct vulkan_kv *kv = of(m);
    int32_t at = count_before(kv, region) - 1;
    vulkan_idle(kv->d, NULL);
    assert(at >= 0 && kv->regions[at].begin == region);
    release(kv, &kv->regions[at]);
    kv->n_regions--;
    kv->n_gone++;
    memmove(kv->regions + at, kv->regions + at + 1, (size_t)(kv->n_regions - at) * sizeof *kv->regions);
}

/* ---- bytes -------------------------------------------------------------------------------------------- */

/* A row that runs ahead (vulkan_ahead.c) may still be at its pages. */
static enum err_code read_page(struct kv_memory *m, void *to, const void *page, size_t n_bytes, struct err *e)
{
    uint64_t offset;
    const struct vulkan_kv_region *r = find(of(m), page, &offset);
    enum err_code rc = vulkan_idle(of(m)->d, e);
    return rc == ERR_OK ? vulkan_read(of(m)->d, to, &r->buf, offset, n_bytes, e) : rc;
}

static enum err_code write_page(struct kv_memory *m, void *page, const void *from, size_t n_bytes, struct err *e)
{
    uint64_t offset;
    const struct vulkan_kv_region *r = find(of(m), page, &offset);
    enum err_code rc = vulkan_idle(of(m)->d, e);
    of(m)->n_written++;
    return rc == ERR_OK ? vulkan_write(of(m)->d, &r->buf, offset, from, n_bytes, e) : rc;
}

/* By the device, but where the host sees both and reads them as fast as its own memory: then that is less than a
 * submit. */
static enum err_code copy_page(struct kv_memory *m, void *to, const void *from, size_t n_bytes, struct err *e)
{
    uint64_t to_offset, from_offset;
    const struct vulkan_kv_region *r = find(of(m), to, &to_offset), *s = find(of(m), from, &from_offset);
    enum err_code rc = vulkan_idle(of(m)->d, e);
    of(m)->n_written++;
    if (rc != ERR_OK)
        return rc;
    if (r->buf.mapped && s->buf.mapped && !s->buf.slow && !of(m)->d->lost) {
        memcpy(to, from, n_bytes);
        return ERR_OK;
    }
    return vulkan_copy(of(m)->d, &r->buf, to_offset, &s->buf, from_offset, n_bytes, e);
}

static const struct kv_memory_ops ops = {
    .create = create,
    .destroy = destroy,
    .read = read_page,
    .write = write_page,
    .copy = copy_page,
};

/* ---- life --------------------------------------------------------------------------------------------- */

void vulkan_kv_init(struct vulkan_kv *kv, struct vulkan_device *d, bool staged)
{
    *kv = (struct vulkan_kv){ .memory = { &ops, REGION }, .d = d, .staged = staged };
}

void vulkan_kv_finish(struct vulkan_kv *kv)
{
    for (int32_t i = 0; i < kv->n_regions; i++)
        release(kv, &kv->regions[i]);
    free(kv->regions);
    *kv = (struct vulkan_kv){ 0 };
}
