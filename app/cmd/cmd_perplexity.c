/* SPDX-License-Identifier: MIT */
/* quip perplexity: how well a model predicts a text, defined so that the figure may be laid beside
 * llama.cpp's.
 *
 * The text is cut into chunks of n_ctx tokens, each evaluated from an empty cache with its first token
 * replaced by the beginning token where the vocabulary wants one. The first half of a chunk is context;
 * the logits at positions n_ctx/2 .. n_ctx-2 score the tokens after them. Perplexity is exp of the mean
 * negative log-likelihood, its error the standard error of that mean times the perplexity.
 *
 * The file of --save-logits is what llama.cpp takes as base of a KL divergence: "_logits_", int32 n_ctx,
 * n_vocab, n_chunks, int32 tokens[n_chunks * n_ctx]; then per scored position float scale, float lowest
 * log-probability, and n_vocab codes of 16 bits (one more if odd): log-probability = lowest + scale * code,
 * everything more than 16 below the best logit being code 0. */
#include "app/cmd/cmd.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PERPLEXITY_BATCH = 256, PERPLEXITY_SLICE_BYTES = 64 << 20 };

struct tally {
    double sum, squares;
    int64_t n;
};

struct scorer {
    struct session *s;
    int32_t n_vocab, n_ctx, n_chunks;
    int32_t first_scored;     /* position whose logits are the first to count */
    int32_t slice;            /* scored positions evaluated together */
    int32_t bos;              /* or -1 */
    const int32_t *tokens;
    int32_t *chunk;           /* [n_ctx] */
    float *logits;            /* [slice][n_vocab] */
    FILE *save;
    const char *save_name;
    uint16_t *codes;          /* one row of the file */
};

static double log_sum_exp(const float *logits, int32_t n, float *highest, float *lowest)
{
    float high = logits[0], low = logits[0];
    for (int32_t i = 1; i < n; i++) {
        high = logits[i] > high ? logits[i] : high;
        low = logits[i] < low ? logits[i] : low;
    }
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += expf(logits[i] - high);
    *highest = high;
    *lowest = low;
    return log(sum);
}

static size_t row_codes(int32_t n_vocab)
{
    return 2 * (((size_t)n_vocab + 1) / 2) + 4;
}

static void encode_row(const struct scorer *p, const float *logits, float high, float low, double log_sum)
{
    if (low < high - 16)
        low = high - 16;
    float head[2] = { (high - low) / 65535.0f, (float)(low - high - log_sum) };
    memset(p->codes, 0, row_codes(p->n_vocab) * sizeof *p->codes);
    memcpy(p->codes, head, sizeof head);
    if (head[0] > 0)
        for (int32_t i = 0; i < p->n_vocab; i++)
            if (logits[i] > low)
                p->codes[4 + i] = (uint16_t)lrintf((logits[i] - low) / head[0]);
}

/* Scores the tokens that follow n positions, the first of them at `position` of the chunk. */
static enum err_code score(struct scorer *p, int32_t position, int32_t n, struct tally *t, struct err *e)
{
    for (int32_t i = 0; i < n; i++) {
        const float *row = p->logits + (size_t)i * (size_t)p->n_vocab;
        float high, low;
        double log_sum = log_sum_exp(row, p->n_vocab, &high, &low);
        double nll = high + log_sum - row[p->chunk[position + i + 1]];
        t->sum += nll;
        t->squares += nll * nll;
        t->n++;
        if (!p->save)
            continue;
        encode_row(p, row, high, low, log_sum);
        size_t n_codes = row_codes(p->n_vocab);
        if (fwrite(p->codes, sizeof *p->codes, n_codes, p->save) != n_codes)
            return err_set(e, ERR_IO, "%s: %s", p->save_name, strerror(errno));
    }
    return ERR_OK;
}

static enum err_code run_chunk(struct scorer *p, int32_t index, struct tally *t, struct err *e)
{
    memcpy(p->chunk, p->tokens + (size_t)index * (size_t)p->n_ctx, sizeof *p->chunk * (size_t)p->n_ctx);
    if (p->bos >= 0)
        p->chunk[0] = p->bos;
    session_truncate(p->s, 0, 0);
    enum err_code rc = ERR_OK;
    int32_t at = 0;
    while (rc == ERR_OK && at < p->first_scored) {
        int32_t n = p->first_scored - at < PERPLEXITY_BATCH ? p->first_scored - at : PERPLEXITY_BATCH;
        rc = session_eval(p->s, 0, p->chunk + at, n, NULL, 0, e);
        at += n;
    }
    int32_t end = p->n_ctx - 1;    /* the last token has nothing after it to score */
    while (rc == ERR_OK && at < end) {
        int32_t n = end - at < p->slice ? end - at : p->slice;
        rc = session_eval(p->s, 0, p->chunk + at, n, p->logits, n, e);
        if (rc == ERR_OK)
            rc = score(p, at, n, t, e);
        at += n;
    }
    return rc;
}

static enum err_code save_heading(const struct scorer *p, struct err *e)
{
    int32_t head[3] = { p->n_ctx, p->n_vocab, p->n_chunks };
    size_t n = (size_t)p->n_ctx * (size_t)p->n_chunks;
    if (fwrite("_logits_", 8, 1, p->save) != 1 || fwrite(head, sizeof head, 1, p->save) != 1 ||
        fwrite(p->tokens, sizeof *p->tokens, n, p->save) != n)
        return err_set(e, ERR_IO, "%s: %s", p->save_name, strerror(errno));
    return ERR_OK;
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) * 1e-9;
}

static enum err_code run_chunks(struct scorer *p, struct err *e)
{
    struct tally t = { 0 };
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int32_t i = 0; i < p->n_chunks; i++) {
        enum err_code rc = run_chunk(p, i, &t, e);
        if (rc != ERR_OK)
            return rc;
        if (i == 0)
            fprintf(stderr, "%.2f seconds per chunk, %d chunks of %d\n", seconds_since(&start), p->n_chunks,
                    p->n_ctx);
        fprintf(stderr, "[%d]%.4f,", i + 1, exp(t.sum / (double)t.n));
        fflush(stderr);
    }
    fputc('\n', stderr);
    double mean = t.sum / (double)t.n, variance = t.squares / (double)t.n - mean * mean;
    double error = t.n > 1 && variance > 0 ? sqrt(variance / (double)(t.n - 1)) : 0;
    printf("Final estimate: PPL = %.4f +/- %.5f\n", exp(mean), error * exp(mean));
    return ERR_OK;
}

static enum err_code tokenize(const struct app *app, const struct model *m, struct token_list *tokens,
                              int32_t *bos, struct err *e)
{
    struct buf text = { 0 };
    enum err_code rc = cmd_read(&text, app->config->file, e);
    struct text_part part = { buf_text(&text), text.n_bytes, false };
    struct text_part nothing = { "", 0, false };
    struct token_list front = { 0 };
    if (rc == ERR_OK)
        rc = model_tokenize(m, &nothing, 1, true, &front, e);
    if (rc == ERR_OK)
        rc = model_tokenize(m, &part, 1, true, tokens, e);
    *bos = front.n > 0 ? front.ids[0] : -1;    /* what the vocabulary puts before a text, if anything */
    token_list_finish(&front);
    buf_finish(&text);
    return rc;
}

static enum err_code prepare(struct scorer *p, const struct app *app, const struct token_list *tokens,
                             struct err *e)
{
    const struct config *c = app->config;
    p->tokens = tokens->ids;
    p->first_scored = p->n_ctx / 2;
    p->n_chunks = tokens->n / p->n_ctx;
    if (p->n_chunks < 2)
        return err_set(e, ERR_FORMAT, "%s: %d tokens, at least %d wanted for two chunks of %d", c->file,
                       tokens->n, 2 * p->n_ctx, p->n_ctx);
    if (c->n_chunks >= 0 && c->n_chunks < p->n_chunks)
        p->n_chunks = c->n_chunks;
    p->chunk = malloc(sizeof *p->chunk * (size_t)p->n_ctx);
    p->logits = malloc(sizeof *p->logits * (size_t)p->n_vocab * (size_t)p->slice);
    p->codes = malloc(sizeof *p->codes * row_codes(p->n_vocab));
    if (!p->chunk || !p->logits || !p->codes)
        return err_set(e, ERR_NOMEM, "no memory for %d rows of %d logits", p->slice, p->n_vocab);
    if (!c->save_logits)
        return ERR_OK;
    p->save_name = c->save_logits;
    p->save = fopen(c->save_logits, "wb");
    if (!p->save)
        return err_set(e, ERR_IO, "%s: %s", c->save_logits, strerror(errno));
    return save_heading(p, e);
}

enum exit_code cmd_perplexity(const struct app *app)
{
    const struct config *c = app->config;
    if (!c->model || !c->file) {
        cmd_complain("'quip perplexity' needs -m MODEL and -f FILE");
        return EXIT_CODE_USAGE;
    }
    struct cmd_model cm;
    enum exit_code code = cmd_model_open(&cm, app, MODEL_RUN, c->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    struct err e = { 0 };
    struct token_list tokens = { 0 };
    struct scorer p = { .n_vocab = model_info(cm.model)->n_vocab, .n_ctx = c->n_ctx };
    p.slice = (int32_t)(PERPLEXITY_SLICE_BYTES / ((size_t)p.n_vocab * sizeof *p.logits));
    p.slice = p.slice < 1 ? 1 : p.slice > PERPLEXITY_BATCH ? PERPLEXITY_BATCH : p.slice;
    code = cmd_session(&p.s, app, cm.model, p.n_ctx, PERPLEXITY_BATCH);
    if (code == EXIT_CODE_OK) {
        enum err_code rc = tokenize(app, cm.model, &tokens, &p.bos, &e);
        if (rc == ERR_OK)
            rc = prepare(&p, app, &tokens, &e);
        if (rc == ERR_OK)
            rc = run_chunks(&p, &e);
        if (p.save && fclose(p.save) != 0 && rc == ERR_OK)
            rc = err_set(&e, ERR_IO, "%s: %s", p.save_name, strerror(errno));
        if (rc != ERR_OK) {
            cmd_complain("%s", e.text);
            code = EXIT_CODE_FAILURE;
        }
    }
    free(p.chunk);
    free(p.logits);
    free(p.codes);
    token_list_finish(&tokens);
    session_destroy(p.s);
    cmd_model_close(&cm);
    return code;
}
