/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CMD_CMD_LADDER_H
#define QUIP_APP_CMD_CMD_LADDER_H

#include "app/cmd/cmd.h"
#include "app/level/ladder.h"

/* What `quip levels` and `quip fit` share: a priced ladder, and how fits are told. */
struct cmd_ladder {
    struct engine *eng;
    struct ladder *ladder;
    struct fit_want want;
    struct roofline roof;
    int32_t n_held;                    /* tokens before the one that speeds are about; 0: a few */
    char place[FIGURES_TEXT_BYTES];    /* where the given file would be */
};

/* Says on stderr what failed; cmd_ladder_close() has to follow in any case. */
enum exit_code cmd_ladder_open(struct cmd_ladder *out, const struct app *app);
void cmd_ladder_close(struct cmd_ladder *c);

/* "Qwen2.5 1.5B at a context of 8192 tokens, keys and values f16, on AMD EPYC, avx512, 2 threads" */
void cmd_ladder_heading(const struct cmd_ladder *c, char *out, size_t out_bytes);
/* "13.2 GB left", "1.2 GB too much": of the part that is tighter. */
void cmd_spare(const struct fit *f, char out[32]);
json_t *cmd_fit_json(const struct fit *f);

#endif
