/* SPDX-License-Identifier: MIT */
/* quip eval: tasks with right and wrong answers, and a measure of a level in some seconds.
 *
 * Tasks are drawn from their file without putting back, by llama.cpp's generator and with its seed, so that the same
 * ones are asked there and at every level; how many are right comes with Wilson's 95 % interval. With --save the
 * answers go to a file, from which a run that was stopped goes on. */
#include "app/cmd/eval.h"

#include <stdlib.h>
#include <string.h>

#include "app/cmd/eval_save.h"
#include "app/measure/draw.h"
#include "app/measure/estimate.h"
#include "engine/base/clock.h"

enum { EVAL_SAY_MS = 5000 };

static const struct eval_kind *const kinds[] = { &eval_hellaswag, &eval_gsm8k };

static void say_progress(int32_t n_done, int32_t n_right, int32_t n_wanted, double ms_per_task)
{
    double left_s = ms_per_task * (n_wanted - n_done) / 1e3;
    fprintf(stderr, "%d of %d: %.2f %% right, ", n_done, n_wanted, 100.0 * n_right / n_done);
    fprintf(stderr, left_s < 100 ? "%.0f s left\n" : left_s < 6000 ? "%.0f min left\n" : "%.1f h left\n",
            left_s < 100 ? left_s : left_s < 6000 ? left_s / 60 : left_s / 3600);
    fflush(stderr);
}

static void report(const struct eval *v, const struct eval_kind *kind, const struct eval_save *count, double ms)
{
    struct estimate share = estimate_wilson(count->n_right, count->n_done);
    const struct model_info *info = model_info(v->cm.model);
    if (v->app->config->json) {
        json_t *all = json_pack("{ss so so si si sf sf sf sf}", "eval", kind->name, "model",
                                cmd_json_text(info->name, strlen(info->name)), "level",
                                cmd_json_text(info->level, strlen(info->level)), "n_tasks", count->n_done, "n_right",
                                count->n_right, "share", share.mean, "low", share.low, "high", share.high, "seconds",
                                ms / 1e3);
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(all);
        return;
    }
    printf("%s: %d of %d right, %.2f %%   [95 %%: %.2f to %.2f]\n", kind->name, count->n_right, count->n_done,
           100 * share.mean, 100 * share.low, 100 * share.high);
}

/* count: of answers; its file is closed where none is kept. */
static enum err_code ask_all(struct eval *v, const struct eval_kind *kind, struct eval_save *count, struct err *e)
{
    double start = clock_ms(), said = start;
    int32_t n_before = count->n_done;
    enum err_code rc = ERR_OK;
    while (rc == ERR_OK && count->n_done < v->n_wanted) {
        int32_t task = v->order[count->n_done];
        json_t *record = json_pack("{si}", "task", task);
        rc = kind->answer(v, task, record, e);
        if (rc == ERR_OK && count->file)
            rc = eval_save_add(count, record, e);
        if (rc == ERR_OK) {
            count->n_done++;
            count->n_right += json_is_true(json_object_get(record, "right"));
        } else if (rc != ERR_CANCELLED) {
            err_prefix(e, "task %d", task);
        }
        json_decref(record);
        double now = clock_ms();
        if (rc == ERR_OK && now - said >= EVAL_SAY_MS) {
            said = now;
            say_progress(count->n_done, count->n_right, v->n_wanted, (now - start) / (count->n_done - n_before));
        }
        if (rc == ERR_OK && interrupt_hit(&v->interrupt))
            rc = err_set(e, ERR_CANCELLED, "cancelled");
    }
    return rc;
}

static json_t *heading_of(const struct eval *v, const struct eval_kind *kind)
{
    const struct model_info *info = model_info(v->cm.model);
    const struct config *c = v->app->config;
    const char *file = strrchr(v->name, '/') ? strrchr(v->name, '/') + 1 : v->name;
    json_t *heading = json_pack("{ss so si si so so sI ss ss}", "eval", kind->name, "file",
                                cmd_json_text(file, strlen(file)), "n_tasks", v->n_tasks, "seed", c->eval_seed, "model",
                                cmd_json_text(info->name, strlen(info->name)), "level",
                                cmd_json_text(info->level, strlen(info->level)), "bytes",
                                (json_int_t)info->file_bytes, "type_k", c->kv_type_k, "type_v", c->kv_type_v);
    if (kind->settings)
        kind->settings(v, heading);
    return heading;
}

static enum exit_code ask(struct eval *v, const struct eval_kind *kind)
{
    struct eval_save count = { 0 };
    struct err e;
    enum err_code rc = ERR_OK;
    if (v->app->config->eval_save) {
        json_t *heading = heading_of(v, kind);
        rc = eval_save_open(&count, v->app->config->eval_save, heading, v->order, v->n_wanted, &e);
        json_decref(heading);
        if (rc == ERR_OK && count.n_done > 0)
            fprintf(stderr, "going on after %d answers\n", count.n_done);
    }
    double start = clock_ms();
    interrupt_watch(&v->interrupt, v->s);
    if (rc == ERR_OK)
        rc = ask_all(v, kind, &count, &e);
    interrupt_watch(&v->interrupt, NULL);
    if ((rc == ERR_OK || rc == ERR_CANCELLED) && count.n_done > 0)
        report(v, kind, &count, clock_ms() - start);
    enum err_code closed = eval_save_close(&count, rc == ERR_OK ? &e : NULL);
    if (rc == ERR_OK)
        rc = closed;
    if (rc == ERR_CANCELLED)
        return EXIT_CODE_INTERRUPTED;
    if (rc != ERR_OK)
        cmd_complain("%s", e.text);
    return rc == ERR_OK ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static enum exit_code load(struct eval *v, const struct eval_kind *kind)
{
    const struct config *c = v->app->config;
    struct err e;
    enum err_code rc = cmd_read(&v->text, v->name, &e);
    if (rc == ERR_OK && (rc = kind->load(v, &e)) != ERR_OK)
        err_prefix(&e, "%s", v->name);
    if (rc == ERR_OK && !(v->order = malloc((size_t)v->n_tasks * sizeof *v->order)))
        rc = err_set(&e, ERR_NOMEM, "%s: no memory for %d tasks", v->name, v->n_tasks);
    if (rc != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_FAILURE;
    }
    draw_order(v->order, v->n_tasks, (uint32_t)c->eval_seed);
    v->n_wanted = c->eval_limit > 0 ? c->eval_limit : kind->n_usual;
    if (v->n_wanted > v->n_tasks)
        v->n_wanted = v->n_tasks;
    return EXIT_CODE_OK;
}

static enum exit_code run(struct eval *v, const struct eval_kind *kind)
{
    enum exit_code code = load(v, kind);
    if (code == EXIT_CODE_OK)
        code = cmd_model_open(&v->cm, v->app, MODEL_RUN, v->app->config->n_threads);
    if (code == EXIT_CODE_OK)
        cmd_note_device(v->cm.eng);
    if (code == EXIT_CODE_OK)
        code = kind->begin(v);
    if (code == EXIT_CODE_OK)
        code = ask(v, kind);
    session_destroy(v->s);
    cmd_model_close(&v->cm);
    kind->finish(v);
    free(v->order);
    buf_finish(&v->text);
    return code;
}

enum exit_code cmd_eval(const struct app *app)
{
    const struct config *c = app->config;
    const char *name = c->args[0];
    const struct eval_kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(name, kinds[i]->name) == 0)
            kind = kinds[i];
    bool quick = strcmp(name, "quick") == 0;
    if (!kind && !quick) {
        cmd_complain("'quip eval %s' is not known; hellaswag, gsm8k or quick wanted", name);
        return EXIT_CODE_USAGE;
    }
    if (!c->model || c->n_args != 1 + !quick) {
        cmd_complain("'quip eval %s' needs -m MODEL%s", name, quick ? " and no file" : " and a file of tasks");
        return EXIT_CODE_USAGE;
    }
    if (quick)
        return eval_quick(app);
    struct eval v = { .app = app, .name = c->args[1] };
    interrupt_start(&v.interrupt);
    enum exit_code code = run(&v, kind);
    interrupt_stop(&v.interrupt);
    return code;
}
