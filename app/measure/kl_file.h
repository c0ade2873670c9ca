/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_KL_FILE_H
#define QUIP_APP_MEASURE_KL_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "app/measure/scores.h"
#include "engine/base/err.h"

/* The file that llama.cpp takes as base of a KL divergence: "_logits_", int32 n_ctx, n_vocab, n_chunks, int32
 * tokens[n_chunks * n_ctx]; then per scored position (n_ctx/2 .. n_ctx-2 of each chunk) float scale, float lowest
 * log-probability, and n_vocab codes of 16 bits (one more if odd): log-probability = lowest + scale * code, everything
 * more than 16 below the best logit being code 0. The rounding leaves a floor of some 1e-6 of KL.
 *
 * A zeroed struct is closed. The heading is believed only as far as the file is long. */
struct kl_file {
    FILE *file;
    const char *name;        /* of the caller */
    int32_t n_ctx, n_vocab;
    int32_t n_chunks;        /* as the heading says */
    int32_t n_whole;         /* of these, whose rows are there; n_chunks where that cannot be told (a pipe) */
    uint16_t *codes;         /* one row */
    float *row;              /* the same as log-probabilities, [n_vocab] */
    bool writes;
};

/* What is so unlikely in such a file that it counts for no KL, there as here. */
#define KL_FILE_FLOOR (-16.0f)

/* Opens and reads the heading. Errors: ERR_IO, ERR_FORMAT, ERR_NOMEM */
enum err_code kl_file_open(struct kl_file *k, const char *path, struct err *e);
/* The same of a stream, which is the file's then, also after an error. */
enum err_code kl_file_open_take(struct kl_file *k, FILE *file, const char *name, struct err *e);
/* tokens: [n_ctx * n_chunks], all of the vocabulary. Once, before the rows. Errors: ERR_IO, ERR_FORMAT */
enum err_code kl_file_tokens(struct kl_file *k, int32_t *tokens, struct err *e);
/* The next row; it lives until the next call. Errors: ERR_IO, ERR_FORMAT for a scale that is none */
enum err_code kl_file_row(struct kl_file *k, struct score_row *out, struct err *e);

/* Writes heading and tokens. Errors: ERR_IO, ERR_NOMEM */
enum err_code kl_file_create(struct kl_file *k, const char *path, int32_t n_ctx, int32_t n_vocab, int32_t n_chunks,
                             const int32_t *tokens, struct err *e);
/* Errors: ERR_IO */
enum err_code kl_file_add(struct kl_file *k, const struct score_row *row, struct err *e);

/* Errors: ERR_IO when what was written did not arrive. Takes a closed one. */
enum err_code kl_file_close(struct kl_file *k, struct err *e);

#endif
