/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_LEVEL_LEVEL_H
#define QUIP_ENGINE_LEVEL_LEVEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"

/* Levels of a model: one file made from another, with the types of a recipe (recipe.h).
 *
 *       level_plan   what the file would be, tensor by tensor; nothing is written
 *       level_make   the file
 *
 * Part of the border (engine.h); needs no engine.
 *
 * Threads  Any thread may plan and make, several at once with a plan for each. Only a struct level_progress may be
 *          looked at from others meanwhile
 * Memory   About 3 MiB per thread, and three rows of the widest tensor, whatever the size of the model
 * Text     Names of tensors are not safe for a terminal */

/* Names of the levels that can be made, large to small: "F32" ... "Q2_K_S". NULL beyond the last. */
const char *level_name(int32_t i);

struct level_options {
    const char *level;              /* a name of the list, whatever the case; "Q4_K" is Q4_K_M. NULL with a target: */
    uint64_t target_bytes;          /* the file may be so large, 0: no word; or */
    double target_bits;             /* bits per weight, 0: no word. The types with the least loss within that (allocate.h),
                                     * but for tensors whose type is said below */
    bool pure;                      /* the level's base type for all that is quantised */
    const char *output_type;        /* "Q8_0"; NULL: what the level has. Also of an embedding that is the output */
    const char *embedding_type;
    const char *const *tensor_types;    /* "PATTERN=TYPE": for tensors in whose name this regular expression (POSIX,
                                         * extended, whatever the case; \d is a digit) is found. The first one counts */
    int32_t n_tensor_types;
    const char *imatrix;            /* file of an importance matrix (imatrix.h); NULL: none */
    bool allow_requantize;          /* of weights that are quantised already */
    bool replace;                   /* a file that is there */
    int32_t n_threads;              /* 0: the physical cores this process may use */
};

enum level_stage { LEVEL_MEASURING, LEVEL_WRITING, LEVEL_SYNCING };

/* What is going on, for those who wait; zeroed by who has it. Any thread may read all of it, and set cancel. */
struct level_progress {
    atomic_bool cancel;             /* ends what is going on with ERR_CANCELLED, within about 100 ms but for a sync */
    atomic_int stage;               /* enum level_stage */
    atomic_uint_fast64_t done_bytes, total_bytes;    /* of the source */
};

struct level_tensor {
    const char *name;
    int32_t n_dims;
    uint64_t ne[4];
    const char *from, *to;          /* types, "F16" */
    const char *wanted;             /* type of which a row would not be whole blocks; NULL: to is what was wanted */
    uint64_t from_bytes, n_bytes;
};

/* Texts live until level_plan_finish(). */
struct level_plan {
    const char *level;              /* "Q4_K_M"; "mixed" of a target */
    struct level_tensor *tensors;   /* in the order of the source */
    int32_t n_tensors;
    int32_t n_fallback;             /* tensors with wanted */
    uint64_t n_weights;
    uint64_t from_bytes, n_bytes;   /* tensor data, padding not counted */
    uint64_t file_bytes;            /* the whole file */
    double from_bits, bits;         /* per weight */
    bool is_requantised;            /* some of it has been quantised before */
    const char *problem;            /* why level_make() would refuse; "": it would not */
    struct level_job *job;
};

/* Opens the source and chooses. For a level nothing of its weights is read; for a target samples of all are measured,
 * which takes as long as making a file of some ten million weights per hundred tensors.
 *
 * Owns     source is copied; the file stays open until level_plan_finish()
 * Errors   ERR_IO, ERR_FORMAT, ERR_NOMEM; ERR_UNSUPPORTED for a level or type that is not known or not made, and a target
 *          below the smallest types; with a target also ERR_CANCELLED. out is empty then */
enum err_code level_plan(struct level_plan *out, const char *source, const struct level_options *o,
                         struct level_progress *progress, struct err *e);
void level_plan_finish(struct level_plan *p);    /* takes a zeroed one */

/* Makes the file. It is written beside its place under a name that no program takes for a model, synced, and put there
 * whole: whatever happens on the way, the place holds what it held before. What a killed program left beside it of such
 * files is removed first.
 *
 * Errors   ERR_UNSUPPORTED with the plan's problem; ERR_IO: the target is there and not to be replaced, is the source,
 *          or cannot be written (too little room is said beforehand, with both figures), or the source changed since the
 *          plan was made; ERR_FORMAT for a weight that is not finite; ERR_CANCELLED; ERR_NOMEM */
enum err_code level_make(struct level_plan *p, const char *target, struct level_progress *progress, struct err *e);

#endif
