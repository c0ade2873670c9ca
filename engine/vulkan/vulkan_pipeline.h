/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_PIPELINE_H
#define QUIP_ENGINE_VULKAN_VULKAN_PIPELINE_H

#include <stddef.h>

#include "engine/vulkan/vulkan_device.h"

/* Shaders as they were compiled into the program (shaders/variants.cmake), and pipelines made of them. A driver takes
 * 5 to 500 ms for one and a model needs some tens, so they can be asked for before they are used: threads make them
 * while something else goes on, as the loading of weights. */

struct vulkan_shader {
    const char *name;
    const uint32_t *words;
    size_t n_bytes;
    int32_t n_bindings;    /* storage buffers 0 .. n_bindings - 1 of set 0 */
};
extern const struct vulkan_shader vulkan_shaders[];    /* made by the build */
extern const int32_t vulkan_n_shaders;

/* NULL: there is none of this name. */
const struct vulkan_shader *vulkan_shader_find(const char *name);
/* Whether those with cooperative matrices are there: not every build's compiler knows them. */
bool vulkan_coop_compiled(void);

/* Of a device that is being opened.
 * Errors: ERR_NOMEM */
enum err_code vulkan_pipelines_init(struct vulkan_device *d, struct err *e);
/* Waits for what is being made. Takes a device that vulkan_pipelines_init() has not seen. */
void vulkan_pipelines_destroy(struct vulkan_device *d);

/* The pipeline of a shader with these specialization constants (0 .. n_spec - 1); made now when nobody has, and the
 * device's until it is closed. What failed is tried again when it is asked for again.
 * Errors: ERR_UNSUPPORTED for a name that is not there, ERR_DEVICE, ERR_NOMEM */
enum err_code vulkan_pipeline(struct vulkan_device *d, const char *shader, const uint32_t *spec, int32_t n_spec,
                              const struct vulkan_pipeline **out, struct err *e);
/* Asks for one that will be used soon. What is wrong with it, its user is told. */
void vulkan_pipeline_want(struct vulkan_device *d, const char *shader, const uint32_t *spec, int32_t n_spec);
/* Threads begin with what is wanted. */
void vulkan_pipelines_start(struct vulkan_device *d);

#endif
