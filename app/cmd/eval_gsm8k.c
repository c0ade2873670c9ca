/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "app/chat/think.h"
#include "app/cmd/eval.h"
#include "app/measure/gsm8k.h"

static enum err_code load(struct eval *v, struct err *e)
{
    struct gsm8k_task *tasks;
    enum err_code rc = gsm8k_parse(buf_text(&v->text), v->text.n_bytes, &tasks, &v->n_tasks, e);
    v->tasks = tasks;
    return rc;
}

static enum exit_code begin(struct eval *v)
{
    if (v->n_wanted + v->app->config->n_shots > v->n_tasks)
        v->n_wanted = v->n_tasks - v->app->config->n_shots;    /* examples are no tasks that are asked */
    if (v->n_wanted < 1) {
        cmd_complain("%s: %d tasks, more wanted for %d examples", v->name, v->n_tasks, v->app->config->n_shots);
        return EXIT_CODE_FAILURE;
    }
    return cmd_session(&v->s, v->app, v->cm.model, v->app->config->n_ctx, 0);
}

/* What one answer is made of. */
struct reply {
    struct buf thoughts, text;
    struct think think;
    struct eng_event end;
};

static enum err_code generate(struct eval *v, const struct token_list *prompt, struct reply *r, struct err *e)
{
    struct eng_event events[SESSION_EVENTS];
    struct generate_options o = { .n_predict = v->app->config->n_predict, .spec = SPEC_AUTO };
    sampler_params_default(&o.sampling);
    o.sampling.temperature = 0;
    enum err_code rc = session_generate(v->s, 0, prompt->ids, prompt->n, &o, e);
    while (rc == ERR_OK && session_busy(v->s)) {
        int32_t n = 0;
        rc = session_step(v->s, events, SESSION_EVENTS, &n, e);
        for (int32_t i = 0; i < n; i++) {
            if (events[i].kind == EVENT_TOKEN)
                think_feed(&r->think, events[i].text, (size_t)events[i].n_text, &r->thoughts, &r->text);
            else if (events[i].kind == EVENT_DONE)
                r->end = events[i];
        }
    }
    think_end(&r->think, &r->thoughts, &r->text);
    if (rc == ERR_OK && r->end.reason == DONE_CANCELLED)
        rc = err_set(e, ERR_CANCELLED, "cancelled");
    if (rc == ERR_OK && r->end.reason == DONE_ERROR)
        rc = err_set(e, ERR_DEVICE, "%.*s", r->end.n_text, r->end.text);
    return rc;
}

/* The examples are the tasks that would be drawn last. */
static enum err_code make_prompt(struct eval *v, int32_t task, struct token_list *prompt, struct chat_prompt *made,
                                 struct err *e)
{
    const struct config *c = v->app->config;
    const struct gsm8k_task *tasks = v->tasks, *shots[GSM8K_SHOTS_MOST];
    for (int32_t i = 0; i < c->n_shots; i++)
        shots[i] = &tasks[v->order[v->n_tasks - 1 - i]];
    int32_t thinking = c->think == THINK_OFF ? 0 : c->think == THINK_ON ? 1 : -1;
    return gsm8k_prompt(v->cm.model, &tasks[task], shots, c->n_shots, thinking, prompt, made, e);
}

static enum err_code answer(struct eval *v, int32_t task, json_t *record, struct err *e)
{
    const struct gsm8k_task *t = &((const struct gsm8k_task *)v->tasks)[task];
    const struct model_info *info = model_info(v->cm.model);
    struct token_list prompt = { 0 };
    struct chat_prompt made = { 0 };
    struct reply r = { 0 };
    char number[GSM8K_NUMBER_BYTES] = "";
    enum err_code rc = make_prompt(v, task, &prompt, &made, e);
    think_init(&r.think, info->think_open, info->think_close, made.opens_thinking);
    if (rc == ERR_OK)
        rc = generate(v, &prompt, &r, e);
    if (rc == ERR_OK) {
        bool found = gsm8k_number(buf_text(&r.text), r.text.n_bytes, number);
        json_object_set_new(record, "answer", cmd_json_text(buf_text(&r.text), r.text.n_bytes));
        json_object_set_new(record, "number", found ? json_string(number) : json_null());
        json_object_set_new(record, "gold", json_string(t->number));
        json_object_set_new(record, "n_tokens", json_integer(r.end.timings.n_generated));
        json_object_set_new(record, "ended", json_boolean(r.end.reason == DONE_END));
        json_object_set_new(record, "right", json_boolean(found && strcmp(number, t->number) == 0));
    }
    think_finish(&r.think);
    buf_finish(&r.thoughts);
    buf_finish(&r.text);
    token_list_finish(&prompt);
    return rc;
}

static void settings(const struct eval *v, json_t *heading)
{
    const struct config *c = v->app->config;
    struct session_stats stats;
    session_stats(v->s, &stats);
    json_object_set_new(heading, "n_predict", json_integer(c->n_predict));
    json_object_set_new(heading, "n_shots", json_integer(c->n_shots));
    json_object_set_new(heading, "think", json_integer(c->think));
    json_object_set_new(heading, "n_ctx", json_integer(stats.n_ctx));
}

static void finish(struct eval *v)
{
    gsm8k_free(v->tasks, v->n_tasks);
}

const struct eval_kind eval_gsm8k = { "gsm8k", 100, load, begin, answer, settings, finish };
