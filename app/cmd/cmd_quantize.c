/* SPDX-License-Identifier: MIT */
/* quip quantize: a level of a model, made from a better one. The work is done by a thread of its own, while this one
 * says how far it is and the one that waits for signals can cancel it. */
#include "app/cmd/cmd.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "app/cmd/interrupt.h"
#include "app/config/model_table.h"
#include "engine/base/clock.h"
#include "engine/level/level.h"

enum { BAR_MS = 200, LINE_MS = 5000 };

struct work {
    const char *source, *target;    /* target NULL: only a plan */
    struct level_options options;
    struct level_plan plan;
    struct level_progress progress;
    enum err_code rc;
    struct err err;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool is_over;                   /* under lock */
};

/* ---- the work ------------------------------------------------------------------------------------- */

static void *run(void *argument)
{
    struct work *w = argument;
    w->rc = level_plan(&w->plan, w->source, &w->options, &w->progress, &w->err);
    if (w->rc == ERR_OK && w->target)
        w->rc = level_make(&w->plan, w->target, &w->progress, &w->err);
    pthread_mutex_lock(&w->lock);
    w->is_over = true;
    pthread_cond_signal(&w->over);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void draw_bar(uint64_t done, uint64_t total)
{
    enum { BAR = 30 };
    char bar[BAR + 1], have[32], all[32];
    size_t filled = total ? (size_t)(done * BAR / total) : 0;
    memset(bar, '#', filled);
    memset(bar + filled, '.', BAR - filled);
    bar[BAR] = '\0';
    fprintf(stderr, "\r  [%s] %3.0f %%  %s of %s   ", bar, 100.0 * (double)done / (double)total, cmd_size(done, have),
            cmd_size(total, all));
}

static void say_progress(struct work *w, bool is_terminal)
{
    uint64_t done = atomic_load(&w->progress.done_bytes), total = atomic_load(&w->progress.total_bytes);
    char have[32], all[32];
    if (total == 0)
        return;
    if (is_terminal)
        draw_bar(done, total);
    else
        fprintf(stderr, "quip: %3.0f %%, %s of %s\n", 100.0 * (double)done / (double)total, cmd_size(done, have),
                cmd_size(total, all));
    fflush(stderr);
}

/* Until the work is over; says how far it is every now and then. */
static void wait_for(struct work *w)
{
    bool is_terminal = isatty(STDERR_FILENO);
    int step_ms = is_terminal ? BAR_MS : LINE_MS;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    pthread_mutex_lock(&w->lock);
    while (!w->is_over) {
        int64_t ns = next.tv_nsec + (int64_t)step_ms * 1000000;
        next.tv_sec += ns / 1000000000;
        next.tv_nsec = ns % 1000000000;
        while (!w->is_over && pthread_cond_clockwait(&w->over, &w->lock, CLOCK_MONOTONIC, &next) == 0) {
        }
        if (!w->is_over)
            say_progress(w, is_terminal);
    }
    pthread_mutex_unlock(&w->lock);
    if (is_terminal)
        fputs("\r\033[K", stderr);
}

static enum exit_code work_through(struct work *w)
{
    struct interrupt in;
    pthread_t thread;
    interrupt_start(&in);    /* before the thread, which inherits blocked signals */
    interrupt_watch_flag(&in, &w->progress.cancel);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->over, NULL);
    if (pthread_create(&thread, NULL, run, w) == 0) {
        wait_for(w);
        pthread_join(thread, NULL);
    } else {
        w->rc = err_set(&w->err, ERR_NOMEM, "no thread to work with");
    }
    interrupt_stop(&in);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->over);
    if (w->rc == ERR_OK)
        return EXIT_CODE_OK;
    const char *hint = "";
    if (w->rc == ERR_UNSUPPORTED && w->plan.is_requantised && !w->options.allow_requantize)
        hint = " (--allow-requantize)";
    else if (w->rc == ERR_IO && w->target && !w->options.replace && access(w->target, F_OK) == 0)
        hint = " (--force puts the new one in its place)";
    cmd_complain("%s%s", w->err.text, hint);
    return w->rc == ERR_CANCELLED ? EXIT_CODE_INTERRUPTED
           : w->rc == ERR_UNSUPPORTED ? EXIT_CODE_USAGE : EXIT_CODE_FAILURE;
}

/* ---- what it says --------------------------------------------------------------------------------- */

static void print_plan(const struct level_plan *p)
{
    char from[32], to[32], file[32];
    printf("  %-24s %-8s %-8s %14s  %s\n", "shape", "from", "to", "bytes", "tensor");
    for (int32_t i = 0; i < p->n_tensors; i++) {
        const struct level_tensor *t = &p->tensors[i];
        char shape[96] = "";
        for (int32_t d = 0; d < t->n_dims; d++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%" PRIu64, d ? " x " : "", t->ne[d]);
        printf("  %-24s %-8s %-8s %14" PRIu64 "  ", shape, t->from, t->to, t->n_bytes);
        cmd_put_line(stdout, t->name);
        if (t->wanted)
            printf("  (rows of %" PRIu64 " are no whole blocks of %s)", t->ne[0], t->wanted);
        putchar('\n');
    }
    printf("\n%s: %d tensors, %" PRIu64 " weights; %" PRIu64 " bytes (%s, %.2f bits per weight) from %" PRIu64
           " (%s, %.2f); the file %" PRIu64 " (%s)\n",
           p->level, p->n_tensors, p->n_weights, p->n_bytes, cmd_size(p->n_bytes, to), p->bits, p->from_bytes,
           cmd_size(p->from_bytes, from), p->from_bits, p->file_bytes, cmd_size(p->file_bytes, file));
}

static void print_made(const struct work *w, double seconds)
{
    const struct level_plan *p = &w->plan;
    char from[32], to[32];
    cmd_put_line(stdout, w->target);
    printf(": %s, %s (%.2f bits per weight) from %s (%.2f), %.1f s, %.0f MiB/s\n", p->level,
           cmd_size(p->file_bytes, to), p->bits, cmd_size(p->from_bytes, from), p->from_bits, seconds,
           (double)p->from_bytes / 1048576 / (seconds > 0 ? seconds : 1));
}

static void say_fallbacks(const struct level_plan *p)
{
    if (p->n_fallback > 0)
        cmd_complain("%d of %d tensors have rows that are no whole blocks of the type %s gives them, and got another "
                     "(--dry-run shows which)", p->n_fallback, p->n_tensors, p->level);
}

/* "900M", "1.5 GB", "800MiB" in bytes; 0: not a size. */
static uint64_t parse_size(const char *text)
{
    static const struct {
        const char *unit;
        double n_bytes;
    } units[] = { { "", 1 },  { "B", 1 },    { "k", 1e3 },      { "kB", 1e3 },        { "M", 1e6 },  { "MB", 1e6 },
                  { "G", 1e9 }, { "GB", 1e9 }, { "KiB", 1024.0 }, { "MiB", 1048576.0 }, { "GiB", 1073741824.0 } };
    char *end;
    double value = strtod(text, &end);
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcasecmp(end, units[i].unit) == 0 && value * units[i].n_bytes >= 1 && value * units[i].n_bytes < 1e18)
            return (uint64_t)(value * units[i].n_bytes);
    return 0;
}

static bool read_target(struct work *w, const struct config *c)
{
    char *end;
    if (c->target_size) {
        w->options.target_bytes = parse_size(c->target_size);
        if (w->options.target_bytes == 0) {
            cmd_complain("--target-size: '%s' is not a size; such as 900M, 1.5GB or 800MiB wanted", c->target_size);
            return false;
        }
    }
    if (c->target_bpw) {
        w->options.target_bits = strtod(c->target_bpw, &end);
        if (*end || !(w->options.target_bits >= 1 && w->options.target_bits <= 32)) {
            cmd_complain("--target-bpw: '%s' is not a number of bits; 1 to 32 wanted", c->target_bpw);
            return false;
        }
    }
    return true;
}

/* IN, then OUT unless it is a dry run, then LEVEL unless there is a target. */
static bool read_arguments(struct work *w, const struct config *c)
{
    bool has_target = c->target_size || c->target_bpw;
    int32_t most = has_target ? 2 : 3;
    if (c->n_args != most && !(c->dry_run && c->n_args == most - 1)) {
        cmd_complain("'quip quantize' needs IN OUT LEVEL; without OUT where it is a --dry-run, without LEVEL where there "
                     "is a target");
        return false;
    }
    if (c->target_size && c->target_bpw) {
        cmd_complain("--target-size and --target-bpw: one of the two wanted");
        return false;
    }
    w->source = c->args[0];
    w->target = c->dry_run ? NULL : c->args[1];
    w->options = (struct level_options){ .level = has_target ? NULL : c->args[c->n_args - 1],
                                         .pure = c->pure,
                                         .output_type = c->output_type,
                                         .embedding_type = c->embedding_type,
                                         .tensor_types = c->tensor_types.values,
                                         .n_tensor_types = c->tensor_types.n,
                                         .imatrix = c->imatrix,
                                         .allow_requantize = c->allow_requantize,
                                         .replace = c->force,
                                         .n_threads = c->n_threads };
    return read_target(w, c);
}

enum exit_code cmd_quantize(const struct app *app)
{
    struct work w = { 0 };
    struct err e;
    char path[PATHS_BYTES];
    if (!read_arguments(&w, app->config))
        return EXIT_CODE_USAGE;
    if (model_table_choose(app->paths, w.source, path, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_MODEL;
    }
    w.source = path;
    signal(SIGXFSZ, SIG_IGN);    /* a limit on the size of files is an error of a write then */
    double start_ms = clock_ms();
    enum exit_code code = work_through(&w);
    if (code == EXIT_CODE_OK && w.target) {
        say_fallbacks(&w.plan);
        print_made(&w, (clock_ms() - start_ms) / 1e3);
    } else if (code == EXIT_CODE_OK) {
        print_plan(&w.plan);
        if (w.plan.problem[0])
            cmd_complain("would be refused: %s", w.plan.problem);
    }
    level_plan_finish(&w.plan);
    return code;
}
