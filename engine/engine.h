/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_ENGINE_H
#define QUIP_ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/level/imatrix.h"
#include "engine/sampler/sampler_params.h"

/* The border of the engine. A front end needs nothing else of it but the headers this one includes.
 *
 *   engine    the processor or device that computes, and its threads
 *   model     one GGUF file: opened, checked, mapped, placed on the devices; its vocabulary and template
 *   session   token sequences with their KV cache and samplers
 *   event     what happened: progress, a token with its text, an end
 *
 *       engine_create -> model_open -> session_create
 *       model_chat   (messages -> template -> tokens)
 *       session_generate (the WHOLE token prefix; what the session already holds of it is not computed
 *                         again), then session_step until no sequence is busy
 *
 * Threads  One thread (the engine thread) makes all calls, but for these, which any thread may make:
 *          session_cancel(), and everything that reads a const struct model; only template_name, think_open
 *          and think_close in its info are the engine thread's, since model_chat() may change them, and
 *          model_memory() is, since where the model is may change.
 * Errors   Functions return a code and fill *e; objects are unchanged then unless said otherwise.
 * Text     Bytes that come out of models and files are not safe for a terminal. */

/* ---- engine --------------------------------------------------------------------------------------- */

struct engine;

struct engine_options {
    int32_t n_threads;       /* 0: the physical cores this process may use */
    const char *cpu_tier;    /* "exact", "scalar", "avx2", "avx512"; NULL: the best of this machine */
    /* What computes: "cpu", "vulkan" (the best device that is no software), "vulkan:N", a part of a device's name
     * ("llvmpipe"), or "auto" (NULL), whose rule is at choose_device() in engine.c. A device that cannot be used is
     * no error: the processor computes, and engine_info() says why. Neither is one that does not take a model, or
     * fails: it is opened anew, once, then the processor goes on with what sequences were doing, and
     * model_warning() has a line. */
    const char *device;
    /* Layers of a model that the device has, its last ones, with the head; the processor has the others. 0: as many as
     * fit (engine_layers.c); as many as the model has, or more: all. */
    int32_t n_gpu_layers;
    int32_t n_ctx;                /* the context that room is left for then; 0: as in session_options */
    const char *vulkan_loader;    /* library of Vulkan's loader, by name or path; NULL: the system's */
    bool vulkan_validate;         /* with Vulkan's validation layer: slow, for finding mistakes of quip */
    const char *vulkan_tiles;     /* for tests, products of prompts: "none", "f32", "int8", "coop"; NULL: what pays */
    /* Devices begin with the next token of a greedy answer before the last is told. Changes no token. 1: they do, -1: they
     * do not, 0: those that are no software do. */
    int32_t run_ahead;
    const char *cache_dir;        /* what is known of devices is kept there in files: shaders as they were compiled, and
                                   * how self-tests came out; NULL: nothing is. Copied */
};

/* Texts live as long as the engine. */
struct engine_info {
    char cpu[96];            /* the processor's name */
    const char *cpu_tier;    /* in force wherever the processor computes */
    int32_t n_threads;
    const char *device;           /* the device that computes, "NVIDIA H200"; "": the processor does */
    const char *device_id;        /* as engine_devices() lists it, "vulkan:0"; "" */
    const char *device_driver;    /* "NVIDIA 550.54"; "" */
    const char *device_note;      /* why a device that was asked for, or that "auto" would take, is not used; "" */
    uint64_t device_total_bytes, device_free_bytes;         /* of its own memory, at the call; 0 without device */
    bool device_shares;           /* its memory is the machine's */
    bool device_is_software;
    uint64_t memory_total_bytes, memory_available_bytes;    /* of the machine, at the call */
    uint64_t memory_resident_bytes;                         /* of this process, at the call */
    int32_t n_validation;         /* what the validation layer had to say so far: so many messages, */
    const char *validation;       /* and the first; "" */
};

/* Errors: ERR_UNSUPPORTED for a tier this machine does not have (the text lists those it has). */
enum err_code engine_create(struct engine **out, const struct engine_options *o, struct err *e);
void engine_destroy(struct engine *eng);    /* after its models; takes NULL */
void engine_info(const struct engine *eng, struct engine_info *out);
/* Another device computes from now on, or the processor: of o the device, n_gpu_layers and n_ctx count. Models that are
 * open go there, all of them or none: a device that cannot be used, does not take one of them, would have too few of its
 * layers or fails its self-test is an error, and everything stays as it was. But "auto" finds a place as at load.
 *
 * Sessions  are idle, or in mid-answer between two steps. What a sequence holds is evaluated again, by what computes now,
 *           when it is next asked for; until then its pages stay where they are. What was kept in memory for prompts to
 *           come is given up; files are found by the model in the place they were made at
 * Takes     as long as placing each model's weights, and a self-test where a device has had none. For another device the
 *           weights need memory beside those that are there; a model that is to have other layers on its own device
 *           leaves it first, so that after an error it is placed again and evaluates what it held again too
 * n_moved   models that are elsewhere now; 0: all were there
 * Errors    ERR_DEVICE, ERR_UNSUPPORTED, ERR_NOMEM; ERR_IO when a model's file was cut */
enum err_code engine_move(struct engine *eng, const struct engine_options *o, int32_t *n_moved, struct err *e);
/* The tiers this machine has, slowest first; NULL beyond the last. */
const char *engine_tier(int32_t i);

/* ---- devices -------------------------------------------------------------------------------------- */

/* What there is beside the processor, for a person who wants to know. */
struct engine_device_list;

enum { ENGINE_MAX_HEAPS = 16 };

struct engine_device {
    const char *id;          /* "vulkan:0", as for engine_options */
    const char *name, *driver;    /* as the driver says: not safe for a terminal */
    const char *kind;        /* "discrete", "integrated", "virtual", "other", "software" */
    const char *version;     /* of Vulkan: "1.3.230" */
    const char *has, *lacks; /* of the features that are not required: "float16, subgroup sums" */
    const char *problem;     /* why it cannot be used; "": it can */
    const char *selftest;    /* what is remembered in cache_dir of its self-tests; "" for one that cannot be used */
    struct {
        uint64_t n_bytes, free_bytes;    /* free: at the call of engine_devices(); n_bytes where nobody knows */
        bool is_local;                   /* the device's own; else the machine's */
    } heaps[ENGINE_MAX_HEAPS];
    int32_t n_heaps;
    bool knows_free;         /* free_bytes is what the driver says */
};

struct engine_devices_info {
    const char *loader;      /* the file that Vulkan's loader was read from; "": there is none */
    const char *version;     /* of the loader; "" */
    const char *problem;     /* why there is no Vulkan; "": there is */
    int32_t n_devices;
    int32_t chosen;          /* what "auto" takes; -1: the processor */
    const char *why;
    bool has_coop;           /* the build has shaders with cooperative matrices */
    int32_t n_validation;    /* as in engine_info */
    const char *validation;
};

/* Looks at all devices, and opens each that is usable for a moment. Of o the Vulkan options count. A machine without
 * Vulkan is no error. Errors: ERR_NOMEM */
enum err_code engine_devices(struct engine_device_list **out, const struct engine_options *o, struct err *e);
void engine_devices_destroy(struct engine_device_list *list);    /* takes NULL */
/* Texts live as long as the list. */
void engine_devices_info(const struct engine_device_list *list, struct engine_devices_info *out);
const struct engine_device *engine_device_at(const struct engine_device_list *list, int32_t i);    /* the best first */

/* ---- model ---------------------------------------------------------------------------------------- */

struct model;

enum model_use {
    MODEL_RUN,          /* everything */
    MODEL_VOCABULARY,   /* tokenizer and template; weights may be absent, any architecture */
    MODEL_INSPECT       /* container only: metadata and tensor directory */
};

struct model_info {
    const char *path;
    const char *name;            /* general.name, or the file's name */
    const char *architecture;
    const char *level;           /* "Q4_K_M" as the file says, or the type most weights have */
    const char *license;         /* "" when the file does not say */
    uint64_t file_bytes;
    uint64_t tensor_bytes;
    uint64_t n_params;
    double bits_per_weight;      /* tensor bytes * 8 / parameters */
    int32_t n_vocab;
    int32_t n_layers;            /* these are 0 when opened with less than MODEL_RUN */
    int32_t n_device_layers;     /* of these, on the device: all with the head, or the last ones with it, or 0 */
    int32_t n_embd;
    int32_t n_ctx_train;         /* longest context the model was made for */
    int32_t n_metadata, n_tensors;
    uint64_t kv_bytes_per_token;
    const char *template_name;   /* "file", or the built-in one in use ("chatml" ...); "" without vocabulary */
    const char *think_open;      /* tags around thinking, "" when the template knows none */
    const char *think_close;
};

struct model_metadata {
    const char *key;
    const char *type;        /* "u32", "string", "string[49152]" ... */
    const char *value;       /* printable beginning of it; until the next call */
};

struct model_tensor {
    const char *name;
    const char *type;        /* "Q4_K" */
    int32_t n_dims;
    uint64_t ne[4];
    uint64_t n_bytes;
};

struct model_memory {
    uint64_t weight_bytes, kv_bytes, scratch_bytes;
};

/* Opens and checks a GGUF file; with MODEL_RUN (the one use that needs eng) every tensor the architecture
 * needs is there and has the right shape afterwards, and weights are in the order the processor likes.
 * The first model of its kind on a device, with each driver and each build, is preceded by a self-test of the device;
 * one that computes wrong does not get the model, and a warning says so.
 * Errors   ERR_IO, ERR_FORMAT, ERR_UNSUPPORTED (architecture, tensor type, tokenizer), ERR_NOMEM */
enum err_code model_open(struct model **out, struct engine *eng, const char *path, enum model_use use,
                         struct err *e);
void model_close(struct model *m);    /* after its sessions; takes NULL */

/* model_open() with MODEL_RUN in three parts, so that another model answers meanwhile: begun and started by the engine's
 * thread, loaded by any. model_load() reads, checks, and, where the processor computes, makes the order of weights that
 * it likes, by one thread; what a device has is placed by model_start(). After an error in one of the two the model is to
 * be closed.
 * Errors   as model_open(); ERR_CANCELLED soon after *cancel was raised (NULL: never) */
enum err_code model_begin(struct model **out, struct engine *eng, const char *path, struct err *e);
enum err_code model_load(struct model *m, const atomic_bool *cancel, struct err *e);
enum err_code model_start(struct model *m, struct err *e);
/* Gives back the memory of the weights; sessions, all idle, keep what they hold. model_wake(), model_load() and
 * model_start() in place of model_begin(), model_load() and model_start() bring it back; if by then the engine computes
 * elsewhere, what sessions held is evaluated again. */
void model_rest(struct model *m);
void model_wake(struct model *m);
/* Whether both have the same vocabulary, as levels of one model do: tokens of one are those of the other. */
bool model_same_tokens(const struct model *a, const struct model *b);
const struct model_info *model_info(const struct model *m);
/* What a person should know about this file: a template that failed, a guessed pre-tokenizer ...
 * NULL beyond the last. */
const char *model_warning(const struct model *m, int32_t i);
void model_metadata(struct model *m, int32_t i, struct model_metadata *out);
void model_tensor(const struct model *m, int32_t i, struct model_tensor *out);
/* What running it takes: weights as placed, KV of these types (NULL: f16) for n_seqs sequences of n_ctx tokens,
 * scratch of a session with these figures. */
void model_memory(const struct model *m, int32_t n_ctx, int32_t n_seqs, const char *kv_type_k,
                  const char *kv_type_v, struct model_memory *out);
/* The file's general.sampling.* over the generic defaults. */
void model_sampling(const struct model *m, struct sampler_params *out);

/* ---- text and tokens ------------------------------------------------------------------------------ */

/* A growing list of token ids; a zeroed struct is empty. */
struct token_list {
    int32_t *ids;
    int32_t n, cap;
};
void token_list_finish(struct token_list *list);

/* Text that came from a template may name special tokens; text that came from a person may not: there
 * they stay text. */
struct text_part {
    const char *text;
    size_t n_bytes;
    bool trusted;
};

/* Replaces the content of out. add_bos: put the beginning token in front if the vocabulary wants one and
 * the text has none. */
enum err_code model_tokenize(const struct model *m, const struct text_part *parts, int32_t n_parts,
                             bool add_bos, struct token_list *out, struct err *e);
/* The bytes a token stands for (no NUL); special tokens give their name. */
const char *model_piece(const struct model *m, int32_t id, size_t *n_bytes);
bool model_is_special(const struct model *m, int32_t id);
bool model_is_end(const struct model *m, int32_t id);    /* ends an answer */

/* ---- chat template -------------------------------------------------------------------------------- */

struct chat_message {
    const char *role;        /* "system", "user", "assistant" */
    const char *content;     /* UTF-8, NUL-terminated */
    const char *thinking;    /* reasoning before the content, NULL: none */
};

struct chat_input {
    const struct chat_message *messages;
    int32_t n_messages;
    bool add_generation_prompt;
    int32_t enable_thinking;    /* -1: the template's own default */
    int64_t now_s;              /* seconds since 1970 for strftime_now; local time zone is the caller's: 0 shift */
};

struct chat_prompt {
    bool opens_thinking;    /* the prompt ends inside a thinking block */
    int32_t n_shared;       /* tokens at the beginning that any conversation with these system messages has */
};

/* Messages to the token prefix. A template that fails is replaced by the built-in one of the family and a
 * warning is added to the model (model_warning). */
enum err_code model_chat(struct model *m, const struct chat_input *in, struct token_list *out,
                         struct chat_prompt *prompt, struct err *e);

/* `quip template`: renders with the template's variables given as a JSON object. m may be NULL when a
 * template is given; template_text NULL means the model's own. */
enum err_code model_render(const struct model *m, const char *template_text, const char *json,
                           struct buf *out, struct err *e);

/* ---- session -------------------------------------------------------------------------------------- */

/* What sessions evaluate belongs to the model: one session's prefixes are found by another of the same types, and by
 * those that come after it. */
struct session;

struct session_options {
    int32_t n_ctx;       /* tokens a sequence may hold; 0: what the model was made for, at most 8192 */
    int32_t n_seqs;      /* 0: 1 */
    int32_t n_batch;     /* rows evaluated together at most; 0: 256 */
    /* Types of cached keys and values: "f16" (NULL), "q8_0", "q4_0", "kv4", "kv3"; "f32" only both; "auto": the
     * first of f16, q8_0, kv4 that fits the memory at n_ctx. Quantised types are tried on a short text when a
     * session is made; where the model is fragile a better one is taken (session_stats says so). */
    const char *kv_type_k, *kv_type_v;
    bool keep_kv_type;             /* take the type asked for, untried */
    uint64_t cache_ram_bytes;      /* pages kept for prompts to come, beside those in use; 0: none. What the newest
                                    * session says counts for the model */
    const char *cache_dir;         /* prefixes kept in files; NULL: none. Copied */
    uint64_t cache_disk_bytes;     /* of all files there; the one unused longest goes first */
    bool draft_from_chats;         /* chats that are closed are drafted from in later ones, while the model is open */
};

struct generate_options {
    struct sampler_params sampling;
    int32_t n_predict;    /* tokens at most; 0: only evaluate the prompt; -1: until answer or context end */
    bool ignore_end;      /* go on after an end token (for measuring) */
    int32_t n_shared;     /* beginning of the prompt that other prompts will have too (system prompt): kept in memory,
                           * and in a file where that pays; 0: none */
    int32_t spec;         /* drafts from what was said before: SPEC_AUTO as many as pay, SPEC_OFF none, or so many at
                           * most, 1 to SPEC_MOST, whether they pay or not. Changes no token of the answer */
};

enum { SPEC_OFF = -1, SPEC_AUTO = 0, SPEC_MOST = 31 };

enum event_kind { EVENT_PROGRESS, EVENT_TOKEN, EVENT_DONE };

enum done_reason {
    DONE_END,          /* the model ended its answer */
    DONE_LENGTH,       /* n_predict reached */
    DONE_CONTEXT,      /* the context is full */
    DONE_CANCELLED,
    DONE_ERROR         /* see text */
};

enum { EVENT_TEXT_BYTES = 160, SESSION_EVENTS = 64 };

struct eng_timings {
    int32_t n_prompt;       /* tokens of the prompt */
    int32_t n_reused;       /* of these, found in the cache */
    int32_t n_loaded;       /* of these, read from a file */
    int32_t n_generated;
    double prompt_ms;       /* evaluating the rest of the prompt, or as far as it came */
    double first_ms;        /* from session_generate to the first token */
    double generate_ms;     /* all tokens after the first */
    int32_t n_passes;       /* passes over the model for these */
    int32_t n_drafted;      /* tokens proposed in them, */
    int32_t n_accepted;     /* and confirmed */
    double saved_ms;        /* what the answer would have taken longer without drafts, by the cost of a pass; below 0:
                             * they did not pay */
};

struct eng_event {
    enum event_kind kind;
    int32_t seq;
    /* EVENT_PROGRESS: prompt tokens in the cache, of how many. EVENT_DONE: why. */
    int32_t n_done, n_total;
    enum done_reason reason;
    /* EVENT_TOKEN: id, or -1 when only the text goes on; probability among what the sampler left;
     * drafted: proposed by speculation and confirmed. The text is whole UTF-8 characters (or bytes that
     * can never become any) and may be empty; of a token of more than 1280 bytes the rest is left out.
     * EVENT_DONE with DONE_ERROR: the message. */
    int32_t token;
    float probability;
    bool drafted;
    int32_t n_repeated;        /* the answer has been the same so many tokens over and over; 0: it has not */
    int32_t n_text;
    char text[EVENT_TEXT_BYTES];
    struct eng_timings timings;    /* EVENT_DONE */
};

struct session_stats {
    int32_t n_ctx;
    int32_t n_held;             /* tokens of all sequences in the cache */
    uint64_t kv_bytes;          /* pages in use */
    uint64_t kv_full_bytes;     /* what they would be with every sequence full */
    uint64_t scratch_bytes;
    uint64_t device_bytes;      /* weights, scratch and pages of the layers the device has, in its memory or, where it
                                 * has none of its own (engine_info), in the machine's; 0: it has none */
    const char *kv_type_k, *kv_type_v;    /* in force */
    const char *kv_note;        /* why these ("f16 would not fit ...", "kv3 tried: KL 0.08 ..."); "" when as asked */
    int32_t n_open, n_sealed;   /* pages of 64 tokens, all layers counted as one */
    int32_t n_shared;           /* of these, held by more than one sequence or kept for others */
    uint64_t cached_bytes, cache_ram_bytes;    /* kept beside those in use, of the budget */
    int32_t n_disk_files;       /* prefixes of this model and these types in files */
    uint64_t disk_bytes;        /* all files of the directory */
    int32_t n_disk_writing;     /* files being written now */
    int32_t n_passes, n_drafted, n_accepted;    /* as in eng_timings, sums over what the sequences were asked last */
    double saved_ms;
    const char *spec_note;      /* why nothing was drafted last ("nothing repeats here"); "": something was */
};

/* Errors: ERR_FORMAT for options out of range, ERR_NOMEM. */
enum err_code session_create(struct session **out, struct model *m, const struct session_options *o,
                             struct err *e);
void session_destroy(struct session *s);    /* takes NULL */

/* Sets an idle sequence to work: hold exactly this prompt, then generate. Nothing is evaluated yet.
 * Owns     nothing; prompt is copied
 * Errors   ERR_FORMAT for a bad or busy sequence, token or sampling value; ERR_UNSUPPORTED when the prompt does
 *          not leave room for one token (the text has both numbers) */
enum err_code session_generate(struct session *s, int32_t seq, const int32_t *prompt, int32_t n_tokens,
                               const struct generate_options *o, struct err *e);
/* What the sequences of `from` are doing goes on in `to`, an idle session of a model with the same tokens and of no fewer
 * sequences: prompts are evaluated from the beginning, and answers go on behind the token that was told last, with
 * their samplers, options and figures. Those of `from` are idle then, and hold what they held.
 * Errors   ERR_UNSUPPORTED when a sequence has no room in the context of `to`; nothing has changed then */
enum err_code session_take_over(struct session *to, struct session *from, struct err *e);
/* Evaluates one batch: a piece of waiting prompts, and for each sequence that generates its last token and what is
 * drafted to follow it.
 * Writes up to cap events (at least 16 * n_seqs; SESSION_EVENTS * n_seqs leave room for the longest drafts) and
 * returns ERR_OK also when a sequence ended in an error: its EVENT_DONE says so. */
enum err_code session_step(struct session *s, struct eng_event *events, int32_t cap, int32_t *n_events,
                           struct err *e);
bool session_busy(const struct session *s);
/* Any thread: ends what the session is doing within 100 ms; sequences end with DONE_CANCELLED, session_eval()
 * with ERR_CANCELLED. What was evaluated stays in the cache. Once somebody is busy a cancel is not lost: the
 * next step finds it. One that comes while all are idle is forgotten by the next session_generate(). */
void session_cancel(struct session *s);
/* Says that the conversation in an idle sequence is over: it stays in memory for as long as the budget allows and is
 * written to a file in the background where that pays. Returns at once. */
void session_close_chat(struct session *s, int32_t seq);
/* Texts that drafts may be taken from besides the conversation itself. They are tokenised here, replace those given
 * before (and closed chats), and hold for all sessions of the model; n_texts 0: there are none. While nobody is busy.
 * Errors: ERR_UNSUPPORTED for more than 64 texts or 2^20 tokens in all, ERR_NOMEM; those given before stay */
enum err_code session_draft_from(struct session *s, const struct text_part *texts, int32_t n_texts, struct err *e);
/* Waits for files being written. False when that took longer. */
bool session_flush(struct session *s, int32_t timeout_ms);
/* How many of these tokens need not be evaluated, files not counted. */
int32_t session_held(const struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens);
void session_stats(const struct session *s, struct session_stats *out);

/* Finds out what a pass of several rows costs, which decides what is drafted; within about this time, while no
 * sequence is busy. Remembered with the model, and in cache_dir. What is remembered is not measured again (again:
 * it is). Without this call the first answer with something to draft does it.
 * Errors: ERR_CANCELLED by session_cancel(); ERR_IO when the model's file was cut; with again, also ERR_NOMEM: else
 * there are no drafts, and session_stats says why */
enum err_code session_measure_passes(struct session *s, int32_t budget_ms, bool again, struct err *e);
/* What a pass of n_rows (1 to SPEC_MOST + 1) after what is held is expected to take now, in ms; 0: not known. */
double session_pass_ms(const struct session *s, int32_t n_rows);

/* For measuring: evaluates tokens after the ones the sequence holds (start: a sequence is empty), and
 * writes the logits of the last n_logits of them, [n_logits][n_vocab]. Keep n_tokens within n_batch.
 * Errors   ERR_FORMAT for a bad or busy sequence, token or count; ERR_UNSUPPORTED when the context is full;
 *          ERR_CANCELLED; ERR_IO when the model's file was cut; ERR_NOMEM. What is held is unchanged then. */
enum err_code session_eval(struct session *s, int32_t seq, const int32_t *tokens, int32_t n_tokens,
                           float *logits, int32_t n_logits, struct err *e);
/* From now on, and from zero, what session_eval() puts into the model's matrices is collected: of each the squares of
 * its inputs, summed by column, over all rows (with_head: of the last matrix too, over the rows that logits are wanted
 * of). Inputs are f32, before any rounding, and the same sums to the bit whatever the batches and threads. The processor
 * alone does it.
 * Errors: ERR_UNSUPPORTED for a model that is on a device, ERR_NOMEM */
enum err_code session_collect(struct session *s, bool with_head, struct err *e);
/* Adds what was collected so far to an importance matrix, each weight by the name it has in the file. An evaluation that
 * failed or was cancelled has not been counted.
 * Errors: ERR_FORMAT where tensors of the two differ in size; ERR_NOMEM. Some may have been added then */
enum err_code session_collected(const struct session *s, struct imatrix *into, struct err *e);
/* Forgets everything past the first n_keep tokens of an idle sequence. Returns how many are held then: with
 * quantised types a place further back than two pages may need some tokens evaluated again. */
int32_t session_truncate(struct session *s, int32_t seq, int32_t n_keep);

/* ---- prefixes in files ---------------------------------------------------------------------------- */

/* What sessions with a cache_dir have left there, whatever the model. */
struct cache_file {
    const char *name;            /* in the folder; made of hashes */
    uint64_t n_bytes;
    int64_t used_s;              /* last use, seconds since 1970 */
    const char *why;             /* why nobody can use it; "": it is fine. What follows is known then: */
    int32_t n_tokens;
    const char *model, *file;    /* name of the model, and of its file without folder and .gguf */
    const char *level;
    const char *type_k, *type_v; /* those most layers have */
};

struct cache_list {
    struct cache_file *files;    /* the one used last comes first */
    int32_t n_files;
    uint64_t n_bytes;
    int32_t n_device_files;      /* beside those, of what is known of devices */
    uint64_t device_bytes;
    void *held;
};

/* A folder that does not exist has no files. Errors: ERR_IO, ERR_NOMEM; out is empty then */
enum err_code cache_list(struct cache_list *out, const char *dir, struct err *e);
void cache_list_finish(struct cache_list *list);    /* takes a zeroed one */
/* Removes all, those of devices too, or those of the model that is called so (model or file, whatever the case of
 * letters).
 * Tells how many and how much, also after an error. Errors: ERR_IO, ERR_NOMEM */
enum err_code cache_clear(const char *dir, const char *model, int32_t *n_files, uint64_t *n_bytes, struct err *e);

#endif
