/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_API_H
#define QUIP_ENGINE_VULKAN_VULKAN_API_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "engine/base/err.h"

/* What headers before 1.3.255 do not have. */
#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
typedef enum { VK_COMPONENT_TYPE_FLOAT16_KHR = 0, VK_COMPONENT_TYPE_FLOAT32_KHR = 1 } VkComponentTypeKHR;
typedef enum { VK_SCOPE_SUBGROUP_KHR = 3 } VkScopeKHR;
typedef struct {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    VkComponentTypeKHR AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(VkPhysicalDevice, uint32_t *,
                                                                                    VkCooperativeMatrixPropertiesKHR *);
#endif

/* Vulkan's functions, looked up when they are wanted: the program is not linked against the loader, so it starts
 * on machines that have none. */

#define VULKAN_GLOBAL_FUNCTIONS(F) \
    F(vkEnumerateInstanceVersion) \
    F(vkEnumerateInstanceLayerProperties) \
    F(vkEnumerateInstanceExtensionProperties) \
    F(vkCreateInstance)

#define VULKAN_INSTANCE_FUNCTIONS(F) \
    F(vkDestroyInstance) \
    F(vkGetDeviceProcAddr) \
    F(vkEnumeratePhysicalDevices) \
    F(vkEnumerateDeviceExtensionProperties) \
    F(vkGetPhysicalDeviceProperties2) \
    F(vkGetPhysicalDeviceFeatures2) \
    F(vkGetPhysicalDeviceMemoryProperties2) \
    F(vkGetPhysicalDeviceQueueFamilyProperties) \
    F(vkCreateDevice)

#define VULKAN_DEVICE_FUNCTIONS(F) \
    F(vkDestroyDevice) \
    F(vkGetDeviceQueue) \
    F(vkDeviceWaitIdle) \
    F(vkAllocateMemory) \
    F(vkFreeMemory) \
    F(vkMapMemory) \
    F(vkFlushMappedMemoryRanges) \
    F(vkInvalidateMappedMemoryRanges) \
    F(vkCreateBuffer) \
    F(vkDestroyBuffer) \
    F(vkGetBufferMemoryRequirements) \
    F(vkBindBufferMemory) \
    F(vkGetBufferDeviceAddress) \
    F(vkCreateShaderModule) \
    F(vkDestroyShaderModule) \
    F(vkCreateDescriptorSetLayout) \
    F(vkDestroyDescriptorSetLayout) \
    F(vkCreatePipelineLayout) \
    F(vkDestroyPipelineLayout) \
    F(vkCreatePipelineCache) \
    F(vkDestroyPipelineCache) \
    F(vkGetPipelineCacheData) \
    F(vkCreateComputePipelines) \
    F(vkDestroyPipeline) \
    F(vkCreateDescriptorPool) \
    F(vkDestroyDescriptorPool) \
    F(vkAllocateDescriptorSets) \
    F(vkUpdateDescriptorSets) \
    F(vkCreateCommandPool) \
    F(vkDestroyCommandPool) \
    F(vkAllocateCommandBuffers) \
    F(vkFreeCommandBuffers) \
    F(vkBeginCommandBuffer) \
    F(vkEndCommandBuffer) \
    F(vkCmdBindPipeline) \
    F(vkCmdBindDescriptorSets) \
    F(vkCmdPushConstants) \
    F(vkCmdDispatch) \
    F(vkCmdDispatchIndirect) \
    F(vkCmdPipelineBarrier) \
    F(vkCmdCopyBuffer) \
    F(vkCmdFillBuffer) \
    F(vkCreateQueryPool) \
    F(vkDestroyQueryPool) \
    F(vkCmdResetQueryPool) \
    F(vkCmdWriteTimestamp) \
    F(vkGetQueryPoolResults) \
    F(vkCreateSemaphore) \
    F(vkDestroySemaphore) \
    F(vkWaitSemaphores) \
    F(vkQueueSubmit)

struct vulkan_api {
    void *library;
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
#define MEMBER(name) PFN_##name name;
    VULKAN_GLOBAL_FUNCTIONS(MEMBER)
    VULKAN_INSTANCE_FUNCTIONS(MEMBER)
    VULKAN_DEVICE_FUNCTIONS(MEMBER)
#undef MEMBER
    /* Of VK_EXT_debug_utils, where it was asked for. */
    PFN_vkCreateDebugUtilsMessengerEXT vkCreateDebugUtilsMessengerEXT;
    PFN_vkDestroyDebugUtilsMessengerEXT vkDestroyDebugUtilsMessengerEXT;
    /* Of VK_KHR_cooperative_matrix; NULL where no driver has that. */
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR;
};

/* library: name for the system's search, or a path.
 * Errors: ERR_DEVICE when there is no loader, or it lacks a function */
enum err_code vulkan_api_open(struct vulkan_api *api, const char *library, struct err *e);
/* The file it was read from, "" where the system does not tell; lives as long as api is open. */
const char *vulkan_api_path(const struct vulkan_api *api);
enum err_code vulkan_api_instance(struct vulkan_api *api, VkInstance instance, struct err *e);
enum err_code vulkan_api_device(struct vulkan_api *api, VkDevice device, struct err *e);
void vulkan_api_close(struct vulkan_api *api);    /* takes a zeroed one */

/* "VK_ERROR_DEVICE_LOST" */
const char *vulkan_result_name(VkResult result);

#endif
