/* SPDX-License-Identifier: MIT */
/* A level measured in some seconds, while nobody asks for an answer: between two steps of it everything else goes on. */
#include "app/chat/text_file.h"
#include "app/level/figures.h"
#include "app/loop/worker_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TEXT_BYTES = 1 << 20, POST_MS = 200 };

void worker_do_measure(struct worker *w, const struct job *j)
{
    struct aside *x = &w->aside;
    struct buf text = { 0 };
    struct err e;
    worker_begin_aside(w, j->id, MAIL_NOT_MEASURED);
    bool has_base = j->base[0] != '\0';
    enum err_code rc = w->here.model ? text_file_read(&text, w->options.measure_text, MAX_TEXT_BYTES, NULL, &e)
                                     : err_set(&e, ERR_UNSUPPORTED, "no model yet");
    if (rc == ERR_OK)
        rc = worker_take_aside(w, 0, j->path, MEASURE_SESSION_CTX, &e);
    if (rc == ERR_OK && has_base)
        rc = worker_take_aside(w, 1, j->base, MEASURE_CTX, &e);
    if (rc == ERR_OK) {
        const struct measure_options o = { .session = x->sessions[0], .model = x->models[0], .base = x->sessions[1],
                                           .base_model = x->models[1], .text = buf_text(&text), .n_text = text.n_bytes };
        rc = measure_create(&x->m, &o, &e);
    }
    buf_finish(&text);
    if (rc != ERR_OK)
        worker_fail_aside(w, &e);
}

/* ---- what came of it ------------------------------------------------------------------------------- */

/* So that it is there the next time. */
static void keep(struct worker *w, const struct measure_result *r)
{
    struct aside *x = &w->aside;
    struct figures_speed speed = { .n_held = r->n_prompt, .tokens_per_s = r->answer_per_s, .time_s = time(NULL) };
    struct figures_quality quality = { .kl = r->scores.kl.mean, .same_top = r->scores.same_top.mean,
                                       .kl_error = (r->scores.kl.high - r->scores.kl.low) / 2,
                                       .n_tokens = (int32_t)r->scores.n, .time_s = time(NULL) };
    const struct model_info *info = model_info(x->models[0]);
    struct figures_file base;
    struct session_stats stats;
    struct engine_info eng;
    if (!w->options.figures || !figures_file_of(x->models[0], &speed.file))
        return;
    session_stats(x->sessions[0], &stats);
    engine_info(w->eng, &eng);
    figures_place(&eng, info->n_layers, info->n_device_layers, speed.place);
    figures_kv_types(stats.kv_type_k, stats.kv_type_v, speed.kv_types);
    if (r->answer_per_s > 0)
        figures_add_speed(w->options.figures, &speed);
    if (!r->has_base || r->scores.n == 0 || !figures_file_of(x->models[1], &base))
        return;
    quality.file = speed.file;
    memcpy(quality.base, base.content, sizeof quality.base);
    snprintf(quality.base_level, sizeof quality.base_level, "%s", model_info(x->models[1])->level);
    figures_add_quality(w->options.figures, &quality);
}

static void post(struct worker *w, bool over)
{
    struct aside *x = &w->aside;
    struct mail mail = { .kind = MAIL_MEASURED, .request = x->id, .measured.is_over = over };
    struct measure_progress p;
    struct measure_result r;
    struct err ignored;
    measure_progress(x->m, &p);
    mail.measured.share = p.share;
    if (over && measure_result(x->m, &r, &ignored) == ERR_OK) {
        mail.measured.prompt_per_s = r.prompt_per_s;
        mail.measured.answer_per_s = r.answer_per_s;
        mail.measured.n_tokens = r.has_base ? (int32_t)r.scores.n : 0;
        mail.measured.kl = r.scores.kl.mean;
        mail.measured.kl_low = r.scores.kl.low;
        mail.measured.kl_high = r.scores.kl.high;
        mail.measured.same_top = r.scores.same_top.mean;
        keep(w, &r);
    }
    mailbox_post(w->box, &mail);
}

void worker_measure_step(struct worker *w)
{
    struct aside *x = &w->aside;
    struct err e;
    bool done = false;
    if (!worker_begin_idle(w, true))
        return;
    enum err_code rc = measure_step(x->m, &done, &e);
    worker_end_idle(w);
    if (rc == ERR_CANCELLED)    /* somebody asks for something: the same step again after that */
        return;
    if (rc != ERR_OK) {
        worker_fail_aside(w, &e);
        return;
    }
    double now_s = worker_now_s();
    if (done || (now_s - x->posted_s) * 1e3 >= POST_MS) {
        x->posted_s = now_s;
        post(w, done);
    }
    if (done)
        worker_finish_aside(w);
}
