/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_GGUF_WALK_H
#define QUIP_TESTS_SUPPORT_GGUF_WALK_H

#include <stdint.h>

#include "engine/gguf/gguf.h"

/* Touches all that an open file offers, through every reader of its header: each key as each type, each
 * item, each byte of tensor data. Returns a checksum, so that nothing of it is optimised away. Meant to
 * run under ASan, with the file in memory of exactly its size. */
uint64_t gguf_walk(const struct gguf *g);

#endif
