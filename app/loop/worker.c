/* SPDX-License-Identifier: MIT */
/* The engine thread.
 *
 *   loop thread                    engine thread
 *   worker_open/answer --jobs-->   one job at a time: open, context, answer
 *   worker_cancel -----cancelled-> looked at before, between and (through session_cancel) inside steps
 *                  <--mailbox---   mails
 *
 * A cancel names an answer by its id and holds for all ids up to it, so it does not matter whether the
 * answer still waits, is being made into tokens, or is half evaluated. The new model is opened beside the
 * old one, which is closed only when that worked: a bad file costs nothing but the message. */
#include "app/loop/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum job_kind { JOB_OPEN, JOB_CONTEXT, JOB_ANSWER };

struct job {
    struct job *next;
    enum job_kind kind;
    uint64_t id;
    char *path;
    int32_t n_ctx;
    struct port_request request;    /* its messages and their texts are the job's */
};

struct worker {
    struct engine *eng;
    struct mailbox *box;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, **last;        /* under lock, like quit */
    bool quit;
    struct session *cancellable;      /* under lock: the session, for the loop thread to cancel */
    _Atomic uint64_t cancelled;       /* answers up to this one are not wanted */

    /* The engine thread's own. */
    struct model *model;
    struct session *session;
    int32_t n_ctx;
    const char *kv_type_k, *kv_type_v;
};

/* ---- jobs ----------------------------------------------------------------------------------------- */

static void free_job(struct job *j)
{
    if (!j)
        return;
    for (int32_t i = 0; i < j->request.n_messages; i++) {
        const struct chat_message *m = &j->request.messages[i];
        free((void *)m->role);
        free((void *)m->content);
        free((void *)m->thinking);
    }
    free((void *)j->request.messages);
    free(j->path);
    free(j);
}

static void push(struct worker *w, struct job *j)
{
    pthread_mutex_lock(&w->lock);
    *w->last = j;
    w->last = &j->next;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* NULL when the worker should end. */
static struct job *next_job(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->quit)
        pthread_cond_wait(&w->wake, &w->lock);
    struct job *j = w->quit ? NULL : w->first;
    if (j) {
        w->first = j->next;
        if (!w->first)
            w->last = &w->first;
    }
    pthread_mutex_unlock(&w->lock);
    return j;
}

static bool should_stop(struct worker *w, uint64_t id)
{
    return atomic_load(&w->cancelled) >= id;
}

/* ---- the engine thread ---------------------------------------------------------------------------- */

static void fill_stats(const struct worker *w, struct port_stats *out)
{
    struct engine_info info;
    engine_info(w->eng, &info);
    *out = (struct port_stats){ .resident_bytes = info.memory_resident_bytes,
                                  .available_bytes = info.memory_available_bytes,
                                  .total_bytes = info.memory_total_bytes };
    if (w->session) {
        struct session_stats s;
        session_stats(w->session, &s);
        out->n_held = s.n_held;
    }
}

static void post_failure(struct worker *w, enum mail_kind kind, uint64_t id, const struct err *e)
{
    struct mail mail = { .kind = kind, .request = id };
    memcpy(mail.text, e->text, sizeof mail.text);
    mailbox_post(w->box, &mail);
}

static void copy_text(char *out, size_t n_bytes, const char *text)
{
    size_t n = strnlen(text, n_bytes - 1);
    memcpy(out, text, n);
    out[n] = '\0';
}

static void post_model(struct worker *w, uint64_t id, double load_s)
{
    struct port_model *m = calloc(1, sizeof *m);
    if (!m) {
        struct err e;
        err_set(&e, ERR_NOMEM, "no memory to describe the model");
        post_failure(w, MAIL_MODEL_FAILED, id, &e);
        return;
    }
    const struct model_info *info = model_info(w->model);
    struct engine_info eng;
    struct session_stats stats;
    engine_info(w->eng, &eng);
    session_stats(w->session, &stats);
    copy_text(m->path, sizeof m->path, info->path);
    copy_text(m->name, sizeof m->name, info->name);
    copy_text(m->level, sizeof m->level, info->level);
    copy_text(m->architecture, sizeof m->architecture, info->architecture);
    copy_text(m->cpu_tier, sizeof m->cpu_tier, eng.cpu_tier);
    copy_text(m->think_open, sizeof m->think_open, info->think_open);
    copy_text(m->think_close, sizeof m->think_close, info->think_close);
    const char *warning;
    for (int32_t i = 0; i < PORT_WARNINGS && (warning = model_warning(w->model, i)); i++)
        copy_text(m->warnings[m->n_warnings++], ERR_TEXT_BYTES, warning);
    m->n_ctx = stats.n_ctx;
    m->n_ctx_train = info->n_ctx_train;
    m->n_threads = eng.n_threads;
    m->file_bytes = info->file_bytes;
    m->load_s = load_s;
    model_sampling(w->model, &m->sampling);

    struct mail mail = { .kind = MAIL_MODEL, .request = id, .model = m };
    fill_stats(w, &mail.stats);
    if (!mailbox_post(w->box, &mail))
        free(m);
}

static void set_session(struct worker *w, struct session *s)
{
    pthread_mutex_lock(&w->lock);
    w->cancellable = s;
    pthread_mutex_unlock(&w->lock);
    session_destroy(w->session);
    w->session = s;
}

static enum err_code create_session(struct worker *w, struct model *m, int32_t n_ctx, struct session **out,
                                    struct err *e)
{
    struct session_options o = { .n_ctx = n_ctx, .n_seqs = 1, .kv_type_k = w->kv_type_k, .kv_type_v = w->kv_type_v };
    return session_create(out, m, &o, e);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void do_open(struct worker *w, const struct job *j)
{
    double start = now_s();
    struct model *m = NULL;
    struct session *s = NULL;
    struct err e;
    enum err_code rc = model_open(&m, w->eng, j->path, MODEL_RUN, &e);
    if (rc == ERR_OK)
        rc = create_session(w, m, w->n_ctx, &s, &e);
    if (rc != ERR_OK) {
        model_close(m);
        post_failure(w, MAIL_MODEL_FAILED, j->id, &e);
        return;
    }
    set_session(w, s);
    model_close(w->model);
    w->model = m;
    post_model(w, j->id, now_s() - start);
}

static void do_context(struct worker *w, const struct job *j)
{
    struct session *s;
    struct err e;
    enum err_code rc = w->model ? create_session(w, w->model, j->n_ctx, &s, &e)
                                : err_set(&e, ERR_UNSUPPORTED, "no model yet");
    if (rc != ERR_OK) {
        post_failure(w, MAIL_MODEL_FAILED, j->id, &e);
        return;
    }
    w->n_ctx = j->n_ctx;
    set_session(w, s);
    post_model(w, j->id, 0);
}

static bool post_event(struct worker *w, uint64_t id, const struct eng_event *ev)
{
    struct mail mail = { .kind = MAIL_EVENT, .request = id, .event = *ev };
    if (ev->kind == EVENT_DONE)
        fill_stats(w, &mail.stats);
    return mailbox_post(w->box, &mail);
}

static void post_cancelled(struct worker *w, uint64_t id)
{
    struct eng_event ev = { .kind = EVENT_DONE, .reason = DONE_CANCELLED };
    post_event(w, id, &ev);
}

/* The conversation as tokens; false when the answer ends here, which has then been said. */
static bool make_prompt(struct worker *w, const struct job *j, struct token_list *tokens)
{
    struct err e;
    struct chat_input in = { .messages = j->request.messages, .n_messages = j->request.n_messages,
                             .add_generation_prompt = true, .enable_thinking = j->request.enable_thinking,
                             .now_s = time(NULL) };
    struct chat_prompt prompt = { 0 };
    if (!w->model) {
        err_set(&e, ERR_UNSUPPORTED, "no model yet");
        post_failure(w, MAIL_FAILED, j->id, &e);
        return false;
    }
    if (model_chat(w->model, &in, tokens, &prompt, &e) != ERR_OK) {
        post_failure(w, MAIL_FAILED, j->id, &e);
        return false;
    }
    struct session_stats stats;
    session_stats(w->session, &stats);
    bool fits = tokens->n <= stats.n_ctx - j->request.n_reserve;
    struct mail mail = { .kind = fits ? MAIL_PROMPT : MAIL_TOO_LONG, .request = j->id };
    mail.prompt.n_prompt = tokens->n;
    mail.prompt.n_ctx = stats.n_ctx;
    mail.prompt.opens_thinking = prompt.opens_thinking;
    return mailbox_post(w->box, &mail) && fits;
}

static void do_answer(struct worker *w, const struct job *j)
{
    struct token_list tokens = { 0 };
    struct err e;
    enum err_code rc = ERR_OK;
    if (should_stop(w, j->id)) {
        post_cancelled(w, j->id);
        return;
    }
    if (!make_prompt(w, j, &tokens)) {
        token_list_finish(&tokens);
        return;
    }
    rc = session_generate(w->session, 0, tokens.ids, tokens.n, &j->request.generate, &e);
    token_list_finish(&tokens);
    while (rc == ERR_OK && session_busy(w->session)) {
        struct eng_event events[16];
        int32_t n = 0;
        if (should_stop(w, j->id))
            session_cancel(w->session);
        rc = session_step(w->session, events, 16, &n, &e);
        for (int32_t i = 0; i < n; i++)
            if (!post_event(w, j->id, &events[i]))
                session_cancel(w->session);
    }
    if (rc != ERR_OK)
        post_failure(w, MAIL_FAILED, j->id, &e);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct job *j;
    while ((j = next_job(w))) {
        switch (j->kind) {
        case JOB_OPEN:
            do_open(w, j);
            break;
        case JOB_CONTEXT:
            do_context(w, j);
            break;
        case JOB_ANSWER:
            do_answer(w, j);
            break;
        }
        free_job(j);
    }
    set_session(w, NULL);
    model_close(w->model);
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
    w->n_ctx = o->n_ctx;
    w->kv_type_k = o->kv_type_k;
    w->kv_type_v = o->kv_type_v;
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
    struct job *j = calloc(1, sizeof *j);
    if (!j || !(j->path = strdup(path))) {
        free_job(j);
        return false;
    }
    j->kind = JOB_OPEN;
    j->id = id;
    push(w, j);
    return true;
}

bool worker_set_context(struct worker *w, uint64_t id, int32_t n_ctx)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return false;
    j->kind = JOB_CONTEXT;
    j->id = id;
    j->n_ctx = n_ctx;
    push(w, j);
    return true;
}

bool worker_answer(struct worker *w, const struct port_request *request)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return false;
    j->kind = JOB_ANSWER;
    j->id = request->id;
    j->request = *request;
    j->request.n_messages = 0;
    struct chat_message *messages = calloc((size_t)request->n_messages + 1, sizeof *messages);
    j->request.messages = messages;
    bool ok = messages != NULL;
    for (int32_t i = 0; ok && i < request->n_messages; i++) {
        const struct chat_message *from = &request->messages[i];
        messages[i].role = strdup(from->role);
        messages[i].content = strdup(from->content);
        messages[i].thinking = from->thinking ? strdup(from->thinking) : NULL;
        j->request.n_messages++;
        ok = messages[i].role && messages[i].content && (!from->thinking || messages[i].thinking);
    }
    if (!ok) {
        free_job(j);
        return false;
    }
    push(w, j);
    return true;
}

void worker_cancel(struct worker *w, uint64_t id)
{
    uint64_t seen = atomic_load(&w->cancelled);
    while (seen < id && !atomic_compare_exchange_weak(&w->cancelled, &seen, id))
        ;
    pthread_mutex_lock(&w->lock);
    if (w->cancellable)
        session_cancel(w->cancellable);
    pthread_mutex_unlock(&w->lock);
}

void worker_info(const struct worker *w, struct engine_info *out)
{
    engine_info(w->eng, out);
}
