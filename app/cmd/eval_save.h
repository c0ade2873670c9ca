/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CMD_EVAL_SAVE_H
#define QUIP_APP_CMD_EVAL_SAVE_H

#include <stdio.h>

#include <jansson.h>

#include "engine/base/err.h"

/* The answers of an evaluation in a file, a line of JSON each after a first one that says of what. A run that was
 * stopped goes on where the file ends; a line that is not whole is written anew.
 *
 *   {"eval": "gsm8k", "model": ..., what else the answers depend on}
 *   {"task": 417, "right": true, ...} */
struct eval_save {
    FILE *file;              /* NULL: closed */
    const char *name;
    int32_t n_done, n_right; /* answers found in it */
};

/* order: the tasks as they are asked, [n]. Of the answers in the file those to the first tasks count, at most n.
 * Errors  ERR_IO; ERR_FORMAT when it is the file of another model, other settings or something else; ERR_NOMEM */
enum err_code eval_save_open(struct eval_save *s, const char *path, const json_t *heading, const int32_t *order,
                             int32_t n, struct err *e);
/* Written through to the file. Errors: ERR_IO, ERR_NOMEM */
enum err_code eval_save_add(struct eval_save *s, const json_t *answer, struct err *e);
/* Errors: ERR_IO. Takes a closed one. */
enum err_code eval_save_close(struct eval_save *s, struct err *e);

#endif
