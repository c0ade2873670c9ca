/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SESSION_SESSION_IMPL_H
#define QUIP_ENGINE_SESSION_SESSION_IMPL_H

#include "engine/base/clock.h"
#include "engine/engine_impl.h"
#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_store.h"
#include "engine/sampler/sampler.h"
#include "engine/spec/spec_corpus.h"
#include "engine/spec/spec_costs.h"
#include "engine/spec/spec_index.h"
#include "engine/spec/spec_rates.h"

/* A sequence is idle, or its prompt is waiting to be looked for in the cache, or being evaluated piece by piece,
 * or it generates: then `next` has been sampled and told, but is not in the cache yet.
 *
 *   IDLE --generate--> QUEUED --match--> PROMPT --last piece--> GENERATE
 *     ^                  |  ^_ while another evaluates what both begin with
 *     +------------------+---------------+------- end, error, cancel ---+
 *
 * When the model is placed anew, what the cache held is lost: who was at work is QUEUED again, with the answer so far
 * as a part of its prompt (session_recover.c). */
enum seq_state { SEQ_IDLE, SEQ_QUEUED, SEQ_PROMPT, SEQ_GENERATE };

/* What a sequence drafts from, and what it drafts. */
struct seq_spec {
    struct spec_index *index;    /* the prompt and what was told of the answer */
    int32_t asked;               /* as in generate_options */
    struct spec_rates rates;     /* of this answer */
    int32_t n_losses;            /* drafts in a row that cost more than they gave */
    int32_t n_rests;             /* tokens for which nothing is drafted after that */
    struct spec_guess draft[SPEC_MAX_DRAFT];
    int32_t n_rows;              /* of the pass at hand: the last token and the draft; 0: it takes no part */
    int32_t n_told;              /* tokens that pass gave */
    double token_ms;             /* what each of them would have taken without drafts; 0 in a pass without any */
};

struct seq {
    enum seq_state state;
    struct kv_seq *kv;
    int32_t *prompt;             /* [n_ctx]; the part past n_fed is still to be evaluated */
    int32_t n_prompt, n_fed;
    int32_t n_lost;              /* IDLE: tokens, in prompt, that the cache held before the model was placed anew */
    int32_t n_shared;            /* beginning that others will have too */
    int32_t cut;                 /* where this step's piece may not go past, and an anchor is made */
    int32_t awaits, n_common;    /* QUEUED: the sequence that is evaluating the first n_common tokens; -1: none */
    double eval_ms;              /* what evaluating rows of this prompt took, */
    int32_t n_evaluated;         /* and how many those were */
    int32_t next;
    int32_t n_predict;
    bool ignore_end;
    struct sampler *sampler;
    struct tokenizer_stream stream;
    struct seq_spec spec;
    struct eng_timings timings;
    double started_ms, first_ms; /* clock */
};

/* Types of keys and values, as a person names them. KV_N_TYPES: by the memory there is. */
struct session_types {
    enum kv_type k, v;
};

/* What a try of types on a short text came to. */
struct session_trial {
    struct session_types asked, taken;
    double kl;                   /* of those asked for, mean over some rows; infinite when they give no number */
    bool fresh;                  /* not remembered from an earlier one */
};

/* The KV cache of a model in one set of types, for all its sessions. */
struct session_cache {
    struct session_cache *next;
    struct kv_cache *kv;
    const struct kv_layer *layers;    /* the cache's */
    int32_t n_layers;
    int32_t n_sessions;
    struct kv_store *store;      /* NULL: no files */
    char *dir;                   /* of the store */
    uint64_t cap_bytes;
    bool abandoned;              /* a writer that hangs still reads its pages */
    bool dead;                   /* of a place the model has left; goes with its last session */
    uint64_t budget_bytes;       /* that was asked for */
};

enum { SESSION_MAX_CTX = 1 << 22, SESSION_MAX_TRIALS = 16, SESSION_MAX_SEQS = 64, SESSION_MAX_TEXTS = 64 };

/* What drafts are taken from besides the conversation: files, then closed chats, the newest last. Zeroed: nothing. */
struct session_texts {
    struct token_list tokens;    /* of all */
    int32_t ends[SESSION_MAX_TEXTS];
    int32_t n, n_files;
    struct spec_corpus *corpus;  /* NULL while there is none */
};


/* What the sessions of a model share, those to come included. */
struct session_caches {
    struct session_cache *first;
    double eval_ms, n_evaluated; /* prompts, measured; what is long ago counts less */
    struct spec_costs costs;     /* of passes */
    struct spec_rates rates;     /* of guesses, over all answers */
    bool costs_failed;           /* there is no measuring them */
    int32_t n_refused, n_refuse; /* likely guesses that costs forbade in a row; how many make them be measured again */
    struct session_texts texts;
    struct session_trial trials[SESSION_MAX_TRIALS];
    int32_t n_trials;
};

struct session {
    struct model *model;
    struct session_cache *cache;
    bool use_files;              /* this session was given a folder */
    bool drafts_from_chats;
    bool any_file;               /* for tests: files whether they save time or not */
    struct session_types types;  /* in force */
    char note[256];              /* why these */
    int32_t generation;          /* of the model: what the cache is for */
    int32_t n_placings;          /* of the model: what the scratch is for */
    int32_t n_ctx, n_seqs;
    int32_t n_asked;             /* rows of a batch, and */
    int32_t n_batch;             /* those that there was memory for */
    struct seq *seqs;
    struct batch_row *rows;      /* [n_asked] */
    float *logits;               /* [n_seqs + SPEC_MAX_DRAFT][n_vocab] */
    struct logit *best;          /* [n_seqs + SPEC_MAX_DRAFT][BACKEND_MAX_BEST] */
    struct buf text;             /* of one token */
    struct session_inputs *inputs;    /* of session_eval(); NULL: not collected */
    char spec_note[96];          /* why nothing is drafted */
    bool wants_drafts;           /* there are some to try, in this pass or behind it */
    bool runs_ahead;             /* the pass before let the backend begin with this one */
    atomic_bool cancel;          /* raised by any thread, lowered by the engine's when it has had its effect */
};

/* Where session_step puts what happened. */
struct event_list {
    struct eng_event *events;
    int32_t n, cap;
};


/* session.c */
/* Errors: ERR_FORMAT for a sequence or token there is not, and for none */
enum err_code session_check_tokens(const struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens,
                                   struct err *e);

/* session_step.c */
/* A batch without rows, for what the sequences that are busy do next. Where their samplers make do with the best logits,
 * and the backend finds those, it asks for no more. */
struct batch session_batch(struct session *s);
/* Rows for tokens from pos on, where what the sequence holds and has in the batch ends; its pages are there already.
 * Logits are wanted of the last n_logits. */
void session_add_rows(struct session *s, struct batch *batch, int32_t seq, int32_t pos, const int32_t *tokens,
                      int32_t n, int32_t n_logits);

/* session_eval.c: as session_eval(), of arguments that are right and of a sequence that has lost nothing. input_sums: as in
 * struct batch. *pages: the error is about those, not about the place the model is at.
 * Errors: as session_eval(), and ERR_DEVICE */
enum err_code session_eval_tokens(struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens,
                                  float *logits, int32_t n_logits, double *const *input_sums, bool *pages,
                                  struct err *e);

/* session_inputs.c: what comes into the matrices. */
/* Around an evaluation: where the backend is to add, or NULL; then, when that went well, it counts. */
double *const *session_inputs_begin(struct session_inputs *in);
void session_inputs_end(struct session_inputs *in, int32_t n_rows, int32_t n_logits);
void session_inputs_destroy(struct session_inputs *in);    /* takes NULL */

/* session_recover.c */
/* Before anything is evaluated: follows the model to where it is placed now, and makes seq (-1: none) hold again what
 * it has lost.
 * Errors: ERR_NOMEM, and those of evaluating */
enum err_code session_ready(struct session *s, int32_t seq, struct err *e);
/* After that, or evaluating, failed: true when it is to be tried again, somewhere else (the model has a warning that
 * says so). seq: the one that was evaluated, -1: those that are busy. False: *why stands. */
bool session_recover(struct session *s, int32_t seq, struct err *why);
/* What the sequence does is a prompt, to be looked for in a cache and evaluated: of an answer all that was told. */
void session_requeue(struct seq *q);
/* Scratch for the session. Where a device has not enough memory for it, batches are smaller.
 * Errors: ERR_NOMEM, ERR_DEVICE */
enum err_code session_reserve(struct session *s, struct err *e);

/* session_spec.c */
/* Decides how many rows each sequence that generates has in this pass, when without drafts there are n_rows in all and
 * room for so many more. The first time, costs are measured.
 * Errors: ERR_CANCELLED, ERR_DEVICE */
enum err_code session_spec_plan(struct session *s, int32_t n_rows, int32_t room, struct err *e);
/* A token of the answer: guesses are compared with it, and it goes into the index. */
void session_spec_learn(struct session *s, struct seq *q, int32_t token);
/* Counts a pass that was made, of n_rows rows in all, before its tokens are taken. timed: it took so many ms. */
void session_spec_count(struct session *s, int32_t n_rows, double ms, bool timed);
/* How many tokens the answer says over and over; 0: it does not. */
int32_t session_spec_repeated(const struct seq *q);

/* session_emit.c */
void session_emit_progress(struct event_list *list, int32_t seq, const struct seq *q);
/* False when there was no memory for its text. */
bool session_emit_token(struct session *s, struct event_list *list, int32_t seq, int32_t token, float probability,
                        bool drafted);
/* Ends the sequence: what the detokenizer held back, then EVENT_DONE. text may be NULL. */
void session_emit_done(struct session *s, struct event_list *list, int32_t seq, enum done_reason reason,
                       const char *text);

/* session_types.c */
/* Errors: ERR_UNSUPPORTED for a name nobody knows, and for f32 with anything else. */
enum err_code session_types_find(struct session_types *out, const char *type_k, const char *type_v,
                                 struct err *e);
/* The one place where layers are made from types, in the memories where the backend has them: kv3 is kv4 in the first
 * two and the last two layers. */
void session_layers(struct kv_layer *out, const struct model *m, struct session_types types);
/* The same of a program that is placed nowhere: in the host's memory. */
void session_layers_of(struct kv_layer *out, const struct program *p, struct session_types types);
/* Replaces types that the model's heads cannot be sealed in by f16, and says so in note. */
void session_types_fit(struct session_types *types, const struct program *p, char *note, size_t note_bytes);
/* What a session takes beside the weights and its scratch. 0: no memory to find out. */
uint64_t session_kv_bytes(const struct model *m, struct session_types types, int32_t n_ctx, int32_t n_seqs);
/* Of the host's memory, and of a device's own. */
struct session_bytes {
    uint64_t host, device;
};
/* Decides types that are left open by the memory that is available to this model all in all. */
void session_types_decide(struct session_types *types, const struct model *m, int32_t n_ctx, int32_t n_seqs,
                          int32_t n_batch, struct session_bytes available, char *note, size_t note_bytes);
/* Of the bytes that prefixes may have beside what is in use, those that a device's own memory has left. */
uint64_t session_cache_budget(const struct session *s, uint64_t asked_bytes);
/* What is free now, and what the model's own weights and caches take. */
struct session_bytes session_memory_available(const struct model *m);

/* session_note.c */
/* Appends to out. False when there is no such note; what is in one is not to be trusted. */
bool session_note_read(const struct session *s, const char *dir, struct session_types types, const char *ending,
                       struct buf *out);
/* That it could not be written is not worth a word. */
void session_note_write(const struct session *s, const char *dir, struct session_types types, const char *ending,
                        const char *text);

/* session_texts.c */
/* A chat that is over; what there is no room for is not taken. */
void session_texts_add_chat(struct session *s, const int32_t *tokens, int32_t n_tokens);
void session_texts_finish(struct session_texts *t);

/* session_trial.c */
/* Tries types on a short text, and better ones until the model bears them. dir: where results are remembered, may be
 * NULL.
 * Errors: ERR_NOMEM, and those of the backend */
enum err_code session_trial_run(struct session *s, const char *dir, struct session_trial *out, struct err *e);
/* Mean KL divergence from f16 of these types, at the end of the short text. For measuring too.
 * Errors: as above */
enum err_code session_trial_measure(const struct session *s, const struct session_types *types, int32_t n_types,
                                    double *kl, struct err *e);
/* Writes a fresh result into dir. */
void session_trial_keep(const struct session *s, const char *dir, const struct session_trial *trial);

/* session_cache.c */
/* Finds or makes the model's cache of the session's types, and opens its files.
 * Errors: ERR_NOMEM. Files that cannot be used are a warning of the model */
enum err_code session_cache_take(struct session *s, const struct session_options *o, struct err *e);
void session_cache_leave(struct session *s);
/* Counts a batch's time for rows of a prompt. */
void session_count_time(struct session *s, int32_t seq, int32_t n_rows, double ms);
/* Makes the sequence hold as much of its prompt as memory and files have, but for the last token. */
void session_find_prompt(struct session *s, int32_t seq);
/* The sequence has evaluated the beginning that others will have too. */
void session_keep_shared(struct session *s, int32_t seq);

#endif
