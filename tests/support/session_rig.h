/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_SESSION_RIG_H
#define QUIP_TESTS_SUPPORT_SESSION_RIG_H

#include "engine/engine.h"
#include "tests/support/plan_model.h"
#include "tests/support/test.h"

/* A random model and sessions over it, for tests of what is reused. Failures fail the case. */
struct session_rig {
    struct engine *engine;
    struct model *model;
    struct session *session;
};

enum { SESSION_RIG_SEQS = 8, SESSION_RIG_IDS = 128 };

/* What came of a sequence. */
struct session_story {
    int32_t ids[SESSION_RIG_IDS], n_ids;
    struct eng_event done;
    bool ended;
};

/* Writes the plan's model to path, its weights from the case's random numbers. */
void session_rig_write(struct test *t, const struct plan *plan, const char *path);
void session_rig_open(struct test *t, struct session_rig *rig, const char *path, const struct session_options *o);
/* Another session of the same model in place of the one there is; the old one goes first. */
void session_rig_change(struct test *t, struct session_rig *rig, const struct session_options *o);
void session_rig_close(struct session_rig *rig);

/* Greedy, n_predict tokens whatever they are. */
struct generate_options session_rig_greedy(int32_t n_predict, int32_t n_shared);
void session_rig_start(struct test *t, struct session_rig *rig, int32_t seq, const int32_t *ids, int32_t n,
                       const struct generate_options *o);
/* Steps until all have ended; stories [SESSION_RIG_SEQS] start empty. */
void session_rig_run(struct test *t, struct session_rig *rig, struct session_story *stories);
/* Both, for one sequence. */
struct session_story session_rig_ask(struct test *t, struct session_rig *rig, int32_t seq, const int32_t *ids,
                                     int32_t n, const struct generate_options *o);
void session_rig_ids(struct test *t, const struct session_rig *rig, int32_t *ids, int32_t n);

#endif
