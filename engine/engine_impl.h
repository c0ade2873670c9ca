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

struct engine {
    struct pool *pool;
    struct backend *backend;
    const char *cpu_tier;            /* of the processor, also when a device computes */
    struct vulkan_list *vulkan;      /* NULL, like card: the processor computes */
    const struct vulkan_card *card;
    char device_note[ERR_TEXT_BYTES];
};

struct model {
    struct engine *engine;
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
    struct placed *placed;
    uint64_t placed_bytes;           /* memory that placing took, not to be counted as taken by others */
    struct session_caches *caches;   /* KV caches of its sessions; they outlive them. NULL before the first */
    struct kv_store_key content;     /* of model_kv_key(), made when it is first asked for */
    bool content_known;
};

/* engine_text.c: vocabulary and chat template out of the metadata. */
enum err_code model_open_text(struct model *m, struct err *e);
void model_close_text(struct model *m);
/* engine_namespace.c: the key of everything that decides what bytes of cached keys and values mean: the model's
 * content, the tokenizer, RoPE in force, the layers' types and shapes, the arithmetic, the format of pages. The
 * same file elsewhere has the same key; another level of the model has another.
 * Errors: ERR_IO when the model's file was cut */
enum err_code model_kv_key(struct model *m, const struct kv_layer *layers, int32_t n_layers,
                           struct kv_store_key *out, struct err *e);
/* Keeps the first MODEL_MAX_WARNINGS, drops repetitions. */
void model_warn(struct model *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* session/session_cache.c: ends the model's caches; takes NULL. */
void session_caches_destroy(struct session_caches *caches);

/* session/session_types.c: the layers of a cache with these types, by their names as in session_options; "auto" is
 * decided by the memory there is now. Bad names count as f16. */
void session_layers_by_name(struct kv_layer *out, const struct model *m, const char *type_k, const char *type_v,
                            int32_t n_ctx, int32_t n_seqs);

#endif
