/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_PLACED_H
#define QUIP_ENGINE_VULKAN_VULKAN_PLACED_H

#include "engine/backend/backend.h"
#include "engine/vulkan/vulkan_attend.h"
#include "engine/vulkan/vulkan_kv.h"
#include "engine/vulkan/vulkan_weight.h"
#include "shaders/include/table.h"

/* The inside of the backend: a program on the device, its scratch, and what was recorded of it.
 *
 * A batch is evaluated in PIECES of some rows, one submit each: its rows in the order they stand, so that a row finds
 * the keys of those before. For each number of rows the whole program is recorded once, and the head for each number
 * of rows with logits; what changes between batches stands in buffers that the host writes (STEP):
 *
 *     in        what rows begin with, [n][n_embd] f32, where the embedding is not on the device
 *     table     table_page of sequence slot s, layer i, page j at (s * n_layers + i) * stride + j
 *     cos_sin   [rope][max_rows][max_rot]
 *     rows      table_row of each
 *     seals     a list for each layer of the table's entries of pages that the piece completes, seals_bytes apart
 *     wanted    rows of the piece that want logits
 *     counts    groups of the dispatches that depend on what is held: three of attention, three of sealing, per layer
 *
 * The last five, and the best that come back, are a SET, of which there are two: while a piece of one row runs with the
 * one, the row behind it can be sent with the other (vulkan_ahead.c). */

struct vulkan_backend {
    struct backend base;
    struct vulkan_device *d;
    struct vulkan_kv kv;
    char *dir;                     /* of the file of pipelines; NULL: none */
    int32_t n_saved, n_batches;    /* pipelines when it was last looked at; batches since the last was made */
};

enum { COUNT_ATTEND = 0, COUNT_SEAL = 3, COUNT_WORDS = 6 };
enum { VULKAN_MAX_ROWS = 256 };    /* of a piece */

/* Where a step's vectors stand in the buffer of all vectors; n_bytes 0: the step has none. */
struct vulkan_vectors {
    struct vulkan_part norm, post_norm, bias[3];
    struct vulkan_part gains;    /* of the heads: q's, k's */
    struct vulkan_part sinks;
};

/* What a recording is for. */
struct vulkan_rows {
    int32_t n;
    int32_t set;
    bool many;         /* of a batch of many (vulkan_product.h): its products are tiles then, however small the piece */
    int32_t n_best;    /* of a head: one of vulkan_best_round(); 0: all logits */
};

struct vulkan_body {
    struct vulkan_body *next;
    struct vulkan_rows rows;
    struct vulkan_recording recording;
};

/* A row that is on its way before anybody has asked for it. */
struct vulkan_ahead {
    uint64_t value;              /* that the timeline has when it is through; 0: there is none */
    int32_t set;
    int32_t token;               /* the best of the row before, which is through; else -1 */
    int32_t pos;
    const struct kv_page *pages; /* the sequence's, by which it is known */
    uint64_t kv_written;         /* pages that others had written when it was sent off */
    int32_t n_taken;             /* rows that were asked for afterwards, so far */
};

/* Sequences whose pages are in the table. */
struct vulkan_slot {
    const struct kv_page *pages;    /* the sequence's table, by which it is known; NULL: free */
    uint64_t last_use;
};

enum { VULKAN_N_SETS = 2 };

struct vulkan_set {
    struct vulkan_buf cos_sin, rows, seals, wanted, counts;               /* STEP */
    struct vulkan_buf best;                                               /* BACK; [max_logits][n_best] */
};

struct vulkan_scratch {
    struct vulkan_set sets[VULKAN_N_SETS];
    struct vulkan_buf in, table;                                          /* STEP */
    struct vulkan_buf x, h, q, turned, k, v, attn, gate, up, branch, parts, picked, acts;
    struct vulkan_buf logits, best_parts;                                 /* where only the best are wanted */
    struct vulkan_buf all_logits;                                         /* BACK */
};

struct placed {
    struct vulkan_backend *b;
    const struct program *program;
    struct vulkan_weight *weights;      /* [n_tensors]; those without chunks are not on the device */
    struct vulkan_buf vector_bytes;
    struct vulkan_vectors *vectors;     /* [n_steps] */
    const struct vulkan_weight *embed;  /* one of the weights; NULL: the host looks tokens up, or there is no embedding */
    uint64_t weight_bytes;

    struct vulkan_scratch scratch;
    int32_t reserved_rows, reserved_logits, n_ctx;
    int32_t max_rows, max_logits;       /* of a piece, of a head */
    int32_t max_rot, stride, n_slots, slice_rows, max_parts;
    uint64_t seals_bytes;
    struct vulkan_slot *slots;
    struct kv_page *shadow;             /* what the table on the device was made from; [n_slots][n_layers][stride] */
    uint64_t use, kv_gone;              /* kv_gone: regions that had gone when the table's addresses were found */

    struct vulkan_body *bodies, *heads;
    struct kv_layer *kv;                /* [n_layers]: the types the bodies are recorded for */
    double ms_per_row;                  /* of the last piece of a prompt; 0: none yet */
    struct vulkan_ahead ahead;
};

/* vulkan_scratch.c */
enum err_code vulkan_scratch_reserve(struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                                     struct err *e);
uint64_t vulkan_scratch_bytes(const struct placed *p, int32_t max_rows, int32_t max_logits, int32_t n_ctx);
void vulkan_scratch_finish(struct placed *p);

/* What shaders are told of a layer's attention over these rows; s: its STEP_ATTN_IN or STEP_ATTN. */
struct vulkan_attention vulkan_attention_of(const struct placed *p, const struct step *s,
                                            const struct vulkan_vectors *v, const struct kv_layer *kv,
                                            struct vulkan_rows rows);

/* vulkan_record.c: the program for some rows, and its head for some rows with logits, recorded when first asked for.
 * Errors: ERR_DEVICE, ERR_NOMEM */
enum err_code vulkan_body_for(struct placed *p, const struct kv_layer *kv, struct vulkan_rows rows,
                              VkCommandBuffer *out, struct err *e);
enum err_code vulkan_head_for(struct placed *p, struct vulkan_rows rows, VkCommandBuffer *out, struct err *e);
void vulkan_forget_recordings(struct placed *p);
/* Threads begin with what recordings will ask for, as far as is known before there is a session. Its weights have room,
 * but need not be filled. */
void vulkan_want_pipelines(const struct placed *p);

/* vulkan_run.c */
enum err_code vulkan_run(struct placed *p, const struct batch *batch, struct err *e);
/* Writes what n rows of a batch, from row0 on, need. */
void vulkan_write_step(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, int32_t set);

/* vulkan_ahead.c
 * Sends off the row behind that of a batch which allows it; the batch's own has been sent off with the other set. When
 * that fails nothing runs ahead; what is wrong with the device, who waits for the batch is told. */
void vulkan_ahead_begin(struct placed *p, const struct batch *batch, int32_t set);
/* Whether a batch asks for the row that runs ahead, and nothing that it sees has changed. */
bool vulkan_ahead_is(const struct placed *p, const struct batch *batch);
/* Waits for that, and gives what it came to.
 * Errors: ERR_CANCELLED, ERR_DEVICE */
enum err_code vulkan_ahead_take(struct placed *p, const struct batch *batch, struct err *e);
/* Waits for whatever runs ahead, of which nothing is kept.
 * Errors: ERR_DEVICE */
enum err_code vulkan_ahead_end(struct placed *p, struct err *e);

#endif
