/* SPDX-License-Identifier: MIT */
/* Speculation: what an answer says next often stands in the conversation already. A pass over the model with a few
 * rows costs little more than one with one row where reading the weights is what takes the time, so tokens that
 * followed the same words before are evaluated along, and kept for as long as the sampler chooses them too.
 *
 * The arithmetic of a row does not depend on the rows beside it, and the sampler is asked as often, with the same
 * logits, as without: the answer is the same to the token, whatever is drafted. So drafting is a question of speed
 * alone, and of nothing but: what a pass costs is measured (spec_costs.h), how often guesses come true is learnt
 * from every token, drafted or not (spec_rates.h), and what does not pay is not drafted. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/session/session_impl.h"

#define WORTH_MEASURING 0.3    /* a first guess less likely than this drafts nothing while costs are not known */

#define LIKELY 0.8             /* a guess that should pay on any machine where passes of several rows are of use */

enum { LAZY_BUDGET_MS = 100, FIRST_REFUSE = 64, MOST_REFUSE = 1 << 16, ROUNDS = 5, LOSSES = 3, REST = 16, LOOP_TIMES = 4, LOOP_TOKENS = 48 };

/* ---- what a pass costs ---------------------------------------------------------------------------- */

static bool holds(const struct session *s, int32_t seq, int32_t n_rows)
{
    return n_rows <= s->n_batch && kv_seq_held(s->seqs[seq].kv) + n_rows <= s->n_ctx;
}

/* A pass like those of drafts, of which nothing is kept. */
static enum err_code time_pass(struct session *s, int32_t seq, int32_t n_rows, double *ms, struct err *e)
{
    const struct backend_ops *ops = s->model->backend->ops;
    struct batch batch = session_batch(s);
    struct kv_seq *kv = s->seqs[seq].kv;
    int32_t tokens[SPEC_MAX_ROWS] = { 0 };
    enum err_code rc = kv_seq_reserve(kv, kv_seq_held(kv) + n_rows, e);
    if (rc != ERR_OK)
        return rc;
    session_add_rows(s, &batch, seq, kv_seq_held(kv), tokens, n_rows, n_rows);
    double start_ms = clock_ms();
    rc = ops->run(s->model->placed, &batch, e);
    *ms = clock_ms() - start_ms;
    return rc;
}

/* The points that say most come first. Each is the best of its passes: a machine that does something else as well
 * makes them slower, never faster. */
static enum err_code measure(struct session *s, int32_t seq, int32_t budget_ms, struct err *e)
{
    static const int32_t order[SPEC_POINTS] = { 0, 7, 1, 3, 9, 2, 5, 8, 4, 6, 10, 11 };
    enum { NEEDED = 3, FEW = 3 };
    double best[SPEC_POINTS] = { 0 }, start_ms = clock_ms(), ms;
    if (!holds(s, seq, 1))
        return ERR_OK;    /* the context is full: there is nothing to draft either */
    s->runs_ahead = false;    /* what is on its way is lost to this */
    enum err_code rc = time_pass(s, seq, 1, &ms, e);    /* the first is slow for other reasons */
    if (rc == ERR_OK && ms > budget_ms && holds(s, seq, spec_costs_rows(FEW))) {    /* a large model: two passes do */
        best[0] = ms;
        rc = time_pass(s, seq, spec_costs_rows(FEW), &best[FEW], e);
        budget_ms = -1;
    }
    for (int32_t n = 0; rc == ERR_OK && n < ROUNDS * SPEC_POINTS; n++) {
        int32_t i = order[n % SPEC_POINTS];
        if ((n >= NEEDED || budget_ms < 0) && clock_ms() - start_ms + best[i] > budget_ms)
            break;
        if (!holds(s, seq, spec_costs_rows(i)))
            continue;
        rc = time_pass(s, seq, spec_costs_rows(i), &ms, e);
        best[i] = best[i] > 0 && best[i] < ms ? best[i] : ms;
    }
    if (rc == ERR_OK) {
        spec_costs_set(&s->model->caches->costs, kv_seq_held(s->seqs[seq].kv), best);
        s->model->caches->costs_failed = false;
    }
    return rc;
}

/* ---- what is remembered --------------------------------------------------------------------------- */

static const char *folder(const struct session *s)
{
    return s->use_files && s->cache->store ? s->cache->dir : NULL;
}

/* "quip passes 2 THREADS TIER", then for each range measured a line: the tokens held where it begins, the times. */
static void read_note(struct session *s)
{
    struct spec_costs *c = &s->model->caches->costs;
    struct buf note = { 0 };
    int32_t n_threads;
    char tier[32];
    bool ok = folder(s) && session_note_read(s, folder(s), s->types, ".passes", &note) &&
              sscanf(buf_text(&note), "quip passes 2 %" SCNd32 " %31s", &n_threads, tier) == 2 &&
              n_threads == pool_threads(s->model->engine->pool) &&
              strcmp(tier, s->model->backend->name) == 0;
    for (const char *at = ok ? strchr(buf_text(&note), '\n') : NULL; at; at = strchr(at, '\n')) {
        double ms[SPEC_POINTS];
        char line[512], *number = line;
        int32_t n_held, n_bytes, n = 0;
        at++;
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
        if (sscanf(line, "%9" SCNd32 "%n", &n_held, &n_bytes) != 1 || n_held < 0)
            break;
        for (number += n_bytes; n < SPEC_POINTS && sscanf(number, "%lf%n", &ms[n], &n_bytes) == 1; n++, number += n_bytes)
            if (!(ms[n] > 0 && ms[n] < 1e7))
                break;
        if (n < SPEC_POINTS)
            break;
        spec_costs_set(c, n_held, ms);
    }
    buf_finish(&note);
}

static void keep_note(const struct session *s)
{
    const struct spec_costs *c = &s->model->caches->costs;
    struct buf note = { 0 };
    if (!folder(s) || !spec_costs_known(c))
        return;
    buf_printf(&note, "quip passes 2 %d %s\n", pool_threads(s->model->engine->pool), s->model->backend->name);
    for (int32_t i = 0, n_held; (n_held = spec_costs_range(i)) >= 0; i++) {
        if (!spec_costs_measured(c, n_held))
            continue;
        buf_printf(&note, "%d", n_held);
        for (int32_t j = 0; j < SPEC_POINTS; j++)
            buf_printf(&note, " %.4f", spec_costs_ms(c, spec_costs_rows(j), n_held));
        buf_add_text(&note, "\n");
    }
    if (buf_ok(&note))
        session_note_write(s, folder(s), s->types, ".passes", buf_text(&note));
    buf_finish(&note);
}

/* For a sequence that holds as much as this one. Other errors than a cancel and a device that fails mean that there
 * will be no drafts. */
static enum err_code find_costs(struct session *s, int32_t seq, int32_t budget_ms, struct err *e)
{
    struct session_caches *all = s->model->caches;
    int32_t n_held = kv_seq_held(s->seqs[seq].kv);
    if (spec_costs_measured(&all->costs, n_held) || all->costs_failed)
        return ERR_OK;
    if (!spec_costs_known(&all->costs)) {
        read_note(s);
        if (spec_costs_measured(&all->costs, n_held))
            return ERR_OK;
    }
    enum err_code rc = measure(s, seq, budget_ms, e);
    if (rc == ERR_CANCELLED || rc == ERR_DEVICE)
        return rc;
    all->costs_failed = rc != ERR_OK;
    keep_note(s);
    return ERR_OK;
}

enum err_code session_measure_passes(struct session *s, int32_t budget_ms, bool again, struct err *e)
{
    assert(!session_busy(s));
    struct err why;
    enum err_code rc;
    do {
        rc = atomic_load(&s->cancel) ? err_set(&why, ERR_CANCELLED, "cancelled") : gguf_changed(s->model->gguf, &why);
        if (rc == ERR_OK)
            rc = session_ready(s, 0, &why);
        if (rc == ERR_OK)
            rc = again ? measure(s, 0, budget_ms, &why) : find_costs(s, 0, budget_ms, &why);
    } while (rc == ERR_DEVICE && session_recover(s, 0, &why));
    if (rc != ERR_OK)
        rc = err_set(e, why.code, "%s", why.text);
    if (rc == ERR_OK && again)
        keep_note(s);
    if (rc == ERR_CANCELLED)
        atomic_store(&s->cancel, false);    /* has had its effect */
    return rc;
}

double session_pass_ms(const struct session *s, int32_t n_rows)
{
    const struct spec_costs *c = &s->model->caches->costs;
    int32_t n_held = 0;
    for (int32_t i = 0; i < s->n_seqs; i++)
        n_held += kv_seq_held(s->seqs[i].kv);
    return spec_costs_known(c) ? spec_costs_ms(c, n_rows, n_held) : 0;
}

/* ---- what is drafted ------------------------------------------------------------------------------ */

/* How the pass before went, now that its tokens are told. */
static void judge(const struct session *s, struct seq *q)
{
    const struct spec_costs *c = &s->model->caches->costs;
    struct seq_spec *spec = &q->spec;
    int32_t n_held = kv_seq_held(q->kv);
    if (spec->n_rows < 2 || !spec_costs_known(c))
        return;
    bool lost = spec->n_told * spec_costs_ms(c, 1, n_held) < spec_costs_ms(c, spec->n_rows, n_held);
    spec->n_losses = lost ? spec->n_losses + 1 : 0;
    if (spec->n_losses == LOSSES) {
        spec->n_losses = 0;
        spec->n_rests = REST;
    }
}

/* What may come next, by the longest match there is. */
static int32_t guess(const struct session *s, const struct seq *q, struct spec_guess *out, int32_t cap)
{
    const struct spec_corpus *corpus = s->model->caches->texts.corpus;
    const struct spec_index *x = q->spec.index;
    int32_t end, n_match = spec_index_match(x, &end);
    if (corpus && n_match < SPEC_CORPUS_REACH) {
        struct spec_corpus_match m = spec_corpus_find(corpus, spec_index_tokens(x), spec_index_n(x));
        struct spec_corpus_next next[SPEC_MAX_DRAFT];
        if (m.n > n_match) {
            int32_t n = spec_corpus_follow(corpus, &m, next, cap);
            for (int32_t i = 0; i < n; i++)
                out[i] = (struct spec_guess){ .token = next[i].token, .n_match = m.n + i, .elsewhere = true,
                                              .kind = spec_kind_of(next[i].n_places, next[i].n_agree) };
            return n;
        }
    }
    return spec_index_guess(x, out, cap);
}

/* Guesses at what the sequence may still say, and how likely they are. False: there is no room for a draft. */
static bool make_offer(const struct session *s, struct seq *q, struct spec_offer *offer)
{
    int32_t n = s->n_ctx - kv_seq_held(q->kv) - 1;
    if (q->n_predict >= 0 && n > q->n_predict - q->timings.n_generated - 1)
        n = q->n_predict - q->timings.n_generated - 1;
    if (n > SPEC_MAX_DRAFT)
        n = SPEC_MAX_DRAFT;
    if (q->spec.asked > 0 && n > q->spec.asked)
        n = q->spec.asked;
    offer->n = offer->n_take = 0;
    if (n <= 0)
        return false;
    if (q->spec.asked == SPEC_OFF || (q->spec.asked == SPEC_AUTO && q->spec.n_rests > 0))
        return true;
    double survive = 1;
    int32_t n_guesses = guess(s, q, q->spec.draft, n);
    for (int32_t i = 0; i < n_guesses; i++) {
        const struct spec_guess *g = &q->spec.draft[i];
        offer->survive[offer->n++] = survive *= spec_rates_expect(&q->spec.rates, &s->model->caches->rates, g);
    }
    return true;
}

static void note(struct session *s, const struct seq *q, const struct spec_offer *offer, int32_t n_held)
{
    const struct session_caches *all = s->model->caches;
    char *text = s->spec_note;
    const size_t n = sizeof s->spec_note;
    if (q->spec.asked == SPEC_OFF)
        snprintf(text, n, "switched off");
    else if (all->costs_failed)
        snprintf(text, n, "the cost of a pass could not be measured");
    else if (q->spec.asked == SPEC_AUTO && q->spec.n_rests > 0)
        snprintf(text, n, "the last ones cost more than they gave, so they rest");
    else if (offer->n == 0)
        snprintf(text, n, "nothing repeats here");
    else if (!spec_costs_known(&all->costs))
        snprintf(text, n, "they would not pay: right %.0f %% of the time", 100 * offer->survive[0]);
    else
        snprintf(text, n, "they would not pay: right %.0f %% of the time, one more costs %.0f %% of a pass",
                 100 * offer->survive[0],
                 100 * (spec_costs_ms(&all->costs, 2, n_held) / spec_costs_ms(&all->costs, 1, n_held) - 1));
}

/* Drafts that were asked for as they are. */
static void take_asked(struct seq *q, struct spec_offer *offer, int32_t *room)
{
    if (q->spec.asked <= 0)
        return;
    q->spec.n_rows = 1 + (offer->n < *room ? offer->n : *room);
    *room -= q->spec.n_rows - 1;
    offer->n = 0;
}

/* Costs measured while the machine was busy with something else can forbid what would pay, and what is never drafted
 * is never timed. So when they have forbidden many likely guesses they are measured again, ever more rarely. */
static enum err_code doubt_costs(struct session *s, int32_t seq, bool likely, bool drafts, struct err *e)
{
    struct session_caches *all = s->model->caches;
    if (drafts || !spec_costs_known(&all->costs) || all->n_refuse == 0) {
        all->n_refused = 0;
        all->n_refuse = FIRST_REFUSE;
        return ERR_OK;
    }
    all->n_refused += likely;
    if (all->n_refused < all->n_refuse)
        return ERR_OK;
    all->n_refused = 0;
    all->n_refuse = 2 * all->n_refuse < MOST_REFUSE ? 2 * all->n_refuse : MOST_REFUSE;
    struct err why;
    enum err_code rc = measure(s, seq, LAZY_BUDGET_MS, &why);
    keep_note(s);
    return rc == ERR_CANCELLED || rc == ERR_DEVICE ? err_set(e, rc, "%s", why.text) : ERR_OK;
}

enum err_code session_spec_plan(struct session *s, int32_t n_rows, int32_t room, struct err *e)
{
    struct session_caches *all = s->model->caches;
    struct spec_offer offers[SESSION_MAX_SEQS];
    struct seq *who[SESSION_MAX_SEQS];
    int32_t n = 0, n_held = 0, seq = 0, n_busy = 0;
    bool any = false, says_why = false;
    for (int32_t i = 0; i < s->n_seqs; i++)
        n_busy += s->seqs[i].state == SEQ_GENERATE;
    if (room > SPEC_MAX_DRAFT)
        room = SPEC_MAX_DRAFT;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        if (q->state == SEQ_GENERATE) {
            if (n_busy == 1)    /* several share a pass: whose loss it was cannot be told */
                judge(s, q);
            bool had_room = make_offer(s, q, &offers[n]);
            says_why |= had_room && n == 0;
            any |= offers[n].n > 0 && offers[n].survive[0] >= WORTH_MEASURING;
            n_held += kv_seq_held(q->kv);
            who[n++] = q;
            seq = i;
        }
        q->spec.n_rows = q->state == SEQ_GENERATE;
        q->spec.n_told = 0;
        q->spec.token_ms = 0;
    }
    s->wants_drafts = false;
    if (n == 0)
        return ERR_OK;
    struct spec_offer first = offers[0];
    for (int32_t i = 0, before = room; i < n; i++, n_rows += before - room, before = room)
        take_asked(who[i], &offers[i], &room);
    enum err_code rc = any && (n == 1 || !spec_costs_known(&all->costs)) ? find_costs(s, seq, LAZY_BUDGET_MS, e) : ERR_OK;
    if (rc != ERR_OK)
        return rc;
    if (spec_costs_known(&all->costs))
        spec_costs_choose(&all->costs, offers, n, n_rows, room, n_held);
    bool drafts = false;
    for (int32_t i = 0; i < n; i++) {
        who[i]->spec.n_rows += offers[i].n_take;
        drafts |= who[i]->spec.n_rows > 1;
    }
    if (s->runs_ahead && n == 1)    /* its first row is on its way alone: drafts come behind that */
        who[0]->spec.n_rows = 1;
    s->wants_drafts = drafts;
    if (drafts)
        s->spec_note[0] = '\0';
    else if (says_why)
        note(s, who[0], &first, n_held);
    return doubt_costs(s, seq, n == 1 && first.n > 0 && first.survive[0] >= LIKELY, drafts, e);
}

/* ---- what came of it ------------------------------------------------------------------------------ */

void session_spec_count(struct session *s, int32_t n_rows, double ms, bool timed)
{
    struct spec_costs *c = &s->model->caches->costs;
    int32_t n_answers = 0, n_answer_rows = 0, n_held = 0;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        const struct seq *q = &s->seqs[i];
        n_answers += q->spec.n_rows > 0;
        n_answer_rows += q->spec.n_rows;
        n_held += q->spec.n_rows > 0 ? kv_seq_held(q->kv) : 0;
    }
    if (n_answers == 0)
        return;
    if (timed && n_rows == n_answer_rows && n_rows <= SPEC_MAX_ROWS)
        spec_costs_learn(c, n_rows, n_held, ms);
    bool counts = n_answer_rows > n_answers && n_rows == n_answer_rows && spec_costs_known(c);
    double plain = counts ? spec_costs_ms(c, n_answers, n_held) : 0;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        if (q->spec.n_rows == 0)
            continue;
        q->timings.n_passes++;
        q->timings.n_drafted += q->spec.n_rows - 1;
        q->timings.saved_ms -= counts ? ms : 0;
        q->spec.token_ms = plain;
    }
}

void session_spec_learn(struct session *s, struct seq *q, int32_t token)
{
    struct spec_guess g;
    if (guess(s, q, &g, 1) > 0) {
        spec_rates_learn(&q->spec.rates, SPEC_ANSWER, &g, g.token == token);
        spec_rates_learn(&s->model->caches->rates, SPEC_MODEL, &g, g.token == token);
    }
    if (q->spec.n_rests > 0)
        q->spec.n_rests--;
    spec_index_push(q->spec.index, token);
}

int32_t session_spec_repeated(const struct seq *q)
{
    struct spec_loop loop = spec_index_loop(q->spec.index);
    if (loop.n > q->timings.n_generated)
        loop.n = q->timings.n_generated;    /* what the prompt repeats is no fault of the answer */
    return loop.n >= LOOP_TOKENS && loop.n >= LOOP_TIMES * loop.period ? loop.period : 0;
}
