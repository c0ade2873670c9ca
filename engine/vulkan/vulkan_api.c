/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_api.h"

#include <dlfcn.h>
#include <string.h>

/* A pointer to data as the function that it is: POSIX has them of one form, C does not say so. */
#define FUNCTION(member, found) \
    do { \
        PFN_vkVoidFunction fn_ = (found); \
        memcpy(&(member), &fn_, sizeof fn_); \
    } while (0)

enum err_code vulkan_api_open(struct vulkan_api *api, const char *library, struct err *e)
{
    *api = (struct vulkan_api){ .library = dlopen(library, RTLD_NOW | RTLD_LOCAL) };
    if (!api->library)
        return err_set(e, ERR_DEVICE, "no Vulkan loader: %s", dlerror());
    void *entry = dlsym(api->library, "vkGetInstanceProcAddr");
    memcpy(&api->vkGetInstanceProcAddr, &entry, sizeof entry);
    if (!entry) {
        vulkan_api_close(api);
        return err_set(e, ERR_DEVICE, "%s: is no Vulkan loader, 'vkGetInstanceProcAddr' is missing", library);
    }
#define LOAD(name) \
    FUNCTION(api->name, api->vkGetInstanceProcAddr(NULL, #name)); \
    if (!api->name) { \
        vulkan_api_close(api); \
        return err_set(e, ERR_DEVICE, "%s: function '%s' is missing, Vulkan 1.2 is wanted", library, #name); \
    }
    VULKAN_GLOBAL_FUNCTIONS(LOAD)
#undef LOAD
    return ERR_OK;
}

const char *vulkan_api_path(const struct vulkan_api *api)
{
    Dl_info info;
    void *entry;
    memcpy(&entry, &api->vkGetInstanceProcAddr, sizeof entry);
    return dladdr(entry, &info) && info.dli_fname ? info.dli_fname : "";
}

enum err_code vulkan_api_instance(struct vulkan_api *api, VkInstance instance, struct err *e)
{
#define LOAD(name) \
    FUNCTION(api->name, api->vkGetInstanceProcAddr(instance, #name)); \
    if (!api->name) \
        return err_set(e, ERR_DEVICE, "Vulkan loader: function '%s' is missing, Vulkan 1.2 is wanted", #name);
    VULKAN_INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
    FUNCTION(api->vkCreateDebugUtilsMessengerEXT,
             api->vkGetInstanceProcAddr(instance, "vkCreateDebugUtilsMessengerEXT"));
    FUNCTION(api->vkDestroyDebugUtilsMessengerEXT,
             api->vkGetInstanceProcAddr(instance, "vkDestroyDebugUtilsMessengerEXT"));
    FUNCTION(api->vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR,
             api->vkGetInstanceProcAddr(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
    return ERR_OK;
}

enum err_code vulkan_api_device(struct vulkan_api *api, VkDevice device, struct err *e)
{
#define LOAD(name) \
    FUNCTION(api->name, api->vkGetDeviceProcAddr(device, #name)); \
    if (!api->name) \
        return err_set(e, ERR_DEVICE, "Vulkan driver: function '%s' is missing, Vulkan 1.2 is wanted", #name);
    VULKAN_DEVICE_FUNCTIONS(LOAD)
#undef LOAD
    return ERR_OK;
}

void vulkan_api_close(struct vulkan_api *api)
{
    if (api->library)
        dlclose(api->library);
    *api = (struct vulkan_api){ 0 };
}

const char *vulkan_result_name(VkResult result)
{
    static const struct {
        VkResult result;
        const char *name;
    } names[] = {
#define NAME(r) { r, #r }
        NAME(VK_SUCCESS), NAME(VK_NOT_READY), NAME(VK_TIMEOUT), NAME(VK_INCOMPLETE),
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY), NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY), NAME(VK_ERROR_INITIALIZATION_FAILED),
        NAME(VK_ERROR_DEVICE_LOST), NAME(VK_ERROR_MEMORY_MAP_FAILED), NAME(VK_ERROR_LAYER_NOT_PRESENT),
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT), NAME(VK_ERROR_FEATURE_NOT_PRESENT), NAME(VK_ERROR_INCOMPATIBLE_DRIVER),
        NAME(VK_ERROR_TOO_MANY_OBJECTS), NAME(VK_ERROR_FRAGMENTED_POOL), NAME(VK_ERROR_UNKNOWN),
        NAME(VK_ERROR_OUT_OF_POOL_MEMORY), NAME(VK_ERROR_INVALID_EXTERNAL_HANDLE), NAME(VK_ERROR_FRAGMENTATION),
        NAME(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS), NAME(VK_PIPELINE_COMPILE_REQUIRED),
#undef NAME
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].result == result)
            return names[i].name;
    return "an unknown error";
}
