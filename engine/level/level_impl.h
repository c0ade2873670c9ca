/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_LEVEL_LEVEL_IMPL_H
#define QUIP_ENGINE_LEVEL_LEVEL_IMPL_H

#include <sys/stat.h>

#include "engine/base/arena.h"
#include "engine/gguf/gguf.h"
#include "engine/level/imatrix.h"
#include "engine/level/level.h"
#include "engine/level/recipe.h"

/* What the files of level_*.c share; nobody else includes it. */

struct level_job {
    struct arena arena;
    const char *path;             /* of the source */
    int fd;                       /* its bytes are read from here: a mapped file that is cut ends in SIGBUS */
    struct stat st;               /* as it was when it was opened */
    struct gguf *gguf;
    struct imatrix *imatrix;      /* or NULL */
    const char *imatrix_path;
    struct recipe_choice *choices;    /* [n_tensors] */
    uint64_t *offsets;            /* [n_tensors], in the target */
    struct buf head;              /* of the target: everything before tensor data */
    const struct recipe *recipe;
    bool is_mixed;                /* types for a target: the recipe says only which tensors are quantised */
    bool replace;
    int32_t n_threads;
};

/* What is known of the importance of a tensor's columns; NULL: nothing. */
const struct imatrix_entry *level_importance(const struct level_job *job, int32_t tensor);

/* Reads bytes of the source. Any thread. Errors: ERR_IO, also where it was cut */
enum err_code level_read(const struct level_job *job, uint64_t offset, void *out, uint64_t n_bytes, struct err *e);

/* ERR_FORMAT naming the first of n weights, from the row first_row on, that is not finite. */
enum err_code level_check_finite(const struct gguf_tensor *t, uint64_t first_row, const float *x, uint64_t n,
                                 struct err *e);

/* ERR_IO when the source is no longer the file that was opened. */
enum err_code level_source_changed(const struct level_job *job, struct err *e);

#endif
