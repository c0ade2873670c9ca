/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_MEASURE_H
#define QUIP_APP_MEASURE_MEASURE_H

#include "app/measure/comparison.h"

/* A level measured in some seconds: its two speeds, and how far its predictions are from a base's, over as many chunks
 * of a short text as fit the time. For a thread that has other things to do as well:
 *
 *     measure_create -> measure_step until done, measure_progress between them -> measure_result -> measure_destroy
 *
 * A step is one evaluation, of MEASURE_PROMPT tokens at most. The order is: a few tokens that nobody times (weights
 * come from the disk), a prompt, an answer token by token, then chunks by turns of the model and the base. Speed takes
 * about a quarter of the time at most. One chunk is scored even where it does not fit, so a slow model takes longer
 * than asked; stopping after any step leaves figures of what was done.
 *
 * assets/measure.txt is a text written for this: chat, code, prose, tables, seven languages. Nothing calibrates on it.
 * The figures of n chunks are those of `quip perplexity -c 128 --chunks n` over the same text.
 *
 * Thread  engine; to end a step early, session_cancel() from any other */
struct measure;

enum { MEASURE_CTX = 128, MEASURE_PROMPT = 256, MEASURE_PREDICT = 32, MEASURE_BUDGET_MS = 20000,
       /* n_ctx of the model's session: for prompt and answer; the base's holds MEASURE_CTX. n_batch COMPARISON_BATCH */
       MEASURE_SESSION_CTX = MEASURE_PROMPT + MEASURE_PREDICT + 32 };

struct measure_options {
    /* Idle, each its own; what sequence 0 holds is forgotten, so a session in which somebody chats is not for this. With
     * the cache's budgets of that one: what the newest session says counts for the model. */
    struct session *session;
    const struct model *model;
    struct session *base;           /* of a model with the same vocabulary; or */
    const struct model *base_model;
    const char *base_file;          /* the base's log-probabilities in llama.cpp's format, chunks of MEASURE_CTX tokens
                                     * (save_file of a run on the base, or --save-logits); the text is theirs then. Both
                                     * NULL: no base, the figures are speed and perplexity */
    const char *save_file;          /* the model's log-probabilities go there, for later runs; NULL: nowhere. A file
                                     * whose run ended early has as many chunks as were scored */
    const char *text;               /* borrowed for the call */
    size_t n_text;
    int32_t budget_ms;              /* 0: MEASURE_BUDGET_MS */
    int32_t n_chunks;               /* at most; 0: all of the text */
};

/* Errors: ERR_FORMAT when text and vocabularies do not fit (too short, other tokens with the base); of the files;
 * ERR_NOMEM */
enum err_code measure_create(struct measure **out, const struct measure_options *o, struct err *e);
void measure_destroy(struct measure *m);    /* takes NULL */

/* Errors: of session_eval(); after ERR_CANCELLED the same step can be done again. Of the files, ERR_NOMEM */
enum err_code measure_step(struct measure *m, bool *done, struct err *e);

enum measure_phase { MEASURE_WARM, MEASURE_READ, MEASURE_ANSWER, MEASURE_COMPARE, MEASURE_DONE };

struct measure_progress {
    enum measure_phase phase;
    double spent_ms;        /* in steps; what the thread did between them is not counted */
    double share;           /* of the whole, 0 to 1, never less than before */
    int32_t n_chunks;       /* scored */
};
void measure_progress(const struct measure *m, struct measure_progress *out);

struct measure_result {
    double prompt_per_s;    /* tokens read per second; 0: not measured yet */
    double answer_per_s;    /* the median of single tokens */
    int32_t n_prompt, n_answer;    /* tokens these were taken from */
    bool has_base;
    int32_t n_chunks, n_wanted;    /* scored, and there were */
    struct score_summary scores;   /* of whole chunks; n 0: none yet */
};
/* At any time. Errors: ERR_NOMEM */
enum err_code measure_result(const struct measure *m, struct measure_result *out, struct err *e);

#endif
