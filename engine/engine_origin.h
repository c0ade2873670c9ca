/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_ENGINE_ORIGIN_H
#define QUIP_ENGINE_ENGINE_ORIGIN_H

#include "engine/engine.h"

/* Whether two files are levels of one model, and whether a file is the one it was. Part of the border, beside engine.h.
 *
 * Levels differ in the types of their matrices. What they have in common:
 *
 *   shape     architecture, hyperparameters as they are in force, texts of the vocabulary, names and shapes of tensors in
 *             any order. An output matrix that may be the embedding again, and frequencies of RoPE, which converters
 *             derive, are left out
 *   vectors   names and values of all F32 vectors: norms and biases, which no quantiser touches and which training moves
 *   name      general.name without what says the level; or, where that differs, the file's name without it
 *
 * All three must agree, so a fine-tune with the same shapes is another model. Files without F32 vectors are the same as
 * none. Not seen: a fine-tune that left all norms and biases as they were (adapters often do) and kept the name too. */

enum { ORIGIN_KEY_BYTES = 16, ORIGIN_NAME_BYTES = 128 };

struct model_origin {
    uint8_t shape[ORIGIN_KEY_BYTES];
    uint8_t vectors[ORIGIN_KEY_BYTES];
    int32_t n_vectors;
    char name[ORIGIN_NAME_BYTES];    /* small letters and digits; "": the file does not say */
    char file[ORIGIN_NAME_BYTES];
};

/* m is of any use. Reads its head and its vectors, not its matrices.
 * Errors: ERR_IO when the file was cut */
enum err_code model_origin(const struct model *m, struct model_origin *out, struct err *e);
/* A file's name as it is compared: without folder, ending and level. */
void model_origin_name(const char *path, char out[ORIGIN_NAME_BYTES]);
bool model_origin_same(const struct model_origin *a, const struct model_origin *b);

/* The hash of a file's head and of samples of each of its tensors: the same for the same file elsewhere, another for
 * another level, fine-tune, imatrix.
 * Errors: ERR_IO when the file was cut; ERR_NOMEM */
enum err_code model_content(const struct model *m, uint8_t out[ORIGIN_KEY_BYTES], struct err *e);

#endif
