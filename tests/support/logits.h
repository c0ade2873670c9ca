/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_LOGITS_H
#define QUIP_TESTS_SUPPORT_LOGITS_H

#include <stdint.h>

#include "engine/engine.h"
#include "tests/support/test.h"

/* An engine, a model and a session over it, for tests that look at logits. Failures fail the case. */
struct logits_rig {
    struct engine *engine;
    struct model *model;
    struct session *session;
    int32_t n_vocab;
};

void logits_rig_open(struct test *t, struct logits_rig *rig, const char *path, const char *tier,
                     const struct session_options *o);
/* The same on a Vulkan device, with so many layers there (0: as many as fit), under the validation layer where it is
 * installed; skips the case when the device is not there. tiles: engine_options.vulkan_tiles. */
void logits_rig_open_on(struct test *t, struct logits_rig *rig, const char *path, const char *device,
                        const char *tiles, int32_t n_gpu_layers, const struct session_options *o);
void logits_rig_close(struct logits_rig *rig);

/* Logits of every position of ids, evaluated in pieces of n_rows: [n][n_vocab], malloc. */
float *logits_rig_eval(struct test *t, struct logits_rig *rig, const int32_t *ids, int32_t n, int32_t n_rows);

/* A line of numbers; returns how many, at most cap. */
int32_t logits_read_ids(struct test *t, const char *path, int32_t *ids, int32_t cap);

/* Log-probabilities of a text under exact weights: the layout is described beside the vectors. */
struct logits_reference {
    int32_t n_tokens, n_top;
    const int32_t *ids;         /* [n_tokens] */
    const char *top;            /* [n_tokens - 1 or n_tokens][n_top] of { int32 id, float32 log-probability } */
    const float *next;          /* [n_tokens - 1] log-probability of the next id */
    char *bytes;
    int32_t n_positions;        /* that have a top list */
};

void logits_reference_open(struct test *t, struct logits_reference *r, const char *path);
void logits_reference_close(struct logits_reference *r);

struct logits_distance {
    double mean_kl;             /* over the best ids, what is left of both in one bin */
    double worst_kl;
    double same_top;            /* share of positions whose best id is the same */
    double perplexity, perplexity_reference;
};

/* logits: [n_positions][n_vocab] */
void logits_reference_compare(const struct logits_reference *r, const float *logits, int32_t n_vocab,
                              struct logits_distance *out);

#endif
