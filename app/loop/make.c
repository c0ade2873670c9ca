/* SPDX-License-Identifier: MIT */
#include "app/loop/make.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PROGRESS_MS = 200, NICENESS = 10 };

void make_init(struct make *m, uv_loop_t *loop, void *data)
{
    memset(m, 0, sizeof *m);
    m->loop = loop;
    m->data = data;
    signal(SIGXFSZ, SIG_IGN);    /* a limit on the size of files is an error like a full disk */
}

/* The threads that level_make() starts have the priority of this one. */
static void work(uv_work_t *request)
{
    struct make *m = request->data;
    struct level_options o = { .level = m->level, .allow_requantize = m->allow_requantize };
    struct level_plan plan = { 0 };
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);
    m->rc = level_plan(&plan, m->source, &o, &m->progress, &m->err);
    if (m->rc == ERR_OK)
        m->rc = level_make(&plan, m->target, &m->progress, &m->err);
    level_plan_finish(&plan);
}

static void on_timer_closed(uv_handle_t *timer)
{
    struct make *m = timer->data;
    m->running = false;
    free(m->source);
    free(m->target);
    free(m->level);
    m->source = m->target = m->level = NULL;
    if (m->on_end)
        m->on_end(m->data, m->rc == ERR_OK ? NULL : m->rc == ERR_CANCELLED ? "" : m->err.text);
}

static void on_worked(uv_work_t *request, int status)
{
    struct make *m = request->data;
    if (status != 0)    /* it never began */
        m->rc = ERR_CANCELLED;
    uv_close((uv_handle_t *)&m->timer, on_timer_closed);
}

static void on_timer(uv_timer_t *timer)
{
    struct make *m = timer->data;
    uint64_t total = atomic_load(&m->progress.total_bytes);
    if (m->on_progress && total > 0)
        m->on_progress(m->data, atomic_load(&m->progress.done_bytes), total);
}

bool make_start(struct make *m, const char *source, const char *target, const char *level, bool allow_requantize)
{
    if (m->running)
        return false;
    m->source = strdup(source);
    m->target = strdup(target);
    m->level = strdup(level);
    m->allow_requantize = allow_requantize;
    memset(&m->progress, 0, sizeof m->progress);
    m->work.data = m->timer.data = m;
    if (!m->source || !m->target || !m->level || uv_queue_work(m->loop, &m->work, work, on_worked) != 0) {
        free(m->source);
        free(m->target);
        free(m->level);
        return false;
    }
    m->running = true;
    uv_timer_init(m->loop, &m->timer);
    uv_timer_start(&m->timer, on_timer, PROGRESS_MS, PROGRESS_MS);
    return true;
}

void make_stop(struct make *m)
{
    if (m->running)
        atomic_store(&m->progress.cancel, true);
}
