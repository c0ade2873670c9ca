/* SPDX-License-Identifier: MIT */
#include "app/measure/kl_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KL_FILE_CTX_LEAST = 8, KL_FILE_CTX_MOST = 1 << 20, KL_FILE_TOKENS_MOST = 1 << 28, KL_FILE_VOCAB_MOST = 1 << 24,
       KL_FILE_HEAD_BYTES = 20, KL_FILE_HEAD_CODES = 4 };

static const char magic[8] = { '_', 'l', 'o', 'g', 'i', 't', 's', '_' };

static size_t row_codes(int32_t n_vocab)
{
    return 2 * (((size_t)n_vocab + 1) / 2) + KL_FILE_HEAD_CODES;
}

static enum err_code take_rows(struct kl_file *k, struct err *e)
{
    k->codes = calloc(row_codes(k->n_vocab), sizeof *k->codes);
    k->row = malloc((size_t)k->n_vocab * sizeof *k->row);
    return k->codes && k->row ? ERR_OK
                              : err_set(e, ERR_NOMEM, "%s: no memory for a row of %d codes", k->name, k->n_vocab);
}

/* ---- reading -------------------------------------------------------------------------------------- */

static enum err_code get(struct kl_file *k, void *out, size_t n_bytes, struct err *e)
{
    if (fread(out, 1, n_bytes, k->file) == n_bytes)
        return ERR_OK;
    return err_set(e, ERR_IO, "%s: %s", k->name, ferror(k->file) ? strerror(errno) : "ends too early");
}

/* How many chunks have all their rows; the place in the file is as before. */
static enum err_code count_whole(struct kl_file *k, struct err *e)
{
    k->n_whole = k->n_chunks;
    if (fseeko(k->file, 0, SEEK_END) != 0)
        return ERR_OK;
    int64_t n_bytes = ftello(k->file);
    if (n_bytes < 0 || fseeko(k->file, KL_FILE_HEAD_BYTES, SEEK_SET) != 0)
        return err_set(e, ERR_IO, "%s: %s", k->name, strerror(errno));
    int64_t tokens = (int64_t)sizeof(int32_t) * k->n_ctx * k->n_chunks;
    int64_t chunk = (int64_t)(sizeof *k->codes * row_codes(k->n_vocab)) * (k->n_ctx - 1 - k->n_ctx / 2);
    int64_t n = (n_bytes - KL_FILE_HEAD_BYTES - tokens) / chunk;
    if (n_bytes < KL_FILE_HEAD_BYTES + tokens + chunk)
        return err_set(e, ERR_IO, "%s: ends too early, %lld bytes for %d chunks of %d tokens", k->name,
                       (long long)n_bytes, k->n_chunks, k->n_ctx);
    if (n < k->n_chunks)
        k->n_whole = (int32_t)n;
    return ERR_OK;
}

static enum err_code read_heading(struct kl_file *k, struct err *e)
{
    char start[sizeof magic];
    int32_t head[3] = { 0 };
    enum err_code rc = get(k, start, sizeof start, e);
    if (rc == ERR_OK && memcmp(start, magic, sizeof magic) != 0)
        rc = err_set(e, ERR_FORMAT, "%s: not a file of --save-logits", k->name);
    if (rc == ERR_OK)
        rc = get(k, head, sizeof head, e);
    k->n_ctx = head[0];
    k->n_vocab = head[1];
    k->n_chunks = head[2];
    if (rc == ERR_OK && (k->n_vocab < 1 || k->n_vocab > KL_FILE_VOCAB_MOST))
        rc = err_set(e, ERR_FORMAT, "%s: a vocabulary of %d tokens, 1 to %d wanted", k->name, k->n_vocab,
                     KL_FILE_VOCAB_MOST);
    if (rc == ERR_OK && (k->n_ctx < KL_FILE_CTX_LEAST || k->n_ctx > KL_FILE_CTX_MOST || k->n_chunks < 1 ||
                         k->n_chunks > KL_FILE_TOKENS_MOST / k->n_ctx))
        rc = err_set(e, ERR_FORMAT, "%s: %d chunks of %d tokens; chunks of %d to %d, at most %d tokens in all wanted",
                     k->name, k->n_chunks, k->n_ctx, KL_FILE_CTX_LEAST, KL_FILE_CTX_MOST, KL_FILE_TOKENS_MOST);
    return rc == ERR_OK ? count_whole(k, e) : rc;
}

enum err_code kl_file_open_take(struct kl_file *k, FILE *file, const char *name, struct err *e)
{
    *k = (struct kl_file){ .file = file, .name = name };
    enum err_code rc = read_heading(k, e);
    if (rc == ERR_OK)
        rc = take_rows(k, e);
    if (rc != ERR_OK)
        kl_file_close(k, NULL);
    return rc;
}

enum err_code kl_file_open(struct kl_file *k, const char *path, struct err *e)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        *k = (struct kl_file){ 0 };
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    }
    return kl_file_open_take(k, f, path, e);
}

enum err_code kl_file_tokens(struct kl_file *k, int32_t *tokens, struct err *e)
{
    size_t n = (size_t)k->n_ctx * (size_t)k->n_chunks;
    enum err_code rc = get(k, tokens, n * sizeof *tokens, e);
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= k->n_vocab)
            rc = err_set(e, ERR_FORMAT, "%s: token %zu is %d, 0 to %d wanted", k->name, i, tokens[i], k->n_vocab - 1);
    return rc;
}

enum err_code kl_file_row(struct kl_file *k, struct score_row *out, struct err *e)
{
    float head[2];
    enum err_code rc = get(k, k->codes, row_codes(k->n_vocab) * sizeof *k->codes, e);
    if (rc != ERR_OK)
        return rc;
    memcpy(head, k->codes, sizeof head);
    /* All the writer can have made: the highest is a logarithm of 1 at most, but for rounding. */
    if (!isfinite(head[0]) || !isfinite(head[1]) || head[0] < 0 || head[0] * 65535.0f + head[1] > 1)
        return err_set(e, ERR_FORMAT, "%s: a row has scale %g and lowest log-probability %g, of which no logarithms of "
                       "probabilities come", k->name, (double)head[0], (double)head[1]);
    const uint16_t *codes = k->codes + KL_FILE_HEAD_CODES;
    int32_t top = 0;
    for (int32_t i = 0; i < k->n_vocab; i++) {
        k->row[i] = head[0] * (float)codes[i] + head[1];
        top = codes[i] > codes[top] ? i : top;
    }
    score_row_given(out, k->row, k->n_vocab);
    out->top = top;    /* neighbouring codes may be the same float */
    return ERR_OK;
}

/* ---- writing -------------------------------------------------------------------------------------- */

static enum err_code put(struct kl_file *k, const void *bytes, size_t n_bytes, struct err *e)
{
    if (fwrite(bytes, 1, n_bytes, k->file) == n_bytes)
        return ERR_OK;
    return err_set(e, ERR_IO, "%s: %s", k->name, strerror(errno));
}

enum err_code kl_file_create(struct kl_file *k, const char *path, int32_t n_ctx, int32_t n_vocab, int32_t n_chunks,
                             const int32_t *tokens, struct err *e)
{
    *k = (struct kl_file){ .name = path, .n_ctx = n_ctx, .n_vocab = n_vocab, .n_chunks = n_chunks, .writes = true };
    enum err_code rc = take_rows(k, e);
    if (rc == ERR_OK && !(k->file = fopen(path, "wb")))
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    int32_t head[3] = { n_ctx, n_vocab, n_chunks };
    if (rc == ERR_OK)
        rc = put(k, magic, sizeof magic, e);
    if (rc == ERR_OK)
        rc = put(k, head, sizeof head, e);
    if (rc == ERR_OK)
        rc = put(k, tokens, sizeof *tokens * (size_t)n_ctx * (size_t)n_chunks, e);
    if (rc != ERR_OK)
        kl_file_close(k, NULL);
    return rc;
}

enum err_code kl_file_add(struct kl_file *k, const struct score_row *row, struct err *e)
{
    float low = row->low < row->high - 16 ? row->high - 16 : row->low;
    float head[2] = { (row->high - low) / 65535.0f, (float)(low - row->log_z) };
    memset(k->codes, 0, row_codes(k->n_vocab) * sizeof *k->codes);
    memcpy(k->codes, head, sizeof head);
    for (int32_t i = 0; head[0] > 0 && i < k->n_vocab; i++)
        if (row->logits[i] > low)
            k->codes[KL_FILE_HEAD_CODES + i] = (uint16_t)lrintf((row->logits[i] - low) / head[0]);
    return put(k, k->codes, row_codes(k->n_vocab) * sizeof *k->codes, e);
}

enum err_code kl_file_close(struct kl_file *k, struct err *e)
{
    enum err_code rc = ERR_OK;
    if (k->file && fclose(k->file) != 0 && k->writes)
        rc = err_set(e, ERR_IO, "%s: %s", k->name, strerror(errno));
    free(k->codes);
    free(k->row);
    *k = (struct kl_file){ 0 };
    return rc;
}
