/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_PLAN_MODEL_H
#define QUIP_TESTS_SUPPORT_PLAN_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "engine/gguf/gguf_writer.h"
#include "tests/support/test.h"

/* Random models of any of the architectures, together with the weights they were written from, and a forward
 * pass over them in double precision that knows nothing of the engine. The vocabulary is made of names; the text
 * of the last token is long_text when given.
 *
 * Everything that tells the architectures apart is a switch here, so a plan says in one place what the engine
 * has to find in the file. */
struct plan {
    const char *arch;
    uint32_t weight_type;         /* of matrices, F32 or Q8_0; of everything else F32 */
    int32_t n_layers, n_embd, n_ff, n_head, n_kv_head, d_head, n_vocab;
    int32_t n_rot;                /* components rotated, at the beginning of a head */
    bool halves;                  /* pairs (i, i + n_rot / 2), else (2i, 2i + 1) */
    bool qkv_bias, other_bias;    /* other: attention output, gate, up, down */
    bool qk_norm, post_norm, sinks;
    bool gelu;                    /* else SiLU */
    bool tied;                    /* the embedding is the output matrix too */
    bool rope_factors;            /* rope_freqs.weight */
    double rope_base, rope_base_local;
    double linear_factor;         /* linear scaling of the global rope; 0: none */
    double yarn_factor;           /* YaRN, for an original context of yarn_ctx; 0: none */
    int32_t yarn_ctx;
    int32_t window, period;       /* layer i sees the last `window` keys when i % period < period - 1; 0: none */
    double embed_scale;           /* what the architecture does, not in the file */
    double attention_cap, final_cap;    /* 0: none */
    bool outliers;                /* every seventh token has one huge component, as the first of real models has */
    const char *long_text;
    bool letters;                 /* tokens from 1 on are the printable characters, so that text has tokens */
    double key_bias;              /* size of the keys' bias when not 0.5: few bits ruin keys with a large one */
};

/* One of every architecture at least, and between them all switches. */
enum { PLAN_N_ALL = 6, PLAN_MAX_WEIGHTS = 128 };
extern const struct plan plan_all[PLAN_N_ALL];

struct plan_weight {
    char name[64];
    int32_t n_rows, n_cols;
    float *x;                     /* [n_rows][n_cols], as the file's type has them */
    void *stored;
    double *inputs;               /* [n_cols] squares of what plan_model_logits() multiplied it with, summed up */
};

struct plan_model {
    struct plan plan;
    struct arena arena;
    struct plan_weight weights[PLAN_MAX_WEIGHTS];
    int32_t n_weights;
};

/* Makes the weights from t's random numbers and writes the file; failures fail the case. */
void plan_model_write(struct test *t, struct plan_model *m, const struct plan *p, const char *path);
void plan_model_finish(struct plan_model *m);

/* Logits of every position, [n][n_vocab], malloc. */
float *plan_model_logits(struct test *t, const struct plan_model *m, const int32_t *ids, int32_t n);

#endif
