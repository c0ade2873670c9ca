/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CMD_PERPLEXITY_REPORT_H
#define QUIP_APP_CMD_PERPLEXITY_REPORT_H

#include <jansson.h>

#include "app/measure/comparison.h"

/* What `quip perplexity` has to say in the end, on stdout: lines as llama.cpp has them, with the interval of
 * app/measure/estimate.h behind each figure that has one; or one JSON object with the same. */
struct perplexity_report {
    const struct comparison *c;
    const char *model, *base, *versus;    /* as a person calls them; base and versus NULL: there is none */
};

/* Errors: ERR_NOMEM */
enum err_code perplexity_report_text(const struct perplexity_report *r, struct err *e);
enum err_code perplexity_report_json(const struct perplexity_report *r, struct err *e);

#endif
