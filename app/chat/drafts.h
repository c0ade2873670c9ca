/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_DRAFTS_H
#define QUIP_APP_CHAT_DRAFTS_H

#include "engine/engine.h"

/* What drafts did for an answer, in the figures and words that every front end uses. */
struct drafts {
    int32_t n_passes, n_drafted, n_accepted;    /* as in struct eng_timings */
    double saved_ms;
};

struct drafts drafts_of(const struct eng_timings *t);
/* Each pass ends with one token that was not drafted. 0: there was no pass. */
double drafts_per_pass(const struct drafts *d);
int32_t drafts_percent(const struct drafts *d);    /* of the drafts, how many were right */

enum { DRAFTS_TEXT_BYTES = 96 };
/* "3.2 s saved", "120 ms lost"; "" when it is neither, or not known. */
void drafts_saved_text(const struct drafts *d, char out[DRAFTS_TEXT_BYTES]);
/* "412 of 530 right (77 %), 2.9 tokens a pass, 3.2 s saved" */
void drafts_text(const struct drafts *d, char out[DRAFTS_TEXT_BYTES]);

/* "auto", "off" or a number, as in struct generate_options. False: it is none of these. */
bool drafts_parse(const char *text, int32_t *spec);

#endif
