/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_CHAT_RIG_H
#define QUIP_TESTS_SUPPORT_CHAT_RIG_H

#include "app/chat/chat.h"
#include "tests/support/test.h"

/* A chat against a port that only writes down what it was asked for; the test plays the engine. */
struct chat_rig {
    struct chat chat;
    struct config config;
    struct paths paths;
    double now_s;
    uint64_t opened, answered, cancelled;
    char path[PORT_PATH_BYTES], given_back[2048], fetching[64];
    struct buf prompt;            /* "role: content\n" for each message of the last request */
    int32_t enable_thinking, n_reserve, set_ctx;
    struct generate_options generate;
    int n_answers, n_quits;
    enum port_panel shown;
    struct port_session session;
    struct port_device device;
    int n_listed, n_levels_wanted, n_stopped_making;
    char made_from[PORT_PATH_BYTES], made[PORT_PATH_BYTES], made_level[24];    /* of make_level() */
    bool made_requantized;
    uint64_t measured_id;
    char measured[PORT_PATH_BYTES], measured_base[PORT_PATH_BYTES];
    uint64_t compared_id;
    struct port_pair pair;                      /* of compare(); the request's messages are in prompt */
    int n_ended;
    int n_stopped;                              /* measures and comparisons that were the last */
    uint64_t counted;
    int32_t n_counted, counts[PORT_PROMPTS];    /* messages of each prompt that was to be counted */
    int32_t n_prepared;                         /* messages of the prompt prepared last */
    int n_closed;
    struct port_stats stats;
    char begun[256];                            /* of the last request; "-": none */
    int32_t n_ctx, n_ctx_train;                 /* of the model that arrives; 0: 4096 and 32768 */
    const char *device_note;                    /* likewise; NULL: none */
};

/* Without a model. */
void chat_rig_begin(struct test *t, struct chat_rig *r);
/* With a model that is ready. */
void chat_rig_ready(struct test *t, struct chat_rig *r);
void chat_rig_end(struct chat_rig *r);

/* What the engine says: a model is there; the prompt is so long; some text of the answer, half a second later; the
 * answer is at its end. */
void chat_rig_model(struct chat_rig *r, const char *path);
void chat_rig_prompt(struct chat_rig *r, int32_t n_prompt);
void chat_rig_tokens(struct chat_rig *r, const char *text);
/* A token as the engine tells it, in one event. */
void chat_rig_event(struct chat_rig *r, const struct eng_event *event);
void chat_rig_done(struct chat_rig *r, enum done_reason reason);
/* A question and its whole answer. */
void chat_rig_exchange(struct chat_rig *r, const char *question, const char *answer);

const struct message *chat_rig_last(const struct chat_rig *r);
const char *chat_rig_text(const struct chat_rig *r);    /* of that */
/* Cards of this title in the flow. */
int32_t chat_rig_cards(const struct chat_rig *r, const char *title);
void chat_rig_put_file(const char *path, const char *text);

#endif
