/* SPDX-License-Identifier: MIT */
/* A loader of Vulkan with devices that no machine has, for what is decided by what devices say: their order, their
 * quirks, which one is taken. They can be looked at; to open one fails. */
#include <stdio.h>
#include <string.h>

#include "engine/vulkan/vulkan_list.h"

#define GIB (1ull << 30)

enum { WITHOUT_8BIT = 1, WITHOUT_TIMELINE = 2, WITHOUT_COMPUTE = 4, WITH_BUDGET = 8, WITH_SIZES = 16,
       FEW_BUFFERS = 32, LITTLE_SHARED = 64, SIZES_ELSEWHERE = 128,
       LAYERED = 256, WITH_COOP = 512 };

static const struct fake {
    const char *name, *driver;
    VkPhysicalDeviceType type;
    VkDriverId driver_id;
    uint32_t vendor, version;
    uint8_t uuid;
    uint64_t local_bytes, used_bytes;
    uint32_t marks;
} fakes[] = {
    { "Plain Software", "soft", VK_PHYSICAL_DEVICE_TYPE_CPU, VK_DRIVER_ID_MESA_LLVMPIPE, 0x10005, VK_API_VERSION_1_3, 1,
      2 * GIB, 0, 0 },
    { "Small Inside", "inside", VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA, 0x8086,
      VK_API_VERSION_1_3, 2, 4 * GIB, 0, WITH_SIZES | WITH_COOP },
    { "Big Card", "second best", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_AMD_PROPRIETARY, 0x1002,
      VK_API_VERSION_1_2, 3, 24 * GIB, 0, 0 },
    { "Big Card (open)", "best", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_MESA_RADV, 0x1002,
      VK_API_VERSION_1_3, 3, 24 * GIB, 3 * GIB, WITH_BUDGET | WITH_SIZES | WITH_COOP },
    { "Old Card", "old", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 0x10de,
      VK_API_VERSION_1_1, 4, 8 * GIB, 0, 0 },
    { "Bare Card", "bare", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 0x10de,
      VK_API_VERSION_1_3, 5, 80 * GIB, 0, WITHOUT_8BIT | WITHOUT_TIMELINE },
    { "Painter", "paints", VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU, VK_DRIVER_ID_MESA_VENUS, 0x1af4, VK_API_VERSION_1_3, 6,
      8 * GIB, 0, WITHOUT_COMPUTE },
    { "Mac Card", "layered", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_MOLTENVK, 0x1002, VK_API_VERSION_1_2,
      7, 16 * GIB, 0, WITH_SIZES | LAYERED },
    { "Narrow Card", "narrow", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_QUALCOMM_PROPRIETARY, 0x5143,
      VK_API_VERSION_1_3, 8, 3 * GIB, 0, FEW_BUFFERS },
    { "Shallow Card", "shallow", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_ARM_PROPRIETARY, 0x13b5,
      VK_API_VERSION_1_3, 9, 2 * GIB, 0, LITTLE_SHARED },
    { "Loose Inside", "loose", VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, VK_DRIVER_ID_ARM_PROPRIETARY, 0x13b5,
      VK_API_VERSION_1_3, 10, 2 * GIB, 0, WITH_SIZES | SIZES_ELSEWHERE | WITH_COOP },
};
enum { N_FAKES = sizeof fakes / sizeof *fakes };

/* A handle is the address of its line. */
static const struct fake *fake_of(VkPhysicalDevice device)
{
    return (const struct fake *)(const void *)device;
}

static VkResult fake_version(uint32_t *version)
{
    *version = VK_MAKE_API_VERSION(0, 1, 3, 7);
    return VK_SUCCESS;
}

static VkResult fake_layers(uint32_t *n, VkLayerProperties *layers)
{
    (void)layers;
    *n = 0;
    return VK_SUCCESS;
}

/* The second shows layered devices too. */
static const char instances[2];

static VkResult fake_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *memory, VkInstance *out)
{
    (void)memory;
    *out = (VkInstance)(void *)&instances[info->flags & VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR ? 1 : 0];
    return VK_SUCCESS;
}

static void fake_destroy(VkInstance instance, const VkAllocationCallbacks *memory)
{
    (void)instance, (void)memory;
}

static VkResult fake_devices(VkInstance instance, uint32_t *n, VkPhysicalDevice *devices)
{
    *n = 0;
    for (int i = 0; i < N_FAKES; i++)
        if (!(fakes[i].marks & LAYERED) || instance == (VkInstance)(void *)&instances[1])
            devices[(*n)++] = (VkPhysicalDevice)(void *)&fakes[i];
    return VK_SUCCESS;
}

static VkResult fake_extensions(VkPhysicalDevice device, const char *layer, uint32_t *n, VkExtensionProperties *list)
{
    const struct fake *f = fake_of(device);
    const char *names[4];
    uint32_t n_names = 0;
    (void)layer;
    if (f->marks & WITH_BUDGET)
        names[n_names++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (f->marks & WITH_SIZES)
        names[n_names++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (f->marks & LAYERED)
        names[n_names++] = VULKAN_PORTABILITY;
    if (f->marks & WITH_COOP)
        names[n_names++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    for (uint32_t i = 0; list && i < n_names; i++)
        snprintf(list[i].extensionName, sizeof list[i].extensionName, "%s", names[i]);
    *n = n_names;
    return VK_SUCCESS;
}

/* The struct of this type in a chain, or NULL. */
static void *in_chain(void *first, VkStructureType type)
{
    VkBaseOutStructure *s = first;
    while (s && s->sType != type)
        s = s->pNext;
    return s;
}

static void fake_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *all)
{
    const struct fake *f = fake_of(device);
    VkPhysicalDeviceProperties *p = &all->properties;
    *p = (VkPhysicalDeviceProperties){ .apiVersion = f->version, .vendorID = f->vendor, .deviceType = f->type };
    snprintf(p->deviceName, sizeof p->deviceName, "%s", f->name);
    p->limits.maxComputeSharedMemorySize = f->marks & LITTLE_SHARED ? 16384 : 32768;
    p->limits.maxPerStageDescriptorStorageBuffers = f->marks & FEW_BUFFERS ? 4 : 16;
    p->limits.maxComputeWorkGroupSize[0] = 1024;
    p->limits.maxStorageBufferRange = 1u << 30;
    p->limits.minStorageBufferOffsetAlignment = 16;
    p->limits.maxPushConstantsSize = 128;
    p->limits.maxComputeWorkGroupInvocations = 1024;
    VkPhysicalDeviceDriverProperties *driver = in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES);
    VkPhysicalDeviceIDProperties *id = in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES);
    VkPhysicalDeviceSubgroupProperties *s = in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES);
    VkPhysicalDeviceSubgroupSizeControlProperties *sizes =
        in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    if (driver) {
        driver->driverID = f->driver_id;
        snprintf(driver->driverName, sizeof driver->driverName, "%s", f->driver);
        driver->driverInfo[0] = '\0';
    }
    if (id)
        memset(id->deviceUUID, f->uuid, sizeof id->deviceUUID);
    if (s) {
        s->subgroupSize = 32;
        s->supportedStages = VK_SHADER_STAGE_COMPUTE_BIT;
        s->supportedOperations = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    }
    if (sizes) {
        sizes->minSubgroupSize = 8;
        sizes->maxSubgroupSize = 32;
        sizes->maxComputeWorkgroupSubgroups = 32;
        sizes->requiredSubgroupSizeStages =
            f->marks & SIZES_ELSEWHERE ? VK_SHADER_STAGE_FRAGMENT_BIT : VK_SHADER_STAGE_COMPUTE_BIT;
    }
}

static void fake_features(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *all)
{
    const struct fake *f = fake_of(device);
    VkPhysicalDeviceVulkan11Features *v11 = in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
    VkPhysicalDeviceVulkan12Features *v12 = in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    VkPhysicalDeviceSubgroupSizeControlFeatures *size =
        in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR *coop =
        in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    v11->storageBuffer16BitAccess = VK_TRUE;
    v12->storageBuffer8BitAccess = !(f->marks & WITHOUT_8BIT);
    v12->timelineSemaphore = !(f->marks & WITHOUT_TIMELINE);
    v12->bufferDeviceAddress = VK_TRUE;
    v12->shaderFloat16 = VK_TRUE;
    v12->vulkanMemoryModel = VK_TRUE;
    if (size)
        size->subgroupSizeControl = size->computeFullSubgroups = VK_TRUE;
    if (coop)
        coop->cooperativeMatrix = VK_TRUE;
}

/* Integrated ones have sizes that fit no tile; the large card has one among many. */
static VkResult fake_coop(VkPhysicalDevice device, uint32_t *n, VkCooperativeMatrixPropertiesKHR *sizes)
{
    enum { F16 = VK_COMPONENT_TYPE_FLOAT16_KHR, F32 = VK_COMPONENT_TYPE_FLOAT32_KHR, S8 = 3, S32 = 5, DEVICE = 1,
           SUBGROUP = VK_SCOPE_SUBGROUP_KHR };
    static const uint32_t all[][6] = {
        { 32, 8, 16, F16, F32, SUBGROUP }, { 16, 16, 32, S8, S32, SUBGROUP }, { 16, 16, 64, F16, F32, SUBGROUP },
        { 16, 16, 32, F16, F16, SUBGROUP }, { 16, 16, 32, F16, F32, DEVICE },
        { 16, 8, 8, F16, F32, SUBGROUP }, { 16, 8, 16, F16, F32, SUBGROUP }, { 8, 8, 16, F16, F32, SUBGROUP },
    };
    uint32_t n_all = fake_of(device)->type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ? 5 : 8;
    for (uint32_t i = 0; i < n_all && i < *n; i++) {
        sizes[i].MSize = all[i][0];
        sizes[i].NSize = all[i][1];
        sizes[i].KSize = all[i][2];
        sizes[i].AType = sizes[i].BType = (VkComponentTypeKHR)all[i][3];
        sizes[i].CType = sizes[i].ResultType = (VkComponentTypeKHR)all[i][4];
        sizes[i].scope = (VkScopeKHR)all[i][5];
    }
    *n = n_all;
    return VK_SUCCESS;
}

/* A small window into the card's memory, its memory, and the machine's. */
static void fake_memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2 *all)
{
    const struct fake *f = fake_of(device);
    VkPhysicalDeviceMemoryProperties *m = &all->memoryProperties;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget =
        in_chain(all, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT);
    *m = (VkPhysicalDeviceMemoryProperties){ .memoryHeapCount = 3 };
    m->memoryHeaps[0] = (VkMemoryHeap){ GIB / 4, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT };
    m->memoryHeaps[1] = (VkMemoryHeap){ f->local_bytes, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT };
    m->memoryHeaps[2] = (VkMemoryHeap){ 128 * GIB, 0 };
    for (uint32_t i = 0; budget && i < m->memoryHeapCount; i++) {
        budget->heapBudget[i] = m->memoryHeaps[i].size;
        budget->heapUsage[i] = i == 1 ? f->used_bytes : 0;
    }
}

static void fake_queues(VkPhysicalDevice device, uint32_t *n, VkQueueFamilyProperties *families)
{
    VkQueueFlags computes = fake_of(device)->marks & WITHOUT_COMPUTE ? 0 : VK_QUEUE_COMPUTE_BIT;
    *n = 2;
    families[0] = (VkQueueFamilyProperties){ .queueFlags = VK_QUEUE_GRAPHICS_BIT | computes, .queueCount = 1 };
    families[1] = (VkQueueFamilyProperties){ .queueFlags = VK_QUEUE_TRANSFER_BIT | computes, .queueCount = 1 };
}

static VkResult fake_open(VkPhysicalDevice device, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *memory,
                          VkDevice *out)
{
    (void)device, (void)info, (void)memory, (void)out;
    return VK_ERROR_INITIALIZATION_FAILED;
}

static PFN_vkVoidFunction fake_function(VkDevice device, const char *name)
{
    (void)device, (void)name;
    return NULL;
}

static VkResult fake_instance_extensions(const char *layer, uint32_t *n, VkExtensionProperties *list)
{
    (void)layer;
    if (list)
        snprintf(list->extensionName, sizeof list->extensionName, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    *n = 1;
    return VK_SUCCESS;
}

PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char *name);
PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char *name)
{
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } functions[] = {
#define FUNCTION(name, fake) { #name, (PFN_vkVoidFunction)(fake) }
        FUNCTION(vkEnumerateInstanceVersion, fake_version),
        FUNCTION(vkEnumerateInstanceLayerProperties, fake_layers),
        FUNCTION(vkEnumerateInstanceExtensionProperties, fake_instance_extensions),
        FUNCTION(vkCreateInstance, fake_instance),
        FUNCTION(vkDestroyInstance, fake_destroy),
        FUNCTION(vkGetDeviceProcAddr, fake_function),
        FUNCTION(vkEnumeratePhysicalDevices, fake_devices),
        FUNCTION(vkEnumerateDeviceExtensionProperties, fake_extensions),
        FUNCTION(vkGetPhysicalDeviceProperties2, fake_properties),
        FUNCTION(vkGetPhysicalDeviceFeatures2, fake_features),
        FUNCTION(vkGetPhysicalDeviceMemoryProperties2, fake_memory),
        FUNCTION(vkGetPhysicalDeviceQueueFamilyProperties, fake_queues),
        FUNCTION(vkCreateDevice, fake_open),
        FUNCTION(vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR, fake_coop),
#undef FUNCTION
    };
    (void)instance;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0)
            return functions[i].function;
    return NULL;
}
