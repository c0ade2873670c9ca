/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CONFIG_PATHS_H
#define QUIP_APP_CONFIG_PATHS_H

#include <stddef.h>

#include "app/config/environment.h"
#include "engine/base/err.h"

enum { PATHS_BYTES = 1024 };

/* Where things lie. A text is "" when the place cannot be told (no HOME, no assets). */
struct paths {
    char home[PATHS_BYTES];
    char models[PATHS_BYTES];          /* folder of model files: XDG_DATA_HOME/quip/models */
    char history[PATHS_BYTES];         /* file of prompts typed: XDG_STATE_HOME/quip/history */
    char kv_cache[PATHS_BYTES];        /* folder of prefixes read before: XDG_CACHE_HOME/quip/kv */
    char figures[PATHS_BYTES];         /* file of what was measured here: XDG_CACHE_HOME/quip/figures.json */
    char model_table[PATHS_BYTES];     /* assets/models.txt */
    char calibration[PATHS_BYTES];     /* assets/calibration.txt */
    char measure_text[PATHS_BYTES];    /* assets/measure.txt */
    char fetch_script[PATHS_BYTES];    /* app/fetch-model.sh */
};

void paths_init(struct paths *p, const struct environment *env);

/* What a person calls a model's file: its name without folder and .gguf. */
void paths_model_name(const char *path, char *out, size_t n_bytes);

/* Makes the folders above a file, readable by the owner alone. Errors: ERR_IO naming the folder. */
enum err_code paths_make_parents(const char *file, struct err *e);

#endif
