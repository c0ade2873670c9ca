/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BACKEND_BACKEND_H
#define QUIP_ENGINE_BACKEND_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/backend/kv_memory.h"
#include "engine/backend/kv_page.h"
#include "engine/backend/step.h"
#include "engine/base/err.h"
#include "engine/base/logit.h"

/* All the engine asks of a device: place a program's weights, then evaluate batches of rows. */

/* One row of a batch: a token at a position of a sequence. Rows of one sequence stand together, in the
 * order of their positions, and see the keys of their own position and before.
 *
 * The backend writes a row's key and value into the open form of its page. A page but the first whose last
 * token is in the batch is sealed by it, in every layer where the table has room for the sealed form, before
 * any row reads it so. */
struct batch_row {
    int32_t token;
    int32_t pos;
    const struct kv_page *pages;    /* the sequence's page table: page j of layer i at pages[i * table_stride + j] */
    int32_t logits;                 /* row of the output, -1: none wanted */
};

struct batch {
    const struct batch_row *rows;
    int32_t n_rows;
    int32_t table_stride;
    const struct kv_layer *kv;      /* [n_layers]: the types of the sequences' pages */
    int32_t n_logits;
    float *logits;                  /* [n_logits][n_vocab]; where n_best is not 0 it is not written, and may be NULL */
    /* Instead of all logits the first of each row in the order of logit_before(): as many as the backend offers
     * (max_best), or fewer. 0: all logits are wanted. */
    int32_t n_best;
    struct logit *best;             /* [n_logits][n_best] */
    /* The batch is a single row with its best logit, and the next one is likely to be the token of that, behind it in the
     * same sequence, whose pages have room for it. A backend that can begins with it before it is asked to, and what that
     * writes is as good as not written until it is asked for. */
    bool ahead;
    /* Of a program that is a part of one (split.h), [n_rows][n_embd]: the residual stream it begins with, instead of
     * an EMBED step, and the one it ends with. NULL: none. */
    const float *x_in;
    float *x_out;
    /* Where what comes into products is summed up, by a backend that sums_inputs; NULL: nowhere. [n_tensors of the
     * program]: of a step's first matrix, for all of the step's, [n_cols], to which the square of each row's input is
     * added, row after row: neither how rows are batched nor how many threads there are changes a bit. NULL among
     * them: of this one nothing is wanted. After an error they have any content. */
    double *const *input_sums;
    const atomic_bool *cancel;      /* raised by any thread, lowered by none while the batch runs; may be NULL */
};

/* A program with its weights on a device, and the scratch for batches. */
struct placed;

struct backend;

struct backend_bytes {
    uint64_t weights, scratch;
    uint64_t lookups;    /* an embedding in the mapped file, rows of which are looked up there; not in weights */
};

struct backend_ops {
    /* Places the weights.
     * Errors: ERR_NOMEM, ERR_UNSUPPORTED for a tensor type the device cannot compute */
    enum err_code (*place)(struct backend *b, const struct program *p, struct placed **out, struct err *e);
    /* The same beside whatever the backend computes, in a thread that is not the engine's, and with no other. NULL: it
     * cannot. Errors: also ERR_CANCELLED, soon after *cancel was raised (NULL: never) */
    enum err_code (*place_aside)(struct backend *b, const struct program *p, const atomic_bool *cancel,
                                 struct placed **out, struct err *e);
    void (*unplace)(struct placed *placed);    /* takes NULL */
    /* Makes room for batches of up to max_rows rows, max_logits of them with logits, in sequences of up to
     * n_ctx tokens. Called again when these grow.
     * Errors: ERR_NOMEM; the room there was before stays */
    enum err_code (*reserve)(struct placed *placed, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                             struct err *e);
    /* What reserve takes for these figures. */
    uint64_t (*scratch_bytes)(const struct placed *placed, int32_t max_rows, int32_t max_logits, int32_t n_ctx);
    /* The weights in the form they are used in, be it the mapped file or memory of their own. */
    uint64_t (*weight_bytes)(const struct placed *placed);
    /* What these two would say of a program that is placed nowhere, but for the embedding: of tensors types and shapes
     * count, and data that is not NULL stands for any. */
    void (*plan)(const struct backend *b, const struct program *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                 struct backend_bytes *out);
    /* Evaluates a batch. ERR_CANCELLED, within some 50 ms, when cancel was seen: KV of these rows, and
     * pages they complete, are not valid then. */
    enum err_code (*run)(struct placed *placed, const struct batch *batch, struct err *e);
    /* Whether a batch with ahead gains by it. Optional: none does. */
    bool (*runs_ahead)(const struct placed *placed);
    /* Where the pages of a layer lie; NULL: in the host's memory. Optional: all in kv_memory. */
    struct kv_memory *(*kv_memory_of)(const struct backend *b, int32_t layer);
    void (*destroy)(struct backend *b);
};

enum { BACKEND_MAX_BEST = 64 };

struct backend {
    const struct backend_ops *ops;
    const char *name;
    int32_t max_best;               /* the largest n_best of its batches, at most BACKEND_MAX_BEST; 0: all logits always */
    struct kv_memory *kv_memory;    /* where the pages of its batches lie; NULL: the host's memory */
    bool sums_inputs;
    bool int8;                      /* activations may be rounded to eight bits before products */
    struct backend *next;           /* in the list of whoever has several */
};

static inline struct kv_memory *backend_kv_memory(const struct backend *b, int32_t layer)
{
    return b->ops->kv_memory_of ? b->ops->kv_memory_of(b, layer) : b->kv_memory;
}

#endif
