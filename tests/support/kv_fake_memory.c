/* SPDX-License-Identifier: MIT */
#include "tests/support/kv_fake_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "kv_fake_memory: %s\n", what);
    abort();
}

static struct kv_fake_memory *of(struct kv_memory *memory)
{
    struct kv_fake_memory *m = (struct kv_fake_memory *)memory;
    need(pthread_equal(m->thread, pthread_self()), "called from another thread");
    return m;
}

static struct kv_fake_region *region_of(const struct kv_fake_memory *m, const void *page)
{
    const char *at = page;
    struct kv_fake_region *r = m->regions;
    while (r && (at < r->begin || at >= r->begin + r->n_bytes))
        r = r->next;
    need(r, "a page in no region");
    return r;
}

void *kv_fake_bytes(const struct kv_layer *layer, const void *page)
{
    const struct kv_fake_memory *m = (const struct kv_fake_memory *)layer->memory;
    if (!m || !page)
        return (void *)page;
    struct kv_fake_region *r = region_of(m, page);
    return r->bytes + ((const char *)page - r->begin);
}

void kv_fake_layers(struct kv_layer *out, const struct kv_layer *layers, int32_t n_layers, struct kv_fake_memory *m,
                    enum kv_fake_place place)
{
    for (int32_t i = 0; i < n_layers; i++) {
        out[i] = layers[i];
        out[i].memory = place == KV_FAKE_DEVICE || (place == KV_FAKE_SPLIT && i >= n_layers / 2) ? &m->memory : NULL;
    }
}

/* Where the device has a range that is whole. */
static char *range(const struct kv_fake_memory *m, const void *page, size_t n_bytes)
{
    struct kv_fake_region *r = region_of(m, page);
    size_t at = (size_t)((const char *)page - r->begin);
    need(n_bytes <= r->n_bytes - at, "bytes beyond a region");
    need(at % 64 == 0 && n_bytes % 64 == 0, "not multiples of 64");
    return r->bytes + at;
}

static bool fails(struct kv_fake_memory *m)
{
    if (m->lost || (m->fail_in > 0 && --m->fail_in == 0))
        m->failed = true;
    else
        return false;
    return true;
}

static enum err_code complain(struct err *e)
{
    return err_set(e, ERR_DEVICE, "the fake device is lost");
}

static enum err_code create(struct kv_memory *memory, size_t n_bytes, void **region, struct err *e)
{
    struct kv_fake_memory *m = of(memory);
    if (fails(m))
        return complain(e);
    struct kv_fake_region *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory on the fake device");
    size_t n_aligned = (n_bytes + KV_MEMORY_ALIGN - 1) / KV_MEMORY_ALIGN * KV_MEMORY_ALIGN;
    r->bytes = r->begin = aligned_alloc(KV_MEMORY_ALIGN, n_aligned);
    if (r->bytes && !m->seen)
        r->begin = mmap(NULL, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!r->bytes || r->begin == MAP_FAILED) {
        free(r->bytes);
        free(r);
        return err_set(e, ERR_NOMEM, "no memory on the fake device");
    }
    memset(r->bytes, 0xA5, n_bytes);
    r->n_bytes = n_bytes;
    r->next = m->regions;
    m->regions = r;
    m->n_regions++;
    m->n_created++;
    *region = r->begin;
    return ERR_OK;
}

static void destroy(struct kv_memory *memory, void *region)
{
    struct kv_fake_memory *m = of(memory);
    struct kv_fake_region **at = &m->regions;
    while (*at && (*at)->begin != region)
        at = &(*at)->next;
    need(*at, "destroyed what is no region");
    struct kv_fake_region *r = *at;
    *at = r->next;
    m->n_regions--;
    if (r->begin != r->bytes)
        munmap(r->begin, r->n_bytes);
    free(r->bytes);
    free(r);
}

/* Half of the bytes when the call fails. */
static enum err_code move(struct kv_fake_memory *m, char *to, const char *from, size_t n_bytes, struct err *e)
{
    need(to + n_bytes <= from || from + n_bytes <= to, "ranges overlap");
    bool bad = fails(m);
    memcpy(to, from, bad ? n_bytes / 2 : n_bytes);
    return bad ? complain(e) : ERR_OK;
}

static enum err_code read_page(struct kv_memory *memory, void *to, const void *page, size_t n_bytes, struct err *e)
{
    struct kv_fake_memory *m = of(memory);
    m->n_reads++;
    return move(m, to, range(m, page, n_bytes), n_bytes, e);
}

static enum err_code write_page(struct kv_memory *memory, void *page, const void *from, size_t n_bytes, struct err *e)
{
    struct kv_fake_memory *m = of(memory);
    m->n_writes++;
    return move(m, range(m, page, n_bytes), from, n_bytes, e);
}

static enum err_code copy_page(struct kv_memory *memory, void *to, const void *from, size_t n_bytes, struct err *e)
{
    struct kv_fake_memory *m = of(memory);
    m->n_copies++;
    return move(m, range(m, to, n_bytes), range(m, from, n_bytes), n_bytes, e);
}

static const struct kv_memory_ops ops = {
    .create = create,
    .destroy = destroy,
    .read = read_page,
    .write = write_page,
    .copy = copy_page,
};

void kv_fake_memory_init(struct kv_fake_memory *m, size_t region_bytes)
{
    *m = (struct kv_fake_memory){ .memory = { &ops, region_bytes }, .thread = pthread_self() };
}

void kv_fake_memory_finish(struct kv_fake_memory *m)
{
    need(!m->regions, "a region was not destroyed");
}
