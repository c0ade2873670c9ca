/* SPDX-License-Identifier: MIT */
#include "app/loop/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* The one mutable thing at file scope in the program: a signal handler gets no argument of ours. */
static _Atomic(const struct term_emergency *) guarded;

static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS };

static void on_fatal(int number)
{
    const struct term_emergency *em = atomic_exchange(&guarded, NULL);
    if (em)
        term_emergency_restore(em);
    raise(number);    /* SA_RESETHAND has put the default action back */
}

void crash_guard(const struct term_emergency *em)
{
    /* A stack of its own, because running out of the usual one is a way to get here. */
    static _Alignas(16) char stack[16384];
    atomic_store(&guarded, em);
    if (!em)
        return;
    stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
    sigaltstack(&alternate, NULL);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_fatal;
    action.sa_flags = SA_ONSTACK | SA_RESETHAND | SA_NODEFER;
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        sigaction(fatal[i], &action, NULL);
}
