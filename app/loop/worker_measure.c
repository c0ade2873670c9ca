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

/* ---- one run --------------------------------------------------------------------------------------- */

/* The model in use, or one more. */
static enum err_code take(struct worker *w, int i, const char *path, int32_t n_ctx, struct err *e)
{
    struct measuring *x = &w->measuring;
    struct session_stats stats;
    session_stats(w->here.session, &stats);
    const struct session_options o = { .n_ctx = n_ctx, .n_batch = COMPARISON_BATCH, .kv_type_k = stats.kv_type_k,
                                       .kv_type_v = stats.kv_type_v, .keep_kv_type = true,
                                       .cache_ram_bytes = w->options.cache_ram_bytes };
    bool is_here = strcmp(path, model_info(w->here.model)->path) == 0;
    enum err_code rc = is_here ? ERR_OK : model_open(&x->opened[i], w->eng, path, MODEL_RUN, e);
    if (rc != ERR_OK)
        return rc;
    x->models[i] = is_here ? w->here.model : x->opened[i];
    struct session *s = NULL;
    rc = session_create(&s, x->models[i], &o, e);
    pthread_mutex_lock(&w->lock);
    x->sessions[i] = s;
    pthread_mutex_unlock(&w->lock);
    return rc;
}

static void finish(struct worker *w)
{
    struct measuring *x = &w->measuring;
    measure_destroy(x->m);
    for (int i = 0; i < 2; i++) {
        struct session *s = x->sessions[i];
        pthread_mutex_lock(&w->lock);
        x->sessions[i] = NULL;
        pthread_mutex_unlock(&w->lock);
        session_destroy(s);
        model_close(x->opened[i]);
        x->models[i] = x->opened[i] = NULL;
    }
    x->m = NULL;
}

static void post_failure(struct worker *w, const char *why)
{
    struct err e;
    err_set(&e, ERR_CANCELLED, "%s", why);
    worker_post_failure(w, MAIL_NOT_MEASURED, w->measuring.id, &e);
}

void worker_end_measuring(struct worker *w, const char *why)
{
    if (!w->measuring.m)
        return;
    finish(w);
    post_failure(w, why);
}

void worker_do_measure(struct worker *w, const struct job *j)
{
    struct measuring *x = &w->measuring;
    struct buf text = { 0 };
    struct err e;
    worker_end_measuring(w, "another is measured");
    x->id = j->id;
    bool has_base = j->base[0] != '\0';
    enum err_code rc = w->here.model ? text_file_read(&text, w->options.measure_text, MAX_TEXT_BYTES, NULL, &e)
                                     : err_set(&e, ERR_UNSUPPORTED, "no model yet");
    if (rc == ERR_OK)
        rc = take(w, 0, j->path, MEASURE_SESSION_CTX, &e);
    if (rc == ERR_OK && has_base)
        rc = take(w, 1, j->base, MEASURE_CTX, &e);
    if (rc == ERR_OK) {
        const struct measure_options o = { .session = x->sessions[0], .model = x->models[0], .base = x->sessions[1],
                                           .base_model = x->models[1], .text = buf_text(&text), .n_text = text.n_bytes };
        rc = measure_create(&x->m, &o, &e);
    }
    buf_finish(&text);
    if (rc != ERR_OK) {
        finish(w);
        worker_post_failure(w, MAIL_NOT_MEASURED, x->id, &e);
    }
}

/* ---- what came of it ------------------------------------------------------------------------------- */

/* So that it is there the next time. */
static void keep(struct worker *w, const struct measure_result *r)
{
    struct measuring *x = &w->measuring;
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
    struct measuring *x = &w->measuring;
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
    struct measuring *x = &w->measuring;
    struct err e;
    bool done = false;
    if (atomic_load(&w->measure_stopped) >= x->id) {
        worker_end_measuring(w, "");
        return;
    }
    if (!worker_begin_idle(w))
        return;
    enum err_code rc = measure_step(x->m, &done, &e);
    worker_end_idle(w);
    if (rc == ERR_CANCELLED)    /* somebody asks for something: the same step again after that */
        return;
    if (rc != ERR_OK) {
        finish(w);
        worker_post_failure(w, MAIL_NOT_MEASURED, x->id, &e);
        return;
    }
    double now_s = worker_now_s();
    if (done || (now_s - x->posted_s) * 1e3 >= POST_MS) {
        x->posted_s = now_s;
        post(w, done);
    }
    if (done)
        finish(w);
}
