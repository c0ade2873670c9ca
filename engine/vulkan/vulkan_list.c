/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/buf.h"
#include "engine/vulkan/vulkan_pipeline.h"

/* What is known of drivers and cannot be asked of them. The first line that fits counts; 0 fits all. */
static const struct quirk {
    VkDriverId driver;
    uint32_t vendor;
    uint32_t lacks;         /* features that are there and do not work or do not pay */
    uint32_t subgroup;      /* to ask for; 0: as the driver likes */
    const char *why;
} quirks[] = {
    { VK_DRIVER_ID_MOLTENVK, 0x1002, VULKAN_SUBGROUP_ADD, 0, "subgroup arithmetic gives wrong sums on AMD Macs" },
    { VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA, 0, 0, 16, "narrower groups keep more of them in flight" },
    { VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, 0, VULKAN_FAST_INT_DOT, 16, "its integer dot products are slow" },
};

/* The same card through two drivers: the one further up is taken. */
static const VkDriverId better_driver[] = {
    VK_DRIVER_ID_MESA_RADV, VK_DRIVER_ID_AMD_OPEN_SOURCE, VK_DRIVER_ID_AMD_PROPRIETARY,
    VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA, VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, VK_DRIVER_ID_NVIDIA_PROPRIETARY,
};

static const char *const feature_names[VULKAN_N_FEATURES] = {
    "float16", "subgroup sums", "subgroup size", "int8 dot", "fast int8 dot", "memory budget", "memory priority",
    "fault reports", "cooperative matrices",
};

const char *vulkan_feature_name(enum vulkan_feature feature)
{
    int bit = 0;
    while (bit + 1 < VULKAN_N_FEATURES && !(feature >> bit & 1))
        bit++;
    return feature_names[bit];
}

const char *vulkan_kind_name(enum vulkan_kind kind)
{
    static const char *const names[] = { "discrete", "integrated", "virtual", "other", "software" };
    return names[kind];
}

/* ---- one device ------------------------------------------------------------------------------------- */

static enum vulkan_kind kind_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return VULKAN_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return VULKAN_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return VULKAN_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return VULKAN_SOFTWARE;
    default: return VULKAN_OTHER;
    }
}

struct extensions {
    VkExtensionProperties *list;
    uint32_t n;
};

static struct extensions extensions_of(const struct vulkan_api *api, VkPhysicalDevice physical)
{
    struct extensions x = { 0 };
    uint32_t n = 0;
    if (api->vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL) != VK_SUCCESS || n == 0)
        return x;
    x.list = calloc(n, sizeof *x.list);
    if (x.list && api->vkEnumerateDeviceExtensionProperties(physical, NULL, &n, x.list) >= 0)
        x.n = n;
    return x;
}

static bool has_extension(const struct extensions *x, const char *name)
{
    for (uint32_t i = 0; i < x->n; i++)
        if (strcmp(x->list[i].extensionName, name) == 0)
            return true;
    return false;
}

static void refuse(struct vulkan_card *c, const char *why)
{
    if (c->why[0] == '\0')
        snprintf(c->why, sizeof c->why, "%s", why);
}

void vulkan_card_free_bytes(const struct vulkan_api *api, const struct vulkan_card *c,
                            uint64_t free_bytes[VK_MAX_MEMORY_HEAPS])
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT };
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = c->features & VULKAN_BUDGET ? &budget : NULL };
    api->vkGetPhysicalDeviceMemoryProperties2(c->physical, &memory);
    const VkPhysicalDeviceMemoryProperties *heaps = &memory.memoryProperties;
    for (uint32_t i = 0; i < heaps->memoryHeapCount; i++) {
        uint64_t all = budget.heapBudget[i], used = budget.heapUsage[i];
        free_bytes[i] = !(c->features & VULKAN_BUDGET) ? heaps->memoryHeaps[i].size : all > used ? all - used : 0;
    }
}

uint32_t vulkan_card_heap(const struct vulkan_card *card)
{
    uint32_t heap = 0;
    VkDeviceSize n_bytes = 0;
    for (uint32_t i = 0; i < card->memory.memoryHeapCount; i++)
        if ((card->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            card->memory.memoryHeaps[i].size > n_bytes) {
            n_bytes = card->memory.memoryHeaps[i].size;
            heap = i;
        }
    return heap;
}

static void read_memory(const struct vulkan_api *api, struct vulkan_card *c)
{
    VkPhysicalDeviceMemoryProperties2 memory = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2 };
    api->vkGetPhysicalDeviceMemoryProperties2(c->physical, &memory);
    c->memory = memory.memoryProperties;
    uint32_t heap = vulkan_card_heap(c);
    if (c->memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
        c->local_bytes = c->memory.memoryHeaps[heap].size;
    c->unified = c->kind == VULKAN_INTEGRATED || c->kind == VULKAN_SOFTWARE;
}

static void read_queue(const struct vulkan_api *api, struct vulkan_card *c)
{
    VkQueueFamilyProperties families[16];
    uint32_t n = sizeof families / sizeof *families, best = UINT32_MAX;
    api->vkGetPhysicalDeviceQueueFamilyProperties(c->physical, &n, families);
    for (uint32_t i = 0; i < n; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT))
            continue;
        /* One without graphics is not held up by the desktop's frames. */
        if (best == UINT32_MAX || (!(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) &&
                                   (families[best].queueFlags & VK_QUEUE_GRAPHICS_BIT)))
            best = i;
    }
    if (best == UINT32_MAX) {
        refuse(c, "has no queue that computes");
        return;
    }
    c->queue_family = best;
    if (families[best].timestampValidBits == 0)
        c->tick_ns = 0;
}

static void read_features(const struct vulkan_api *api, struct vulkan_card *c, const struct extensions *x)
{
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES };
    VkPhysicalDeviceSubgroupSizeControlFeatures size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES };
    VkPhysicalDeviceVulkan12Features v12 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES };
    VkPhysicalDeviceVulkan11Features v11 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                             .pNext = &v12 };
    VkPhysicalDeviceFeatures2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &v11 };
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coop = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR };
    bool has_coop = has_extension(x, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
    bool has_dot = has_extension(x, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    bool has_size = has_extension(x, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    if (has_dot) {
        dot.pNext = all.pNext;
        all.pNext = &dot;
    }
    if (has_size) {
        size.pNext = all.pNext;
        all.pNext = &size;
    }
    if (has_coop) {
        coop.pNext = all.pNext;
        all.pNext = &coop;
    }
    api->vkGetPhysicalDeviceFeatures2(c->physical, &all);
    const struct {
        VkBool32 there;
        const char *name;
    } required[] = {
        { v11.storageBuffer16BitAccess, "lacks storageBuffer16BitAccess" },
        { v12.storageBuffer8BitAccess, "lacks storageBuffer8BitAccess" },
        { v12.timelineSemaphore, "lacks timelineSemaphore" },
        { v12.bufferDeviceAddress, "lacks bufferDeviceAddress" },
    };
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        if (!required[i].there)
            refuse(c, required[i].name);
    if (v12.shaderFloat16)
        c->features |= VULKAN_FLOAT16;
    if (has_dot && dot.shaderIntegerDotProduct)
        c->features |= VULKAN_INT_DOT;
    if (has_size && size.subgroupSizeControl && size.computeFullSubgroups)
        c->features |= VULKAN_SUBGROUP_SIZE;
    if (has_extension(x, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME))
        c->features |= VULKAN_BUDGET;
    if (has_extension(x, VK_EXT_MEMORY_PRIORITY_EXTENSION_NAME))
        c->features |= VULKAN_PRIORITY;
    if (has_extension(x, VK_EXT_DEVICE_FAULT_EXTENSION_NAME))
        c->features |= VULKAN_FAULT;
    if (coop.cooperativeMatrix && v12.shaderFloat16 && v12.vulkanMemoryModel)
        c->features |= VULKAN_COOP;
    c->portable = has_extension(x, VULKAN_PORTABILITY);
}

/* The most of any shader: lanes of matvec.comp and attn.comp, shared memory of matmul.comp with pairs (27 KiB),
 * bindings of attn_in.comp and matvec.comp. Vulkan promises 128, 16 KiB and 4. */
enum { MAX_LANES = 256, SHARED_BYTES = 32768, MAX_BINDINGS = 8 };

static void read_properties(const struct vulkan_api *api, struct vulkan_card *c, const struct extensions *x)
{
    VkPhysicalDeviceShaderIntegerDotProductProperties dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES };
    VkPhysicalDeviceSubgroupSizeControlProperties size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES };
    VkPhysicalDeviceMaintenance3Properties alloc = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES };
    VkPhysicalDeviceIDProperties id = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, .pNext = &alloc };
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &id };
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, .pNext = &subgroup };
    VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver };
    if (c->features & VULKAN_INT_DOT) {
        dot.pNext = all.pNext;
        all.pNext = &dot;
    }
    if (has_extension(x, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
        size.pNext = all.pNext;
        all.pNext = &size;
    }
    api->vkGetPhysicalDeviceProperties2(c->physical, &all);
    const VkPhysicalDeviceLimits *l = &all.properties.limits;
    snprintf(c->driver, sizeof c->driver, "%s%s%s", driver.driverName, driver.driverInfo[0] ? " " : "",
             driver.driverInfo);
    c->driver_id = driver.driverID;
    c->subgroup = c->min_subgroup = c->max_subgroup = subgroup.subgroupSize;
    if (size.maxSubgroupSize > 0) {
        c->min_subgroup = size.minSubgroupSize;
        c->max_subgroup = size.maxSubgroupSize;
    }
    if (!(size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
        (uint64_t)size.maxComputeWorkgroupSubgroups * c->subgroup < MAX_LANES)
        c->features &= ~(uint32_t)VULKAN_SUBGROUP_SIZE;
    bool compute = subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    if (!compute || !(subgroup.supportedOperations & VK_SUBGROUP_FEATURE_BASIC_BIT))
        refuse(c, "lacks subgroups in compute shaders");
    /* Where nobody can ask for a size, it may differ from pipeline to pipeline, and with it the order of a sum. */
    bool fixed = (c->features & VULKAN_SUBGROUP_SIZE) ||
                 (size.maxSubgroupSize > 0 && size.minSubgroupSize == size.maxSubgroupSize);
    if (compute && fixed && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT))
        c->features |= VULKAN_SUBGROUP_ADD;
    if (!fixed || VULKAN_COOP_SUBGROUPS * c->subgroup > MAX_LANES)
        c->features &= ~(uint32_t)VULKAN_COOP;
    if (dot.integerDotProduct4x8BitPackedSignedAccelerated)
        c->features |= VULKAN_FAST_INT_DOT;
    memcpy(c->uuid, id.deviceUUID, sizeof c->uuid);
    memcpy(c->cache_uuid, all.properties.pipelineCacheUUID, sizeof c->cache_uuid);
    c->shared_bytes = l->maxComputeSharedMemorySize;
    c->binding_bytes = l->maxStorageBufferRange;
    c->allocation_bytes = alloc.maxMemoryAllocationSize;
    c->binding_align = (uint32_t)l->minStorageBufferOffsetAlignment;
    c->tick_ns = (double)l->timestampPeriod;
    if (l->maxPushConstantsSize < 128 || l->maxComputeWorkGroupInvocations < MAX_LANES ||
        l->maxComputeWorkGroupSize[0] < MAX_LANES || c->shared_bytes < SHARED_BYTES)
        refuse(c, "workgroups or push constants are too small");
    if (l->maxPerStageDescriptorStorageBuffers < MAX_BINDINGS)
        refuse(c, "shaders see too few buffers");
}

static bool coop_fits(const VkCooperativeMatrixPropertiesKHR *p)
{
    return p->scope == VK_SCOPE_SUBGROUP_KHR && p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && !p->saturatingAccumulation &&
           VULKAN_COOP_MOST % p->MSize == 0 && VULKAN_COOP_MOST % p->NSize == 0 && 32 % p->KSize == 0;
}

/* The largest of the sizes that fit. */
static void read_coop(const struct vulkan_api *api, struct vulkan_card *c)
{
    VkCooperativeMatrixPropertiesKHR sizes[64];
    uint32_t n = sizeof sizes / sizeof *sizes, most = 0;
    for (uint32_t i = 0; i < n; i++)
        sizes[i] = (VkCooperativeMatrixPropertiesKHR){
            .sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR };
    if (!(c->features & VULKAN_COOP) || !api->vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR ||
        api->vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(c->physical, &n, sizes) < 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = sizes[i].MSize * sizes[i].NSize * sizes[i].KSize;
        if (coop_fits(&sizes[i]) && size > most) {
            c->coop = (struct vulkan_coop){ sizes[i].MSize, sizes[i].NSize, sizes[i].KSize };
            most = size;
        }
    }
    if (most == 0)
        c->features &= ~(uint32_t)VULKAN_COOP;
}

static void apply_quirks(struct vulkan_card *c)
{
    for (size_t i = 0; i < sizeof quirks / sizeof *quirks; i++) {
        const struct quirk *q = &quirks[i];
        if ((q->driver && q->driver != c->driver_id) || (q->vendor && q->vendor != c->vendor))
            continue;
        c->features &= ~q->lacks;
        if (q->subgroup && (c->features & VULKAN_SUBGROUP_SIZE) && q->subgroup >= c->min_subgroup &&
            q->subgroup <= c->max_subgroup)
            c->subgroup = q->subgroup;
        return;
    }
}

static enum vulkan_tiles tiles_for(const struct vulkan_card *c, enum vulkan_tiles wanted)
{
    bool coop = c->features & VULKAN_COOP && vulkan_coop_compiled();
    if (wanted != VULKAN_TILES_BY_DEVICE && (wanted != VULKAN_TILES_COOP || coop))
        return wanted;
    if (c->kind == VULKAN_SOFTWARE)
        return VULKAN_TILES_NONE;
    return c->features & VULKAN_FAST_INT_DOT ? VULKAN_TILES_INT8 : VULKAN_TILES_F32;
}

static void read_card(const struct vulkan_api *api, VkPhysicalDevice physical,
                      const struct vulkan_list_options *o, struct vulkan_card *c)
{
    VkPhysicalDeviceProperties2 plain = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 };
    *c = (struct vulkan_card){ .physical = physical };
    api->vkGetPhysicalDeviceProperties2(physical, &plain);
    snprintf(c->name, sizeof c->name, "%s", plain.properties.deviceName);
    c->api_version = plain.properties.apiVersion;
    c->vendor = plain.properties.vendorID;
    c->kind = kind_of(plain.properties.deviceType);
    if (c->api_version < VK_API_VERSION_1_2) {
        snprintf(c->why, sizeof c->why, "has Vulkan %u.%u, 1.2 is wanted", VK_API_VERSION_MAJOR(c->api_version),
                 VK_API_VERSION_MINOR(c->api_version));
    } else {
        struct extensions x = extensions_of(api, physical);
        read_features(api, c, &x);
        read_properties(api, c, &x);
        read_coop(api, c);
        apply_quirks(c);
        free(x.list);
    }
    c->tiles = tiles_for(c, o->tiles);
    c->ahead = o->ahead > 0 || (o->ahead == 0 && c->kind != VULKAN_SOFTWARE);
    read_memory(api, c);
    read_queue(api, c);
    c->usable = c->why[0] == '\0';
}

/* ---- the list --------------------------------------------------------------------------------------- */

static int driver_rank(VkDriverId driver)
{
    int n = sizeof better_driver / sizeof *better_driver;
    for (int i = 0; i < n; i++)
        if (better_driver[i] == driver)
            return i;
    return n;
}

static bool better(const struct vulkan_card *a, const struct vulkan_card *b)
{
    if (a->usable != b->usable)
        return a->usable;
    if (a->kind != b->kind)
        return a->kind < b->kind;
    if (driver_rank(a->driver_id) != driver_rank(b->driver_id))
        return driver_rank(a->driver_id) < driver_rank(b->driver_id);
    return a->local_bytes > b->local_bytes;
}

static void sort(struct vulkan_list *list)
{
    for (int32_t i = 1; i < list->n_cards; i++)
        for (int32_t j = i; j > 0 && better(&list->cards[j], &list->cards[j - 1]); j--) {
            struct vulkan_card other = list->cards[j];
            list->cards[j] = list->cards[j - 1];
            list->cards[j - 1] = other;
        }
    for (int32_t i = 0; i < list->n_cards; i++)
        for (int32_t j = 0; j < i; j++)
            if (list->cards[i].usable && list->cards[j].usable &&
                memcmp(list->cards[i].uuid, list->cards[j].uuid, VK_UUID_SIZE) == 0) {
                refuse(&list->cards[i], "is here through a better driver too");
                list->cards[i].usable = false;
            }
}

static VkBool32 VKAPI_PTR note_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                       VkDebugUtilsMessageTypeFlagsEXT types,
                                       const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    struct vulkan_list *list = user;
    (void)severity;
    (void)types;
    if (list->n_messages++ == 0)
        snprintf(list->message, sizeof list->message, "%s", data->pMessage ? data->pMessage : "");
    return VK_FALSE;
}

static const char layer[] = "VK_LAYER_KHRONOS_validation";

static bool has_layer(const struct vulkan_api *api)
{
    VkLayerProperties layers[64];
    uint32_t n = sizeof layers / sizeof *layers;
    if (api->vkEnumerateInstanceLayerProperties(&n, layers) < 0)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(layers[i].layerName, layer) == 0)
            return true;
    return false;
}

/* Without this one a loader keeps devices of layers over other systems (MoltenVK) to itself. */
static bool shows_portable(const struct vulkan_api *api)
{
    struct extensions x = { 0 };
    uint32_t n = 0;
    if (api->vkEnumerateInstanceExtensionProperties(NULL, &n, NULL) != VK_SUCCESS || n == 0)
        return false;
    x.list = calloc(n, sizeof *x.list);
    if (x.list && api->vkEnumerateInstanceExtensionProperties(NULL, &n, x.list) >= 0)
        x.n = n;
    bool shows = has_extension(&x, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    free(x.list);
    return shows;
}

static enum err_code create_instance(struct vulkan_list *list, struct err *e)
{
    struct vulkan_api *api = &list->api;
    uint32_t version = VK_API_VERSION_1_0;
    api->vkEnumerateInstanceVersion(&version);
    list->version = version;
    if (version < VK_API_VERSION_1_2)
        return err_set(e, ERR_DEVICE, "the Vulkan loader has version %u.%u, 1.2 is wanted",
                       VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    if (list->validates && !has_layer(api))
        return err_set(e, ERR_DEVICE, "no Vulkan layer '%s' here", layer);

    const char *extensions[2];
    uint32_t n_extensions = 0;
    static const char *const layers[] = { layer };
    const VkValidationFeatureEnableEXT enabled[] = { VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT };
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = note_message,
        .pUserData = list,
    };
    VkValidationFeaturesEXT features = { .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT, .pNext = &messenger,
                                         .enabledValidationFeatureCount = 1,
                                         .pEnabledValidationFeatures = enabled };
    VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "quip",
                              .pEngineName = "quip", .apiVersion = VK_API_VERSION_1_2 };
    VkInstanceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app };
    if (list->validates) {
        info.pNext = &features;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = layers;
        extensions[n_extensions++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    }
    if (shows_portable(api)) {
        info.flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
        extensions[n_extensions++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
    }
    info.enabledExtensionCount = n_extensions;
    info.ppEnabledExtensionNames = extensions;
    VkResult r = api->vkCreateInstance(&info, NULL, &list->instance);
    if (r == VK_ERROR_INCOMPATIBLE_DRIVER)
        return err_set(e, ERR_DEVICE, "no Vulkan driver here");    /* the loader's way to say so */
    if (r != VK_SUCCESS)
        return err_set(e, ERR_DEVICE, "no Vulkan instance: %s", vulkan_result_name(r));
    enum err_code rc = vulkan_api_instance(api, list->instance, e);
    if (rc == ERR_OK && list->validates && api->vkCreateDebugUtilsMessengerEXT)
        api->vkCreateDebugUtilsMessengerEXT(list->instance, &messenger, NULL, &list->messenger);
    return rc;
}

enum err_code vulkan_list_open(struct vulkan_list **out, const struct vulkan_list_options *o, struct err *e)
{
    struct vulkan_list *list = calloc(1, sizeof *list);
    if (!list)
        return err_set(e, ERR_NOMEM, "no memory for the list of devices");
    list->validates = o->validate;
    enum err_code rc = vulkan_api_open(&list->api, o->library ? o->library : "libvulkan.so.1", e);
    if (rc == ERR_OK)
        rc = create_instance(list, e);
    if (rc != ERR_OK) {
        vulkan_list_close(list);
        return rc;
    }
    VkPhysicalDevice found[VULKAN_MAX_CARDS];
    uint32_t n = VULKAN_MAX_CARDS;
    if (list->api.vkEnumeratePhysicalDevices(list->instance, &n, found) < 0)
        n = 0;    /* some loaders call it an error to have no driver */
    for (uint32_t i = 0; i < n; i++)
        read_card(&list->api, found[i], o, &list->cards[list->n_cards++]);
    sort(list);
    *out = list;
    return ERR_OK;
}

void vulkan_list_close(struct vulkan_list *list)
{
    if (!list)
        return;
    if (list->messenger)
        list->api.vkDestroyDebugUtilsMessengerEXT(list->instance, list->messenger, NULL);
    if (list->instance && list->api.vkDestroyInstance)
        list->api.vkDestroyInstance(list->instance, NULL);
    vulkan_api_close(&list->api);
    free(list);
}

/* ---- finding ---------------------------------------------------------------------------------------- */

static bool contains(const char *text, const char *part)
{
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (!part[i])
            return true;
    }
    return false;
}

static bool fits(const struct vulkan_list *list, int32_t i, const char *name)
{
    const struct vulkan_card *c = &list->cards[i];
    if (strcasecmp(name, "vulkan") == 0)
        return c->kind != VULKAN_SOFTWARE;
    if (strncasecmp(name, "vulkan:", 7) == 0) {
        char *end;
        long n = strtol(name + 7, &end, 10);
        return end != name + 7 && *end == '\0' && n == i;
    }
    return contains(c->name, name) || contains(c->driver, name);
}

enum err_code vulkan_list_find(const struct vulkan_list *list, const char *name, const struct vulkan_card **out,
                               struct err *e)
{
    const struct vulkan_card *refused = NULL;
    struct buf there = { 0 };
    for (int32_t i = 0; i < list->n_cards; i++) {
        const struct vulkan_card *c = &list->cards[i];
        buf_printf(&there, "%svulkan:%d (%s)", i > 0 ? ", " : "", i, c->name);
        if (!fits(list, i, name))
            continue;
        if (c->usable) {
            buf_finish(&there);
            *out = c;
            return ERR_OK;
        }
        if (!refused)
            refused = c;
    }
    enum err_code rc;
    if (refused)
        rc = err_set(e, ERR_DEVICE, "%s cannot be used: %s", refused->name, refused->why);
    else if (list->n_cards == 0)
        rc = err_set(e, ERR_DEVICE, "no Vulkan device here");
    else
        rc = err_set(e, ERR_DEVICE, "no device '%s' here; there is cpu, %s", name,
                     buf_ok(&there) ? buf_text(&there) : "more");
    buf_finish(&there);
    return rc;
}
