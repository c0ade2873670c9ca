/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "app/cmd/eval.h"
#include "app/measure/hellaswag.h"

enum { EVAL_BATCH = 256, EVAL_LOGITS_BYTES = 64 << 20 };

static enum err_code load(struct eval *v, struct err *e)
{
    struct hellaswag_task *tasks;
    enum err_code rc = hellaswag_parse(buf_text(&v->text), v->text.n_bytes, &tasks, &v->n_tasks, e);
    v->tasks = tasks;
    return rc;
}

/* The context is as long as the longest task. */
static enum exit_code begin(struct eval *v)
{
    const struct hellaswag_task *tasks = v->tasks;
    struct hellaswag_scratch *scratch = calloc(1, sizeof *scratch);
    struct hellaswag_tokens tokens = { 0 };
    struct err e = { 0 };
    enum err_code rc = ERR_OK;
    int32_t n_longest = 2;
    for (int32_t i = 0; rc == ERR_OK && i < v->n_wanted; i++) {
        rc = hellaswag_tokenize(v->cm.model, &tasks[v->order[i]], &tokens, &e);
        n_longest = tokens.n_longest > n_longest ? tokens.n_longest : n_longest;
    }
    hellaswag_tokens_finish(&tokens);
    v->scratch = scratch;
    if (rc == ERR_OK && scratch) {
        scratch->n_vocab = model_info(v->cm.model)->n_vocab;
        size_t row_bytes = (size_t)scratch->n_vocab * sizeof(float), fit = EVAL_LOGITS_BYTES / row_bytes;
        scratch->n_rows = fit < 1 ? 1 : fit > EVAL_BATCH ? EVAL_BATCH : (int32_t)fit;
        scratch->logits = malloc(row_bytes * (size_t)scratch->n_rows);
    }
    if (rc == ERR_OK && (!scratch || !scratch->logits))
        rc = err_set(&e, ERR_NOMEM, "no memory for logits");
    if (rc == ERR_OK)
        return cmd_session(&v->s, v->app, v->cm.model, n_longest, EVAL_BATCH);
    cmd_complain("%s: %s", v->name, e.text);
    return EXIT_CODE_FAILURE;
}

static enum err_code answer(struct eval *v, int32_t task, json_t *record, struct err *e)
{
    const struct hellaswag_task *t = &((const struct hellaswag_task *)v->tasks)[task];
    struct hellaswag_tokens tokens = { 0 };
    double means[HELLASWAG_ENDINGS];
    int32_t choice;
    enum err_code rc = hellaswag_tokenize(v->cm.model, t, &tokens, e);
    if (rc == ERR_OK)
        rc = hellaswag_score(v->s, &tokens, v->scratch, means, &choice, e);
    hellaswag_tokens_finish(&tokens);
    if (rc != ERR_OK)
        return rc;
    json_t *list = json_array();
    for (int i = 0; i < HELLASWAG_ENDINGS; i++)
        json_array_append_new(list, json_real(means[i]));
    json_object_set_new(record, "scores", list);
    json_object_set_new(record, "choice", json_integer(choice));
    json_object_set_new(record, "gold", json_integer(t->gold));
    json_object_set_new(record, "right", json_boolean(choice == t->gold));
    return ERR_OK;
}

static void finish(struct eval *v)
{
    struct hellaswag_scratch *scratch = v->scratch;
    if (scratch)
        free(scratch->logits);
    free(scratch);
    free(v->tasks);
}

const struct eval_kind eval_hellaswag = { "hellaswag", 400, load, begin, answer, NULL, finish };
