/* SPDX-License-Identifier: MIT */
#include "engine/backend/kv_memory.h"

#include <stdlib.h>
#include <string.h>

enum err_code kv_memory_create(struct kv_memory *m, size_t n_bytes, void **region, struct err *e)
{
    if (m)
        return m->ops->create(m, n_bytes, region, e);
    *region = aligned_alloc(KV_MEMORY_ALIGN, (n_bytes + KV_MEMORY_ALIGN - 1) / KV_MEMORY_ALIGN * KV_MEMORY_ALIGN);
    return *region ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for %zu bytes of pages", n_bytes);
}

void kv_memory_destroy(struct kv_memory *m, void *region)
{
    if (!m)
        free(region);
    else if (region)
        m->ops->destroy(m, region);
}

enum err_code kv_memory_read(struct kv_memory *m, void *to, const void *page, size_t n_bytes, struct err *e)
{
    if (m)
        return m->ops->read(m, to, page, n_bytes, e);
    memcpy(to, page, n_bytes);
    return ERR_OK;
}

enum err_code kv_memory_write(struct kv_memory *m, void *page, const void *from, size_t n_bytes, struct err *e)
{
    if (m)
        return m->ops->write(m, page, from, n_bytes, e);
    memcpy(page, from, n_bytes);
    return ERR_OK;
}

enum err_code kv_memory_copy(struct kv_memory *m, void *to, const void *from, size_t n_bytes, struct err *e)
{
    if (m)
        return m->ops->copy(m, to, from, n_bytes, e);
    memcpy(to, from, n_bytes);
    return ERR_OK;
}
