/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_HELLASWAG_H
#define QUIP_APP_MEASURE_HELLASWAG_H

#include "engine/engine.h"

/* HellaSwag as llama.cpp has it: a context and four endings, of which the model finds one likeliest by the mean
 * log-probability of its tokens; right if that is the true one. */

enum { HELLASWAG_ENDINGS = 4 };

/* Texts belong to the file's bytes. */
struct hellaswag_text {
    const char *bytes;
    size_t n_bytes;
};

struct hellaswag_task {
    struct hellaswag_text context, endings[HELLASWAG_ENDINGS];
    int32_t gold;
};

/* Six lines a task: context, index of the right ending, the endings. tasks: malloc.
 * Errors  ERR_FORMAT naming the line; ERR_NOMEM */
enum err_code hellaswag_parse(const char *bytes, size_t n_bytes, struct hellaswag_task **tasks, int32_t *n_tasks,
                              struct err *e);

/* A task as the model reads it; a zeroed struct holds nothing. */
struct hellaswag_tokens {
    struct token_list endings[HELLASWAG_ENDINGS];    /* each with the context in front */
    int32_t n_common;     /* tokens that all begin with; each has at least one more */
    int32_t n_longest;
};

/* Errors: as of model_tokenize(); ERR_FORMAT when there is nothing to score */
enum err_code hellaswag_tokenize(const struct model *m, const struct hellaswag_task *task, struct hellaswag_tokens *out,
                                 struct err *e);
void hellaswag_tokens_finish(struct hellaswag_tokens *tokens);

/* Mean log-probability per token of each ending. The common beginning is evaluated once, and what sequence 0 holds is
 * forgotten. logits: [n_rows][n_vocab], n_rows at most the session's n_batch. The choice is the first of the best.
 * Errors  of session_eval()
 * Thread  engine */
struct hellaswag_scratch {
    float *logits;
    int32_t n_rows, n_vocab;
};
enum err_code hellaswag_score(struct session *s, const struct hellaswag_tokens *tokens,
                              const struct hellaswag_scratch *scratch, double means[HELLASWAG_ENDINGS], int32_t *choice,
                              struct err *e);

#endif
