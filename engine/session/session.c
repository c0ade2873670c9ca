/* SPDX-License-Identifier: MIT */
/* The decode loop. A step is one batch: first a row for every sequence that generates, then pieces of the
 * prompts that wait, as many rows as fit. While somebody generates, prompts go in small pieces so that the
 * answer does not stop for them.
 *
 * The arithmetic of a row does not depend on the batch it rides in (cpu_kern.h), so how prompts are cut and
 * who shares a batch changes no token. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/session/session_impl.h"

enum { PROMPT_ROWS_BESIDE_ANSWER = 32, MAX_SEQS = 64, MAX_BATCH = 4096, MAX_CTX = 1 << 22,
       EVENTS_PER_SEQ = 16, TEXT_BYTES = 4096 };

double session_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* ---- life ----------------------------------------------------------------------------------------- */

static enum err_code find_type(enum kv_type *out, const char *name, struct err *e)
{
    *out = KV_F16;
    if (name && strcmp(name, "auto") != 0 && !kv_type_find(out, name))
        return err_set(e, ERR_UNSUPPORTED, "KV cache type '%s': f16, q8_0, q4_0, kv4, kv3 or f32 wanted", name);
    return ERR_OK;
}

static enum err_code read_options(struct session *s, const struct session_options *o, enum kv_type *k,
                                  enum kv_type *v, struct err *e)
{
    int32_t train = s->model->info.n_ctx_train;
    s->n_ctx = o->n_ctx ? o->n_ctx : train < DEFAULT_CTX ? train : DEFAULT_CTX;
    s->n_seqs = o->n_seqs ? o->n_seqs : 1;
    s->n_batch = o->n_batch ? o->n_batch : DEFAULT_BATCH;
    if (s->n_ctx < 2 || s->n_ctx > MAX_CTX)
        return err_set(e, ERR_FORMAT, "context: %d tokens, 2 to %d allowed", s->n_ctx, MAX_CTX);
    if (s->n_seqs < 1 || s->n_seqs > MAX_SEQS)
        return err_set(e, ERR_FORMAT, "sequences: %d, 1 to %d allowed", s->n_seqs, MAX_SEQS);
    if (s->n_batch < s->n_seqs || s->n_batch > MAX_BATCH)
        return err_set(e, ERR_FORMAT, "batch: %d rows, %d to %d allowed", s->n_batch, s->n_seqs, MAX_BATCH);
    enum err_code rc = find_type(k, o->kv_type_k, e);
    if (rc == ERR_OK)
        rc = find_type(v, o->kv_type_v, e);
    if (rc == ERR_OK && (*k == KV_F32) != (*v == KV_F32))
        rc = err_set(e, ERR_UNSUPPORTED, "KV cache types %s and %s: f32 goes with f32 alone", kv_type_name(*k),
                     kv_type_name(*v));
    return rc;
}

/* The cache of a session's own. */
static enum err_code create_cache(struct session *s, enum kv_type k, enum kv_type v, struct err *e)
{
    const struct program *p = s->model->program;
    struct kv_layer *layers = calloc((size_t)p->n_layers, sizeof *layers);
    if (!layers)
        return err_set(e, ERR_NOMEM, "no memory for the KV cache");
    for (int32_t i = 0; i < p->n_layers; i++) {
        layers[i] = p->kv[i];
        layers[i].k = k;
        layers[i].v = v;
    }
    enum err_code rc = kv_cache_create(&s->kv, layers, p->n_layers, 0, e);
    free(layers);
    for (int32_t i = 0; rc == ERR_OK && i < s->n_seqs; i++)
        rc = kv_seq_create(&s->seqs[i].kv, s->kv, s->n_ctx, e);
    if (rc == ERR_OK) {
        int32_t n;
        s->layers = kv_cache_layers(s->kv, &n);
    }
    return rc;
}

static bool alloc_rows(struct session *s)
{
    s->seqs = calloc((size_t)s->n_seqs, sizeof *s->seqs);
    s->rows = calloc((size_t)s->n_batch, sizeof *s->rows);
    s->logits = calloc((size_t)s->n_seqs * (size_t)s->model->info.n_vocab, sizeof *s->logits);
    if (!s->seqs || !s->rows || !s->logits || !buf_reserve(&s->text, TEXT_BYTES))
        return false;
    for (int32_t i = 0; i < s->n_seqs; i++)
        if (!(s->seqs[i].prompt = calloc((size_t)s->n_ctx, sizeof *s->seqs[i].prompt)))
            return false;
    return true;
}

enum err_code session_create(struct session **out, struct model *m, const struct session_options *o, struct err *e)
{
    if (!m->program)
        return err_set(e, ERR_FORMAT, "%s: opened without its weights, a session needs them", m->info.path);
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for a session");
    s->model = m;
    enum kv_type k, v;
    enum err_code rc = read_options(s, o, &k, &v, e);
    if (rc == ERR_OK && !alloc_rows(s))
        rc = err_set(e, ERR_NOMEM, "no memory for a session of %d tokens", s->n_ctx);
    if (rc == ERR_OK)
        rc = create_cache(s, k, v, e);
    if (rc == ERR_OK)
        rc = m->engine->backend->ops->reserve(m->placed, s->n_batch, s->n_seqs, s->n_ctx, e);
    if (rc != ERR_OK) {
        session_destroy(s);
        return rc;
    }
    *out = s;
    return ERR_OK;
}

void session_destroy(struct session *s)
{
    if (!s)
        return;
    for (int32_t i = 0; s->seqs && i < s->n_seqs; i++) {
        free(s->seqs[i].prompt);
        sampler_destroy(s->seqs[i].sampler);
        kv_seq_destroy(s->seqs[i].kv);
    }
    kv_cache_destroy(s->kv);
    buf_finish(&s->text);
    free(s->seqs);
    free(s->rows);
    free(s->logits);
    free(s);
}

/* ---- starting ------------------------------------------------------------------------------------- */

static enum err_code check_tokens(const struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens,
                                  struct err *e)
{
    if (seq < 0 || seq >= s->n_seqs)
        return err_set(e, ERR_FORMAT, "sequence %d: 0 to %d exist", seq, s->n_seqs - 1);
    if (n_tokens < 1)
        return err_set(e, ERR_FORMAT, "prompt: %d tokens, at least 1 wanted", n_tokens);
    for (int32_t i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || tokens[i] >= s->model->info.n_vocab)
            return err_set(e, ERR_FORMAT, "token %d is %d, 0 to %d exist", i, tokens[i], s->model->info.n_vocab - 1);
    return ERR_OK;
}

static const char *piece_bytes(const void *tokenizer, int32_t token, size_t *n_bytes)
{
    struct tokenizer_text piece = tokenizer_piece(tokenizer, token);
    *n_bytes = piece.n_bytes;
    return piece.bytes;
}

enum err_code session_generate(struct session *s, int32_t seq, const int32_t *prompt, int32_t n_tokens,
                               const struct generate_options *o, struct err *e)
{
    enum err_code rc = check_tokens(s, seq, prompt, n_tokens, e);
    if (rc != ERR_OK)
        return rc;
    if (n_tokens >= s->n_ctx)
        return err_set(e, ERR_UNSUPPORTED, "prompt: %d tokens, the context holds %d and one must be free", n_tokens,
                       s->n_ctx);
    struct seq *q = &s->seqs[seq];
    if (q->state != SEQ_IDLE)
        return err_set(e, ERR_FORMAT, "sequence %d: busy, an idle one wanted", seq);
    if (!session_busy(s))
        atomic_store(&s->cancel, false);    /* asked for when there was nothing to cancel */
    struct sampler *sampler;
    rc = sampler_create(&sampler, &o->sampling, s->model->info.n_vocab, e);
    if (rc != ERR_OK)
        return rc;
    sampler_set_pieces(sampler, piece_bytes, s->model->tokenizer);
    for (int32_t i = 0; i < n_tokens; i++)
        sampler_accept(sampler, prompt[i]);
    sampler_destroy(q->sampler);
    q->sampler = sampler;

    memcpy(q->prompt, prompt, (size_t)n_tokens * sizeof *prompt);
    int32_t held = kv_seq_match(q->kv, prompt, n_tokens - 1);    /* the last token's logits are wanted */
    q->n_prompt = n_tokens;
    q->n_fed = held;
    q->n_predict = o->n_predict;
    q->ignore_end = o->ignore_end;
    q->state = SEQ_PROMPT;
    q->timings = (struct eng_timings){ .n_prompt = n_tokens, .n_reused = held };
    q->started_ms = session_clock_ms();
    tokenizer_stream_init(&q->stream, s->model->tokenizer, true, false);
    return ERR_OK;
}

/* ---- one batch ------------------------------------------------------------------------------------ */

static void add_rows(struct session *s, struct batch *batch, int32_t seq, const int32_t *tokens, int32_t n,
                     bool want_logits)
{
    const struct kv_page *pages = kv_seq_table(s->seqs[seq].kv, &batch->table_stride);
    int32_t pos = kv_seq_held(s->seqs[seq].kv);
    for (int32_t i = 0; i < n; i++)
        s->rows[batch->n_rows++] = (struct batch_row){ .token = tokens[i], .pos = pos + i, .pages = pages,
                                                       .logits = -1 };
    if (want_logits)
        s->rows[batch->n_rows - 1].logits = batch->n_logits++;
}

static void end_all(struct session *s, struct event_list *list, enum done_reason reason, const char *text)
{
    for (int32_t i = 0; i < s->n_seqs; i++)
        if (s->seqs[i].state != SEQ_IDLE)
            session_emit_done(s, list, i, reason, text);
}

/* How many rows of this batch each sequence gets. */
static void share_rows(const struct session *s, int32_t *takes)
{
    int32_t room = s->n_batch;
    bool answering = false;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        takes[i] = s->seqs[i].state == SEQ_GENERATE;
        room -= takes[i];
        answering |= takes[i] != 0;
    }
    if (answering && room > PROMPT_ROWS_BESIDE_ANSWER)
        room = PROMPT_ROWS_BESIDE_ANSWER;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        const struct seq *q = &s->seqs[i];
        if (q->state == SEQ_PROMPT) {
            int32_t left = q->n_prompt - q->n_fed;
            takes[i] = left < room ? left : room;
            room -= takes[i];
        }
    }
}

/* A sequence for whose cache there is no memory ends; the others go on. */
static void fill_batch(struct session *s, struct batch *batch, int32_t *takes, struct event_list *list)
{
    share_rows(s, takes);
    for (int32_t i = 0; i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        struct err e;
        if (takes[i] == 0)
            continue;
        if (kv_seq_reserve(q->kv, kv_seq_held(q->kv) + takes[i], &e) != ERR_OK) {
            session_emit_done(s, list, i, DONE_ERROR, e.text);
            takes[i] = 0;
        } else if (q->state == SEQ_GENERATE)
            add_rows(s, batch, i, &q->next, 1, true);
        else
            add_rows(s, batch, i, q->prompt + q->n_fed, takes[i], q->n_fed + takes[i] == q->n_prompt);
    }
}

static void sample_one(struct session *s, struct event_list *list, int32_t seq, const float *logits)
{
    struct seq *q = &s->seqs[seq];
    struct sampler_result result;
    struct err e;
    if (q->n_predict == 0) {
        session_emit_done(s, list, seq, DONE_LENGTH, NULL);
        return;
    }
    if (sampler_sample(q->sampler, logits, &result, &e) != ERR_OK) {
        session_emit_done(s, list, seq, DONE_ERROR, e.text);
        return;
    }
    sampler_accept(q->sampler, result.token);
    double now = session_clock_ms();
    if (q->state == SEQ_PROMPT) {
        q->timings.prompt_ms = q->timings.first_ms = now - q->started_ms;
        q->first_ms = now;
        q->state = SEQ_GENERATE;
    }
    if (!q->ignore_end && tokenizer_is_eog(s->model->tokenizer, result.token)) {
        session_emit_done(s, list, seq, DONE_END, NULL);
        return;
    }
    q->next = result.token;
    q->timings.n_generated++;
    if (!session_emit_token(s, list, seq, result.token, result.probability))
        session_emit_done(s, list, seq, DONE_ERROR, "no memory for the text of a token");
    else if (q->n_predict >= 0 && q->timings.n_generated >= q->n_predict)
        session_emit_done(s, list, seq, DONE_LENGTH, NULL);
    else if (kv_seq_held(q->kv) + 1 >= s->n_ctx)
        session_emit_done(s, list, seq, DONE_CONTEXT, NULL);
}

enum err_code session_step(struct session *s, struct eng_event *events, int32_t cap, int32_t *n_events, struct err *e)
{
    struct event_list list = { .events = events, .cap = cap };
    struct batch batch = { .rows = s->rows, .logits = s->logits, .kv = s->layers,
                           .cancel = &s->cancel };
    int32_t takes[MAX_SEQS];
    *n_events = 0;
    if (cap < EVENTS_PER_SEQ * s->n_seqs)
        return err_set(e, ERR_FORMAT, "events: room for %d, at least %d wanted", cap, EVENTS_PER_SEQ * s->n_seqs);
    struct err reason;
    enum err_code rc = atomic_load(&s->cancel) ? ERR_CANCELLED : gguf_changed(s->model->gguf, &reason);
    if (rc == ERR_OK)
        fill_batch(s, &batch, takes, &list);
    if (rc == ERR_OK && batch.n_rows > 0)
        rc = s->model->engine->backend->ops->run(s->model->placed, &batch, &reason);
    if (rc != ERR_OK) {
        end_all(s, &list, rc == ERR_CANCELLED ? DONE_CANCELLED : DONE_ERROR, rc == ERR_CANCELLED ? NULL : reason.text);
        if (rc == ERR_CANCELLED)
            atomic_store(&s->cancel, false);    /* has had its effect */
        *n_events = list.n;
        return ERR_OK;
    }
    const float *logits = s->logits;
    for (int32_t i = 0; batch.n_rows > 0 && i < s->n_seqs; i++) {
        struct seq *q = &s->seqs[i];
        if (takes[i] == 0)
            continue;
        bool prompt = q->state == SEQ_PROMPT;
        kv_seq_append(q->kv, prompt ? q->prompt + q->n_fed : &q->next, takes[i]);
        if (prompt) {
            q->n_fed += takes[i];
            session_emit_progress(&list, i, q);
        }
        if (!prompt || q->n_fed == q->n_prompt) {
            sample_one(s, &list, i, logits);
            logits += s->model->info.n_vocab;
        }
    }
    *n_events = list.n;
    return ERR_OK;
}

bool session_busy(const struct session *s)
{
    for (int32_t i = 0; i < s->n_seqs; i++)
        if (s->seqs[i].state != SEQ_IDLE)
            return true;
    return false;
}

void session_cancel(struct session *s)
{
    atomic_store(&s->cancel, true);
}

int32_t session_held(const struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens)
{
    return kv_seq_find(s->seqs[seq].kv, tokens, n_tokens);
}

void session_stats(const struct session *s, struct session_stats *out)
{
    const struct backend *b = s->model->engine->backend;
    struct kv_stats kv;
    kv_cache_stats(s->kv, &kv);
    *out = (struct session_stats){ .n_ctx = s->n_ctx, .kv_bytes = kv.used_bytes,
                                    .kv_type_k = kv_type_name(s->layers[0].k), .kv_type_v = kv_type_name(s->layers[0].v),
                                    .kv_note = "",
                                   .scratch_bytes = b->ops->scratch_bytes(s->model->placed, s->n_batch, s->n_seqs,
                                                                          s->n_ctx) };
    for (int32_t i = 0; i < s->n_seqs; i++)
        out->n_held += kv_seq_held(s->seqs[i].kv);
}

/* ---- for measuring -------------------------------------------------------------------------------- */

enum err_code session_eval(struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens, float *logits,
                           int32_t n_logits, struct err *e)
{
    struct batch batch = { .rows = s->rows, .logits = logits, .kv = s->layers,
                           .cancel = &s->cancel };
    const struct backend_ops *ops = s->model->engine->backend->ops;
    enum err_code rc = check_tokens(s, seq, tokens, n_tokens, e);
    if (rc != ERR_OK)
        return rc;
    if (s->seqs[seq].state != SEQ_IDLE)
        return err_set(e, ERR_FORMAT, "sequence %d: busy, an idle one wanted", seq);
    struct kv_seq *kv = s->seqs[seq].kv;
    int32_t held = kv_seq_held(kv);
    if (n_tokens > s->n_batch || n_logits < 0 || n_logits > n_tokens)
        return err_set(e, ERR_FORMAT, "%d tokens with %d rows of logits: the batch holds %d", n_tokens, n_logits,
                       s->n_batch);
    if (n_tokens > s->n_ctx - held)
        return err_set(e, ERR_UNSUPPORTED, "%d tokens after %d: the context holds %d", n_tokens, held, s->n_ctx);
    rc = atomic_load(&s->cancel) ? err_set(e, ERR_CANCELLED, "cancelled") : gguf_changed(s->model->gguf, e);
    if (rc == ERR_OK)
        rc = ops->reserve(s->model->placed, s->n_batch, n_logits, s->n_ctx, e);
    if (rc == ERR_OK)
        rc = kv_seq_reserve(kv, held + n_tokens, e);
    if (rc == ERR_OK) {
        add_rows(s, &batch, seq, tokens, n_tokens, false);
        for (int32_t i = n_tokens - n_logits; i < n_tokens; i++)
            s->rows[i].logits = batch.n_logits++;
        rc = ops->run(s->model->placed, &batch, e);
    }
    if (rc == ERR_OK)
        kv_seq_append(kv, tokens, n_tokens);
    if (rc == ERR_CANCELLED)
        atomic_store(&s->cancel, false);    /* has had its effect */
    return rc;
}

int32_t session_truncate(struct session *s, int32_t seq, int32_t n_keep)
{
    assert(s->seqs[seq].state == SEQ_IDLE && n_keep >= 0);
    return kv_seq_truncate(s->seqs[seq].kv, n_keep);
}

void session_close_chat(struct session *s, int32_t seq)
{
    kv_seq_truncate(s->seqs[seq].kv, 0);
}

bool session_flush(struct session *s, int32_t timeout_ms)
{
    (void)s;
    (void)timeout_ms;
    return true;
}
