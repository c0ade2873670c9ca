/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_BUILD_ID_H
#define QUIP_ENGINE_BASE_BUILD_ID_H

#include <stddef.h>
#include <stdint.h>

enum { BUILD_ID_BYTES = 20 };

/* What the linker calls this very program, a hash of all of it; how many bytes that has, 0: it left none. */
size_t build_id(uint8_t out[BUILD_ID_BYTES]);

#endif
