/* SPDX-License-Identifier: MIT */
/* For measuring: a sequence as the caller wants it, token by token. */
#include <assert.h>

#include "engine/session/session_impl.h"

enum err_code session_eval_tokens(struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens,
                                  float *logits, int32_t n_logits, double *const *input_sums, bool *pages,
                                  struct err *e)
{
    struct model *m = s->model;
    struct kv_seq *kv = s->seqs[seq].kv;
    int32_t held = kv_seq_held(kv), first_logits = n_tokens - n_logits, n;
    enum err_code rc = m->backend->ops->reserve(m->placed, s->n_batch, n_logits, s->n_ctx, e);
    *pages = rc == ERR_OK;
    if (rc == ERR_OK)
        rc = kv_seq_reserve(kv, held + n_tokens, e);
    if (rc != ERR_OK)
        return rc;
    *pages = false;
    for (int32_t at = 0; rc == ERR_OK && at < n_tokens; at += n) {
        struct batch batch = { .rows = s->rows, .logits = logits, .kv = s->cache->layers, .input_sums = input_sums,
                               .cancel = &s->cancel };
        n = n_tokens - at < s->n_batch ? n_tokens - at : s->n_batch;
        int32_t wanted = at + n - (at > first_logits ? at : first_logits);
        session_add_rows(s, &batch, seq, held + at, tokens + at, n, wanted > 0 ? wanted : 0);
        rc = m->backend->ops->run(m->placed, &batch, e);
        if (logits)
            logits += (int64_t)batch.n_logits * m->info.n_vocab;
    }
    if (rc == ERR_OK)
        kv_seq_append(kv, tokens, n_tokens);
    return rc;
}

enum err_code session_eval(struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens, float *logits,
                           int32_t n_logits, struct err *e)
{
    enum err_code rc = session_check_tokens(s, seq, tokens, n_tokens, e);
    if (rc != ERR_OK)
        return rc;
    const struct seq *q = &s->seqs[seq];
    if (q->state != SEQ_IDLE)
        return err_set(e, ERR_FORMAT, "sequence %d: busy, an idle one wanted", seq);
    int32_t held = kv_seq_held(q->kv) + q->n_lost;
    if (n_tokens > s->n_asked || n_logits < 0 || n_logits > n_tokens)
        return err_set(e, ERR_FORMAT, "%d tokens with %d rows of logits: the batch holds %d", n_tokens, n_logits,
                       s->n_asked);
    if (n_tokens > s->n_ctx - held)
        return err_set(e, ERR_UNSUPPORTED, "%d tokens after %d: the context holds %d", n_tokens, held, s->n_ctx);
    struct err why;
    bool pages = false;    /* no memory for them ends what is evaluated, as it ends an answer */
    do {
        rc = atomic_load(&s->cancel) ? err_set(&why, ERR_CANCELLED, "cancelled") : gguf_changed(s->model->gguf, &why);
        if (rc == ERR_OK)
            rc = session_ready(s, seq, &why);
        if (rc == ERR_OK && s->inputs && !s->model->backend->sums_inputs)
            rc = err_set(&why, ERR_UNSUPPORTED, "the model has been moved to a device: what comes into its matrices "
                         "is collected by the processor alone");
        if (rc == ERR_OK)
            rc = session_eval_tokens(s, seq, tokens, n_tokens, logits, n_logits, session_inputs_begin(s->inputs),
                                     &pages, &why);
    } while (rc != ERR_OK && !(pages && rc == ERR_NOMEM) && session_recover(s, seq, &why));
    model_tell_validation(s->model);
    if (rc == ERR_OK)
        session_inputs_end(s->inputs, n_tokens, n_logits);
    if (rc == ERR_CANCELLED)
        atomic_store(&s->cancel, false);    /* has had its effect */
    return rc == ERR_OK ? rc : err_set(e, why.code, "%s", why.text);
}

int32_t session_truncate(struct session *s, int32_t seq, int32_t n_keep)
{
    struct seq *q = &s->seqs[seq];
    assert(q->state == SEQ_IDLE && n_keep >= 0);
    if (q->n_lost > n_keep)
        q->n_lost = n_keep;
    return q->n_lost > 0 ? q->n_lost : kv_seq_truncate(q->kv, n_keep);
}
