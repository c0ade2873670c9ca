/* SPDX-License-Identifier: MIT */
#include "app/cmd/eval_save.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/buf.h"

enum { EVAL_SAVE_PIECE = 1 << 16, EVAL_SAVE_MOST = 1 << 30 };

static enum err_code put_line(struct eval_save *s, const json_t *value, struct err *e)
{
    char *line = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
    if (!line)
        return err_set(e, ERR_NOMEM, "%s: no memory for a line", s->name);
    bool ok = fputs(line, s->file) >= 0 && fputc('\n', s->file) != EOF && fflush(s->file) == 0;
    free(line);
    return ok ? ERR_OK : err_set(e, ERR_IO, "%s: %s", s->name, strerror(errno));
}

static enum err_code read_all(struct eval_save *s, struct buf *text, struct err *e)
{
    text->max_bytes = EVAL_SAVE_MOST;
    for (;;) {
        if (!buf_reserve(text, EVAL_SAVE_PIECE))
            return err_set(e, ERR_NOMEM, "%s: no memory for what is in it", s->name);
        size_t n = fread(text->data + text->n_bytes, 1, EVAL_SAVE_PIECE, s->file);
        text->n_bytes += n;
        if (n == 0)
            return ferror(s->file) ? err_set(e, ERR_IO, "%s: %s", s->name, strerror(errno)) : ERR_OK;
    }
}

/* The answer is to this task. */
static bool take_answer(struct eval_save *s, const char *line, size_t n_bytes, int32_t task)
{
    json_t *answer = json_loadb(line, n_bytes, 0, NULL);
    const json_t *right = json_object_get(answer, "right"), *number = json_object_get(answer, "task");
    bool fits = json_is_boolean(right) && json_is_integer(number) && json_integer_value(number) == task;
    if (fits) {
        s->n_done++;
        s->n_right += json_is_true(right);
    }
    json_decref(answer);
    return fits;
}

/* Takes what is there; kept: up to where the lines are whole. */
static enum err_code take_lines(struct eval_save *s, const struct buf *text, const char *heading, const int32_t *order,
                                int32_t n, size_t *kept, struct err *e)
{
    const char *at = text->data, *end = at + text->n_bytes, *stop;
    for (int32_t line = 0; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); line++, at = stop + 1) {
        size_t length = (size_t)(stop - at);
        if (line == 0 && (length != strlen(heading) || memcmp(at, heading, length) != 0))
            return err_set(e, ERR_FORMAT, "%s: not of this model, tasks and settings; another name, or remove it",
                           s->name);
        if (line > 0 && line <= n && !take_answer(s, at, length, order[line - 1]))
            return err_set(e, ERR_FORMAT, "%s: line %d is no answer to task %d", s->name, line + 1, order[line - 1]);
    }
    if (at == text->data && at < end)
        return err_set(e, ERR_FORMAT, "%s: not a file of answers", s->name);
    *kept = (size_t)(at - text->data);
    return ERR_OK;
}

enum err_code eval_save_open(struct eval_save *s, const char *path, const json_t *heading, const int32_t *order,
                             int32_t n, struct err *e)
{
    struct buf text = { 0 };
    size_t kept = 0;
    char *wanted = json_dumps(heading, JSON_COMPACT | JSON_SORT_KEYS);
    *s = (struct eval_save){ .name = path, .file = fopen(path, "ab+") };
    enum err_code rc = ERR_OK;
    if (!wanted)
        rc = err_set(e, ERR_NOMEM, "%s: no memory for a line", path);
    else if (!s->file)
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (rc == ERR_OK)
        rc = read_all(s, &text, e);
    if (rc == ERR_OK && text.n_bytes > 0)
        rc = take_lines(s, &text, wanted, order, n, &kept, e);
    if (rc == ERR_OK && kept < text.n_bytes && ftruncate(fileno(s->file), (off_t)kept) != 0)
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (rc == ERR_OK && kept == 0)
        rc = put_line(s, heading, e);
    buf_finish(&text);
    free(wanted);
    if (rc != ERR_OK)
        eval_save_close(s, NULL);
    return rc;
}

enum err_code eval_save_add(struct eval_save *s, const json_t *answer, struct err *e)
{
    return put_line(s, answer, e);
}

enum err_code eval_save_close(struct eval_save *s, struct err *e)
{
    bool ok = !s->file || fclose(s->file) == 0;
    s->file = NULL;
    return ok ? ERR_OK : err_set(e, ERR_IO, "%s: %s", s->name, strerror(errno));
}
