/* SPDX-License-Identifier: MIT */
#include "app/measure/gsm8k.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { GSM8K_TASKS_MOST = 1 << 20 };

/* ---- numbers -------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A number that begins with a digit at `at`: digits, commas between groups of three, one point with digits after it.
 * Returns where it ends. */
static size_t number_end(const char *text, size_t n_bytes, size_t at)
{
    for (;;) {
        while (at < n_bytes && is_digit(text[at]))
            at++;
        bool group = at + 3 < n_bytes && text[at] == ',' && is_digit(text[at + 1]) && is_digit(text[at + 2]) &&
                     is_digit(text[at + 3]) && !(at + 4 < n_bytes && is_digit(text[at + 4]));
        if (!group)
            break;
        at += 4;
    }
    if (at + 1 < n_bytes && text[at] == '.' && is_digit(text[at + 1]))
        for (at += 2; at < n_bytes && is_digit(text[at]);)
            at++;
    return at;
}

/* Without commas, zeros in front, zeros after the point, a sign before zero. */
static void write_plain(const char *text, size_t begin, size_t end, bool negative, char out[GSM8K_NUMBER_BYTES])
{
    size_t n = 0;
    bool point = false, nothing = true;
    while (end - begin > 1 && (text[begin] == '0' || text[begin] == ',') && text[begin + 1] != '.')
        begin++;
    if (negative)
        out[n++] = '-';
    for (; begin < end && n < GSM8K_NUMBER_BYTES - 1; begin++) {
        if (text[begin] == ',')
            continue;
        point = point || text[begin] == '.';
        nothing = nothing && (text[begin] == '0' || text[begin] == '.');
        out[n++] = text[begin];
    }
    while (point && (out[n - 1] == '0' || out[n - 1] == '.'))
        point = out[--n] != '.';
    out[n] = '\0';
    if (nothing)
        strcpy(out, "0");
}

/* The first number at or after `at`. Returns where it ends, 0 where there is none. */
static size_t find_number(const char *text, size_t n_bytes, size_t at, char out[GSM8K_NUMBER_BYTES])
{
    while (at < n_bytes && !is_digit(text[at]))
        at++;
    if (at == n_bytes)
        return 0;
    size_t end = number_end(text, n_bytes, at), sign = at;
    if (sign > 0 && text[sign - 1] == '$')
        sign--;
    /* a dash between two numbers takes one from the other */
    bool dash = sign > 0 && text[sign - 1] == '-';
    bool negative = dash && !(sign > 1 && (is_digit(text[sign - 2]) || text[sign - 2] == ')'));
    write_plain(text, at, end, negative, out);
    return end;
}

bool gsm8k_number(const char *text, size_t n_bytes, char out[GSM8K_NUMBER_BYTES])
{
    size_t after = 0;
    for (size_t i = 0; i + 4 <= n_bytes; i++)
        if (memcmp(text + i, "####", 4) == 0)
            after = i + 4;
    if (after > 0 && find_number(text, n_bytes, after, out) > 0)
        return true;
    bool found = false;
    for (size_t at = 0; (at = find_number(text, n_bytes, at, out)) > 0;)
        found = true;
    return found;
}

/* ---- the file ------------------------------------------------------------------------------------- */

static enum err_code parse_line(const char *line, size_t n_bytes, int32_t number, struct gsm8k_task *out,
                                struct err *e)
{
    json_error_t why;
    json_t *row = json_loadb(line, n_bytes, 0, &why);
    const char *question = json_string_value(json_object_get(row, "question"));
    const char *answer = json_string_value(json_object_get(row, "answer"));
    enum err_code rc = ERR_OK;
    if (!row)
        rc = err_set(e, ERR_FORMAT, "line %d: no JSON: %s", number, why.text);
    else if (!question || !answer)
        rc = err_set(e, ERR_FORMAT, "line %d: an object with the texts \"question\" and \"answer\" wanted", number);
    else if (!strstr(answer, "####") || !gsm8k_number(answer, strlen(answer), out->number))
        rc = err_set(e, ERR_FORMAT, "line %d: no number after #### in the answer", number);
    if (rc == ERR_OK) {
        out->question = strdup(question);
        out->answer = strdup(answer);
        if (!out->question || !out->answer)
            rc = err_set(e, ERR_NOMEM, "no memory for task %d", number);
    }
    json_decref(row);
    return rc;
}

static bool is_blank(const char *line, size_t n_bytes)
{
    while (n_bytes > 0 && strchr(" \t\r", line[n_bytes - 1]) && line[n_bytes - 1])
        n_bytes--;
    return n_bytes == 0;
}

static enum err_code grow(struct gsm8k_task **tasks, int32_t n, int32_t *cap, struct err *e)
{
    if (n < *cap)
        return ERR_OK;
    int32_t more = *cap ? 2 * *cap : 256;
    struct gsm8k_task *grown = more <= GSM8K_TASKS_MOST ? realloc(*tasks, (size_t)more * sizeof *grown) : NULL;
    if (!grown)
        return err_set(e, ERR_NOMEM, "no memory for more than %d tasks", n);
    *tasks = grown;
    *cap = more;
    return ERR_OK;
}

enum err_code gsm8k_parse(const char *bytes, size_t n_bytes, struct gsm8k_task **tasks, int32_t *n_tasks,
                          struct err *e)
{
    const char *at = bytes, *end = bytes + n_bytes;
    enum err_code rc = ERR_OK;
    int32_t n = 0, cap = 0;
    *tasks = NULL;
    for (int32_t line = 1; rc == ERR_OK && at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        if (!is_blank(at, length)) {
            rc = grow(tasks, n, &cap, e);
            if (rc == ERR_OK) {
                (*tasks)[n] = (struct gsm8k_task){ 0 };
                rc = parse_line(at, length, line, &(*tasks)[n++], e);
            }
        }
        at = stop ? stop + 1 : end;
    }
    if (rc == ERR_OK && n == 0)
        rc = err_set(e, ERR_FORMAT, "no tasks in it");
    *n_tasks = n;
    if (rc != ERR_OK) {
        gsm8k_free(*tasks, n);
        *tasks = NULL;
        *n_tasks = 0;
    }
    return rc;
}

void gsm8k_free(struct gsm8k_task *tasks, int32_t n_tasks)
{
    for (int32_t i = 0; i < n_tasks; i++) {
        free(tasks[i].question);
        free(tasks[i].answer);
    }
    free(tasks);
}
