/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session/session_impl.h"

enum { MAX_BATCH = 4096, TEXT_BYTES = 4096 };

/* ---- life ----------------------------------------------------------------------------------------- */

static enum err_code read_options(struct session *s, const struct session_options *o, struct err *e)
{
    int32_t train = s->model->info.n_ctx_train;
    s->n_ctx = o->n_ctx ? o->n_ctx : train < DEFAULT_CTX ? train : DEFAULT_CTX;
    s->n_seqs = o->n_seqs ? o->n_seqs : 1;
    s->n_asked = o->n_batch ? o->n_batch : DEFAULT_BATCH;
    if (s->n_ctx < 2 || s->n_ctx > SESSION_MAX_CTX)
        return err_set(e, ERR_FORMAT, "context: %d tokens, 2 to %d allowed", s->n_ctx,
                       SESSION_MAX_CTX);
    if (s->n_seqs < 1 || s->n_seqs > SESSION_MAX_SEQS)
        return err_set(e, ERR_FORMAT, "sequences: %d, 1 to %d allowed", s->n_seqs, SESSION_MAX_SEQS);
    if (s->n_asked < s->n_seqs || s->n_asked > MAX_BATCH)
        return err_set(e, ERR_FORMAT, "batch: %d rows, %d to %d allowed", s->n_asked, s->n_seqs, MAX_BATCH);
    s->drafts_from_chats = o->draft_from_chats;
    return session_types_find(&s->types, o->kv_type_k, o->kv_type_v, e);
}

/* From the types asked for to those in force. */
static enum err_code choose_types(struct session *s, const struct session_options *o, struct session_trial *trial,
                                  struct err *e)
{
    const struct model *m = s->model;
    enum err_code rc = session_types_find(&s->types, o->kv_type_k, o->kv_type_v, e);
    if (rc != ERR_OK)
        return rc;
    s->note[0] = '\0';
    session_types_decide(&s->types, m, s->n_ctx, s->n_seqs, s->n_batch, session_memory_available(m), s->note,
                         sizeof s->note);
    session_types_fit(&s->types, m->program, s->note, sizeof s->note);
    if (o->keep_kv_type || !(kv_type_sealed(s->types.k) || kv_type_sealed(s->types.v)))
        return ERR_OK;
    return session_trial_run(s, o->cache_dir, trial, e);
}

static void leave_cache(struct session *s)
{
    for (int32_t i = 0; s->seqs && i < s->n_seqs; i++) {
        kv_seq_destroy(s->seqs[i].kv);
        s->seqs[i].kv = NULL;
    }
    session_cache_leave(s);
}

/* All that depends on where the model is placed. */
static enum err_code create_cache(struct session *s, const struct session_options *o, struct err *e)
{
    struct session_trial trial = { .fresh = false };
    if (!s->model->caches && !(s->model->caches = calloc(1, sizeof *s->model->caches)))
        return err_set(e, ERR_NOMEM, "no memory for the KV cache");
    enum err_code rc = model_placed(s->model, e);
    s->n_batch = s->n_asked;
    if (rc == ERR_OK)
        rc = choose_types(s, o, &trial, e);
    if (rc == ERR_OK)
        rc = session_cache_take(s, o, e);
    for (int32_t i = 0; rc == ERR_OK && i < s->n_seqs; i++)
        rc = kv_seq_create(&s->seqs[i].kv, s->cache->kv, s->n_ctx, e);
    if (rc == ERR_OK)
        rc = session_reserve(s, e);
    if (rc == ERR_OK && s->use_files && trial.fresh)    /* the folder is there now */
        session_trial_keep(s, o->cache_dir, &trial);
    s->generation = s->model->generation;
    if (rc != ERR_OK)
        leave_cache(s);
    return rc;
}

static bool alloc_rows(struct session *s)
{
    s->seqs = calloc((size_t)s->n_seqs, sizeof *s->seqs);
    s->rows = calloc((size_t)s->n_asked, sizeof *s->rows);
    size_t n_logits = (size_t)(s->n_seqs + SPEC_MAX_DRAFT);
    s->logits = calloc(n_logits * (size_t)s->model->info.n_vocab, sizeof *s->logits);
    s->best = calloc(n_logits * BACKEND_MAX_BEST, sizeof *s->best);
    if (!s->seqs || !s->rows || !s->logits || !s->best || !buf_reserve(&s->text, TEXT_BYTES))
        return false;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        struct err e;
        s->seqs[i].prompt = calloc((size_t)s->n_ctx, sizeof *s->seqs[i].prompt);
        if (!s->seqs[i].prompt || spec_index_create(&s->seqs[i].spec.index, s->n_ctx, &e) != ERR_OK)
            return false;
    }
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
    enum err_code rc = read_options(s, o, e);
    if (rc == ERR_OK && !alloc_rows(s))
        rc = err_set(e, ERR_NOMEM, "no memory for a session of %d tokens", s->n_ctx);
    char how[ERR_TEXT_BYTES];
    struct err why;
    for (bool again = rc == ERR_OK; again;) {
        rc = create_cache(s, o, &why);
        again = rc != ERR_OK && model_recover(m, &why, how);
        if (again)
            model_warn(m, "%s", how);
        else if (rc != ERR_OK)
            rc = err_set(e, why.code, "%s", why.text);
    }
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
        spec_index_destroy(s->seqs[i].spec.index);
        sampler_destroy(s->seqs[i].sampler);
    }
    leave_cache(s);
    session_inputs_destroy(s->inputs);
    buf_finish(&s->text);
    free(s->seqs);
    free(s->rows);
    free(s->logits);
    free(s->best);
    free(s);
}

/* ---- starting ------------------------------------------------------------------------------------- */

enum err_code session_check_tokens(const struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens,
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
    enum err_code rc = session_check_tokens(s, seq, prompt, n_tokens, e);
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
    if (o->spec < SPEC_OFF || o->spec > SPEC_MOST)
        return err_set(e, ERR_FORMAT, "speculation: %d tokens drafted, 1 to %d allowed (%d: as many as pay, %d: none)",
                       o->spec, SPEC_MOST, SPEC_AUTO, SPEC_OFF);
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
    q->n_prompt = n_tokens;
    q->n_fed = q->n_lost = 0;
    q->n_shared = o->n_shared < n_tokens ? o->n_shared : n_tokens;
    q->awaits = -1;
    q->eval_ms = 0;
    q->n_evaluated = 0;
    q->n_predict = o->n_predict;
    q->ignore_end = o->ignore_end;
    q->spec = (struct seq_spec){ .index = q->spec.index, .asked = o->spec };
    if (o->n_predict != 0)
        spec_index_set(q->spec.index, prompt, n_tokens);
    q->state = SEQ_QUEUED;
    q->timings = (struct eng_timings){ .n_prompt = n_tokens };
    q->started_ms = clock_ms();
    tokenizer_stream_init(&q->stream, s->model->tokenizer, true, false);
    return ERR_OK;
}

enum err_code session_take_over(struct session *to, struct session *from, struct err *e)
{
    assert(!session_busy(to) && to->n_seqs >= from->n_seqs);
    for (int32_t i = 0; i < from->n_seqs; i++) {
        const struct seq *q = &from->seqs[i];
        int32_t n = q->state == SEQ_GENERATE ? kv_seq_held(q->kv) + 1 : q->n_prompt;
        if (q->state != SEQ_IDLE && n >= to->n_ctx)
            return err_set(e, ERR_UNSUPPORTED, "the answer is at token %d, the context holds %d", n, to->n_ctx);
    }
    for (int32_t i = 0; i < from->n_seqs; i++) {
        struct seq *q = &from->seqs[i], *r = &to->seqs[i];
        if (q->state == SEQ_IDLE)
            continue;
        session_requeue(q);
        memcpy(r->prompt, q->prompt, (size_t)q->n_prompt * sizeof *r->prompt);
        struct seq was = *r;
        *r = *q;
        r->kv = was.kv;
        r->prompt = was.prompt;
        r->spec.index = was.spec.index;
        q->sampler = was.sampler;
        q->state = SEQ_IDLE;
        r->n_lost = 0;
        if (r->n_predict != 0)
            spec_index_set(r->spec.index, r->prompt, r->n_prompt);
        sampler_set_pieces(r->sampler, piece_bytes, to->model->tokenizer);
    }
    atomic_store(&to->cancel, atomic_load(&from->cancel));
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
    return s->generation == s->model->generation ? kv_seq_find(s->seqs[seq].kv, tokens, n_tokens) : 0;
}

void session_stats(const struct session *s, struct session_stats *out)
{
    struct model_bytes own;
    struct kv_stats kv;
    struct kv_store_stats files = { 0 };
    model_placed_bytes(s->model, s->n_batch, s->n_seqs + SPEC_MAX_DRAFT, s->n_ctx, &own);
    kv_cache_stats(s->cache->kv, &kv);
    if (s->use_files && s->cache->store)
        kv_store_stats(s->cache->store, &files);
    *out = (struct session_stats){
        .n_ctx = s->n_ctx,
        .kv_bytes = kv.used_bytes,
        .kv_full_bytes = session_kv_bytes(s->model, s->types, s->n_ctx, s->n_seqs),
        .scratch_bytes = own.host_scratch + own.device_scratch,
        .device_bytes = s->model->info.n_device_layers > 0 ? own.there + kv.device_bytes : 0,
        .kv_type_k = kv_type_name(s->types.k),
        .kv_type_v = kv_type_name(s->types.v),
        .kv_note = s->note,
        .n_open = kv.n_open,
        .n_sealed = kv.n_sealed,
        .n_shared = kv.n_shared,
        .cached_bytes = kv.cached_bytes,
        .cache_ram_bytes = kv.budget_bytes,
        .n_disk_files = files.n_files,
        .disk_bytes = files.file_bytes,
        .n_disk_writing = files.n_writing,
        .spec_note = s->spec_note,
    };
    for (int32_t i = 0; i < s->n_seqs; i++) {
        const struct eng_timings *t = &s->seqs[i].timings;
        out->n_held += kv_seq_held(s->seqs[i].kv);
        out->n_passes += t->n_passes;
        out->n_drafted += t->n_drafted;
        out->n_accepted += t->n_accepted;
        out->saved_ms += t->saved_ms;
    }
}
