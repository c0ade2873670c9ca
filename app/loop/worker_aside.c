/* SPDX-License-Identifier: MIT */
/* What is done with levels beside the chat, one thing at a time, while nobody asks for an answer: between two steps of it
 * everything else goes on. */
#include "app/loop/worker_impl.h"

#include <string.h>

void worker_begin_aside(struct worker *w, uint64_t id, enum mail_kind failure)
{
    worker_end_aside(w, "something else is begun");
    pthread_mutex_lock(&w->lock);
    w->aside.id = id;
    atomic_store(&w->aside.cancel, w->quit || atomic_load(&w->aside_stopped) >= id);
    pthread_mutex_unlock(&w->lock);
    w->aside.failure = failure;
}

/* By this thread, so that a stop need not wait for all of it. */
static enum err_code open_model(struct worker *w, const char *path, struct model **out, struct err *e)
{
    enum err_code rc = model_begin(out, w->eng, path, e);
    if (rc == ERR_OK)
        rc = model_load(*out, &w->aside.cancel, e);
    return rc == ERR_OK ? model_start(*out, e) : rc;
}

enum err_code worker_take_aside(struct worker *w, int i, const char *path, int32_t n_ctx, struct err *e)
{
    struct aside *x = &w->aside;
    struct session_stats stats;
    session_stats(w->here.session, &stats);
    const struct session_options o = { .n_ctx = n_ctx, .n_batch = COMPARISON_BATCH, .kv_type_k = stats.kv_type_k,
                                       .kv_type_v = stats.kv_type_v, .keep_kv_type = true,
                                       .cache_ram_bytes = w->options.cache_ram_bytes };
    bool is_here = strcmp(path, model_info(w->here.model)->path) == 0;
    enum err_code rc = is_here ? ERR_OK : open_model(w, path, &x->opened[i], e);
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

void worker_finish_aside(struct worker *w)
{
    struct aside *x = &w->aside;
    measure_destroy(x->m);
    beside_destroy(x->b);
    x->m = NULL;
    x->b = NULL;
    for (int i = 0; i < 2; i++) {
        struct session *s = x->sessions[i];
        pthread_mutex_lock(&w->lock);
        x->sessions[i] = NULL;
        pthread_mutex_unlock(&w->lock);
        session_destroy(s);
        model_close(x->opened[i]);
        x->models[i] = x->opened[i] = NULL;
    }
}

void worker_fail_aside(struct worker *w, const struct err *e)
{
    struct err stopped = { 0 };
    bool is_stop = e->code == ERR_CANCELLED && atomic_load(&w->aside_stopped) >= w->aside.id;
    worker_finish_aside(w);
    worker_post_failure(w, w->aside.failure, w->aside.id, is_stop ? &stopped : e);
}

void worker_end_aside(struct worker *w, const char *why)
{
    struct err e;
    if (!worker_has_aside(w))
        return;
    err_set(&e, ERR_CANCELLED, "%s", why);
    worker_fail_aside(w, &e);
}

bool worker_has_aside(const struct worker *w)
{
    return w->aside.m || w->aside.b;
}

void worker_aside_step(struct worker *w)
{
    if (atomic_load(&w->aside_stopped) >= w->aside.id)
        worker_end_aside(w, "");
    else if (w->aside.m)
        worker_measure_step(w);
    else
        worker_compare_step(w);
}
