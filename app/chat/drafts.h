/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_DRAFTS_H
#define QUIP_APP_CHAT_DRAFTS_H

#include "app/config/option.h"
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

/* Drafts are taken from these files too, by all sessions of this one's model.
 * Errors: ERR_IO, ERR_FORMAT naming the file, ERR_UNSUPPORTED when they are too long, ERR_NOMEM */
enum err_code drafts_from_files(struct session *s, const struct config_texts *files, struct err *e);
/* Whether they are there to be read, before there is a session. Errors: ERR_IO */
enum err_code drafts_files_there(const struct config_texts *files, struct err *e);

/* "auto", "off" or a number, as in struct generate_options. False: it is none of these. */
bool drafts_parse(const char *text, int32_t *spec);

#endif
