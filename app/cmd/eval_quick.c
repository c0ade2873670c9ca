/* SPDX-License-Identifier: MIT */
/* quip eval quick: what the menu of levels measures, from the shell. */
#include <math.h>
#include <string.h>

#include "app/cmd/eval.h"
#include "app/measure/measure.h"

struct quick {
    const struct app *app;
    struct interrupt interrupt;
    struct cmd_model cm;
    struct model *base;
    struct session *s, *base_session;
    struct buf text;
    struct measure *m;
};

static json_t *json_estimate(const struct estimate *e)
{
    return json_pack("{so so so}", "mean", cmd_json_number(e->mean), "low", cmd_json_number(e->low), "high",
                     cmd_json_number(e->high));
}

static void report_json(const struct quick *q, const struct measure_result *r, double spent_ms)
{
    const struct model_info *info = model_info(q->cm.model);
    json_t *all = json_pack("{so so sf sf si si si sf}", "model", cmd_json_text(info->name, strlen(info->name)),
                            "level", cmd_json_text(info->level, strlen(info->level)), "prompt_per_second",
                            r->prompt_per_s, "answer_per_second", r->answer_per_s, "n_chunks", r->n_chunks, "n_wanted",
                            r->n_wanted, "n_positions", (int)r->scores.n, "seconds", spent_ms / 1e3);
    if (r->scores.n > 0)
        json_object_set_new(all, "nll", json_estimate(&r->scores.nll));
    if (r->scores.n > 0 && r->has_base) {
        json_object_set_new(all, "kl", json_estimate(&r->scores.kl));
        json_object_set_new(all, "same_top", json_estimate(&r->scores.same_top));
    }
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(all);
}

static void report_text(const struct measure_result *r, double spent_ms)
{
    const struct score_summary *s = &r->scores;
    printf("prompt:     %10.1f tokens/s   (%d tokens)\n", r->prompt_per_s, r->n_prompt);
    printf("answer:     %10.1f tokens/s   (median of %d)\n", r->answer_per_s, r->n_answer);
    if (s->n > 0)
        printf("perplexity: %10.4f            [95 %%: %.4f to %.4f]\n", exp(s->nll.mean), exp(s->nll.low),
               exp(s->nll.high));
    if (s->n > 0 && r->has_base) {
        printf("mean KLD:   %10.6f            [95 %%: %.6f to %.6f]\n", s->kl.mean, s->kl.low, s->kl.high);
        printf("same top p: %10.2f %%          [95 %%: %.2f to %.2f]\n", 100 * s->same_top.mean, 100 * s->same_top.low,
               100 * s->same_top.high);
    }
    printf("%lld positions, %d of %d chunks, in %.1f s\n", (long long)s->n, r->n_chunks, r->n_wanted, spent_ms / 1e3);
}

static enum err_code go(struct quick *q, struct err *e)
{
    const struct config *c = q->app->config;
    struct measure_options o = { .session = q->s, .model = q->cm.model, .base = q->base_session, .base_model = q->base,
                                 .base_file = c->kl_base, .save_file = c->save_logits, .text = buf_text(&q->text),
                                 .n_text = q->text.n_bytes, .budget_ms = 1000 * c->eval_seconds };
    enum err_code rc = measure_create(&q->m, &o, e);
    bool done = false;
    while (rc == ERR_OK && !done) {
        rc = measure_step(q->m, &done, e);
        if (rc == ERR_OK && !done && interrupt_hit(&q->interrupt))
            rc = err_set(e, ERR_CANCELLED, "cancelled");
    }
    return rc;
}

static enum err_code measure_and_report(struct quick *q, struct err *e)
{
    struct measure_result result;
    struct measure_progress progress;
    enum err_code rc = go(q, e);
    if (!q->m || (rc != ERR_OK && rc != ERR_CANCELLED))
        return rc;
    enum err_code got = measure_result(q->m, &result, e);
    if (got != ERR_OK)
        return got;
    measure_progress(q->m, &progress);
    if (q->app->config->json)
        report_json(q, &result, progress.spent_ms);
    else
        report_text(&result, progress.spent_ms);
    return rc;
}

static enum exit_code run(struct quick *q)
{
    const struct config *c = q->app->config;
    const char *file = c->file ? c->file : q->app->paths->measure_text;
    struct err e;
    enum exit_code code = cmd_model_open(&q->cm, q->app, MODEL_RUN, c->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    cmd_note_device(q->cm.eng);
    if (c->kl_model)
        code = cmd_model_beside(&q->base, q->app, &q->cm, c->kl_model);
    if (code == EXIT_CODE_OK)
        code = cmd_session(&q->s, q->app, q->cm.model, MEASURE_SESSION_CTX, COMPARISON_BATCH);
    if (code == EXIT_CODE_OK && q->base)
        code = cmd_session(&q->base_session, q->app, q->base, MEASURE_CTX, COMPARISON_BATCH);
    if (code != EXIT_CODE_OK)
        return code;
    enum err_code rc = file[0] ? cmd_read(&q->text, file, &e)
                               : err_set(&e, ERR_IO, "the text to measure with is not where it should be; -f FILE");
    interrupt_watch(&q->interrupt, q->s);
    if (rc == ERR_OK)
        rc = measure_and_report(q, &e);
    interrupt_watch(&q->interrupt, NULL);
    if (rc == ERR_CANCELLED)
        return EXIT_CODE_INTERRUPTED;
    if (rc != ERR_OK)
        cmd_complain("%s", e.text);
    return rc == ERR_OK ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

enum exit_code eval_quick(const struct app *app)
{
    if (app->config->kl_base && app->config->kl_model) {
        cmd_complain("--kl-base and --kl-model: one of them");
        return EXIT_CODE_USAGE;
    }
    struct quick q = { .app = app };
    interrupt_start(&q.interrupt);
    enum exit_code code = run(&q);
    interrupt_stop(&q.interrupt);
    measure_destroy(q.m);
    session_destroy(q.s);
    session_destroy(q.base_session);
    model_close(q.base);
    cmd_model_close(&q.cm);
    buf_finish(&q.text);
    return code;
}
