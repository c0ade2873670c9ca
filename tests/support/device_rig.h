/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_DEVICE_RIG_H
#define QUIP_TESTS_SUPPORT_DEVICE_RIG_H

#include "engine/vulkan/vulkan_placed.h"
#include "tests/support/session_rig.h"

/* An engine on a device that can be made to fail (struct vulkan_faults), for tests of what becomes of a model then. */

/* device NULL: software Vulkan, which runs ahead, with the validation layer where there is one; without such a device the
 * case is skipped, and device_rig_engine() says why. */
struct engine *device_rig_engine(struct test *t, const char *device);
bool device_rig_on_device(const struct engine *eng);
struct vulkan_device *device_rig_device(const struct engine *eng);
/* The model's warnings with this in them. */
int32_t device_rig_warnings(const struct model *m, const char *part);
/* Ends the rig; the validation layer had nothing to say. */
void device_rig_close(struct test *t, struct session_rig *rig);

#endif
