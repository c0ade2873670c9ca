/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_ENGINE_FIT_H
#define QUIP_ENGINE_ENGINE_FIT_H

#include "engine/engine.h"

/* What running a model would take and read, worked out from the head of its file: no weight is read, nothing is
 * placed, so that a figure can be had anew with each change of context, types or device.
 *
 *       model_open(MODEL_INSPECT) -> fit_shape_create -> fit_price -> fit_reads
 *
 * Part of the border, beside engine.h.
 *
 * Thread  the engine's where an engine is asked for */

/* ---- a model's shape ------------------------------------------------------------------------------- */

struct fit_shape;

/* types: of the tensors in the order of the file ("Q4_K"), when it is to be another level of it; NULL: as they are. m is
 * of any use; only its head is looked at, and it outlives the shape.
 * Errors: ERR_UNSUPPORTED for an architecture or a type that cannot be computed here; ERR_FORMAT for a model that is not
 * what its architecture needs; ERR_NOMEM */
enum err_code fit_shape_create(struct fit_shape **out, const struct model *m, const char *const *types, struct err *e);
void fit_shape_destroy(struct fit_shape *s);    /* takes NULL */

struct fit_shape_info {
    int32_t n_layers, n_vocab, n_embd;
    int32_t n_ctx_train;
    int32_t n_ctx;               /* what 0 stands for: that, at most 8192 */
};
void fit_shape_info(const struct fit_shape *s, struct fit_shape_info *out);

/* ---- memory ---------------------------------------------------------------------------------------- */

struct fit_want {
    int32_t n_ctx, n_seqs;       /* as in session_options */
    const char *kv_type_k, *kv_type_v;
    const struct model *leaves;  /* is open now and gives its memory back; NULL: none does */
};

/* On the processor's side, or on the device's. A device whose memory is the machine's has nothing of its own. */
struct fit_part {
    uint64_t weight_bytes, kv_bytes, scratch_bytes;
    uint64_t lookup_bytes;       /* rows of the embedding that text of the whole context leaves resident where they lie in
                                  * the file, about; they go first when memory is short */
    uint64_t vocabulary_bytes;   /* tables of the tokenizer, and the file's head */
    uint64_t program_bytes;      /* quip itself, about */
    uint64_t needed_bytes;       /* all of these */
    uint64_t room_bytes;         /* what may be taken now: as kv_type "auto" and the choice of layers have it */
};

struct fit {
    int32_t n_ctx, n_seqs;
    const char *kv_type_k, *kv_type_v;    /* in force, after "auto" */
    int32_t n_layers, n_device_layers;
    struct fit_part host, device;
    uint64_t needed_bytes;       /* of both */
    bool shares;                 /* the device's part is the host's */
    bool fits;
};

/* Where the engine would place it, with a full context.
 * Errors: ERR_UNSUPPORTED for types as session_create() has them; ERR_FORMAT for a context or sequences out of range;
 * ERR_NOMEM */
enum err_code fit_price(const struct fit_shape *s, const struct engine *eng, const struct fit_want *want, struct fit *out,
                        struct err *e);

/* ---- what a token reads ------------------------------------------------------------------------------ */

enum { FIT_MAX_TYPES = 43 };

/* Of memory, to make one token: each matrix once, keys and values of the tokens before. The embedding is looked up, a row
 * of it, and not counted unless it is the head's matrix. */
struct fit_reads {
    struct fit_read {
        const char *type;        /* "Q4_K" */
        uint64_t n_bytes[2];     /* by the processor, by the device */
    } types[FIT_MAX_TYPES];
    int32_t n_types;             /* with the most bytes first */
    uint64_t weight_bytes[2];    /* the sums */
    uint64_t kv_bytes[2];
};

/* Placed as `where` says, after n_held tokens. */
void fit_reads(const struct fit_shape *s, const struct fit *where, int32_t n_held, struct fit_reads *out);
/* The same of a session's model and its types. */
void session_reads(const struct session *s, int32_t n_held, struct fit_reads *out);

/* Bytes per second that the engine's threads together read of the machine's memory: the median of some passes over a
 * buffer several times its caches, within about 0.2 s after it is there. 0: no memory for it.
 * What a device reads of its own memory is not measured. */
double engine_read_bandwidth(struct engine *eng);

#endif
