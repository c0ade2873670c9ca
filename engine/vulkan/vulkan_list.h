/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_LIST_H
#define QUIP_ENGINE_VULKAN_VULKAN_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/vulkan/vulkan_api.h"

/* The Vulkan devices of the machine, each with what it can do, and why it cannot be used where it cannot. */

enum { VULKAN_MAX_CARDS = 16 };

/* An extension that must be named where a device has it; its header is that of Vulkan's beta extensions. */
#define VULKAN_PORTABILITY "VK_KHR_portability_subset"

/* In the order in which they are preferred. */
enum vulkan_kind { VULKAN_DISCRETE, VULKAN_INTEGRATED, VULKAN_VIRTUAL, VULKAN_OTHER, VULKAN_SOFTWARE };

/* What a device may lack; everything else that shaders use is required. */
enum vulkan_feature {
    VULKAN_FLOAT16 = 1 << 0,           /* arithmetic on 16-bit floats */
    VULKAN_SUBGROUP_ADD = 1 << 1,      /* sums and maxima over a subgroup */
    VULKAN_SUBGROUP_SIZE = 1 << 2,     /* the size of a subgroup can be asked for */
    VULKAN_INT_DOT = 1 << 3,           /* dot products of four int8, whether fast or not */
    VULKAN_FAST_INT_DOT = 1 << 4,
    VULKAN_BUDGET = 1 << 5,            /* says how much of a heap is free */
    VULKAN_PRIORITY = 1 << 6,          /* memory can be marked as the last to move out */
    VULKAN_FAULT = 1 << 7,             /* tells what a lost device did */
    VULKAN_COOP = 1 << 8,              /* cooperative matrices of f16 that a tile can be made of: vulkan_coop */
    VULKAN_N_FEATURES = 9
};
const char *vulkan_feature_name(enum vulkan_feature feature);    /* "float16" */
const char *vulkan_kind_name(enum vulkan_kind kind);             /* "discrete" */

/* How products with many rows of activations are made (vulkan_product.h). */
enum vulkan_tiles {
    VULKAN_TILES_BY_DEVICE,    /* of options: what pays. None in software, where unpacking weights into shared memory
                                * takes longer than reading them once more; else int8 if that is fast, f32 if not */
    VULKAN_TILES_NONE,         /* eight rows at a time */
    VULKAN_TILES_F32,
    VULKAN_TILES_INT8,         /* of quantised weights; F32 for the others */
    VULKAN_TILES_COOP          /* of quantised weights and f16; F32 for the others. By name alone, as no graphics card
                                * has run them yet; BY_DEVICE where the card or the build lacks them */
};

/* A cooperative matrix product: m x k times k x n, m and n up to MOST and k up to 32, powers of two. */
struct vulkan_coop {
    uint32_t m, n, k;
};
enum { VULKAN_COOP_MOST = 16, VULKAN_COOP_SUBGROUPS = 4 };    /* of a workgroup of matmul_coop.comp, which makes 32 x 32 */

struct vulkan_card {
    VkPhysicalDevice physical;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[VK_MAX_DRIVER_NAME_SIZE + VK_MAX_DRIVER_INFO_SIZE + 2];    /* "llvmpipe Mesa 22.3.6" */
    VkDriverId driver_id;
    uint32_t vendor, api_version, queue_family;
    enum vulkan_kind kind;
    uint8_t uuid[VK_UUID_SIZE], cache_uuid[VK_UUID_SIZE];
    uint32_t features;                 /* enum vulkan_feature, quirks taken off */
    enum vulkan_tiles tiles;           /* not BY_DEVICE */
    struct vulkan_coop coop;           /* with VULKAN_COOP */
    bool ahead;                        /* backends run ahead (vulkan_ahead.c) */
    uint32_t subgroup, min_subgroup, max_subgroup;
    uint32_t shared_bytes;             /* of a workgroup */
    uint64_t binding_bytes;            /* of one storage buffer binding */
    uint64_t allocation_bytes;
    uint32_t binding_align;
    double tick_ns;                    /* of timestamps; 0: has none */
    VkPhysicalDeviceMemoryProperties memory;
    uint64_t local_bytes;              /* of its largest heap */
    bool unified;                      /* its memory is the machine's */
    bool portable;                     /* a layer over something else than Vulkan, which asks for VULKAN_PORTABILITY */
    bool usable;
    char why[160];                     /* why not */
};

/* Loader, instance, list. */
struct vulkan_list {
    struct vulkan_api api;
    VkInstance instance;
    uint32_t version;                  /* of the loader */
    struct vulkan_card cards[VULKAN_MAX_CARDS];    /* the best first */
    int32_t n_cards;
    VkDebugUtilsMessengerEXT messenger;
    bool validates;
    int32_t n_messages;                /* of the validation layer, warnings and errors */
    char message[512];                 /* the first */
};

struct vulkan_list_options {
    const char *library;               /* of the loader; NULL: the system's */
    bool validate;                     /* with the validation layer, synchronisation too */
    enum vulkan_tiles tiles;           /* for tests: others than the device would choose */
    int32_t ahead;                     /* 1: backends run ahead, -1: none does, 0: those that are no software */
};

/* Errors: ERR_DEVICE with the reason when there is no loader, no instance, or no validation layer though one is
 * wanted. A list without devices is no error. */
enum err_code vulkan_list_open(struct vulkan_list **out, const struct vulkan_list_options *o, struct err *e);
void vulkan_list_close(struct vulkan_list *list);    /* after its devices; takes NULL */

/* What is free of each of its heaps now; the heap's size where nobody knows. */
void vulkan_card_free_bytes(const struct vulkan_api *api, const struct vulkan_card *card,
                            uint64_t free_bytes[VK_MAX_MEMORY_HEAPS]);
/* The largest heap of its own memory. */
uint32_t vulkan_card_heap(const struct vulkan_card *card);

/* The card that a person names: "vulkan" (the best that is no software), "vulkan:N", "llvmpipe" and other parts of
 * a name, without regard to case.
 * Errors: ERR_DEVICE with what there is instead */
enum err_code vulkan_list_find(const struct vulkan_list *list, const char *name, const struct vulkan_card **out,
                               struct err *e);

#endif
