/* SPDX-License-Identifier: MIT */
/* The engine thread.
 *
 *   loop thread                    engine thread
 *   worker_open/answer --jobs-->   one job at a time
 *   worker_cancel -----cancelled-> looked at before, between and (through session_cancel) inside steps
 *                  <--mailbox---   mails
 *
 * A cancel names an answer by its id and holds for all ids up to it, so it does not matter whether the
 * answer still waits, is being made into tokens, or is half evaluated.
 *
 * When an answer is there and nothing else is to be done, the beginning of the next prompt is made ready: the
 * end of the answer, and what a template changes in earlier messages once another question follows. Whatever
 * comes in while that is evaluated stops it; what was done of it stays in the cache and is not done again. What a pass
 * costs (engine.h, session_measure_passes) is found out in the same way, when a model has been opened. */
#include "app/level/figures.h"
#include "app/level/roofline.h"
#include "app/loop/worker_impl.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MEASURE_MS = 400 };

/* ---- jobs ----------------------------------------------------------------------------------------- */

static void free_job(struct job *j)
{
    if (!j)
        return;
    for (int32_t i = 0; i < j->n_prompts; i++) {
        for (int32_t k = 0; k < j->prompts[i].n_messages; k++) {
            const struct chat_message *m = &j->prompts[i].messages[k];
            free((void *)m->role);
            free((void *)m->content);
            free((void *)m->thinking);
        }
        free(j->prompts[i].messages);
    }
    free(j->prompts);
    free(j->begun);
    free(j->begun_thinking);
    free(j->path);
    free(j);
}

static struct job *new_job(enum job_kind kind, uint64_t id)
{
    struct job *j = calloc(1, sizeof *j);
    if (j) {
        j->kind = kind;
        j->id = id;
    }
    return j;
}

static bool copy_prompt(struct job_prompt *out, const struct chat_message *from, int32_t n)
{
    out->messages = calloc((size_t)n + 1, sizeof *out->messages);    /* room for one more */
    if (!out->messages)
        return false;
    for (int32_t i = 0; i < n; i++) {
        struct chat_message *m = &out->messages[out->n_messages++];
        m->role = strdup(from[i].role);
        m->content = strdup(from[i].content);
        m->thinking = from[i].thinking ? strdup(from[i].thinking) : NULL;
        if (!m->role || !m->content || (from[i].thinking && !m->thinking))
            return false;
    }
    return true;
}

static bool add_prompts(struct job *j, const struct port_prompt *prompts, int32_t n)
{
    j->prompts = calloc((size_t)n, sizeof *j->prompts);
    if (!j->prompts)
        return false;
    for (int32_t i = 0; i < n; i++)
        if (!copy_prompt(&j->prompts[j->n_prompts++], prompts[i].messages, prompts[i].n_messages))
            return false;
    return true;
}

/* Under lock. */
static void cancel_aside(struct worker *w)
{
    for (int i = 0; i < 2; i++)
        if (w->aside.sessions[i])
            session_cancel(w->aside.sessions[i]);
}

/* Under lock: ends what is done only because nobody asks for anything. */
static void cancel_idle(struct worker *w)
{
    if (w->idle == IDLE_CHAT && w->cancellable)
        session_cancel(w->cancellable);
    if (w->idle == IDLE_ASIDE)
        cancel_aside(w);
}

/* Takes the job; false when there was no memory for it or its parts. */
static bool push(struct worker *w, struct job *j, bool whole)
{
    if (!j || !whole) {
        free_job(j);
        return false;
    }
    pthread_mutex_lock(&w->lock);
    *w->last = j;
    w->last = &j->next;
    cancel_idle(w);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    return true;
}

/* False when the worker should end. No job: the loader is done, or nobody asks and something is done aside. */
static bool next_job(struct worker *w, struct job **out, bool *loaded)
{
    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->loaded && !w->quit && !worker_has_aside(w))
        pthread_cond_wait(&w->wake, &w->lock);
    bool go_on = !w->quit;
    struct job *j = w->loaded || w->quit ? NULL : w->first;    /* those that are left go with the worker */
    *loaded = w->loaded;
    w->loaded = false;
    if (j) {
        w->first = j->next;
        if (!w->first)
            w->last = &w->first;
    }
    pthread_mutex_unlock(&w->lock);
    *out = j;
    return go_on;
}

/* Opening, and looking at levels, need not wait for the answer that is written; but for what changes the model in use, or
 * its session. */
static bool may_overtake(enum job_kind kind)
{
    return kind == JOB_OPEN || kind == JOB_LEVELS;
}

void worker_do_meanwhile(struct worker *w)
{
    struct job **at = &w->first, *j;
    pthread_mutex_lock(&w->lock);
    while (*at && !may_overtake((*at)->kind) && (*at)->kind != JOB_SESSION && (*at)->kind != JOB_DEVICE)
        at = &(*at)->next;
    j = *at && may_overtake((*at)->kind) ? *at : NULL;
    if (j) {
        *at = j->next;
        if (!*at)
            w->last = at;
    }
    pthread_mutex_unlock(&w->lock);
    if (j && j->kind == JOB_OPEN)
        worker_do_open(w, j);
    else if (j)
        worker_do_levels(w);
    free_job(j);
}

void worker_push_loaded(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->loaded = true;
    cancel_idle(w);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

bool worker_is_wanted(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool wanted = w->first || w->loaded || w->quit;
    pthread_mutex_unlock(&w->lock);
    return wanted;
}

bool worker_begin_idle(struct worker *w, bool aside)
{
    pthread_mutex_lock(&w->lock);
    bool begun = !w->first && !w->loaded && !w->quit;
    w->idle = !begun ? IDLE_NOT : aside ? IDLE_ASIDE : IDLE_CHAT;
    pthread_mutex_unlock(&w->lock);
    return begun;
}

void worker_end_idle(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->idle = IDLE_NOT;
    pthread_mutex_unlock(&w->lock);
}

/* ---- the engine thread ---------------------------------------------------------------------------- */

double worker_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void copy_text(char *out, size_t n_bytes, const char *text)
{
    size_t n = strnlen(text, n_bytes - 1);
    memcpy(out, text, n);
    out[n] = '\0';
}

void worker_fill_stats(struct worker *w, struct port_stats *out)
{
    struct engine_info info;
    engine_info(w->eng, &info);
    w->stats_s = worker_now_s();
    *out = (struct port_stats){ .resident_bytes = info.memory_resident_bytes,
                                  .available_bytes = info.memory_available_bytes,
                                  .total_bytes = info.memory_total_bytes,
                                  .device_free_bytes = info.device_free_bytes,
                                  .device_total_bytes = info.device_total_bytes,
                                  .device_shares = info.device_shares };
    if (!w->here.session)
        return;
    struct session_stats s;
    out->n_device_layers = model_info(w->here.model)->n_device_layers;
    session_stats(w->here.session, &s);
    out->n_held = s.n_held;
    out->device_bytes = s.device_bytes;
    out->kv_bytes = s.kv_bytes;
    out->kv_full_bytes = s.kv_full_bytes;
    copy_text(out->kv_type_k, sizeof out->kv_type_k, s.kv_type_k);
    copy_text(out->kv_type_v, sizeof out->kv_type_v, s.kv_type_v);
    copy_text(out->kv_note, sizeof out->kv_note, s.kv_note);
    out->n_open = s.n_open;
    out->n_sealed = s.n_sealed;
    out->n_shared = s.n_shared;
    out->cached_bytes = s.cached_bytes;
    out->cache_ram_bytes = s.cache_ram_bytes;
    out->n_disk_files = s.n_disk_files;
    out->n_disk_writing = s.n_disk_writing;
    out->disk_bytes = s.disk_bytes;
    out->n_passes = s.n_passes;
    out->n_drafted = s.n_drafted;
    out->n_accepted = s.n_accepted;
    out->saved_ms = s.saved_ms;
    copy_text(out->spec_note, sizeof out->spec_note, s.spec_note);
    struct fit_reads reads;
    session_reads(w->here.session, s.n_held, &reads);
    out->token_bytes = roofline_bytes(&reads);
    out->memory_bytes_per_s = w->memory_bytes_per_s;
}

void worker_post_stats(struct worker *w)
{
    struct mail mail = { .kind = MAIL_STATS };
    worker_fill_stats(w, &mail.stats);
    mailbox_post(w->box, &mail);
}

void worker_post_failure(struct worker *w, enum mail_kind kind, uint64_t id, const struct err *e)
{
    struct mail mail = { .kind = kind, .request = id };
    memcpy(mail.text, e->text, sizeof mail.text);
    mailbox_post(w->box, &mail);
}

void worker_post_model(struct worker *w, uint64_t id, double load_s, int32_t n_again)
{
    struct port_model *m = calloc(1, sizeof *m);
    if (!m) {
        struct err e;
        err_set(&e, ERR_NOMEM, "no memory to describe the model");
        worker_post_failure(w, MAIL_MODEL_FAILED, id, &e);
        return;
    }
    const struct model_info *info = model_info(w->here.model);
    struct engine_info eng;
    struct session_stats stats;
    engine_info(w->eng, &eng);
    session_stats(w->here.session, &stats);
    copy_text(m->path, sizeof m->path, info->path);
    copy_text(m->name, sizeof m->name, info->name);
    copy_text(m->level, sizeof m->level, info->level);
    copy_text(m->architecture, sizeof m->architecture, info->architecture);
    copy_text(m->cpu_tier, sizeof m->cpu_tier, eng.cpu_tier);
    copy_text(m->device, sizeof m->device, info->n_device_layers > 0 ? eng.device : "");
    copy_text(m->device_driver, sizeof m->device_driver, eng.device_driver);
    copy_text(m->device_note, sizeof m->device_note, eng.device_note);
    copy_text(m->think_open, sizeof m->think_open, info->think_open);
    copy_text(m->think_close, sizeof m->think_close, info->think_close);
    const char *warning;
    for (int32_t i = 0; i < PORT_WARNINGS && (warning = model_warning(w->here.model, i)); i++)
        copy_text(m->warnings[m->n_warnings++], ERR_TEXT_BYTES, warning);
    m->n_ctx = stats.n_ctx;
    m->n_ctx_train = info->n_ctx_train;
    m->n_threads = eng.n_threads;
    m->n_layers = info->n_layers;
    m->n_again = n_again;
    m->is_back = w->loader.kept;
    m->in_answer = session_busy(w->here.session);
    for (int32_t i = 0; i < w->n_parked; i++)
        copy_text(m->parked[m->n_parked++], PORT_PATH_BYTES, model_info(w->parked[i].model)->path);
    m->file_bytes = info->file_bytes;
    m->load_s = load_s;
    model_sampling(w->here.model, &m->sampling);

    struct mail mail = { .kind = MAIL_MODEL, .request = id, .model = m };
    worker_fill_stats(w, &mail.stats);
    if (!mailbox_post(w->box, &mail))
        free(m);
}

enum err_code worker_create_session(struct worker *w, struct model *m, const struct port_session *wanted,
                                    struct session **out, struct err *e)
{
    struct session_options o = { .n_ctx = wanted->n_ctx, .n_seqs = 1, .kv_type_k = wanted->kv_type_k,
                                 .kv_type_v = wanted->kv_type_v, .keep_kv_type = w->options.keep_kv_type,
                                 .cache_ram_bytes = w->options.cache_ram_bytes, .cache_dir = w->options.cache_dir,
                                 .cache_disk_bytes = w->options.cache_disk_bytes,
                                 .draft_from_chats = w->options.draft_from_chats };
    return session_create(out, m, &o, e);
}

/* Some things come to light late: a template that fails, a file of the cache that is damaged, a device that is lost. */
static void post_warnings(struct worker *w)
{
    const char *warning;
    int32_t n_before = w->n_warned;
    while (w->here.model && (warning = model_warning(w->here.model, w->n_warned))) {
        struct mail mail = { .kind = MAIL_WARNING };
        copy_text(mail.text, sizeof mail.text, warning);
        w->n_warned++;
        mailbox_post(w->box, &mail);
    }
    if (w->n_warned > n_before)
        worker_post_stats(w);    /* where the model computes now */
}

static void do_session(struct worker *w, const struct job *j)
{
    struct session *s;
    struct err e;
    enum err_code rc = w->here.model ? worker_create_session(w, w->here.model, &j->session, &s, &e)
                                : err_set(&e, ERR_UNSUPPORTED, "no model yet");
    if (rc != ERR_OK) {
        worker_post_failure(w, MAIL_MODEL_FAILED, j->id, &e);
        return;
    }
    w->options.session = j->session;
    worker_change_session(w, s);    /* with the same types it finds what the old one has read */
    worker_post_model(w, j->id, 0, 0);
}

/* After a cancel, also one that was meant for an answer and came late, it waits for the next time that nobody asks
 * for anything. An answer that has something to draft before that does it itself. */
static void measure_passes(struct worker *w)
{
    struct err ignored;    /* without costs there are no drafts, and session_stats() says why */
    if (!w->unmeasured || !worker_begin_idle(w, false))
        return;
    w->unmeasured = session_measure_passes(w->here.session, MEASURE_MS, false, &ignored) == ERR_CANCELLED;
    worker_end_idle(w);
}

/* A quarter of a second, once on a machine: when nobody asks for anything, or somebody looks. */
static void find_bandwidth(struct worker *w)
{
    if (!w->bandwidth_sought && w->options.figures)
        w->memory_bytes_per_s = figures_memory_bandwidth(w->options.figures, w->eng, false);
    w->bandwidth_sought = true;
}

static void do_job(struct worker *w, const struct job *j)
{
    switch (j->kind) {
    case JOB_OPEN:
        worker_do_open(w, j);
        break;
    case JOB_SESSION:
        do_session(w, j);
        break;
    case JOB_DEVICE:
        worker_do_device(w, j);
        break;
    case JOB_DEVICES:
        worker_do_devices(w);
        break;
    case JOB_LEVELS:
        find_bandwidth(w);
        worker_do_levels(w);
        break;
    case JOB_MEASURE:
        worker_do_measure(w, j);
        break;
    case JOB_COMPARE:
        worker_do_compare(w, j);
        break;
    case JOB_ANSWER:
        worker_do_answer(w, j);
        break;
    case JOB_COUNT:
        worker_do_count(w, j);
        break;
    case JOB_PREPARE:
        worker_do_prepare(w, j);
        break;
    case JOB_CLOSE:
        if (w->here.session)
            session_close_chat(w->here.session, 0);
        break;
    case JOB_STATS:
        find_bandwidth(w);
        worker_post_stats(w);
        break;
    }
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct job *j;
    bool loaded;
    while (next_job(w, &j, &loaded)) {
        if (j)
            do_job(w, j);
        else if (loaded)
            worker_do_loaded(w);
        else
            worker_aside_step(w);
        free_job(j);
        post_warnings(w);
        measure_passes(w);
        post_warnings(w);
        if (w->here.model && !worker_is_wanted(w))
            find_bandwidth(w);
    }
    worker_stop_loading(w);
    worker_end_aside(w, "");
    worker_close_all(w);
    return NULL;
}

/* ---- the loop thread ------------------------------------------------------------------------------ */

enum err_code worker_start(struct worker **out, const struct worker_options *o, struct mailbox *box,
                           struct err *e)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for the engine thread");
    w->box = box;
    w->options = *o;
    w->last = &w->first;

    /* Signals are the loop's business: the engine's threads inherit a mask that blocks them all, so that
     * none of them is ever picked to stop for Ctrl+Z before the terminal is given back. */
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    enum err_code rc = engine_create(&w->eng, &o->engine, e);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    if (rc == ERR_OK && pthread_create(&w->thread, NULL, work, w) != 0)
        rc = err_set(e, ERR_NOMEM, "the system gave no engine thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != ERR_OK) {
        engine_destroy(w->eng);
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return rc;
    }
    *out = w;
    return ERR_OK;
}

void worker_stop(struct worker *w)
{
    if (!w)
        return;
    worker_cancel(w, UINT64_MAX);
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    atomic_store(&w->aside.cancel, true);
    cancel_idle(w);
    cancel_aside(w);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    while (w->first) {
        struct job *j = w->first;
        w->first = j->next;
        free_job(j);
    }
    engine_destroy(w->eng);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

bool worker_open(struct worker *w, uint64_t id, const char *path)
{
    struct job *j = new_job(JOB_OPEN, id);
    return push(w, j, j && (j->path = strdup(path)));
}

bool worker_set_session(struct worker *w, uint64_t id, const struct port_session *session)
{
    struct job *j = new_job(JOB_SESSION, id);
    if (j)
        j->session = *session;
    return push(w, j, j);
}

bool worker_set_device(struct worker *w, uint64_t id, const struct port_device *device)
{
    struct job *j = new_job(JOB_DEVICE, id);
    if (j)
        j->device = *device;
    return push(w, j, j);
}

bool worker_list_devices(struct worker *w)
{
    struct job *j = new_job(JOB_DEVICES, 0);
    return push(w, j, j);
}

bool worker_want_levels(struct worker *w)
{
    struct job *j = new_job(JOB_LEVELS, 0);
    return push(w, j, j);
}

bool worker_measure(struct worker *w, uint64_t id, const char *path, const char *base)
{
    struct job *j = new_job(JOB_MEASURE, id);
    if (j)
        snprintf(j->base, sizeof j->base, "%s", base ? base : "");
    return push(w, j, j && (j->path = strdup(path)));
}

bool worker_compare(struct worker *w, const struct port_request *request, const struct port_pair *pair)
{
    struct job *j = new_job(JOB_COMPARE, request->id);
    struct port_prompt prompt = { request->messages, request->n_messages };
    bool ok = j && add_prompts(j, &prompt, 1);
    if (ok) {
        j->request = *request;
        j->enable_thinking = request->enable_thinking;
        j->pair = *pair;
    }
    return push(w, j, ok);
}

/* Ids are those of what came before, too: they never fall. */
static void raise_to(_Atomic uint64_t *at, uint64_t id)
{
    uint64_t seen = atomic_load(at);
    while (seen < id && !atomic_compare_exchange_weak(at, &seen, id))
        ;
}

void worker_end_answers(struct worker *w, uint64_t id)
{
    raise_to(&w->answers_ended, id);
}

void worker_stop_aside(struct worker *w, uint64_t id)
{
    raise_to(&w->aside_stopped, id);
    pthread_mutex_lock(&w->lock);
    if (w->aside.id <= id) {
        atomic_store(&w->aside.cancel, true);
        cancel_aside(w);
    }
    pthread_mutex_unlock(&w->lock);
}

bool worker_answer(struct worker *w, const struct port_request *request)
{
    struct job *j = new_job(JOB_ANSWER, request->id);
    struct port_prompt prompt = { request->messages, request->n_messages };
    bool ok = j && add_prompts(j, &prompt, 1);
    if (ok) {
        j->request = *request;
        j->enable_thinking = request->enable_thinking;
        j->begun = request->begun ? strdup(request->begun) : NULL;
        j->begun_thinking = request->begun_thinking ? strdup(request->begun_thinking) : NULL;
        ok = (!request->begun || j->begun) && (!request->begun_thinking || j->begun_thinking);
    }
    return push(w, j, ok);
}

bool worker_count(struct worker *w, uint64_t id, const struct port_prompt *prompts, int32_t n,
                  int32_t enable_thinking)
{
    struct job *j = new_job(JOB_COUNT, id);
    bool ok = j && add_prompts(j, prompts, n < PORT_PROMPTS ? n : PORT_PROMPTS);
    if (ok)
        j->enable_thinking = enable_thinking;
    return push(w, j, ok);
}

bool worker_prepare(struct worker *w, const struct port_prompt *prompt, int32_t enable_thinking)
{
    struct job *j = new_job(JOB_PREPARE, 0);
    bool ok = j && add_prompts(j, prompt, 1);
    if (ok)
        j->enable_thinking = enable_thinking;
    return push(w, j, ok);
}

bool worker_close_chat(struct worker *w)
{
    struct job *j = new_job(JOB_CLOSE, 0);
    return push(w, j, j);
}

bool worker_want_stats(struct worker *w)
{
    struct job *j = new_job(JOB_STATS, 0);
    return push(w, j, j);
}

void worker_cancel(struct worker *w, uint64_t id)
{
    raise_to(&w->cancelled, id);
    pthread_mutex_lock(&w->lock);
    if (w->cancellable)
        session_cancel(w->cancellable);
    pthread_mutex_unlock(&w->lock);
}
