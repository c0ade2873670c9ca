/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_LEVEL_IMATRIX_H
#define QUIP_ENGINE_LEVEL_IMATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

/* Importance matrices: which columns of a weight matter, by what came into them. For each matrix of a model the sum
 * of x_j^2 over the rows of input it was multiplied with, per column j, and how many rows that were; a matrix of
 * experts has both per expert. A quantiser weighs the error of column j with the mean of x_j^2.
 *
 * Kept in two formats of files, llama.cpp's both, told apart by their first bytes (imatrix_read.c has the layouts):
 *   GGUF    general.type "imatrix": sums and counts as they are
 *   dat     the older one: means, times a number of chunks. Experts stand one after the other and share a count
 *
 * Files are untrusted input: every count and length is checked against the bytes that are left before anything is
 * allocated, every number for being finite and not negative.
 *
 * Part of the border, beside engine.h. */

enum {
    IMATRIX_MAX_NAME_BYTES = 55,    /* with ".in_sum2" it is a name of GGUF */
    IMATRIX_MAX_ENTRIES = 1 << 19,
    IMATRIX_MAX_DATASETS = 1 << 12,
    IMATRIX_CHUNK = 512             /* tokens of a chunk, unless told */
};

struct imatrix_entry {
    char name[IMATRIX_MAX_NAME_BYTES + 1];    /* of the weight: "blk.0.attn_q.weight" */
    int32_t n_cols;      /* inputs; of a dat file those of all experts together */
    int32_t n_mat;       /* experts, or 1 */
    double *sums;        /* [n_mat][n_cols] of x^2 */
    uint64_t *counts;    /* [n_mat] rows */
};

struct imatrix {
    struct imatrix_entry *entries;    /* in the order of their names, as strcmp() has it */
    int32_t n_entries;
    char **datasets;                  /* texts it was made from, by path */
    int32_t n_datasets;
    uint32_t n_chunks;
    uint32_t chunk_size;              /* tokens; 0: not known, and counts are of chunks, not rows (a dat file) */
};

struct imatrix *imatrix_create(void);          /* empty; NULL: no memory */
void imatrix_destroy(struct imatrix *m);       /* takes NULL */

/* Reads a file of either format. Errors: ERR_IO, ERR_NOMEM; ERR_FORMAT for damage, and for what is no importance
 * matrix. One line, beginning with path. */
enum err_code imatrix_open(struct imatrix **out, const char *path, struct err *e);
/* The same of bytes. */
enum err_code imatrix_open_memory(struct imatrix **out, const void *bytes, uint64_t n_bytes, struct err *e);

enum imatrix_format { IMATRIX_GGUF, IMATRIX_DAT };

/* Puts a file in the place of one that may be there; who opens it finds the old or the new one, whole.
 * Numbers  f32. dat: experts without rows get ones, and of several datasets the last is named
 * Errors   ERR_IO, ERR_NOMEM; ERR_FORMAT for an imatrix without entries */
enum err_code imatrix_save(const struct imatrix *m, const char *path, enum imatrix_format format, struct err *e);

/* The entry of that name, made with zeros when there is none.
 * Errors: ERR_FORMAT for a name or size out of range, or another size than it has; ERR_NOMEM */
enum err_code imatrix_add(struct imatrix *m, const char *name, int32_t n_cols, int32_t n_mat,
                          struct imatrix_entry **out, struct err *e);
enum err_code imatrix_add_dataset(struct imatrix *m, const char *path, struct err *e);
/* Of what was read from a dat file: so many tokens were a chunk. Otherwise without effect. */
void imatrix_set_chunk_size(struct imatrix *m, uint32_t chunk_size);
/* Adds what is in from: sums, counts, chunks, datasets. Where one knows its chunk size the other is taken to have the
 * same. Errors: ERR_FORMAT when a tensor has different sizes in the two, ERR_NOMEM; m is unchanged then. */
enum err_code imatrix_merge(struct imatrix *m, const struct imatrix *from, struct err *e);

/* NULL: there is none of that name. */
const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *name);
/* What a quantiser takes: sum / count of each column, [n_mat][n_cols] for a weight of that shape; ones for an expert
 * without rows. Errors: ERR_FORMAT when the sizes do not agree. */
enum err_code imatrix_importance(const struct imatrix_entry *entry, int32_t n_cols, int32_t n_mat, float *out,
                                 struct err *e);

/* What a person may want to know of one tensor's means of x^2, over the columns of all experts that had rows. The
 * figures are those of llama-imatrix --show-statistics. */
struct imatrix_stats {
    int64_t n;               /* columns */
    double sum, min, max, mean, deviation;
    double active;           /* share of columns above 1e-5 */
    double entropy;          /* of the columns' shares of the sum, in bits */
    double evenness;         /* entropy as a share of what it were with all columns alike: log2(n); 1 for one column */
    double above;            /* share of columns more than a deviation above the mean */
    int32_t layer;           /* of the name, "blk.LAYER."; -1: it has none */
    bool has_previous;       /* the layer before has a tensor called so, of the same size: */
    double cosine;           /* between the two's sums */
};

/* False when no matrix of the entry had a row. */
bool imatrix_stats(const struct imatrix *m, const struct imatrix_entry *entry, struct imatrix_stats *out);

#endif
