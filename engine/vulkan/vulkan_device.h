/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_DEVICE_H
#define QUIP_ENGINE_VULKAN_VULKAN_DEVICE_H

#include "engine/vulkan/vulkan_list.h"

/* A device that is in use: its queue, its memory, and what waits for it.
 *
 * Thread  one at a time
 * Faults  a lost device stays lost: each call that needs it gives ERR_DEVICE from then on */

/* For tests: what is to go wrong. Each counts down and strikes at 1; the others hold. */
struct vulkan_faults {
    int32_t allocate;    /* out of memory */
    int32_t submit;      /* the device is lost */
    bool unmapped;       /* the device's own memory is out of the host's sight */
    float product;       /* products are wrong by this share of themselves */
    int32_t best;        /* so many of the last logits are overlooked when the best are looked for */
};

/* Where a buffer is to lie. */
enum vulkan_where {
    VULKAN_LOCAL,       /* the device's own memory; mapped where that costs nothing */
    VULKAN_STEP,        /* written by the host for each batch, read by the device */
    VULKAN_BACK         /* written by the device, read by the host */
};

struct vulkan_buf {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceAddress address;
    uint64_t n_bytes;
    void *mapped;    /* coherent; NULL: only the device sees it */
    bool slow;       /* mapped past the host's caches: to be written there, and better not read */
};

enum { VULKAN_STAGE_BYTES = 16 << 20, VULKAN_N_STAGES = 2, VULKAN_MAX_BINDINGS = 8, VULKAN_MAX_SPEC = 12 };

struct vulkan_stage {
    struct vulkan_buf buf;
    VkCommandBuffer cmd;
    uint64_t done;                  /* when it may be used again */
    const struct vulkan_buf *to;    /* NULL: nothing waits in it */
    uint64_t offset, n_bytes;
};

struct vulkan_makers;

struct vulkan_pipeline {
    enum { VULKAN_NEW, VULKAN_WANTED, VULKAN_TAKEN, VULKAN_MADE, VULKAN_FAILED } state;    /* vulkan_pipeline.c */
    VkResult result;
    VkPipeline pipeline;
    VkPipelineLayout layout;
    VkDescriptorSetLayout sets;
    int32_t shader, n_bindings;
    uint32_t spec[VULKAN_MAX_SPEC];
    int32_t n_spec;
};

struct vulkan_device {
    struct vulkan_api api;
    const struct vulkan_card *card;
    VkDevice device;
    VkQueue queue;
    VkCommandPool commands;
    VkSemaphore timeline;
    uint64_t submitted;             /* value that the last submit raises the timeline to */
    uint64_t waited;                /* the highest that was waited for */
    bool lost;
    bool stuck;                     /* lost, but perhaps still at work: what it has is left to it for good */
    struct vulkan_faults faults;
    uint64_t allocated_bytes;
    struct vulkan_stage stages[VULKAN_N_STAGES];
    int32_t stage;                  /* the one filled next */

    VkDescriptorSetLayout set_layouts[VULKAN_MAX_BINDINGS + 1];    /* by number of bindings */
    VkPipelineLayout layouts[VULKAN_MAX_BINDINGS + 1];
    VkPipelineCache cache;
    size_t cached_bytes;            /* of it, in the file (vulkan_cache.h) */
    struct vulkan_makers *makers;
    struct vulkan_pipeline **pipelines;
    int32_t n_pipelines;
};

/* card: of a list that outlives the device.
 * Errors: ERR_DEVICE, ERR_NOMEM */
enum err_code vulkan_device_open(struct vulkan_device **out, struct vulkan_list *list, const struct vulkan_card *card,
                                 struct err *e);
/* Waits for it, but leaves one that is stuck as it is. Takes NULL. */
void vulkan_device_close(struct vulkan_device *d);

/* What a call of Vulkan's failed with, as an error: "CARD: WHAT failed: VK_ERROR_...". ERR_NOMEM or ERR_DEVICE; a device that
 * is lost by that is marked so. */
enum err_code vulkan_fail(struct vulkan_device *d, struct err *e, const char *what, VkResult r);

/* ---- memory ------------------------------------------------------------------------------------------ */

/* Bytes of any content.
 * Errors: ERR_NOMEM naming the sizes, ERR_DEVICE */
enum err_code vulkan_buf_create(struct vulkan_device *d, struct vulkan_buf *out, uint64_t n_bytes,
                                enum vulkan_where where, struct err *e);
void vulkan_buf_destroy(struct vulkan_device *d, struct vulkan_buf *b);    /* takes a zeroed one; nothing uses it */

/* Where to put n_bytes (at most VULKAN_STAGE_BYTES) for buf from offset on; multiples of 4. Good until the next call for
 * this device, which sends them off; vulkan_flush waits until all of them are there.
 * Errors: ERR_DEVICE */
enum err_code vulkan_stage(struct vulkan_device *d, const struct vulkan_buf *to, uint64_t offset, uint64_t n_bytes,
                           void **bytes, struct err *e);
enum err_code vulkan_flush(struct vulkan_device *d, struct err *e);

/* At once, and waiting. Multiples of 4. */
enum err_code vulkan_write(struct vulkan_device *d, const struct vulkan_buf *to, uint64_t offset, const void *bytes,
                           uint64_t n_bytes, struct err *e);
enum err_code vulkan_read(struct vulkan_device *d, void *bytes, const struct vulkan_buf *from, uint64_t offset,
                          uint64_t n_bytes, struct err *e);
enum err_code vulkan_copy(struct vulkan_device *d, const struct vulkan_buf *to, uint64_t to_offset,
                          const struct vulkan_buf *from, uint64_t from_offset, uint64_t n_bytes, struct err *e);

/* ---- work -------------------------------------------------------------------------------------------- */

/* *value: what vulkan_wait waits for.
 * Errors: ERR_DEVICE when the device is lost */
enum err_code vulkan_submit(struct vulkan_device *d, const VkCommandBuffer *cmds, uint32_t n_cmds, uint64_t *value,
                            struct err *e);
enum err_code vulkan_wait(struct vulkan_device *d, uint64_t value, struct err *e);
/* Waits for all that was submitted. */
enum err_code vulkan_idle(struct vulkan_device *d, struct err *e);

#endif
