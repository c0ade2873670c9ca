/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/measure/kl_file.h"

/* A file of log-probabilities: refused with a text, or every token is of the vocabulary and every row can be scored. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void need(bool law)
{
    if (!law)
        abort();
}

static void read_rows(struct kl_file *k, const int32_t *tokens)
{
    struct err e = { 0 };
    struct score_row row;
    struct scores s = { .per_chunk = 1 };
    int32_t n_scored = k->n_ctx - 1 - k->n_ctx / 2;
    for (int32_t i = 0; i < k->n_whole * n_scored && i < 64; i++) {
        if (kl_file_row(k, &row, &e) != ERR_OK) {
            need(e.code == ERR_FORMAT);    /* of whole chunks every row is there */
            break;
        }
        need(row.top >= 0 && row.top < k->n_vocab && row.low <= row.high && isfinite(row.high));
        need(scores_add(&s, &row, &row, KL_FILE_FLOOR, tokens[i], &e) == ERR_OK && s.columns[SCORE_KL][i] == 0);
    }
    scores_finish(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct kl_file k;
    struct err e = { 0 };
    FILE *f = n_bytes > 0 ? fmemopen((void *)data, n_bytes, "rb") : NULL;
    if (!f)
        return 0;
    if (kl_file_open_take(&k, f, "input", &e) != ERR_OK) {
        need(!k.file && e.text[0]);
        return 0;
    }
    size_t n = (size_t)k.n_ctx * (size_t)k.n_chunks;
    int32_t *tokens = malloc(n * sizeof *tokens);
    need(tokens && n <= n_bytes / sizeof *tokens && k.n_whole >= 1 && k.n_whole <= k.n_chunks);
    if (kl_file_tokens(&k, tokens, &e) == ERR_OK) {
        for (size_t i = 0; i < n; i++)
            need(tokens[i] >= 0 && tokens[i] < k.n_vocab);
        read_rows(&k, tokens);
    } else {
        need(e.text[0]);
    }
    free(tokens);
    kl_file_close(&k, NULL);
    return 0;
}
