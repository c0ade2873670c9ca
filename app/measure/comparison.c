/* SPDX-License-Identifier: MIT */
#include "app/measure/comparison.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COMPARISON_SLICE_BYTES = 64 << 20 };

static int32_t first_scored(const struct comparison *c)
{
    return c->o.n_ctx / 2;
}

/* Between two chunks the sessions may have served others. */
static void begin_chunk(struct comparison *c)
{
    const int32_t *tokens = c->o.tokens + (size_t)c->chunk * (size_t)c->o.n_ctx;
    memcpy(c->ids, tokens, (size_t)c->o.n_ctx * sizeof *c->ids);
    if (c->o.bos >= 0)
        c->ids[0] = c->o.bos;
    for (int i = 0; i < COMPARISON_SIDES; i++)
        if (c->o.sessions[i])
            session_truncate(c->o.sessions[i], 0, 0);
}

enum err_code comparison_init(struct comparison *c, const struct comparison_options *o, struct err *e)
{
    assert(o->sessions[COMPARISON_SUBJECT] && o->n_ctx >= 2 && !(o->base_file && o->sessions[COMPARISON_BASE]));
    size_t row_bytes = (size_t)o->n_vocab * sizeof(float);
    int32_t fit = (int32_t)(COMPARISON_SLICE_BYTES / row_bytes), scored = o->n_ctx - 1 - o->n_ctx / 2;
    *c = (struct comparison){ .o = *o };
    c->slice = fit < 1 ? 1 : fit > COMPARISON_BATCH ? COMPARISON_BATCH : fit;
    if (c->slice > scored)
        c->slice = scored;
    c->subject.per_chunk = c->rival.per_chunk = scored;
    c->ids = malloc((size_t)o->n_ctx * sizeof *c->ids);
    bool all = c->ids != NULL;
    for (int i = 0; i < COMPARISON_SIDES; i++)
        if (o->sessions[i])
            all = (c->logits[i] = malloc(row_bytes * (size_t)c->slice)) && all;
    if (!all) {
        comparison_finish(c);
        return err_set(e, ERR_NOMEM, "no memory for %d rows of %d logits", c->slice, o->n_vocab);
    }
    return ERR_OK;
}

void comparison_finish(struct comparison *c)
{
    free(c->ids);
    for (int i = 0; i < COMPARISON_SIDES; i++)
        free(c->logits[i]);
    scores_finish(&c->subject);
    scores_finish(&c->rival);
    c->ids = NULL;
    memset(c->logits, 0, sizeof c->logits);
}

/* One position, which is row i of the slice. */
static enum err_code score_position(struct comparison *c, int32_t i, int32_t next, struct err *e)
{
    struct score_row rows[COMPARISON_SIDES], *base = NULL;
    for (int k = 0; k < COMPARISON_SIDES; k++)
        if (c->o.sessions[k])
            score_row(&rows[k], c->logits[k] + (size_t)i * (size_t)c->o.n_vocab, c->o.n_vocab);
    enum err_code rc = ERR_OK;
    if (c->o.base_file)
        rc = kl_file_row(c->o.base_file, &rows[COMPARISON_BASE], e);
    if (c->o.base_file || c->o.sessions[COMPARISON_BASE])
        base = &rows[COMPARISON_BASE];
    float floor = c->o.base_file ? KL_FILE_FLOOR : -INFINITY;
    if (rc == ERR_OK)
        rc = scores_add(&c->subject, &rows[COMPARISON_SUBJECT], base, floor, next, e);
    if (rc == ERR_OK && c->o.sessions[COMPARISON_RIVAL])
        rc = scores_add(&c->rival, &rows[COMPARISON_RIVAL], base, floor, next, e);
    if (rc == ERR_OK && c->o.save)
        rc = kl_file_add(c->o.save, &rows[COMPARISON_SUBJECT], e);
    return rc;
}

enum err_code comparison_step(struct comparison *c, bool *done, struct err *e)
{
    *done = c->chunk >= c->o.n_chunks;
    if (*done)
        return ERR_OK;
    if (c->at == 0 && c->side == COMPARISON_SUBJECT)
        begin_chunk(c);
    bool scores = c->at >= first_scored(c);
    int32_t end = scores ? c->o.n_ctx - 1 : first_scored(c);    /* nothing is known to follow the last token */
    int32_t most = scores ? c->slice : COMPARISON_BATCH, n = end - c->at < most ? end - c->at : most;
    enum err_code rc = session_eval(c->o.sessions[c->side], 0, c->ids + c->at, n, scores ? c->logits[c->side] : NULL,
                                    scores ? n : 0, e);
    if (rc != ERR_OK)
        return rc;
    do
        c->side++;
    while (c->side < COMPARISON_SIDES && !c->o.sessions[c->side]);
    if (c->side < COMPARISON_SIDES)
        return ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && scores && i < n; i++)
        rc = score_position(c, i, c->ids[c->at + i + 1], e);
    c->side = COMPARISON_SUBJECT;
    c->at += n;
    if (rc != ERR_OK || c->at < c->o.n_ctx - 1)
        return rc;
    c->at = 0;
    c->chunk++;
    *done = c->chunk >= c->o.n_chunks;
    return ERR_OK;
}

int32_t comparison_n_done(const struct comparison *c)
{
    return c->chunk;
}

enum err_code comparison_tokens(const struct model *m, const char *text, size_t n_bytes, struct token_list *out,
                                struct err *e)
{
    struct text_part part = { text, n_bytes, false };
    return model_tokenize(m, &part, 1, true, out, e);
}

enum err_code comparison_bos(const struct model *m, int32_t *bos, struct err *e)
{
    struct token_list front = { 0 };
    enum err_code rc = comparison_tokens(m, "", 0, &front, e);
    *bos = front.n > 0 ? front.ids[0] : -1;
    token_list_finish(&front);
    return rc;
}
