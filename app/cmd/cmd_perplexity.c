/* SPDX-License-Identifier: MIT */
/* quip perplexity: how well a model predicts a text, and how far its predictions are from a base's, defined so that the
 * figures may be laid beside llama.cpp's (app/measure/comparison.h has the chunks, scores.h the figures).
 *
 * The base is a file, quip's or llama.cpp's (--kl-base), or another model (--kl-model), evaluated side by side: then
 * its log-probabilities are never rounded, and a model against itself gives 0. --versus has another model go over the
 * same positions, for the difference between the two with an interval of its own, narrower than those of either. */
#include "app/cmd/cmd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/cmd/perplexity_report.h"
#include "engine/base/clock.h"

struct perplexity {
    const struct app *app;
    struct cmd_model cm;
    struct model *models[COMPARISON_SIDES];    /* that of the subject is cm's */
    struct comparison_options o;
    struct comparison c;
    struct kl_file base, save;
    struct token_list tokens;
};

/* The same text gives the same tokens with every model, or there is nothing to compare. */
static enum err_code check_vocabulary(const struct perplexity *p, const struct model *m, const char *name,
                                      const struct buf *text, struct err *e)
{
    struct token_list other = { 0 };
    const struct token_list *ours = &p->tokens;
    int32_t n_vocab = model_info(m)->n_vocab;
    if (n_vocab != p->o.n_vocab)
        return err_set(e, ERR_FORMAT, "%s: a vocabulary of %d tokens, %s has %d", name, n_vocab, p->app->config->model,
                       p->o.n_vocab);
    if (!text)
        return ERR_OK;
    enum err_code rc = comparison_tokens(m, buf_text(text), text->n_bytes, &other, e);
    int32_t n = 0;
    while (rc == ERR_OK && n < other.n && n < ours->n && other.ids[n] == ours->ids[n])
        n++;
    if (rc == ERR_OK && (n < other.n || n < ours->n))
        rc = err_set(e, ERR_FORMAT, "%s: makes other tokens of the text than %s, from token %d on", name,
                     p->app->config->model, n);
    token_list_finish(&other);
    return rc;
}

static enum err_code read_text(struct perplexity *p, const char *names[COMPARISON_SIDES], struct err *e)
{
    const struct config *c = p->app->config;
    struct buf text = { 0 };
    enum err_code rc = cmd_read(&text, c->file, e);
    if (rc == ERR_OK)
        rc = comparison_tokens(p->cm.model, buf_text(&text), text.n_bytes, &p->tokens, e);
    for (int i = COMPARISON_BASE; rc == ERR_OK && i < COMPARISON_SIDES; i++)
        if (p->models[i])
            rc = check_vocabulary(p, p->models[i], names[i], &text, e);
    buf_finish(&text);
    p->o.n_ctx = c->n_ctx;
    p->o.n_chunks = p->tokens.n / c->n_ctx;
    if (rc == ERR_OK && p->o.n_chunks < 2)
        rc = err_set(e, ERR_FORMAT, "%s: %d tokens, at least %d wanted for two chunks of %d", c->file, p->tokens.n,
                     2 * c->n_ctx, c->n_ctx);
    return rc;
}

/* Heading and tokens of the base; its rows follow. */
static enum err_code read_base(struct perplexity *p, const char *versus, struct err *e)
{
    const char *path = p->app->config->kl_base;
    enum err_code rc = kl_file_open(&p->base, path, e);
    if (rc != ERR_OK)
        return rc;
    if (p->base.n_vocab != p->o.n_vocab)
        return err_set(e, ERR_FORMAT, "%s: made with a vocabulary of %d tokens, this model has %d", path,
                       p->base.n_vocab, p->o.n_vocab);
    if (p->models[COMPARISON_RIVAL])
        rc = check_vocabulary(p, p->models[COMPARISON_RIVAL], versus, NULL, e);
    p->o.base_file = &p->base;
    p->o.n_ctx = p->base.n_ctx;
    p->o.n_chunks = p->base.n_chunks;
    p->tokens.n = p->tokens.cap = p->o.n_ctx * p->o.n_chunks;
    p->tokens.ids = malloc(sizeof *p->tokens.ids * (size_t)p->tokens.n);
    if (!p->tokens.ids)
        return err_set(e, ERR_NOMEM, "%s: no memory for %d tokens", path, p->tokens.n);
    return rc == ERR_OK ? kl_file_tokens(&p->base, p->tokens.ids, e) : rc;
}

static enum err_code prepare(struct perplexity *p, const char *names[COMPARISON_SIDES], struct err *e)
{
    const struct config *c = p->app->config;
    p->o.n_vocab = model_info(p->cm.model)->n_vocab;
    enum err_code rc = comparison_bos(p->cm.model, &p->o.bos, e);
    if (rc == ERR_OK)
        rc = c->kl_base ? read_base(p, names[COMPARISON_RIVAL], e) : read_text(p, names, e);
    if (rc != ERR_OK)
        return rc;
    if (c->n_chunks >= 0 && c->n_chunks < p->o.n_chunks)
        p->o.n_chunks = c->n_chunks;
    if (p->o.n_chunks < 1)
        return err_set(e, ERR_FORMAT, "--chunks 0: nothing to score");
    if (c->kl_base && p->base.n_whole < p->o.n_chunks)
        return err_set(e, ERR_IO, "%s: ends too early, after %d of %d chunks; --chunks %d takes those", c->kl_base,
                       p->base.n_whole, p->base.n_chunks, p->base.n_whole);
    p->o.tokens = p->tokens.ids;
    if (!c->save_logits)
        return ERR_OK;
    p->o.save = &p->save;
    return kl_file_create(&p->save, c->save_logits, p->o.n_ctx, p->o.n_vocab, p->o.n_chunks, p->o.tokens, e);
}

static double mean_nll(const struct scores *s)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        sum += s->columns[SCORE_NLL][i];
    return sum / (double)s->n;
}

static enum err_code run_chunks(struct perplexity *p, struct err *e)
{
    double start = clock_ms();
    bool done = false;
    int32_t shown = 0;
    enum err_code rc = ERR_OK;
    while (rc == ERR_OK && !done) {
        rc = comparison_step(&p->c, &done, e);
        if (comparison_n_done(&p->c) == shown)
            continue;
        if (shown++ == 0)
            fprintf(stderr, "%.2f seconds per chunk, %d chunks of %d\n", (clock_ms() - start) / 1e3, p->o.n_chunks,
                    p->o.n_ctx);
        fprintf(stderr, "[%d]%.4f,", shown, exp(mean_nll(&p->c.subject)));
        fflush(stderr);
    }
    if (shown > 0)
        fputc('\n', stderr);
    return rc;
}

static enum err_code measure(struct perplexity *p, const char *names[COMPARISON_SIDES], struct err *e)
{
    const struct config *c = p->app->config;
    struct perplexity_report report = { .c = &p->c, .model = names[COMPARISON_SUBJECT], .versus = c->versus,
                                        .base = c->kl_base ? c->kl_base : names[COMPARISON_BASE] };
    enum err_code rc = comparison_init(&p->c, &p->o, e);
    if (rc == ERR_OK)
        rc = run_chunks(p, e);
    enum err_code saved = kl_file_close(&p->save, rc == ERR_OK ? e : NULL);
    if (rc == ERR_OK)
        rc = saved;
    if (rc == ERR_OK)
        rc = c->json ? perplexity_report_json(&report, e) : perplexity_report_text(&report, e);
    comparison_finish(&p->c);
    return rc;
}

static enum exit_code run(struct perplexity *p, const char *names[COMPARISON_SIDES])
{
    struct err e;
    enum exit_code code = EXIT_CODE_OK;
    p->models[COMPARISON_SUBJECT] = p->cm.model;
    for (int i = COMPARISON_BASE; code == EXIT_CODE_OK && i < COMPARISON_SIDES; i++)
        if (names[i])
            code = cmd_model_beside(&p->models[i], p->app, &p->cm, names[i]);
    if (code != EXIT_CODE_OK)
        return code;
    enum err_code rc = prepare(p, names, &e);
    for (int i = 0; rc == ERR_OK && code == EXIT_CODE_OK && i < COMPARISON_SIDES; i++)
        if (p->models[i])
            code = cmd_session(&p->o.sessions[i], p->app, p->models[i], p->o.n_ctx, COMPARISON_BATCH);
    if (rc == ERR_OK && code == EXIT_CODE_OK)
        rc = measure(p, names, &e);
    if (rc == ERR_OK)
        return code;
    cmd_complain("%s", e.text);
    return EXIT_CODE_FAILURE;
}

enum exit_code cmd_perplexity(const struct app *app)
{
    const struct config *c = app->config;
    const char *names[COMPARISON_SIDES] = { c->model, c->kl_model, c->versus };
    if (!c->model || !c->file == !c->kl_base) {
        cmd_complain("'quip perplexity' needs -m MODEL and one of -f FILE and --kl-base FILE");
        return EXIT_CODE_USAGE;
    }
    if (c->kl_base && c->kl_model) {
        cmd_complain("--kl-base and --kl-model: one of them");
        return EXIT_CODE_USAGE;
    }
    struct perplexity p = { .app = app };
    enum exit_code code = cmd_model_open(&p.cm, app, MODEL_RUN, c->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    cmd_note_device(p.cm.eng);
    code = run(&p, names);
    kl_file_close(&p.base, NULL);
    kl_file_close(&p.save, NULL);
    token_list_finish(&p.tokens);
    for (int i = 0; i < COMPARISON_SIDES; i++) {
        session_destroy(p.o.sessions[i]);
        if (i != COMPARISON_SUBJECT)
            model_close(p.models[i]);
    }
    cmd_model_close(&p.cm);
    return code;
}
