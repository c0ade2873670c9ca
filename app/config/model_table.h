/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CONFIG_MODEL_TABLE_H
#define QUIP_APP_CONFIG_MODEL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "app/config/paths.h"
#include "engine/base/err.h"

/* The models a person can choose from: those of assets/models.txt, here or not, and every GGUF file in
 * the model folder. File names are foreign text: not safe for a terminal. */

enum { MODEL_ROW_NAME_BYTES = 128, MODEL_ROW_TEXT_BYTES = 128, MODEL_TABLE_MAX = 256 };

struct model_row {
    char name[MODEL_ROW_NAME_BYTES];    /* what a person types; the file's name without .gguf otherwise */
    char title[MODEL_ROW_TEXT_BYTES];
    char good[MODEL_ROW_TEXT_BYTES];    /* what to expect of it */
    char licence[MODEL_ROW_TEXT_BYTES];
    char path[PATHS_BYTES];             /* where it is, or will be */
    uint64_t n_bytes;                   /* of the whole file */
    bool can_fetch, is_here, is_default, is_recommended, is_base;
};

struct model_table {
    struct model_row *rows;
    int32_t n;
};

/* Reads the list and the folder. A missing folder is an empty one. Errors: ERR_IO, ERR_FORMAT for the list
 * (the text has file and line), ERR_NOMEM. */
enum err_code model_table_read(struct model_table *t, const struct paths *p, struct err *e);
void model_table_finish(struct model_table *t);    /* takes a zeroed one */

/* NULL when no row has this name. */
const struct model_row *model_table_find(const struct model_table *t, const char *name);
const struct model_row *model_table_default(const struct model_table *t);        /* or NULL */
const struct model_row *model_table_recommended(const struct model_table *t);    /* or NULL */

/* The file that a person means by -m: a path, else a name of the list, else a file name in the model
 * folder with or without .gguf. Errors: ERR_IO; the text tells how to get it when it can be fetched, or
 * the nearest name there is. */
enum err_code model_table_resolve(const struct model_table *t, const char *name,
                                  char path[PATHS_BYTES], struct err *e);
/* The same for a name that may be NULL: then the list's default, or if that was never fetched the best that
 * is here. */
enum err_code model_table_choose(const struct paths *p, const char *name, char path[PATHS_BYTES],
                                 struct err *e);

#endif
