/* SPDX-License-Identifier: MIT */
#include "app/chat/drafts.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/chat/text_file.h"

/* The command line has its words in the order "auto off". */
static_assert(SPEC_AUTO == 0 && SPEC_OFF == -1 && SPEC_MOST == OPTION_SPEC_MOST, "--spec says what the engine takes");

struct drafts drafts_of(const struct eng_timings *t)
{
    return (struct drafts){ .n_passes = t->n_passes, .n_drafted = t->n_drafted, .n_accepted = t->n_accepted,
                            .saved_ms = t->saved_ms };
}

double drafts_per_pass(const struct drafts *d)
{
    return d->n_passes > 0 ? 1 + (double)d->n_accepted / d->n_passes : 0;
}

int32_t drafts_percent(const struct drafts *d)
{
    return d->n_drafted > 0 ? (int32_t)((int64_t)d->n_accepted * 100 / d->n_drafted) : 0;
}

void drafts_saved_text(const struct drafts *d, char out[DRAFTS_TEXT_BYTES])
{
    double ms = fabs(d->saved_ms);
    const char *what = d->saved_ms < 0 ? "lost" : "saved";
    if (ms < 0.5)
        out[0] = '\0';
    else if (ms < 999.5)
        snprintf(out, DRAFTS_TEXT_BYTES, "%.0f ms %s", ms, what);
    else
        snprintf(out, DRAFTS_TEXT_BYTES, "%.1f s %s", ms / 1e3, what);
}

void drafts_text(const struct drafts *d, char out[DRAFTS_TEXT_BYTES])
{
    char saved[DRAFTS_TEXT_BYTES];
    drafts_saved_text(d, saved);
    if (d->n_drafted == 0)
        snprintf(out, DRAFTS_TEXT_BYTES, "none made");
    else
        snprintf(out, DRAFTS_TEXT_BYTES, "%d of %d right (%d %%), %.1f tokens a pass%s%.24s", d->n_accepted,
                 d->n_drafted, drafts_percent(d), drafts_per_pass(d), saved[0] ? ", " : "", saved);
}

enum { FILE_MAX_BYTES = 8 << 20 };

enum err_code drafts_files_there(const struct config_texts *files, struct err *e)
{
    for (int32_t i = 0; i < files->n; i++)
        if (text_file_changed_ns(files->values[i]) < 0)
            return err_set(e, ERR_IO, "%s: not there", files->values[i]);
    return ERR_OK;
}

enum err_code drafts_from_files(struct session *s, const struct config_texts *files, struct err *e)
{
    struct buf texts[CONFIG_MAX_TEXTS] = { { 0 } };
    struct text_part parts[CONFIG_MAX_TEXTS];
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < files->n; i++) {
        rc = text_file_read(&texts[i], files->values[i], FILE_MAX_BYTES, NULL, e);
        parts[i] = (struct text_part){ buf_text(&texts[i]), texts[i].n_bytes, false };
    }
    if (rc == ERR_OK && files->n > 0)
        rc = session_draft_from(s, parts, files->n, e);
    for (int32_t i = 0; i < files->n; i++)
        buf_finish(&texts[i]);
    return rc;
}

bool drafts_parse(const char *text, int32_t *spec)
{
    char *end;
    long n = strtol(text, &end, 10);
    bool number = end != text && !*end && n >= 1 && n <= SPEC_MOST;
    if (strcmp(text, "auto") == 0)
        *spec = SPEC_AUTO;
    else if (strcmp(text, "off") == 0)
        *spec = SPEC_OFF;
    else if (number)
        *spec = (int32_t)n;
    else
        return false;
    return true;
}
