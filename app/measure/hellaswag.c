/* SPDX-License-Identifier: MIT */
#include "app/measure/hellaswag.h"

#include <stdlib.h>
#include <string.h>

#include "app/measure/scores.h"

enum { HELLASWAG_LINES = 6, HELLASWAG_TASKS_MOST = 1 << 20 };

/* ---- the file ------------------------------------------------------------------------------------- */

/* Without its line end, which may be that of another system. */
static struct hellaswag_text next_line(const char **at, const char *end)
{
    const char *begin = *at, *stop = memchr(begin, '\n', (size_t)(end - begin));
    *at = stop ? stop + 1 : end;
    stop = stop ? stop : end;
    if (stop > begin && stop[-1] == '\r')
        stop--;
    return (struct hellaswag_text){ begin, (size_t)(stop - begin) };
}

static int32_t count_lines(const char *bytes, size_t n_bytes)
{
    const char *at = bytes, *end = bytes + n_bytes;
    int32_t n = 0;
    for (; at < end && n <= HELLASWAG_LINES * HELLASWAG_TASKS_MOST; n++)
        next_line(&at, end);
    return n;
}

static enum err_code parse_task(const char **at, const char *end, int32_t line, struct hellaswag_task *out,
                                struct err *e)
{
    struct hellaswag_text lines[HELLASWAG_LINES];
    for (int i = 0; i < HELLASWAG_LINES; i++) {
        lines[i] = next_line(at, end);
        if (lines[i].n_bytes == 0)
            return err_set(e, ERR_FORMAT, "line %d: empty; context, index and four endings of a task wanted", line + i);
    }
    if (lines[1].n_bytes != 1 || lines[1].bytes[0] < '0' || lines[1].bytes[0] >= '0' + HELLASWAG_ENDINGS)
        return err_set(e, ERR_FORMAT, "line %d: '%.*s', an index from 0 to %d wanted", line + 1,
                       lines[1].n_bytes < 40 ? (int)lines[1].n_bytes : 40, lines[1].bytes, HELLASWAG_ENDINGS - 1);
    out->context = lines[0];
    out->gold = lines[1].bytes[0] - '0';
    memcpy(out->endings, lines + 2, sizeof out->endings);
    return ERR_OK;
}

enum err_code hellaswag_parse(const char *bytes, size_t n_bytes, struct hellaswag_task **tasks, int32_t *n_tasks,
                              struct err *e)
{
    *tasks = NULL;
    *n_tasks = 0;
    if (n_bytes >= 3 && memcmp(bytes, "BZh", 3) == 0)
        return err_set(e, ERR_FORMAT, "packed with bzip2: unpack it first (bunzip2 -k)");
    int32_t n_lines = count_lines(bytes, n_bytes), n = n_lines / HELLASWAG_LINES;
    if (n_lines % HELLASWAG_LINES != 0 || n < 1 || n > HELLASWAG_TASKS_MOST)
        return err_set(e, ERR_FORMAT, "%d lines, six for each of 1 to %d tasks wanted", n_lines, HELLASWAG_TASKS_MOST);
    *tasks = malloc((size_t)n * sizeof **tasks);
    if (!*tasks)
        return err_set(e, ERR_NOMEM, "no memory for %d tasks", n);
    const char *at = bytes, *end = bytes + n_bytes;
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < n; i++)
        rc = parse_task(&at, end, 1 + i * HELLASWAG_LINES, &(*tasks)[i], e);
    if (rc == ERR_OK) {
        *n_tasks = n;
    } else {
        free(*tasks);
        *tasks = NULL;
    }
    return rc;
}

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
