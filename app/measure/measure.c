/* SPDX-License-Identifier: MIT */
#include "app/measure/measure.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

enum { MEASURE_WARM_TOKENS = 16, MEASURE_PROMPT_LEAST = 32, MEASURE_ANSWER_LEAST = 4 };

struct measure {
    struct measure_options o;
    struct comparison_options how;
    struct comparison c;
    struct kl_file base, save;
    struct token_list tokens;
    enum measure_phase phase;
    float *logits;                    /* one row, of the answer */
    int32_t n_prompt, n_answer, last; /* last: the token drawn last */
    double prompt_ms;
    double answer_ms[MEASURE_PREDICT];
    double warm_ms, spent_ms;
    double compare_ms;                /* spent when comparing began */
    double chunk_begin_ms, longest_ms;
    int32_t n_ids;
};

/* ---- beginning ------------------------------------------------------------------------------------ */

static enum err_code check_base(struct measure *m, struct err *e)
{
    const struct model *base = m->o.base_model;
    struct token_list other = { 0 };
    int32_t n_vocab = model_info(base)->n_vocab, n = 0;
    if (n_vocab != m->how.n_vocab)
        return err_set(e, ERR_FORMAT, "%s: a vocabulary of %d tokens, %s has %d", model_info(base)->path, n_vocab,
                       model_info(m->o.model)->path, m->how.n_vocab);
    enum err_code rc = comparison_tokens(base, m->o.text, m->o.n_text, &other, e);
    while (rc == ERR_OK && n < other.n && n < m->tokens.n && other.ids[n] == m->tokens.ids[n])
        n++;
    if (rc == ERR_OK && (n < other.n || n < m->tokens.n))
        rc = err_set(e, ERR_FORMAT, "%s: makes other tokens of the text than %s", model_info(base)->path,
                     model_info(m->o.model)->path);
    token_list_finish(&other);
    return rc;
}

static enum err_code take_text(struct measure *m, struct err *e)
{
    enum err_code rc = comparison_tokens(m->o.model, m->o.text, m->o.n_text, &m->tokens, e);
    m->how.n_chunks = m->tokens.n / MEASURE_CTX;
    if (rc == ERR_OK && m->how.n_chunks < 1)
        rc = err_set(e, ERR_FORMAT, "a text of %d tokens, at least %d wanted", m->tokens.n, MEASURE_CTX);
    if (rc == ERR_OK && m->o.base)
        rc = check_base(m, e);
    return rc;
}

static enum err_code take_file(struct measure *m, struct err *e)
{
    const char *path = m->o.base_file;
    enum err_code rc = kl_file_open(&m->base, path, e);
    if (rc != ERR_OK)
        return rc;
    if (m->base.n_vocab != m->how.n_vocab || m->base.n_ctx != MEASURE_CTX)
        return err_set(e, ERR_FORMAT, "%s: chunks of %d tokens of a vocabulary of %d; %d of %d wanted", path,
                       m->base.n_ctx, m->base.n_vocab, MEASURE_CTX, m->how.n_vocab);
    int32_t n = m->base.n_ctx * m->base.n_chunks;
    m->tokens.ids = malloc((size_t)n * sizeof *m->tokens.ids);
    if (!m->tokens.ids)
        return err_set(e, ERR_NOMEM, "%s: no memory for %d tokens", path, n);
    m->tokens.n = m->tokens.cap = n;
    m->how.base_file = &m->base;
    m->how.n_chunks = m->base.n_whole;
    return kl_file_tokens(&m->base, m->tokens.ids, e);
}

static enum err_code prepare(struct measure *m, struct err *e)
{
    m->how.n_vocab = model_info(m->o.model)->n_vocab;
    m->how.n_ctx = MEASURE_CTX;
    m->how.sessions[COMPARISON_SUBJECT] = m->o.session;
    m->how.sessions[COMPARISON_BASE] = m->o.base;
    enum err_code rc = comparison_bos(m->o.model, &m->how.bos, e);
    if (rc == ERR_OK)
        rc = m->o.base_file ? take_file(m, e) : take_text(m, e);
    if (rc != ERR_OK)
        return rc;
    if (m->o.n_chunks > 0 && m->o.n_chunks < m->how.n_chunks)
        m->how.n_chunks = m->o.n_chunks;
    m->how.tokens = m->tokens.ids;
    m->n_ids = m->how.n_chunks * MEASURE_CTX;
    m->logits = malloc((size_t)m->how.n_vocab * sizeof *m->logits);
    if (!m->logits)
        return err_set(e, ERR_NOMEM, "no memory for %d logits", m->how.n_vocab);
    if (m->o.save_file) {
        m->how.save = &m->save;
        rc = kl_file_create(&m->save, m->o.save_file, MEASURE_CTX, m->how.n_vocab, m->how.n_chunks, m->how.tokens, e);
    }
    return rc == ERR_OK ? comparison_init(&m->c, &m->how, e) : rc;
}

enum err_code measure_create(struct measure **out, const struct measure_options *o, struct err *e)
{
    struct measure *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return err_set(e, ERR_NOMEM, "no memory for measuring");
    m->o = *o;
    if (m->o.budget_ms <= 0)
        m->o.budget_ms = MEASURE_BUDGET_MS;
    enum err_code rc = prepare(m, e);
    m->o.text = NULL;
    if (rc == ERR_OK)
        *out = m;
    else
        measure_destroy(m);
    return rc;
}

void measure_destroy(struct measure *m)
{
    if (!m)
        return;
    comparison_finish(&m->c);
    kl_file_close(&m->base, NULL);
    kl_file_close(&m->save, NULL);
    token_list_finish(&m->tokens);
    free(m->logits);
    free(m);
}

/* ---- speed ---------------------------------------------------------------------------------------- */

static int32_t best_of(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static int32_t at_most(int32_t n, int32_t most)
{
    return n < most ? n : most;
}

static enum err_code warm(struct measure *m, struct err *e)
{
    int32_t n = at_most(m->n_ids, MEASURE_WARM_TOKENS);
    double start = clock_ms();
    session_truncate(m->o.session, 0, 0);
    enum err_code rc = session_eval(m->o.session, 0, m->tokens.ids, n, m->logits, 1, e);
    m->warm_ms = (clock_ms() - start) / n;
    if (rc == ERR_OK)
        m->phase = MEASURE_READ;
    return rc;
}

/* As long as takes no more than an eighth of the time, going by what a token took before; that is too much where the
 * weights came from the disk, or a few rows cost a pass as many do. */
static enum err_code read_prompt(struct measure *m, struct err *e)
{
    double room = m->o.budget_ms / 8.0 / (m->warm_ms > 0 ? m->warm_ms : 1e-3);
    int32_t n = room > MEASURE_PROMPT ? MEASURE_PROMPT : (int32_t)room;
    n = at_most(n > MEASURE_PROMPT_LEAST ? n : MEASURE_PROMPT_LEAST, m->n_ids);
    session_truncate(m->o.session, 0, 0);
    double start = clock_ms();
    enum err_code rc = session_eval(m->o.session, 0, m->tokens.ids, n, m->logits, 1, e);
    if (rc != ERR_OK)
        return rc;
    m->prompt_ms = clock_ms() - start;
    m->n_prompt = n;
    m->last = best_of(m->logits, m->how.n_vocab);
    m->phase = MEASURE_ANSWER;
    return ERR_OK;
}

static enum err_code answer(struct measure *m, struct err *e)
{
    double start = clock_ms();
    enum err_code rc = session_eval(m->o.session, 0, &m->last, 1, m->logits, 1, e);
    if (rc != ERR_OK)
        return rc;
    m->answer_ms[m->n_answer++] = clock_ms() - start;
    m->last = best_of(m->logits, m->how.n_vocab);
    bool enough = m->n_answer >= MEASURE_ANSWER_LEAST && m->spent_ms > m->o.budget_ms / 4.0;
    if (m->n_answer == MEASURE_PREDICT || enough)
        m->phase = MEASURE_COMPARE;
    return ERR_OK;
}

/* ---- quality -------------------------------------------------------------------------------------- */

static enum err_code end_saving(struct measure *m, struct err *e)
{
    m->how.save = NULL;
    m->c.o.save = NULL;
    return kl_file_close(&m->save, e);
}

/* spent_ms is as it was before the step that ends at `now`, which began at `start`. */
static enum err_code compare(struct measure *m, double start, struct err *e)
{
    bool done;
    int32_t before = comparison_n_done(&m->c);
    if (m->c.at == 0 && m->c.side == COMPARISON_SUBJECT)
        m->chunk_begin_ms = m->spent_ms;
    if (m->compare_ms == 0)
        m->compare_ms = m->spent_ms;
    enum err_code rc = comparison_step(&m->c, &done, e);
    if (rc != ERR_OK)
        return rc;
    if (comparison_n_done(&m->c) > before) {
        double now_ms = m->spent_ms + clock_ms() - start, took = now_ms - m->chunk_begin_ms;
        m->longest_ms = took > m->longest_ms ? took : m->longest_ms;
        done = done || now_ms + m->longest_ms > m->o.budget_ms;
    }
    if (!done)
        return ERR_OK;
    m->phase = MEASURE_DONE;
    return end_saving(m, e);
}

enum err_code measure_step(struct measure *m, bool *done, struct err *e)
{
    double start = clock_ms();
    enum err_code rc = ERR_OK;
    switch (m->phase) {
    case MEASURE_WARM:
        rc = warm(m, e);
        break;
    case MEASURE_READ:
        rc = read_prompt(m, e);
        break;
    case MEASURE_ANSWER:
        rc = answer(m, e);
        break;
    case MEASURE_COMPARE:
        rc = compare(m, start, e);
        break;
    case MEASURE_DONE:
        break;
    }
    m->spent_ms += clock_ms() - start;
    *done = m->phase == MEASURE_DONE;
    return rc;
}

/* ---- figures -------------------------------------------------------------------------------------- */

void measure_progress(const struct measure *m, struct measure_progress *out)
{
    int32_t n_done = comparison_n_done(&m->c), n_all = m->how.n_chunks;
    double by_time = m->spent_ms / m->o.budget_ms, share = by_time < 1 ? by_time : 1;
    if (m->phase == MEASURE_COMPARE && n_done > 0) {
        /* the text may end before the time does */
        double from = m->compare_ms / m->o.budget_ms, by_text = from + (1 - from) * n_done / n_all;
        share = by_text > share ? by_text : share;
    }
    *out = (struct measure_progress){ .phase = m->phase, .spent_ms = m->spent_ms, .n_chunks = n_done,
                                      .share = m->phase == MEASURE_DONE ? 1 : share };
}

enum err_code measure_result(const struct measure *m, struct measure_result *out, struct err *e)
{
    double sorted[MEASURE_PREDICT];
    *out = (struct measure_result){ .n_prompt = m->n_prompt, .n_answer = m->n_answer, .n_wanted = m->how.n_chunks,
                                    .n_chunks = comparison_n_done(&m->c), .has_base = m->o.base || m->o.base_file };
    if (m->prompt_ms > 0)
        out->prompt_per_s = m->n_prompt * 1e3 / m->prompt_ms;
    if (m->n_answer > 0) {
        memcpy(sorted, m->answer_ms, (size_t)m->n_answer * sizeof *sorted);
        estimate_sort(sorted, m->n_answer);
        double median = estimate_percentile(sorted, m->n_answer, 0.5);
        out->answer_per_s = median > 0 ? 1e3 / median : 0;
    }
    return scores_summary(&m->c.subject, &out->scores, e);
}
