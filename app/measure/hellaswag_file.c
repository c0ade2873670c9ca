/* SPDX-License-Identifier: MIT */
#include "app/measure/hellaswag.h"

#include <stdlib.h>
#include <string.h>

enum { HELLASWAG_LINES = 6, HELLASWAG_TASKS_MOST = 1 << 20 };

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
