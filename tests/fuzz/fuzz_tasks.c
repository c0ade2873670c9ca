/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "app/measure/gsm8k.h"
#include "app/measure/hellaswag.h"

/* Files of tasks. The first byte chooses: six lines a task, or a line of JSON each; the answer of a model is the same
 * bytes. What is taken can be read to its end, what is not has a text. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void need(bool law)
{
    if (!law)
        abort();
}

static void check_hellaswag(const char *bytes, size_t n_bytes)
{
    struct hellaswag_task *tasks;
    struct err e = { 0 };
    int32_t n;
    if (hellaswag_parse(bytes, n_bytes, &tasks, &n, &e) != ERR_OK) {
        need(!tasks && n == 0 && e.text[0]);
        return;
    }
    need(n > 0);
    for (int32_t i = 0; i < n; i++) {
        need(tasks[i].gold >= 0 && tasks[i].gold < HELLASWAG_ENDINGS);
        for (int k = 0; k < HELLASWAG_ENDINGS; k++) {
            const struct hellaswag_text *text = &tasks[i].endings[k];
            need(text->n_bytes > 0 && text->bytes >= bytes && text->bytes + text->n_bytes <= bytes + n_bytes);
            need(!memchr(text->bytes, '\n', text->n_bytes));
        }
    }
    free(tasks);
}

/* A number is in one form, and is itself when read again. */
static void check_number(const char *bytes, size_t n_bytes)
{
    char out[GSM8K_NUMBER_BYTES], again[GSM8K_NUMBER_BYTES];
    if (!gsm8k_number(bytes, n_bytes, out))
        return;
    size_t n = strlen(out);
    need(n > 0 && strspn(out, "-.0123456789") == n && gsm8k_number(out, n, again) && strcmp(out, again) == 0);
}

static void check_gsm8k(const char *bytes, size_t n_bytes)
{
    struct gsm8k_task *tasks;
    struct err e = { 0 };
    int32_t n;
    if (gsm8k_parse(bytes, n_bytes, &tasks, &n, &e) != ERR_OK) {
        need(!tasks && n == 0 && e.text[0]);
        return;
    }
    for (int32_t i = 0; i < n; i++)
        need(tasks[i].question && tasks[i].answer && tasks[i].number[0]);
    gsm8k_free(tasks, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes == 0)
        return 0;
    const char *bytes = (const char *)data + 1;
    if (data[0] & 1)
        check_hellaswag(bytes, n_bytes - 1);
    else
        check_gsm8k(bytes, n_bytes - 1);
    check_number(bytes, n_bytes - 1);
    return 0;
}
