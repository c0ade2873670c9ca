/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BACKEND_KV_MEMORY_H
#define QUIP_ENGINE_BACKEND_KV_MEMORY_H

#include <stddef.h>

#include "engine/base/err.h"

/* Where pages of keys and values lie (kv_page.h), when that is a device's memory. Whoever makes pages takes regions,
 * divides them, and touches bytes through these functions alone: a pointer into a region says which byte is meant, to
 * them and to the backend that offers the memory, but there need not be anything at that address.
 *
 * NULL, wherever one is asked for, is the host's memory: pages may be read and written like anything else.
 * Pages of a cache's layers may lie in KV_MEMORIES of them, the first layers in one, the others in another.
 *
 * Thread  the engine's. At these calls the device does nothing with pages: a batch is through when run() returns, and what
 *         runs ahead of it (backend.h) is waited for
 * Faults  ERR_DEVICE: what was to be written or copied to may have any content. A device that is lost stays lost, and
 *         what its pages held with it; regions are destroyed all the same */
struct kv_memory;

struct kv_memory_ops {
    /* A region of its own range of addresses, beginning at a multiple of KV_MEMORY_ALIGN as the device counts, whole
     * and resident from now on; bytes of any content.
     * Errors: ERR_NOMEM, ERR_DEVICE */
    enum err_code (*create)(struct kv_memory *m, size_t n_bytes, void **region, struct err *e);
    void (*destroy)(struct kv_memory *m, void *region);
    /* Within one region each; counts and distances from its beginning are multiples of 64, ranges lie apart.
     * Errors: ERR_DEVICE, ERR_NOMEM */
    enum err_code (*read)(struct kv_memory *m, void *to, const void *page, size_t n_bytes, struct err *e);
    enum err_code (*write)(struct kv_memory *m, void *page, const void *from, size_t n_bytes, struct err *e);
    enum err_code (*copy)(struct kv_memory *m, void *to, const void *from, size_t n_bytes, struct err *e);
};

enum { KV_MEMORY_ALIGN = 256, KV_MEMORIES = 2 };

struct kv_memory {
    const struct kv_memory_ops *ops;
    size_t region_bytes;    /* of those that are divided, about: what is not used of one is taken all the same */
};

/* The same for any memory, NULL too; kv_memory_destroy takes NULL for a region. */
enum err_code kv_memory_create(struct kv_memory *m, size_t n_bytes, void **region, struct err *e);
void kv_memory_destroy(struct kv_memory *m, void *region);
enum err_code kv_memory_read(struct kv_memory *m, void *to, const void *page, size_t n_bytes, struct err *e);
enum err_code kv_memory_write(struct kv_memory *m, void *page, const void *from, size_t n_bytes, struct err *e);
enum err_code kv_memory_copy(struct kv_memory *m, void *to, const void *from, size_t n_bytes, struct err *e);

#endif
