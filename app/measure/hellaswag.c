/* SPDX-License-Identifier: MIT */
#include "app/measure/hellaswag.h"

#include <stdlib.h>
#include <string.h>

#include "app/measure/scores.h"

/* ---- tokens --------------------------------------------------------------------------------------- */

enum err_code hellaswag_tokenize(const struct model *m, const struct hellaswag_task *task, struct hellaswag_tokens *out,
                                 struct err *e)
{
    struct buf text = { 0 };
    enum err_code rc = ERR_OK;
    int32_t shortest = INT32_MAX;
    out->n_longest = 0;
    for (int i = 0; rc == ERR_OK && i < HELLASWAG_ENDINGS; i++) {
        buf_clear(&text);
        buf_add(&text, task->context.bytes, task->context.n_bytes);
        buf_add_byte(&text, ' ');
        buf_add(&text, task->endings[i].bytes, task->endings[i].n_bytes);
        struct text_part part = { buf_text(&text), text.n_bytes, false };
        struct token_list *ids = &out->endings[i];
        rc = buf_ok(&text) ? model_tokenize(m, &part, 1, true, ids, e) : err_set(e, ERR_NOMEM, "no memory for a task");
        shortest = ids->n < shortest ? ids->n : shortest;
        out->n_longest = ids->n > out->n_longest ? ids->n : out->n_longest;
    }
    buf_finish(&text);
    if (rc == ERR_OK && shortest < 2)
        rc = err_set(e, ERR_FORMAT, "a task of %d token%s has nothing to score", shortest, shortest == 1 ? "" : "s");
    if (rc != ERR_OK)
        return rc;
    const struct token_list *all = out->endings;
    int32_t n = 0;
    while (n < shortest - 1 && all[1].ids[n] == all[0].ids[n] && all[2].ids[n] == all[0].ids[n] &&
           all[3].ids[n] == all[0].ids[n])
        n++;
    out->n_common = n;
    return ERR_OK;
}

void hellaswag_tokens_finish(struct hellaswag_tokens *tokens)
{
    for (int i = 0; i < HELLASWAG_ENDINGS; i++)
        token_list_finish(&tokens->endings[i]);
}

/* ---- scores --------------------------------------------------------------------------------------- */

/* Tokens from `first` on are scored, each from the logits of the one before it; what comes earlier and is not held any
 * more is evaluated too. */
static enum err_code score_ending(struct session *s, const struct token_list *ids, int32_t first,
                                  const struct hellaswag_scratch *scratch, double *mean, struct err *e)
{
    int32_t at = session_truncate(s, 0, first - 1), end = ids->n - 1;
    enum err_code rc = ERR_OK;
    *mean = 0;
    while (rc == ERR_OK && at < end) {
        bool scored = at >= first - 1;
        int32_t stop = scored ? end : first - 1, n = stop - at < scratch->n_rows ? stop - at : scratch->n_rows;
        rc = session_eval(s, 0, ids->ids + at, n, scored ? scratch->logits : NULL, scored ? n : 0, e);
        for (int32_t i = 0; rc == ERR_OK && scored && i < n; i++) {
            struct score_row row;
            score_row(&row, scratch->logits + (size_t)i * (size_t)scratch->n_vocab, scratch->n_vocab);
            *mean += row.logits[ids->ids[at + i + 1]] - row.log_z;
        }
        at += n;
    }
    *mean /= end - (first - 1);
    return rc;
}

enum err_code hellaswag_score(struct session *s, const struct hellaswag_tokens *tokens,
                              const struct hellaswag_scratch *scratch, double means[HELLASWAG_ENDINGS], int32_t *choice,
                              struct err *e)
{
    int32_t first = tokens->n_common > 0 ? tokens->n_common : 1;    /* nothing says what the very first token may be */
    enum err_code rc = ERR_OK;
    session_truncate(s, 0, 0);
    *choice = 0;
    for (int32_t i = 0; rc == ERR_OK && i < HELLASWAG_ENDINGS; i++) {
        rc = score_ending(s, &tokens->endings[i], first, scratch, &means[i], e);
        *choice = means[i] > means[*choice] ? i : *choice;
    }
    return rc;
}
