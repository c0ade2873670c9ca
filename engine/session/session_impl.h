/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SESSION_SESSION_IMPL_H
#define QUIP_ENGINE_SESSION_SESSION_IMPL_H

#include "engine/engine_impl.h"
#include "engine/kv/kv_cache.h"
#include "engine/sampler/sampler.h"

/* A sequence is idle, or its prompt is being evaluated piece by piece, or it generates: then `next` has been
 * sampled and told, but is not in the cache yet. */
enum seq_state { SEQ_IDLE, SEQ_PROMPT, SEQ_GENERATE };

struct seq {
    enum seq_state state;
    struct kv_seq *kv;
    int32_t *prompt;             /* [n_ctx]; the part past n_fed is still to be evaluated */
    int32_t n_prompt, n_fed;
    int32_t next;
    int32_t n_predict;
    bool ignore_end;
    struct sampler *sampler;
    struct tokenizer_stream stream;
    struct eng_timings timings;
    double started_ms, first_ms; /* clock */
};

struct session {
    struct model *model;
    struct kv_cache *kv;
    const struct kv_layer *layers;    /* the cache's */
    int32_t n_ctx, n_seqs, n_batch;
    struct seq *seqs;
    struct batch_row *rows;      /* [n_batch] */
    float *logits;               /* [n_seqs][n_vocab] */
    struct buf text;             /* of one token */
    atomic_bool cancel;          /* raised by any thread, lowered by the engine's when it has had its effect */
};

/* Where session_step puts what happened. */
struct event_list {
    struct eng_event *events;
    int32_t n, cap;
};

double session_clock_ms(void);

/* session_emit.c */
void session_emit_progress(struct event_list *list, int32_t seq, const struct seq *q);
/* False when there was no memory for its text. */
bool session_emit_token(struct session *s, struct event_list *list, int32_t seq, int32_t token, float probability);
/* Ends the sequence: what the detokenizer held back, then EVENT_DONE. text may be NULL. */
void session_emit_done(struct session *s, struct event_list *list, int32_t seq, enum done_reason reason,
                       const char *text);

#endif
