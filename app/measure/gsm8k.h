/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_MEASURE_GSM8K_H
#define QUIP_APP_MEASURE_GSM8K_H

#include <stdbool.h>

#include "engine/base/err.h"
#include "engine/engine.h"

/* GSM8K: word problems whose answer is a number. The model is asked through its chat template and answers greedily; the
 * last number of the answer, or the first after its last "####", is compared with the one in the file. */

enum { GSM8K_NUMBER_BYTES = 64, GSM8K_SHOTS_MOST = 8 };

struct gsm8k_task {
    char *question, *answer;           /* with the reasoning */
    char number[GSM8K_NUMBER_BYTES];
};

/* A line per task: an object with "question" and "answer". tasks go to gsm8k_free(), NULL after an error.
 * Errors  ERR_FORMAT naming the line; ERR_NOMEM */
enum err_code gsm8k_parse(const char *bytes, size_t n_bytes, struct gsm8k_task **tasks, int32_t *n_tasks,
                          struct err *e);
void gsm8k_free(struct gsm8k_task *tasks, int32_t n_tasks);

/* The number a text ends with, in one form: "-1200.5" for "$-1,200.50". False: there is none. */
bool gsm8k_number(const char *text, size_t n_bytes, char out[GSM8K_NUMBER_BYTES]);

/* Asks for the task after n_shots others with their answers. Replaces the content of prompt.
 * Errors: as of model_chat() */
enum err_code gsm8k_prompt(struct model *m, const struct gsm8k_task *task, const struct gsm8k_task *const *shots,
                           int32_t n_shots, int32_t enable_thinking, struct token_list *prompt,
                           struct chat_prompt *made, struct err *e);

#endif
