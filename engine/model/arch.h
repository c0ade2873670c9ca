/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_MODEL_ARCH_H
#define QUIP_ENGINE_MODEL_ARCH_H

#include "engine/backend/step.h"
#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "engine/gguf/gguf.h"
#include "engine/model/hparams.h"

/* From a checked GGUF to a program: hyperparameters are read, every tensor the architecture needs is found
 * and its shape compared, and the steps are emitted. What a program points to lies in the arena or in the
 * mapped file, so both must outlive it.
 *
 * Errors   ERR_UNSUPPORTED for an architecture that is not in the table (the text lists those that are) or
 *          a feature of one; ERR_FORMAT for a key or tensor that is missing, misshapen or left over */
enum err_code arch_build(const struct gguf *g, struct arena *arena, struct program **out, struct hparams *h,
                         struct err *e);

#endif
