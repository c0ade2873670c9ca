/* SPDX-License-Identifier: MIT */
/* When the place a model computes at fails, the model goes elsewhere (engine_place.c) and what its caches held is lost:
 * pages are for the place they were made at. Tokens are not lost, so a session goes on from them:
 *
 *     idle        the tokens wait in `prompt`, and are evaluated when somebody asks for what comes after them
 *     prompt      begins again
 *     answer      prompt and answer so far are a prompt now; its last token is the one that was told last, so what is
 *                 sampled behind it is the next one. The sampler, the drafts' index and the text go on as they are
 *
 * A row's numbers do not depend on the batch it rides in, so on the same device opened anew the answer is the one it
 * would have been. Each session follows when it is next asked to evaluate, and finds out by the model's generation.
 *
 * What can fail leaves the session as it was, but for what it held: it tries again when it is next asked. */
#include <stdlib.h>
#include <string.h>

#include "engine/session/session_impl.h"

enum { LEAST_BATCH = 32 };    /* room for the longest draft */

/* ---- scratch ------------------------------------------------------------------------------------------ */

enum err_code session_reserve(struct session *s, struct err *e)
{
    struct model *m = s->model;
    const struct backend_ops *ops = m->backend->ops;
    int32_t n_logits = s->n_seqs + SPEC_MAX_DRAFT, n_rows = s->n_asked;
    enum err_code rc = ops->reserve(m->placed, n_rows, n_logits, s->n_ctx, e);
    bool smaller = false;
    while (rc == ERR_NOMEM && m->backend != m->engine->cpu && n_rows / 2 >= LEAST_BATCH && n_rows / 2 >= s->n_seqs) {
        struct err ignored;
        n_rows /= 2;
        smaller = true;
        rc = ops->reserve(m->placed, n_rows, n_logits, s->n_ctx, &ignored);
    }
    if (rc != ERR_OK)
        return rc;
    s->n_batch = n_rows;
    s->n_placings = m->n_placings;
    if (smaller)
        model_warn(m, "%s; prompts are read %d tokens at a time", e->text, n_rows);
    return ERR_OK;
}

/* ---- what was held ------------------------------------------------------------------------------------ */

void session_requeue(struct seq *q)
{
    if (q->state == SEQ_GENERATE) {    /* held + 1 < n_ctx, or the answer had ended */
        int32_t held = kv_seq_held(q->kv);
        memcpy(q->prompt, kv_seq_tokens(q->kv), (size_t)held * sizeof *q->prompt);
        q->prompt[held] = q->next;
        q->n_prompt = held + 1;
    }
    q->state = SEQ_QUEUED;
    q->n_fed = 0;
    q->awaits = -1;
    q->eval_ms = 0;
    q->n_evaluated = 0;
    q->spec.n_rows = 0;
    if (q->timings.n_generated == 0)
        q->timings.n_loaded = 0;
}

/* Keeps the tokens, and lets go of the pages: what the model needs in its new place there may be no room for before. */
static void park(struct seq *q)
{
    int32_t held = kv_seq_held(q->kv);
    if (q->state != SEQ_IDLE) {
        session_requeue(q);
    } else if (held > 0) {
        memcpy(q->prompt, kv_seq_tokens(q->kv), (size_t)held * sizeof *q->prompt);
        q->n_lost = held;
    }
    kv_seq_truncate(q->kv, 0);
}

/* A cache and sequences in the model's new place. */
static enum err_code rebuild(struct session *s, struct err *e)
{
    struct session_cache *old = s->cache;
    const struct session_options o = { .cache_ram_bytes = old->budget_bytes, .cache_disk_bytes = old->cap_bytes,
                                       .cache_dir = s->use_files ? old->dir : NULL };
    struct kv_seq *made[SESSION_MAX_SEQS] = { NULL };
    for (int32_t i = 0; i < s->n_seqs; i++)
        park(&s->seqs[i]);
    enum err_code rc = session_cache_take(s, &o, e);
    if (rc != ERR_OK)
        return rc;
    for (int32_t i = 0; rc == ERR_OK && i < s->n_seqs; i++)
        rc = kv_seq_create(&made[i], s->cache->kv, s->n_ctx, e);
    if (rc == ERR_OK)
        rc = session_reserve(s, e);
    struct session_cache *taken = s->cache;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        struct kv_seq *gone = rc == ERR_OK ? s->seqs[i].kv : made[i];
        if (rc == ERR_OK)
            s->seqs[i].kv = made[i];
        kv_seq_destroy(gone);
    }
    s->cache = rc == ERR_OK ? old : taken;
    session_cache_leave(s);
    s->cache = rc == ERR_OK ? taken : old;
    if (rc == ERR_OK)
        s->generation = s->model->generation;
    return rc;
}

enum err_code session_ready(struct session *s, int32_t seq, struct err *e)
{
    bool pages;
    enum err_code rc = model_placed(s->model, e);
    if (rc == ERR_OK && s->generation != s->model->generation)
        rc = rebuild(s, e);
    if (rc == ERR_OK && s->n_placings != s->model->n_placings)
        rc = session_reserve(s, e);
    if (rc != ERR_OK || seq < 0 || s->seqs[seq].n_lost == 0)
        return rc;
    struct seq *q = &s->seqs[seq];
    rc = session_eval_tokens(s, seq, q->prompt, q->n_lost, NULL, 0, NULL, &pages, e);
    if (rc == ERR_OK)
        q->n_lost = 0;
    return rc;
}

/* ---- failures ----------------------------------------------------------------------------------------- */

bool session_recover(struct session *s, int32_t seq, struct err *why)
{
    char how[ERR_TEXT_BYTES];
    int32_t n_again = 0;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        const struct seq *q = &s->seqs[i];
        if (i == seq || q->state != SEQ_IDLE)
            n_again += kv_seq_held(q->kv) + q->n_lost;
    }
    if (!model_recover(s->model, why, how))
        return false;
    if (n_again > 0)
        model_warn(s->model, "%.440s, %d tokens evaluated again", how, n_again);
    else
        model_warn(s->model, "%s", how);
    return true;
}
