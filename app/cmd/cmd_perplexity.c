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
 * everything more than 16 below the best logit being code 0.
 *
 * --kl-base reads such a file, quip's or llama.cpp's, evaluates its tokens, and tells how far the predictions
 * are from those in the file: mean over the scored positions of the KL divergence (file first; of what the file
 * holds as code 0, at most 1e-7 each, nothing counts, as in llama.cpp), and how often both put the same token
 * first. The rounding of the codes leaves a floor: a run against its own file shows it. */
#include "app/cmd/cmd.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PERPLEXITY_BATCH = 256, PERPLEXITY_SLICE_BYTES = 64 << 20,
       PERPLEXITY_LEAST = 8, PERPLEXITY_MOST = 1 << 20, PERPLEXITY_TOKENS = 1 << 28 };    /* of a base file */

struct tally {
    double sum, squares;
    int64_t n;
};

/* Against the file of --kl-base. */
struct kl_tally {
    struct tally kl, base_nll;
    double worst;
    int64_t n_same_top;
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
    FILE *base;
    const char *base_name;
    uint16_t *base_codes;     /* one row of it */
    struct tally nll;
    struct kl_tally against;
};

static void tally_add(struct tally *t, double value)
{
    t->sum += value;
    t->squares += value * value;
    t->n++;
}

static double tally_mean(const struct tally *t)
{
    return t->sum / (double)t->n;
}

/* Standard error of the mean. */
static double tally_error(const struct tally *t)
{
    double mean = tally_mean(t), variance = t->squares / (double)t->n - mean * mean;
    return t->n > 1 && variance > 0 ? sqrt(variance / (double)(t->n - 1)) : 0;
}

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

static enum err_code read_base(struct scorer *p, void *out, size_t n_bytes, struct err *e)
{
    if (fread(out, 1, n_bytes, p->base) == n_bytes)
        return ERR_OK;
    return err_set(e, ERR_IO, "%s: %s", p->base_name, ferror(p->base) ? strerror(errno) : "ends too early");
}

/* One position against the next row of the base; log_z is the log of the sum of exp over the row. */
static enum err_code compare_row(struct scorer *p, const float *logits, double log_z, int32_t next, struct err *e)
{
    enum err_code rc = read_base(p, p->base_codes, row_codes(p->n_vocab) * sizeof *p->base_codes, e);
    if (rc != ERR_OK)
        return rc;
    float head[2];
    memcpy(head, p->base_codes, sizeof head);
    const uint16_t *codes = p->base_codes + 4;
    double kl = 0;
    int32_t top = 0, base_top = 0;
    for (int32_t i = 0; i < p->n_vocab; i++) {
        float base = head[0] * (float)codes[i] + head[1];
        top = logits[i] > logits[top] ? i : top;
        base_top = codes[i] > codes[base_top] ? i : base_top;
        if (base > -16.0f)
            kl += exp((double)base) * ((double)base - (logits[i] - log_z));
    }
    struct kl_tally *t = &p->against;
    tally_add(&t->kl, kl);
    tally_add(&t->base_nll, -((double)head[0] * codes[next] + head[1]));
    t->worst = kl > t->worst ? kl : t->worst;
    t->n_same_top += top == base_top;
    return ERR_OK;
}

/* Scores the tokens that follow n positions, the first of them at `position` of the chunk. */
static enum err_code score(struct scorer *p, int32_t position, int32_t n, struct err *e)
{
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < n; i++) {
        const float *row = p->logits + (size_t)i * (size_t)p->n_vocab;
        float high, low;
        double log_sum = log_sum_exp(row, p->n_vocab, &high, &low);
        int32_t next = p->chunk[position + i + 1];
        tally_add(&p->nll, high + log_sum - row[next]);
        if (p->base)
            rc = compare_row(p, row, high + log_sum, next, e);
        if (rc != ERR_OK || !p->save)
            continue;
        encode_row(p, row, high, low, log_sum);
        size_t n_codes = row_codes(p->n_vocab);
        if (fwrite(p->codes, sizeof *p->codes, n_codes, p->save) != n_codes)
            rc = err_set(e, ERR_IO, "%s: %s", p->save_name, strerror(errno));
    }
    return rc;
}

static enum err_code run_chunk(struct scorer *p, int32_t index, struct err *e)
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
            rc = score(p, at, n, e);
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

static void report(const struct scorer *p)
{
    double ppl = exp(tally_mean(&p->nll));
    printf("Final estimate: PPL = %.4f +/- %.5f\n", ppl, tally_error(&p->nll) * ppl);
    if (!p->base)
        return;
    const struct kl_tally *t = &p->against;
    double base_ppl = exp(tally_mean(&t->base_nll));
    double same = (double)t->n_same_top / (double)t->kl.n;
    double same_error = t->kl.n > 1 ? sqrt(same * (1 - same) / (double)(t->kl.n - 1)) : 0;
    printf("Base: PPL = %.4f +/- %.5f\n", base_ppl, tally_error(&t->base_nll) * base_ppl);
    printf("Mean KLD: %.7f +/- %.7f\n", tally_mean(&t->kl), tally_error(&t->kl));
    printf("Maximum KLD: %.7f\n", t->worst);
    printf("Same top p: %.3f +/- %.3f %%\n", 100 * same, 100 * same_error);
}

static enum err_code run_chunks(struct scorer *p, struct err *e)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int32_t i = 0; i < p->n_chunks; i++) {
        enum err_code rc = run_chunk(p, i, e);
        if (rc != ERR_OK)
            return rc;
        if (i == 0)
            fprintf(stderr, "%.2f seconds per chunk, %d chunks of %d\n", seconds_since(&start), p->n_chunks,
                    p->n_ctx);
        fprintf(stderr, "[%d]%.4f,", i + 1, exp(tally_mean(&p->nll)));
        fflush(stderr);
    }
    fputc('\n', stderr);
    report(p);
    return ERR_OK;
}

static enum err_code tokenize(struct scorer *p, const struct app *app, const struct model *m,
                              struct token_list *tokens, struct err *e)
{
    struct buf text = { 0 };
    const char *file = app->config->file;
    enum err_code rc = cmd_read(&text, file, e);
    struct text_part part = { buf_text(&text), text.n_bytes, false };
    if (rc == ERR_OK)
        rc = model_tokenize(m, &part, 1, true, tokens, e);
    buf_finish(&text);
    p->n_ctx = app->config->n_ctx;
    p->n_chunks = tokens->n / p->n_ctx;
    if (rc == ERR_OK && p->n_chunks < 2)
        rc = err_set(e, ERR_FORMAT, "%s: %d tokens, at least %d wanted for two chunks of %d", file, tokens->n,
                     2 * p->n_ctx, p->n_ctx);
    return rc;
}

/* Heading and tokens of the base; its rows follow. */
static enum err_code open_base(struct scorer *p, const char *path, struct token_list *tokens, struct err *e)
{
    char magic[8];
    int32_t head[3] = { 0 };
    p->base_name = path;
    p->base = fopen(path, "rb");
    if (!p->base)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    enum err_code rc = read_base(p, magic, sizeof magic, e);
    if (rc == ERR_OK && memcmp(magic, "_logits_", sizeof magic) != 0)
        rc = err_set(e, ERR_FORMAT, "%s: not a file of --save-logits", path);
    if (rc == ERR_OK)
        rc = read_base(p, head, sizeof head, e);
    if (rc == ERR_OK && head[1] != p->n_vocab)
        rc = err_set(e, ERR_FORMAT, "%s: made with a vocabulary of %d tokens, this model has %d", path, head[1],
                     p->n_vocab);
    if (rc == ERR_OK && (head[0] < PERPLEXITY_LEAST || head[0] > PERPLEXITY_MOST || head[2] < 1 ||
                         head[2] > PERPLEXITY_TOKENS / head[0]))
        rc = err_set(e, ERR_FORMAT, "%s: %d chunks of %d tokens, 1 to %d chunks of %d to %d wanted", path, head[2],
                     head[0], PERPLEXITY_TOKENS / PERPLEXITY_MOST, PERPLEXITY_LEAST, PERPLEXITY_MOST);
    if (rc != ERR_OK)
        return rc;
    p->n_ctx = head[0];
    p->n_chunks = head[2];
    tokens->n = tokens->cap = p->n_ctx * p->n_chunks;
    tokens->ids = malloc(sizeof *tokens->ids * (size_t)tokens->n);
    if (!tokens->ids)
        return err_set(e, ERR_NOMEM, "%s: no memory for %d tokens", path, tokens->n);
    return read_base(p, tokens->ids, sizeof *tokens->ids * (size_t)tokens->n, e);
}

static enum err_code prepare(struct scorer *p, const struct app *app, const struct token_list *tokens,
                             struct err *e)
{
    const struct config *c = app->config;
    p->tokens = tokens->ids;
    p->first_scored = p->n_ctx / 2;
    if (c->n_chunks >= 0 && c->n_chunks < p->n_chunks)
        p->n_chunks = c->n_chunks;
    p->chunk = malloc(sizeof *p->chunk * (size_t)p->n_ctx);
    p->logits = malloc(sizeof *p->logits * (size_t)p->n_vocab * (size_t)p->slice);
    p->codes = malloc(sizeof *p->codes * row_codes(p->n_vocab));
    p->base_codes = malloc(sizeof *p->base_codes * row_codes(p->n_vocab));
    if (!p->chunk || !p->logits || !p->codes || !p->base_codes)
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
    if (!c->model || !c->file == !c->kl_base) {
        cmd_complain("'quip perplexity' needs -m MODEL and one of -f FILE and --kl-base FILE");
        return EXIT_CODE_USAGE;
    }
    struct cmd_model cm;
    enum exit_code code = cmd_model_open(&cm, app, MODEL_RUN, c->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    cmd_note_device(cm.eng);
    struct err e = { 0 };
    struct token_list tokens = { 0 };
    struct scorer p = { .n_vocab = model_info(cm.model)->n_vocab };
    p.slice = (int32_t)(PERPLEXITY_SLICE_BYTES / ((size_t)p.n_vocab * sizeof *p.logits));
    p.slice = p.slice < 1 ? 1 : p.slice > PERPLEXITY_BATCH ? PERPLEXITY_BATCH : p.slice;
    enum err_code rc = cmd_bos(cm.model, &p.bos, &e);
    if (rc == ERR_OK)
        rc = c->kl_base ? open_base(&p, c->kl_base, &tokens, &e) : tokenize(&p, app, cm.model, &tokens, &e);
    if (rc == ERR_OK)
        code = cmd_session(&p.s, app, cm.model, p.n_ctx, PERPLEXITY_BATCH);
    if (rc == ERR_OK && code == EXIT_CODE_OK)
        rc = prepare(&p, app, &tokens, &e);
    if (rc == ERR_OK && code == EXIT_CODE_OK)
        rc = run_chunks(&p, &e);
    if (p.save && fclose(p.save) != 0 && rc == ERR_OK)
        rc = err_set(&e, ERR_IO, "%s: %s", p.save_name, strerror(errno));
    if (rc != ERR_OK) {
        cmd_complain("%s", e.text);
        code = EXIT_CODE_FAILURE;
    }
    if (p.base)
        fclose(p.base);
    free(p.base_codes);
    free(p.chunk);
    free(p.logits);
    free(p.codes);
    token_list_finish(&tokens);
    session_destroy(p.s);
    cmd_model_close(&cm);
    return code;
}
