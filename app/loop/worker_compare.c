/* SPDX-License-Identifier: MIT */
/* Two levels answer one prompt. A job that comes meanwhile is done between two steps: it waits for the models to be
 * there, then for a piece of a prompt at most. */
#include "app/loop/worker_impl.h"

#include <string.h>

enum { COMPARE_ROOM = 32 };    /* tokens that an answer should have at least */

/* A context for the prompt and an answer, no larger than the one in force. */
static enum err_code find_room(const struct worker *w, int32_t n_prompt, int32_t *n_predict, int32_t *n_ctx,
                               struct err *e)
{
    struct session_stats stats;
    session_stats(w->here.session, &stats);
    if (n_prompt > stats.n_ctx - COMPARE_ROOM)
        return err_set(e, ERR_UNSUPPORTED, "a prompt of %d tokens; a context of %d has room for one of %d and an answer",
                       n_prompt, stats.n_ctx, stats.n_ctx - COMPARE_ROOM);
    if (*n_predict > stats.n_ctx - n_prompt - 1)
        *n_predict = stats.n_ctx - n_prompt - 1;
    *n_ctx = n_prompt + *n_predict + 1;
    return ERR_OK;
}

static enum err_code begin(struct worker *w, const struct job *j, struct token_list *tokens, struct chat_prompt *prompt,
                           struct err *e)
{
    struct aside *x = &w->aside;
    struct generate_options generate = j->request.generate;
    int32_t n_ctx = 0;
    if (!w->here.model || strcmp(model_info(w->here.model)->path, j->pair.paths[0]) != 0)
        return err_set(e, ERR_UNSUPPORTED, "another model answers now");
    enum err_code rc = worker_render(w, &j->prompts[0], j->enable_thinking, tokens, prompt, e);
    if (rc == ERR_OK)
        rc = find_room(w, tokens->n, &generate.n_predict, &n_ctx, e);
    if (rc == ERR_OK)
        rc = worker_take_aside(w, 0, j->pair.paths[0], n_ctx, e);
    if (rc == ERR_OK)
        rc = worker_take_aside(w, 1, j->pair.paths[1], n_ctx, e);
    if (rc == ERR_OK && !model_same_tokens(x->models[0], x->models[1]))
        rc = err_set(e, ERR_FORMAT, "%s: has other tokens than the model in use", j->pair.paths[1]);
    if (rc != ERR_OK)
        return rc;
    generate.n_shared = prompt->n_shared;
    const struct beside_options o = { .sessions = { x->sessions[0], x->sessions[1] }, .base = j->pair.base,
                                      .first = j->pair.first,
                                      .n_vocab = model_info(w->here.model)->n_vocab, .prompt = tokens->ids,
                                      .n_prompt = tokens->n, .generate = generate };
    return beside_create(&x->b, &o, e);
}

void worker_do_compare(struct worker *w, const struct job *j)
{
    struct token_list tokens = { 0 };
    struct chat_prompt prompt = { 0 };
    struct err e;
    worker_begin_aside(w, j->id, MAIL_NOT_COMPARED);
    if (begin(w, j, &tokens, &prompt, &e) == ERR_OK) {
        struct mail mail = { .kind = MAIL_COMPARE_PROMPT, .request = j->id };
        mail.prompt.n_prompt = tokens.n;
        mail.prompt.opens_thinking = prompt.opens_thinking;
        mailbox_post(w->box, &mail);
    } else {
        worker_fail_aside(w, &e);
    }
    token_list_finish(&tokens);
}

static enum err_code post_result(struct worker *w, struct err *e)
{
    struct beside_result r;
    struct mail mail = { .kind = MAIL_COMPARED, .request = w->aside.id };
    struct port_compared *out = &mail.compared;
    enum err_code rc = beside_result(w->aside.b, &r, e);
    if (rc != ERR_OK)
        return rc;
    *out = (struct port_compared){ .n_same = r.n_same, .n_judged = r.n_judged, .differ = r.differ, .kl = r.kl,
                                   .kl_low = r.kl_low, .kl_high = r.kl_high, .same_top = r.same_top };
    for (int i = 0; i < PORT_SIDES; i++) {
        out->sides[i].n_tokens = r.sides[i].n_tokens;
        out->sides[i].answer_per_s = r.sides[i].answer_per_s;
        out->sides[i].is_whole = r.sides[i].is_whole;
        out->sides[i].n_device_layers = model_info(w->aside.models[i])->n_device_layers;
    }
    mailbox_post(w->box, &mail);
    return ERR_OK;
}

void worker_compare_step(struct worker *w)
{
    struct aside *x = &w->aside;
    struct beside_events out;
    struct err e;
    bool done = false;
    if (atomic_load(&w->answers_ended) >= x->id)
        beside_end_answers(x->b);
    enum err_code rc = beside_step(x->b, &out, &done, &e);
    for (int32_t i = 0; i < out.n; i++) {
        struct mail mail = { .kind = MAIL_COMPARE_EVENT, .request = x->id, .side = out.side, .event = out.events[i] };
        mailbox_post(w->box, &mail);
    }
    if (rc == ERR_OK && done)
        rc = post_result(w, &e);
    if (rc != ERR_OK)
        worker_fail_aside(w, &e);
    else if (done)
        worker_finish_aside(w);
}
