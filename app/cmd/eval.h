/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CMD_EVAL_H
#define QUIP_APP_CMD_EVAL_H

#include "app/cmd/cmd.h"
#include "app/cmd/interrupt.h"

/* One run of `quip eval`: what its kinds share. */
struct eval {
    const struct app *app;
    struct interrupt interrupt;
    struct cmd_model cm;
    struct session *s;
    const char *name;        /* of the file of tasks */
    struct buf text;         /* its content */
    int32_t n_tasks;         /* in the file */
    int32_t *order;          /* [n_tasks], as they are drawn */
    int32_t n_wanted;        /* of these, the first so many */
    void *tasks;             /* of the kind */
    void *scratch;
};

/* A set of tasks with right and wrong answers. */
struct eval_kind {
    const char *name;
    int32_t n_usual;         /* tasks unless told */
    /* Fills tasks and n_tasks from text. Errors: ERR_FORMAT without the file's name, ERR_NOMEM */
    enum err_code (*load)(struct eval *v, struct err *e);
    /* Makes session and scratch, when order is known. Says on stderr what failed. */
    enum exit_code (*begin)(struct eval *v);
    /* Adds to record what there is to say about it; a bool "right" is wanted. ERR_CANCELLED: the person had enough */
    enum err_code (*answer)(struct eval *v, int32_t task, json_t *record, struct err *e);
    /* What answers depend on beside model, tasks and seed. NULL: nothing */
    void (*settings)(const struct eval *v, json_t *heading);
    void (*finish)(struct eval *v);    /* also when load failed */
};

extern const struct eval_kind eval_hellaswag, eval_gsm8k;

/* `quip eval quick` */
enum exit_code eval_quick(const struct app *app);

#endif
