/* SPDX-License-Identifier: MIT */
#include "app/cmd/interrupt.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "app/config/exit_code.h"

/* SIGUSR1 comes from interrupt_stop() alone. */
static void fill(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGUSR1);
}

static void *wait_for_signals(void *argument)
{
    struct interrupt *in = argument;
    sigset_t set;
    fill(&set);
    for (;;) {
        int number;
        if (sigwait(&set, &number) != 0)
            continue;
        if (number == SIGUSR1)
            return NULL;
        bool again = atomic_exchange(&in->hit, true);
        pthread_mutex_lock(&in->lock);
        if (again || (!in->session && !in->flag))
            _exit(EXIT_CODE_INTERRUPTED);
        if (in->session)
            session_cancel(in->session);
        if (in->flag)
            atomic_store(in->flag, true);
        pthread_mutex_unlock(&in->lock);
    }
}

bool interrupt_start(struct interrupt *in)
{
    memset(in, 0, sizeof *in);
    sigset_t set;
    fill(&set);
    pthread_mutex_init(&in->lock, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    in->running = pthread_create(&in->thread, NULL, wait_for_signals, in) == 0;
    if (!in->running)
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return in->running;
}

void interrupt_watch(struct interrupt *in, struct session *s)
{
    pthread_mutex_lock(&in->lock);
    in->session = s;
    pthread_mutex_unlock(&in->lock);
}

void interrupt_watch_flag(struct interrupt *in, atomic_bool *flag)
{
    pthread_mutex_lock(&in->lock);
    in->flag = flag;
    pthread_mutex_unlock(&in->lock);
}

bool interrupt_hit(struct interrupt *in)
{
    return atomic_load(&in->hit);
}

void interrupt_stop(struct interrupt *in)
{
    if (in->running) {
        pthread_kill(in->thread, SIGUSR1);
        pthread_join(in->thread, NULL);
        in->running = false;
    }
    pthread_mutex_destroy(&in->lock);
}
