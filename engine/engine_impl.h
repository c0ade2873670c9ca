/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_ENGINE_IMPL_H
#define QUIP_ENGINE_ENGINE_IMPL_H

#include "engine/backend/backend.h"
#include "engine/base/arena.h"
#include "engine/base/pool.h"
#include "engine/engine.h"
#include "engine/gguf/gguf.h"
#include "engine/kv/kv_store.h"
#include "engine/model/hparams.h"
#include "engine/template/template.h"
#include "engine/tokenizer/tokenizer.h"

/* What stands behind the opaque structs of engine.h; for the files of engine/ and engine/session only. */

enum { MODEL_MAX_WARNINGS = 8, DEFAULT_CTX = 8192, DEFAULT_BATCH = 256 };

struct vulkan_card;
struct vulkan_list;
struct model;

/* A device that fails is opened anew, once; when it fails again the processor takes over. */
enum { ENGINE_MAX_LOSSES = 2 };

struct engine {
    struct pool *pool;
    struct backend *backend;         /* what models are placed on: a device, or cpu */
    struct backend *cpu;             /* takes what the device does not, a model's first layers or all */
    struct backend *left;            /* devices that failed or were moved from: models or pages may still be there */
    int32_t n_lost;                  /* times that the device asked for has failed */
    struct model *models;            /* open and placed */
    const char *cpu_tier;            /* of the processor, also when a device computes */
    int32_t n_gpu_layers, n_ctx, run_ahead;    /* as in engine_options */
    struct vulkan_list *vulkan;      /* NULL: no device is in use */
    const struct vulkan_card *card;  /* NULL: the processor computes */
    bool automatic;                  /* nobody asked for the card: it has to be faster than the processor */
    uint64_t device_card, device_build;    /* names of the card, and of its driver with the shaders: vulkan_cache.h */
    char device_id[16];              /* "vulkan:0"; "" */
    char device_note[ERR_TEXT_BYTES];
    char *cache_dir;                 /* NULL: none */
    char *vulkan_loader, *vulkan_tiles;    /* these as in engine_options */
    bool vulkan_validate, names_tier;
};

/* engine.c: what models can be placed on. */
struct engine_target {
    struct backend *backend;         /* a device, opened; or the engine's cpu */
    const struct vulkan_card *card;  /* NULL: the processor */
    bool automatic;                  /* as in struct engine */
};
struct engine_target engine_target(const struct engine *eng);
/* What is asked for, as in engine_options: the target the engine has when it is that, else one that is nobody's yet.
 * note: why "auto" takes no device; "": none failed.
 * Errors: ERR_DEVICE, ERR_NOMEM */
enum err_code engine_find_target(struct engine *eng, const char *device, struct engine_target *out, struct err *note,
                                 struct err *e);
/* Models are placed on it from now on; the one before is still to be left. */
void engine_set_target(struct engine *eng, const struct engine_target *target);
/* Nothing new goes there. Unless it is the processor, it is closed when no model and no page is there any more. */
void engine_leave_target(struct engine *eng, const struct engine_target *target);
void engine_close_left(struct engine *eng);
/* Why no device is taken; text "": nothing is to be said. */
void engine_note_device(struct engine *eng, const struct err *why);

/* engine.c: what a use of this device failed with. When it is the device that models are placed on, it is opened anew,
 * or the processor takes its place; eng->backend says which. Models leave a lost backend one by one (model_recover). */
void engine_lose_device(struct engine *eng, const struct backend *b, const struct err *why);
/* What a device's own memory has for models now: what is free, but for a reserve that the rest of the machine may
 * want. 0 without a device. */
uint64_t engine_device_room(const struct engine_info *info);
/* What a model may take of memory that is available: a machine needs some for everything else. */
static inline uint64_t engine_host_room(uint64_t available_bytes)
{
    return available_bytes / 5 * 4;
}
/* As in engine_info, which reads files of the kernel. Any thread may ask for the first. */
uint64_t engine_resident_bytes(void);
bool engine_device_shares(const struct engine *eng);
/* The first message of Vulkan's validation layer; "": none. */
const char *engine_validation(const struct engine *eng);

/* Where a program is placed. */
struct model_place {
    struct backend *backend, *device, *split;    /* these as in struct model */
    struct placed *placed;
    int32_t n_device_layers, generation;
    uint64_t placed_bytes;
};

struct model {
    struct engine *engine;
    struct model *next;              /* of the engine's */
    struct gguf *gguf;
    struct arena arena;              /* everything made at open */
    struct model_info info;
    char *warnings[MODEL_MAX_WARNINGS];
    atomic_int n_warnings;
    struct buf value_text;           /* of model_metadata */

    struct tokenizer *tokenizer;     /* from MODEL_VOCABULARY on */
    _Atomic(struct template *) chat_template;    /* the one in use: the file's or a built-in */
    struct template *failed_template;    /* the file's after it failed: another thread may still be in it */
    struct template_traits traits;

    /* model_chat: tokens that every conversation with this system text begins with. */
    char *shared_system;             /* NULL: none yet */
    struct token_list shared;

    struct hparams hparams;          /* MODEL_RUN */
    struct program *program;
    struct backend *backend;         /* where it is placed: the engine's cpu, device, or split; */
    struct backend *device;          /* the engine's when it was placed: has all layers or the last; NULL: none */
    struct backend *split;           /* of the processor and the device; NULL: one has all layers */
    struct placed *placed;           /* NULL: nowhere, after a device failed and there was no memory elsewhere */
    int32_t generation;              /* raised by each placing: sessions of an earlier one have to follow; but not when
                                      * it comes back after a rest to where it was, so that their pages stand */
    int32_t n_placings;              /* raised by that too: their scratch went with the weights */
    uint64_t placed_bytes;           /* memory that placing took, not to be counted as taken by others */
    struct model_place before;       /* while it moves: where it was; nowhere where it had to leave first */
    const char *begun_path;          /* of model_begin() */
    bool expects_cpu;                /* model_load() places it for the processor, */
    struct placed *aside;            /* here, until model_start(); NULL: it has not; */
    uint64_t aside_bytes;            /* for so much memory */
    bool rests;                      /* nowhere until model_start(), having been */
    struct backend *rested_device;   /* there, */
    int32_t rested_layers;           /* with so many layers on it */
    struct session_caches *caches;   /* KV caches of its sessions; they outlive them. NULL before the first */
    struct kv_store_key content;     /* of model_kv_key(), made when it is first asked for */
    bool content_known;
};

/* engine_place.c: places the program where engine_layers.c says; all of it on the processor when the device does not
 * take its layers, with a warning that says why.
 * Errors: those of the processor */
enum err_code model_place(struct model *m, struct err *e);
/* It is nowhere then; it may be so before. */
void model_unplace(struct model *m);
/* Engine's thread: where model_place_aside(), in any thread, will place it. */
void model_expect(struct model *m);
/* Errors: ERR_CANCELLED, and those of placing on the processor */
enum err_code model_place_aside(struct model *m, const atomic_bool *cancel, struct err *e);
void model_drop_aside(struct model *m);
/* The engine knows it from now on (it may do so already), or no more. */
void model_join(struct model *m);
void model_part(struct model *m);
/* After a use of the placed model, or of pages for it, failed: places it elsewhere, where another place may be better.
 * The caches of its sessions are given up. how: the failure and what was done about it, in a line.
 * False: the failure stands, or what placing failed with, in *why */
bool model_recover(struct model *m, struct err *why, char how[ERR_TEXT_BYTES]);
/* What the validation layer had to say first, if anything, becomes a warning. */
void model_tell_validation(struct model *m);
/* Tries again to place a model that is nowhere.
 * Errors: as model_place() */
enum err_code model_placed(struct model *m, struct err *e);
/* What the model has where, nothing when it is nowhere; a device whose memory is the machine's has nothing of its own.
 * The last three as in reserve(); all 0: weights alone. */
struct model_bytes {
    uint64_t host_weights, host_scratch, device_weights, device_scratch;
    uint64_t there;              /* what the device's layers take, wherever that is */
    bool shares;
};
void model_placed_bytes(const struct model *m, int32_t max_rows, int32_t max_logits, int32_t n_ctx,
                        struct model_bytes *out);

/* engine_layers.c: how many of the model's layers, its last ones, the device is to have: as many as were asked for, or
 * layers_choose(). 0 without a device. */
int32_t layers_for_device(struct model *m);
/* -1: nobody says how many. */
int32_t layers_asked_for(const struct model *m);
/* How many unless somebody says; warns of the model where that is not all. */
int32_t layers_choose(struct model *m, const struct engine_info *info);
/* The same for a model that is asked to move there.
 * Errors: ERR_NOMEM where it would be none */
enum err_code layers_to_move(struct model *m, int32_t *n, struct err *e);
/* How many of the last layers, with the head, fit into so many bytes at this context; *all: what all of them take. */
int32_t layers_that_fit(const struct program *p, int32_t n_ctx, uint64_t room, uint64_t *all);
/* Whether all layers and an embedding of its own fit into so many bytes. */
bool layers_leave_room_to_embed(const struct program *p, int32_t n_ctx, uint64_t room);
/* The context that room is left for. */
int32_t layers_context(const struct model *m);
/* layers_for_device() of a program that is nobody's model. room: the device's, for models */
int32_t layers_planned(const struct engine *eng, const struct program *p, int32_t n_ctx, uint64_t room);

/* engine.c: the processor's exact arithmetic, on the engine's threads. Errors: ERR_NOMEM */
enum err_code engine_exact_backend(struct engine *eng, struct backend **out, struct err *e);

/* engine_selftest.c: whether the device may have the last n_device layers of this program.
 * Errors: ERR_UNSUPPORTED when it computes wrong, or is slower than the processor and nobody asked for it: the text is
 * empty then; those of computing on it and on the processor */
enum err_code engine_selftest(struct engine *eng, const struct program *p, int32_t n_device, struct err *e);
/* What is remembered of a card's self-tests, for a person. */
enum { ENGINE_SELFTEST_BYTES = 160 };
void engine_selftest_tell(const char *dir, uint64_t device_card, uint64_t device_build,
                          char out[ENGINE_SELFTEST_BYTES]);

/* engine_text.c: vocabulary and chat template out of the metadata. */
enum err_code model_open_text(struct model *m, struct err *e);
void model_close_text(struct model *m);
/* engine_namespace.c: the key of everything that decides what bytes of cached keys and values mean: the model's
 * content, the tokenizer, RoPE in force, the layers' types and shapes, the arithmetic, the format of pages. The
 * same file elsewhere has the same key; another level of the model has another.
 * Errors: ERR_IO when the model's file was cut */
enum err_code model_kv_key(struct model *m, const struct kv_layer *layers, int32_t n_layers,
                           struct kv_store_key *out, struct err *e);
/* The model's content alone; m is of any use. Errors: ERR_NOMEM */
enum err_code model_content_key(const struct model *m, struct kv_store_key *out, struct err *e);
/* Keeps the first MODEL_MAX_WARNINGS, drops repetitions. */
void model_warn(struct model *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* session/session_cache.c: ends the model's caches; takes NULL. */
void session_caches_destroy(struct session_caches *caches);
/* The model is placed elsewhere: no session finds what the caches hold any more. measured_elsewhere: times
 * taken so far say nothing any more. Takes NULL. */
void session_caches_retire(struct session_caches *caches, bool measured_elsewhere);
/* Whether pages of theirs lie there. Takes NULL for both. */
bool session_caches_lie_in(const struct session_caches *caches, const struct kv_memory *memory);

/* session/session_types.c: the layers of a cache with these types, by their names as in session_options; "auto" is
 * decided by the memory there is now. Bad names count as f16. */
void session_layers_by_name(struct kv_layer *out, const struct model *m, const char *type_k, const char *type_v,
                            int32_t n_ctx, int32_t n_seqs);

#endif
