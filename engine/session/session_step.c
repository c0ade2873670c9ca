/* SPDX-License-Identifier: MIT */
/* The decode loop. A step is one batch: first a row for every sequence that generates, then pieces of the
 * prompts that wait, as many rows as fit. While somebody generates, prompts go in small pieces so that the
 * answer does not stop for them.
 *
 * A prompt is looked for in the cache when its turn comes, not when it was given: by then another sequence may
 * have evaluated its beginning. When another is just doing so, the prompt waits, so that four sequences with one
 * system prompt evaluate it once. The one that evaluates stops a piece where the others part from it, and where
 * its own shared beginning ends: a sequence can be anchored only at its end (kv_cache.h).
 *
 * The arithmetic of a row does not depend on the batch it rides in (cpu_kern.h), so how prompts are cut and
 * who shares a batch changes no token. */
#include <assert.h>

#include "engine/session/session_impl.h"

enum { PROMPT_ROWS_BESIDE_ANSWER = 32, WAIT_LEAST = 16, EVENTS_PER_SEQ = 16 };

static void end_all(struct session *s, struct event_list *list, enum done_reason reason, const char *text)
{
    for (int32_t i = 0; i < s->n_seqs; i++)
        if (s->seqs[i].state != SEQ_IDLE)
            session_emit_done(s, list, i, reason, text);
}

/* ---- prompts that wait ---------------------------------------------------------------------------- */

static int32_t common_prefix(const struct seq *a, const struct seq *b)
{
    int32_t n = 0;
    while (n < a->n_prompt && n < b->n_prompt && a->prompt[n] == b->prompt[n])
        n++;
    return n;
}

/* Sets whom the sequence waits for: the one that is about to evaluate most of what the cache lacks. A wait that
 * has begun goes on to its end. */
static void choose_awaited(struct session *s, struct seq *q)
{
    int32_t held = -1, before = q->awaits;
    q->awaits = -1;
    q->n_common = 0;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        const struct seq *other = &s->seqs[i];
        if (other->state != SEQ_PROMPT)
            continue;
        int32_t n = common_prefix(q, other);
        if (n > q->n_prompt - 1)
            n = q->n_prompt - 1;    /* the last token is evaluated in any case */
        if (n <= other->n_fed || n <= q->n_common)
            continue;
        if (held < 0)
            held = kv_seq_find(q->kv, q->prompt, q->n_prompt - 1);
        if (n >= held + WAIT_LEAST || i == before) {
            q->awaits = i;
            q->n_common = n;
        }
    }
}

static void start_prompts(struct session *s)
{
    for (int32_t i = 0; i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        if (q->state != SEQ_QUEUED)
            continue;
        choose_awaited(s, q);
        if (q->awaits < 0) {
            session_find_prompt(s, i);
            q->state = SEQ_PROMPT;
        }
    }
}

/* Whether going on before the last of n tokens takes a page that going on behind it does not (kv_cache.h). */
static bool last_needs_more(const struct session *s, int32_t n)
{
    for (int32_t i = 0; i < s->cache->n_layers; i++) {
        const struct kv_layer *l = &s->cache->layers[i];
        if (kv_layer_seals(l) && n > 2 * KV_PAGE && n % KV_PAGE == 0)
            return true;
        if (l->window > 0 && n > l->window && (n - l->window + 1) % KV_PAGE == 0)
            return true;
    }
    return false;
}

/* The end of its prompt, of what is shared, or of what somebody waits for, whichever comes first. A prompt that is
 * answered again goes on before its last token: one time in 64 that place has to be kept apart from its end. In an
 * answer that is evaluated again its own prompt ends earlier. */
static int32_t next_cut(const struct session *s, int32_t seq)
{
    const struct seq *q = &s->seqs[seq];
    int32_t cut = q->n_prompt;
    if (q->n_fed < cut - 1 && last_needs_more(s, cut))
        cut--;
    if (q->timings.n_prompt > q->n_fed && q->timings.n_prompt < cut)
        cut = q->timings.n_prompt;
    if (q->n_shared > q->n_fed && q->n_shared < cut)
        cut = q->n_shared;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        const struct seq *other = &s->seqs[i];
        if (other->state == SEQ_QUEUED && other->awaits == seq && other->n_common < cut)
            cut = other->n_common;
    }
    return cut;
}

/* ---- one batch ------------------------------------------------------------------------------------ */

struct batch session_batch(struct session *s)
{
    int32_t n_best = 1;
    for (int32_t i = 0; i < s->n_seqs && n_best > 0; i++) {
        int32_t n = s->seqs[i].state != SEQ_IDLE ? sampler_n_best(s->seqs[i].sampler) : 1;
        n_best = n == 0 || n > n_best ? n : n_best;
    }
    if (n_best > s->model->backend->max_best)
        n_best = 0;
    return (struct batch){ .kv = s->cache->layers, .rows = s->rows, .logits = n_best == 0 ? s->logits : NULL,
                           .n_best = n_best, .best = s->best, .cancel = &s->cancel };
}

void session_add_rows(struct session *s, struct batch *batch, int32_t seq, int32_t pos, const int32_t *tokens,
                      int32_t n, int32_t n_logits)
{
    const struct kv_page *pages = kv_seq_table(s->seqs[seq].kv, &batch->table_stride);
    for (int32_t i = 0; i < n; i++)
        s->rows[batch->n_rows++] = (struct batch_row){
            .token = tokens[i], .pos = pos + i, .pages = pages,
            .logits = i >= n - n_logits ? batch->n_logits++ : -1 };
}

/* How many rows of this batch each sequence gets, drafts not counted. Returns the sum. */
static int32_t share_rows(struct session *s, int32_t *takes)
{
    int32_t room = s->n_batch, n_rows = 0;
    bool answering = false;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        takes[i] = s->seqs[i].state == SEQ_GENERATE;
        n_rows += takes[i];
        answering |= takes[i] != 0;
    }
    room -= n_rows;
    if (answering && room > PROMPT_ROWS_BESIDE_ANSWER)
        room = PROMPT_ROWS_BESIDE_ANSWER;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        if (q->state == SEQ_PROMPT) {
            q->cut = next_cut(s, i);
            int32_t left = q->cut - q->n_fed;
            assert(left > 0);
            takes[i] = left < room ? left : room;
            room -= takes[i];
            n_rows += takes[i];
        }
    }
    return n_rows;
}

/* The last token told, which the cache does not have yet, and what is drafted after it. */
static void add_answer(struct session *s, struct batch *batch, int32_t seq)
{
    const struct seq *q = &s->seqs[seq];
    int32_t tokens[1 + SPEC_MAX_DRAFT] = { q->next }, n = q->spec.n_rows;
    for (int32_t i = 1; i < n; i++)
        tokens[i] = q->spec.draft[i - 1].token;
    session_add_rows(s, batch, seq, kv_seq_held(q->kv), tokens, n, n);
}

/* Whether the backend may begin with what this answer says next before that is told: when the answer is alone, takes the
 * best, has no drafts to try, and goes on unless the token ends it. There have to be pages for it. */
static bool may_run_ahead(const struct session *s, const struct seq *q, const struct batch *batch, int32_t n_rows)
{
    const struct model *m = s->model;
    struct err ignored;
    int32_t n_held = kv_seq_held(q->kv) + 2;
    bool alone = n_rows == 1 && batch->n_best == 1 && !s->wants_drafts;
    bool goes_on = n_held < s->n_ctx && (q->n_predict < 0 || q->timings.n_generated + 1 < q->n_predict);
    return alone && goes_on && m->backend->ops->runs_ahead && m->backend->ops->runs_ahead(m->placed) &&
           kv_seq_reserve(q->kv, n_held, &ignored) == ERR_OK;
}

/* A sequence for whose cache there is no memory ends; the others go on.
 * Errors: ERR_CANCELLED, ERR_DEVICE */
static enum err_code fill_batch(struct session *s, struct batch *batch, int32_t *takes, struct event_list *list,
                                struct err *e)
{
    start_prompts(s);
    int32_t n_rows = share_rows(s, takes);
    enum err_code rc = session_spec_plan(s, n_rows, s->n_batch - n_rows, e);
    for (int32_t i = 0; rc == ERR_OK && i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        struct err full;
        if (takes[i] == 0)
            continue;
        if (q->state == SEQ_GENERATE)
            takes[i] = q->spec.n_rows;
        enum err_code pages = kv_seq_reserve(q->kv, kv_seq_held(q->kv) + takes[i], &full);
        if (pages == ERR_DEVICE) {
            rc = err_set(e, pages, "%s", full.text);
        } else if (pages != ERR_OK) {
            session_emit_done(s, list, i, DONE_ERROR, full.text);
            takes[i] = q->spec.n_rows = 0;
        } else if (q->state == SEQ_GENERATE) {
            batch->ahead = may_run_ahead(s, q, batch, n_rows);
            add_answer(s, batch, i);
        } else
            session_add_rows(s, batch, i, q->n_fed, q->prompt + q->n_fed, takes[i],
                             q->n_fed + takes[i] == q->n_prompt);
    }
    return rc;
}

/* From a row of what the batch has for samplers. */
static enum err_code sample(const struct session *s, const struct seq *q, const struct batch *batch, int32_t row,
                            struct sampler_result *out, struct err *e)
{
    if (batch->n_best > 0)
        return sampler_sample_best(q->sampler, batch->best + row * batch->n_best, batch->n_best, out, e);
    return sampler_sample(q->sampler, batch->logits + (int64_t)row * s->model->info.n_vocab, out, e);
}

static void sample_one(struct session *s, struct event_list *list, int32_t seq, const struct batch *batch, int32_t row,
                       const struct spec_guess *draft)
{
    struct seq *q = &s->seqs[seq];
    struct sampler_result result;
    struct err e;
    if (q->n_predict == 0) {
        session_emit_done(s, list, seq, DONE_LENGTH, NULL);
        return;
    }
    if (sample(s, q, batch, row, &result, &e) != ERR_OK) {
        session_emit_done(s, list, seq, DONE_ERROR, e.text);
        return;
    }
    sampler_accept(q->sampler, result.token);
    session_spec_learn(s, q, result.token);
    double now = clock_ms();
    if (q->timings.n_generated == 0) {
        q->timings.prompt_ms = q->timings.first_ms = now - q->started_ms;
        q->first_ms = now;
    }
    q->state = SEQ_GENERATE;
    bool drafted = draft && draft->token == result.token;
    q->timings.n_accepted += drafted;
    q->timings.saved_ms += q->spec.token_ms;
    q->spec.n_told++;
    if (!q->ignore_end && tokenizer_is_eog(s->model->tokenizer, result.token)) {
        session_emit_done(s, list, seq, DONE_END, NULL);
        return;
    }
    q->next = result.token;
    q->timings.n_generated++;
    if (!session_emit_token(s, list, seq, result.token, result.probability, drafted))
        session_emit_done(s, list, seq, DONE_ERROR, "no memory for the text of a token");
    else if (q->n_predict >= 0 && q->timings.n_generated >= q->n_predict)
        session_emit_done(s, list, seq, DONE_LENGTH, NULL);
    else if (kv_seq_held(q->kv) + 1 >= s->n_ctx)
        session_emit_done(s, list, seq, DONE_CONTEXT, NULL);
}

/* Goes through an answer's rows for as long as what is sampled is what was drafted; what the cache got
 * of the rest is written over. The sampler is asked as often, with the same logits, as without drafts. */
static void take_answer(struct session *s, struct event_list *list, int32_t seq, const struct batch *batch, int32_t row)
{
    struct seq *q = &s->seqs[seq];
    int32_t n_rows = q->spec.n_rows, n_others = s->n_seqs - 1 - seq;
    for (int32_t i = 0; i < n_rows; i++) {
        const struct spec_guess *draft = i + 1 < n_rows ? &q->spec.draft[i] : NULL;
        kv_seq_append(q->kv, &q->next, 1);
        sample_one(s, list, seq, batch, row + i, draft);
        if (q->state != SEQ_GENERATE || !draft || q->next != draft->token ||
            list->cap - list->n < EVENTS_PER_SEQ * (1 + n_others))
            break;
    }
}

/* A piece of a prompt has been evaluated. */
static void take_piece(struct session *s, struct event_list *list, int32_t seq, int32_t n, double ms)
{
    struct seq *q = &s->seqs[seq];
    kv_seq_append(q->kv, q->prompt + q->n_fed, n);
    q->n_fed += n;
    session_count_time(s, seq, n, ms);
    if (q->n_fed == q->cut)
        kv_seq_anchor(q->kv);
    if (q->n_fed == q->n_shared)
        session_keep_shared(s, seq);
    session_emit_progress(list, seq, q);
}

static void take_results(struct session *s, struct event_list *list, const struct batch *batch,
                         const int32_t *takes, double ms)
{
    int32_t row = 0;
    for (int32_t i = 0; batch->n_rows > 0 && i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        if (takes[i] == 0)
            continue;
        if (q->state == SEQ_GENERATE) {
            take_answer(s, list, i, batch, row);
            row += takes[i];
            continue;
        }
        take_piece(s, list, i, takes[i], ms * takes[i] / batch->n_rows);
        if (q->n_fed == q->n_prompt)
            sample_one(s, list, i, batch, row++, NULL);
    }
    if (s->cache->store)
        kv_store_poll(s->cache->store);
}

/* One batch; what it fails with is in *e. */
static enum err_code step(struct session *s, struct event_list *list, struct err *e)
{
    int32_t takes[SESSION_MAX_SEQS];
    enum err_code rc = atomic_load(&s->cancel) ? ERR_CANCELLED : gguf_changed(s->model->gguf, e);
    if (rc == ERR_OK)
        rc = session_ready(s, -1, e);
    struct batch batch = session_batch(s);
    if (rc == ERR_OK)
        rc = fill_batch(s, &batch, takes, list, e);
    double start_ms = clock_ms();
    if (rc == ERR_OK && batch.n_rows > 0)
        rc = s->model->backend->ops->run(s->model->placed, &batch, e);
    double ms = clock_ms() - start_ms;
    bool timed = !s->runs_ahead;    /* else it began before */
    s->runs_ahead = rc == ERR_OK && batch.ahead;
    if (rc == ERR_OK) {
        session_spec_count(s, batch.n_rows, ms, timed);
        take_results(s, list, &batch, takes, ms);
    }
    return rc;
}

enum err_code session_step(struct session *s, struct eng_event *events, int32_t cap, int32_t *n_events,
                           struct err *e)
{
    struct event_list list = { .events = events, .cap = cap };
    *n_events = 0;
    if (cap < EVENTS_PER_SEQ * s->n_seqs)
        return err_set(e, ERR_FORMAT, "events: room for %d, at least %d wanted", cap, EVENTS_PER_SEQ * s->n_seqs);
    struct err reason;
    enum err_code rc = step(s, &list, &reason);
    if (rc == ERR_CANCELLED) {
        end_all(s, &list, DONE_CANCELLED, NULL);
        atomic_store(&s->cancel, false);    /* has had its effect */
    } else if (rc != ERR_OK && !session_recover(s, -1, &reason))    /* else the next step goes on with it */
        end_all(s, &list, DONE_ERROR, reason.text);
    model_tell_validation(s->model);
    *n_events = list.n;
    return ERR_OK;
}
