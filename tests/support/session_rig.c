/* SPDX-License-Identifier: MIT */
#include "tests/support/session_rig.h"

#include <stdlib.h>

enum { MAX_EVENTS = 16 * SESSION_RIG_SEQS };

void session_rig_write(struct test *t, const struct plan *plan, const char *path)
{
    struct plan_model *model = malloc(sizeof *model);
    CHECK(t, model != NULL);
    plan_model_write(t, model, plan, path);
    plan_model_finish(model);
    free(model);
}

void session_rig_open(struct test *t, struct session_rig *rig, const char *path, const struct session_options *o)
{
    struct err e;
    *rig = (struct session_rig){ 0 };
    CHECK_INT(t, engine_create(&rig->engine, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, model_open(&rig->model, rig->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&rig->session, rig->model, o, &e), ERR_OK, "%s", e.text);
}

void session_rig_change(struct test *t, struct session_rig *rig, const struct session_options *o)
{
    struct err e;
    session_destroy(rig->session);
    rig->session = NULL;
    CHECK_INT(t, session_create(&rig->session, rig->model, o, &e), ERR_OK, "%s", e.text);
}

void session_rig_close(struct session_rig *rig)
{
    session_destroy(rig->session);
    model_close(rig->model);
    engine_destroy(rig->engine);
    *rig = (struct session_rig){ 0 };
}

struct generate_options session_rig_greedy(int32_t n_predict, int32_t n_shared)
{
    struct generate_options o = { .n_predict = n_predict, .ignore_end = true, .n_shared = n_shared };
    sampler_params_default(&o.sampling);
    o.sampling.temperature = 0;
    return o;
}

void session_rig_start(struct test *t, struct session_rig *rig, int32_t seq, const int32_t *ids, int32_t n,
                       const struct generate_options *o)
{
    struct err e;
    CHECK_INT(t, session_generate(rig->session, seq, ids, n, o, &e), ERR_OK, "%s", e.text);
}

void session_rig_run(struct test *t, struct session_rig *rig, struct session_story *stories)
{
    struct eng_event events[MAX_EVENTS];
    struct err e;
    int32_t n;
    while (session_busy(rig->session)) {
        CHECK_INT(t, session_step(rig->session, events, MAX_EVENTS, &n, &e), ERR_OK, "%s", e.text);
        for (int32_t i = 0; i < n; i++) {
            struct session_story *s = &stories[events[i].seq];
            CHECK(t, !s->ended, "an event after the end");
            if (events[i].kind == EVENT_TOKEN && events[i].token >= 0 && s->n_ids < SESSION_RIG_IDS)
                s->ids[s->n_ids++] = events[i].token;
            if (events[i].kind == EVENT_DONE) {
                s->done = events[i];
                s->ended = true;
            }
        }
    }
}

struct session_story session_rig_ask(struct test *t, struct session_rig *rig, int32_t seq, const int32_t *ids,
                                     int32_t n, const struct generate_options *o)
{
    struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
    CHECK(t, stories != NULL);
    session_rig_start(t, rig, seq, ids, n, o);
    session_rig_run(t, rig, stories);
    struct session_story story = stories[seq];
    free(stories);
    CHECK_INT(t, story.done.reason, DONE_LENGTH, "%.*s", story.done.n_text, story.done.text);
    return story;
}

void session_rig_ids(struct test *t, const struct session_rig *rig, int32_t *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = 1 + (int32_t)test_below(t, (uint32_t)model_info(rig->model)->n_vocab - 1);
}
