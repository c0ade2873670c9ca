/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CMD_INTERRUPT_H
#define QUIP_APP_CMD_INTERRUPT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/engine.h"

/* Ctrl+C (and SIGTERM) for commands that work for long. A thread of its own waits for the signals, which
 * all other threads block, so nothing runs in a signal handler: with something to stop the first signal
 * cancels it and the command ends in order; without one, and at the second signal, the process ends. */
struct interrupt {
    pthread_t thread;
    pthread_mutex_t lock;
    struct session *session;    /* under lock, with this: */
    atomic_bool *flag;
    atomic_bool hit;
    bool running;
};

/* Before any other thread exists. False when no thread could be made: signals then do what they always
 * do. */
bool interrupt_start(struct interrupt *in);
void interrupt_watch(struct interrupt *in, struct session *s);    /* NULL: nothing to stop any more */
/* The same for work that looks at a flag: the first signal sets it. */
void interrupt_watch_flag(struct interrupt *in, atomic_bool *flag);
bool interrupt_hit(struct interrupt *in);
void interrupt_stop(struct interrupt *in);

#endif
