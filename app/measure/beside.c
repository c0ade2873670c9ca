/* SPDX-License-Identifier: MIT */
#include "app/measure/beside.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/measure/comparison.h"
#include "app/measure/scores.h"
#include "engine/base/clock.h"

enum { BESIDE_SLICE_BYTES = 64 << 20 };

enum beside_phase { BESIDE_ANSWER, BESIDE_JUDGE, BESIDE_DONE };

struct beside_side {
    struct session *session;
    int32_t *ids;                   /* [n_predict] said */
    int32_t n;
    bool is_over, is_whole;
    double answer_ms;               /* after the first token */
    float *logits;                  /* [slice][n_vocab] */
};

struct beside {
    struct beside_side sides[BESIDE_SIDES];
    enum beside_phase phase;
    int32_t n_vocab, base, first, n_predict;
    int32_t *prompt;
    int32_t n_prompt;
    int32_t slice;                  /* rows judged at once */
    int32_t n_judge, at, judging;   /* places to be judged, judged; the side whose turn it is */
    struct scores scores;           /* of the side that is not the base */
};

/* ---- life ----------------------------------------------------------------------------------------- */

static enum err_code start_side(struct beside *b, int i, const struct beside_options *o, struct err *e)
{
    struct beside_side *s = &b->sides[i];
    struct generate_options generate = o->generate;
    generate.spec = SPEC_OFF;
    s->session = o->sessions[i];
    s->ids = malloc((size_t)b->n_predict * sizeof *s->ids);
    s->logits = malloc((size_t)b->slice * (size_t)b->n_vocab * sizeof *s->logits);
    if (!s->ids || !s->logits)
        return err_set(e, ERR_NOMEM, "no memory for %d rows of %d logits", b->slice, b->n_vocab);
    return session_generate(s->session, 0, b->prompt, b->n_prompt, &generate, e);
}

enum err_code beside_create(struct beside **out, const struct beside_options *o, struct err *e)
{
    assert(o->generate.n_predict > 0 && o->n_prompt > 0);
    struct beside *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for two answers");
    int32_t fit = (int32_t)(BESIDE_SLICE_BYTES / ((size_t)o->n_vocab * sizeof(float)));
    b->slice = fit < 1 ? 1 : fit < COMPARISON_BATCH ? fit : COMPARISON_BATCH;
    b->n_vocab = o->n_vocab;
    b->base = o->base;
    b->first = o->first;
    b->n_predict = o->generate.n_predict;
    b->n_prompt = o->n_prompt;
    b->prompt = malloc((size_t)o->n_prompt * sizeof *b->prompt);
    enum err_code rc = b->prompt ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for a prompt of %d tokens", o->n_prompt);
    if (rc == ERR_OK)
        memcpy(b->prompt, o->prompt, (size_t)o->n_prompt * sizeof *b->prompt);
    for (int i = 0; rc == ERR_OK && i < BESIDE_SIDES; i++)
        rc = start_side(b, i, o, e);
    if (rc == ERR_OK)
        *out = b;
    else
        beside_destroy(b);
    return rc;
}

void beside_destroy(struct beside *b)
{
    if (!b)
        return;
    for (int i = 0; i < BESIDE_SIDES; i++) {
        free(b->sides[i].ids);
        free(b->sides[i].logits);
    }
    scores_finish(&b->scores);
    free(b->prompt);
    free(b);
}

/* ---- answers -------------------------------------------------------------------------------------- */

static enum err_code take_end(struct beside_side *s, const struct eng_event *ev, struct err *e)
{
    s->is_over = true;
    s->is_whole = ev->reason == DONE_END;
    if (ev->reason == DONE_CANCELLED)
        return err_set(e, ERR_CANCELLED, "stopped");
    return ev->reason == DONE_ERROR ? err_set(e, ERR_IO, "%.*s", ev->n_text, ev->text) : ERR_OK;
}

static enum err_code step_side(struct beside *b, int i, struct beside_events *out, struct err *e)
{
    struct beside_side *s = &b->sides[i];
    double start = clock_ms();
    bool reads = s->n == 0;
    out->side = i;
    enum err_code rc = session_step(s->session, out->events, SESSION_EVENTS, &out->n, e);
    s->answer_ms += reads ? 0 : clock_ms() - start;
    for (int32_t k = 0; rc == ERR_OK && k < out->n; k++) {
        const struct eng_event *ev = &out->events[k];
        if (ev->kind == EVENT_TOKEN && ev->token >= 0 && s->n < b->n_predict)
            s->ids[s->n++] = ev->token;
        if (ev->kind == EVENT_DONE)
            rc = take_end(s, ev, e);
    }
    return rc;
}

static void begin_judging(struct beside *b)
{
    struct beside_side *base = &b->sides[b->base];
    b->n_judge = b->scores.per_chunk = base->n + base->is_whole;
    b->judging = 0;
    b->phase = b->n_judge > 0 ? BESIDE_JUDGE : BESIDE_DONE;
    for (int i = 0; i < BESIDE_SIDES; i++)
        b->sides[i].is_over = true;
}

/* The side that has said less. */
static enum err_code answer(struct beside *b, struct beside_events *out, struct err *e)
{
    struct beside_side *s = b->sides;
    int a = b->first, i = s[a].is_over || (!s[!a].is_over && s[!a].n < s[a].n) ? !a : a;
    enum err_code rc = step_side(b, i, out, e);
    if (rc == ERR_OK && s[0].is_over && s[1].is_over)
        begin_judging(b);
    return rc;
}

void beside_end_answers(struct beside *b)
{
    struct beside_events rest;
    struct err ignored;
    if (b->phase > BESIDE_ANSWER)
        return;
    for (int i = 0; i < BESIDE_SIDES; i++) {
        if (session_busy(b->sides[i].session))    /* an idle one would keep the cancel for what is judged */
            session_cancel(b->sides[i].session);
        while (session_busy(b->sides[i].session) && step_side(b, i, &rest, &ignored) == ERR_OK)
            ;
    }
    begin_judging(b);
}

/* ---- judging -------------------------------------------------------------------------------------- */

/* The rows before n tokens of the base's answer, or its end, from place `at` on. */
static enum err_code read_slice(struct beside *b, struct beside_side *s, int32_t n, struct err *e)
{
    const int32_t *ids = b->sides[b->base].ids;
    int32_t begin = b->n_prompt - 1 + b->at;
    int32_t held = b->at == 0 ? session_truncate(s->session, 0, begin) : begin;
    enum err_code rc = ERR_OK;
    while (rc == ERR_OK && held < begin) {    /* some types can only go back to the beginning of a page */
        int32_t more = begin - held < COMPARISON_BATCH ? begin - held : COMPARISON_BATCH;
        rc = session_eval(s->session, 0, b->prompt + held, more, NULL, 0, e);
        held += more;
    }
    if (rc != ERR_OK)
        return rc;
    if (b->at > 0)
        return session_eval(s->session, 0, ids + b->at - 1, n, s->logits, n, e);
    rc = session_eval(s->session, 0, b->prompt + begin, 1, s->logits, 1, e);
    return rc == ERR_OK && n > 1 ? session_eval(s->session, 0, ids, n - 1, s->logits + b->n_vocab, n - 1, e) : rc;
}

static enum err_code judge(struct beside *b, struct err *e)
{
    const struct beside_side *base = &b->sides[b->base], *other = &b->sides[1 - b->base];
    int32_t n = b->n_judge - b->at < b->slice ? b->n_judge - b->at : b->slice;
    enum err_code rc = read_slice(b, &b->sides[b->judging], n, e);
    if (rc != ERR_OK || ++b->judging < BESIDE_SIDES)
        return rc;
    for (int32_t i = 0; rc == ERR_OK && i < n; i++) {
        struct score_row rows[2];
        score_row(&rows[0], base->logits + (size_t)i * (size_t)b->n_vocab, b->n_vocab);
        score_row(&rows[1], other->logits + (size_t)i * (size_t)b->n_vocab, b->n_vocab);
        bool ends = b->at + i == base->n;    /* by which token does not matter for KL and first choices */
        rc = scores_add(&b->scores, &rows[1], &rows[0], -INFINITY, ends ? rows[0].top : base->ids[b->at + i], e);
    }
    b->judging = 0;
    b->at += n;
    if (b->at == b->n_judge)
        b->phase = BESIDE_DONE;
    return rc;
}

enum err_code beside_step(struct beside *b, struct beside_events *out, bool *done, struct err *e)
{
    enum err_code rc = ERR_OK;
    out->n = 0;
    if (b->phase <= BESIDE_ANSWER)
        rc = answer(b, out, e);
    else if (b->phase == BESIDE_JUDGE)
        rc = judge(b, e);
    *done = b->phase == BESIDE_DONE;
    return rc;
}

/* ---- figures -------------------------------------------------------------------------------------- */

enum err_code beside_result(const struct beside *b, struct beside_result *out, struct err *e)
{
    struct score_summary summary = { 0 };
    const struct beside_side *s = b->sides;
    int32_t least = s[0].n < s[1].n ? s[0].n : s[1].n;
    *out = (struct beside_result){ 0 };
    for (int i = 0; i < BESIDE_SIDES; i++) {
        out->sides[i].n_tokens = s[i].n;
        out->sides[i].is_whole = s[i].is_whole;
        if (s[i].n > 1 && s[i].answer_ms > 0)
            out->sides[i].answer_per_s = (s[i].n - 1 + s[i].is_whole) * 1e3 / s[i].answer_ms;
    }
    while (out->n_same < least && s[0].ids[out->n_same] == s[1].ids[out->n_same])
        out->n_same++;
    out->differ = out->n_same < least || (s[0].n != s[1].n && s[s[1].n < s[0].n].is_whole);
    if (b->phase != BESIDE_DONE || b->scores.n == 0)
        return ERR_OK;
    enum err_code rc = scores_summary(&b->scores, &summary, e);
    if (rc != ERR_OK)
        return rc;
    out->n_judged = (int32_t)summary.n;
    out->kl = summary.kl.mean;
    out->kl_low = summary.kl.low;
    out->kl_high = summary.kl.high;
    out->same_top = summary.same_top.mean;
    return ERR_OK;
}
