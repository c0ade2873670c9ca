/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_VULKAN_RIG_H
#define QUIP_TESTS_SUPPORT_VULKAN_RIG_H

#include "engine/vulkan/vulkan_shader.h"
#include "tests/support/test.h"

/* A device for tests of shaders: the one that --device or QUIP_TEST_DEVICE names, else software Vulkan, with the
 * validation layer where it is installed. What the layer has to say fails the case that closes the rig. */
struct vulkan_rig {
    struct test *t;
    struct vulkan_list *list;
    struct vulkan_device *d;
};

/* Skips the case when there is no device. */
void vulkan_rig_open(struct vulkan_rig *rig, struct test *t);
/* The same, for products by these tiles. */
void vulkan_rig_open_for(struct vulkan_rig *rig, struct test *t, enum vulkan_tiles tiles);
void vulkan_rig_close(struct vulkan_rig *rig);

/* A buffer of n_bytes, at least 16, filled from bytes (NULL: with 0xff, which as f32 and f16 is NaN). */
struct vulkan_buf vulkan_rig_buf(struct vulkan_rig *rig, const void *bytes, size_t n_bytes);
void vulkan_rig_read(struct vulkan_rig *rig, void *bytes, const struct vulkan_buf *b, size_t n_bytes);

/* Runs one dispatch and waits. */
void vulkan_rig_run(struct vulkan_rig *rig, const char *shader, const uint32_t *spec, int32_t n_spec,
                    const struct vulkan_part *parts, const void *push, uint32_t push_bytes, uint32_t x, uint32_t y,
                    uint32_t z);

#endif
