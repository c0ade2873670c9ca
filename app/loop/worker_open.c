/* SPDX-License-Identifier: MIT */
/* Models come and go while answers are written.
 *
 *   opening   the first one by the engine's thread itself; every other by a LOADER, a thread beside it, while the one
 *             in use goes on with its work. What then remains, and all of it on a device, is the engine's thread's
 *   arrival   between two jobs; or between two steps of an answer, when both models have the same tokens (two levels of
 *             one model): the new one goes on with that answer behind what was said. Otherwise the old one ends it
 *   parking   a model that is left keeps what it knows of the chat, without its weights, so that on the way back
 *             nothing is evaluated again. The oldest go when there are too many, or memory is short
 *
 * Who asks for another model while one is loaded gets that; of the first nothing is heard any more. */
#include "app/loop/worker_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/chat/drafts.h"

enum { FLUSH_MS = 2000 };

/* ---- one that is or was in use --------------------------------------------------------------------- */

/* The file behind the path, which may be another by now. */
static struct worker_file file_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct worker_file){ 0 };
    return (struct worker_file){ (uint64_t)st.st_dev, (uint64_t)st.st_ino, (int64_t)st.st_size,
                                 (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec };
}

static bool same_session(const struct port_session *a, const struct port_session *b)
{
    return a->n_ctx == b->n_ctx && strcmp(a->kv_type_k, b->kv_type_k) == 0 && strcmp(a->kv_type_v, b->kv_type_v) == 0;
}

static void close_place(struct worker_place *p)
{
    if (p->session) {
        session_close_chat(p->session, 0);
        session_flush(p->session, FLUSH_MS);
        session_destroy(p->session);
    }
    model_close(p->model);
    *p = (struct worker_place){ 0 };
}

static void forget_parked(struct worker *w, int32_t i)
{
    close_place(&w->parked[i]);
    for (w->n_parked--; i < w->n_parked; i++)
        w->parked[i] = w->parked[i + 1];
    w->parked[w->n_parked] = (struct worker_place){ 0 };
}

void worker_forget_parked(struct worker *w)
{
    while (w->n_parked > 0)
        forget_parked(w, 0);
}

/* With less than an eighth of its memory free the machine needs what only might be wanted again. */
static bool memory_is_short(const struct worker *w)
{
    struct engine_info info;
    engine_info(w->eng, &info);
    return info.memory_available_bytes < info.memory_total_bytes / 8;
}

static void park(struct worker *w, struct worker_place *p)
{
    if (!p->model)
        return;
    model_rest(p->model);    /* nothing, of one that rests */
    while (w->n_parked == WORKER_MAX_PARKED || (w->n_parked > 0 && memory_is_short(w)))
        forget_parked(w, 0);
    w->parked[w->n_parked++] = *p;
    *p = (struct worker_place){ 0 };
}

static void set_session(struct worker *w, struct session *s)
{
    pthread_mutex_lock(&w->lock);
    w->cancellable = s;
    pthread_mutex_unlock(&w->lock);
    w->here.session = s;
    w->unmeasured = s != NULL;
}

void worker_change_session(struct worker *w, struct session *s)
{
    struct session *before = w->here.session;
    set_session(w, s);
    w->here.wanted = w->options.session;
    session_destroy(before);
}

void worker_close_all(struct worker *w)
{
    struct worker_place here = w->here;
    w->here = (struct worker_place){ 0 };
    set_session(w, NULL);
    close_place(&here);
    worker_forget_parked(w);
}

/* ---- loading --------------------------------------------------------------------------------------- */

static void *load(void *argument)
{
    struct worker *w = argument;
    w->loader.rc = model_load(w->loader.place.model, &w->loader.cancel, &w->loader.why);
    atomic_store(&w->loader.done, true);
    worker_push_loaded(w);
    return NULL;
}

/* One that was parked is so again: its weights are gone in any case. */
void worker_stop_loading(struct worker *w)
{
    struct loader *l = &w->loader;
    if (!l->busy)
        return;
    atomic_store(&l->cancel, true);
    if (!l->started)
        pthread_join(l->thread, NULL);
    l->busy = false;
    if (l->place.session && !l->started)
        park(w, &l->place);
    else
        close_place(&l->place);
    l->place = (struct worker_place){ 0 };
}

/* The model of this path, from among those parked or new. */
static enum err_code take_model(struct worker *w, const char *path, struct worker_place *out, struct err *e)
{
    struct worker_file file = file_of(path);
    for (int32_t i = w->n_parked - 1; i >= 0; i--) {
        if (strcmp(model_info(w->parked[i].model)->path, path) != 0)
            continue;
        if (memcmp(&w->parked[i].file, &file, sizeof file) != 0) {
            forget_parked(w, i);
            continue;
        }
        *out = w->parked[i];
        w->parked[i].model = NULL;
        w->parked[i].session = NULL;
        forget_parked(w, i);
        model_wake(out->model);
        return ERR_OK;
    }
    *out = (struct worker_place){ .file = file };
    return model_begin(&out->model, w->eng, path, e);
}

/* ---- arrival --------------------------------------------------------------------------------------- */

/* The model has a session, that from before its rest where that is still what is wanted. */
static enum err_code give_session(struct worker *w, struct worker_place *p, struct err *e)
{
    struct session *s = NULL;
    w->loader.kept = p->session && same_session(&p->wanted, &w->options.session);
    if (w->loader.kept)
        return ERR_OK;
    enum err_code rc = worker_create_session(w, p->model, &w->options.session, &s, e);
    if (rc == ERR_OK && w->options.draft_files)
        rc = drafts_from_files(s, w->options.draft_files, e);
    if (rc != ERR_OK) {
        session_destroy(s);
        return rc;
    }
    session_destroy(p->session);
    p->session = s;
    p->wanted = w->options.session;
    return ERR_OK;
}

/* What has been loaded is placed; it need not be used yet. */
static enum err_code start(struct worker *w, struct err *e)
{
    struct loader *l = &w->loader;
    pthread_join(l->thread, NULL);
    l->started = true;
    enum err_code rc = l->rc == ERR_OK ? model_start(l->place.model, e) : err_set(e, l->rc, "%s", l->why.text);
    return rc == ERR_OK ? give_session(w, &l->place, e) : rc;
}

static void fail(struct worker *w, const struct err *e)
{
    close_place(&w->loader.place);
    w->loader.busy = false;
    worker_post_failure(w, MAIL_MODEL_FAILED, w->loader.id, e);
}

/* The loaded model is the one in use. */
static void arrive(struct worker *w)
{
    struct loader *l = &w->loader;
    struct worker_place before = w->here;
    double load_s = worker_now_s() - l->start_s;
    worker_end_aside(w, "another model answers now");
    w->here = l->place;
    l->place = (struct worker_place){ 0 };
    l->busy = false;
    set_session(w, w->here.session);
    park(w, &before);
    w->n_warned = 0;
    worker_post_model(w, l->id, load_s, 0);
    l->kept = false;
    while (w->n_warned < PORT_WARNINGS && model_warning(w->here.model, w->n_warned))    /* these went with the model */
        w->n_warned++;
}

void worker_do_loaded(struct worker *w)
{
    struct err e;
    if (!w->loader.busy || !atomic_load(&w->loader.done))    /* it has arrived, or another is being loaded */
        return;
    if (!w->loader.started && start(w, &e) != ERR_OK)
        fail(w, &e);
    else
        arrive(w);
}

void worker_arrive_in_answer(struct worker *w)
{
    struct loader *l = &w->loader;
    struct err e;
    if (!l->busy || l->started || !atomic_load(&l->done))
        return;
    if (l->rc == ERR_OK && !model_same_tokens(l->place.model, w->here.model))
        return;
    if (start(w, &e) != ERR_OK)
        fail(w, &e);
    else if (session_take_over(l->place.session, w->here.session, &e) == ERR_OK)    /* else when the answer has ended */
        arrive(w);
}

/* ---- asked for ------------------------------------------------------------------------------------- */

/* Nobody else computes: with all of the engine's threads, and at once. */
static void open_first(struct worker *w, const char *path)
{
    struct loader *l = &w->loader;
    struct err e;
    l->place.file = file_of(path);
    if (model_open(&l->place.model, w->eng, path, MODEL_RUN, &e) != ERR_OK || give_session(w, &l->place, &e) != ERR_OK)
        fail(w, &e);
    else
        arrive(w);
}

static bool is_in_use(const struct worker *w, const char *path)
{
    struct worker_file file = file_of(path);
    return w->here.model && strcmp(model_info(w->here.model)->path, path) == 0 &&
           memcmp(&w->here.file, &file, sizeof file) == 0;
}

void worker_do_open(struct worker *w, const struct job *j)
{
    struct loader *l = &w->loader;
    struct err e;
    worker_stop_loading(w);
    l->id = j->id;
    l->start_s = worker_now_s();
    l->started = l->kept = false;
    atomic_store(&l->cancel, false);
    atomic_store(&l->done, false);
    if (is_in_use(w, j->path)) {
        worker_post_model(w, j->id, 0, 0);
    } else if (!w->here.model) {
        open_first(w, j->path);
    } else {
        enum err_code rc = take_model(w, j->path, &l->place, &e);
        if (rc == ERR_OK && pthread_create(&l->thread, NULL, load, w) != 0)
            rc = err_set(&e, ERR_NOMEM, "the system gave no thread to load it");
        l->busy = rc == ERR_OK;
        if (rc != ERR_OK)
            fail(w, &e);
    }
}
