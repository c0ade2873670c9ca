/* SPDX-License-Identifier: MIT */
/* One counter of work and one barrier, both "spin, then futex".
 *
 *     generation of work    g   pool_run() raises it; a worker leaves its wait when it differs from the last
 *     barrier               arrived counts to n_threads; the last one resets it and raises phase
 *
 * Sleepers are counted so that the common case, everybody spinning, makes no system call: whoever raises a
 * word wakes only when somebody announced to sleep on it. The announcement and the word are both
 * sequentially consistent, so either the sleeper sees the new word or the raiser sees the sleeper.
 *
 * When the pool has a thread for every physical core, each is bound to its core for as long as it works.
 * Left alone, a scheduler that has other work to place may put two of ours on one core, and then each waits
 * for the other at every barrier while it holds what the other needs: with two busy loops beside it on two
 * cores a 135M model made 130 tokens/s or 8 to 18, by chance; bound, always 130 (Zen 4, 280 when idle).
 *
 * A waiter spins for about 0.2 ms. That is longer than it takes to wake a thread (14 to 36 us on a virtual
 * machine), so that one late thread does not send the others to sleep in turn, and short enough that a pool
 * whose neighbour has lost its core for a scheduler's slice gives its own away. Beside two busy loops on two
 * cores 43 us gave 114 to 118 tokens/s, 0.2 ms 122 to 137, 4 ms 33 to 78.
 */
#include "engine/base/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/cpuid.h"

enum { SPINS = 20000, LINE = 64 };

/* A word that threads wait on to change. */
struct gate {
    _Alignas(LINE) atomic_uint word;
    _Alignas(LINE) atomic_uint n_sleepers;
};

struct pool {
    struct gate work, phase;
    _Alignas(LINE) atomic_int arrived;
    int32_t n_threads;
    pool_fn fn;
    void *arg;
    bool quit;
    int32_t n_started;
    cpu_set_t *cores;    /* [n_threads], or NULL: threads run where the system puts them */
    pthread_t threads[POOL_MAX_THREADS];
};

struct worker {
    struct pool *pool;
    int32_t thread;
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_wait(struct gate *g, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&g->word, memory_order_acquire) != seen)
            return;
        relax();
    }
    atomic_fetch_add(&g->n_sleepers, 1);
    while (atomic_load(&g->word) == seen)
        syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&g->n_sleepers, 1);
}

static void gate_raise(struct gate *g)
{
    atomic_fetch_add(&g->word, 1);
    if (atomic_load(&g->n_sleepers))
        syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, POOL_MAX_THREADS, NULL, NULL, 0);
}

void pool_barrier(struct pool *p)
{
    if (p->n_threads == 1)
        return;
    unsigned seen = atomic_load_explicit(&p->phase.word, memory_order_relaxed);
    if (atomic_fetch_add(&p->arrived, 1) == p->n_threads - 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        gate_raise(&p->phase);
    } else {
        gate_wait(&p->phase, seen);
    }
}

static void *worker_main(void *arg)
{
    struct worker w = *(struct worker *)arg;
    free(arg);
    struct pool *p = w.pool;
    if (p->cores)
        sched_setaffinity(0, sizeof *p->cores, &p->cores[w.thread]);
    for (unsigned seen = 0;; seen++) {
        gate_wait(&p->work, seen);
        if (p->quit)
            return NULL;
        p->fn(p->arg, w.thread, p->n_threads);
        pool_barrier(p);
    }
}

static enum err_code start_worker(struct pool *p, int32_t thread, struct err *e)
{
    struct worker *w = malloc(sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "thread pool: no memory for thread %d", thread);
    *w = (struct worker){ p, thread };
    if (pthread_create(&p->threads[thread], NULL, worker_main, w) != 0) {
        free(w);
        return err_set(e, ERR_NOMEM, "thread pool: the system refused thread %d of %d", thread + 1,
                       p->n_threads);
    }
    p->n_started = thread;
    return ERR_OK;
}

/* A core for each thread when there are exactly as many, else NULL. */
static cpu_set_t *core_of_each(int32_t n_threads)
{
    cpu_set_t one_more, *cores = n_threads > 1 ? calloc((size_t)n_threads, sizeof *cores) : NULL;
    bool fits = cores && !cpuid_core(n_threads, &one_more);
    for (int32_t i = 0; fits && i < n_threads; i++)
        fits = cpuid_core(i, &cores[i]);
    if (fits)
        return cores;
    free(cores);
    return NULL;
}

enum err_code pool_create(struct pool **out, int32_t n_threads, struct err *e)
{
    if (n_threads < 1 || n_threads > POOL_MAX_THREADS)
        return err_set(e, ERR_FORMAT, "threads: %d, 1 to %d allowed", n_threads, POOL_MAX_THREADS);
    size_t bytes = (sizeof(struct pool) + LINE - 1) / LINE * LINE;
    struct pool *p = aligned_alloc(LINE, bytes);
    if (!p)
        return err_set(e, ERR_NOMEM, "thread pool: no memory");
    *p = (struct pool){ .n_threads = n_threads };
    p->cores = core_of_each(n_threads);
    for (int32_t thread = 1; thread < n_threads; thread++) {
        enum err_code rc = start_worker(p, thread, e);
        if (rc != ERR_OK) {
            pool_destroy(p);
            return rc;
        }
    }
    *out = p;
    return ERR_OK;
}

void pool_destroy(struct pool *p)
{
    if (!p)
        return;
    p->quit = true;
    gate_raise(&p->work);
    for (int32_t thread = 1; thread <= p->n_started; thread++)
        pthread_join(p->threads[thread], NULL);
    free(p->cores);
    free(p);
}

int32_t pool_threads(const struct pool *p)
{
    return p->n_threads;
}

void pool_run(struct pool *p, pool_fn fn, void *arg)
{
    cpu_set_t before;
    bool bound = p->cores && sched_getaffinity(0, sizeof before, &before) == 0 &&
                 sched_setaffinity(0, sizeof *p->cores, &p->cores[0]) == 0;
    p->fn = fn;
    p->arg = arg;
    if (p->n_threads > 1)
        gate_raise(&p->work);
    fn(arg, 0, p->n_threads);
    pool_barrier(p);
    if (bound)    /* the caller's other work is free to move */
        sched_setaffinity(0, sizeof before, &before);
}
